// Where RoIAlign samples, in device code: what geometry.py is to the CPU variants.
//
// The box is scaled and its samples are counted in float32, operation by operation as the reference
// does it: the count is a ceiling, which a rounding of another kind would move.  The positions of
// samples are float64 in the reference.  GPUs for graphics compute that at 1/64 of the speed, so a
// position here is a pair of float32, 46 bits: enough that a sample falls between the same cells,
// on the same side of the map's border, and that a crop of a large map has no rounding of its own.
// It takes some twenty instructions, for a number that all channels share.
//
// Letters: P bins along an axis (p is one), n samples a bin (i is one).
#pragma once

struct Pair {  // the sum of two float32, low at most half a unit in the last place of high
  float high, low;
};

__device__ inline Pair pair_of(i64 n) {
  const float high = float(n);
  return {high, float(n - i64(high))};
}

struct Axis {   // the rows or the columns of one RoI, in cells; cell i is centered at i
  float start;  // where the first bin begins
  float side;   // of all bins together; negative for an inverted box
  u32 samples;  // in one bin; 0: the bins are empty
  int bins;     // P
  int length;   // of the map
};

__device__ inline bool finite(float x) { return x - x == 0; }

__device__ inline Axis make_axis(float low, float high, int bins, int length, float scale,
                                 int ratio, bool aligned) {
  const float shift = aligned ? 0.5f : 0.0f;
  const float start = __fsub_rn(__fmul_rn(low, scale), shift);
  float side = __fsub_rn(__fsub_rn(__fmul_rn(high, scale), shift), start);
  if (!finite(start) || !finite(side)) return {0, 0, 0, bins, length};
  if (!aligned && side < 1) side = 1;
  if (ratio) return {start, side, u32(ratio), bins, length};
  const float count = ceilf(__fdiv_rn(side, float(bins)));
  return {start, side, u32(fminf(fmaxf(count, 0), 2147483648.0f)), bins, length};
}

struct Roi {
  int image;  // -1: of no image, or without samples
  Axis rows, columns;
};

// A RoI as (image index, x0, y0, x1, y1).  Nobody may have checked its image index.
__device__ inline Roi make_roi(const float* roi, int images, int height, int width, int bins_y,
                               int bins_x, float scale, int ratio, bool aligned) {
  Roi made;
  made.rows = make_axis(roi[2], roi[4], bins_y, height, scale, ratio, aligned);
  made.columns = make_axis(roi[1], roi[3], bins_x, width, scale, ratio, aligned);
  const bool some = made.rows.samples > 0 && made.columns.samples > 0;
  made.image = some && roi[0] >= 0 && roi[0] < float(images) ? int(roi[0]) : -1;
  if (made.image < 0) made.rows.samples = made.columns.samples = 0;
  return made;
}

// start + side * (part / (2 n P)): bin p begins at part 2 n p, its sample i lies at 2 (n p + i) +
// 1.
//
// The last step takes off what is below 45 bits of the box, so that a position that is a whole
// number, say a third of a box of three cells, is that number: at the border of the map it counts.
__device__ inline Pair position(const Axis& a, i64 part) {
  const Pair k = pair_of(part), all = pair_of(2 * i64(a.samples) * a.bins);
  const float share = __fdiv_rn(k.high, all.high);
  const float rest =
      __fadd_rn(__fmaf_rn(-share, all.high, k.high), __fmaf_rn(-share, all.low, k.low));
  const float share_low = __fdiv_rn(rest, all.high);
  const float way = __fmul_rn(share, a.side);
  const float way_low = __fmaf_rn(share_low, a.side, __fmaf_rn(share, a.side, -way));
  const float sum = __fadd_rn(a.start, way), added = __fsub_rn(sum, a.start);
  const float lost = __fadd_rn(__fsub_rn(a.start, __fsub_rn(sum, added)), __fsub_rn(way, added));
  const float high = __fadd_rn(sum, __fadd_rn(lost, way_low));
  const float low = __fsub_rn(__fadd_rn(lost, way_low), __fsub_rn(high, sum));
  const float grid = (fabsf(a.start) + fabsf(a.side)) * 3.6e-7f;  // 1.5 * 2^-22
  return {high, __fsub_rn(__fadd_rn(low, grid), grid)};
}

__device__ inline Pair sample_position(const Axis& a, int p, i64 i) {
  return position(a, 2 * (i64(a.samples) * p + i) + 1);
}

__device__ inline bool less(Pair x, float y) { return x.high < y || (x.high == y && x.low < 0); }

// A sample counts up to one cell beyond the outermost centers; a NaN does not.
__device__ inline bool inside(const Axis& a, Pair at) {
  return at.high >= -1 && !less(at, -1) &&
         (less(at, a.length) || (at.high == a.length && at.low == 0));
}

struct Between {  // the two cells a sample lies between
  int near, far;  // far is near + 1 except at the last cell
  float part;     // how far from near to far, 0 to 1
};

__device__ inline Between cells_around(const Axis& a, Pair at) {
  if (less(at, 0)) return {0, min(1, a.length - 1), 0};
  if (!less(at, a.length - 1)) return {a.length - 1, a.length - 1, 0};
  int near = int(at.high);
  if (float(near) == at.high && at.low < 0) --near;
  return {near, near + 1, __fadd_rn(__fsub_rn(at.high, near), at.low)};
}

struct Range {
  i64 first, end;
};

// The samples of bin p that can lie in [from, to]: a few too many rather than one too few.  A huge
// box must not cost its size.
__device__ inline Range samples_between(const Axis& a, int p, float from, float to) {
  const float n = a.samples, size = a.side / a.bins;
  if (a.samples <= 8 || size == 0) return {0, a.samples};
  const float u = ((from - a.start) / size - p) * n, v = ((to - a.start) / size - p) * n;
  const float slack = 2 + n * a.bins * 1e-6f;  // what rounding can make of u and v
  return {i64(fminf(fmaxf(fminf(u, v) - slack, 0), n)),
          i64(fminf(fmaxf(fmaxf(u, v) + slack, 0), n))};
}

// The samples of bin p that lie on the map: all of the range, and none outside it.
__device__ inline Range samples_inside(const Axis& a, int p) {
  Range r = samples_between(a, p, -1, a.length);
  while (r.first < r.end && !inside(a, sample_position(a, p, r.first))) ++r.first;
  while (r.first < r.end && !inside(a, sample_position(a, p, r.end - 1))) --r.end;
  return r;
}
