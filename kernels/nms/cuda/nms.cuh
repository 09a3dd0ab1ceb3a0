// What the rungs of nms share: when one box suppresses another.
#pragma once

const int TILE = 64;  // boxes that one word of a mask speaks of

__device__ inline float area(float4 box) { return (box.z - box.x) * (box.w - box.y); }

// Whether the IoU of two boxes is greater than the threshold; symmetric.  The arithmetic is that of
// the reference, operation for operation, so that an IoU at the threshold falls on the same side;
// the files are compiled with --fmad=false, so that nothing is rounded once instead of twice.
// Without an overlap the ratio is 0 or a NaN, neither of which is greater than a threshold >= 0.
__device__ inline bool suppresses(float4 a, float area_a, float4 b, float area_b, float threshold) {
  const float width = fmaxf(fminf(a.z, b.z) - fmaxf(a.x, b.x), 0.0f);
  const float height = fmaxf(fminf(a.w, b.w) - fmaxf(a.y, b.y), 0.0f);
  const float overlap = width * height;
  return overlap > 0 && overlap / (area_a + area_b - overlap) > threshold;
}
