// Loads and runs models with the module of experiments/deploy_web, for tests: many files in one process.
//
//     node models.mjs MODULE
//
// A line of its input is JSON, {model: path, inputs: [[type, bytes in base64], ...]}. For each it prints
// {refused: why}, {outputs: [bytes in base64, ...], labels, accuracy, weights: those of each node, or null, in base64},
// or {failed: the stack of an error that is no refusal}.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const { load, ModelError, weightsOf } = await import(process.argv[2]);
const base64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

function answer({ model: path, inputs }) {
  const model = load(readFileSync(path));
  const outputs = inputs.map(([type, text]) => {
    const bytes = new Uint8Array(Buffer.from(text, "base64")).buffer;
    const x = type === "uint8" ? new Uint8Array(bytes) : new Float32Array(bytes);
    const found = new Float32Array((x.length / model.inputs) * model.units);
    for (let row = 0; row < x.length / model.inputs; ++row) {
      found.set(model.run(x.subarray(row * model.inputs, (row + 1) * model.inputs)), row * model.units);
    }
    return base64(found);
  });
  const { labels, accuracy, nodes } = model;
  const weighed = inputs.length ? nodes.keys() : [];
  const weights = Array.from(weighed, (index) => {
    return "weight" in nodes[index].arrays || "weight_bits" in nodes[index].arrays
      ? base64(weightsOf(model, index).weights)
      : null;
  });
  return { outputs, labels, accuracy, weights };
}

for await (const line of createInterface({ input: process.stdin })) {
  let found;
  try {
    found = answer(JSON.parse(line));
  } catch (error) {
    found = error instanceof ModelError ? { refused: error.message } : { failed: error.stack };
  }
  console.log(JSON.stringify(found));
}
