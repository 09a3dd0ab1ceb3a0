// Resizing, rung 2: a thread keeps its place and goes through many planes.
//
// Letters: N images, C channels, H W height and width of the input, H2 W2 of the output.
//
// A thread owns four neighbors of an output row, at the same place in every `gridDim.y`-th of the
// N C planes.  Against rung 1: where a value lies, which pixels it reads and with which weights is
// worked out once, not once a plane, and four values are one float4 write (where W2 is a multiple of
// 4; else up to four single ones).  Backward a thread owns one input pixel of those planes.
//
// It costs threads: there are 4 x fewer, times the planes each takes.
// Limit: memory; the reads of four neighbors are close together and come from the first-level cache.
#include "device.cuh"

// The row of this thread and its first column; `inside` is false past the last row.
struct Place {
  int row, column;
  bool inside;

  __device__ Place(int rows, int groups, int width) {
    const i64 index = global_thread();
    row = int(index / groups), column = int(index % groups) * width;
    inside = index < i64(rows) * groups;
  }
};

__device__ inline void write(float* to, const float (&values)[4], int count, bool aligned) {
  if (aligned) {
    *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
    return;
  }
#pragma unroll
  for (int q = 0; q < 4; ++q)
    if (q < count) to[q] = values[q];
}

extern "C" __global__ void __launch_bounds__(256)
    resize_nearest(const float* x, const int* row_of, const int* column_of, int planes, int height,
                   int width, int out_h, int out_w, float* y) {
  const Place at(out_h, (out_w + 3) / 4, 4);
  if (!at.inside) return;
  int columns[4];
#pragma unroll
  for (int q = 0; q < 4; ++q) columns[q] = column_of[min(at.column + q, out_w - 1)];
  const int row = row_of[at.row];
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    const float* line = x + (plane * height + row) * width;
    float values[4];
#pragma unroll
    for (int q = 0; q < 4; ++q) values[q] = line[columns[q]];
    write(y + (plane * out_h + at.row) * out_w + at.column, values, out_w - at.column, out_w % 4 == 0);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    resize_bilinear(const float* x, const int* top_of, const float* down, const int* left_of,
                    const float* across, int planes, int height, int width, int out_h, int out_w,
                    float* y) {
  const Place at(out_h, (out_w + 3) / 4, 4);
  if (!at.inside) return;
  int left[4], right[4];
  float weight[4];
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const int j = min(at.column + q, out_w - 1);
    left[q] = left_of[j], right[q] = min(left[q] + 1, width - 1), weight[q] = across[j];
  }
  const int top = top_of[at.row], bottom = min(top + 1, height - 1);
  const float below = down[at.row];
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    const float* upper = x + (plane * height + top) * width;
    const float* lower = x + (plane * height + bottom) * width;
    float values[4];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const float first = upper[left[q]] + below * (lower[left[q]] - upper[left[q]]);
      const float second = upper[right[q]] + below * (lower[right[q]] - upper[right[q]]);
      values[q] = first + weight[q] * (second - first);
    }
    write(y + (plane * out_h + at.row) * out_w + at.column, values, out_w - at.column, out_w % 4 == 0);
  }
}

// How much of output pixel i goes to input pixel `y` of `length`.
__device__ inline float share(int y, int length, int low, float weight) {
  return (low == y ? 1 - weight : 0) + (min(low + 1, length - 1) == y ? weight : 0);
}

extern "C" __global__ void __launch_bounds__(256)
    resize_backward(const float* grad, const int* top_of, const float* down, const int* left_of,
                    const float* across, const int* begin_h, const int* end_h, const int* begin_w,
                    const int* end_w, int planes, int height, int width, int out_h, int out_w,
                    float* dx) {
  const Place at(height, width, 1);
  if (!at.inside) return;
  const int first = begin_h[at.row], last = end_h[at.row];
  const int left = begin_w[at.column], right = end_w[at.column];
  for (i64 plane = blockIdx.y; plane < planes; plane += gridDim.y) {
    float sum = 0;
    for (int i = first; i < last; ++i) {
      const float* line = grad + (plane * out_h + i) * out_w;
      float row = 0;
      for (int j = left; j < right; ++j)
        row += share(at.column, width, left_of[j], across[j]) * line[j];
      sum += share(at.row, height, top_of[i], down[i]) * row;
    }
    dx[(plane * height + at.row) * width + at.column] = sum;
  }
}
