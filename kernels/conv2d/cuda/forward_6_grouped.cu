// Convolution, rung 6: for groups of few channels; a tile of pixels in all channels of one group.
//
// Letters: N images, C input channels, K filters, G groups, as in geometry.cuh.  Grid: tiles of one
// image along x, blocks of a group's filters, group by group, along y, images along z.
//
// The rungs before are products of matrices, whose tiles are 64 or 128 filters high; a group of 4
// filters leaves most of a tile empty, and a depthwise convolution has one.  Here a block owns a
// rectangle of the image instead.  It copies the pixels under all of its windows into shared memory,
// once, as many channels at a time as there is room for: every pixel is then read by up to kh kw
// windows, and by 8 filters of each.  A thread owns 8 filters at 2 pixels, in registers, so that a
// tap of one channel takes 2 + 8 reads of shared memory, 8 of them the same for all threads, for 16
// products.
//
// Depthwise, one filter a group, has nothing to use a pixel for but its windows: a thread owns 4
// pixels, and what limits it is global memory, 2 numbers for kh kw products.  It costs shared memory
// for the border, and at stride 2 neighboring threads meet in the same banks.
#include "device.cuh"
#include "geometry.cuh"
#include "groups.cuh"

template <int FILTERS, int PIXELS>
__device__ inline void convolve(const Geometry& g, const float* x, const float* weight,
                                const float* bias, bool has_bias, int tile_width, int chunk,
                                float* shared, float* y) {
  const Tile<PIXELS> tile(blockIdx.x, g.out_w, tile_width);
  const int blocks = (g.share() + FILTERS - 1) / FILTERS, group = blockIdx.y / blocks;
  const int first_k = blockIdx.y % blocks * FILTERS, n = blockIdx.z, taps = g.taps();
  const int rows = (tile.height() - 1) * g.stride_h + (g.window_h - 1) * g.dilation_h + 1;
  const int columns = (tile.width - 1) * g.stride_w + (g.window_w - 1) * g.dilation_w + 1;
  float *weights = shared, *patch = shared + chunk * taps * FILTERS;
  const float* filters = weight + i64(group) * g.share() * g.rows();
  const float* image = x + (i64(n) * g.channels + group * g.depth()) * g.height * g.width;
  float sum[FILTERS][PIXELS] = {};
  for (int first = 0; first < g.depth(); first += chunk) {
    const int count = min(chunk, g.depth() - first);
    if (first > 0) __syncthreads();  // slower threads still read the numbers before
    copy_patch(image + i64(first) * g.height * g.width, count, g.height, g.width,
               tile.top * g.stride_h - g.pad_h, tile.left * g.stride_w - g.pad_w, rows, columns,
               patch);
    for (int i = threadIdx.x; i < count * taps * FILTERS; i += 256) {
      const int k = first_k + i % FILTERS;
      weights[i] = k < g.share() ? filters[i64(k) * g.rows() + first * taps + i / FILTERS] : 0;
    }
    __syncthreads();
    for (int t = 0; t < count * taps; ++t) {
      const int down = t % taps / g.window_w * g.dilation_h, right = t % g.window_w * g.dilation_w;
      const float* under = patch + (t / taps * rows + down) * columns + right;
      float values[PIXELS];
#pragma unroll
      for (int p = 0; p < PIXELS; ++p)
        values[p] = under[(tile.row + p * tile.apart) * g.stride_h * columns +
                          tile.column * g.stride_w];
      add_products<FILTERS, PIXELS>(weights + t * FILTERS, values, sum);
    }
  }
  const int j = tile.left + tile.column;
#pragma unroll
  for (int p = 0; p < PIXELS; ++p) {
    const int i = tile.top + tile.row + p * tile.apart;
    if (i >= g.out_h || j >= g.out_w) continue;
#pragma unroll
    for (int f = 0; f < FILTERS; ++f) {
      const int k = group * g.share() + first_k + f;
      if (first_k + f >= g.share()) continue;
      y[(i64(n) * g.filters + k) * g.plane() + i64(i) * g.out_w + j] =
          has_bias ? sum[f][p] + bias[k] : sum[f][p];
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_forward_grouped(const float* x, const float* weight, const float* bias, bool has_bias,
                           int images, int channels, int height, int width, int filters,
                           int window_h, int window_w, int out_h, int out_w, int stride_h,
                           int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
                           int groups, int tile_width, int chunk, float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  DYNAMIC_SHARED(float, shared);
  convolve<8, 2>(g, x, weight, bias, has_bias, tile_width, chunk, shared, y);
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_forward_depthwise(const float* x, const float* weight, const float* bias, bool has_bias,
                             int images, int channels, int height, int width, int filters,
                             int window_h, int window_w, int out_h, int out_w, int stride_h,
                             int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
                             int groups, int tile_width, int chunk, float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  DYNAMIC_SHARED(float, shared);
  convolve<1, 4>(g, x, weight, bias, has_bias, tile_width, chunk, shared, y);
}
