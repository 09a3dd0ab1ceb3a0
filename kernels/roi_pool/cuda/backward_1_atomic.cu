// RoIPool, backward, rung 1: one thread an output value, whose gradient it adds to the winner.
//
// Letters: N images, C channels, R regions of interest (RoIs), bins are the PH x PW of a crop.
//
// Bins share cells and RoIs overlap, so the additions are atomic: their order and with it the last
// bits of a sum vary from run to run, and the result must be filled with zeros before.
#include "bins.cuh"

extern "C" __global__ void __launch_bounds__(256)
    roi_pool_backward(const float* grad, const float* rois, const int* argmax, int images,
                      int channels, int pixels, i64 outputs, int bins, float* dx) {
  const i64 t = global_thread();
  if (t >= outputs) return;
  const i64 crop = t / bins, r = crop / channels;
  const int image = image_of(rois + 5 * r, images), winner = argmax[t];
  if (image < 0 || winner < 0 || winner >= pixels) return;
  const i64 plane = i64(image) * channels + (crop - r * channels);
  atomicAdd(dx + plane * pixels + winner, grad[t]);
}
