// Convolution, rung 5: as rung 4, but tensor cores multiply, with operands rounded to TF32.
//
// Letters: N images, C input channels, K filters, G groups; r a row of the window, (c, u, v), and m
// a pixel of the output, (n, i, j), as in geometry.cuh.  Grid: tiles of 128 pixels along x, of 128
// filters along y, groups times parts of the rows along z; 256 threads, 8 warps as 2 down the
// filters and 4 across the pixels; a warp owns 64 filters at 32 pixels, a lane 64 values of them.
//
// One instruction of a warp makes 16 x 8 x 8 multiplications (tensor_core.cuh), a 32nd of the
// instructions that rung 4 takes.  The price is the operands' mantissa, 10 bits in place of 23:
// results are off by about 1 in 3000 of their summands.  So this rung runs by name only.
//
// Both tiles lie in shared memory as lines of 16 rows r, one line a filter or pixel.  Sums do not
// care for the order of r, so a lane takes r = 4 place .. 4 place + 3 of a line, one float4, for the
// two instructions of a step: numbers 0 and 1 are columns `place` and `place` + 4 of the first.  The
// four float4 of a line are stored in an order that changes every two lines, `line / 2` exclusive-or,
// so that neither reading (2 lines by 4 places) nor writing (8 lines at one place) meets in a bank.
//
// Limit to expect: shared memory.  A step reads 6 KB a warp for 32 instructions, half as much again
// as it could while those run.
#include "device.cuh"
#include "tensor_core.cuh"
#include "gather.cuh"
#include "add_parts.cuh"

constexpr int ROWS = 16;  // of a step
constexpr int SIDE = 128;  // filters and pixels of a tile

__device__ inline int position(int line, int quarter) {
  return line * ROWS + 4 * (quarter ^ (line / 2 & 3));
}

// Eight values of a line, from row `row` on, rounded.
__device__ inline void write_line(const float (&values)[8], int line, int row, float* tile) {
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    u32 bits[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) bits[j] = to_tf32(values[i + j]);
    *reinterpret_cast<uint4*>(tile + position(line, (row + i) / 4)) =
        make_uint4(bits[0], bits[1], bits[2], bits[3]);
  }
}

__device__ inline uint4 read_quarter(const float* tile, int line, int quarter) {
  return *reinterpret_cast<const uint4*>(tile + position(line, quarter));
}

// One step: two instructions for each of the 4 x 4 pieces of 16 filters and 8 pixels of the warp.
__device__ inline void multiply(const float* weights, const float* columns, int first_filter,
                                int first_pixel, float (&sum)[4][4][4]) {
  const int group = threadIdx.x % 32 / 4, place = threadIdx.x % 4;
  uint4 b[4];
#pragma unroll
  for (int q = 0; q < 4; ++q) b[q] = read_quarter(columns, first_pixel + 8 * q + group, place);
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    const uint4 upper = read_quarter(weights, first_filter + 16 * p + group, place);
    const uint4 lower = read_quarter(weights, first_filter + 16 * p + group + 8, place);
    const u32 first[4] = {upper.x, lower.x, upper.y, lower.y};
    const u32 second[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const u32 left[2] = {b[q].x, b[q].y}, right[2] = {b[q].z, b[q].w};
      multiply_tf32(sum[p][q], first, left);
      multiply_tf32(sum[p][q], second, right);
    }
  }
}

__device__ inline void store(const Geometry& g, const Target& target, int first_filter, int count,
                             int filter, int pixel, const float (&sum)[4][4][4]) {
  const int group = threadIdx.x % 32 / 4, place = threadIdx.x % 4;
#pragma unroll
  for (int q = 0; q < 4; ++q) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int m = pixel + 8 * q + 2 * place + i % 2;
      if (m >= g.pixels()) continue;
      float* out = target.values + g.output(m);
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const int k = filter + 16 * p + group + i / 2 * 8, channel = first_filter + k;
        if (k >= count) continue;
        out[i64(channel) * g.plane()] = sum[p][q][i] + (target.bias ? target.bias[channel] : 0);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d(const float* x, const float* weight, const float* bias, bool has_bias, int images,
           int channels, int height, int width, int filters, int window_h, int window_w, int out_h,
           int out_w, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
           int dilation_w, int groups, int parts, int steps, float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  __shared__ float4 weight_tiles[2][SIDE * ROWS / 4], column_tiles[2][SIDE * ROWS / 4];
  DYNAMIC_SHARED(int2, table);
  const int group = blockIdx.z / parts, part = blockIdx.z % parts;
  const int first_k = blockIdx.y * SIDE, first_m = blockIdx.x * SIDE;
  const int first_filter = group * g.share() + first_k, count = g.share() - first_k;
  const int first = part * steps, end = min(first + steps, (g.rows() + ROWS - 1) / ROWS);
  fill_table<ROWS>(g, table);

  // a thread brings eight rows of one filter and of one pixel
  const int line = threadIdx.x % SIDE, row = threadIdx.x / SIDE * 8;
  const float* filter = weight + i64(first_filter + line) * g.rows();
  Walk<ROWS> walk(g, x, group, first_m + line, first);
  float weights[8], columns[8];
  const auto read = [&](int step) {
    read_weights(filter, line < count, step * ROWS + row, g.rows(), g.rows() % 8 == 0, weights);
    walk.read(table, row, g.rows() - step * ROWS - row, columns);
    walk.next(g);
  };
  const auto write = [&](int buffer) {
    write_line(weights, line, row, &weight_tiles[buffer][0].x);
    write_line(columns, line, row, &column_tiles[buffer][0].x);
  };
  const int warp = threadIdx.x / 32, my_filter = warp / 4 * 64, my_pixel = warp % 4 * 32;
  float sum[4][4][4] = {};
  __syncthreads();  // the table is there
  read(first);
  write(0);
  __syncthreads();
  for (int step = first; step < end; ++step) {
    const int now = (step - first) & 1;
    if (step + 1 < end) read(step + 1);
    multiply(&weight_tiles[now][0].x, &column_tiles[now][0].x, my_filter, my_pixel, sum);
    if (step + 1 == end) break;
    write(1 - now);
    __syncthreads();
  }
  const Target target(g, bias, has_bias, part, parts, y);
  store(g, target, first_filter, count, my_filter, first_m + my_pixel, sum);
}
