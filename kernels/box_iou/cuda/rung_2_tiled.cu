// IoU of all pairs, rung 2: a thread keeps four boxes of B and walks down the rows of A.
//
// Letters: A boxes in the first list, B in the second.  The result is taken as one line of A * B
// numbers, cut into quads of four neighbors.  A period is the fewest rows that hold whole quads: 1,
// 2 or 4, as B is a multiple of 4, of 2 or odd.
//
// A thread owns one quad of a period, and the same quad in some periods after it.  Its four boxes
// of B stay the same, so they and their areas lie in registers; each quad is one write of 16 bytes,
// aligned whatever B is.  A quad that reaches past the end of its row takes its last values from
// the next row.  If B is small, the threads of a block share out several periods: at B = 50 there
// are 25 quads in a period of two rows, and 250 threads write 20 rows at a time, one contiguous
// stretch.  The block's boxes of A, with their areas, lie in shared memory; the threads of a warp
// are mostly in the same row, and one read serves them all.
//
// Against rung 1: areas are computed once, not once a pair; 5 numbers are read from shared memory
// for four results, not 8 from the cache for one.  The price is 20 registers for the boxes of B.
// Limited by writing the result, with little to spare: about 20 instructions a pair remain, half
// of them the division.
#include "device.cuh"

const int ROWS = 512;  // of A that fit into the tile

__device__ inline float area(float4 box) { return (box.z - box.x) * (box.w - box.y); }

__device__ inline float iou(float4 a, float area_a, float4 b, float area_b) {
  const float width = fmaxf(fminf(a.z, b.z) - fmaxf(a.x, b.x), 0.0f);
  const float height = fmaxf(fminf(a.w, b.w) - fmaxf(a.y, b.y), 0.0f);
  const float overlap = width * height;
  const float ratio = overlap / (area_a + area_b - overlap);
  return ratio > 0 ? ratio : 0;  // a NaN is not > 0
}

// rows: of A a block owns, a multiple of step; step: rows that its threads write at a time, whole
// periods; quads: in `step` rows, of which a block owns blockDim.x, by blockIdx.y.
extern "C" __global__ void __launch_bounds__(256)
    box_iou(const float4* __restrict__ boxes_a, const float4* __restrict__ boxes_b, int count_a,
            int count_b, int rows, int step, int quads, float4* __restrict__ out) {
  __shared__ float4 tile[ROWS];
  __shared__ float areas[ROWS];
  const int first = blockIdx.x * rows;
  for (int i = threadIdx.x; i < rows; i += blockDim.x) {
    const bool real = first + i < count_a;
    const float4 box = real ? boxes_a[first + i] : make_float4(0, 0, 0, 0);
    tile[i] = box;
    areas[i] = area(box);
  }
  __syncthreads();
  const int quad = blockIdx.y * blockDim.x + threadIdx.x;
  if (quad >= quads) return;

  const int row = quad * 4 / count_b, column = quad * 4 % count_b;  // quads are under 2^24
  float4 box[4];
  float area_b[4];
  for (int e = 0, j = column; e < 4; ++e, ++j) {
    if (j == count_b) j = 0;
    box[e] = boxes_b[j];
    area_b[e] = area(box[e]);
  }
  const i64 total = i64(count_a) * count_b;
  i64 at = i64(first) * count_b + i64(quad) * 4;  // of the quad in the result
  for (int i = row; i < rows; i += step, at += i64(step) * count_b) {
    if (at >= total) return;
    int here = i;
    float4 a = tile[here];
    float area_a = areas[here], value[4];
    for (int e = 0, j = column; e < 4; ++e, ++j) {
      if (j == count_b) {  // the quad goes on in the next row
        j = 0;
        a = tile[++here];
        area_a = areas[here];
      }
      value[e] = iou(a, area_a, box[e], area_b[e]);
    }
    if (at + 4 <= total) {
      out[at / 4] = make_float4(value[0], value[1], value[2], value[3]);
    } else {  // at most once: the last period need not be whole
      for (int e = 0; e < total - at; ++e) reinterpret_cast<float*>(out)[at + e] = value[e];
    }
  }
}
