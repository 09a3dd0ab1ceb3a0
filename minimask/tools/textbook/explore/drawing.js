// Colors, grids of numbers, maps and curves: numbers in, elements out.

const drawing = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const VIRIDIS = [
    [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
    [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
  ];
  const BELOW = [33, 102, 172]; // an error below 0
  const ABOVE = [178, 24, 43];

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    place(made, attributes);
    if (parent) parent.append(made);
    return made;
  }

  function place(made, attributes) {
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  }

  // A box, corners in any order, as the attributes of an SVG rectangle.
  function rectangle([x0, y0, x1, y1]) {
    const [x, y] = [Math.min(x0, x1), Math.min(y0, y1)];
    return {x, y, width: Math.abs(x1 - x0), height: Math.abs(y1 - y0)};
  }

  const blend = (a, b, share) => a.map((x, i) => Math.round(x + (b[i] - x) * share));

  function viridis(share) { // 0 to 1
    const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
    const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
    return blend(VIRIDIS[low], VIRIDIS[low + 1], at - low);
  }

  // White at 0, blue below, red above.
  const diverging = (share) =>
    blend([247, 247, 247], share < 0 ? BELOW : ABOVE, Math.min(Math.abs(share), 1));

  const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
  const inkOn = ([r, g, b]) => (0.3 * r + 0.59 * g + 0.11 * b > 130 ? "#111" : "#fff");

  function range(values) {
    const finite = Array.from(values).filter(Number.isFinite);
    return {low: Math.min(...finite), high: Math.max(...finite)};
  }

  // One pixel a cell; the style sheet makes it large.
  function paintMap(canvas, {values, height, width}, color) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    values.forEach((value, i) => pixels.data.set([...color(value), 255], 4 * i));
    context.putImageData(pixels, 0, 0);
  }

  // At most five characters, so that fourteen fit beside each other.
  function short(value) {
    const size = Math.abs(value);
    if (size < 0.005) return "0.00"; // without a minus
    return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
  }

  // P x P values as colored squares with their numbers.
  function grid(svg, values, size, color, chosen) {
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${10 * size} ${10 * size}`);
    values.forEach((value, i) => {
      const [x, y] = [10 * (i % size), 10 * Math.floor(i / size)];
      const paint = color(value);
      const own = {x, y, width: 10.05, height: 10.05, fill: css(paint), "data-bin": i};
      element("rect", own, svg);
      const text = element("text", {
        x: x + 5, y: y + 6.1, "text-anchor": "middle", fill: inkOn(paint), "data-bin": i,
        "font-size": 3.2,
      }, svg);
      text.textContent = short(value);
    });
    const [x, y] = [10 * (chosen % size), 10 * Math.floor(chosen / size)];
    const inside = {x: x + 0.4, y: y + 0.4, width: 9.2, height: 9.2, fill: "none"};
    element("rect", {...inside, stroke: "#fff", "stroke-width": 1.2}, svg);
    element("rect", {...inside, stroke: "#000", "stroke-width": 0.5}, svg);
  }

  // Curves over 0 to 2 cells: lines are {name, color, values}; color null is the ideal.
  function curves(svg, lines, xs, unit) {
    svg.replaceChildren();
    const frame = {left: 60, right: 520, top: 14, bottom: 258};
    const {low, high} = range(lines.flatMap((line) => Array.from(line.values)));
    const span = high - low < 1e-9 ? 1 : high - low;
    const bottom = (high + low) / 2 - span * 0.55;
    const toX = (x) => frame.left + ((frame.right - frame.left) * x) / 2;
    const toY = (y) => frame.bottom - ((frame.bottom - frame.top) * (y - bottom)) / (1.1 * span);
    for (const x of [0, 0.5, 1, 1.5, 2]) {
      element("line", {class: "axis", x1: toX(x), x2: toX(x), y1: frame.top, y2: frame.bottom}, svg);
      const label = {x: toX(x), y: frame.bottom + 18, "text-anchor": "middle"};
      element("text", label, svg).textContent = `${x}`;
    }
    for (let i = 0; i <= 4; i++) {
      const y = bottom + (1.1 * span * i) / 4;
      const at = {class: "axis", x1: frame.left, x2: frame.right, y1: toY(y), y2: toY(y)};
      element("line", at, svg);
      const label = {x: frame.left - 8, y: toY(y) + 4, "text-anchor": "end"};
      element("text", label, svg).textContent = y.toFixed(span > 20 ? 0 : span > 0.2 ? 2 : 3);
    }
    const about = {x: (frame.left + frame.right) / 2, y: 292, "text-anchor": "middle"};
    element("text", about, svg).textContent = `moved to the right, in cells (of ${unit} pixels)`;
    lines.forEach(({name, color, values}, i) => {
      const points = Array.from(values, (y, k) => `${toX(xs[k]).toFixed(2)},${toY(y).toFixed(2)}`);
      const look = color ? {style: `stroke:var(${color})`} : {class: "ideal"};
      element("path", {d: `M${points.join("L")}`, ...look, "data-name": name}, svg);
      const y = frame.top + 16 + 24 * i;
      element("path", {d: `M540,${y - 4}h26`, ...look}, svg);
      element("text", {x: 574, y}, svg).textContent = name;
    });
  }

  return {element, place, rectangle, viridis, diverging, range, paintMap, grid, curves, short};
})();
