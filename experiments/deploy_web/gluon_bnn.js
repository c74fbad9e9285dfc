// Deployed nets of gluon_bnn in JavaScript: `load` makes a model of a file that `gluon_bnn.save` wrote, `run` gives its
// outputs for one input. One module, no dependencies, for browsers and Node 18 or later.
//
//     import { load } from "./gluon_bnn.js";
//     const model = load(await (await fetch("mnist.safetensors")).arrayBuffer());
//     const scores = model.run(pixels); // a Uint8Array of 784 pixels gives a Float32Array of 10 scores
//
// A file is read as gluon_bnn/runtime/file.py reads it, in formats 1 and 2, and refused where that refuses it. A graph
// is checked and run as gluon_bnn/graph does, whose kinds of node say what each computes: every operation of float32 is
// rounded by Math.fround or by being stored in a Float32Array, and sums have the same order, so that results have the
// same bits. The numbers of a file are little-endian, as those of every browser's machine are.

const round = Math.fround;

const MOST_HEADER = 1 << 24; // bytes
const MOST_NODES = 1 << 16;
const MOST_ELEMENTS = 2 ** 30; // of a row of a value
const MOST_ELEMENTS_U8 = 8421504; // in a product of uint8: 255 times it is below 2^31
const MOST_WORDS = 2 ** 30; // of a row of all values together but the input
const MOST_CONCATENATED = 1 << 24; // elements that concat gives
const MOST_AXES = 31; // of one input
const MOST_TENSOR_AXES = 8;
const MOST_LABEL = 255; // bytes of a label in UTF-8
const MOST_RUN = 1 << 26; // words of a row of all values that `run` takes memory for
const WORD = 32; // signs in a word
const LANES = 16; // units in a block of weights
const SUM = 256; // products of so many inputs are added up on their own, then these sums

/** Why a file is no model that can be loaded, or an input none that the net takes, in words for its user. */
export class ModelError extends Error {
  name = "ModelError";
}

/** The model in the content of a file, an ArrayBuffer or a Uint8Array; a ModelError where it is none. */
export function load(content) {
  return new Model(readFile(content instanceof Uint8Array ? content : new Uint8Array(content)));
}

/**
 * A net that is ready to run.
 *
 * nodes: what it computes, each {kind, sources, attributes, arrays}; values: what each node gives for a row, as `value`
 * makes it; labels: null, or the names of its outputs; accuracy: null, or its share of right answers from 0 to 1;
 * inputShape, inputs: the shape of one input and how many numbers it has; units: how many outputs; takesPixels: whether
 * inputs may be uint8.
 */
class Model {
  #plans = new Map(); // by whether the input is pixels; each is made when it is first needed

  constructor({ nodes, values, labels, accuracy }) {
    Object.assign(this, { nodes, values, labels, accuracy });
    this.inputShape = nodes[0].attributes.shape;
    this.inputs = values[0].size;
    this.units = values.at(-1).size;
    this.takesPixels = "scale" in nodes[0].arrays;
  }

  /** The outputs, a new Float32Array, for one input: a Float32Array, or a Uint8Array where the net takes pixels. */
  run(input) {
    const pixels = input instanceof Uint8Array;
    if (!pixels && !(input instanceof Float32Array)) refuse("an input must be a Float32Array or a Uint8Array");
    if (pixels && !this.takesPixels) refuse("this net has no scale for uint8 inputs, and takes a Float32Array");
    if (input.length !== this.inputs) {
      refuse(`an input must have ${this.inputs} numbers, ${this.inputShape.join("x")}, got ${input.length}`);
    }
    if (!this.#plans.has(pixels)) this.#plans.set(pixels, plan(this.nodes, this.values, pixels));
    const { source, steps } = this.#plans.get(pixels);
    source.result = input;
    for (const step of steps) {
      const xs = step.sources.map((taken) => taken.result);
      step.result = KINDS[step.node.kind].run(step.node, step.taken, step.memory, ...xs);
    }
    return steps.at(-1).result.slice();
  }

  /** The index of the largest output, the first of several; NaN counts as the largest, as in NumPy. */
  predict(input) {
    const scores = this.run(input);
    let best = 0;
    for (let i = 1; i < scores.length; ++i) {
      if (scores[i] > scores[best] || (Number.isNaN(scores[i]) && !Number.isNaN(scores[best]))) best = i;
    }
    return best;
  }
}

function refuse(why) {
  throw new ModelError(why);
}

/**
 * What is computed in which order: {source, steps}. A value with pixels may be wanted as uint8 and as floats: there is
 * a step for each form that somebody takes. `source` stands for the input that the caller gives.
 */
function plan(nodes, values, pixels) {
  const wanted = new Map();
  const want = (index, asPixels) => {
    const key = 2 * index + asPixels;
    if (!wanted.has(key)) wanted.set(key, { index, asPixels });
    return wanted.get(key);
  };
  const source = {};
  const steps = [];
  want(nodes.length - 1, false);
  for (let index = nodes.length - 1; index >= 0; --index) {
    for (const asPixels of [true, false]) {
      const step = wanted.get(2 * index + asPixels);
      if (!step) continue;
      step.node = nodes[index];
      step.taken = step.node.sources.map((taken) => values[taken]);
      const takes = asPixels || (pixels && Boolean(KINDS[step.node.kind].takesPixels?.(step.node, step.taken)));
      step.sources = index === 0 ? [source] : step.node.sources.map((taken) => want(taken, takes));
      steps.push(step);
    }
  }
  const words = steps.reduce((sum, step) => sum + values[step.index].words, 0);
  if (words > MOST_RUN) refuse(`this net needs memory for ${words} numbers, and at most ${MOST_RUN} are given to one`);
  for (const step of steps) {
    const { form, size, words: own } = values[step.index];
    step.memory = step.asPixels ? new Uint8Array(size) : new (form === "float" ? Float32Array : Int32Array)(own);
  }
  return { source, steps: steps.reverse() };
}

// The file.

/** {nodes, values, labels, accuracy} of a file's bytes. */
function readFile(bytes) {
  const start = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length < 8 ? NaN : start.getUint32(4, true) * 2 ** 32 + start.getUint32(0, true);
  if (!(length >= 2 && length <= MOST_HEADER && length <= bytes.length - 8)) {
    const got = bytes.length < 8 ? "the end of the file" : length;
    refuse(
      `a safetensors file starts with the length of its header, 2 to ${MOST_HEADER} and no more than the file has; ` +
        `got ${got}`,
    );
  }
  const { text, places } = readHeader(bytes.subarray(8, 8 + length));
  places.sort((one, other) => one.begin - other.begin);
  let end = 0;
  for (const { name, shape, begin, end: last } of places) {
    const must = end + 4 * product(shape);
    if (begin !== end || last !== must) {
      refuse(
        `tensors must follow one another, 4 bytes a number: ${quoted(name)}, ${shape.join("x")}, must have the ` +
          `data_offsets ${end} and ${must}, got ${begin} and ${last}`,
      );
    }
    end = last;
  }
  const line = readLine(text);
  if (bytes.length !== 8 + length + end) {
    refuse(
      `it must have ${8 + length + end} bytes, got ${bytes.length}: copy it again, the copy was cut off or something ` +
        "was added",
    );
  }
  const data = new Uint8Array(bytes.subarray(8 + length)).buffer; // a copy: typed arrays begin at a multiple of 4
  const tensors = places.map(({ name, isFloat, shape, begin }) => {
    return { name, shape, data: new (isFloat ? Float32Array : Int32Array)(data, begin, product(shape)) };
  });
  tensors.sort((one, other) => (one.name < other.name ? -1 : 1));
  let crc = crc32(new TextEncoder().encode(line.content));
  for (const { name, data: array } of tensors) {
    crc = crc32(new TextEncoder().encode(name), crc);
    crc = crc32(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), crc);
  }
  if (crc !== line.crc) {
    refuse("its CRC-32 is not that of its content: it was changed after it was saved; copy it again or save it again");
  }
  if (line.format === 1) renameFormat1(tensors);
  for (const tensor of tensors) {
    const match = /^(0|[1-9][0-9]{0,8})\.([a-z0-9_]+)$/.exec(tensor.name);
    if (!match || Number(match[1]) >= line.nodes.length) {
      refuse(`tensors must be named <node>.<array>, nodes 0 to ${line.nodes.length - 1}; got ${quoted(tensor.name)}`);
    }
    tensor.data.shape = tensor.shape;
    line.nodes[match[1]].arrays[match[2]] = tensor.data;
  }
  return checkGraph(line);
}

/** What is wanted of the JSON of a header, and nothing else: JSON.parse would take a name that is there twice. */
class JsonReader {
  at = 0;

  constructor(bytes) {
    try {
      this.text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      this.bad("it is not UTF-8");
    }
    if (this.text[0] !== "{") this.bad('it must start with "{"');
  }

  bad(what) {
    refuse(`it is no safetensors file, or damaged: its header cannot be read (${what}, at character ${this.at})`);
  }

  skipSpace() {
    while (" \t\n\r".includes(this.text[this.at] ?? "end")) ++this.at;
  }

  /** Whether this character comes next, which is then behind us. */
  nextIs(character) {
    this.skipSpace();
    if (this.text[this.at] !== character) return false;
    ++this.at;
    return true;
  }

  expect(character) {
    if (!this.nextIs(character)) this.bad(`${character} is missing`);
  }

  object(readMember) {
    const names = new Set();
    this.expect("{");
    if (this.nextIs("}")) return;
    do {
      const name = this.string();
      if (names.has(name)) this.bad("a name is there twice");
      names.add(name);
      this.expect(":");
      readMember(name);
    } while (this.nextIs(","));
    this.expect("}");
  }

  numbers() {
    const found = [];
    this.expect("[");
    if (this.nextIs("]")) return found;
    do found.push(this.number());
    while (this.nextIs(","));
    this.expect("]");
    return found;
  }

  /** Above 2^53 it is rounded, and stays too large for everything that it could be. */
  number() {
    this.skipSpace();
    const digits = /-?0|[1-9][0-9]{0,18}/y;
    digits.lastIndex = this.at;
    const match = digits.exec(this.text);
    if (!match) this.bad("a whole number from 0 on is missing");
    this.at = digits.lastIndex;
    return Math.abs(Number(match[0]));
  }

  string() {
    this.expect('"');
    const begin = this.at - 1;
    while (this.at < this.text.length && this.text[this.at] !== '"') this.at += this.text[this.at] === "\\" ? 2 : 1;
    ++this.at;
    try {
      const value = JSON.parse(this.text.slice(begin, this.at));
      if (!/\p{Surrogate}/u.test(value)) return value;
    } catch {}
    return this.bad("a string is not well formed");
  }
}

/** {text, places}: the line of metadata, and {name, isFloat, shape, begin, end} of each tensor. */
function readHeader(bytes) {
  const json = new JsonReader(bytes);
  const places = [];
  let text = null;
  json.object((name) => {
    if (name === "__metadata__") {
      json.object((key) => {
        const value = json.string();
        if (key === "gluon_bnn") text = value;
      });
      return;
    }
    let dtype, shape, offsets;
    json.object((member) => {
      if (member === "dtype") dtype = json.string();
      else if (member === "shape") shape = json.numbers();
      else if (member === "data_offsets") offsets = json.numbers();
      else json.bad("a tensor has a dtype, a shape and data_offsets");
    });
    const isFloat = dtype === "F32";
    if (
      !(isFloat || dtype === "I32") ||
      !(shape && shape.length <= MOST_TENSOR_AXES && shape.every((size) => size > 0)) ||
      offsets?.length !== 2
    ) {
      refuse(
        `tensor ${quoted(name)} must have a dtype, F32 or I32, a shape of at most ${MOST_TENSOR_AXES} sizes from 1 ` +
          "on, two data_offsets, and no more",
      );
    }
    places.push({ name, isFloat, shape, begin: offsets[0], end: offsets[1] });
  });
  json.skipSpace();
  if (json.at !== json.text.length) json.bad("something follows its end");
  if (text === null) refuse('its header has no metadata "gluon_bnn": it is no file that gluon_bnn.save has written');
  return { text, places };
}

/** {content, format, nodes without their arrays, labels, accuracy, crc} of the line of metadata. */
function readLine(text) {
  const cut = text.lastIndexOf("; ");
  const content = text.slice(0, Math.max(cut, 0));
  const [line, ...description] = content.split("\n");
  const [first, ...entries] = line.split("; ");
  const version = /^format ([1-9][0-9]{0,8})$/.exec(first);
  if (!version) refuse(`its metadata must start with "format 2; ", got ${quoted(text)}`);
  const format = Number(version[1]);
  if (format > 2) refuse(`it has format ${format}, and formats 1 and 2 are read here: a later version reads it`);
  const checksum = /^crc32 ([0-9a-f]{8})$/.exec(text.slice(cut < 0 ? 0 : cut + 2));
  if (!checksum || entries.length < 2 || entries.length > MOST_NODES) {
    refuse(
      `its metadata must be a format, an input, 1 to ${MOST_NODES - 1} other nodes and a crc32, separated by "; "; ` +
        `got ${entries.length + 2} entries that end in ${quoted(text.slice(cut + 2))}`,
    );
  }
  const nodes = format === 1 ? nodesOfFormat1(entries) : entries.map(nodeOf);
  return { content, format, nodes, ...readDescription(description), crc: parseInt(checksum[1], 16) };
}

function readDescription(lines) {
  const accuracy = /^accuracy (1\.0|0\.[0-9]{1,400})$/.exec(lines[0] ?? "");
  const labels = accuracy ? lines.slice(1) : lines;
  for (const line of labels) {
    if (!line.startsWith("label ")) {
      refuse(
        'behind its nodes its metadata may have a line "accuracy <0.0 to 1.0>", then lines "label <text>", got ' +
          quoted(line),
      );
    }
  }
  return {
    labels: labels.length ? labels.map((line) => line.slice("label ".length)) : null,
    accuracy: accuracy ? Number(accuracy[1]) : null,
  };
}

const makeNode = (kind, sources, attributes) => ({ kind, sources, attributes, arrays: Object.create(null) });

/** A node of format 2, `kind sources name=value ...`, without its arrays. */
function nodeOf(entry, index) {
  const kind = KINDS[entry.split(" ", 1)[0]];
  if (!kind) refuse(`node ${index} must be of a kind of ${Object.keys(KINDS).join(", ")}; got ${quoted(entry)}`);
  const match = kind.pattern.exec(entry);
  if (!match) {
    const form = [kind.name, ...(kind.sources[1] ? ["<sources>"] : [])];
    for (const name of Object.keys(kind.attributes)) form.push(`${name}=<...>`);
    refuse(`node ${index} must be "${form.join(" ")}", got ${quoted(entry)}`);
  }
  const { _sources: sources, ...texts } = match.groups ?? {};
  const attributes = {};
  for (const [name, allowed] of Object.entries(kind.attributes)) {
    const text = texts[name];
    if (allowed === SIZES || allowed === PLACES) attributes[name] = text.split("x").map(Number);
    else attributes[name] = allowed === SIZE || allowed === PLACE ? Number(text) : text;
  }
  return makeNode(kind.name, sources ? sources.split(",").map(Number) : [], attributes);
}

const FORMAT1_SIZE = "[1-9][0-9]{0,9}";
const FORMAT1_INPUT = new RegExp(`^input (${FORMAT1_SIZE}(?:x${FORMAT1_SIZE}){0,30})$`);
const FORMAT1_LAYER = new RegExp(
  `^(binary_dense|dense|batch_norm|activation|pack) (${FORMAT1_SIZE}) (${FORMAT1_SIZE}) (float|bits|bits01) ` +
    "(float|bits)(?: (relu|sigmoid|tanh|softrelu|softsign|sign|binary_sigmoid))?$",
);

/** The nodes of format 1, a chain: `input 1x28x28`, then layers, `kind inputs units from to [function]`. */
function nodesOfFormat1([input, ...entries]) {
  const found = FORMAT1_INPUT.exec(input);
  if (!found) refuse(`its metadata must have the shape of an input in second place, got ${quoted(input)}`);
  const nodes = [makeNode("input", [], { shape: found[1].split("x").map(Number) })];
  const matches = entries.map((entry) => FORMAT1_LAYER.exec(entry));
  let given = product(nodes[0].attributes.shape);
  let gives = "float"; // what the layer before gives
  matches.forEach((match, index) => {
    if (!match) {
      refuse(
        `layer ${index} must be "<kind> <inputs> <units> <from> <to> [<function>]", got ${quoted(entries[index])}`,
      );
    }
    const [kind, from, to, activation] = [match[1], ...match.slice(4)];
    const [inputs, units] = [Number(match[2]), Number(match[3])];
    const form = kind === "pack" ? "bits" : "float";
    if (
      inputs !== given ||
      (!kind.endsWith("dense") && units !== inputs) ||
      (from === "float") !== (gives === "float") ||
      (kind !== "binary_dense" && (from !== "float" || to !== form)) ||
      (activation !== undefined) !== (kind === "activation")
    ) {
      refuse(`layer ${index} does not fit what stands before it, ${gives} ${given}: ${quoted(entries[index])}`);
    }
    const next = matches[index + 1];
    const attributes = {
      units,
      to: to === "bits" && next && next[4] === "bits01" ? "bits01" : to,
      function: activation,
    };
    const own = Object.keys(KINDS[kind].attributes).map((name) => [name, attributes[name]]);
    nodes.push(makeNode(kind, [index], Object.fromEntries(own)));
    [given, gives] = [units, to];
  });
  return nodes;
}

/** Gives tensors of format 1 their names of format 2, in which layer i is node i + 1; wrong ones stay wrong. */
function renameFormat1(tensors) {
  for (const tensor of tensors) {
    const match = /^(0|[1-9][0-9]{0,8})(\.[a-z0-9_]+)$/.exec(tensor.name);
    if (tensor.name === "input.scale" && !(isFloats(tensor.data, tensor.shape, [1]) && tensor.data[0] > 0)) {
      refuse("in format 1 input.scale must be one float32 above 0");
    }
    if (/^input\.(scale|shift)$/.test(tensor.name)) tensor.name = tensor.name.replace("input", "0");
    else tensor.name = match ? `${Number(match[1]) + 1}${match[2]}` : `"${tensor.name}"`;
  }
}

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; ++bit) byte = (byte >>> 1) ^ (byte & 1 ? 0xedb88320 : 0);
  return byte;
});

function crc32(bytes, before = 0) {
  let crc = ~before;
  for (let i = 0; i < bytes.length; ++i) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ bytes[i]) & 255];
  return ~crc >>> 0;
}

const product = (sizes) => sizes.reduce((all, size) => all * size, 1);
const words = (size) => Math.ceil(size / WORD);
const quoted = (text) => JSON.stringify(text.slice(0, 80));

// The graph, checked as in gluon_bnn/graph/check.py. Numbers stay exact: those that could pass 2^53 only have to be
// found too large, and rounding never brings them below a limit.

/**
 * What a node gives for a row: a form, "float", "bits" (of +1 and -1) or "bits01" (of 1 and 0), and a shape, (features)
 * or (height, width, channels). pixels: an input that is also taken as uint8. In memory it has `words` float32 or
 * int32: of bits, the channels of each place are packed, bit t of word w is 1 where channel 32 w + t is the smaller
 * number.
 */
function value(form, shape, pixels = false) {
  const size = product(shape);
  const channels = shape.at(-1);
  const places = size / channels;
  return { form, shape, pixels, size, channels, places, words: form === "float" ? size : places * words(channels) };
}

const show = ({ form, shape }) => `${form} ${shape.join("x")}`;

function isFloats(array, shape, wanted) {
  return array instanceof Float32Array && String(shape) === String(wanted);
}

function checkGraph({ nodes, labels, accuracy }) {
  const values = [];
  const used = new Set();
  let sum = 0;
  nodes.forEach((node, index) => {
    try {
      values.push(checkNode(node, index, values));
    } catch (error) {
      if (error instanceof ModelError) error.message = `node ${index}, ${node.kind}: ${error.message}`;
      throw error;
    }
    node.sources.forEach((source) => used.add(source));
    sum += index ? values[index].words : 0;
    if (sum > MOST_WORDS) refuse(`all values of a row must have together at most ${MOST_WORDS} words`);
  });
  const unused = nodes.findIndex((_, index) => index < nodes.length - 1 && !used.has(index));
  if (unused >= 0) refuse(`node ${unused}, ${nodes[unused].kind}, must be used by a later node, and is by none`);
  const last = values.at(-1);
  if (last.form !== "float" || last.shape.length !== 1)
    refuse(`the last node must give a row of floats, got ${show(last)}`);
  if (labels && labels.length !== last.size) {
    refuse(`labels must be as many as the net's outputs, ${last.size}, got ${labels.length}`);
  }
  for (const label of labels ?? []) {
    const size = new TextEncoder().encode(label).length;
    if (/\p{Control}/u.test(label) || size < 1 || size > MOST_LABEL) {
      refuse(`a label must have 1 to ${MOST_LABEL} bytes in UTF-8 and no control characters, got ${quoted(label)}`);
    }
  }
  return { nodes, values, labels, accuracy };
}

/** The value that a node gives. */
function checkNode(node, index, values) {
  const { kind: name, sources, attributes, arrays } = node;
  const kind = KINDS[name];
  if ((name === "input") !== (index === 0)) refuse("the first node, and no other, must be the input");
  const [least, most] = kind.sources;
  if (sources.length < least || sources.length > most) {
    refuse(`it takes the values of ${least} to ${most} nodes, got ${sources.length}`);
  }
  for (const source of sources) {
    if (source >= index) refuse(`sources must be nodes before this one, 0 to ${index - 1}, got ${source}`);
  }
  for (const [attribute, allowed] of Object.entries(kind.attributes)) {
    const given = attributes[attribute];
    const numbers = [given].flat();
    if (Array.isArray(allowed)) {
      if (!allowed.includes(given)) refuse(`${attribute} must be one of ${allowed.join(", ")}, got ${quoted(given)}`);
      continue;
    }
    const least = allowed === SIZE || allowed === SIZES ? 1 : 0;
    const right = numbers.every((number) => number >= least && number <= MOST_ELEMENTS);
    if (!right || numbers.length > MOST_AXES || (allowed === SIZES && product(given) > MOST_ELEMENTS)) {
      refuse(`${attribute} must be ${least} to ${MOST_ELEMENTS}, got ${numbers.join("x")}`);
    }
  }
  const taken = sources.map((source) => values[source]);
  if (kind.floats && taken.some(({ form }) => form !== "float")) refuse(`it takes floats, got ${taken.map(show)}`);
  const gives = kind.value(node, taken);
  if (gives.size > MOST_ELEMENTS) refuse(`a value must have at most ${MOST_ELEMENTS} elements, got ${show(gives)}`);
  const [must, may] = kind.arrays?.(node, taken) ?? [{}, {}];
  const missing = Object.keys(must).find((array) => !(array in arrays));
  if (missing) refuse(`array ${missing} is missing`);
  for (const [array, data] of Object.entries(arrays)) {
    if (!Object.hasOwn(must, array) && !Object.hasOwn(may, array)) refuse(`array ${quoted(array)} is not allowed`);
    const [type, ...shape] = must[array] ?? may[array];
    if (!(data instanceof type) || String(data.shape) !== String(shape)) {
      refuse(`${array} must be ${type.name.slice(0, -5)} ${shape.join("x")}, got ${data.shape.join("x")}`);
    }
    if (type === Float32Array && !data.every(Number.isFinite)) refuse(`${array} must be finite`);
  }
  kind.check?.(node, taken);
  return gives;
}

function together(arrays, names) {
  const present = names.filter((name) => name in arrays);
  if (present.length && present.length < names.length) {
    refuse(`${names.join(", ")} must be there together or not at all, got ${present.join(", ")}`);
  }
}

const NORM = ["mean", "factor", "beta"];
const POOL = { kernel: "sizes", strides: "sizes", padding: "places" };
const CONV = { ...POOL, dilation: "sizes" };
const FORMS = ["float", "bits", "bits01"];
const ROUNDINGS = ["floor", "ceil"];
const PADS = { zero: 0, plus: 1, minus: -1 };
// The types of attributes; a list of words is a choice among them.
const [SIZE, PLACE, SIZES, PLACES] = ["size", "place", "sizes", "places"];

/** The height and width that windows over an image give. */
function windowsOf(taken, { kernel, strides, padding, dilation = [1, 1] }, rounding = "floor") {
  if (taken.shape.length !== 3) refuse(`windows need an image, height x width x channels, got ${show(taken)}`);
  return [0, 1].map((axis) => {
    if ([kernel, strides, padding, dilation].some((attribute) => attribute.length !== 2)) {
      refuse("kernel, strides, padding and dilation must be two numbers, vertical and horizontal");
    }
    const left = taken.shape[axis] + 2 * padding[axis] - ((kernel[axis] - 1) * dilation[axis] + 1);
    if (left < 0) refuse("a window must fit into the padded image");
    return Math[rounding](left / strides[axis]) + 1;
  });
}

function poolShape(taken, attributes, rounding = attributes.rounding) {
  const { kernel, strides, padding } = attributes;
  const sizes = windowsOf(taken, attributes, rounding);
  sizes.forEach((size, axis) => {
    if (padding[axis] >= kernel[axis] || (size - 1) * strides[axis] - padding[axis] >= taken.shape[axis]) {
      refuse("every window must have places inside of the image");
    }
  });
  return [...sizes, taken.channels];
}

/** [those that must be there, those that may be] of the arrays of a product with signs, but those for pixels. */
function signArrays(node, taken, units, [runs, size]) {
  const must = { weight_bits: [Int32Array, Math.ceil(units / LANES), runs * words(size), LANES] };
  if (taken.form !== "float" && node.attributes.to !== "float") {
    must.threshold = [Int32Array, units];
    return [must, {}];
  }
  must.alpha = must.bias = [Float32Array, units];
  if (taken.form === "bits01") must.sums = [Int32Array, units];
  return [must, Object.fromEntries(NORM.map((name) => [name, must.alpha]))];
}

/** Tail bits and units past the last must be 0, since they are counted, and `sums` what the bits say. */
function checkSigns({ arrays }, units, [runs, size]) {
  together(arrays, NORM);
  together(arrays, ["alpha_u8", "bias_u8"]);
  const { weight_bits: bits, sums } = arrays;
  const perRun = words(size);
  const ones = new Int32Array(units);
  for (let i = 0; i < bits.length; ++i) {
    const unit = Math.floor(i / (LANES * runs * perRun)) * LANES + (i % LANES);
    const isLast = Math.floor(i / LANES) % perRun === perRun - 1;
    if (isLast && size % WORD && bits[i] >>> (size % WORD)) refuse(`weight_bits must be 0 past input ${size - 1}`);
    if (unit >= units && bits[i]) refuse(`weight_bits must be 0 past unit ${units - 1}`);
    if (unit < units) ones[unit] += popcount(bits[i]);
  }
  if (sums && !sums.every((sum, unit) => sum === runs * size - 2 * ones[unit])) {
    refuse("sums must be the sums of the signs");
  }
}

// What nodes compute, for one row.

function popcount(v) {
  v -= (v >>> 1) & 0x55555555;
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/**
 * Calls visit(place, row, column) for each window over an image; row and column are the window's {start, first, end}
 * along their axis: tap t lies at start + t * dilation, and inside of the image for first <= t < end.
 */
function eachWindow({ kernel, strides, padding, dilation = [1, 1] }, image, [height, width], visit) {
  const along = (axis, output) => {
    const start = output * strides[axis] - padding[axis];
    const first = Math.min(kernel[axis], Math.max(0, Math.ceil(-start / dilation[axis])));
    const end = Math.min(kernel[axis], Math.max(0, Math.ceil((image[axis] - start) / dilation[axis])));
    return { start, first, end };
  };
  const columns = Array.from({ length: width }, (_, output) => along(1, output));
  for (let y = 0, place = 0; y < height; ++y) {
    const row = along(0, y);
    for (let x = 0; x < width; ++x, ++place) visit(place, row, columns[x]);
  }
}

/** Calls visit(tap, pixel) for the taps of a window that lie inside of the image, row by row. */
function eachTap({ kernel, dilation = [1, 1] }, width, row, column, visit) {
  for (let i = row.first; i < row.end; ++i) {
    const pixels = (row.start + i * dilation[0]) * width + column.start;
    for (let j = column.first; j < column.end; ++j) visit(i * kernel[1] + j, pixels + j * dilation[1]);
  }
}

// A dense layer is a convolution with a kernel of one pixel.
const DENSE = { kernel: [1, 1], strides: [1, 1], padding: [0, 0], dilation: [1, 1], pad: "plus" };
const asRow = (taken) => [1, taken.places, taken.channels];

/** How many runs of inputs a unit has, and the size of each; with signs a run begins in a word of its own. */
function runsOf(taken, { kernel }) {
  const taps = product(kernel);
  return taken.form === "float" ? [1, taps * taken.channels] : [taps, taken.channels];
}

/** A dense layer or a convolution with signs: attributes as those of a convolution, shapes of images. */
function runSigns(node, taken, out, x, attributes, image, shape) {
  const { weight_bits: bits } = node.arrays;
  const [runs, size] = runsOf(taken, attributes);
  const [, width, channels] = image;
  const units = shape[2];
  const pixels = x instanceof Uint8Array;
  if (node.attributes.to !== "float") out.fill(0);
  if (taken.form === "float") {
    const outside = pixels ? 0 : PADS[attributes.pad];
    const window = new Float32Array(WORD * words(size)); // 0 past the last input
    const sums = new Float64Array(LANES * Math.ceil(units / LANES));
    const parts = new Float32Array(sums.length);
    eachWindow(attributes, image, shape, (place, row, column) => {
      for (let k = 0; k < size; ++k) window[k] = outside;
      eachTap(attributes, width, row, column, (tap, pixel) => {
        for (let c = 0; c < channels; ++c) window[tap * channels + c] = x[pixel * channels + c];
      });
      multiplySigns(window, size, bits, sums, parts, pixels);
      finish(node, taken, units, sums, pixels, out, place);
    });
    return out;
  }
  // Outside of the image there are words of +1, 0, or of -1, all ones; 0 between them counts nothing.
  const isLeftOut = taken.form === "bits" && attributes.pad === "zero";
  const own = words(size);
  const outside = new Int32Array(own);
  if (attributes.pad === "minus" || (taken.form === "bits01" && attributes.pad === "zero")) {
    for (let c = 0; c < size; ++c) outside[c >> 5] |= 1 << c;
  }
  const window = new Int32Array(runs * own);
  const dots = new Int32Array(LANES * Math.ceil(units / LANES));
  const filled = []; // the words of the window that count
  eachWindow(attributes, image, shape, (place, row, column) => {
    filled.length = 0;
    if (!isLeftOut) for (let w = 0; w < window.length; ++w) window[w] = outside[w % own];
    eachTap(attributes, width, row, column, (tap, pixel) => {
      for (let w = 0; w < own; ++w) window[tap * own + w] = x[pixel * own + w];
      if (isLeftOut) for (let w = 0; w < own; ++w) filled.push(tap * own + w);
    });
    if (!isLeftOut) for (let w = 0; w < window.length; ++w) filled.push(w);
    compareSigns(window, filled, bits, dots, (filled.length / own) * size);
    finish(node, taken, units, dots, false, out, place);
  });
  return out;
}

/** dots = inputs - 2 popcount(window xor weights) for every unit, over the words in `filled`. */
function compareSigns(window, filled, bits, dots, inputs) {
  const block = LANES * window.length;
  for (let unit = 0; unit < dots.length; ++unit) dots[unit] = inputs;
  for (const word of filled) {
    const own = window[word];
    for (let unit = 0, first = LANES * word; unit < dots.length; unit += LANES, first += block) {
      for (let lane = 0; lane < LANES; ++lane) dots[unit + lane] -= 2 * popcount(own ^ bits[first + lane]);
    }
  }
}

// The 16 signed sums of four inputs, and those of its two halves.
const TABLE = new Float32Array(16);
const HALVES = new Float32Array(8);

/**
 * sums = window times signs for every unit: ((+-x0 +- x1) + (+-x2 +- x3)), added up in blocks of SUM inputs. Of each
 * four inputs the 16 signed sums are formed once; four bits of a unit's weights select one of them. Of pixels, a block
 * adds up to a whole number that float32 holds, and the blocks are added without rounding. `parts` is memory for a block.
 */
function multiplySigns(window, inputs, bits, sums, parts, pixels) {
  const block = LANES * words(inputs);
  for (let begin = 0; begin < inputs; begin += SUM) {
    const end = Math.min(begin + SUM, inputs);
    for (let unit = 0; unit < parts.length; ++unit) parts[unit] = 0;
    for (let k = begin; k < end; k += 4) {
      for (let half = 0; half < 8; half += 4) {
        const one = window[k + half / 2];
        const other = window[k + half / 2 + 1];
        HALVES[half] = one + other;
        HALVES[half + 1] = other - one;
        HALVES[half + 2] = one - other;
        HALVES[half + 3] = -one - other;
      }
      for (let code = 0; code < 16; ++code) TABLE[code] = HALVES[code & 3] + HALVES[4 + (code >> 2)];
      const shift = k & 31;
      for (let unit = 0, first = LANES * (k >> 5); unit < parts.length; unit += LANES, first += block) {
        for (let lane = 0; lane < LANES; ++lane) parts[unit + lane] += TABLE[(bits[first + lane] >>> shift) & 15];
      }
    }
    for (let unit = 0; unit < sums.length; ++unit) {
      const sum = begin ? sums[unit] + parts[unit] : parts[unit];
      sums[unit] = pixels ? sum : round(sum);
    }
  }
}

/** A place's outputs from its products: scaled, moved and normalised, or compared with thresholds. */
function finish(node, taken, units, dots, pixels, out, place) {
  const { sums, mean, factor, beta } = node.arrays;
  const { threshold, alpha, bias } = pixels
    ? { threshold: node.arrays.threshold_u8, alpha: node.arrays.alpha_u8, bias: node.arrays.bias_u8 }
    : node.arrays;
  const toFloat = node.attributes.to === "float";
  const own = words(units);
  for (let unit = 0; unit < units; ++unit) {
    let y;
    if (threshold) {
      y = dots[unit] - threshold[unit];
    } else {
      const dot = sums ? (dots[unit] + sums[unit]) / 2 : dots[unit]; // even: both differ from K by an even number
      y = round(round(alpha[unit] * round(dot)) + bias[unit]);
      if (mean) y = round(round(round(y - mean[unit]) * factor[unit]) + beta[unit]);
    }
    if (toFloat) out[place * units + unit] = y;
    else if (y < 0) out[place * own + (unit >> 5)] |= 1 << unit;
  }
}

/**
 * The weights of a node of a model, dense or a convolution, as floats: {units, taps, channels, weights}, weights of the
 * shape (units, taps, channels); taps are the pixels of the kernel, one of a dense layer.
 */
export function weightsOf(model, index) {
  const node = model.nodes[index];
  const { weight, weight_bits: bits } = node.arrays;
  const taken = model.values[node.sources[0]];
  const attributes = { ...DENSE, ...node.attributes };
  const taps = product(attributes.kernel);
  const channels = taken.channels / (attributes.groups ?? 1);
  const units = attributes.units ?? attributes.channels;
  const run = taken.form === "float" ? channels : WORD * words(channels); // from a tap to the next
  const block = LANES * words(run * taps);
  const weights = new Float32Array(units * taps * channels);
  for (let unit = 0, to = 0; unit < units; ++unit) {
    for (let tap = 0; tap < taps; ++tap) {
      for (let c = 0; c < channels; ++c, ++to) {
        const k = tap * run + c;
        const word = bits && bits[Math.floor(unit / LANES) * block + LANES * (k >> 5) + (unit % LANES)];
        weights[to] = bits ? 1 - 2 * ((word >>> k) & 1) : weight[k * units + unit];
      }
    }
  }
  return { units, taps, channels, weights };
}

/** A dense layer or a convolution with float weights, in groups of channels. */
function runFloats({ arrays: { weight, bias } }, taken, out, x, attributes, image, shape, groups = 1) {
  const [, width, channels] = image;
  const [own, units] = [channels / groups, shape[2] / groups]; // of a group
  const window = new Float32Array(product(attributes.kernel) * own);
  const [sums, parts] = [new Float32Array(units), new Float32Array(units)];
  eachWindow(attributes, image, shape, (place, row, column) => {
    for (let group = 0; group < groups; ++group) {
      for (let k = 0; k < window.length; ++k) window[k] = 0;
      eachTap(attributes, width, row, column, (tap, pixel) => {
        for (let c = 0; c < own; ++c) window[tap * own + c] = x[pixel * channels + group * own + c];
      });
      multiplyFloats(window, weight, shape[2], group * units, sums, parts);
      for (let unit = 0, to = group * units; unit < units; ++unit, ++to) {
        out[place * shape[2] + to] = bias ? sums[unit] + bias[to] : sums[unit];
      }
    }
  });
  return out;
}

/**
 * sums = window times the columns of weight, whose rows have `stride` numbers, from `first` on: products are rounded,
 * then added up in blocks of SUM inputs. `parts` is memory of the size of `sums`.
 */
function multiplyFloats(window, weight, stride, first, sums, parts) {
  for (let begin = 0; begin < window.length; begin += SUM) {
    const end = Math.min(begin + SUM, window.length);
    for (let unit = 0; unit < parts.length; ++unit) parts[unit] = 0;
    for (let k = begin; k < end; ++k) {
      const input = window[k];
      for (let unit = 0, at = k * stride + first; unit < parts.length; ++unit, ++at) {
        parts[unit] += round(input * weight[at]);
      }
    }
    for (let unit = 0; unit < sums.length; ++unit) sums[unit] = begin ? sums[unit] + parts[unit] : parts[unit];
  }
}

/** out = f(x, constant) element by element, constants one for all, one a channel, or one an element. */
function map(out, x, constants, f) {
  for (let i = 0; i < x.length; ++i) out[i] = f(x[i], constants[i % constants.length]);
  return out;
}

// exp and what is made of it, in float64 by the operations of gluon_bnn/graph/kinds/activation.py: Math.exp has other
// last bits in other browsers.

const FACTORIALS = Array.from({ length: 14 }, (_, k) => product(Array.from({ length: k }, (_, i) => i + 1)));
const ERFC = [
  1.2375126308378275, -0.14024059858554525, 0.0035854154854790257, 0.08227673848999506, -0.10880393014244462,
  0.09230432116428125, -0.05869339857664934, 0.02836227737211114, -0.009746579683265262, 0.0017556261651970652,
  0.000293714378044958, -0.00029015535246077655, 5.164652974177416e-5, 2.2387565714911816e-5, -1.1438048033346894e-5,
  -9.792625707303523e-7, 1.7419821586224816e-6, -5.084465378687302e-8, -2.4857126248016745e-7, 1.879082322370048e-8,
  3.197926671666804e-8, -1.9551358868985616e-9, -2.623107347133476e-9,
];
const POWER = new DataView(new ArrayBuffer(8));

/** x^0 / first! + x^1 / (first + 1)! + ... + x^(13 - first) / 13! */
function taylor(x, first) {
  let p = 1 / FACTORIALS[13];
  for (let k = 12; k >= first; --k) p = p * x + 1 / FACTORIALS[k];
  return p;
}

function exp(x) {
  x = Math.min(Math.max(x, -708), 709);
  const nearest = 1.5 * 2 ** 52; // what is added to it is rounded to a whole number
  const n = x * 1.4426950408889634 + nearest - nearest;
  const r = x - n * 0.69314718036912381649 - n * 1.90821492927058770002e-10;
  POWER.setInt32(0, (1023 + n) << 20); // 2^n
  return taylor(r, 0) * POWER.getFloat64(0);
}

const expm1 = (x) => (Math.abs(x) < 0.25 ? x * taylor(x, 1) : exp(x) - 1);

function erfc(x) {
  const t = 1 - 7.5 / (x + 3.75);
  let p = ERFC.at(-1);
  for (let k = ERFC.length - 2; k >= 0; --k) p = p * t + ERFC[k];
  return exp(-(x * x)) * (p / (1 + 2 * x));
}

const sigmoid = (x) => 1 / (1 + exp(-x));

function tanh(x) {
  const a = Math.abs(x);
  const y = a < 2 ** -12 ? a - (a * a * a) / 3 : 1 - 2 / (exp(2 * Math.min(a, 20)) + 1);
  return x < 0 || Object.is(x, -0) ? -y : y;
}

function softrelu(x) {
  const u = exp(-Math.abs(x));
  const s = u / (2 + u);
  let p = 1 / 35;
  for (let k = 33; k > 0; k -= 2) p = p * (s * s) + 1 / k;
  return Math.max(x, 0) + 2 * s * p;
}

function gelu(x) {
  const tail = erfc(Math.abs(x) * 0.7071067811865476);
  return 0.5 * x * (x < 0 ? tail : 2 - tail);
}

const leaky = (x, slope) => (x > 0 ? x : slope * x);

// Of x and a slope; what they give is rounded to float32.
const ACTIVATIONS = {
  relu: (x) => (x <= 0 ? 0 : x),
  leaky,
  prelu: leaky,
  elu: (x, slope) => (x > 0 ? x : slope * expm1(x)),
  gelu,
  sigmoid,
  tanh,
  softrelu,
  softsign: (x) => x / round(1 + Math.abs(x)),
  swish: (x, slope) => x * round(sigmoid(round(slope * x))),
  sign: (x) => (x < 0 ? -1 : 1),
  binary_sigmoid: (x) => (x < 0 ? 0 : 1),
};

// NaN where either is NaN, and the second of two equal ones, which matters for 0.0 and -0.0.
const OPERATIONS = {
  add: (x, y) => x + y,
  subtract: (x, y) => x - y,
  multiply: (x, y) => x * y,
  divide: (x, y) => x / y,
  maximum: (x, y) => (x > y || Number.isNaN(x) ? x : y),
  minimum: (x, y) => (x < y || Number.isNaN(x) ? x : y),
};

/**
 * The kinds of node. attributes: their types, in the order in which a file has them; sources: how many values it takes;
 * floats: whether these must be floats; value: what it gives; arrays: [those that it must have, those that it may],
 * {name: [type, ...shape]}; check: what else they must be; takesPixels: whether it computes on uint8 in the place of an
 * input that is taken as them; run(node, taken, out, ...xs): its value, in `out` where it is not x itself.
 */
const KINDS = {
  __proto__: null, // a file names kinds: "constructor" is none

  input: {
    attributes: { shape: SIZES },
    sources: [0, 0],
    value({ attributes, arrays: { scale } }) {
      return value("float", [product(attributes.shape)], isFloats(scale, scale?.shape, [1]) && scale[0] > 0);
    },
    arrays({ attributes, arrays: { scale } }) {
      const inputs = [Float32Array, product(attributes.shape)];
      return [{}, { scale: String(scale?.shape) === "1" ? [Float32Array, 1] : inputs, shift: inputs }];
    },
    check({ arrays }) {
      together(arrays, ["scale", "shift"]);
      if (arrays.scale?.includes(0)) refuse("scale must not be 0");
    },
    run({ arrays: { scale, shift } }, taken, out, x) {
      if (x instanceof Float32Array || out instanceof Uint8Array) return x;
      for (let i = 0; i < x.length; ++i) out[i] = round(scale[i % scale.length] * x[i]) + shift[i];
      return out;
    },
  },

  binary_dense: {
    attributes: { units: SIZE, to: FORMS },
    value(node, [taken]) {
      if (this.takesPixels(node, [taken]) && taken.size > MOST_ELEMENTS_U8) {
        refuse(`at most ${MOST_ELEMENTS_U8} uint8 inputs are allowed, got ${taken.size}`);
      }
      return value(node.attributes.to, [...taken.shape.slice(0, -1), node.attributes.units]);
    },
    takesPixels: (node, [taken]) => taken.pixels && taken.shape.length === 1,
    arrays(node, [taken]) {
      const [must, may] = signArrays(node, taken, node.attributes.units, [1, taken.channels]);
      if (this.takesPixels(node, [taken])) must.alpha_u8 = must.bias_u8 = must.alpha;
      return [must, may];
    },
    check: (node, [taken]) => checkSigns(node, node.attributes.units, [1, taken.channels]),
    run(node, [taken], out, x) {
      return runSigns(node, taken, out, x, DENSE, asRow(taken), [1, taken.places, node.attributes.units]);
    },
  },

  dense: {
    attributes: { units: SIZE },
    floats: true,
    value: ({ attributes }, [taken]) => value("float", [...taken.shape.slice(0, -1), attributes.units]),
    arrays({ attributes: { units } }, [{ channels }]) {
      return [{ weight: [Float32Array, channels, units] }, { bias: [Float32Array, units] }];
    },
    run(node, [taken], out, x) {
      return runFloats(node, taken, out, x, DENSE, asRow(taken), [1, taken.places, node.attributes.units]);
    },
  },

  batch_norm: {
    floats: true,
    value: (node, [taken]) => value("float", taken.shape),
    arrays: (node, [{ channels }]) => [Object.fromEntries(NORM.map((name) => [name, [Float32Array, channels]])), {}],
    run({ arrays: { mean, factor, beta } }, taken, out, x) {
      for (let i = 0; i < x.length; ++i) {
        const c = i % mean.length;
        out[i] = round(round(x[i] - mean[c]) * factor[c]) + beta[c];
      }
      return out;
    },
  },

  activation: {
    attributes: { function: Object.keys(ACTIVATIONS) },
    floats: true,
    value: (node, [taken]) => value("float", taken.shape),
    arrays({ attributes }, [{ channels }]) {
      const slopes = { leaky: 1, elu: 1, swish: 1, prelu: channels };
      const size = slopes[attributes.function];
      return [size ? { slope: [Float32Array, size] } : {}, {}];
    },
    run({ attributes, arrays }, taken, out, x) {
      return map(out, x, arrays.slope ?? [0], ACTIVATIONS[attributes.function]);
    },
  },

  pack: {
    attributes: { to: FORMS.slice(1) },
    floats: true,
    value: ({ attributes }, [taken]) => value(attributes.to, taken.shape),
    takesPixels: (node, [taken]) => taken.pixels,
    arrays: (node, [taken]) => [taken.pixels ? { threshold_u8: [Int32Array, taken.size] } : {}, {}],
    run({ arrays: { threshold_u8: thresholds } }, [{ channels, places }], out, x) {
      const pixels = x instanceof Uint8Array;
      out.fill(0);
      for (let place = 0, i = 0; place < places; ++place) {
        for (let c = 0; c < channels; ++c, ++i) {
          if (x[i] < (pixels ? thresholds[i] : 0)) out[place * words(channels) + (c >> 5)] |= 1 << c;
        }
      }
      return out;
    },
  },

  flatten: {
    value: (node, [taken]) => value(taken.form, [taken.size], taken.pixels),
    run(node, [{ form, channels, places }], out, x) {
      if (form === "float" || channels % WORD === 0) return x;
      out.fill(0);
      for (let place = 0, i = 0; place < places; ++place) {
        for (let c = 0; c < channels; ++c, ++i) {
          out[i >> 5] |= ((x[place * words(channels) + (c >> 5)] >>> c) & 1) << i;
        }
      }
      return out;
    },
  },

  image: {
    attributes: { shape: SIZES },
    floats: true,
    value({ attributes: { shape } }, [taken]) {
      if (shape.length !== 3 || taken.shape.length !== 1 || product(shape) !== taken.size) {
        refuse(`image takes a row of as many features as it has, got ${show(taken)} and ${shape.join("x")}`);
      }
      return value("float", shape, taken.pixels);
    },
    run({ attributes: { shape } }, taken, out, x) {
      const [height, width, channels] = shape;
      for (let c = 0, i = 0; c < channels; ++c) {
        for (let pixel = 0; pixel < height * width; ++pixel, ++i) out[pixel * channels + c] = x[i];
      }
      return out;
    },
  },

  arithmetic: {
    attributes: { function: Object.keys(OPERATIONS) },
    sources: [1, 2],
    floats: true,
    value(node, taken) {
      if (String(taken[0].shape) !== String(taken.at(-1).shape)) refuse("it takes two values of the same shape");
      return value("float", taken[0].shape);
    },
    arrays({ arrays: { operand } }, taken) {
      if (taken.length === 2) return [{}, {}];
      return [{ operand: [Float32Array, String(operand?.shape) === "1" ? 1 : taken[0].channels] }, {}];
    },
    run({ attributes, arrays }, taken, out, x, y = arrays.operand) {
      return map(out, x, y, OPERATIONS[attributes.function]);
    },
  },

  concat: {
    sources: [2, 64],
    floats: true,
    value(node, taken) {
      const shapes = taken.map(({ shape }) => shape.slice(0, -1));
      if (shapes.some((shape) => String(shape) !== String(shapes[0]))) {
        refuse(`concat takes values that differ in the last axis only, got ${taken.map(show).join(", ")}`);
      }
      const gives = value("float", [...shapes[0], taken.reduce((sum, { channels }) => sum + channels, 0)]);
      if (gives.size > MOST_CONCATENATED) refuse(`concat gives at most ${MOST_CONCATENATED} elements`);
      return gives;
    },
    run(node, taken, out, ...xs) {
      for (let place = 0, i = 0; place < taken[0].places; ++place) {
        xs.forEach((x, source) => {
          const { channels } = taken[source];
          for (let c = 0; c < channels; ++c, ++i) out[i] = x[place * channels + c];
        });
      }
      return out;
    },
  },

  slice: {
    attributes: { begin: PLACE, end: SIZE },
    floats: true,
    value({ attributes: { begin, end } }, [taken]) {
      if (!(begin < end && end <= taken.channels)) {
        refuse(`slice must have begin < end <= ${taken.channels}, got begin ${begin}, end ${end}`);
      }
      return value("float", [...taken.shape.slice(0, -1), end - begin]);
    },
    run({ attributes: { begin, end } }, [{ channels, places }], out, x) {
      for (let place = 0, i = 0; place < places; ++place) {
        for (let c = begin; c < end; ++c, ++i) out[i] = x[place * channels + c];
      }
      return out;
    },
  },

  binary_conv2d: {
    attributes: { channels: SIZE, ...CONV, pad: Object.keys(PADS), to: FORMS },
    value(node, [taken]) {
      const { attributes } = node;
      const sizes = windowsOf(taken, attributes);
      const most = this.takesPixels(node, [taken]) ? MOST_ELEMENTS_U8 : MOST_ELEMENTS;
      const inputs = product(runsOf(taken, attributes));
      if (inputs > most) refuse(`a window must have at most ${most} inputs, got ${inputs}`);
      if (taken.form === "bits01" && attributes.pad === "minus") refuse("from bits01 pad must be zero or plus");
      return value(attributes.to, [...sizes, attributes.channels]);
    },
    takesPixels: ({ arrays }, [taken]) => taken.pixels && ("alpha_u8" in arrays || "threshold_u8" in arrays),
    arrays(node, [taken]) {
      const { channels, pad, padding, to } = node.attributes;
      const [must, may] = signArrays(node, taken, channels, runsOf(taken, node.attributes));
      if (taken.pixels && (pad === "zero" || (padding[0] === 0 && padding[1] === 0))) {
        if (to === "float") may.alpha_u8 = may.bias_u8 = must.alpha;
        else may.threshold_u8 = [Int32Array, channels];
      }
      return [must, may];
    },
    check: (node, [taken]) => checkSigns(node, node.attributes.channels, runsOf(taken, node.attributes)),
    run(node, [taken], out, x) {
      const shape = [...windowsOf(taken, node.attributes), node.attributes.channels];
      return runSigns(node, taken, out, x, node.attributes, taken.shape, shape);
    },
  },

  conv2d: {
    attributes: { channels: SIZE, ...CONV, groups: SIZE },
    floats: true,
    value({ attributes }, [taken]) {
      const { channels, groups } = attributes;
      const sizes = windowsOf(taken, attributes);
      if (channels % groups || taken.channels % groups) refuse(`groups must divide the channels, got ${groups} groups`);
      return value("float", [...sizes, channels]);
    },
    arrays({ attributes: { channels, kernel, groups } }, [taken]) {
      const inputs = product(kernel) * (taken.channels / groups);
      return [{ weight: [Float32Array, inputs, channels] }, { bias: [Float32Array, channels] }];
    },
    run(node, [taken], out, x) {
      const shape = [...windowsOf(taken, node.attributes), node.attributes.channels];
      return runFloats(node, taken, out, x, node.attributes, taken.shape, shape, node.attributes.groups);
    },
  },

  max_pool: {
    attributes: { ...POOL, rounding: ROUNDINGS },
    value: ({ attributes }, [taken]) => value(taken.form, poolShape(taken, attributes)),
    arrays: (node, [taken]) => [{}, taken.form === "float" ? {} : { falls: [Int32Array, words(taken.channels)] }],
    check({ arrays: { falls } }, [{ channels }]) {
      if (channels % WORD && falls?.at(-1) >>> (channels % WORD))
        refuse(`falls must be 0 past channel ${channels - 1}`);
    },
    run({ attributes, arrays: { falls } }, [taken], out, x) {
      const ofFloats = taken.form === "float";
      const own = taken.words / taken.places;
      const largest = new Int32Array(own);
      out.fill(ofFloats ? -3.4028234663852886e38 : -1);
      eachWindow(attributes, taken.shape, poolShape(taken, attributes), (place, row, column) => {
        for (let c = 0; c < own; ++c) largest[c] = 0;
        eachTap(attributes, taken.shape[1], row, column, (tap, pixel) => {
          for (let c = 0, to = place * own, from = pixel * own; c < own; ++c, ++to, ++from) {
            if (ofFloats) {
              if (x[from] > out[to]) out[to] = x[from];
            } else {
              out[to] &= x[from]; // a 1 stands for the smaller number
              largest[c] |= x[from];
            }
          }
        });
        if (falls) {
          for (let c = 0, to = place * own; c < own; ++c, ++to)
            out[to] = (out[to] & ~falls[c]) | (largest[c] & falls[c]);
        }
      });
      return out;
    },
  },

  average_pool: {
    attributes: { ...POOL, rounding: ROUNDINGS, count: ["all", "inside"] },
    floats: true,
    value: ({ attributes }, [taken]) => value("float", poolShape(taken, attributes)),
    run({ attributes }, [{ shape, channels }], out, x) {
      const { kernel, padding, count } = attributes;
      const sizes = poolShape({ shape, channels }, attributes);
      const dividesFirst = String(sizes) !== String(poolShape({ shape, channels }, attributes, "floor"));
      const counted = ({ start, first, end }, axis) => {
        return count === "inside" ? end - first : Math.min(start + kernel[axis], shape[axis] + padding[axis]) - start;
      };
      out.fill(0);
      eachWindow(attributes, shape, sizes, (place, row, column) => {
        const divisor = round(counted(row, 0) * counted(column, 1));
        eachTap(attributes, shape[1], row, column, (tap, pixel) => {
          for (let c = 0; c < channels; ++c) {
            const number = x[pixel * channels + c];
            out[place * channels + c] += dividesFirst ? round(number / divisor) : number;
          }
        });
        if (!dividesFirst) for (let c = 0; c < channels; ++c) out[place * channels + c] /= divisor;
      });
      return out;
    },
  },
};

const NUMBER = "(?:0|[1-9][0-9]{0,9})";
for (const [name, kind] of Object.entries(KINDS)) {
  kind.name = name;
  kind.attributes ??= {};
  kind.sources ??= [1, 1];
  let pattern = kind.sources[1] ? `${name} (?<_sources>${NUMBER}(?:,${NUMBER})*)` : name;
  for (const [attribute, allowed] of Object.entries(kind.attributes)) {
    const several = `${NUMBER}(?:x${NUMBER}){0,30}`;
    const text = Array.isArray(allowed) ? "[a-z0-9_]+" : allowed === SIZE || allowed === PLACE ? NUMBER : several;
    pattern += ` ${attribute}=(?<${attribute}>${text})`;
  }
  kind.pattern = new RegExp(`^${pattern}$`);
}
