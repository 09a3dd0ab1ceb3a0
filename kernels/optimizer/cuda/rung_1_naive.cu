// One step of an optimizer, rung 1 and last: one thread a weight.
//
// Threads of a warp take neighbors, so that reads and writes are contiguous.  20 bytes are moved
// for 6 operations (SGD), 28 for 14 (AdamW): memory is the limit, and every value goes through it
// once.  What remains to be had is a single launch for all parameters instead of one for each.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    sgd_step(const float* grad, i64 count, float lr, float momentum, float weight_decay,
             float* weight, float* velocity) {
  const i64 t = global_thread();
  if (t >= count) return;
  float along = momentum * velocity[t] + grad[t];
  if (weight_decay != 0) along += weight_decay * weight[t];
  velocity[t] = along;
  weight[t] -= lr * along;
}

// The numbers are those of factors.py.
extern "C" __global__ void __launch_bounds__(256)
    adamw_step(const float* grad, i64 count, float toward_grad, float toward_square,
               float root_scale, float eps, float length, float keep, float* weight, float* mean,
               float* square) {
  const i64 t = global_thread();
  if (t >= count) return;
  const float g = grad[t];
  const float m = mean[t] + toward_grad * (g - mean[t]);
  const float s = square[t] + toward_square * (g * g - square[t]);
  const float root = sqrtf(s) * root_scale;
  mean[t] = m;
  square[t] = s;
  weight[t] = weight[t] * keep - length * (m / (root + eps));
}
