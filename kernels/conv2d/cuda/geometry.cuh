// Sizes of a convolution, and which input value a window holds: shared by the forward kernels.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output, kh kw of the window.  A convolution is the matrix product
//
//     y[k, m] = sum over r of weight[k, r] columns[r, m]
//
// of row r = (c, u, v) of the window and pixel m = (n, i, j) of the output; `columns` is the input
// under all windows, and is never written: its values are looked up in x.
#pragma once

struct Geometry {
  int images, channels, height, width, filters, window_h, window_w, out_h, out_w;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;

  __device__ int depth() const { return channels / groups; }  // input channels of a group
  __device__ int share() const { return filters / groups; }   // filters of a group
  __device__ int taps() const { return window_h * window_w; }
  __device__ int rows() const { return depth() * taps(); }
  __device__ int plane() const { return out_h * out_w; }
  __device__ i64 pixels() const { return i64(images) * plane(); }

  // Where in y the value of filter 0 at pixel m is; filter k is k * plane() further on.
  __device__ i64 output(int m) const {
    return i64(m / plane()) * filters * plane() + m % plane();
  }
};

// The window under one output pixel: where it begins in x, and in which row and column of the
// image.
struct Window {
  const float* first;  // may point outside x, where the window begins in the padding
  int top, left;
};

// The window of pixel `m` in the channels of `group`.
__device__ inline Window window_at(const Geometry& g, const float* x, int group, int m) {
  const int n = m / g.plane(), p = m % g.plane();
  const int top = p / g.out_w * g.stride_h - g.pad_h, left = p % g.out_w * g.stride_w - g.pad_w;
  const i64 plane = i64(n) * g.channels + group * g.depth();
  return {x + (plane * g.height + top) * g.width + left, top, left};
}

// columns[r, m], looked up: the divisions find channel and tap, the comparisons the padding.
__device__ inline float window_value(const Geometry& g, const Window& window, int r) {
  const int c = r / g.taps(), tap = r % g.taps();
  const int down = tap / g.window_w * g.dilation_h, right = tap % g.window_w * g.dilation_w;
  const int row = window.top + down, column = window.left + right;
  if (row < 0 || row >= g.height || column < 0 || column >= g.width) return 0;
  return window.first[(i64(c) * g.height + down) * g.width + right];
}
