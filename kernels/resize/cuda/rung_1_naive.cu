// Resizing, rung 1: one thread a value.
//
// Letters: N images, C channels, H W height and width of the input, H2 W2 of the output.
//
// Along each axis, output pixel i blends input pixels low[i] and low[i] + 1 (the last one at the
// border) with the weights 1 - weight[i] and weight[i]; the tables come from axes.py.  Threads of a
// warp walk along a row: what they write is contiguous, what they read nearly so.
//
// Backward every input pixel gathers what the outputs that read it got: low never falls, so these
// are the outputs begin[y] to end[y] - 1.  Nobody shares a sum: no atomics, the same bits each time.
//
// Limit: a value costs four integer divisions to find where it lies, more than it takes to move it.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    resize_nearest(const float* x, const int* row_of, const int* column_of, int planes, int height,
                   int width, int out_h, int out_w, float* y) {
  const i64 index = global_thread(), plane = index / out_w / out_h;
  if (plane >= planes) return;
  const int i = int(index / out_w % out_h), j = int(index % out_w);
  y[index] = x[(plane * height + row_of[i]) * width + column_of[j]];
}

extern "C" __global__ void __launch_bounds__(256)
    resize_bilinear(const float* x, const int* top_of, const float* down, const int* left_of,
                    const float* across, int planes, int height, int width, int out_h, int out_w,
                    float* y) {
  const i64 index = global_thread(), plane = index / out_w / out_h;
  if (plane >= planes) return;
  const int i = int(index / out_w % out_h), j = int(index % out_w);
  const int top = top_of[i], left = left_of[j], right = min(left + 1, width - 1);
  const float* upper = x + (plane * height + top) * width;
  const float* lower = x + (plane * height + min(top + 1, height - 1)) * width;
  const float first = upper[left] + down[i] * (lower[left] - upper[left]);
  const float second = upper[right] + down[i] * (lower[right] - upper[right]);
  y[index] = first + across[j] * (second - first);
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
  const i64 index = global_thread(), plane = index / width / height;
  if (plane >= planes) return;
  const int y = int(index / width % height), x = int(index % width);
  float sum = 0;
  for (int i = begin_h[y]; i < end_h[y]; ++i) {
    const float* line = grad + (plane * out_h + i) * out_w;
    float row = 0;
    for (int j = begin_w[x]; j < end_w[x]; ++j) row += share(x, width, left_of[j], across[j]) * line[j];
    sum += share(y, height, top_of[i], down[i]) * row;
  }
  dx[index] = sum;
}
