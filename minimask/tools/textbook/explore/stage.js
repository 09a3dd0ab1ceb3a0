// The large picture: the box over the map, the bins and samples of the chosen operation, and the
// hands that move the box.

const stage = (() => {
  const {element, place, rectangle} = drawing;
  const holder = document.getElementById("stage");
  const svg = holder.querySelector("svg");
  const canvas = holder.querySelector("canvas");
  const MOST_DOTS = 4000; // more would hide the map: then those of the chosen bin alone
  const CORNERS = [["x0", "y0"], ["x1", "y0"], ["x0", "y1"], ["x1", "y1"]];
  const PLACE = {x0: 0, y0: 1, x1: 2, y1: 3};

  const layers = element("g", {}, svg); // drawn anew with every change
  const hover = element("g", {}, svg); // what the pointer is on
  const body = element("rect", {class: "body"}, svg);
  const handles = CORNERS.map(([x, y]) =>
    element("circle", {
      class: "handle", r: 4, tabindex: 0, role: "button", "aria-label": `corner ${x} ${y}`,
      "data-corner": `${x} ${y}`,
    }, svg));

  // Along one axis in pixels of the image: edges [[begin, end], ...] and samples [[...], ...].
  // Cell i covers [i, i + 1) here, and the kernels' positions count from its center: half a more.
  function axisOf(axis, length, stride) {
    const edges = [];
    const samples = [];
    for (let p = 0; p < axis.size; p++) {
      const begin = axis.start + p * axis.bin + 0.5;
      edges.push([begin * stride, (begin + axis.bin) * stride]);
      const own = [];
      for (let i = 0; i < Math.min(axis.count, 64); i++) {
        const sample = rois.sampleAt(axis, p, i, length);
        own.push({...sample, at: (sample.position + 0.5) * stride});
      }
      samples.push(own);
    }
    return {edges, samples};
  }

  // Where the operation reads: {y, x} of axisOf; RoIPool has no samples.
  function read(state, features, operation) {
    const {box, size, stride} = state;
    const scale = 1 / stride;
    if (operation.kind === "pool") {
      const {rows, columns} = rois.poolBins(features, box, size, {scale});
      const inPixels = (bins) => ({
        edges: bins.map(({begin, end}) => [begin * stride, Math.max(end, begin) * stride]),
        samples: bins.map(() => []),
      });
      return {y: inPixels(rows), x: inPixels(columns)};
    }
    const warp = operation.kind === "warp";
    const region = warp ? rois.quantize(box, scale) : box;
    const options = {ratio: state.ratio, aligned: operation.aligned, scale: warp ? 1 : scale};
    const axes = rois.alignAxes(region, size, options);
    return {
      y: axisOf(axes.y, features.height, stride),
      x: axisOf(axes.x, features.width, stride),
    };
  }

  function outline(parts) { // many rectangles as one path
    return parts.map(({x, y, width, height}) => `M${x},${y}h${width}v${height}h${-width}z`).join("");
  }

  // Each line twice, dark under light, so that it shows on any color.
  function twice(name, attributes, look) {
    element(name, {...attributes, class: `${look} under`}, layers);
    return element(name, {...attributes, class: look}, layers);
  }

  function drawGrid(stride) {
    let lines = "";
    for (let x = 0; x <= maps.WIDTH; x += stride) lines += `M${x},0V${maps.HEIGHT}`;
    for (let y = 0; y <= maps.HEIGHT; y += stride) lines += `M0,${y}H${maps.WIDTH}`;
    element("path", {class: "grid", d: lines}, layers);
  }

  function drawDots(state, bins, winners, width) {
    let dots = "";
    if (winners) {
      for (const cell of winners) {
        if (cell < 0) continue;
        const [row, column] = [Math.floor(cell / width), cell % width];
        dots += `M${(column + 0.5) * state.stride},${(row + 0.5) * state.stride}h0`;
      }
    } else {
      const {size, row, column} = state;
      const perBin = bins.y.samples[0].length * bins.x.samples[0].length;
      const all = perBin * size * size <= MOST_DOTS;
      for (let p = 0; p < size; p++) {
        for (let q = 0; q < size; q++) {
          if (!all && (p !== row || q !== column)) continue;
          for (const y of bins.y.samples[p]) {
            for (const x of bins.x.samples[q]) dots += `M${x.at},${y.at}h0`;
          }
        }
      }
    }
    const thick = Math.min(2.6, Math.max(1, state.stride / 7));
    element("path", {class: "dots under", d: dots, "stroke-width": thick + 0.9}, layers);
    element("path", {class: "dots", d: dots, "stroke-width": thick}, layers);
  }

  let shown = null; // what the last draw() was given, for the pointer

  function draw(state, features, operation, winners) {
    const bins = read(state, features, operation);
    shown = {state, features, operation, bins, winners};
    const {low, high} = drawing.range(features.values);
    const shade = (value) => drawing.viridis((value - low) / (high - low || 1));
    drawing.paintMap(canvas, features, shade);
    layers.replaceChildren();
    hover.replaceChildren();
    drawGrid(state.stride);
    const parts = [];
    for (const y of bins.y.edges) for (const x of bins.x.edges) parts.push(rectangle([x[0], y[0], x[1], y[1]]));
    twice("path", {d: outline(parts)}, "read").style.stroke = `var(${operation.color})`;
    const chosen = parts[state.row * state.size + state.column];
    element("rect", {...chosen, class: "chosen"}, layers);
    const box = rectangle(state.box);
    twice("rect", box, "meant");
    drawDots(state, bins, winners, features.width);
    place(body, box);
    handles.forEach((handle, i) => {
      const [x, y] = CORNERS[i];
      place(handle, {cx: state.box[PLACE[x]], cy: state.box[PLACE[y]]});
    });
  }

  // ---- the sample under the pointer: four cells and their weights ----

  function toPixels(event) {
    const at = svg.createSVGPoint();
    at.x = event.clientX;
    at.y = event.clientY;
    return at.matrixTransform(svg.getScreenCTM().inverse());
  }

  function nearest(samples, at) {
    const all = samples.flatMap((own, bin) => own.map((sample) => ({...sample, bin})));
    const far = (sample) => Math.abs(sample.at - at);
    return all.reduce((best, s) => (best && far(best) <= far(s) ? best : s), null);
  }

  function point(event) {
    hover.replaceChildren();
    if (!shown) return "";
    const {features, bins, state} = shown;
    const at = toPixels(event);
    if (shown.operation.kind === "pool") return explainBin(features, state, bins, at);
    const [y, x] = [nearest(bins.y.samples, at.y), nearest(bins.x.samples, at.x)];
    if (!y || !x || Math.hypot(y.at - at.y, x.at - at.x) > Math.max(6, state.stride)) return "";
    return explain(features, state, y, x);
  }

  function explain(features, state, y, x) {
    const where = `Bin ${y.bin + 1}, ${x.bin + 1}: sample at x ${x.at.toFixed(2)}, `
      + `y ${y.at.toFixed(2)} pixels. `;
    if (!y.inside || !x.inside) {
      return `${where}More than one cell outside the map: it counts as 0.`;
    }
    const words = [];
    let sum = 0;
    for (const [row, weightY] of [[y.low, 1 - y.part], [y.high, y.part]]) {
      for (const [column, weightX] of [[x.low, 1 - x.part], [x.high, x.part]]) {
        const weight = weightY * weightX;
        if (weight === 0) continue;
        const center = {x: (column + 0.5) * state.stride, y: (row + 0.5) * state.stride};
        element("path", {
          class: "reach", d: `M${x.at},${y.at}L${center.x},${center.y}`,
          "stroke-width": 0.4 + 2.4 * weight,
        }, hover);
        element("text", {x: center.x, y: center.y + 2}, hover).textContent = weight.toFixed(2);
        const value = features.values[row * features.width + column];
        sum += weight * value;
        words.push(`${weight.toFixed(3)} × ${value.toFixed(3)}`);
      }
    }
    return `${where}${words.join(" + ")} = ${sum.toFixed(3)}`;
  }

  function explainBin(features, state, {y, x}, at) {
    const holds = (value) => ([begin, end]) => begin <= value && value < end;
    const [p, q] = [y.edges.findIndex(holds(at.y)), x.edges.findIndex(holds(at.x))];
    if (p < 0 || q < 0) return "";
    element("path", {class: "read", d: outline([rectangle([
      x.edges[q][0], y.edges[p][0], x.edges[q][1], y.edges[p][1]])])}, hover);
    const cells = ([begin, end]) => `${begin / state.stride} to ${end / state.stride - 1}`;
    const winner = shown.winners[p * state.size + q];
    return `Bin ${p + 1}, ${q + 1}: rows ${cells(y.edges[p])}, columns ${cells(x.edges[q])}; the `
      + `largest is ${features.values[winner].toFixed(3)}, in row `
      + `${Math.floor(winner / features.width)}, column ${winner % features.width}.`;
  }

  // ---- pointer and keyboard ----

  // change(box) is called with every new box, say(text) with what the pointer is on.
  function listen(current, change, say) {
    let grabbed = null;
    svg.addEventListener("pointerdown", (event) => {
      const corner = event.target.dataset.corner;
      if (!corner && event.target !== body) return;
      grabbed = {corner, from: toPixels(event), box: [...current()]};
      svg.setPointerCapture(event.pointerId);
      event.preventDefault();
      (corner ? event.target : svg).focus({preventScroll: true});
    });
    svg.addEventListener("pointermove", (event) => {
      if (!grabbed) {
        say(point(event));
        return;
      }
      const at = toPixels(event);
      const step = [at.x - grabbed.from.x, at.y - grabbed.from.y];
      change(moved(grabbed.box, grabbed.corner, step));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      svg.addEventListener(end, () => { grabbed = null; });
    }
    svg.addEventListener("pointerleave", () => {
      hover.replaceChildren();
      say("");
    });
    svg.addEventListener("keydown", (event) => {
      const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
      const to = way[event.key];
      if (!to) return;
      event.preventDefault();
      const length = event.shiftKey ? 1 : 0.1;
      const step = to.map((x) => x * length);
      change(moved(current(), event.target.dataset.corner, step));
    });
  }

  // The box, or the named corner of it, moved by (x, y) pixels, to tenths of a pixel.
  function moved(box, corner, [x, y]) {
    const which = corner ? corner.split(" ").map((name) => PLACE[name]) : [0, 1, 2, 3];
    return box.map((value, i) => {
      if (!which.includes(i)) return value;
      return Math.round((value + (i % 2 ? y : x)) * 10) / 10;
    });
  }

  return {draw, listen};
})();
