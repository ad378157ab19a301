// A drawing made what MNIST is, step by step as image.py and strokes.py do it: float64, with float32 where they have it.

const SIDE = 28, BOX = 20, CENTRE = 14;
const CONTRAST = 0.05, INK = 0.15, SPECK = 12, FULL = 0.7;
const LONG = 200, PENS = [0.09, 0.16], NEAR = 3, MOST = 20000, STROKES = 500, PATH = 10000;

// What is no digit; its message is for whoever draws.
export class NoDigit extends Error {}

function refuse(text) {
  throw new NoDigit(text);
}

const clip = (value, low, high) => Math.min(Math.max(value, low), high);

// To the nearest integer, halves to the even one, as NumPy and Python round.
function rint(value) {
  const down = Math.floor(value), part = value - down;
  return part < 0.5 || (part === 0.5 && down % 2 === 0) ? down : down + 1;
}

function median(values) {
  const sorted = Float64Array.from(values).sort(), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// The points without those that are near to the one before; the last stays.
function thinned(points) {
  const kept = [points[0]];
  for (const point of points.slice(1, -1)) {
    const [x, y] = kept.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) >= NEAR) kept.push(point);
  }
  if (points.length > 1) kept.push(points.at(-1));
  return kept;
}

// Strokes on an empty sheet: {data: Float32Array, height, width}, ink 1, grey on its edge.
export function render(strokes, height, width, pen) {
  const nearest = new Float64Array(height * width).fill(Infinity), reach = pen / 2 + 1;
  for (const points of strokes) {
    for (let k = 0; k < Math.max(1, points.length - 1); k++) {
      const [x0, y0] = points[k], [x1, y1] = points[Math.min(k + 1, points.length - 1)];
      const left = clip(Math.floor(Math.min(x0, x1) - reach), 0, width), top = clip(Math.floor(Math.min(y0, y1) - reach), 0, height);
      const right = clip(Math.ceil(Math.max(x0, x1) + reach), 0, width), bottom = clip(Math.ceil(Math.max(y0, y1) + reach), 0, height);
      const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
      for (let i = top; i < bottom; i++) {
        const y = i + 0.5 - y0;
        for (let j = left; j < right; j++) {
          const x = j + 0.5 - x0, along = length ? (x * dx + y * dy) / length : 0, part = along < 0 ? 0 : along > 1 ? 1 : along;
          const across = x - part * dx, down = y - part * dy, distance = across * across + down * down;
          if (distance < nearest[i * width + j]) nearest[i * width + j] = distance;
        }
      }
    }
  }
  const data = new Float32Array(nearest.length);
  for (let at = 0; at < data.length; at++) data[at] = clip(pen / 2 + 0.5 - Math.sqrt(nearest[at]), 0, 1);
  return { data, height, width };
}

// A drawing at the size in which it is read, its longer side 200 pixels, and a pixel of paper around it.
function drawn(strokes, pen) {
  const found = strokes.filter((stroke) => stroke.length);
  if (!found.length) refuse("There is nothing yet: draw a digit");
  const count = found.reduce((sum, stroke) => sum + stroke.length, 0);
  if (count > MOST) refuse(`The drawing has ${count} points, expected ${MOST} at most`);
  if (found.length > STROKES) refuse(`The drawing has ${found.length} strokes, expected ${STROKES} at most`);
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (const stroke of found) {
    for (const point of stroke) {
      for (const axis of [0, 1]) {
        low[axis] = Math.min(low[axis], point[axis]);
        high[axis] = Math.max(high[axis], point[axis]);
      }
    }
  }
  const long = Math.max(high[0] - low[0], high[1] - low[1]);
  if (long <= pen * 0.75) refuse("This is hardly more than a dot: draw a digit");
  const width = LONG * clip(pen / (long + pen), ...PENS), scale = (LONG - width) / long, shift = width / 2 + 1;
  let path = 0;
  for (const stroke of found) {
    for (let k = 1; k < stroke.length; k++) path += Math.hypot(stroke[k][0] - stroke[k - 1][0], stroke[k][1] - stroke[k - 1][1]);
  }
  if (path * scale > PATH) refuse("This is a scribble, with too many lines over one another: draw a digit");
  const placed = found.map((stroke) =>
    thinned(stroke.map(([x, y]) => [(x - low[0]) * scale, (y - low[1]) * scale])).map(([x, y]) => [x + shift, y + shift]));
  const [across, down] = [0, 1].map((axis) => Math.ceil((high[axis] - low[axis]) * scale + width + 2 - 1e-9));
  return padded(render(placed, down, across, width));
}

function padded({ data, height, width }) {
  const wide = width + 2, around = new Float32Array(wide * (height + 2));
  for (let i = 0; i < height; i++) around.set(data.subarray(i * width, (i + 1) * width), (i + 1) * wide + 1);
  return { data: around, height: height + 2, width: wide };
}

// The ink of a picture, 1 on 0, without the paper around it and without its grain.
function isolated({ data, height, width }) {
  const edge = [];
  for (let j = 0; j < width; j++) edge.push(data[j], data[(height - 1) * width + j]);
  for (let i = 0; i < height; i++) edge.push(data[i * width], data[i * width + width - 1]);
  const paper = median(edge), ink = new Float64Array(data.length);
  let most = 0, range = 1;
  for (let at = 0; at < ink.length; at++) {
    ink[at] = Math.abs(data[at] - paper);
    if (ink[at] > most) most = ink[at];
    if (Math.abs(data[at]) > range) range = Math.abs(data[at]);
  }
  if (most < CONTRAST * range) refuse("The picture is blank, all its pixels are alike: draw a digit");
  const grain = Math.min(3 * median(edge.map((v) => Math.abs(v - paper))), most / 2);
  let top = height, bottom = 0, left = width, right = 0, count = 0;
  for (let i = 0, at = 0; i < height; i++) {
    for (let j = 0; j < width; j++, at++) {
      ink[at] = Math.max(ink[at] - grain, 0) / (most - grain);
      if (ink[at] <= INK) continue;
      count++;
      if (i < top) top = i;
      if (i >= bottom) bottom = i + 1;
      if (j < left) left = j;
      if (j >= right) right = j + 1;
    }
  }
  if (count < SPECK) refuse("This is a speck, hardly any ink: draw a digit");
  const cut = new Float64Array((bottom - top) * (right - left));
  for (let i = top; i < bottom; i++) cut.set(ink.subarray(i * width + left, i * width + right), (i - top) * (right - left));
  return { data: cut, height: bottom - top, width: right - left };
}

// Averages of `old` cells as `count` ones by the area they share: for each the first cell, and the shares from there on.
function shrink(count, old) {
  return Array.from({ length: count }, (_, row) => {
    const begin = row * (old / count), end = (row + 1) * (old / count), first = Math.floor(begin);
    const shares = Array.from({ length: Math.min(Math.ceil(end), old) - first }, (_, k) =>
      Math.max(Math.min(end, first + k + 1) - Math.max(begin, first + k), 0) * (count / old));
    return { first, shares };
  });
}

// The image that a network sees, Float32Array of 28 × 28, of {strokes, pen} or {picture: {data, height, width}}.
// Throws NoDigit for what is empty, a speck, or a filled area.
export function preprocess({ strokes, pen, picture }) {
  const ink = isolated(picture ?? drawn(strokes, pen)), long = Math.max(ink.height, ink.width);
  const [height, width] = [ink.height, ink.width].map((n) => Math.max(1, rint((n * BOX) / long)));
  const across = shrink(width, ink.width), box = new Float64Array(height * width), half = new Float64Array(height * ink.width);
  shrink(height, ink.height).forEach(({ first, shares }, r) => shares.forEach((part, k) => {
    const to = r * ink.width, from = (first + k) * ink.width;
    for (let j = 0; j < ink.width; j++) half[to + j] += part * ink.data[from + j];
  }));
  for (let r = 0; r < height; r++) {
    across.forEach(({ first, shares }, c) => {
      let sum = 0;
      for (let k = 0; k < shares.length; k++) sum += shares[k] * half[r * ink.width + first + k];
      box[r * width + c] = sum;
    });
  }
  const most = box.reduce((a, b) => Math.max(a, b));
  let sum = 0, middleRow = 0, middleColumn = 0;
  box.forEach((value, at) => {
    const share = (box[at] = value / most);
    sum += share;
    middleRow += share * Math.floor(at / width);
    middleColumn += share * (at % width);
  });
  if (sum > FULL * BOX * BOX) refuse("This is a filled area, not lines: draw a digit");
  const corner = (middle, size) => clip(rint(rint((CENTRE - middle / sum) * 1e9) / 1e9), 0, SIDE - size);
  const top = corner(middleRow, height), left = corner(middleColumn, width);
  const image = new Float32Array(SIDE * SIDE);
  for (let r = 0; r < height; r++) image.set(box.subarray(r * width, (r + 1) * width), (top + r) * SIDE + left);
  return image;
}
