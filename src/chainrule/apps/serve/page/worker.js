// The network in a thread of its own, so that drawing never waits for it. Messages {id, call, ...} are answered by
// {id, found} or {id, error: {code, message}}.

import { NoDigit, preprocess } from "./digits.js";
import { Network } from "./network.js";

let network = null, looked = 0;

const calls = {
  load({ buffer }) {
    network = new Network(buffer);
    return { name: network.name };
  },

  read({ question }) {
    const start = performance.now(), image = preprocess(question), probabilities = network.probabilities(image);
    return { image, probabilities, milliseconds: performance.now() - start };
  },

  // Feature maps, and saliency bit by bit, so that drawings are read between; a newer look ends an older one.
  async look({ id, question, label }) {
    looked = id;
    const image = preprocess(question), chosen = label ?? best(network.probabilities(image));
    const saliency = network.saliency(image, chosen);
    let step = saliency.next();
    while (!step.done) {
      await new Promise((resolve) => setTimeout(resolve));
      if (looked !== id) return null;
      step = saliency.next();
    }
    return { label: chosen, ...network.maps(image), saliency: step.value };
  },
};

const best = (values) => values.indexOf(Math.max(...values));

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ id: data.id, found: await calls[data.call](data) });
  } catch (error) {
    const code = error instanceof NoDigit ? "no_digit" : "not_in_browser";
    postMessage({ id: data.id, error: { code, message: error.message } });
  }
});
