// Max pooling, backward, rung 1: one thread an output value, whose gradient it adds to the winner.
//
// Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
//
// Windows overlap, so that several threads may add to one pixel: the additions are atomic, their
// order and so the last bit of a sum varies from run to run, and the result must be filled with
// zeros before.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    max_pool2d_backward(const float* grad, const int* argmax, int planes, i64 outputs, int pixels,
                        float* dx) {
  const i64 t = global_thread();
  if (t >= planes * outputs) return;
  const int winner = argmax[t];
  if (winner >= 0 && winner < pixels) atomicAdd(dx + t / outputs * pixels + winner, grad[t]);
}
