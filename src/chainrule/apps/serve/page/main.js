// The page: one question is under way at a time; when its answer comes and the drawing has changed, the newest drawing is
// asked about.

import { Drawing } from "./drawing.js";
import { BrowserReader, ServerReader, Told, fetched } from "./readers.js";
import { Sheet, pictureOf } from "./sheet.js";
import { fail, show, showModel, showViews } from "./show.js";

const byId = (id) => document.getElementById(id);
const FEW = 5; // points of a first stroke that goes on: too early to ask
const GAP = 33; // milliseconds from one question to the next
const RETRY = 2000; // milliseconds until the server is asked again after it was not there
const CALM = 250; // milliseconds without a change until the network is looked into
const page = { drawing: new Drawing(), reader: new ServerReader(""), version: 0, asked: -1, busy: false };
let emptied = 0, timer = 0, viewed = -1, calm = 0, model = null, learning = false;

const sheet = new Sheet(byId("sheet"), page.drawing, tool, changed);
Object.assign(globalThis, { page: Object.assign(page, { sheet }) }); // for the console, and for tests

function tool() {
  return { erase: byId("eraser").checked, width: Number(byId("size").value) / 100 };
}

function changed() {
  const { drawing } = page, count = drawing.strokes.length;
  page.version++;
  byId("undo").disabled = !drawing.before.length;
  byId("redo").disabled = !drawing.after.length;
  byId("clear").disabled = byId("save").disabled = drawing.empty;
  const what = drawing.picture ? "A picture is on it." : `${count || "Nothing"} ${count > 1 ? "strokes are" : count ? "stroke is" : "is"} drawn.`;
  byId("sheet").setAttribute("aria-label", `Sheet to draw on. ${what}`);
  requestAnimationFrame(() => sheet.paint());
  ask();
}

function again(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(ask, milliseconds);
}

async function ask() {
  clearTimeout(timer);
  const { drawing } = page;
  if (page.asked === page.version) return;
  if (drawing.empty) {
    page.asked = emptied = page.version;
    correctable(false);
    show(null);
    look();
    return;
  }
  if (page.busy || sheet.begun < FEW) return;
  page.busy = true;
  const number = (page.asked = page.version), start = performance.now();
  try {
    const found = await page.reader.read(drawing.question());
    if (number > emptied) {
      show(found, performance.now() - start, page.reader instanceof BrowserReader);
      correctable(true);
    }
    look();
  } catch (error) {
    const final = error instanceof Told && !error.retryAfter, late = number <= emptied;
    if (!late) {
      correctable(false);
      fail(final ? error.message : error.retryAfter ? "Too many questions at once. The drawing is kept, and sent again." : gone());
    }
    if (!final && !late) {
      page.asked = -1;
      again(error.retryAfter || RETRY);
      return;
    }
  } finally {
    page.busy = false;
  }
  if (page.asked !== page.version) again(Math.max(0, GAP - (performance.now() - start)));
}

function gone() {
  return "No answer from the server. The drawing is kept, and sent again.";
}

// ---- tools

function step(act) {
  sheet.release();
  act();
  changed();
}

async function open(file) {
  if (!file) return;
  try {
    const picture = await pictureOf(file);
    step(() => page.drawing.change([], picture));
  } catch {
    fail(`${file.name || "This"} is no picture that the browser can read.`);
  }
}

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const kind = item.types.find((type) => type.startsWith("image/"));
      if (kind) return await open(await item.getType(kind));
    }
    fail("There is no picture to paste: copy one first.");
  } catch {
    fail("The browser does not let the page see what is copied: use Ctrl+V.");
  }
}

async function save() {
  if (page.drawing.empty) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await sheet.png());
  link.download = "digit.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function resize(by) {
  byId("size").value = Number(byId("size").value) + by;
}

const actions = {
  undo: () => step(() => page.drawing.undo()),
  redo: () => step(() => page.drawing.redo()),
  clear: () => step(() => page.drawing.clear()),
  open: () => byId("file").click(),
  paste, save,
};
for (const [id, act] of Object.entries(actions)) byId(id).addEventListener("click", act);
byId("paste").hidden = !navigator.clipboard?.read;
byId("file").addEventListener("change", ({ target }) => {
  open(target.files[0]);
  target.value = "";
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
  if (file) open(file);
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  const act = event.ctrlKey || event.metaKey
    ? { z: event.shiftKey ? actions.redo : actions.undo, y: actions.redo, o: actions.open, s: actions.save }[key]
    : { escape: actions.clear, e: () => byId("eraser").click(), p: () => byId("pen").click(), "[": () => resize(-1), "]": () => resize(1) }[key];
  if (!act || event.altKey || event.target.matches?.("select")) return;
  event.preventDefault();
  act();
});

// ---- inside

function look() {
  clearTimeout(calm);
  if (byId("inside").open) calm = setTimeout(lookNow, CALM);
}

async function lookNow() {
  const number = page.version, { drawing, reader } = page;
  if (viewed === number || sheet.down.size) return;
  viewed = number;
  if (drawing.empty) return showViews(null);
  try {
    const found = await reader.look(drawing.question());
    if (found && number === page.version) showViews(found);
  } catch (error) {
    viewed = -1;
    showViews(null, error instanceof Told ? error.message : gone());
    if (!(error instanceof Told) || error.retryAfter) calm = setTimeout(lookNow, error.retryAfter || RETRY);
  }
}

byId("inside").addEventListener("toggle", look);

// ---- corrections

function correctable(there) {
  for (const button of byId("labels").children) button.disabled = !there || !learning;
}

function taught(count, text) {
  byId("unlearn").disabled = !count;
  byId("taught").textContent = text;
}

async function teach(act, told) {
  for (const button of [...byId("labels").children, byId("unlearn")]) button.disabled = true;
  byId("taught").textContent = "Learning …";
  try {
    const found = await act();
    model.learnt = found.learnt;
    taught(found.learnt, told(found));
  } catch (error) {
    taught(model?.learnt ?? 0, error instanceof Told ? error.message : "Nothing was learnt: the server did not answer.");
  }
  page.version++; // the same drawing, read by another network
  correctable(!page.drawing.empty);
  ask();
}

const drawings = (count) => `${count} ${count === 1 ? "drawing" : "drawings"}`;

function lesson({ label, digit, learnt, known_before: before, known_after: after }) {
  const share = (part) => `${(100 * part).toFixed(1)} %`;
  const well = digit === label ? `Learnt: this is a ${label}.` : `Learnt, but it still reads a ${digit}.`;
  const lost = after < before ? ` Of digits as others write them it now reads ${share(after)}, before ${share(before)}.` : "";
  return `${well} ${drawings(learnt)} so far.${lost}`;
}

for (let digit = 0; digit < 10; digit++) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: digit, disabled: true });
  button.setAttribute("aria-label", `It is a ${digit}: learn it`);
  button.addEventListener("click", () => teach(() => page.reader.learn(page.drawing.question(), digit), lesson));
  byId("labels").append(button);
}
byId("unlearn").addEventListener("click", () =>
  teach(() => page.reader.unlearn(), ({ learnt }) => `Forgotten. ${drawings(learnt)} left.`));

// ---- who reads

async function choose() {
  const name = byId("choice").value, local = byId("local").checked;
  const before = page.reader;
  try {
    model = await fetched("model", { model: name });
    let reader = new ServerReader(name);
    if (local) {
      reader = new BrowserReader(name, model.sure_from);
      await reader.load().catch((error) => {
        reader.close();
        throw error;
      });
    }
    page.reader = reader;
    before.close?.();
    showModel(model, local);
    taught(model.learnt, learning ? "" : "This server does not learn.");
  } catch (error) {
    byId("local").checked = before instanceof BrowserReader;
    byId("remote").checked = !byId("local").checked;
    if (before.model || model) byId("choice").value = before.model;
    byId("model").textContent = error instanceof Told ? error.message : "The server does not answer; nothing was changed.";
    if (!model) setTimeout(choose, RETRY);
    return;
  }
  page.version++;
  viewed = -1;
  ask();
}

async function begin() {
  try {
    const found = await fetched("models");
    learning = found.learning;
    byId("choice").replaceChildren(...found.models.map((name) => new Option(name, name)));
    byId("choices").hidden = found.models.length < 2;
  } catch {
    setTimeout(begin, RETRY);
    return;
  }
  for (const id of ["choice", "local", "remote"]) byId(id).addEventListener("change", choose);
  await choose();
}

window.addEventListener("online", ask);
show(null);
begin();
