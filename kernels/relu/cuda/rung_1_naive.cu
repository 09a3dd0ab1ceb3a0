// ReLU, rung 1 and last: one thread a value.
//
// Threads of a warp take neighbors, so that reads and writes are contiguous.  8 to 12 bytes are
// moved for one or two operations: memory is the limit, and nothing is left to improve but to do
// it in the kernel that makes x.
#include "device.cuh"

// `residual` is read only if `add` is not 0.
extern "C" __global__ void __launch_bounds__(256)
    relu_forward(const float* x, const float* residual, i64 count, int add, float* y) {
  const i64 t = global_thread();
  if (t >= count) return;
  const float value = add ? x[t] + residual[t] : x[t];
  y[t] = value < 0 ? 0 : value;  // NaN is not less
}

extern "C" __global__ void __launch_bounds__(256)
    relu_backward(const float* grad, const float* y, i64 count, float* dx) {
  const i64 t = global_thread();
  if (t >= count) return;
  dx[t] = y[t] > 0 ? grad[t] : 0;
}
