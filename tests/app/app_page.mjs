// Uses the page of `affjax app` in headless Chromium by real clicks, and prints what was seen as JSON.
// node app_page.mjs ADDRESS CHROMIUM PHOTO [PICTURES]
// PICTURES is a folder for screenshots. Needs `npm install playwright-core`, found by NODE_PATH or from this folder.
import crypto from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");
const [address, browserPath, photo, pictures] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: browserPath,
  args: [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
  ],
});
const seen = { errors: [], elsewhere: [], shots: {} };
try {
  const context = await browser.newContext({ viewport: { width: 1366, height: 900 }, acceptDownloads: true });
  await context.grantPermissions(["camera"], { origin: new URL(address).origin });
  const page = await context.newPage();
  page.setDefaultTimeout(240000);
  page.on("pageerror", error => seen.errors.push(String(error)));
  page.on("console", message => {
    if (["error", "warning"].includes(message.type())) seen.errors.push(message.text());
  });
  page.on("request", request => {
    if (!request.url().startsWith(address) && !/^(data|blob):/.test(request.url())) seen.elsewhere.push(request.url());
  });
  const picture = async name => { if (pictures) await page.screenshot({ path: path.join(pictures, `${name}.png`) }); };
  // What the canvas of the head shows, after it was drawn.
  const shot = async name => {
    const pixels = await page.evaluate(async () => {
      const canvas = document.querySelector(".stage canvas");
      await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
      const paper = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
      const copy = paper.getContext("2d", { willReadFrequently: true });
      copy.drawImage(canvas, 0, 0);
      const values = copy.getImageData(0, 0, canvas.width, canvas.height).data;
      let covered = 0;
      for (let k = 3; k < values.length; k += 4) covered += values[k] > 128;
      return { text: canvas.toDataURL("image/png"), covered: covered / (values.length / 4) };
    });
    const hash = crypto.createHash("sha256").update(pixels.text).digest("hex");
    seen.shots[name] = { hash, covered: pixels.covered };
  };
  // Moves a slider by the keyboard, as a user can.
  const slide = async (name, key, times) => {
    await page.locator(`.panel:not([hidden]) input[name="${name}"], .panel:not([hidden]) input[title="${name}"]`).focus();
    for (let k = 0; k < times; k++) await page.keyboard.press(key);
  };
  const tab = name => page.locator(".side > .pills button", { hasText: name }).click();

  // Every text that a photo in work has shown.
  await page.addInitScript(() => {
    window.said = new Set();
    new MutationObserver(() => {
      const small = document.querySelector('#jobs li[data-state="running"] small');
      if (small) window.said.add(small.textContent);
    }).observe(document, { subtree: true, childList: true, characterData: true });
  });
  await page.goto(address);
  await page.waitForSelector("body.empty");
  await picture("empty");

  await page.evaluate(async ([content, name]) => {
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0)), data = new DataTransfer();
    data.items.add(new File([bytes], name, { type: "image/jpeg" }));
    data.items.add(new File(["%PDF-1.7 no photo"], "liar.jpg", { type: "image/jpeg" }));
    document.getElementById("drop").dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data }));
  }, [fs.readFileSync(photo).toString("base64"), path.basename(photo)]);
  await page.waitForSelector('#jobs li[data-state="failed"]');
  seen.refused = await page.locator('#jobs li[data-state="failed"] small').textContent();
  await picture("waiting");
  await page.waitForSelector('#jobs li[data-state="done"]');
  await page.waitForSelector('.stage[data-drawn="yes"]');
  seen.times = await page.locator("#result .times").textContent();
  seen.said = await page.evaluate(() => [...window.said]);
  await shot("first");
  await picture("photo");

  await page.locator('#jobs li[data-state="failed"] .remove').click();
  await page.waitForSelector('#jobs li[data-state="failed"]', { state: "detached" });

  const box = await page.locator(".stage canvas").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2 - 40, box.y + box.height / 2, { steps: 4 });
  await page.waitForTimeout(150);
  await page.mouse.move(box.x + box.width / 2 - 40, box.y + box.height / 2 + 1);
  await page.mouse.up();
  await page.waitForTimeout(700);
  await shot("turned");

  await tab("Expression");
  await slide("jawOpen", "ArrowRight", 45);
  await shot("jaw");
  await page.locator(".panel:not([hidden]) button", { hasText: "Smile" }).click();
  await page.mouse.move(5, 5);
  await shot("smile");
  await picture("expression");
  await page.locator(".panel:not([hidden]) button", { hasText: "As in photo" }).click();
  await shot("again");

  await tab("Light");
  const ball = await page.locator(".ball").boundingBox();
  await page.mouse.click(ball.x + 0.9 * ball.width, ball.y + 0.5 * ball.height);
  seen.mode = await page.locator('[data-mode][aria-pressed="true"]').textContent();
  await shot("lit");
  await slide("strength", "ArrowRight", 40);
  await shot("stronger");
  await picture("light");
  for (const [name, label] of [["unlit", "Unlit"], ["clay", "Clay"], ["own", "Photo light"]]) {
    await page.locator("[data-mode]", { hasText: label }).click();
    await shot(name);
    await picture(name);
  }

  await tab("Photo");
  await page.locator(".compare input").focus();
  for (let k = 0; k < 5; k++) await page.keyboard.press("ArrowRight");
  seen.cut = await page.locator(".compare .pair").evaluate(pair => pair.style.getPropertyValue("--cut"));

  seen.downloads = {};
  for (const name of ["head.glb", "diffuse.png", "head.obj", "all as a zip"]) {
    const waiting = page.waitForEvent("download");
    await page.locator(".files a", { hasText: name }).first().click();
    const file = await waiting, content = fs.readFileSync(await file.path());
    seen.downloads[file.suggestedFilename()] = { size: content.length, start: content.subarray(0, 4).toString("latin1") };
  }

  await page.locator("#camera").click();
  await page.waitForFunction(() => document.querySelector("#webcam video").videoWidth > 0);
  await picture("webcam");
  await page.locator("#snap").click();
  const webcam = page.locator("#jobs li", { hasText: "webcam" });
  await webcam.waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("#jobs li")].every(li => /done|failed/.test(li.dataset.state)));
  seen.webcam = [await webcam.getAttribute("data-state"), await webcam.locator("small").textContent()];

  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForTimeout(400);
  await page.evaluate(() => document.getElementById("jobs").scrollIntoView());
  await tab("Expression");
  await picture("phone");
  seen.wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);

  await page.locator('#jobs li[data-state="done"] .remove').first().click();
  await page.waitForFunction(() => !document.querySelector("#jobs")?.textContent.includes("astronaut"));
  seen.left = await page.locator("#jobs li").count();
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
