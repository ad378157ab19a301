// The sheet: shows a drawing and has pointers and keys draw on it.

const STEP = 0.01, LEAP = 0.05; // of the side: how far an arrow key goes, and with Shift

export class Sheet {
  // `tool()` gives {erase, width} with the width as a share of the side; `changed(down)` is called after each change.
  constructor(canvas, drawing, tool, changed) {
    Object.assign(this, { canvas, drawing, tool, changed });
    this.context = canvas.getContext("2d");
    this.down = new Map(); // of each pointer that is down: {stroke} or {erase, last}
    this.cursor = null; // where the keys are, while they draw
    this.copy = null; // the picture as a canvas
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.lift(event.pointerId));
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.hide());
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  // The square of the drawing in the middle of the sheet, which may be wider than high.
  place() {
    const { clientWidth, clientHeight } = this.canvas, scale = Math.min(clientWidth, clientHeight);
    return { scale, left: (clientWidth - scale) / 2, top: (clientHeight - scale) / 2 };
  }

  pointOf(event) {
    const box = this.canvas.getBoundingClientRect(), { scale, left, top } = this.place();
    const x = event.clientX - box.left - this.canvas.clientLeft - left, y = event.clientY - box.top - this.canvas.clientTop - top;
    return [x / scale, y / scale].map((v) => Math.round(v * 1e4) / 1e4);
  }

  press(event) {
    const rubber = event.pointerType === "pen" && (event.button === 5 || event.buttons & 32); // the other end of a stylus
    if (event.button !== 0 && !rubber) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true, focusVisible: false });
    this.canvas.setPointerCapture(event.pointerId);
    this.cursor = null;
    this.start(event.pointerId, this.pointOf(event), rubber);
  }

  move(event) {
    if (!this.down.has(event.pointerId)) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.go(event.pointerId, (all.length ? all : [event]).map((one) => this.pointOf(one)));
  }

  start(pointer, point, rubber = false) {
    const { erase, width } = this.tool();
    this.drawing.erasing = false;
    if (erase || rubber) {
      this.down.set(pointer, { erase: true, last: point });
      this.go(pointer, [point]);
      return;
    }
    this.down.set(pointer, { stroke: this.drawing.begin(point, width) });
    this.changed();
  }

  go(pointer, points) {
    const held = this.down.get(pointer);
    if (held.erase) {
      for (const point of points) {
        this.drawing.erase(held.last, point, 2 * this.tool().width);
        held.last = point;
      }
    } else held.stroke.points.push(...points);
    this.changed();
  }

  lift(pointer) {
    if (!this.down.delete(pointer)) return;
    this.drawing.erasing = false;
    this.changed();
  }

  // Let go of all pointers, as before a step back.
  release() {
    this.down.clear();
    this.drawing.erasing = false;
  }

  // The number of points of a drawing that has hardly begun; Infinity for others.
  get begun() {
    const { strokes } = this.drawing;
    return this.down.size && strokes.length === 1 && [...this.down.values()][0].stroke ? strokes[0].points.length : Infinity;
  }

  // Arrow keys move a cross, and the space bar puts the pen down there and lifts it.
  key(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (!by && event.key !== " ")) return;
    event.preventDefault();
    this.cursor ??= [0.5, 0.2];
    if (by) {
      const far = event.shiftKey ? LEAP : STEP;
      this.cursor = this.cursor.map((v, axis) => Math.round(Math.min(Math.max(v + by[axis] * far, 0), 1) * 1e4) / 1e4);
      if (this.down.has("keys")) this.go("keys", [this.cursor]);
    } else if (this.down.has("keys")) this.lift("keys");
    else this.start("keys", this.cursor);
    requestAnimationFrame(() => this.paint());
  }

  hide() {
    this.lift("keys");
    this.cursor = null;
    this.paint();
  }

  paint() {
    const { canvas, context, drawing } = this, { scale, left, top } = this.place(), ratio = window.devicePixelRatio || 1;
    const size = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.round(n * ratio));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const style = getComputedStyle(document.documentElement);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    inked(context, drawing, scale, left, top, style.getPropertyValue("--ink"));
    if (!this.cursor) return;
    const [x, y] = [left + this.cursor[0] * scale, top + this.cursor[1] * scale];
    context.strokeStyle = style.getPropertyValue("--accent");
    context.lineWidth = 2;
    context.beginPath();
    for (const [dx, dy] of [[10, 0], [0, 10]]) {
      context.moveTo(x - dx, y - dy);
      context.lineTo(x + dx, y + dy);
    }
    context.stroke();
  }

  // The drawing as a PNG, dark on light.
  png(side = 560) {
    const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, side, side);
    inked(context, this.drawing, side, 0, 0, "#000");
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }
}

function inked(context, { strokes, picture }, scale, left, top, ink) {
  if (picture) {
    const { width, height } = picture, long = Math.max(width, height);
    context.drawImage(canvasOf(picture), left + ((long - width) / 2 / long) * scale, top + ((long - height) / 2 / long) * scale,
      (width / long) * scale, (height / long) * scale);
  }
  context.strokeStyle = context.fillStyle = ink;
  context.lineCap = context.lineJoin = "round";
  for (const { points, pen } of strokes) {
    const at = points.map(([x, y]) => [left + x * scale, top + y * scale]);
    context.lineWidth = pen * scale;
    context.beginPath();
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

// Values from 0 to 255 as a canvas of their size; `colour(value, index)` gives red, green and blue.
export function canvasOf({ data, width, height }, colour = (value) => [value, value, value]) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height }), context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  data.forEach((value, i) => image.data.set([...colour(value, i), 255], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

// A picture file as grey values, its longer side 280 pixels at most; what is transparent is white.
export async function pictureOf(file, most = 280) {
  const bitmap = await createImageBitmap(file), part = Math.min(1, most / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((n) => Math.max(1, Math.round(n * part)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height).data;
  const data = Uint8Array.from({ length: width * height }, (_, i) =>
    Math.round(0.299 * pixels[4 * i] + 0.587 * pixels[4 * i + 1] + 0.114 * pixels[4 * i + 2]));
  return { data, height, width };
}
