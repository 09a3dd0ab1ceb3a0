// RoIPool, RoIWarp and RoIAlign in double precision: arrays in, arrays out.  No page is needed.
//
//   features   {values: Float64Array(H * W), height: H, width: W}, row by row
//   box        [x0, y0, x1, y1], units of which `scale` make a cell
//   size       P, bins a side
//   options    {scale, ratio, aligned, reduce}
//
// Each returns Float64Array(P * P).  Each has a gradient, which takes what comes back to the bins,
// (P * P), and returns what reaches the cells, (H * W).  Operation by operation they round as the
// Python kernels do, so that a ceiling or a border is decided alike.

const rois = (() => {
  const FAR = 2 ** 30; // beyond any map
  const MOST_SAMPLES = 2 ** 31 - 1;
  const clip = (x, low, high) => Math.min(Math.max(x, low), high);

  // ---- RoIPool: box and bins in whole cells ----

  // The cells of every bin along an axis: [{begin, end}, ...], `end` not included.
  function poolAxis(low, high, size, scale, length, finite) {
    const first = clip(Math.floor(low * scale + 0.5), -FAR, FAR);
    const last = clip(Math.floor(high * scale + 0.5), -FAR, FAR);
    const side = Math.max(last - first + 1, 1);
    return Array.from({length: size}, (_, p) => {
      const begin = first + Math.floor((p * side) / size);
      const end = first + Math.ceil(((p + 1) * side) / size);
      return {begin: clip(begin, 0, length), end: clip(finite ? end : begin, 0, length)};
    });
  }

  function poolBins(features, box, size, {scale}) {
    const finite = box.every((x) => Number.isFinite(x * scale));
    const safe = finite ? box : [0, 0, 0, 0];
    return {
      rows: poolAxis(safe[1], safe[3], size, scale, features.height, finite),
      columns: poolAxis(safe[0], safe[2], size, scale, features.width, finite),
    };
  }

  // Where each bin's largest value is, row * W + column; -1: the bin has no cell.
  function poolWinners(features, box, size, options) {
    const {rows, columns} = poolBins(features, box, size, options);
    const winners = new Int32Array(size * size).fill(-1);
    for (let p = 0; p < size; p++) {
      for (let q = 0; q < size; q++) {
        let best = -Infinity;
        for (let y = rows[p].begin; y < rows[p].end; y++) {
          for (let x = columns[q].begin; x < columns[q].end; x++) {
            const value = features.values[y * features.width + x];
            if (value > best) { // the first of equals wins
              best = value;
              winners[p * size + q] = y * features.width + x;
            }
          }
        }
      }
    }
    return winners;
  }

  function roiPool(features, box, size, options) {
    const winners = poolWinners(features, box, size, options);
    return Float64Array.from(winners, (cell) => (cell < 0 ? 0 : features.values[cell]));
  }

  function roiPoolGradient(features, box, size, options, grad) {
    const out = new Float64Array(features.values.length);
    poolWinners(features, box, size, options).forEach((cell, i) => {
      if (cell >= 0) out[cell] += grad[i];
    });
    return out;
  }

  // ---- RoIAlign: nothing rounded ----

  // The samples along an axis.  Positions count from the center of cell 0.
  function alignAxis(low, high, size, {scale, ratio, aligned}) {
    const shift = aligned ? 0.5 : 0;
    let start = low * scale - shift;
    let side = high * scale - shift - start;
    const finite = Number.isFinite(start) && Number.isFinite(side);
    if (!aligned) side = Math.max(side, 1);
    const count = finite ? clip(ratio || Math.ceil(side / size), 0, MOST_SAMPLES) : 0;
    if (!finite) start = side = 0;
    return {start, bin: side / size, count, size};
  }

  // Sample i of bin p: {position, low, high, part, inside}; low and high are the cells around it.
  function sampleAt(axis, p, i, length) {
    const position = axis.start + (p + (i + 0.5) / axis.count) * axis.bin;
    const held = clip(position, 0, length - 1);
    const low = Math.floor(held);
    return {
      position,
      low,
      high: Math.min(low + 1, length - 1),
      part: held - low,
      inside: position >= -1 && position <= length,
    };
  }

  // The samples of bin p that can differ from 0, with their places in the bin; those far outside
  // the map are skipped without being looked at.
  function samplesOfBin(axis, p, length) {
    const found = [];
    const step = axis.bin / axis.count;
    let first = 0;
    let last = axis.count - 1;
    if (axis.count > 64 && step > 0) { // a margin of a few samples for rounding
      const at = (position) => (position - axis.start - p * axis.bin) / step - 0.5;
      first = Math.max(first, Math.floor(at(-1)) - 2);
      last = Math.min(last, Math.ceil(at(length)) + 2);
    }
    for (let i = first; i <= last; i++) {
      const sample = sampleAt(axis, p, i, length);
      if (sample.inside) found.push({...sample, i});
    }
    return found;
  }

  function alignAxes(box, size, options) {
    return {
      y: alignAxis(box[1], box[3], size, options),
      x: alignAxis(box[0], box[2], size, options),
    };
  }

  function interpolate(features, y, x) {
    const {values, width} = features;
    const above =
      values[y.low * width + x.low] * (1 - x.part) + values[y.low * width + x.high] * x.part;
    const below =
      values[y.high * width + x.low] * (1 - x.part) + values[y.high * width + x.high] * x.part;
    return above * (1 - y.part) + below * y.part;
  }

  // Calls visit(bin, ys, xs, count): of every bin the samples inside the map along each axis, and
  // how many samples it has altogether.
  function eachBin(features, box, size, options, visit) {
    const axes = alignAxes(box, size, options);
    const count = axes.y.count * axes.x.count;
    if (count === 0) return;
    const columns = Array.from({length: size}, (_, q) => samplesOfBin(axes.x, q, features.width));
    for (let p = 0; p < size; p++) {
      const ys = samplesOfBin(axes.y, p, features.height);
      for (let q = 0; q < size; q++) visit(p * size + q, ys, columns[q], count);
    }
  }

  // The largest sample, and which; those outside count as 0, which has no cell: y and x are null.
  function largest(features, ys, xs, count) {
    let best = {value: ys.length * xs.length < count ? 0 : -Infinity, y: null, x: null};
    for (const y of ys) {
      for (const x of xs) {
        const value = interpolate(features, y, x);
        if (value > best.value) best = {value, y, x};
      }
    }
    return best;
  }

  function roiAlign(features, box, size, options) {
    const out = new Float64Array(size * size);
    eachBin(features, box, size, options, (bin, ys, xs, count) => {
      if (options.reduce === "max") {
        out[bin] = largest(features, ys, xs, count).value;
        return;
      }
      let sum = 0;
      for (const y of ys) for (const x of xs) sum += interpolate(features, y, x);
      out[bin] = sum / count;
    });
    return out;
  }

  function giveBack(out, width, y, x, share) {
    out[y.low * width + x.low] += share * (1 - y.part) * (1 - x.part);
    out[y.low * width + x.high] += share * (1 - y.part) * x.part;
    out[y.high * width + x.low] += share * y.part * (1 - x.part);
    out[y.high * width + x.high] += share * y.part * x.part;
  }

  function roiAlignGradient(features, box, size, options, grad) {
    const out = new Float64Array(features.values.length);
    eachBin(features, box, size, options, (bin, ys, xs, count) => {
      if (options.reduce === "max") {
        const {y, x} = largest(features, ys, xs, count);
        if (y) giveBack(out, features.width, y, x, grad[bin]);
        return;
      }
      for (const y of ys) {
        for (const x of xs) giveBack(out, features.width, y, x, grad[bin] / count);
      }
    });
    return out;
  }

  // ---- RoIWarp: the box in whole cells as for RoIPool, its bins sampled as for RoIAlign ----

  function quantize(box, scale) {
    const [x0, y0, x1, y1] = box.map((x) => Math.floor(x * scale + 0.5));
    return [x0, y0, Math.max(x1 + 1, x0 + 1), Math.max(y1 + 1, y0 + 1)];
  }

  const inCells = (options) => ({...options, scale: 1, aligned: true});

  function roiWarp(features, box, size, options) {
    return roiAlign(features, quantize(box, options.scale), size, inCells(options));
  }

  function roiWarpGradient(features, box, size, options, grad) {
    const cells = quantize(box, options.scale);
    return roiAlignGradient(features, cells, size, inCells(options), grad);
  }

  // ---- what would be right: the mean of the map over each bin, without samples ----

  // The integral up to `position` of the hat of `cell`: 1 at its center, 0 at the next ones; the
  // outermost cells go on beyond the map.
  function hatIntegral(position, cell, length) {
    const [first, last] = [cell === 0, cell === length - 1];
    const t = clip(position - cell, first ? 0 : -1, last ? 0 : 1);
    const area = t < 0 ? (1 + t) ** 2 / 2 : 1 - (1 - t) ** 2 / 2;
    return area + (first ? Math.min(position, 0) : 0)
      + (last ? Math.max(position - (length - 1), 0) : 0);
  }

  function exactWeights(low, high, size, scale, length) {
    return Array.from({length: size}, (_, p) => {
      const begin = scale * (low + ((high - low) * p) / size) - 0.5;
      const end = scale * (low + ((high - low) * (p + 1)) / size) - 0.5;
      return Float64Array.from({length}, (_, cell) => {
        if (begin === end) return Math.max(1 - Math.abs(clip(begin, 0, length - 1) - cell), 0);
        const area = hatIntegral(end, cell, length) - hatIntegral(begin, cell, length);
        return area / (end - begin);
      });
    });
  }

  function exactMean(features, box, size, {scale}) {
    const {values, height, width} = features;
    const rows = exactWeights(box[1], box[3], size, scale, height);
    const columns = exactWeights(box[0], box[2], size, scale, width);
    const out = new Float64Array(size * size);
    for (let p = 0; p < size; p++) {
      const line = new Float64Array(width); // the rows of the bin, added up
      for (let y = 0; y < height; y++) {
        if (rows[p][y] === 0) continue;
        for (let x = 0; x < width; x++) line[x] += rows[p][y] * values[y * width + x];
      }
      for (let q = 0; q < size; q++) {
        for (let x = 0; x < width; x++) out[p * size + q] += columns[q][x] * line[x];
      }
    }
    return out;
  }

  return {
    roiPool, roiPoolGradient, roiWarp, roiWarpGradient, roiAlign, roiAlignGradient,
    exactMean, quantize, poolBins, poolWinners, alignAxes, sampleAt,
  };
})();
