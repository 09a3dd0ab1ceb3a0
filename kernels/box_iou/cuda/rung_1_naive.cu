// IoU of all pairs, rung 1: one thread a pair.
//
// Letters: A boxes in the first list, B in the second.
//
// Threads of a warp take neighbors in B, so that the 32 results are one contiguous write and the
// box of A is one read for all.  Every thread reads 32 bytes to write 4, though: a box of B is read
// again for every box of A, from the cache if it is still there.
#include "device.cuh"

extern "C" __global__ void box_iou(const float4* boxes_a, const float4* boxes_b, int count_a,
                                   int count_b, float* out) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  const int i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i >= count_a || j >= count_b) return;
  const float4 a = boxes_a[i], b = boxes_b[j];
  const float width = fminf(a.z, b.z) - fmaxf(a.x, b.x);
  const float height = fminf(a.w, b.w) - fmaxf(a.y, b.y);
  const float overlap = (width > 0 ? width : 0) * (height > 0 ? height : 0);
  const float area_a = (a.z - a.x) * (a.w - a.y), area_b = (b.z - b.x) * (b.w - b.y);
  const float ratio = overlap / (area_a + area_b - overlap);
  out[i64(i) * count_b + j] = ratio > 0 ? ratio : 0;  // a NaN is not > 0
}
