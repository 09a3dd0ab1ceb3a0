// RoIAlign's rungs of one thread an output: which output a thread owns.
#pragma once
#include "device.cuh"

struct Output {  // an index into (R, C, PH, PW)
  i64 roi;
  int channel, p, q;
};

__device__ inline Output output_at(i64 i, int channels, int bins_y, int bins_x) {
  const i64 plane = i / (bins_y * bins_x);
  const int bin = int(i % (bins_y * bins_x));
  return {plane / channels, int(plane % channels), bin / bins_x, bin % bins_x};
}
