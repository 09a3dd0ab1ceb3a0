// Max pooling, rung 3: one thread a strip of four neighbors in a row.
//
// Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
//
// Forward, for windows of 3 x 3, 2 apart: four windows side by side lie in 3 x 9 pixels.  A thread
// loads these into registers, most as float4, 27 numbers instead of 36, and the loops over a window
// have constant borders: the compiler leaves no loop.  Rows and columns of the padding are replaced
// by the nearest of the image; such a copy equals its original, comes beside it and thus changes
// neither the maximum nor, once its place is moved into the image, the first pixel that has it.
//
// Backward: a thread owns four pixels and looks once at every window that meets them: 6 at most
// for 3 x 3, 2 apart, instead of 9 by four threads of rung 2, and writes one float4.
//
// Blocks are 32 strips wide and 8 rows high: rows that share windows share the cache of one
// multiprocessor.  The grid has the places as coordinates, which saves rung 2's divisions; where a
// row is no multiple of 128, some threads idle.  Expected limit: device memory.
#include "device.cuh"

// Whether a value takes the place of the largest so far: it is larger, or the first NaN.
__device__ inline bool wins(float value, float best) { return !(value <= best) && best == best; }

__device__ inline int clamp(int place, int length) { return min(max(place, 0), length - 1); }

// Nine pixels of a row, from column - PADDING on, into registers.
template <int PADDING>
__device__ inline void load_row(const float* row, int column, int width, bool wide, float* v) {
  if (wide && column + 8 <= width) {
    const float4 a = *reinterpret_cast<const float4*>(row + column);
    const float4 b = *reinterpret_cast<const float4*>(row + column + 4);
    float* inner = v + PADDING;
    inner[0] = a.x, inner[1] = a.y, inner[2] = a.z, inner[3] = a.w;
    inner[4] = b.x, inner[5] = b.y, inner[6] = b.z, inner[7] = b.w;
    v[PADDING ? 0 : 8] = row[PADDING ? max(column - 1, 0) : min(column + 8, width - 1)];
  } else {
#pragma unroll
    for (int c = 0; c < 9; ++c) v[c] = row[clamp(column - PADDING + c, width)];
  }
}

// Four outputs from column j of row i on.  wide: rows of the image begin at multiples of 16 bytes.
template <int PADDING>
__device__ inline void pool_strip(const float* plane, int i, int j, int height, int width,
                                  int padding_y, bool wide, float* best, int* winner) {
  float v[3][9];
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    const int row = clamp(2 * i - padding_y + d, height);
    load_row<PADDING>(plane + row * width, 2 * j, width, wide, v[d]);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    best[k] = v[0][2 * k];
    int code = 0;  // row * 4 + column in the window
#pragma unroll
    for (int place = 1; place < 9; ++place) {
      const float value = v[place / 3][2 * k + place % 3];
      const bool better = wins(value, best[k]);
      best[k] = better ? value : best[k];
      code = better ? place / 3 * 4 + place % 3 : code;
    }
    winner[k] = clamp(2 * i - padding_y + (code >> 2), height) * width +
                clamp(2 * (j + k) - PADDING + (code & 3), width);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    max_pool_3x3_2(const float* x, int planes, int height, int width, int pixels, int out_height,
                   int out_width, int padding_y, int padding_x, float* out, int* argmax) {
  const int j = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  const int i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i >= out_height || j >= out_width) return;
  const bool wide = width % 4 == 0;
  for (int plane = blockIdx.z; plane < planes; plane += gridDim.z) {
    const float* source = x + i64(plane) * pixels;
    float best[4];
    int winner[4];
    if (padding_x)
      pool_strip<1>(source, i, j, height, width, padding_y, wide, best, winner);
    else
      pool_strip<0>(source, i, j, height, width, padding_y, wide, best, winner);
    const i64 place = (i64(plane) * out_height + i) * out_width + j;
    if (out_width % 4 == 0) {
      *reinterpret_cast<float4*>(out + place) = make_float4(best[0], best[1], best[2], best[3]);
      *reinterpret_cast<int4*>(argmax + place) =
          make_int4(winner[0], winner[1], winner[2], winner[3]);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (j + k < out_width) out[place + k] = best[k], argmax[place + k] = winner[k];
    }
  }
}

// n / stride for n >= 0; the usual strides without a division, and all threads go the same way.
__device__ inline int divide(int n, int stride) {
  return stride == 2 ? n >> 1 : stride == 1 ? n : n / stride;
}

// The first window along an axis that contains pixel y; they begin at i * stride - padding.
__device__ inline int first_window(int y, int window, int stride, int padding) {
  const int beyond = y + padding - window;  // rounding must be down, and C rounds towards 0
  return beyond < 0 ? 0 : divide(beyond, stride) + 1;
}

extern "C" __global__ void __launch_bounds__(256)
    max_pool_backward(const float* grad, const int* argmax, int planes, int height, int width,
                      int pixels, int out_height, int out_width, int window_y, int window_x,
                      int stride_y, int stride_x, int padding_y, int padding_x, float* dx) {
  const int x = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  const int y = blockIdx.y * blockDim.y + threadIdx.y;
  if (y >= height || x >= width) return;
  const int top = first_window(y, window_y, stride_y, padding_y);
  const int bottom = min(divide(y + padding_y, stride_y), out_height - 1);
  const int left = first_window(x, window_x, stride_x, padding_x);
  const int right = min(divide(min(x + 3, width - 1) + padding_x, stride_x), out_width - 1);
  const int pixel = y * width + x;
  for (int plane = blockIdx.z; plane < planes; plane += gridDim.z) {
    const i64 start = i64(plane) * out_height * out_width;
    float sum[4] = {0, 0, 0, 0};
    for (int i = top; i <= bottom; ++i)
      for (int j = left; j <= right; ++j) {
        const i64 place = start + i64(i) * out_width + j;
        const i64 mine = i64(argmax[place]) - pixel;  // 0 to 3: one of the four won
        const float value = grad[place];              // asked for at once: both come together
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (mine == k) sum[k] += value;
      }
    float* target = dx + i64(plane) * pixels + pixel;
    if (width % 4 == 0) {
      *reinterpret_cast<float4*>(target) = make_float4(sum[0], sum[1], sum[2], sum[3]);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (x + k < width) target[k] = sum[k];
    }
  }
}
