// The exported network in plain JavaScript: layers forward, and back to the picture for saliency. Values are one sample,
// {data: Float32Array, shape: [channels, height, width] or [features]}; sums run in float64.

const total = (shape) => shape.reduce((product, n) => product * n, 1);
const made = (...shape) => ({ data: new Float32Array(total(shape)), shape });

// How many windows of a convolution or pooling there are, down and across.
function spread([, height, width], [high, wide], [down, across], [top, bottom, left, right]) {
  const rows = Math.floor((height + top + bottom - high) / down) + 1;
  return [rows, Math.floor((width + left + right - wide) / across) + 1];
}

// The product of matrices a (n, k) and b (k, m), as Float64Array (n, m); four rows of b at a time.
function product(a, b, n, k, m) {
  const y = new Float64Array(n * m), row = new Float64Array(m);
  for (let i = 0; i < n; i++) {
    let j = 0;
    row.fill(0);
    for (; j + 4 <= k; j += 4) {
      const at = i * k + j, from = j * m, a0 = a[at], a1 = a[at + 1], a2 = a[at + 2], a3 = a[at + 3];
      for (let p = 0, q = from; p < m; p++, q++) row[p] += a0 * b[q] + a1 * b[q + m] + a2 * b[q + 2 * m] + a3 * b[q + 3 * m];
    }
    for (; j < k; j++) for (let p = 0; p < m; p++) row[p] += a[i * k + j] * b[j * m + p];
    y.set(row, i * m);
  }
  return y;
}

// Calls use(row, at, from) for every value x.data[from] that stands at `row`, `at` of the matrix (few · high · wide, windows)
// which the weights of a group of a convolution are multiplied by; what is missing there is padding.
function unrolled(layer, x, group, rows, columns, use) {
  const [, height, width] = x.shape, [, few, high, wide] = layer.weight.shape;
  for (let c = 0, row = 0; c < few; c++) {
    for (let i = 0; i < high; i++) {
      for (let j = 0; j < wide; j++, row++) {
        for (let r = 0; r < rows; r++) {
          const y = r * layer.stride[0] + i * layer.dilation[0] - layer.padding[0];
          if (y < 0 || y >= height) continue;
          const begin = ((group * few + c) * height + y) * width;
          for (let k = 0; k < columns; k++) {
            const z = k * layer.stride[1] + j * layer.dilation[1] - layer.padding[2];
            if (z >= 0 && z < width) use(row, r * columns + k, begin + z);
          }
        }
      }
    }
  }
}

const conv2d = {
  forward(layer, x) {
    const [filters, few, high, wide] = layer.weight.shape, depth = few * high * wide, each = filters / layer.groups;
    if (x.shape.length !== 3 || x.shape[0] !== few * layer.groups) {
      throw new Error(`a convolution of ${few * layer.groups} channels was given ${x.shape}`);
    }
    const reach = [high, wide].map((n, axis) => (n - 1) * layer.dilation[axis] + 1);
    const [rows, columns] = spread(x.shape, reach, layer.stride, layer.padding), plane = rows * columns;
    const y = made(filters, rows, columns);
    for (let group = 0; group < layer.groups; group++) {
      const matrix = new Float64Array(depth * plane), weights = layer.weight.data.subarray(group * each * depth);
      unrolled(layer, x, group, rows, columns, (row, at, from) => (matrix[row * plane + at] = x.data[from]));
      y.data.set(product(weights, matrix, each, depth, plane), group * each * plane);
    }
    if (layer.bias) for (let i = 0; i < y.data.length; i++) y.data[i] += layer.bias.data[Math.floor(i / plane)];
    return y;
  },
  backward(layer, x, y, g) {
    const [filters, rows, columns] = y.shape, plane = rows * columns, each = filters / layer.groups;
    const depth = layer.weight.data.length / filters, sums = new Float64Array(x.data.length);
    for (let group = 0; group < layer.groups; group++) {
      const turned = new Float32Array(depth * each), begin = group * each;
      for (let f = 0; f < each; f++) for (let d = 0; d < depth; d++) turned[d * each + f] = layer.weight.data[(begin + f) * depth + d];
      const back = product(turned, g.data.subarray(begin * plane), depth, each, plane);
      unrolled(layer, x, group, rows, columns, (row, at, from) => (sums[from] += back[row * plane + at]));
    }
    return { data: Float32Array.from(sums), shape: x.shape };
  },
};

const linear = {
  forward({ weight, bias }, x) {
    const [outputs, inputs] = weight.shape, y = made(outputs);
    if (x.shape.length !== 1 || x.shape[0] !== inputs) throw new Error(`a linear layer of ${inputs} inputs was given ${x.shape}`);
    for (let o = 0; o < outputs; o++) {
      let sum = bias ? bias.data[o] : 0;
      for (let i = 0, at = o * inputs; i < inputs; i++) sum += weight.data[at + i] * x.data[i];
      y.data[o] = sum;
    }
    return y;
  },
  backward({ weight }, x, y, g) {
    const [outputs, inputs] = weight.shape, back = made(...x.shape);
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let o = 0; o < outputs; o++) sum += weight.data[o * inputs + i] * g.data[o];
      back.data[i] = sum;
    }
    return back;
  },
};

const scale = {
  forward(layer, x) {
    const y = made(...x.shape), plane = x.data.length / x.shape[0];
    for (let i = 0; i < y.data.length; i++) {
      const c = Math.floor(i / plane);
      y.data[i] = x.data[i] * layer.scale.data[c] + layer.shift.data[c];
    }
    return y;
  },
  backward(layer, x, y, g) {
    const plane = x.data.length / x.shape[0];
    return { data: g.data.map((value, i) => value * layer.scale.data[Math.floor(i / plane)]), shape: x.shape };
  },
};

// Calls use(y's index, x's indices) for every window of a pooling.
function windows(layer, x, y, use) {
  const [channels, height, width] = x.shape, [, rows, columns] = y.shape;
  const [high, wide] = layer.size, [down, across] = layer.stride, [top, left] = layer.padding;
  for (let c = 0, to = 0; c < channels; c++) {
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < columns; k++, to++) {
        const found = [];
        for (let i = Math.max(0, r * down - top); i < Math.min(height, r * down - top + high); i++) {
          for (let j = Math.max(0, k * across - left); j < Math.min(width, k * across - left + wide); j++) {
            found.push((c * height + i) * width + j);
          }
        }
        use(to, found);
      }
    }
  }
}

function pooled(layer, x, use) {
  const [top, left] = layer.padding;
  const [rows, columns] = spread(x.shape, layer.size, layer.stride, [top, top, left, left]);
  const y = made(x.shape[0], rows, columns);
  windows(layer, x, y, (to, found) => (y.data[to] = use(found)));
  return y;
}

const largest = (x, found) => found.reduce((best, i) => (x.data[i] > x.data[best] ? i : best));
const share = (layer, found) => 1 / (layer.count_include_pad ? layer.size[0] * layer.size[1] : found.length);

const max_pool = {
  forward: (layer, x) => pooled(layer, x, (found) => x.data[largest(x, found)]),
  backward(layer, x, y, g) {
    const back = made(...x.shape);
    windows(layer, x, y, (to, found) => (back.data[largest(x, found)] += g.data[to]));
    return back;
  },
};

const avg_pool = {
  forward: (layer, x) => pooled(layer, x, (found) => found.reduce((sum, i) => sum + x.data[i], 0) * share(layer, found)),
  backward(layer, x, y, g) {
    const back = made(...x.shape);
    windows(layer, x, y, (to, found) => found.forEach((i) => (back.data[i] += g.data[to] * share(layer, found))));
    return back;
  },
};

const whole = (x) => ({ size: x.shape.slice(1), stride: [1, 1], padding: [0, 0], count_include_pad: true });
const global_avg_pool = {
  forward: (layer, x) => avg_pool.forward(whole(x), x),
  backward: (layer, x, y, g) => avg_pool.backward(whole(x), x, y, g),
};

const flatten = {
  forward: (layer, x) => ({ data: x.data, shape: [x.data.length] }),
  backward: (layer, x, y, g) => ({ data: g.data, shape: x.shape }),
};

const softmax = {
  forward({ temperature }, x) {
    const most = x.data.reduce((a, b) => Math.max(a, b)), powers = Array.from(x.data, (v) => Math.exp((v - most) / temperature));
    const sum = powers.reduce((a, b) => a + b);
    return { data: Float32Array.from(powers, (v) => v / sum), shape: x.shape };
  },
  backward({ temperature }, x, y, g) {
    const mean = y.data.reduce((sum, p, i) => sum + p * g.data[i], 0);
    return { data: y.data.map((p, i) => (p * (g.data[i] - mean)) / temperature), shape: x.shape };
  },
};

const residual = {
  forward: (layer, x) => added(last(run(layer.body, x), x), last(run(layer.shortcut, x), x)),
  backward: (layer, x, y, g) => added(back(layer.body, x, g), back(layer.shortcut, x, g)),
};
const last = (values, x) => values.at(-1) ?? x;
const added = (a, b) => ({ data: a.data.map((value, i) => value + b.data[i]), shape: a.shape });

// An activation of its function and its slope, (x, y, layer) -> number.
const pointwise = (value, slope) => ({
  forward: (layer, x) => ({ data: x.data.map((v) => value(v, layer)), shape: x.shape }),
  backward: (layer, x, y, g) => ({ data: g.data.map((v, i) => v * slope(x.data[i], y.data[i], layer)), shape: x.shape }),
});
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

export const KINDS = {
  conv2d, linear, scale, max_pool, avg_pool, global_avg_pool, flatten, softmax, residual,
  identity: { forward: (layer, x) => x, backward: (layer, x, y, g) => g },
  relu: pointwise((x) => Math.max(x, 0), (x) => (x > 0 ? 1 : 0)),
  leaky_relu: pointwise((x, { negative_slope }) => (x > 0 ? x : negative_slope * x),
    (x, y, { negative_slope }) => (x > 0 ? 1 : negative_slope)),
  elu: pointwise((x, { alpha }) => (x > 0 ? x : alpha * Math.expm1(x)), (x, y, { alpha }) => (x > 0 ? 1 : y + alpha)),
  silu: pointwise((x) => x * sigmoid(x), (x, y) => sigmoid(x) + y * (1 - sigmoid(x))),
  sigmoid: pointwise(sigmoid, (x, y) => y * (1 - y)),
  tanh: pointwise(Math.tanh, (x, y) => 1 - y * y),
};

// What each of some layers makes, one after the other.
function run(layers, x) {
  return layers.map((layer) => (x = KINDS[layer.kind].forward(layer, x)));
}

// The gradient at the input x of some layers, of the one at their output.
function back(layers, x, g) {
  const values = [x, ...run(layers, x)];
  for (let i = layers.length - 1; i >= 0; i--) g = KINDS[layers[i].kind].backward(layers[i], values[i], values[i + 1], g);
  return g;
}

export class Network {
  // Of the binary that the server gives: see network.py. Throws an Error that says what it does not know.
  constructor(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const weight = (place) => ({ data: new Float32Array(buffer, 4 + length + 4 * place.at, total(place.shape)), shape: place.shape });
    const built = (layer) => {
      if (!KINDS[layer.kind]) throw new Error(`The layer ${layer.name} does not run in the browser.`);
      const found = { ...layer };
      for (const name of ["weight", "bias", "scale", "shift"]) if (layer[name]) found[name] = weight(layer[name]);
      for (const name of ["body", "shortcut"]) if (layer[name]) found[name] = layer[name].map(built);
      return found;
    };
    this.name = header.name;
    this.layers = header.layers.map(built);
  }

  // Probabilities of the ten digits for an image, Float32Array of 784; scores go through softmax, probabilities do not.
  probabilities(image) {
    const y = run(this.layers, { data: image, shape: [1, 28, 28] }).at(-1), sum = y.data.reduce((a, b) => a + b, 0);
    const are = y.data.every((p) => p >= 0) && Math.abs(sum - 1) < 1e-4;
    const rows = Array.from(are ? y.data : softmax.forward({ temperature: 1 }, y).data), whole = rows.reduce((a, b) => a + b);
    return rows.map((p) => p / whole);
  }

  // The maps of the first convolution, after its batch norm and activation: {layer, maps: rows of each channel}.
  maps(image) {
    const names = [];
    let x = { data: image, shape: [1, 28, 28] }, found = null;
    for (const layer of this.layers.flatMap((layer) => layer.body ?? layer)) {
      const y = KINDS[layer.kind].forward(layer, x), between = ["scale", "identity"].includes(layer.kind);
      if (found && (layer.kind === "conv2d" || `${y.shape}` !== `${x.shape}`)) break;
      x = y;
      if (!found && layer.kind !== "conv2d") continue;
      found = y;
      names.push(layer.name);
      if (layer.kind !== "conv2d" && !between) break;
    }
    return found ? { layer: names.join(", "), maps: nested(found) } : { layer: "", maps: [] };
  }

  // Step by step, one gradient each: how much each pixel moves the score of a digit, from 0 to 1, as rows. The mean of
  // gradients at noisy copies of the image (SmoothGrad), of itself with `noise` 0; `random()` is a normal number.
  *saliency(image, label, samples = 16, noise = 0.15, random = normal()) {
    const last = this.layers.at(-1), soft = last.kind === "softmax", layers = soft ? this.layers.slice(0, -1) : this.layers;
    const sums = new Float64Array(image.length);
    for (let k = 0; k < (noise ? samples : 1); k++) {
      const x = { data: noise ? image.map((v) => v + noise * random()) : image, shape: [1, 28, 28] };
      const scores = run(layers, x).at(-1), g = made(...scores.shape);
      g.data[label] = soft ? 1 / last.temperature : 1;
      back(layers, x, g).data.forEach((v, i) => (sums[i] += v));
      yield;
    }
    const sizes = sums.map(Math.abs), most = sizes.reduce((a, b) => Math.max(a, b));
    return nested({ data: most ? sizes.map((v) => v / most) : sizes, shape: [1, 28, 28] })[0];
  }
}

// Rows of each channel.
function nested({ data, shape: [channels, height, width] }) {
  const row = (c, i) => Array.from(data.subarray((c * height + i) * width, (c * height + i + 1) * width));
  return Array.from({ length: channels }, (_, c) => Array.from({ length: height }, (_, i) => row(c, i)));
}

// Normal numbers that repeat: a linear congruential generator (Knuth, MMIX's low bits left out), by Box and Muller.
function normal(state = 1) {
  const uniform = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) + 0.5) / 2 ** 32;
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
