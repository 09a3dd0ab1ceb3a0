// What the gradient kernels of a convolution share.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output.
#pragma once

// One axis of a convolution.  Window position i reads pixel i * stride - pad + u * dilation at tap
// u; turned round, pixel y was read at tap u by position (y + pad - u * dilation) / stride, if that
// is whole and lies in the output.
struct Axis {
  int length, taps, positions, stride, pad, dilation;

  // The position whose tap `u` reads pixel `y`; -1 if there is none.
  __device__ int position(int y, int u) const {
    const int distance = y + pad - u * dilation;
    if (distance < 0 || distance % stride != 0) return -1;
    return distance / stride < positions ? distance / stride : -1;
  }

  // The pixel that tap `u` of position `i` reads; -1 if it lies outside the image.
  __device__ int pixel(int i, int u) const {
    const int y = i * stride - pad + u * dilation;
    return y >= 0 && y < length ? y : -1;
  }
};

// 256 threads as 16 x 16, each adding up SIDE x SIDE values of a tile of 16 SIDE x 16 SIDE: `DEPTH`
// numbers each of a tile's rows and columns, which lie in shared memory as [DEPTH][LINE].
//
// A thread owns groups of 4 neighbors, 64 apart: every read is a float4, and the 16 threads that
// read different ones read 256 bytes in a row, which no two banks share.  UNROLL is how many of the
// DEPTH steps the compiler may mix with each other, at the price of registers.
template <int SIDE, int DEPTH, int LINE, int UNROLL = DEPTH>
__device__ inline void multiply(const float* rows, const float* columns, float (&sum)[SIDE][SIDE]) {
  const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll UNROLL
  for (int d = 0; d < DEPTH; ++d) {
    float a[SIDE], b[SIDE];
#pragma unroll
    for (int i = 0; i < SIDE; i += 4) {
      const float4 r = *reinterpret_cast<const float4*>(rows + d * LINE + 16 * i + row);
      const float4 c = *reinterpret_cast<const float4*>(columns + d * LINE + 16 * i + column);
      a[i] = r.x, a[i + 1] = r.y, a[i + 2] = r.z, a[i + 3] = r.w;
      b[i] = c.x, b[i + 1] = c.y, b[i + 2] = c.z, b[i + 3] = c.w;
    }
#pragma unroll
    for (int i = 0; i < SIDE; ++i)
#pragma unroll
      for (int j = 0; j < SIDE; ++j) sum[i][j] += a[i] * b[j];
  }
}

// Where in its tile a thread's value i of SIDE lies, along the rows or the columns.
__device__ inline int tile_row(int i) { return i / 4 * 64 + threadIdx.x / 16 * 4 + i % 4; }
__device__ inline int tile_column(int i) { return i / 4 * 64 + threadIdx.x % 16 * 4 + i % 4; }
