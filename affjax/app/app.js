
// ---------------------------------------------------------------- the page of the app
// Uses the viewer: showHeads, loadMoves, LIGHT.
const find = id => document.getElementById(id);
const LIMIT = Number("{{upload_bytes}}");

function make(tag, properties = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function notice(text) {
  find("notice").textContent = text;
  find("notice").hidden = !text;
}

// ------------------------------------------------------------------------ the photos
// Photos of this page that the server has not taken: to be sent, or refused.
let outbox = [], jobs = [], shown = null, sending = false, timer = 0, count = 0;

function take(files) {
  for (const file of files) {
    const item = { key: `local${++count}`, name: file.name || "picture.png", state: "sending", file, reason: "" };
    if (file.size > LIMIT) Object.assign(item, { state: "failed", reason: `larger than ${Math.floor(LIMIT / 2 ** 20)} MB` });
    outbox.push(item);
  }
  list();
  send();
}

// Sends one photo after another, and waits where the queue is full.
async function send() {
  if (sending) return;
  sending = true;
  for (let item; (item = outbox.find(other => other.state === "sending"));) {
    try {
      const answer = await fetch("photos", {
        method: "POST", body: item.file,
        headers: { "Content-Type": "application/octet-stream", "X-Name": encodeURIComponent(item.name) },
      });
      const text = await answer.text();
      if (answer.status === 503) {
        await new Promise(done => setTimeout(done, 1000 * Number(answer.headers.get("Retry-After") || 2)));
        continue;
      }
      if (answer.ok) outbox = outbox.filter(other => other !== item);
      // Here the name of the photo is said already.
      else Object.assign(item, { state: "failed", reason: text.trim().replace(/^photo '.*?': /, ""), file: null });
    } catch {
      Object.assign(item, { state: "failed", reason: "the app did not answer", file: null });
    }
    await poll();
  }
  sending = false;
}

async function poll() {
  clearTimeout(timer);
  try {
    jobs = (await (await fetch("photos")).json()).photos;
    notice("");
  } catch {
    notice("The app does not answer. Start it again by `affjax app`, and reload this page.");
  }
  list();
  if (shown && !jobs.some(job => job.key === shown)) show(null);
  const first = jobs.findLast(job => job.state === "done");
  if (!shown && first) show(first.key);
  const busy = jobs.some(job => ["uploading", "waiting", "running"].includes(job.state));
  timer = setTimeout(poll, busy ? 500 : 3000);
}

const STAGES = {
  read: "reading it", detect: "finding faces", fit: "fitting the shape", predict: "predicting maps", paint: "painting", write: "writing files",
};

function words(job) {
  if (job.state === "running") {
    const step = job.step, face = step?.faces > 1 ? `, face ${step.face} of ${step.faces}` : "";
    return `${step ? STAGES[step.stage] + face : "starting"}, ${Math.round(job.seconds)} s`;
  }
  if (job.state === "waiting") return job.place ? `waiting, ${job.place} before it` : "waiting";
  if (job.state === "done")
    return `${job.faces} ${job.faces === 1 ? "head" : "heads"}${job.unsure ? `, ${job.unsure} unsure` : ""}`;
  return job.state === "failed" ? job.reason : "sending";
}

// The seconds that a finished photo took, and those of each stage.
function seconds(job) {
  return Object.values(job.times).reduce((a, b) => a + b, 0).toFixed(1);
}

function times(job) {
  return Object.entries(job.times ?? {}).map(([stage, seconds]) => `${STAGES[stage]}: ${seconds.toFixed(1)} s`);
}

function list() {
  const all = [...jobs, ...outbox], old = new Map([...find("jobs").children].map(li => [li.dataset.key, li]));
  document.body.classList.toggle("empty", !all.length);
  find("wait").hidden = shown || !all.some(job => job.state !== "failed");
  const rows = all.map(job => {
    const row = old.get(job.key) ?? card(job);
    const button = row.querySelector(".job"), picture = row.querySelector(".picture");
    if (row.dataset.state !== job.state) {
      row.dataset.state = job.state;
      button.disabled = job.state !== "done";
      picture.textContent = job.state === "failed" ? "!" : "";
      if (job.state === "done") picture.style.backgroundImage = `url("photos/${job.key}/face1/page/before.jpg")`;
    }
    row.querySelector(".remove").hidden = !["done", "failed", "waiting"].includes(job.state);
    row.querySelector("small").textContent = words(job);
    row.querySelector("progress").value = job.step?.before ?? 0;
    button.title = job.reason ? `${job.name}: ${job.reason}` : [job.name, ...times(job)].join("\n");
    button.setAttribute("aria-pressed", job.key === shown);
    return row;
  });
  if (rows.length !== old.size || rows.some(row => !row.isConnected)) find("jobs").replaceChildren(...rows);
}

function card(job) {
  const row = make("li", {}, [
    make("button", { type: "button", className: "job", onclick: () => show(job.key) }, [
      make("span", { className: "picture" }), make("b", { textContent: job.name }), make("small"), make("progress", { max: 1 }),
    ]),
    make("button", { type: "button", className: "remove", textContent: "×", onclick: () => remove(job.key) }),
  ]);
  row.querySelector(".remove").setAttribute("aria-label", `Remove ${job.name}`);
  row.dataset.key = job.key;
  return row;
}

async function remove(key) {
  if (key.startsWith("local")) outbox = outbox.filter(item => item.key !== key);
  else await fetch(`photos/${key}`, { method: "DELETE" }).catch(() => {});
  poll();
}

// ------------------------------------------------------------------------- the heads
async function show(key) {
  shown = key;
  list();
  const place = find("result");
  if (!key) return place.replaceChildren();
  const answer = await fetch(`photos/${key}`).catch(() => null);
  if (!answer?.ok || shown !== key) return;
  const photo = await answer.json();
  place.innerHTML = photo.cards.join("");
  const articles = [...place.querySelectorAll("article.face")];
  for (const article of articles) {
    if (articles.length === 1) article.querySelector("h3")?.remove();
    const files = article.querySelector(".files");
    for (const link of files.children) link.download = "";
    files.prepend(make("a", { className: "file", href: `photos/${key}/heads.zip`, download: "", textContent: "all as a zip" }));
  }
  const made = times(photo).join(", ");
  if (made) place.append(make("p", { className: "hint times", textContent: `Made in ${seconds(photo)} s (${made}).` }));
  showHeads(place).forEach((stage, k) => furnish(articles[k], stage, `photos/${key}/face${k + 1}/page/moves.js`));
}

// Puts the comparison, the expression and the light of a head behind tabs.
function furnish(article, stage, moves) {
  const compare = article.querySelector(".big > figure:nth-child(2)");
  const side = make("div", { className: "side" }), tabs = make("span", { className: "pills" });
  compare.replaceWith(side);
  tabs.setAttribute("role", "group");
  tabs.setAttribute("aria-label", "Tools");
  const photo = make("div", { className: "panel" }, [compare]);
  const panels = { Photo: photo, Expression: expressionPanel(stage, moves), Light: lightPanel(stage) };
  const open = name => {
    for (const button of tabs.children) button.setAttribute("aria-pressed", button.textContent === name);
    for (const [other, panel] of Object.entries(panels)) panel.hidden = other !== name;
  };
  tabs.append(...Object.keys(panels).map(name =>
    make("button", { type: "button", textContent: name, onclick: () => open(name) })));
  side.append(tabs, ...Object.values(panels));
  open("Photo");
}

function dial(name, options, changed) {
  const output = make("output"), input = make("input", { type: "range", ...options });
  const tell = () => { output.textContent = Number(input.value).toFixed(options.step < 1 ? 2 : 0); };
  input.addEventListener("input", () => { tell(); changed(Number(input.value)); });
  tell();
  return {
    element: make("label", { className: "dial" }, [make("span", { textContent: name }), input, output]),
    set: value => { input.value = value; tell(); },
  };
}

// -------------------------------------------------------------------- the expression
const GROUPS = [["Brows", /^brow/], ["Eyes", /^eye/], ["Jaw", /^jaw/], ["Mouth", /^mouth/], ["Cheeks, nose and tongue", /./]];
const POSES = {
  Smile: { mouthSmileLeft: 0.9, mouthSmileRight: 0.9, cheekSquintLeft: 0.5, cheekSquintRight: 0.5, jawOpen: 0.08 },
  Surprise: { jawOpen: 0.55, browInnerUp: 0.9, browOuterUpLeft: 0.8, browOuterUpRight: 0.8, eyeWideLeft: 0.7, eyeWideRight: 0.7 },
  Anger: { browDownLeft: 0.9, browDownRight: 0.9, noseSneerLeft: 0.6, noseSneerRight: 0.6, mouthFrownLeft: 0.6, mouthFrownRight: 0.6 },
  Wink: { eyeBlinkLeft: 1, mouthSmileLeft: 0.7, mouthSmileRight: 0.3, cheekSquintLeft: 0.6 },
};
const other = name => name.endsWith("Left") ? name.replace(/Left$/, "Right") : name.replace(/Right$/, "Left");
// Of these units, the two sides exclude each other.
const ALONE = /^(jaw|mouth)(Left|Right)$/;

function readable(name) {
  const text = name.replace(/([A-Z])/g, " $1").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

function expressionPanel(stage, url) {
  const panel = make("div", { className: "panel" });
  loadMoves(url).then(
    moves => panel.append(...expressionControls(stage, moves)),
    () => panel.append(make("p", { className: "hint", textContent: "This head has no expression units." })),
  );
  return panel;
}

function expressionControls(stage, moves) {
  const photo = Object.fromEntries(moves.names.map((name, k) => [name, moves.weights[k]]));
  let weights = { ...photo };
  const both = make("input", { type: "checkbox", checked: true }), dials = {};
  const apply = changed => {
    for (const [name, value] of Object.entries(changed)) {
      weights[name] = value;
      dials[name].set(value);
    }
    stage.express(moves, { ...weights });
  };
  for (const name of moves.names)
    dials[name] = dial(readable(name), { min: 0, max: 1, step: 0.01, value: photo[name], title: name, name }, value => {
      const pair = both.checked && !ALONE.test(name) && other(name) in dials ? { [other(name)]: value } : {};
      apply({ ...pair, [name]: value });
    });
  const neutral = Object.fromEntries(moves.names.map(name => [name, 0]));
  const known = pose => Object.fromEntries(Object.entries(pose).filter(([name]) => name in dials));
  const buttons = { "As in photo": photo, Neutral: neutral };
  for (const [name, pose] of Object.entries(POSES)) buttons[name] = { ...neutral, ...known(pose) };
  const row = make("div", { className: "row" }, Object.entries(buttons).map(([name, pose]) =>
    make("button", { type: "button", textContent: name, onclick: () => apply(pose) })));
  row.append(make("label", {}, [both, "both sides"]));
  const rest = new Set(moves.names), units = make("div", { className: "units" });
  for (const [title, pattern] of GROUPS) {
    const mine = [...rest].filter(name => pattern.test(name));
    mine.forEach(name => rest.delete(name));
    if (mine.length) units.append(make("h4", { textContent: title }), ...mine.map(name => dials[name].element));
  }
  return [row, units];
}

// ------------------------------------------------------------------------- the light
function lightPanel(stage) {
  const [x, y, z] = LIGHT.key, degrees = 180 / Math.PI;
  const start = {
    around: Math.round(Math.atan2(x, z) * degrees), height: Math.round(Math.atan2(y, Math.hypot(x, z)) * degrees),
    strength: LIGHT.strength, ambient: LIGHT.ambient,
  };
  const light = { ...start }, ball = make("div", { className: "ball", title: "Drag the light" }), dials = {};
  const apply = (changed, quiet) => {
    Object.assign(light, changed);
    for (const name of Object.keys(changed)) dials[name].set(light[name]);
    const a = light.around / degrees, h = light.height / degrees;
    const key = [Math.cos(h) * Math.sin(a), Math.sin(h), Math.cos(h) * Math.cos(a)];
    ball.style.setProperty("--x", `${50 + 44 * key[0]}%`);
    ball.style.setProperty("--y", `${50 - 44 * key[1]}%`);
    if (quiet) return;
    stage.illuminate({ key, strength: light.strength, ambient: light.ambient });
    // The photo's light and no light at all know no direction.
    if (stage.state.mode < 2) stage.shade(2);
  };
  const ranges = {
    around: ["Around the head, °", { min: -180, max: 180, step: 1 }], height: ["Height, °", { min: -90, max: 90, step: 1 }],
    strength: ["Strength", { min: 0, max: 2, step: 0.01 }], ambient: ["Light from all sides", { min: 0, max: 2, step: 0.01 }],
  };
  for (const [name, [text, options]] of Object.entries(ranges))
    dials[name] = dial(text, { ...options, value: start[name], name }, value => apply({ [name]: value }));
  const drag = event => {
    if (!event.buttons) return;
    const box = ball.getBoundingClientRect();
    let u = (event.clientX - box.x) / box.width * 2 - 1, v = 1 - (event.clientY - box.y) / box.height * 2;
    const reach = Math.max(1, Math.hypot(u, v));
    u /= reach; v /= reach;
    const w = Math.sqrt(Math.max(0, 1 - u * u - v * v));
    apply({ around: Math.round(Math.atan2(u, w) * degrees), height: Math.round(Math.asin(v) * degrees) });
  };
  ball.addEventListener("pointerdown", event => { ball.setPointerCapture(event.pointerId); drag(event); });
  ball.addEventListener("pointermove", drag);
  apply(start, true);
  return make("div", { className: "panel" }, [
    ball, ...Object.values(dials).map(one => one.element),
    make("div", { className: "row" }, [make("button", { type: "button", textContent: "Reset", onclick: () => apply(start) })]),
    make("p", { className: "hint", textContent: "Studio lights the diffuse map, Clay a gray head; Photo light shows the photo's own light, Unlit the diffuse map." }),
  ]);
}

// ------------------------------------------------------------------ ways to add photos
find("choose").addEventListener("click", () => find("files").click());
find("files").addEventListener("change", event => { take(event.target.files); event.target.value = ""; });
find("example").addEventListener("click", async () => {
  const answer = await fetch("example.jpg");
  take([new File([await answer.blob()], "astronaut.jpg")]);
});
let over = 0;
addEventListener("dragenter", event => { event.preventDefault(); over++; document.body.classList.add("over"); });
addEventListener("dragleave", () => { if (--over <= 0) document.body.classList.remove("over"); });
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  over = 0;
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("paste", event => take(event.clipboardData.files));

const webcam = find("webcam"), video = webcam.querySelector("video");
find("camera").addEventListener("click", async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" } });
    webcam.showModal();
  } catch (error) { notice(`The webcam cannot be used: ${error.message}.`); }
});
webcam.addEventListener("close", () => {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
});
find("leave").addEventListener("click", () => webcam.close());
find("snap").addEventListener("click", () => {
  if (!video.videoWidth) return;
  const paper = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  paper.getContext("2d").drawImage(video, 0, 0);
  paper.toBlob(blob => {
    take([new File([blob], `webcam ${new Date().toTimeString().slice(0, 8).replaceAll(":", ".")}.png`)]);
    webcam.close();
  }, "image/png");
});

poll();
