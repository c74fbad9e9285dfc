// The page: loads a net, draws what is drawn, and shows what the net makes of it.

import { load, ModelError, weightsOf } from "./gluon_bnn.js";

const SIDE = 28; // of MNIST's images
const BOX = 20; // that the digit fills
const PEN = 22; // of the drawing area's 280 pixels
const MOST_PICTURES = 100;
const TIMED = 20; // ms that runs are repeated for

const find = (id) => document.getElementById(id);
const paper = find("paper").getContext("2d", { willReadFrequently: true });
const { width: WIDTH, height: HEIGHT } = paper.canvas;

let model = null;
let pen = null; // where the stroke is, while one is drawn
let lastAsked = 0; // a net that was asked for later replaces one that arrives later

// Nets.

async function show(name, read) {
  const asked = ++lastAsked;
  let error = null;
  try {
    const content = await read();
    const loaded = loadForDrawings(content);
    if (asked !== lastAsked) return;
    model = loaded;
    showFacts(name, content.byteLength);
    showFilters();
    classify();
  } catch (problem) {
    if (asked !== lastAsked) return;
    error = `${name} cannot be shown: ${problem.message}`;
  }
  find("waiting").hidden = true;
  find("error").hidden = !error;
  find("error").textContent = error ?? "";
}

async function fetchModel(url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new ModelError("it cannot be reached from here, or its server allows no other pages to read it");
  }
  if (!response.ok) throw new ModelError(`the server has no such file (${response.status})`);
  return response.arrayBuffer();
}

/** The model in a file's content, where it is one and takes what is drawn here. */
function loadForDrawings(content) {
  let loaded;
  try {
    loaded = load(content);
  } catch (problem) {
    throw new ModelError(`it is not a model file, or a damaged one. In detail: ${problem.message}`);
  }
  const { inputs, inputShape, takesPixels } = loaded;
  if (inputs !== SIDE * SIDE) {
    throw new ModelError(
      `it takes inputs of ${inputShape.join("x")}, and what is drawn here has ${SIDE}x${SIDE} pixels`,
    );
  }
  if (!takesPixels)
    throw new ModelError("it was frozen without an input scale, and does not say what a pixel stands for");
  loaded.run(new Uint8Array(inputs)); // takes the memory that it needs, or refuses to
  return loaded;
}

function showFacts(name, bytes) {
  const { accuracy, nodes, values } = model;
  const layers = nodes.flatMap(({ kind }, index) => (/dense|conv/.test(kind) ? [values[index].shape.join("x")] : []));
  const percent = (share) => `${(100 * share).toFixed(2)}% of the test images, as its file says`;
  const facts = {
    File: name,
    Size: `${bytes.toLocaleString("en")} bytes`,
    Layers: [model.inputShape.join("x"), ...layers].join(" → "),
    Accuracy: accuracy === null ? "not in its file" : percent(accuracy),
    Time: "",
  };
  find("facts").replaceChildren(...Object.entries(facts).map(([title, text]) => row(title, text)));
  find("facts").rows[4].cells[1].id = "time";
}

function row(title, ...cells) {
  const tr = document.createElement("tr");
  const th = document.createElement("th");
  th.scope = "row";
  th.textContent = title;
  tr.append(th);
  for (const cell of cells) tr.insertCell().append(cell);
  return tr;
}

/** A picture for each unit of the first layer that has weights. */
function showFilters() {
  const index = model.nodes.findIndex(({ kind }) => /dense|conv/.test(kind));
  const pictures = [];
  if (index >= 0) {
    const { units, taps, channels, weights } = weightsOf(model, index);
    const size = taps * channels;
    const kernel = model.nodes[index].attributes.kernel ?? [SIDE, SIDE];
    if (kernel[0] * kernel[1] === size) {
      for (let unit = 0; unit < Math.min(units, MOST_PICTURES); ++unit) {
        pictures.push(picture(weights.subarray(unit * size, (unit + 1) * size), kernel));
      }
    }
    const are = model.nodes[index].kind.startsWith("binary") ? "white\u00a0+1, black\u00a0-1" : "lighter is larger";
    const all = pictures.length < units ? `the first ${pictures.length} of its ${units} units` : `its ${units} units`;
    find("legend").textContent = `The weights of ${all}: ${are}.`;
  }
  if (!pictures.length) find("legend").textContent = "Its weights are no pictures.";
  find("filters").replaceChildren(...pictures);
}

function picture(weights, [height, width]) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height, className: "pixels" });
  const most = weights.reduce((largest, weight) => Math.max(largest, Math.abs(weight)), 0) || 1;
  drawGray(canvas, (pixel) => 127.5 + (weights[pixel] / most) * 127.5);
  return canvas;
}

function drawGray(canvas, gray) {
  const image = new ImageData(canvas.width, canvas.height);
  for (let pixel = 0; pixel < image.data.length / 4; ++pixel) {
    image.data.fill(gray(pixel), 4 * pixel, 4 * pixel + 3);
    image.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Drawings.

/**
 * The drawing as MNIST's images were made: its box is scaled, anti-aliased, so that the longer side has 20 pixels, and
 * moved so that the centre of its mass lies in the middle of 28x28 pixels. Null where nothing is drawn.
 */
function asMnist() {
  const { data } = paper.getImageData(0, 0, WIDTH, HEIGHT);
  const ink = (x, y) => data[4 * (y * WIDTH + x) + 3];
  let [left, right, top, bottom] = [WIDTH, 0, HEIGHT, 0];
  for (let y = 0; y < HEIGHT; ++y) {
    for (let x = 0; x < WIDTH; ++x) {
      if (!ink(x, y)) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    }
  }
  if (right <= left) return null;
  const step = Math.max(right - left, bottom - top) / BOX; // pixels of the drawing to one of the box
  const box = new Float32Array(BOX * BOX);
  let [mass, massX, massY] = [0, 0, 0];
  for (let i = 0; i < BOX; ++i) {
    for (let j = 0; j < BOX; ++j) {
      const [y0, y1] = [top + i * step, Math.min(top + (i + 1) * step, bottom)];
      const [x0, x1] = [left + j * step, Math.min(left + (j + 1) * step, right)];
      let sum = 0; // of the ink in the square, each pixel by the part of it that lies inside
      for (let y = Math.floor(y0); y < y1; ++y) {
        const down = Math.min(y + 1, y1) - Math.max(y, y0);
        for (let x = Math.floor(x0); x < x1; ++x) sum += ink(x, y) * down * (Math.min(x + 1, x1) - Math.max(x, x0));
      }
      box[i * BOX + j] = sum / step ** 2;
      mass += sum;
      massX += sum * (j + 0.5);
      massY += sum * (i + 0.5);
    }
  }
  // By whole pixels: in MNIST's own images the centre lies from 14.0 to below 15.0.
  const from = (centre, size) => Math.min(Math.max(Math.ceil(SIDE / 2 - centre), 0), SIDE - Math.ceil(size / step));
  const [shiftX, shiftY] = [from(massX / mass, right - left), from(massY / mass, bottom - top)];
  const pixels = new Uint8Array(SIDE * SIDE);
  box.forEach((gray, at) => {
    if (gray) pixels[(Math.floor(at / BOX) + shiftY) * SIDE + (at % BOX) + shiftX] = Math.round(gray);
  });
  return pixels;
}

function classify() {
  const pixels = asMnist();
  drawGray(find("seen"), (pixel) => pixels?.[pixel] ?? 0);
  if (!model) return;
  const labels = model.labels ?? Array.from({ length: model.units }, (_, index) => String(index));
  const scores = pixels ? model.run(pixels) : new Float32Array(model.units);
  const best = pixels ? model.predict(pixels) : -1;
  find("answer").textContent = pixels ? `This is “${labels[best]}”.` : "Nothing is drawn yet.";
  const [least, most] = [Math.min, Math.max].map((one) => scores.reduce((found, score) => one(found, score), 0));
  const share = (score) => (100 * score) / (most - least || 1);
  const rows = labels.map((label, index) => {
    const score = scores[index];
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.marginLeft = `${share(Math.min(score, 0) - least)}%`;
    bar.style.width = `${share(Math.abs(score))}%`;
    const tr = row(label, bar, pixels ? score.toFixed(2) : "");
    if (index === best) tr.className = "best";
    return tr;
  });
  find("scores").replaceChildren(...rows);
  if (!pen) find("time").textContent = pixels ? time(pixels) : "shown with the scores";
}

/** How long one image takes: clocks of browsers are coarse, so it is the mean of many runs. */
function time(pixels) {
  const began = performance.now();
  let runs = 0;
  do {
    model.run(pixels);
    ++runs;
  } while (performance.now() - began < TIMED);
  return `${((performance.now() - began) / runs).toPrecision(2)} ms for an image, the mean of ${runs} runs`;
}

let scheduled = false;

/** Once for all that is drawn between two frames. */
function classifySoon() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    classify();
  });
}

function draw(event) {
  const { left, top, width, height } = paper.canvas.getBoundingClientRect();
  const point = [((event.clientX - left) * WIDTH) / width, ((event.clientY - top) * HEIGHT) / height];
  Object.assign(paper, { lineWidth: PEN, lineCap: "round", strokeStyle: "#fff" });
  paper.beginPath();
  paper.moveTo(...(pen ?? point));
  paper.lineTo(...point);
  paper.stroke();
  pen = point;
  classifySoon();
}

paper.canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  paper.canvas.setPointerCapture(event.pointerId);
  pen = null;
  draw(event);
});
paper.canvas.addEventListener("pointermove", (event) => {
  if (pen) draw(event);
});
for (const end of ["pointerup", "pointercancel"]) {
  paper.canvas.addEventListener(end, () => {
    pen = null;
    classifySoon();
  });
}
find("clear").addEventListener("click", () => {
  paper.clearRect(0, 0, WIDTH, HEIGHT);
  classify();
});
find("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (file) show(file.name, () => file.arrayBuffer());
});

const url = new URLSearchParams(location.search).get("model") ?? "mnist.safetensors";
show(url, () => fetchModel(url));
