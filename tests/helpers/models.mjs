// Loads models with the module of experiments/deploy_web, for tests: many files through one process.
//
//     node models.mjs MODULE < LINES
//
// A line is JSON: {model: path, inputs: [paths of raw bytes], types: ["uint8" or "float32"]}. For each, it prints one:
// {refused: why}, or {outputs: for each of the inputs its bytes in hexadecimal}. An error that is no refusal ends it.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const { load, ModelError } = await import(process.argv[2]);

function answer({ model: path, inputs, types }) {
  const model = load(readFileSync(path));
  const outputs = inputs.map((name, index) => {
    const bytes = new Uint8Array(readFileSync(name)).buffer;
    const x = types[index] === "uint8" ? new Uint8Array(bytes) : new Float32Array(bytes);
    const rows = [];
    for (let begin = 0; begin < x.length; begin += model.inputs) rows.push(model.run(x.subarray(begin, begin + model.inputs)));
    return rows.map((row) => Buffer.from(row.buffer).toString("hex")).join("");
  });
  return { outputs, labels: model.labels, accuracy: model.accuracy };
}

for await (const line of createInterface({ input: process.stdin })) {
  let found;
  try {
    found = answer(JSON.parse(line));
  } catch (error) {
    if (!(error instanceof ModelError)) throw new Error(`${line}: ${error.stack}`);
    found = { refused: error.message };
  }
  console.log(JSON.stringify(found));
}
