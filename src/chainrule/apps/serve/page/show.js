// What the network says, on the page.

import { canvasOf } from "./sheet.js";

const byId = (id) => document.getElementById(id);
const answer = document.querySelector(".answer"), bars = [];
let seen = []; // the pixels that the network saw last
const percent = (part) => `${(100 * part).toFixed(1)} %`;

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

function say(text) {
  if (byId("says").textContent !== text) byId("says").textContent = text;
}

// Why there is no answer.
export function fail(text) {
  answer.className = "answer error";
  byId("digit").textContent = "?";
  byId("top").textContent = byId("latency").textContent = "";
  barsOf(null);
  pixels([]);
  say(text);
}

function pixels(values) {
  seen = values;
  draw("seen", values.length ? { data: values, width: 28, height: 28 } : null);
}

function barsOf(found) {
  bars.forEach(({ row, track, fill, share }, digit) => {
    const value = found ? found.probabilities[digit] : 0;
    fill.style.transform = `scaleX(${value})`;
    share.textContent = found ? percent(value) : "";
    track.setAttribute("aria-valuenow", (100 * value).toFixed(1));
    row.className = found?.digit === digit ? "best" : "";
  });
}

function draw(id, picture, colour) {
  const canvas = byId(id), { data, width, height } = picture ?? { data: new Uint8Array(784), width: 28, height: 28 };
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").drawImage(canvasOf({ data, width, height }, colour), 0, 0);
}

// An answer, or null for an empty sheet; `local` tells that it came from this browser.
export function show(found, milliseconds, local) {
  barsOf(found);
  pixels(found?.image.flat() ?? []);
  if (!found) {
    answer.className = "answer";
    byId("digit").textContent = "?";
    byId("top").textContent = byId("latency").textContent = "";
    say("Draw a digit from 0 to 9.");
    return;
  }
  answer.className = found.sure ? "answer" : "answer unsure";
  byId("digit").textContent = found.digit;
  say(found.sure ? `This is a ${found.digit}.` : `Unsure: perhaps a ${found.digit}.`);
  byId("top").textContent = found.top.map(([digit, p]) => `${digit}: ${percent(p)}`).join(" · ");
  const spent = found.milliseconds.toFixed(1);
  byId("latency").textContent = local ? `${spent} ms in this browser` : `${milliseconds.toFixed(0)} ms, ${spent} of them the server`;
}

export function showModel({ name, parameters }, local) {
  byId("model").textContent =
    `A network of ${parameters.toLocaleString("en")} parameters reads what you draw${local ? ", in this browser" : ""}: ${name}.`;
}

// Dark to bright: black, blue, green, yellow.
const RAMP = [[10, 8, 30], [45, 60, 140], [30, 145, 140], [120, 205, 90], [250, 235, 60]];

function ramp(part) {
  const at = Math.min(Math.max(part, 0), 1) * (RAMP.length - 1), k = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[k].map((value, i) => value + (at - k) * (RAMP[k + 1][i] - value));
}

// Feature maps and saliency, or why there are none.
export function showViews(found, text = "") {
  byId("views").hidden = !found;
  byId("noviews").textContent = found ? "" : text || "Draw a digit to see inside.";
  if (!found) return;
  draw("saliency", { data: found.saliency.flat(), width: 28, height: 28 }, (part, i) => {
    const grey = (seen[i] ?? 0) * 0.45, hot = [255, 120, 40];
    return hot.map((value) => grey + (value - grey) * part);
  });
  byId("saliencyof").textContent = `The pixels that its score for ${found.label} hangs on`;
  byId("layer").textContent = found.maps.length ? `What its first layer makes of it: ${found.layer}` : "There is no convolution, so there are no maps.";
  const values = found.maps.map((map) => map.flat());
  const [low, high] = values.flat().reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  byId("maps").replaceChildren(...values.map((data, i) => {
    const size = { width: found.maps[i][0].length, height: found.maps[i].length };
    const canvas = canvasOf({ data, ...size }, (value) => ramp(Math.sqrt((value - low) / (high - low || 1))));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Feature map ${i}`);
    return canvas;
  }));
}
