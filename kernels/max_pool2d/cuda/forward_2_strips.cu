// Max pooling, forward, rung 2: one thread a strip of four neighbors in a row.
//
// Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
//
// For windows of 3 x 3, 2 apart: four windows side by side lie in 3 x 9 pixels.  A thread
// loads these into registers, most as float4, 27 numbers instead of 36, and the loops over a window
// have constant borders: the compiler leaves no loop.  Rows and columns of the padding are replaced
// by the nearest of the image; such a copy equals its original, comes beside it and thus changes
// neither the maximum nor, once its place is moved into the image, the first pixel that has it.
//
// Blocks are 32 strips wide and 8 rows high: rows that share windows share the cache of one
// multiprocessor.  The grid has the places as coordinates, which saves rung 1's divisions; where a
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
    max_pool2d_forward_3x3_2(const float* x, int planes, int height, int width, int pixels,
                             int out_height, int out_width, int padding_y, int padding_x,
                             float* out, int* argmax) {
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
