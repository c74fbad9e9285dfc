// A deployed net over an array of inputs, under Node 18 or later:
//
//     node classify.mjs MODEL.safetensors INPUTS.npy OUTPUTS.npy
//
// INPUTS is uint8 or float32, in C order, a row for each input; OUTPUTS becomes float32 (rows, outputs). It prints one
// line of JSON: load_seconds, seconds_per_image {one_by_one}, the median.

import { readFileSync, writeFileSync } from "node:fs";
import { load, ModelError } from "./gluon_bnn.js";

const NPY_HEADER = /^\{'descr': '(\|u1|<f4)', 'fortran_order': False, 'shape': \(((\d{1,15}, ?)*\d{0,15})\), \} *\n$/;
const TYPES = { "|u1": Uint8Array, "<f4": Float32Array };

/** {shape, data} of the content of an .npy file; a ModelError for another. */
function readNpy(bytes) {
  const isNpy = bytes.subarray(0, 6).toString("latin1") === "\x93NUMPY";
  const start = isNpy ? (bytes[6] === 1 ? 10 : 12) : 0;
  const end =
    isNpy && bytes.length >= start ? start + (start === 10 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8)) : 0;
  const header = bytes.toString("latin1", start, Math.min(end, bytes.length));
  const match = NPY_HEADER.exec(header);
  if (!match) throw new ModelError("inputs must be a .npy file of uint8 or little-endian float32 in C order");
  const shape = match[2]
    .split(",")
    .filter((size) => size.trim())
    .map(Number);
  const data = new Uint8Array(bytes.subarray(end)).buffer;
  const type = TYPES[match[1]];
  const size = shape.reduce((all, one) => all * one, 1);
  if (!shape.length) throw new ModelError("inputs must have rows, got a single number");
  if (data.byteLength !== size * type.BYTES_PER_ELEMENT) {
    throw new ModelError(`inputs of the shape ${shape.join("x")} do not take ${data.byteLength} bytes`);
  }
  return { shape, data: new type(data) };
}

/** The content of an .npy file, float32. */
function npy(shape, data) {
  let header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
  header = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const start = Buffer.from("\x93NUMPY\x01\0\0\0", "latin1");
  start.writeUInt16LE(header.length, 8);
  return Buffer.concat([start, Buffer.from(header, "latin1"), Buffer.from(data.buffer)]);
}

function main([modelPath, inputsPath, outputsPath, ...others]) {
  if (!outputsPath || others.length)
    throw new ModelError("usage: node classify.mjs MODEL.safetensors INPUTS.npy OUTPUTS.npy");
  const began = performance.now();
  const model = load(readFileSync(modelPath));
  const loaded = performance.now();
  const { shape, data } = readNpy(readFileSync(inputsPath));
  const rows = shape[0];
  if (data.length !== rows * model.inputs) {
    throw new ModelError(`this net takes rows of ${model.inputs} numbers, got ${data.length} numbers in ${rows} rows`);
  }
  const outputs = new Float32Array(rows * model.units);
  const seconds = new Float64Array(rows);
  for (let row = 0; row < rows; ++row) {
    const input = data.subarray(row * model.inputs, (row + 1) * model.inputs);
    const start = performance.now();
    outputs.set(model.run(input), row * model.units);
    seconds[row] = (performance.now() - start) / 1000;
  }
  writeFileSync(outputsPath, npy([rows, model.units], outputs));
  const median = rows ? seconds.sort()[rows >> 1] : null;
  console.log(JSON.stringify({ load_seconds: (loaded - began) / 1000, seconds_per_image: { one_by_one: median } }));
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ModelError) && !error.code) throw error;
  console.error(`classify.mjs: ${error.message}`);
  process.exitCode = 1;
}
