// Gradients of a convolution, rung 6: for groups of few channels, as forward_6_grouped.cu.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output.
//
// dx: a block owns a rectangle of the image in 8 channels of one group (depthwise: in one), and has
// the grads of all positions that reach it in shared memory.  At stride 2 half of a warp waits at
// every tap, since neighbors meet different taps; rung 4 sorts pixels for that, but has tiles of 64
// channels.  Grid: tiles along x, blocks of a group's channels along y, images along z.
//
// dw: of a group it has few values, K / G C / G kh kw, each a sum over all positions.  A thread owns
// one of them.  Where they are fewer than 256, several threads share one, each with every second,
// third, ... position, and the first adds their sums up, in order.  A block visits some of the tiles
// of 4 x 32 positions, one slice, and writes a partial result; conv2d_add_slices adds those up: no
// atomics, and the same bits at every run.  Neighboring threads have neighboring filters, which read
// the same pixel; lines of grad are one number longer than a tile, so that they meet in no bank.
// Limit: shared memory, two reads a product.  Grid: slices along x, blocks of 256 values along y,
// groups along z.
#include "device.cuh"
#include "gradients.cuh"
#include "groups.cuh"

template <int CHANNELS, int PIXELS>
__device__ inline void gather(const float* grad, const float* weight, const float* bias,
                              bool has_bias, int channels, int filters, int groups,
                              const Axis& down, const Axis& across, int tile_width, int chunk,
                              float* shared, float* dx) {
  const Tile<PIXELS> tile(blockIdx.x, across.length, tile_width);
  const int depth = channels / groups, share = filters / groups;
  const int blocks = (depth + CHANNELS - 1) / CHANNELS, group = blockIdx.y / blocks;
  const int first_c = blockIdx.y % blocks * CHANNELS, n = blockIdx.z;
  const int taps = down.taps * across.taps, area = down.positions * across.positions;
  // the positions that reach the tile begin here
  const int reach_h = (down.taps - 1) * down.dilation;
  const int reach_w = (across.taps - 1) * across.dilation;
  const int top = max(0, tile.top + down.pad - reach_h) / down.stride;
  const int left = max(0, tile.left + across.pad - reach_w) / across.stride;
  const int rows = (tile.height() - 1 + reach_h) / down.stride + 2;
  const int columns = (tile.width - 1 + reach_w) / across.stride + 2;
  float *weights = shared, *patch = shared + chunk * taps * CHANNELS;
  float sum[CHANNELS][PIXELS] = {};
  for (int first = 0; first < share; first += chunk) {
    const int count = min(chunk, share - first);
    const i64 filter = i64(group) * share + first;
    if (first > 0) __syncthreads();  // slower threads still read the numbers before
    copy_patch(grad + (i64(n) * filters + filter) * area, count, down.positions, across.positions,
               top, left, rows, columns, patch);
    for (int i = threadIdx.x; i < count * taps * CHANNELS; i += 256) {
      const int c = first_c + i % CHANNELS, k = i / CHANNELS / taps, tap = i / CHANNELS % taps;
      weights[i] = c < depth ? weight[((filter + k) * depth + c) * taps + tap] : 0;
    }
    __syncthreads();
    for (int tap = 0; tap < taps; ++tap) {
      const int j = across.position(tile.left + tile.column, tap % across.taps);
      if (j < 0) continue;
      int at[PIXELS];
#pragma unroll
      for (int p = 0; p < PIXELS; ++p) {
        const int i = down.position(tile.top + tile.row + p * tile.apart, tap / across.taps);
        at[p] = i < 0 ? -1 : (i - top) * columns + j - left;
      }
      for (int k = 0; k < count; ++k) {
        float values[PIXELS];
#pragma unroll
        for (int p = 0; p < PIXELS; ++p)
          values[p] = at[p] < 0 ? 0 : patch[k * rows * columns + at[p]];
        add_products<CHANNELS, PIXELS>(weights + (k * taps + tap) * CHANNELS, values, sum);
      }
    }
  }
  const int x = tile.left + tile.column;
#pragma unroll
  for (int p = 0; p < PIXELS; ++p) {
    const int y = tile.top + tile.row + p * tile.apart;
    if (y >= down.length || x >= across.length) continue;
#pragma unroll
    for (int a = 0; a < CHANNELS; ++a) {
      const int c = group * depth + first_c + a;
      if (first_c + a >= depth) continue;
      dx[((i64(n) * channels + c) * down.length + y) * across.length + x] =
          has_bias ? sum[a][p] + bias[c] : sum[a][p];
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_input_grouped(const float* grad, const float* weight, const float* bias,
                                  bool has_bias, int images, int channels, int height, int width,
                                  int filters, int window_h, int window_w, int out_h, int out_w,
                                  int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                                  int dilation_w, int groups, int tile_width, int chunk,
                                  float* dx) {
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  DYNAMIC_SHARED(float, shared);
  gather<8, 2>(grad, weight, bias, has_bias, channels, filters, groups, down, across, tile_width,
               chunk, shared, dx);
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_input_depthwise(const float* grad, const float* weight, const float* bias,
                                    bool has_bias, int images, int channels, int height, int width,
                                    int filters, int window_h, int window_w, int out_h, int out_w,
                                    int stride_h, int stride_w, int pad_h, int pad_w,
                                    int dilation_h, int dilation_w, int groups, int tile_width,
                                    int chunk, float* dx) {
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  DYNAMIC_SHARED(float, shared);
  gather<1, 4>(grad, weight, bias, has_bias, channels, filters, groups, down, across, tile_width,
               chunk, shared, dx);
}

constexpr int ROWS = 4, COLUMNS = 32, LINE = ROWS * COLUMNS + 1;  // of a tile of positions

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_weight_grouped(const float* grad, const float* x, int images, int channels,
                                   int height, int width, int filters, int window_h, int window_w,
                                   int out_h, int out_w, int stride_h, int stride_w, int pad_h,
                                   int pad_w, int dilation_h, int dilation_w, int groups,
                                   int tiles_of_slice, float* partial) {
  DYNAMIC_SHARED(float, grads);  // [share][LINE], then the pixels of some channels
  __shared__ float sums[256];
  const int depth = channels / groups, share = filters / groups, taps = window_h * window_w;
  const int all = share * depth * taps, group = blockIdx.z;
  // values in the order channel, tap, filter: this block's, this thread's, and its share of a sum
  const int begin = blockIdx.y * 256, values = min(256, all - begin);
  const int helpers = 256 / values, mine = threadIdx.x % values, part = threadIdx.x / values;
  const int k = (begin + mine) % share, tap = (begin + mine) / share % taps;
  const int first_c = begin / share / taps, last_c = (begin + values - 1) / share / taps;
  const int c = (begin + mine) / share / taps - first_c;
  const int rows = (ROWS - 1) * stride_h + (window_h - 1) * dilation_h + 1;
  const int columns = (COLUMNS - 1) * stride_w + (window_w - 1) * dilation_w + 1;
  float* patch = grads + share * LINE;
  const float* pixel = patch + (c * rows + tap / window_w * dilation_h) * columns +
                       tap % window_w * dilation_w;
  const int tiles_x = (out_w + COLUMNS - 1) / COLUMNS, tiles_y = (out_h + ROWS - 1) / ROWS;
  const i64 all_tiles = i64(images) * tiles_x * tiles_y;
  const i64 from = i64(blockIdx.x) * tiles_of_slice;
  const i64 to = from + tiles_of_slice < all_tiles ? from + tiles_of_slice : all_tiles;
  float total = 0;
  for (i64 at = from; at < to; ++at) {
    const int top = int(at / tiles_x % tiles_y) * ROWS, left = int(at % tiles_x) * COLUMNS;
    const i64 n = at / tiles_x / tiles_y, plane = i64(height) * width;
    const float* d = grad + (n * filters + i64(group) * share) * out_h * out_w;
    for (int i = threadIdx.x; i < share * ROWS * COLUMNS; i += 256) {
      const int position = i % (ROWS * COLUMNS), filter = i / (ROWS * COLUMNS);
      const int row = top + position / COLUMNS, column = left + position % COLUMNS;
      const bool inside = row < out_h && column < out_w;
      grads[filter * LINE + position] =
          inside ? d[(i64(filter) * out_h + row) * out_w + column] : 0;
    }
    copy_patch(x + (n * channels + i64(group) * depth + first_c) * plane, last_c - first_c + 1,
               height, width, top * stride_h - pad_h, left * stride_w - pad_w, rows, columns,
               patch);
    __syncthreads();
    float sum = 0;  // of a tile, apart: a sum of sums rounds less than one long sum
    for (int i = part; i < ROWS * COLUMNS && part < helpers; i += helpers)
      sum += grads[k * LINE + i] *
             pixel[i / COLUMNS * stride_h * columns + i % COLUMNS * stride_w];
    total += sum;
    __syncthreads();  // before the next tile overwrites this one
  }
  sums[threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.x >= values) return;
  for (int i = 1; i < helpers; ++i) total += sums[i * values + mine];
  const int channel = first_c + c;
  partial[((i64(blockIdx.x) * filters + group * share + k) * depth + channel) * taps + tap] = total;
}
