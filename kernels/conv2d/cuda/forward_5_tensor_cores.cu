// Convolution, rung 5: as rung 4, but tensor cores multiply, with operands rounded to TF32.
//
// Letters: N images, C input channels, K filters, G groups; r a row of the window, (c, u, v), and m
// a pixel of the output, (n, i, j), as in geometry.cuh.  Grid: tiles of 128 pixels along x, of 128
// filters along y, groups times parts of the rows along z; 256 threads, 8 warps as 2 down the
// filters and 4 across the pixels; a warp owns 64 filters at 32 pixels, a lane 64 values of them.
//
// One instruction of a warp makes 16 x 8 x 8 multiplications (tensor_core.cuh), a 32nd of the
// instructions that rung 4 takes.  The price is the operands' mantissa, 10 bits in place of 23:
// each product is off by up to 2^-10 of itself.  So this rung runs by name only.
//
// Sums do not care for the order of their rows r, so a lane takes four neighbors, from row 4
// `place` on, as columns `place` and `place` + 4 of two instructions.  What a lane needs at once of
// the weights, two rows of two filters, and of a pixel, four rows, are 16 bytes in shared memory.
// They are stored in an order (the exclusive-ors below) in which neither reading, two lines by four
// places at a time, nor writing, eight lines, meets in a bank.
//
// A step's numbers are fetched in two halves, pixels and then weights, each while half of the
// step's instructions run: both at once would not fit the registers.
//
// Limit to expect: instructions.  Rounding, masks and addresses of the numbers that a thread brings
// take several times as many as the 32 multiplications of its warp.
#include "device.cuh"
#include "tensor_core.cuh"
#include "gather.cuh"
#include "add_parts.cuh"

constexpr int ROWS = 16;  // of a step
constexpr int SIDE = 128;  // filters and pixels of a tile

// Where four rows of a pixel lie: rows 4 quarter to 4 quarter + 3.
__device__ inline int pixel_position(int pixel, int quarter) {
  return pixel * 4 + (quarter ^ (pixel / 2 & 3));
}

// Where two rows of two filters lie, 4 quarter + 2 half and the next.  Filters 8 apart are a pair:
// of 16 filters the first eight begin one each.
__device__ inline int pair_position(int pair, int quarter, int half) {
  return pair * 8 + (half ^ (pair & 1)) * 4 + (quarter ^ (pair & 2));
}

__device__ inline uint4 rounded(float a, float b, float c, float d) {
  return make_uint4(to_tf32(a), to_tf32(b), to_tf32(c), to_tf32(d));
}

// Half a step: two instructions for each of 2 x 4 pieces of 16 filters and 8 pixels.
__device__ inline void multiply(const uint4* weights, int first_filter, const uint4 (&b)[4],
                                float (*sum)[4][4]) {
  const int group = threadIdx.x % 32 / 4, place = threadIdx.x % 4;
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const int pair = first_filter / 2 + 8 * p + group;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 two = weights[pair_position(pair, place, half)];
      const u32 a[4] = {two.x, two.y, two.z, two.w};
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const u32 column[2] = {half ? b[q].z : b[q].x, half ? b[q].w : b[q].y};
        multiply_tf32(sum[p][q], a, column);
      }
    }
  }
}

__device__ inline void store(const Geometry& g, const Target& target, int first_filter, int count,
                             int filter, int pixel, const float (&sum)[4][4][4]) {
  const int group = threadIdx.x % 32 / 4, place = threadIdx.x % 4;
  const int channel = first_filter + filter + group;
  const bool two_at_once = g.plane() % 2 == 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {  // a lane's pixels: two neighbors in each of four pieces
    const int m = pixel + i / 2 * 8 + 2 * place + i % 2;
    if (m >= g.pixels() || (two_at_once && i % 2)) continue;
    float* out = target.values + g.output(m) + i64(channel) * g.plane();
#pragma unroll
    for (int a = 0; a < 8; ++a) {  // its filters, 8 apart
      if (filter + group + 8 * a >= count) continue;
      const float b = target.bias ? target.bias[channel + 8 * a] : 0;
      const float(&values)[4] = sum[a / 2][i / 2];
      float* one = out + i64(8 * a) * g.plane();
      if (two_at_once)
        *reinterpret_cast<float2*>(one) =
            make_float2(values[a % 2 * 2] + b, values[a % 2 * 2 + 1] + b);
      else
        *one = values[a % 2 * 2 + i % 2] + b;
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_forward(const float* x, const float* weight, const float* bias, bool has_bias,
                   int images, int channels, int height, int width, int filters, int window_h,
                   int window_w, int out_h, int out_w, int stride_h, int stride_w, int pad_h,
                   int pad_w, int dilation_h, int dilation_w, int groups, int parts, int steps,
                   float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  __shared__ uint4 weight_tiles[2][SIDE * ROWS / 4], column_tiles[2][SIDE * ROWS / 4];
  DYNAMIC_SHARED(int2, table);
  const int group = blockIdx.z / parts, part = blockIdx.z % parts;
  const int first_k = blockIdx.y * SIDE, first_m = blockIdx.x * SIDE;
  const int first_filter = group * g.share() + first_k, count = g.share() - first_k;
  const int first = part * steps, end = min(first + steps, (g.rows() + ROWS - 1) / ROWS);
  fill_table<ROWS>(g, table);

  // a thread brings eight rows of one pixel, and four of two filters; beyond the last filter it
  // brings that one's again, for sums that nobody stores
  const int pixel = threadIdx.x % SIDE, row = threadIdx.x / SIDE * 8;
  Walk<ROWS> walk(g, x, group, first_m + pixel, first, row);
  const int pair = threadIdx.x / 2 % (SIDE / 2), quarter = threadIdx.x % 2 + threadIdx.x / SIDE * 2;
  const int upper = pair / 8 * 16 + pair % 8;
  const float* filter =
      weight + i64(first_filter + min(upper, count - 1)) * g.rows() + 4 * quarter;
  const int apart = (min(upper + 8, count - 1) - min(upper, count - 1)) * g.rows();
  // where they go: the pixel's next four rows one off, the pair's next two rows in the other half
  const int pixel_slot = pixel_position(pixel, row / 4);
  const int pair_slot = pair_position(pair, quarter, 0);

  const int warp = threadIdx.x / 32, my_filter = warp / 4 * 64, my_pixel = warp % 4 * 32;
  const int mine = pixel_position(my_pixel + threadIdx.x % 32 / 4, threadIdx.x % 4);
  float sum[4][4][4] = {};
  __syncthreads();  // the table is there
  for (int step = first; step <= end; ++step) {
    // the first time round there is nothing yet to multiply, the last time nothing to bring
    const int now = (step - first) & 1;
    const uint4 *weights = weight_tiles[1 - now], *columns = column_tiles[1 - now];
    uint4 b[4];
    float values[8], one[4], other[4];
    if (step < end) walk.read(g, table, values);
    if (step > first) {
#pragma unroll
      for (int q = 0; q < 4; ++q) b[q] = columns[mine + 32 * q];
      multiply(weights, my_filter, b, sum);
    }
    if (step < end) {
      uint4* tile = column_tiles[now];
      tile[pixel_slot] = rounded(values[0], values[1], values[2], values[3]);
      tile[pixel_slot ^ 1] = rounded(values[4], values[5], values[6], values[7]);
      const int left = g.rows() - step * ROWS - 4 * quarter;
      read_weights(filter + step * ROWS, left, g.rows() % 4 == 0, one);
      read_weights(filter + apart + step * ROWS, left, g.rows() % 4 == 0, other);
    }
    if (step > first) multiply(weights, my_filter + 32, b, sum + 2);
    if (step < end) {
      uint4* tile = weight_tiles[now];
      tile[pair_slot] = rounded(one[0], other[0], one[1], other[1]);
      tile[pair_slot ^ 4] = rounded(one[2], other[2], one[3], other[3]);
    }
    __syncthreads();
  }
  const Target target(g, bias, has_bias, part, parts, y);
  store(g, target, first_filter, count, my_filter, first_m + my_pixel, sum);
}
