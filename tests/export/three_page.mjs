// Plays a .glb file in three.js in headless Chromium and prints what was seen as JSON.
// node three_page.mjs HEAD.glb CHROMIUM [SECONDS,SECONDS,... PICTURE.png]
// Needs `npm install three playwright-core`, found by NODE_PATH or from this folder.
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");
const three = path.dirname(path.dirname(require.resolve("three")));
const [glb, browserPath, seconds = "0", picture] = process.argv.slice(2);

const PAGE = `<!doctype html><link rel="icon" href="data:,"><body style="margin:0;background:#fff"><script type="importmap">
{"imports": {"three": "/three/build/three.module.js", "addons/": "/three/examples/jsm/"}}
</script><script type="module">
import * as THREE from "three";
import { GLTFLoader } from "addons/loaders/GLTFLoader.js";
const SIDE = 420;
const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
renderer.setSize(SIDE, SIDE);
const scene = new THREE.Scene();
scene.background = new THREE.Color(0xf2f0ec);
scene.add(new THREE.HemisphereLight(0xffffff, 0x777788, 2.2));
const key = new THREE.DirectionalLight(0xffffff, 2.2);
key.position.set(-1, 1.2, 2);
scene.add(key);
window.play = async times => {
  const gltf = await new GLTFLoader().loadAsync("/head.glb");
  const head = gltf.scene.getObjectByName("head");
  scene.add(gltf.scene);
  const box = new THREE.Box3().setFromObject(gltf.scene);
  const size = box.getSize(new THREE.Vector3()), middle = box.getCenter(new THREE.Vector3());
  const camera = new THREE.PerspectiveCamera(20, 1, 0.01, 10);
  camera.position.set(0.12 * size.y, middle.y, middle.z + 2.5 * size.y);
  camera.lookAt(0, middle.y, middle.z);
  const mixer = new THREE.AnimationMixer(gltf.scene);
  for (const clip of gltf.animations) mixer.clipAction(clip).play();
  const strip = document.createElement("canvas");
  strip.width = SIDE * times.length; strip.height = SIDE;
  const frames = [];
  let morphs = 0, names = [];
  gltf.scene.traverse(part => {
    if (!part.morphTargetInfluences) return;
    morphs += 1; names = Object.keys(part.morphTargetDictionary);
  });
  for (const [k, time] of times.entries()) {
    mixer.setTime(time);
    renderer.render(scene, camera);
    strip.getContext("2d").drawImage(renderer.domElement, k * SIDE, 0);
    const influences = {};
    gltf.scene.traverse(part => {
      if (!part.morphTargetInfluences) return;
      for (const [name, index] of Object.entries(part.morphTargetDictionary))
        influences[name] = part.morphTargetInfluences[index];
    });
    const eyes = {};
    for (const name of ["eyeLeft", "eyeRight"])
      eyes[name] = gltf.scene.getObjectByName(name)?.quaternion.toArray() ?? null;
    frames.push({ influences, eyes });
  }
  return {
    names, morphs, frames, size: size.toArray(), clips: gltf.animations.map(c => [c.name, c.duration]),
    extras: head.userData, strip: strip.toDataURL("image/png"),
  };
};
window.ready = true;
</script>`;

const server = http.createServer((request, response) => {
  const kind = { ".js": "text/javascript", ".glb": "model/gltf-binary" };
  const url = new URL(request.url, "http://localhost").pathname;
  if (url === "/") {
    response.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
    return;
  }
  const file = url === "/head.glb" ? glb : path.join(three, path.normalize(url.replace("/three", "")));
  if (!fs.existsSync(file)) { response.writeHead(404).end(); return; }
  response.writeHead(200, { "Content-Type": kind[path.extname(file)] ?? "text/plain" });
  response.end(fs.readFileSync(file));
});
await new Promise(done => server.listen(0, "127.0.0.1", done));
const browser = await chromium.launch({
  executablePath: browserPath, args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
});
try {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", error => errors.push(String(error)));
  page.on("console", message => {
    if (["error", "warning"].includes(message.type())) errors.push(message.text());
  });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction("window.ready", null, { timeout: 60000 });
  const seen = await page.evaluate(times => window.play(times), seconds.split(",").map(Number));
  const png = Buffer.from(seen.strip.split(",")[1], "base64");
  if (picture) fs.writeFileSync(picture, png);
  delete seen.strip;
  console.log(JSON.stringify({ ...seen, errors }));
} finally {
  await browser.close();
  server.close();
}
