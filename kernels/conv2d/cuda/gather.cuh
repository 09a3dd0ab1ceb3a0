// Look up the columns of a convolution without a division in the loop: for rungs 4 and 5.
//
// Rows are taken in steps of ROWS.  Where the value of row r = (c, u, v) lies, counted from the
// beginning of the window, is a sum of three products; after `taps` steps, that is ROWS channels,
// the same numbers come again, ROWS planes further on.  So a table of taps x ROWS entries serves
// all channels.  Which taps of a window lie in the image, and not in the padding, is found once for
// every pixel: a bit for each, so that a window may have at most 64.
#pragma once
#include "geometry.cuh"

// An entry of the table is {offset from the beginning of the window, tap}.
template <int ROWS>
__device__ inline void fill_table(const Geometry& g, int2* table) {
  for (int s = threadIdx.x; s < g.taps() * ROWS; s += blockDim.x) {
    const int c = s / g.taps(), tap = s % g.taps();
    const int down = tap / g.window_w * g.dilation_h, right = tap % g.window_w * g.dilation_w;
    table[s] = make_int2((c * g.height + down) * g.width + right, tap);
  }
}

// Bit u kw + v: whether tap (u, v) of the window lies in the image.
__device__ inline u64 taps_inside(const Geometry& g, const Window& window) {
  u64 columns = 0, inside = 0;
  for (int v = 0; v < g.window_w; ++v) {
    const int column = window.left + v * g.dilation_w;
    if (column >= 0 && column < g.width) columns |= u64(1) << v;
  }
  for (int u = 0; u < g.window_h; ++u) {
    const int row = window.top + u * g.dilation_h;
    if (row >= 0 && row < g.height) inside |= columns << u * g.window_w;
  }
  return inside;
}

// The window of one pixel, on its way through the rows that one thread looks up: `row` and the next
// ones of every step.
template <int ROWS>
struct Walk {
  const float* first;  // the window's beginning, in the channel of the step's first row
  u64 inside;
  int entry, end;  // of the row in the table, in this step; where they begin again
  int left;        // rows from this one on

  __device__ Walk(const Geometry& g, const float* x, int group, int m, int step, int row) {
    const bool has_pixel = m < g.pixels();
    const Window window = window_at(g, x, group, has_pixel ? m : 0);
    inside = has_pixel ? taps_inside(g, window) : 0;
    first = window.first + i64(step / g.taps()) * ROWS * g.height * g.width;
    entry = step % g.taps() * ROWS + row;
    end = g.taps() * ROWS;
    left = g.rows() - step * ROWS - row;
  }

  // COUNT rows of a step, and on to the next step.
  template <int COUNT>
  __device__ void read(const Geometry& g, const int2* table, float (&values)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      const int2 one = table[entry + i];
      values[i] = i < left && inside >> one.y & 1 ? first[one.x] : 0;
    }
    left -= ROWS;
    entry += ROWS;
    const bool again = entry >= end;  // selected, not branched: fewer registers
    entry = again ? entry - end : entry;
    first += again ? i64(ROWS) * g.height * g.width : 0;
  }
};

// COUNT weights of a filter, zeros beyond the `left` that it has; `aligned`: the number of rows is
// a multiple of COUNT, so that the COUNT are all there or all beyond, and can be read at once.
template <int COUNT>
__device__ inline void read_weights(const float* filter, int left, bool aligned,
                                    float (&values)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) values[i] = 0;
  if (left <= 0) return;
  if (aligned && COUNT % 4 == 0) {
#pragma unroll
    for (int i = 0; i < COUNT; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(filter + i);
      values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
    }
  } else if (aligned && COUNT == 2) {
    const float2 two = *reinterpret_cast<const float2*>(filter);
    values[0] = two.x, values[COUNT - 1] = two.y;
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      if (i < left) values[i] = filter[i];
  }
}

// Where a block writes: into y, or, if the rows are cut into parts, into its part's own array.
struct Target {
  float* values;
  const float* bias;  // null where there is none to add here

  __device__ Target(const Geometry& g, const float* bias_, bool has_bias, int part, int parts,
                    float* y)
      : values(y + i64(part) * g.pixels() * g.filters),
        bias(has_bias && parts == 1 ? bias_ : nullptr) {}
};
