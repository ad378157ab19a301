// Who reads: the server, or the network in this browser. Both give what the server's interface does, and throw Told for an
// answer that is an error; a TypeError or TimeoutError of fetch is a server that is not there.

const PATIENCE = 10000, LESSON = 120000; // milliseconds for an answer, and for one that learns first

export class Told extends Error {
  constructor({ code, message }, retryAfter = 0) {
    super(message.replace(/^\[\w+\] /, "").replace(/^./, (letter) => letter.toUpperCase()));
    Object.assign(this, { code, retryAfter });
  }
}

// The answer of the server as JSON, or as an ArrayBuffer.
export async function fetched(path, { model = "", body, method = body ? "POST" : "GET", binary, patience = PATIENCE } = {}) {
  const named = body ? (model ? { ...body, model } : body) : undefined;
  const response = await fetch(body || !model ? path : `${path}?model=${encodeURIComponent(model)}`, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: named && JSON.stringify(named),
    signal: AbortSignal.timeout(patience),
  });
  if (response.ok && binary) return response.arrayBuffer();
  const found = await response.json().catch(() => null);
  if (response.ok && found) return found;
  const error = found?.error ?? { code: "broken", message: "The server gave no answer that this page knows." };
  throw new Told(error, Number(response.headers.get("retry-after")) * 1000);
}

// A drawing as the server takes it.
function sent({ strokes, pen, picture }) {
  if (!picture) return { strokes, pen };
  const rows = Array.from({ length: picture.height }, (_, i) =>
    Array.from(picture.data.subarray(i * picture.width, (i + 1) * picture.width)));
  return { image: rows };
}

export class ServerReader {
  constructor(model) {
    this.model = model;
  }

  read(question) {
    return fetched("api/predict", { model: this.model, body: sent(question) });
  }

  look(question) {
    return fetched("api/views", { model: this.model, body: sent(question) });
  }

  learn(question, label) {
    return fetched("api/corrections", { model: this.model, body: { ...sent(question), label }, patience: LESSON });
  }

  unlearn() {
    return fetched("api/corrections", { model: this.model, method: "DELETE", patience: LESSON });
  }
}

// The network of the same name in this browser; learning stays with the server, and `load` fetches what it learnt.
export class BrowserReader extends ServerReader {
  constructor(model, sureFrom) {
    super(model);
    this.sureFrom = sureFrom;
    this.waiting = new Map();
    this.count = 0;
    this.worker = new Worker("worker.js", { type: "module" });
    this.worker.addEventListener("message", ({ data: { id, found, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) reject(new Told(error));
      else resolve(found);
    });
    this.worker.addEventListener("error", () => {
      for (const { reject } of this.waiting.values()) reject(new Told({ message: "This browser could not start the network." }));
      this.waiting.clear();
    });
  }

  call(call, values, transfer = []) {
    const id = ++this.count;
    this.worker.postMessage({ id, call, ...values }, transfer);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  async load() {
    const buffer = await fetched("network", { model: this.model, binary: true });
    return this.call("load", { buffer }, [buffer]);
  }

  async read(question) {
    const { probabilities, image, milliseconds } = await this.call("read", { question });
    const top = probabilities.map((p, digit) => [digit, p]).sort((a, b) => b[1] - a[1]).slice(0, 3), [digit, most] = top[0];
    return { digit, sure: most >= this.sureFrom, probabilities, top, milliseconds, image: rows(image) };
  }

  look(question) {
    return this.call("look", { question });
  }

  async learn(question, label) {
    const found = await super.learn(question, label);
    await this.load();
    return found;
  }

  async unlearn() {
    const found = await super.unlearn();
    await this.load();
    return found;
  }

  close() {
    this.worker.terminate();
  }
}

function rows(image) {
  return Array.from({ length: 28 }, (_, i) => Array.from(image.subarray(28 * i, 28 * i + 28), (v) => Math.round(v * 255)));
}
