// The page: one state, and everything drawn from it anew whenever it changes.

const OPERATIONS = [
  {key: "pool", name: "RoIPool", kind: "pool", color: "--pool"},
  {key: "warp", name: "RoIWarp", kind: "warp", aligned: true, color: "--warp"},
  {key: "shifted", name: "RoIAlign, aligned=False", kind: "align", aligned: false,
    color: "--shifted"},
  {key: "align", name: "RoIAlign", kind: "align", aligned: true, color: "--align"},
];
const CORNER_NAMES = ["x0", "y0", "x1", "y1"];
const LIMITS = [[-64, 320], [-64, 256], [-64, 320], [-64, 256]]; // of the sliders, in pixels
const STEPS = 240; // of the curves, over two cells: a jump looks upright

const byId = (id) => document.getElementById(id);
const state = {
  ...JSON.parse(document.querySelector("main").dataset.scene),
  operation: "pool", reduce: "mean", row: 0, column: 0,
};
state.row = state.column = Math.floor((state.size - 1) / 2);

function pooled(operation, features, box) {
  const options = {
    scale: 1 / state.stride, ratio: state.ratio, reduce: state.reduce, aligned: operation.aligned,
  };
  const run = {pool: rois.roiPool, warp: rois.roiWarp, align: rois.roiAlign}[operation.kind];
  return run(features, box, state.size, options);
}

function gradient(operation, features) {
  const options = {
    scale: 1 / state.stride, ratio: state.ratio, reduce: state.reduce, aligned: operation.aligned,
  };
  const ones = new Float64Array(state.size ** 2).fill(1);
  const run = {
    pool: rois.roiPoolGradient, warp: rois.roiWarpGradient, align: rois.roiAlignGradient,
  }[operation.kind];
  return run(features, state.box, state.size, options, ones);
}

// ---- the cards: what each operation makes of the box ----

function makeCard(operation) {
  const card = document.createElement("article");
  card.className = "card";
  card.id = `card-${operation.key}`;
  card.innerHTML = `<h3><span class="swatch" style="background:var(${operation.color})"></span>
    <span>${operation.name}</span></h3>
    <dl><dt>bin looked at</dt><dd data-value="bin"></dd><dt>its error</dt><dd data-value="error"></dd>
    <dt>largest error</dt><dd data-value="worst"></dd>
    <dt>cells reached</dt><dd data-value="cells"></dd></dl>
    <h4>pooled values</h4><svg class="pooled" role="img" aria-label="pooled values"></svg>
    <h4>error</h4><svg class="error" role="img" aria-label="errors"></svg>
    <h4>gradient on the map</h4><div class="gradient" role="img"
    aria-label="gradient on the map"><canvas></canvas><svg viewBox="0 0 256 192"><rect class="box"/>
    </svg></div>`;
  card.addEventListener("click", (event) => {
    const bin = event.target.dataset.bin;
    if (bin !== undefined) {
      state.row = Math.floor(bin / state.size);
      state.column = bin % state.size;
      refresh();
    }
  });
  byId("cards").append(card);
}

function drawCard(operation, values, ideal, grad, features, scales) {
  const card = byId(`card-${operation.key}`);
  const chosen = state.row * state.size + state.column;
  const errors = values.map((value, i) => value - ideal[i]);
  const {low, high} = scales.map;
  const shade = (value) => drawing.viridis((value - low) / (high - low || 1));
  drawing.grid(card.querySelector(".pooled"), values, state.size, shade, chosen);
  const tint = (error) => drawing.diverging(error / (scales.error || 1));
  drawing.grid(card.querySelector(".error"), errors, state.size, tint, chosen);
  const heat = (value) => drawing.viridis(Math.sqrt(Math.max(value, 0) / (scales.gradient || 1)));
  const {height, width} = features;
  drawing.paintMap(card.querySelector("canvas"), {values: grad, height, width}, heat);
  drawing.place(card.querySelector(".box"), drawing.rectangle(state.box));
  const worst = errors.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const shown = {
    bin: values[chosen].toFixed(4), error: errors[chosen].toFixed(4), worst: worst.toFixed(4),
    cells: grad.reduce((count, value) => count + (value !== 0), 0),
  };
  for (const [name, text] of Object.entries(shown)) {
    card.querySelector(`[data-value="${name}"]`).textContent = text;
  }
  card.dataset.chosen = operation.key === state.operation;
}

function drawPlot(features) {
  const chosen = state.row * state.size + state.column;
  const xs = Array.from({length: STEPS + 1}, (_, k) => (2 * k) / STEPS);
  const at = (x) => state.box.map((value, i) => (i % 2 ? value : value + x * state.stride));
  const lines = OPERATIONS.map((operation) => ({
    name: operation.name, color: operation.color,
    values: xs.map((x) => pooled(operation, features, at(x))[chosen]),
  }));
  const right = (x) =>
    rois.exactMean(features, at(x), state.size, {scale: 1 / state.stride})[chosen];
  lines.push({name: "the bin that is meant", color: null, values: xs.map(right)});
  drawing.curves(byId("plot"), lines, xs, state.stride);
  byId("moving").textContent = `Bin ${state.row + 1}, ${state.column + 1}. `
    + "A step is a jump: the same object, a moment later, reads from other cells.";
}

// ---- the controls ----

function fill() {
  for (const id of ["map", "stride", "size", "ratio", "reduce"]) byId(id).value = state[id];
  for (const id of ["row", "column"]) { // people count from 1
    byId(id).value = state[id] + 1;
    byId(id).max = state.size;
  }
  byId("size").nextElementSibling.textContent = state.size;
  CORNER_NAMES.forEach((name, i) => {
    byId(name).value = state.box[i];
    const number = byId(`${name}-number`);
    if (document.activeElement !== number) number.value = state.box[i].toFixed(1);
  });
  document.querySelector(`input[value="${state.operation}"]`).checked = true;
}

function makeControls() {
  for (const {key, name, color} of OPERATIONS) {
    byId("operation").insertAdjacentHTML("beforeend", `<label class="choice"><input type="radio"
      name="operation" value="${key}"><span class="swatch" style="background:var(${color})"></span>
      ${name}</label>`);
  }
  CORNER_NAMES.forEach((name, i) => {
    const [low, high] = LIMITS[i];
    byId("corners").insertAdjacentHTML("beforeend", `<div class="slide">
      <label for="${name}">${name}</label>
      <input id="${name}" type="range" min="${low}" max="${high}" step="0.1">
      <input id="${name}-number" type="number" step="0.1" aria-label="${name}, pixels"></div>`);
    for (const id of [name, `${name}-number`]) {
      byId(id).addEventListener("input", (event) => {
        const value = event.target.valueAsNumber;
        if (!Number.isFinite(value) || Math.abs(value) > 10000) return;
        state.box[i] = Math.round(value * 10) / 10;
        refresh();
      });
    }
    byId(`${name}-number`).addEventListener("blur", fill);
  });
  byId("map").append(...maps.names.map((name) => new Option(name)));
  byId("operation").addEventListener("change", (event) => set("operation", event.target.value));
  byId("map").addEventListener("change", (event) => set("map", event.target.value));
  byId("reduce").addEventListener("change", (event) => set("reduce", event.target.value));
  for (const id of ["stride", "size", "ratio"]) {
    byId(id).addEventListener("input", (event) => set(id, Number(event.target.value)));
  }
  for (const id of ["row", "column"]) {
    byId(id).addEventListener("change", (event) => set(id, Math.round(event.target.value) - 1));
  }
}

function set(name, value) {
  state[name] = value;
  for (const id of ["row", "column"]) {
    state[id] = Math.min(Math.max(state[id] || 0, 0), state.size - 1);
  }
  refresh();
}

// ---- drawing everything ----

function draw() {
  const features = maps.make(state.map, state.stride);
  const scale = 1 / state.stride;
  const ideal = rois.exactMean(features, state.box, state.size, {scale});
  const results = OPERATIONS.map((operation) => ({
    operation, values: pooled(operation, features, state.box),
    grad: gradient(operation, features),
  }));
  const all = (of) => results.flatMap((result) => Array.from(of(result)));
  const scales = {
    map: drawing.range(features.values),
    error: all(({values}) => values.map((value, i) => Math.abs(value - ideal[i])))
      .reduce((a, b) => Math.max(a, b), 0),
    gradient: all(({grad}) => grad).reduce((a, b) => Math.max(a, b), 0),
  };
  for (const {operation, values, grad} of results) {
    drawCard(operation, values, ideal, grad, features, scales);
  }
  const chosen = OPERATIONS.find(({key}) => key === state.operation);
  const winners = chosen.kind === "pool"
    ? rois.poolWinners(features, state.box, state.size, {scale}) : null;
  stage.draw(state, features, chosen, winners);
  drawPlot(features);
  fill();
}

let waiting = false;
function refresh() { // at most once a frame, however many events there are
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}

window.minimask = {...rois, maps, state};
makeControls();
OPERATIONS.forEach(makeCard);
stage.listen(() => state.box, (box) => {
  state.box = box;
  refresh();
}, (text) => { byId("hint").textContent = text; });
draw();
