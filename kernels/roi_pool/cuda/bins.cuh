// Which cells a bin of a RoI holds, in integers, as geometry.py computes it.
//
// Letters: R regions of interest (RoIs), P pooled size (PH rows, PW columns).
#pragma once
#include "device.cuh"

struct Roi {
  int image;           // -1: of no image, or with a corner that is NaN or infinite: no cell
  int x0, y0, x1, y1;  // its corner cells
};

// A corner's cell.  Both operations are rounded, as NumPy rounds them: no fused multiply-add.
__device__ inline float corner_cell(float corner, float scale) {
  return floorf(__fadd_rn(__fmul_rn(corner, scale), 0.5f));
}

// Far from any map is as good as infinitely far, and fits an integer.
__device__ inline int nearest(float cell) {
  const float far = 1073741824.0f;  // 2^30
  return int(fminf(fmaxf(cell, -far), far));
}

// The image of a RoI, or -1.  Nobody may have checked it, so it may be anything, also NaN.
__device__ inline int image_of(const float* roi, int images) {
  return roi[0] >= 0 && roi[0] < images ? int(roi[0]) : -1;
}

__device__ inline Roi load_roi(const float* roi, float scale, int images) {
  const float x0 = corner_cell(roi[1], scale), y0 = corner_cell(roi[2], scale);
  const float x1 = corner_cell(roi[3], scale), y1 = corner_cell(roi[4], scale);
  if (!(isfinite(x0) && isfinite(y0) && isfinite(x1) && isfinite(y1))) return {-1, 0, 0, 0, 0};
  return {image_of(roi, images), nearest(x0), nearest(y0), nearest(x1), nearest(y1)};
}

// Along one axis, the cells of bin p of `count`: x up to, not including, y, both 0 to length.
// An inverted side counts as one cell, so that nothing divided here is negative.
__device__ inline int2 bin_cells(int low, int high, int p, int count, int length) {
  const i64 side = max(i64(high) - low + 1, i64(1));
  const i64 begin = low + p * side / count, end = low + ((p + 1) * side + count - 1) / count;
  const i64 none = 0, all = length;
  return make_int2(int(min(max(begin, none), all)), int(min(max(end, none), all)));
}

// Whether a value takes the place of the largest so far: it is larger, or the first NaN.
__device__ inline bool wins(float value, float best) { return !(value <= best) && best == best; }

// The largest of a bin's cells, and its place in the plane; the first of equals, row by row.
__device__ inline void pool_bin(const float* plane, int width, int2 rows, int2 columns,
                                float* largest, int* place) {
  float best = 0;
  int winner = -1;
  if (rows.x < rows.y && columns.x < columns.y) {
    winner = rows.x * width + columns.x;
    best = plane[winner];
    for (int y = rows.x; y < rows.y; ++y)
      for (int x = columns.x; x < columns.y; ++x) {
        const float value = plane[y * width + x];
        if (wins(value, best)) best = value, winner = y * width + x;
      }
  }
  *largest = best;
  *place = winner;
}
