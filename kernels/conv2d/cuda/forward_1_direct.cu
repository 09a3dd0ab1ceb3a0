// Convolution, rung 1: one thread an output value, loops over channels and the window.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output, kh kw of the window.  Grid: pixels of all images along x, filters along y.
//
// Threads of a warp are neighbors in a row of the output: they read neighbors of the input (at
// stride 1 in one request), and their weight is one read for all.  But every multiplication takes
// two reads, which the caches answer no faster than a few per clock: this is what limits it.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    conv2d_forward(const float* x, const float* weight, const float* bias, bool has_bias,
                   int images, int channels, int height, int width, int filters, int window_h,
                   int window_w, int out_h, int out_w, int stride_h, int stride_w, int pad_h,
                   int pad_w, int dilation_h, int dilation_w, int groups, float* y) {
  const i64 m = global_thread();
  const int plane = out_h * out_w, k = blockIdx.y;
  if (m >= i64(images) * plane) return;
  const i64 n = m / plane;
  const int p = int(m % plane), depth = channels / groups, group = k / (filters / groups);
  const int top = p / out_w * stride_h - pad_h, left = p % out_w * stride_w - pad_w;
  const float* w = weight + i64(k) * depth * window_h * window_w;
  const float* channel = x + (n * channels + group * depth) * height * width;
  float sum = 0;
  for (int c = 0; c < depth; ++c, channel += i64(height) * width) {
    for (int u = 0; u < window_h; ++u) {
      const int row = top + u * dilation_h;
      if (row < 0 || row >= height) continue;
      for (int v = 0; v < window_w; ++v) {
        const int column = left + v * dilation_w;
        if (column < 0 || column >= width) continue;
        sum += w[(i64(c) * window_h + u) * window_w + v] * channel[i64(row) * width + column];
      }
    }
  }
  y[(n * filters + k) * plane + p] = has_bias ? sum + bias[k] : sum;
}
