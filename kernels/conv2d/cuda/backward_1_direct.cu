// Gradients of a convolution, rung 1: one thread a value, straight from the formulas.
//
//   dx[n, c, y, x]  = bias[c] + sum over k, u, v of weight[k, c, u, v] grad[n, k, i, j],
//                     (i, j) the window position whose tap (u, v) reads pixel (y, x)
//   dw[k, c, u, v]  = sum over n, i, j of grad[n, k, i, j] x[n, c, pixel under tap (u, v)]
//   db[k]           = sum over n, i, j of grad[n, k, i, j]
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output.
//
// Every thread gathers what its own value is made of, so nobody shares a sum: no atomics, and the
// same bits at every run.  For dx, threads of a warp walk along a row of the image and read grad
// side by side; a weight is one read for all of them.  Every product costs two reads, though, most
// of them from the caches: that is the limit.  The sums over positions have another: as many threads
// as there are weights or filters is far fewer than a GPU runs at a time.
#include "device.cuh"
#include "gradients.cuh"

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_input(const float* grad, const float* weight, const float* bias, bool has_bias,
                          int images, int channels, int height, int width, int filters,
                          int window_h, int window_w, int out_h, int out_w, int stride_h,
                          int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
                          int groups, float* dx) {
  const i64 index = global_thread();
  if (index >= i64(images) * channels * height * width) return;
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const int depth = channels / groups, share = filters / groups;  // of a group
  const int x = int(index % width), y = int(index / width % height);
  const int c = int(index / width / height % channels);
  const i64 n = index / width / height / channels, first = i64(c / depth) * share;
  float sum = 0;
  for (int u = 0; u < window_h; ++u) {
    const int i = down.position(y, u);
    if (i < 0) continue;
    for (int v = 0; v < window_w; ++v) {
      const int j = across.position(x, v);
      if (j < 0) continue;
      const float* d = grad + ((n * filters + first) * out_h + i) * out_w + j;
      const float* w = weight + ((first * depth + c % depth) * window_h + u) * window_w + v;
      for (int k = 0; k < share; ++k)
        sum += w[i64(k) * depth * window_h * window_w] * d[i64(k) * out_h * out_w];
    }
  }
  dx[index] = has_bias ? sum + bias[c] : sum;
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_weight(const float* grad, const float* x, int images, int channels, int height,
                           int width, int filters, int window_h, int window_w, int out_h, int out_w,
                           int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                           int dilation_w, int groups, float* dweight) {
  const i64 index = global_thread();
  const int depth = channels / groups, share = filters / groups;
  if (index >= i64(filters) * depth * window_h * window_w) return;
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const int v = int(index % window_w), u = int(index / window_w % window_h);
  const i64 plane = index / window_w / window_h, k = plane / depth;
  const i64 c = k / share * depth + plane % depth;
  float sum = 0;
  for (i64 n = 0; n < images; ++n) {
    for (int i = 0; i < out_h; ++i) {
      const int y = down.pixel(i, u);
      if (y < 0) continue;
      const float* d = grad + ((n * filters + k) * out_h + i) * out_w;
      const float* pixels = x + ((n * channels + c) * height + y) * width;
      float row = 0;  // rows are summed up apart: a sum of sums rounds less than one long sum
      for (int j = 0; j < out_w; ++j) {
        const int column = across.pixel(j, v);
        if (column >= 0) row += d[j] * pixels[column];
      }
      sum += row;
    }
  }
  dweight[index] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_bias(const float* grad, int images, int filters, int out_h, int out_w,
                         float* dbias) {
  const i64 k = global_thread();
  if (k >= filters) return;
  float sum = 0;
  for (i64 n = 0; n < images; ++n) {
    for (i64 i = 0; i < out_h; ++i) {
      const float* d = grad + ((n * filters + k) * out_h + i) * out_w;
      float row = 0;
      for (int j = 0; j < out_w; ++j) row += d[j];
      sum += row;
    }
  }
  dbias[k] = sum;
}
