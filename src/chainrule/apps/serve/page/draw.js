// The page: strokes are kept as points from 0 to 1 of the sheet's side, so that a new size loses nothing. One question to
// the server is under way at a time; when its answer comes and the drawing has changed, the newest drawing is asked about.
"use strict";

const byId = (id) => document.getElementById(id);
const sheet = byId("sheet"), context = sheet.getContext("2d"), seen = byId("seen").getContext("2d");
const answer = document.querySelector(".answer"), bars = [];
const FEW = 5; // points of a first stroke that goes on: too early to ask
const RETRY = 2000; // milliseconds until the server is asked again after it was not there
const PATIENCE = 10000; // milliseconds for an answer
let strokes = [], undone = []; // of strokes {points: [[x, y], …], pen}; an undone clear is {all: [strokes]}
const drawing = new Map(); // the stroke of each pointer that is down
let version = 0, asked = -1, emptied = 0, busy = false, timer = 0;

for (let digit = 0; digit < 10; digit++) {
  const row = document.createElement("li");
  row.innerHTML = `<span>${digit}</span><span class="track"><span class="fill"></span></span><span class="share"></span>`;
  const track = row.querySelector(".track");
  track.setAttribute("role", "meter");
  track.setAttribute("aria-label", `Digit ${digit}`);
  track.setAttribute("aria-valuemin", "0");
  track.setAttribute("aria-valuemax", "100");
  byId("bars").append(row);
  bars.push({ row, track, fill: row.querySelector(".fill"), share: row.querySelector(".share") });
}

function penWidth() {
  return Number(byId("pen").value) / 100;
}

function paint() {
  const side = sheet.clientWidth, height = sheet.clientHeight, ratio = window.devicePixelRatio || 1;
  const pixels = [Math.round(side * ratio), Math.round(height * ratio)];
  if (sheet.width !== pixels[0] || sheet.height !== pixels[1]) [sheet.width, sheet.height] = pixels;
  const { scale, left, top } = place();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, side, height);
  context.strokeStyle = context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
  context.lineCap = context.lineJoin = "round";
  for (const { points, pen } of strokes) {
    context.lineWidth = pen * scale;
    context.beginPath();
    const at = points.map(([x, y]) => [left + x * scale, top + y * scale]);
    if (at.length === 1) {
      context.arc(at[0][0], at[0][1], (pen * scale) / 2, 0, 2 * Math.PI);
      context.fill();
      continue;
    }
    context.moveTo(at[0][0], at[0][1]);
    for (const [x, y] of at.slice(1)) context.lineTo(x, y);
    context.stroke();
  }
}

// The square of the drawing in the middle of the sheet, which may be wider than high.
function place() {
  const scale = Math.min(sheet.clientWidth, sheet.clientHeight);
  return { scale, left: (sheet.clientWidth - scale) / 2, top: (sheet.clientHeight - scale) / 2 };
}

function pointOf(event) {
  const box = sheet.getBoundingClientRect(), { scale, left, top } = place();
  const x = event.clientX - box.left - sheet.clientLeft - left, y = event.clientY - box.top - sheet.clientTop - top;
  return [x / scale, y / scale].map((v) => Math.round(v * 1e4) / 1e4);
}

function changed() {
  version++;
  byId("undo").disabled = !strokes.length && !(undone.at(-1)?.all);
  byId("redo").disabled = !undone.length || Boolean(undone.at(-1).all);
  byId("clear").disabled = !strokes.length;
  const count = strokes.length ? `${strokes.length} ${strokes.length === 1 ? "stroke" : "strokes"}` : "Nothing is";
  sheet.setAttribute("aria-label", `Sheet to draw on. ${count} drawn${strokes.length ? "" : " yet"}.`);
  requestAnimationFrame(paint);
  ask();
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  sheet.focus({ preventScroll: true });
  sheet.setPointerCapture(event.pointerId);
  const stroke = { points: [pointOf(event)], pen: penWidth() };
  drawing.set(event.pointerId, stroke);
  strokes.push(stroke);
  undone = [];
  changed();
});

sheet.addEventListener("pointermove", (event) => {
  const stroke = drawing.get(event.pointerId);
  if (!stroke) return;
  const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const one of all.length ? all : [event]) stroke.points.push(pointOf(one));
  changed();
});

for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
  sheet.addEventListener(name, (event) => {
    if (drawing.delete(event.pointerId)) ask();
  });
}

function undo() {
  drawing.clear();
  if (undone.at(-1)?.all) strokes = undone.pop().all;
  else if (strokes.length) undone.push(strokes.pop());
  changed();
}

function redo() {
  if (undone.length && !undone.at(-1).all) strokes.push(undone.pop());
  changed();
}

function clear() {
  drawing.clear();
  if (strokes.length) undone = [{ all: strokes }];
  strokes = [];
  changed();
}

byId("undo").addEventListener("click", undo);
byId("redo").addEventListener("click", redo);
byId("clear").addEventListener("click", clear);
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase(), command = event.ctrlKey || event.metaKey;
  if (key === "escape") clear();
  else if (command && (key === "y" || (key === "z" && event.shiftKey))) redo();
  else if (command && key === "z") undo();
  else return;
  event.preventDefault();
});

async function ask() {
  clearTimeout(timer);
  if (asked === version) return;
  if (!strokes.length) {
    asked = emptied = version;
    show(null);
    return;
  }
  if (busy) return;
  if (drawing.size && strokes.length === 1 && strokes[0].points.length < FEW) return;
  busy = true;
  const number = (asked = version), start = performance.now();
  try {
    const pen = strokes.reduce((sum, stroke) => sum + stroke.pen, 0) / strokes.length;
    const response = await fetch("api/predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      signal: AbortSignal.timeout(PATIENCE),
      body: JSON.stringify({ strokes: strokes.map((stroke) => stroke.points), pen }),
    });
    const found = await response.json();
    if (number > emptied) show(found, performance.now() - start);
  } catch (error) {
    asked = -1;
    timer = setTimeout(ask, RETRY);
    fail("No answer from the server. The drawing is kept, and sent again.");
  } finally {
    busy = false;
  }
  if (asked !== -1 && asked !== version) ask();
}

function say(text) {
  if (byId("says").textContent !== text) byId("says").textContent = text;
}

function fail(text) {
  answer.className = "answer error";
  byId("digit").textContent = "?";
  byId("top").textContent = byId("latency").textContent = "";
  say(text);
}

function show(found, milliseconds) {
  const probabilities = found?.probabilities;
  bars.forEach(({ row, track, fill, share }, digit) => {
    const value = probabilities ? probabilities[digit] : 0;
    fill.style.transform = `scaleX(${value})`;
    share.textContent = probabilities ? `${(100 * value).toFixed(1)} %` : "";
    track.setAttribute("aria-valuenow", (100 * value).toFixed(1));
    row.className = found?.digit === digit ? "best" : "";
  });
  const image = seen.createImageData(28, 28);
  for (let i = 0; i < 784; i++) {
    image.data.fill(found?.image ? found.image[Math.floor(i / 28)][i % 28] : 0, 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  seen.putImageData(image, 0, 0);
  if (!found) {
    answer.className = "answer";
    byId("digit").textContent = "?";
    byId("top").textContent = byId("latency").textContent = "";
    say("Draw a digit from 0 to 9.");
  } else if (!probabilities) {
    const told = found.error?.message ?? "The server gave no answer that this page knows.";
    fail(told.replace(/^\[\w+\] /, "").replace(/^./, (letter) => letter.toUpperCase()));
  } else {
    answer.className = found.sure ? "answer" : "answer unsure";
    byId("digit").textContent = found.digit;
    say(found.sure ? `This is a ${found.digit}.` : `Unsure: perhaps a ${found.digit}.`);
    byId("top").textContent = found.top.map(([digit, p]) => `${digit}: ${(100 * p).toFixed(1)} %`).join(" · ");
    byId("latency").textContent = `${milliseconds.toFixed(0)} ms, ${found.milliseconds.toFixed(1)} of them the network`;
  }
}

new ResizeObserver(paint).observe(sheet);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
window.addEventListener("online", ask);
fetch("model").then((response) => response.json()).then((model) => {
  byId("model").textContent =
    `A network of ${model.parameters.toLocaleString("en")} parameters reads what you draw, as you draw it: ${model.name}.`;
}).catch(() => {});
paint();
show(null);
