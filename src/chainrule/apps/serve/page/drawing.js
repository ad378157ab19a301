// What is drawn: strokes {points: [[x, y], …], pen} in shares of the sheet's side, so that a new size loses nothing, or a
// picture {data, height, width} of grey values 0 … 255 in their place; and the states to go back and forward to.

// What is left of a line outside of a circle: pieces of at least two points.
export function cut(points, [cx, cy], radius) {
  if (points.length === 1) return Math.hypot(points[0][0] - cx, points[0][1] - cy) < radius ? [] : [points];
  const pieces = [];
  let piece = [];
  const end = () => {
    if (piece.length > 1) pieces.push(piece);
    piece = [];
  };
  for (let k = 1; k < points.length; k++) {
    const [x, y] = points[k - 1], [dx, dy] = [points[k][0] - x, points[k][1] - y], length = dx * dx + dy * dy;
    const half = ((cx - x) * dx + (cy - y) * dy) / (length || 1); // where on the segment the centre is nearest
    const root = half * half - ((cx - x) ** 2 + (cy - y) ** 2 - radius * radius) / (length || 1);
    const inside = root > 0 ? [half - Math.sqrt(root), half + Math.sqrt(root)] : [1, 1];
    const at = (t) => [x + t * dx, y + t * dy];
    if (inside[0] >= 1 || inside[1] <= 0) {
      if (!piece.length) piece.push(points[k - 1]);
      piece.push(points[k]);
      continue;
    }
    if (inside[0] > 0) piece.push(...(piece.length ? [] : [points[k - 1]]), at(inside[0]));
    end();
    if (inside[1] < 1) piece.push(at(inside[1]), points[k]);
  }
  end();
  return pieces;
}

function paperOf({ data, height, width }) {
  const edge = data.filter((_, i) => i < width || i >= (height - 1) * width || i % width === 0 || i % width === width - 1);
  return edge.sort()[edge.length >> 1];
}

export class Drawing {
  strokes = [];
  picture = null;
  before = [];
  after = [];
  erasing = false; // whether the state before an erasing is kept already

  get empty() {
    return !this.strokes.length && !this.picture;
  }

  change(strokes, picture = null) {
    this.before.push([this.strokes, this.picture]);
    this.after = [];
    [this.strokes, this.picture, this.erasing] = [strokes, picture, false];
  }

  // Begin a stroke, and return it: points are added to it. A picture gives way to it.
  begin(point, pen) {
    const stroke = { points: [point], pen };
    this.change([...this.strokes, stroke]);
    return stroke;
  }

  // Take away what lies under a round eraser that goes from one point to another. Until `erasing` is set to false this is
  // one step to take back. Tells whether anything changed.
  erase(from, to, width) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / (width / 4)));
    let changed = false;
    for (let i = 0; i <= steps; i++) {
      const at = [0, 1].map((axis) => from[axis] + ((to[axis] - from[axis]) * i) / steps);
      changed = (this.picture ? this.wipe(at, width / 2) : this.part(at, width / 2)) || changed;
    }
    return changed;
  }

  part(at, radius) {
    const left = this.strokes.flatMap((stroke) => {
      const pieces = cut(stroke.points, at, radius + stroke.pen / 2);
      const same = pieces.length === 1 && pieces[0].length === stroke.points.length && pieces[0].every((p, i) => p === stroke.points[i]);
      return same ? [stroke] : pieces.map((points) => ({ points, pen: stroke.pen }));
    });
    if (left.length === this.strokes.length && left.every((stroke, i) => stroke === this.strokes[i])) return false;
    if (!this.erasing) this.change(left);
    [this.strokes, this.erasing] = [left, true];
    return true;
  }

  wipe([x, y], radius) {
    if (!this.erasing) this.change([], { ...this.picture, data: this.picture.data.slice() });
    this.erasing = true;
    const { data, height, width } = this.picture, long = Math.max(height, width), paper = paperOf(this.picture);
    const [cx, cy, r] = [x * long - (long - width) / 2, y * long - (long - height) / 2, radius * long];
    for (let i = Math.max(0, Math.floor(cy - r)); i < Math.min(height, cy + r); i++) {
      for (let j = Math.max(0, Math.floor(cx - r)); j < Math.min(width, cx + r); j++) {
        if (Math.hypot(i + 0.5 - cy, j + 0.5 - cx) < r) data[i * width + j] = paper;
      }
    }
    return true;
  }

  clear() {
    if (!this.empty) this.change([]);
  }

  undo() {
    this.step(this.before, this.after);
  }

  redo() {
    this.step(this.after, this.before);
  }

  step(from, to) {
    if (!from.length) return;
    to.push([this.strokes, this.picture]);
    [[this.strokes, this.picture], this.erasing] = [from.pop(), false];
  }

  // What is asked about: {picture}, or {strokes, pen} with the mean of the pens.
  question() {
    if (this.picture) return { picture: this.picture };
    const pen = this.strokes.reduce((sum, stroke) => sum + stroke.pen, 0) / this.strokes.length;
    return { strokes: this.strokes.map((stroke) => stroke.points), pen };
  }
}
