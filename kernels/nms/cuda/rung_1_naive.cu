// nms, rung 1: all pairs into a matrix, then one block walks down the scores.
//
// Letters: R boxes, sorted by falling score; `groups` numbers that are equal within a group.
//
// `nms_pairs`: one thread a pair, and one byte: whether the first suppresses the second.  The
// matrix takes R * R bytes.  `nms_scan`: one block; box after box, all threads cross out what a kept
// box suppresses, then wait for each other: R barriers, each after a read of memory that cannot
// begin before the barrier ahead of it.  Limited by that chain, by far.
#include "device.cuh"
#include "nms.cuh"

extern "C" __global__ void nms_pairs(const float4* boxes, const i64* groups, int count,
                                     float threshold, unsigned char* matrix) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  const int i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i >= count || j >= count) return;
  const float4 a = boxes[i], b = boxes[j];
  matrix[i64(i) * count + j] =
      groups[i] == groups[j] && suppresses(a, area(a), b, area(b), threshold);
}

// kept: all set at first.
extern "C" __global__ void nms_scan(const unsigned char* matrix, int count, unsigned char* kept) {
  for (int i = 0; i < count; ++i) {
    if (kept[i])
      for (int j = i + 1 + threadIdx.x; j < count; j += blockDim.x)
        if (matrix[i64(i) * count + j]) kept[j] = 0;
    __syncthreads();
  }
}
