// Gradients of a convolution, rung 3: as rung 2, but a thread owns 4 x 4 values.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output.
//
// A block of 256 threads owns a tile of 64 x 64 values, 16 numbers deep at a time.  Against rung 2: a
// thread keeps 16 sums in registers, and 8 numbers that it reads from shared memory feed 16 products
// instead of 2 feeding 1.  Global memory is read 4 times less as well, and there are two barriers for
// 256 products a thread instead of for 16.
//
// It costs registers, and tiles that are mostly empty where a group has few channels or filters.
// Limit: shared memory, one number a read; and for dw the number of blocks, as before.
#include "device.cuh"
#include "gradients.cuh"

constexpr int SIDE = 64, DEPTH = 16;
constexpr int PADDED = SIDE + 1;  // so that a column of a tile lies in different banks

// Adds to a thread's 4 x 4 sums.  Its rows and columns are 16 apart, so that neighbors in a warp
// read neighbors in shared memory.
__device__ inline void multiply_tile(const float (*rows)[PADDED], const float (*columns)[PADDED],
                                     float (&sum)[4][4]) {
#pragma unroll
  for (int d = 0; d < DEPTH; ++d) {
    float a[4], b[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      a[r] = rows[d][threadIdx.x / 16 + 16 * r];
      b[r] = columns[d][threadIdx.x % 16 + 16 * r];
    }
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int s = 0; s < 4; ++s) sum[r][s] += a[r] * b[s];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_input(const float* grad, const float* weight, const float* bias, bool has_bias,
                          int images, int channels, int height, int width, int filters,
                          int window_h, int window_w, int out_h, int out_w, int stride_h,
                          int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
                          int groups, float* dx) {
  __shared__ float rows[DEPTH][PADDED], columns[DEPTH][PADDED];
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const int depth = channels / groups, share = filters / groups, taps = window_h * window_w;
  const i64 pixels = i64(images) * height * width, first = i64(blockIdx.z) * share;
  // it fetches weights of this channel and grads of this pixel, for every fourth inner number
  const int wanted = blockIdx.y * SIDE + threadIdx.x % SIDE;
  const i64 pixel = i64(blockIdx.x) * SIDE + threadIdx.x % SIDE, n = pixel / width / height;
  const int x = int(pixel % width), y = int(pixel / width % height);
  float sum[4][4] = {};
  for (int begin = 0; begin < share * taps; begin += DEPTH) {
#pragma unroll
    for (int d = threadIdx.x / SIDE; d < DEPTH; d += 256 / SIDE) {
      const int inner = begin + d, k = inner / taps, u = inner % taps / window_w, v = inner % window_w;
      float w = 0, value = 0;
      if (inner < share * taps) {
        const int i = down.position(y, u), j = across.position(x, v);
        if (wanted < depth) w = weight[((first + k) * depth + wanted) * taps + u * window_w + v];
        if (pixel < pixels && i >= 0 && j >= 0)
          value = grad[((n * filters + first + k) * out_h + i) * out_w + j];
      }
      rows[d][threadIdx.x % SIDE] = w;
      columns[d][threadIdx.x % SIDE] = value;
    }
    __syncthreads();
    multiply_tile(rows, columns, sum);
    __syncthreads();  // before faster threads put the next numbers over these
  }
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const i64 at = i64(blockIdx.x) * SIDE + threadIdx.x % 16 + 16 * s;
    if (at >= pixels) continue;
    const i64 plane = i64(height) * width, image = at / plane * channels * plane + at % plane;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int c = blockIdx.y * SIDE + threadIdx.x / 16 + 16 * r, channel = blockIdx.z * depth + c;
      if (c < depth) dx[image + channel * plane] = has_bias ? sum[r][s] + bias[channel] : sum[r][s];
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_weight(const float* grad, const float* x, int images, int channels, int height,
                           int width, int filters, int window_h, int window_w, int out_h, int out_w,
                           int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                           int dilation_w, int groups, float* dweight) {
  __shared__ float rows[DEPTH][PADDED], columns[DEPTH][PADDED];
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const int depth = channels / groups, share = filters / groups, taps = window_h * window_w;
  const int inner = depth * taps, d = threadIdx.x % DEPTH, line = threadIdx.x / DEPTH;
  const i64 positions = i64(images) * out_h * out_w, first = i64(blockIdx.z) * share;
  float sum[4][4] = {};
  for (i64 begin = 0; begin < positions; begin += DEPTH) {
    const i64 position = begin + d, n = position / out_w / out_h;
    const int i = int(position / out_w % out_h), j = int(position % out_w);
#pragma unroll
    for (int r = 0; r < SIDE; r += 256 / DEPTH) {
      const int filter = blockIdx.y * SIDE + line + r, column = blockIdx.x * SIDE + line + r;
      float value = 0, p = 0;
      if (position < positions && filter < share)
        value = grad[((n * filters + first + filter) * out_h + i) * out_w + j];
      if (position < positions && column < inner) {
        const int row = down.pixel(i, column % taps / window_w), at = across.pixel(j, column % window_w);
        const i64 channel = n * channels + blockIdx.z * depth + column / taps;
        if (row >= 0 && at >= 0) p = x[(channel * height + row) * width + at];
      }
      rows[d][line + r] = value;
      columns[d][line + r] = p;
    }
    __syncthreads();
    multiply_tile(rows, columns, sum);
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int filter = blockIdx.y * SIDE + threadIdx.x / 16 + 16 * r;
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int column = blockIdx.x * SIDE + threadIdx.x % 16 + 16 * s;
      if (filter < share && column < inner) dweight[(first + filter) * inner + column] = sum[r][s];
    }
  }
}
