"use strict";
// Every head of the page is drawn by one hidden WebGL canvas and copied to its own 2D
// canvas: browsers allow only about sixteen WebGL contexts on a page.
// A head is a script beside the page, loaded when its place comes into view.

// ---------------------------------------------------------------- small mathematics
// Matrices are column-major arrays of 16, as WebGL takes them.
function multiply(a, b) {
  const out = new Float32Array(16);
  for (let c = 0; c < 4; c++)
    for (let r = 0; r < 4; r++)
      for (let k = 0; k < 4; k++) out[c * 4 + r] += a[k * 4 + r] * b[c * 4 + k];
  return out;
}

function turn(axis, angle) {
  const c = Math.cos(angle), s = Math.sin(angle);
  return axis === "y"
    ? new Float32Array([c, 0, -s, 0, 0, 1, 0, 0, s, 0, c, 0, 0, 0, 0, 1])
    : new Float32Array([1, 0, 0, 0, 0, c, s, 0, 0, -s, c, 0, 0, 0, 0, 1]);
}

function shift(x, y, z) {
  return new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, x, y, z, 1]);
}

function perspective(fov, near, far) {
  const f = 1 / Math.tan(fov / 2), d = near - far;
  return new Float32Array(
    [f, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / d, -1, 0, 0, 2 * far * near / d, 0]);
}

const IDENTITY = shift(0, 0, 0);

// ------------------------------------------------------------------------- the data
function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out.buffer;
}

function unquantize(words, low, high) {
  const n = low.length, out = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++)
    out[i] = low[i % n] + words[i] / 65535 * (high[i % n] - low[i % n]);
  return out;
}

// Smooth normals of the welded surface.
function vertexNormals(points, faces) {
  const out = new Float32Array(points.length);
  for (let t = 0; t < faces.length; t += 3) {
    const [a, b, c] = [faces[t] * 3, faces[t + 1] * 3, faces[t + 2] * 3];
    const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1];
    const uz = points[b + 2] - points[a + 2], vx = points[c] - points[a];
    const vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    for (const k of [a, b, c]) { out[k] += x; out[k + 1] += y; out[k + 2] += z; }
  }
  for (let i = 0; i < out.length; i += 3) {
    const length = Math.hypot(out[i], out[i + 1], out[i + 2]) || 1;
    out[i] /= length; out[i + 1] /= length; out[i + 2] /= length;
  }
  return out;
}

function gather(values, index, width) {
  const out = new Float32Array(index.length * width);
  for (let i = 0; i < index.length; i++)
    for (let k = 0; k < width; k++) out[i * width + k] = values[index[i] * width + k];
  return out;
}

function topologyOf(face) {
  const index = face.wide ? Uint32Array : Uint16Array;
  const vertex = new index(bytes(face.vertex)), faces = new Uint32Array(new index(bytes(face.faces)));
  return {
    vertex, faces, welded: faces.map(corner => vertex[corner]),
    uv: unquantize(new Uint16Array(bytes(face.uv)), [0, 0], [1, 1]),
    gloss: new Float32Array(new Uint8Array(bytes(face.gloss))).map(x => x / 255),
  };
}

// Loads a script that sets a global variable, and returns its value.
function loadValue(url, name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = () => {
      script.remove();
      const value = window[name];
      delete window[name];
      if (value) resolve(value);
      else reject(new Error(`${url} holds no ${name}`));
    };
    script.onerror = () => { script.remove(); reject(new Error(`${url} is missing`)); };
    script.src = url;
    document.head.append(script);
  });
}

// The expression units of a head: the vertices that each one moves, and how far.
async function loadMoves(url) {
  const moves = await loadValue(url, "affjaxMoves");
  const index = moves.wide ? Uint32Array : Uint16Array;
  return { ...moves, vertex: new index(bytes(moves.vertex)), offset: new Int16Array(bytes(moves.offset)) };
}

// The points of a head with other weights of its expression units, given by name.
function displaced(points, moves, weights) {
  const out = points.slice();
  let at = 0;
  moves.names.forEach((name, k) => {
    const end = at + moves.counts[k], factor = moves.scale * ((weights[name] ?? 0) - moves.weights[k]);
    for (; factor && at < end; at++)
      for (let d = 0; d < 3; d++) out[moves.vertex[at] * 3 + d] += factor * moves.offset[at * 3 + d];
    at = end;
  });
  return out;
}

// ---------------------------------------------------------------------- the renderer
const VERTEX = `#version 300 es
in vec3 position; in vec3 normal; in vec2 uv; in float gloss;
uniform mat4 view; uniform mat4 projection;
out vec3 place; out vec3 facing; out vec2 at; out float shine;
void main() {
  vec4 p = view * vec4(position, 1.0);
  place = p.xyz; facing = mat3(view) * normal; at = vec2(uv.x, 1.0 - uv.y); shine = gloss;
  gl_Position = projection * p;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec3 place; in vec3 facing; in vec2 at; in float shine;
uniform sampler2D diffuse; uniform sampler2D light;
uniform vec3 lightScale; uniform int mode;
uniform vec3 key; uniform float strength; uniform float ambient;
out vec4 color;
vec3 studio(vec3 albedo, vec3 n, vec3 eye, float gloss) {
  vec3 fill = normalize(vec3(0.9, 0.05, 0.5));
  float wrapped = max(0.0, (dot(n, key) + 0.25) / 1.25);
  vec3 light = ambient * (vec3(0.34, 0.36, 0.40) * (0.65 + 0.35 * n.y)
      + vec3(0.16, 0.18, 0.22) * max(0.0, dot(n, fill)))
    + strength * vec3(0.78, 0.74, 0.68) * wrapped;
  float power = mix(22.0, 160.0, gloss);
  float spot = pow(max(0.0, dot(n, normalize(key + eye))), power);
  float rim = pow(1.0 - max(0.0, dot(n, eye)), 3.5);
  return albedo * light + strength * mix(0.05, 0.55, gloss) * spot + ambient * 0.05 * rim;
}
void main() {
  vec3 n = normalize(facing), eye = normalize(-place);
  // At silhouettes, interpolated normals point a little away; inner sides point far away.
  float away = -dot(n, eye);
  n = away > 0.3 ? -n : normalize(n + max(away, 0.0) * eye);
  vec3 albedo = texture(diffuse, at).rgb, c;
  if (mode == 0) c = albedo * texture(light, at).r * lightScale;
  else if (mode == 1) c = albedo;
  else if (mode == 2) c = studio(albedo, n, eye, shine);
  else c = studio(vec3(0.74, 0.72, 0.70), n, eye, 0.35 * shine);
  color = vec4(clamp(c, 0.0, 1.0), 1.0);
}`;

class Renderer {
  constructor(side) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = this.canvas.height = side;
    const gl = this.gl = this.canvas.getContext(
      "webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
    if (!gl) throw new Error("no WebGL 2");
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS))
        throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    gl.enable(gl.DEPTH_TEST);
    this.at = name => gl.getUniformLocation(this.program, name);
    gl.uniform1i(this.at("diffuse"), 0);
    gl.uniform1i(this.at("light"), 1);
  }

  buffer(target, values) {
    const name = this.gl.createBuffer();
    this.gl.bindBuffer(target, name);
    this.gl.bufferData(target, values, this.gl.STATIC_DRAW);
    return name;
  }

  async head(face) {
    const topology = topologyOf(face);
    const points = unquantize(new Uint16Array(bytes(face.points)), face.low, face.high);
    const [diffuse, light] = await Promise.all([picture(face.diffuse), picture(face.light)]);
    const gl = this.gl;
    const array = gl.createVertexArray();
    gl.bindVertexArray(array);
    const buffers = [
      this.attribute("position", 3, null),
      this.attribute("normal", 3, null),
      this.attribute("uv", 2, topology.uv),
      this.attribute("gloss", 1, topology.gloss),
      this.buffer(gl.ELEMENT_ARRAY_BUFFER, topology.faces),
    ];
    const middle = face.low.map((low, k) => (low + face.high[k]) / 2);
    const head = {
      array, buffers, count: topology.faces.length, middle, diffuse: this.texture(diffuse, true), light: this.texture(light, false),
      points, welded: topology.welded, vertex: topology.vertex,
      lightScale: face.lightScale, pose: face.rotation,
      radius: Math.hypot(...face.low.map((low, k) => (face.high[k] - low) / 2)),
    };
    this.place(head, points);
    return head;
  }

  // Moves the vertices of a head.
  place(head, points) {
    const gl = this.gl, normals = vertexNormals(points, head.welded);
    [points, normals].forEach((values, k) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, head.buffers[k]);
      gl.bufferData(gl.ARRAY_BUFFER, gather(values, head.vertex, 3), gl.STATIC_DRAW);
    });
  }

  attribute(name, width, values) {
    const gl = this.gl, place = gl.getAttribLocation(this.program, name);
    const buffer = this.buffer(gl.ARRAY_BUFFER, values ?? 0);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, width, gl.FLOAT, false, 0, 0);
    return buffer;
  }

  release(head) {
    const gl = this.gl;
    gl.deleteVertexArray(head.array);
    head.buffers.forEach(buffer => gl.deleteBuffer(buffer));
    gl.deleteTexture(head.diffuse);
    gl.deleteTexture(head.light);
  }

  texture(image, mipmaps) {
    const gl = this.gl, name = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, name);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    if (mipmaps) gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER,
      mipmaps ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return name;
  }

  draw(head, state, side) {
    const gl = this.gl;
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    gl.viewport(0, 0, side, side);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const fov = 0.36, distance = head.radius / Math.sin(fov / 2) * 0.86 / state.zoom;
    const near = Math.max(0.05, distance - 2 * head.radius);
    const [x, y, z] = head.middle;
    let view = multiply(turn("x", state.pitch), turn("y", state.yaw));
    view = multiply(view, multiply(state.base, shift(-x, -y, -z)));
    // A little up, away from the buttons.
    view = multiply(shift(0, 0.05 * head.radius / state.zoom, -distance), view);
    gl.uniformMatrix4fv(this.at("view"), false, view);
    gl.uniformMatrix4fv(
      this.at("projection"), false, perspective(fov, near, distance + 2 * head.radius));
    gl.uniform3fv(this.at("lightScale"), head.lightScale);
    gl.uniform1i(this.at("mode"), state.mode);
    const size = Math.hypot(...state.key) || 1;
    gl.uniform3fv(this.at("key"), state.key.map(x => x / size));
    gl.uniform1f(this.at("strength"), state.strength);
    gl.uniform1f(this.at("ambient"), state.ambient);
    gl.activeTexture(gl.TEXTURE0); gl.bindTexture(gl.TEXTURE_2D, head.diffuse);
    gl.activeTexture(gl.TEXTURE1); gl.bindTexture(gl.TEXTURE_2D, head.light);
    gl.bindVertexArray(head.array);
    gl.drawElements(gl.TRIANGLES, head.count, gl.UNSIGNED_INT, 0);
    gl.bindVertexArray(null);
  }
}

function picture(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("a texture of the page does not decode"));
    image.src = url;
  });
}

// ------------------------------------------------------------- one head on the page
const FRONT = { yaw: 0.42, pitch: 0.08, zoom: 1 };
// Light of the modes "Studio" and "Clay": direction to the key light, before the camera.
const LIGHT = { key: [-0.55, 0.6, 0.75], strength: 1, ambient: 1 };
let wheelElsewhere = 0;
addEventListener("wheel", event => {
  if (!event.target.closest?.(".stage")) wheelElsewhere = event.timeStamp;
}, { capture: true, passive: true });

class Stage {
  constructor(element, renderer) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.renderer = renderer;
    this.state = { ...FRONT, ...LIGHT, base: IDENTITY, mode: 0 };
    this.speed = 0;
    this.fingers = new Map();
    this.listen();
    new IntersectionObserver(seen => {
      this.visible = seen.some(entry => entry.isIntersecting);
      if (this.visible) this.open();
      else this.close();
    }, { rootMargin: "300px" }).observe(element);
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
  }

  async open() {
    if (this.head || this.opening) return this.redraw();
    this.opening = true;
    try {
      this.head = await this.renderer.head(await loadValue(this.element.dataset.script, "affjaxHead"));
      this.moved = Boolean(this.weights);
      if (this.visible) this.redraw();
      else this.close();
    } catch (error) { sorry(this.element, error); }
    this.opening = false;
  }

  // The canvas keeps the last picture of a head that went out of view.
  close() {
    if (this.head) this.renderer.release(this.head);
    this.head = null;
  }

  redraw() {
    if (this.due || !this.head || !this.visible) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      if (!this.head) return;
      if (Math.abs(this.speed) > 0.0004 && !this.fingers.size) {
        this.state.yaw += this.speed;
        this.speed *= 0.93;
      }
      if (this.moved) this.renderer.place(this.head, displaced(this.head.points, this.moves, this.weights));
      this.moved = false;
      const width = this.canvas.clientWidth || 480;
      const side = Math.min(1600, Math.round(width * Math.min(devicePixelRatio || 1, 2)));
      if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
      this.renderer.draw(this.head, this.state, side);
      const paper = this.canvas.getContext("2d");
      paper.clearRect(0, 0, side, side);
      paper.drawImage(this.renderer.canvas, 0, 0);
      this.element.dataset.drawn = "yes";
      if (Math.abs(this.speed) > 0.0004 && !this.fingers.size) this.redraw();
    });
  }

  // Gives the head weights of its expression units; `moves` are those of `loadMoves`.
  express(moves, weights) {
    Object.assign(this, { moves, weights, moved: true });
    this.redraw();
  }

  illuminate(light) {
    Object.assign(this.state, light);
    this.redraw();
  }

  rotate(dx, dy) {
    this.state.yaw += dx;
    this.state.pitch = Math.max(-1.4, Math.min(1.4, this.state.pitch + dy));
    this.redraw();
  }

  zoom(factor) {
    this.state.zoom = Math.max(0.5, Math.min(6, this.state.zoom * factor));
    this.redraw();
  }

  reset(photo) {
    this.speed = 0;
    Object.assign(this.state, photo
      ? { yaw: 0, pitch: 0, zoom: 1, base: new Float32Array(this.head?.pose ?? IDENTITY) }
      : { ...FRONT, base: IDENTITY });
    this.redraw();
  }

  listen() {
    const canvas = this.canvas, fingers = this.fingers;
    canvas.addEventListener("pointerdown", event => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      this.speed = 0;
    });
    canvas.addEventListener("pointermove", event => this.move(event));
    for (const kind of ["pointerup", "pointercancel"])
      canvas.addEventListener(kind, event => {
        fingers.delete(event.pointerId);
        if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.speed = 0;
        this.redraw();
      });
    canvas.addEventListener("wheel", event => {
      // A scroll of the page that runs into a head goes on as a scroll.
      if (event.timeStamp - wheelElsewhere < 250) { wheelElsewhere = event.timeStamp; return; }
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
      this.zoom(Math.exp(-Math.max(-120, Math.min(120, pixels)) * 0.0016));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.reset(false));
    canvas.addEventListener("keydown", event => {
      const step = 0.12, keys = {
        ArrowLeft: () => this.rotate(-step, 0), ArrowRight: () => this.rotate(step, 0),
        ArrowUp: () => this.rotate(0, -step), ArrowDown: () => this.rotate(0, step),
        "+": () => this.zoom(1.15), "=": () => this.zoom(1.15), "-": () => this.zoom(1 / 1.15),
        0: () => this.reset(false), Home: () => this.reset(false),
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    for (const button of this.element.querySelectorAll("button[data-mode]"))
      button.addEventListener("click", () => this.shade(Number(button.dataset.mode)));
    for (const button of this.element.querySelectorAll("button[data-view]"))
      button.addEventListener("click", () => this.reset(button.dataset.view === "photo"));
  }

  shade(mode) {
    for (const button of this.element.querySelectorAll("button[data-mode]"))
      button.setAttribute("aria-pressed", Number(button.dataset.mode) === mode);
    this.state.mode = mode;
    this.redraw();
  }

  move(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const others = [...this.fingers].filter(([id]) => id !== event.pointerId);
    const now = [event.clientX, event.clientY];
    this.fingers.set(event.pointerId, now);
    if (others.length) {
      const [x, y] = others[0][1];
      const apart = ([a, b]) => Math.hypot(a - x, b - y) || 1;
      this.zoom(apart(now) / apart(before));
      return;
    }
    const scale = 4.2 / (this.canvas.clientWidth || 480);
    this.speed = (now[0] - before[0]) * scale * 0.35;
    this.rotate((now[0] - before[0]) * scale, (now[1] - before[1]) * scale);
  }
}

function sorry(element, error) {
  const note = element.querySelector(".sorry");
  note.textContent = `The head cannot be shown here (${error.message}); head.glb opens in any 3D viewer.`;
  note.style.display = "grid";
  element.querySelector(".modes").style.display = "none";
}

// ------------------------------------------------------------------------- the page
let shared = null;

// Brings the cards inside of an element to life, and returns their stages.
function showHeads(root) {
  for (const box of root.querySelectorAll(".compare")) {
    const slider = box.querySelector("input"), pair = box.querySelector(".pair");
    slider.addEventListener("input", () => pair.style.setProperty("--cut", `${slider.value}%`));
  }
  const places = [...root.querySelectorAll(".stage")];
  if (!places.length) return [];
  try {
    shared ??= new Renderer(512);
    const live = places.map(element => new Stage(element, shared));
    shared.canvas.addEventListener("webglcontextlost", () =>
      live.forEach(stage => sorry(stage.element, new Error("the graphics context was lost"))));
    return live;
  } catch (error) {
    places.forEach(element => sorry(element, error));
    return [];
  }
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("affjax-theme", root.dataset.theme); } catch {}
});
