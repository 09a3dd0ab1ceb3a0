// Convolution, rung 3: as rung 2, but a thread owns 4 filters at 8 pixels, in registers.
//
// Letters: N images, C input channels, K filters, G groups; r a row of the window, (c, u, v), and m
// a pixel of the output, (n, i, j), as in geometry.cuh.  Grid: tiles of 128 pixels along x, of 64
// filters along y, groups along z; 256 threads, 16 across the pixels, 16 down the filters.
//
// For one row of the tile a thread reads 4 weights and 8 pixels from shared memory and makes 32
// multiplications of them: 12 reads for 32, not 2 for one.  A thread's values lie 16 apart, so that
// the threads of a half warp read neighbors, which no two banks share.
//
// What is left: every number that comes into shared memory takes three divisions and four
// comparisons to be found (`window_value`), and while it is on its way the block waits.
#include "device.cuh"
#include "geometry.cuh"

constexpr int FILTERS = 64, PIXELS = 128, ROWS = 8;  // of a tile
constexpr int LINE = FILTERS + 4;  // eight rows of four filters, written at once, meet in no bank

__device__ inline void copy_weights(const Geometry& g, const float* filters, int count, int first,
                                    float (*weights)[LINE]) {
  const int row = threadIdx.x % ROWS;  // threads side by side read along a filter's weights
  for (int k = threadIdx.x / ROWS; k < FILTERS; k += 256 / ROWS) {
    const bool inside = k < count && first + row < g.rows();
    weights[row][k] = inside ? filters[i64(k) * g.rows() + first + row] : 0;
  }
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_forward(const float* x, const float* weight, const float* bias, bool has_bias,
                   int images, int channels, int height, int width, int filters, int window_h,
                   int window_w, int out_h, int out_w, int stride_h, int stride_w, int pad_h,
                   int pad_w, int dilation_h, int dilation_w, int groups, float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  __shared__ float weights[ROWS][LINE], columns[ROWS][PIXELS];
  const int group = blockIdx.z, first_k = blockIdx.y * FILTERS, first_m = blockIdx.x * PIXELS;
  const int first_filter = group * g.share() + first_k, count = g.share() - first_k;
  // the one pixel of the tile that this thread looks up, for every second row
  const int column = threadIdx.x % PIXELS;
  const bool has_pixel = first_m + column < g.pixels();
  const Window window = window_at(g, x, group, has_pixel ? first_m + column : 0);

  const int across = threadIdx.x % 16, down = threadIdx.x / 16;
  float sum[4][8] = {};
  for (int first = 0; first < g.rows(); first += ROWS) {
    copy_weights(g, weight + i64(first_filter) * g.rows(), count, first, weights);
    for (int row = threadIdx.x / PIXELS; row < ROWS; row += 256 / PIXELS) {
      const bool inside = has_pixel && first + row < g.rows();
      columns[row][column] = inside ? window_value(g, window, first + row) : 0;
    }
    __syncthreads();
#pragma unroll
    for (int row = 0; row < ROWS; ++row) {
      float w[4], values[8];
#pragma unroll
      for (int a = 0; a < 4; ++a) w[a] = weights[row][down + 16 * a];
#pragma unroll
      for (int b = 0; b < 8; ++b) values[b] = columns[row][across + 16 * b];
#pragma unroll
      for (int a = 0; a < 4; ++a)
#pragma unroll
        for (int b = 0; b < 8; ++b) sum[a][b] += w[a] * values[b];
    }
    __syncthreads();  // before the next numbers overwrite these
  }
#pragma unroll
  for (int b = 0; b < 8; ++b) {
    const int m = first_m + across + 16 * b;
    if (m >= g.pixels()) break;
    float* out = y + g.output(m);
#pragma unroll
    for (int a = 0; a < 4; ++a) {
      const int k = down + 16 * a, channel = first_filter + k;
      const float b_k = has_bias && k < count ? bias[channel] : 0;
      if (k < count) out[i64(channel) * g.plane()] = sum[a][b] + b_k;
    }
  }
}
