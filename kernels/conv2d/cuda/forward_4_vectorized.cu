// Convolution, rung 4: as rung 3 with 8 x 8 values a thread, float4 everywhere, nothing waited for.
//
// Letters: N images, C input channels, K filters, G groups; r a row of the window, (c, u, v), and m
// a pixel of the output, (n, i, j), as in geometry.cuh.  Grid: tiles of pixels along x, of filters
// along y, groups times parts of the rows along z; 256 threads own a tile of 128 filters at 128
// pixels or, for layers of few filters, 64 at 256.
//
// Against rung 3:
//   - a thread owns 8 x 8 values: four float4 reads of shared memory for 64 multiplications;
//   - columns are found by a table and a mask (gather.cuh) in place of divisions and comparisons;
//   - a 1x1 window at stride 1 reads float4 from x: there the columns are x itself;
//   - there are two buffers: while the block computes from one, its threads have the next numbers
//     on their way from global memory, and write them into the other; one barrier a step;
//   - where there are too few tiles to keep a GPU busy, the rows are cut into parts, each block
//     adds up one, and a second kernel adds the parts, in order (add_parts.cuh).
// Two blocks are on a multiprocessor (at most 128 registers), one computes while one waits.
//
// Limit to expect: instructions.  Of those in the loop's machine code (sm_90) four in five are
// multiplications, five in six for 1x1 windows.  Where a layer has few rows (1x1 windows of 64
// channels), writing y takes as long.
#include "device.cuh"
#include "gather.cuh"
#include "add_parts.cuh"

constexpr int ROWS = 8;  // of a step

// Where a thread's value i of 8 lies: two groups of 4 neighbors.  The 8 threads across a warp take
// 8 groups side by side, the 4 down it 4, so that a warp owns 32 filters at 64 pixels.
template <int PIXELS>
struct Place {
  static constexpr int WARPS = PIXELS / 64;  // across the tile
  int filter, pixel;  // the first of the thread
  __device__ Place()
      : filter(threadIdx.x / 32 / WARPS * 32 + threadIdx.x % 32 / 8 * 4),
        pixel(threadIdx.x / 32 % WARPS * 64 + threadIdx.x % 8 * 4) {}
  __device__ static int of_filter(int i) { return i / 4 * 16 + i % 4; }
  __device__ static int of_pixel(int i) { return i / 4 * 32 + i % 4; }
};

__device__ inline void read_eight(const float* line, int apart, float (&values)[8]) {
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(line + i / 4 * apart);
    values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
  }
}

__device__ inline float* floats(float4* tile) { return reinterpret_cast<float*>(tile); }

// One step: ROWS products of 8 weights and 8 pixels.
template <int FILTERS, int PIXELS>
__device__ inline void multiply(const float* weights, const float* columns,
                                const Place<PIXELS>& place, float (&sum)[8][8]) {
#pragma unroll
  for (int row = 0; row < ROWS; ++row) {
    float w[8], values[8];
    read_eight(weights + row * (FILTERS + 4) + place.filter, 16, w);
    read_eight(columns + row * PIXELS + place.pixel, 32, values);
#pragma unroll
    for (int a = 0; a < 8; ++a)
#pragma unroll
      for (int b = 0; b < 8; ++b) sum[a][b] += w[a] * values[b];
  }
}

// The rows that a thread looks up for one pixel, a step at a time.
template <int PIXELS>
struct Gathered {
  static constexpr int COUNT = ROWS * PIXELS / 256;
  Walk<ROWS> walk;
  float values[COUNT];

  __device__ Gathered(const Geometry& g, const float* x, int group, int first_m, int step)
      : walk(g, x, group, first_m + int(threadIdx.x) % PIXELS, step,
             int(threadIdx.x) / PIXELS * COUNT) {}
  __device__ void read(const Geometry& g, const int2* table) { walk.read(g, table, values); }
  __device__ void write(float* columns) const {
    const int column = threadIdx.x % PIXELS, row = threadIdx.x / PIXELS * COUNT;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) columns[(row + i) * PIXELS + column] = values[i];
  }
};

// The same for a 1x1 window at stride 1: four pixels of one channel at once.
template <int PIXELS>
struct Pointwise {
  static constexpr int COUNT = ROWS * PIXELS / 1024, LINE = PIXELS / 4;  // float4
  const float* pixel;  // of the first channel that the next step reads
  int left;            // channels from there on; none for a thread without pixels
  float4 values[COUNT];

  __device__ Pointwise(const Geometry& g, const float* x, int group, int first_m, int step) {
    const int m = first_m + int(threadIdx.x) % LINE * 4;
    const bool has_pixel = m < g.pixels();  // then all four are in one image: planes of fours
    const int n = has_pixel ? m / g.plane() : 0, c = step * ROWS + int(threadIdx.x) / LINE;
    pixel = x + (i64(n) * g.channels + group * g.depth() + c) * g.plane() + m % g.plane();
    left = has_pixel ? g.rows() - c : 0;
  }
  __device__ void read(const Geometry& g, const int2*) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      values[i] = i * (256 / LINE) < left
                      ? *reinterpret_cast<const float4*>(pixel + i64(i * (256 / LINE)) * g.plane())
                      : make_float4(0, 0, 0, 0);
    pixel += i64(ROWS) * g.plane();
    left -= ROWS;
  }
  __device__ void write(float* columns) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      reinterpret_cast<float4*>(columns)[threadIdx.x + i * 256] = values[i];
  }
};

// The weights of a thread: COUNT rows of one filter.  Threads side by side bring all rows of a
// filter, 32 bytes, and the lines of the tile are 4 longer than they need be, so that writing them
// meets in no bank.
template <int FILTERS>
struct Weights {
  static constexpr int COUNT = ROWS * FILTERS / 256, LINE = FILTERS + 4;
  const float* filter;  // from the first row on that the next step reads
  int left;             // rows from there on; none for a thread without a filter
  float values[COUNT];

  __device__ Weights(const Geometry& g, const float* weight, int first_filter, int count,
                     int step) {
    const int k = threadIdx.x * COUNT / ROWS, row = step * ROWS + threadIdx.x * COUNT % ROWS;
    filter = weight + i64(first_filter + k) * g.rows() + row;
    left = k < count ? g.rows() - row : 0;
  }
  __device__ void read(const Geometry& g) {
    read_weights(filter, left, g.rows() % COUNT == 0, values);
    filter += ROWS;
    left -= ROWS;
  }
  __device__ void write(float* weights) const {
    const int k = threadIdx.x * COUNT / ROWS, row = threadIdx.x * COUNT % ROWS;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) weights[(row + i) * LINE + k] = values[i];
  }
};

template <int PIXELS>
__device__ inline void store(const Geometry& g, const Target& target, int first_filter, int count,
                             int first_m, const float (&sum)[8][8]) {
  const Place<PIXELS> place;
  const int channel = first_filter + place.filter;
  const bool four_at_once = g.plane() % 4 == 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int m = first_m + place.pixel + place.of_pixel(i);
    if (m >= g.pixels() || (four_at_once && i % 4)) continue;
    float* out = target.values + g.output(m) + i64(channel) * g.plane();
#pragma unroll
    for (int a = 0; a < 8; ++a) {
      const int k = place.of_filter(a);
      if (place.filter + k >= count) continue;
      const float b = target.bias ? target.bias[channel + k] : 0;
      float* pixel = out + i64(k) * g.plane();
      if (four_at_once && i % 4 == 0)
        *reinterpret_cast<float4*>(pixel) =
            make_float4(sum[a][i] + b, sum[a][i + 1] + b, sum[a][i + 2] + b, sum[a][i + 3] + b);
      else
        *pixel = sum[a][i] + b;
    }
  }
}

template <int FILTERS, int PIXELS, template <int> class Columns>
__device__ inline void convolve(const Geometry& g, const float* x, const float* weight,
                                const float* bias, bool has_bias, int parts, int steps, float* y,
                                float* weight_tile, float* column_tile, int2* table) {
  const int group = blockIdx.z / parts, part = blockIdx.z % parts;
  const int first_k = blockIdx.y * FILTERS, first_m = blockIdx.x * PIXELS;
  const int first_filter = group * g.share() + first_k, count = g.share() - first_k;
  const int first = part * steps, end = min(first + steps, (g.rows() + ROWS - 1) / ROWS);
  if (table) fill_table<ROWS>(g, table);
  Columns<PIXELS> columns(g, x, group, first_m, first);
  Weights<FILTERS> weights(g, weight, first_filter, count, first);
  const Place<PIXELS> place;
  float sum[8][8] = {};
  __syncthreads();  // the table is there
  columns.read(g, table);
  weights.read(g);
  columns.write(column_tile);
  weights.write(weight_tile);
  __syncthreads();
  for (int step = first; step < end; ++step) {
    const int now = (step - first) & 1, then = 1 - now;
    if (step + 1 < end) {
      columns.read(g, table);
      weights.read(g);
    }
    multiply<FILTERS, PIXELS>(weight_tile + now * ROWS * weights.LINE,
                              column_tile + now * ROWS * PIXELS, place, sum);
    if (step + 1 == end) break;
    columns.write(column_tile + then * ROWS * PIXELS);
    weights.write(weight_tile + then * ROWS * weights.LINE);
    __syncthreads();
  }
  store<PIXELS>(g, Target(g, bias, has_bias, part, parts, y), first_filter, count, first_m, sum);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_forward_gathered_128x128(const float* x, const float* weight, const float* bias,
                                    bool has_bias, int images, int channels, int height, int width,
                                    int filters, int window_h, int window_w, int out_h, int out_w,
                                    int stride_h, int stride_w, int pad_h, int pad_w,
                                    int dilation_h, int dilation_w, int groups, int parts,
                                    int steps, float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  __shared__ float4 weights[2 * ROWS * 33], columns[2 * ROWS * 32];
  DYNAMIC_SHARED(int2, table);
  convolve<128, 128, Gathered>(g, x, weight, bias, has_bias, parts, steps, y, floats(weights),
                               floats(columns), table);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_forward_gathered_64x256(const float* x, const float* weight, const float* bias,
                                   bool has_bias, int images, int channels, int height, int width,
                                   int filters, int window_h, int window_w, int out_h, int out_w,
                                   int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                                   int dilation_w, int groups, int parts, int steps, float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  __shared__ float4 weights[2 * ROWS * 17], columns[2 * ROWS * 64];
  DYNAMIC_SHARED(int2, table);
  convolve<64, 256, Gathered>(g, x, weight, bias, has_bias, parts, steps, y, floats(weights),
                              floats(columns), table);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_forward_pointwise_128x128(const float* x, const float* weight, const float* bias,
                                     bool has_bias, int images, int channels, int plane,
                                     int filters, int groups, int parts, int steps, float* y) {
  const Geometry g = {images, channels, 1, plane, filters, 1, 1, 1,
                      plane,  1,        1, 0,     0,       1, 1, groups};
  __shared__ float4 weights[2 * ROWS * 33], columns[2 * ROWS * 32];
  convolve<128, 128, Pointwise>(g, x, weight, bias, has_bias, parts, steps, y, floats(weights),
                                floats(columns), nullptr);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_forward_pointwise_64x256(const float* x, const float* weight, const float* bias,
                                    bool has_bias, int images, int channels, int plane, int filters,
                                    int groups, int parts, int steps, float* y) {
  const Geometry g = {images, channels, 1, plane, filters, 1, 1, 1,
                      plane,  1,        1, 0,     0,       1, 1, groups};
  __shared__ float4 weights[2 * ROWS * 17], columns[2 * ROWS * 64];
  convolve<64, 256, Pointwise>(g, x, weight, bias, has_bias, parts, steps, y, floats(weights),
                               floats(columns), nullptr);
}
