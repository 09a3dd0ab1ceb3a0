// Batch normalization, rung 1: one block a channel, one thread a value.
//
// Letters: N images, C channels, P positions of a plane (H W).
//
// A block of 256 threads goes through the N planes of its channel; every thread adds up its share of
// each plane, then of all planes, and a tree in shared memory adds up the threads.  A sum of sums of
// sums: nowhere is a small number added to the sum of a million others.
//
// The moments take two passes, the mean first: mean(x^2) - mean^2 cancels where the mean is large.
// The second also finds by how much the first missed the mean, which a large mean rounds off.
// Backward the same block first takes both sums, then writes its part of dx.
//
// Limit: reads from memory, all of them twice; and C blocks are too few to fill a GPU.
#include "device.cuh"

// The sum of all threads' values, for all of them.
__device__ inline float block_sum(float value, float* shared) {
  __syncthreads();  // nobody still reads the last sum
  shared[threadIdx.x] = value;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  __syncthreads();
  return shared[0];
}

extern "C" __global__ void __launch_bounds__(256)
    batch_norm_moments(const float* x, int images, int channels, int positions, float* mean,
                       float* var) {
  __shared__ float shared[256];
  const i64 c = blockIdx.x;
  const float count = float(i64(images) * positions);
  float total = 0;
  for (i64 n = 0; n < images; ++n) {
    const float* plane = x + (n * channels + c) * positions;
    float sum = 0;
    for (int i = threadIdx.x; i < positions; i += 256) sum += plane[i];
    total += sum;
  }
  const float center = block_sum(total, shared) / count;
  float missed = 0, squares = 0;
  for (i64 n = 0; n < images; ++n) {
    const float* plane = x + (n * channels + c) * positions;
    float sum = 0, square = 0;
    for (int i = threadIdx.x; i < positions; i += 256) {
      const float deviation = plane[i] - center;
      sum += deviation, square += deviation * deviation;
    }
    missed += sum, squares += square;
  }
  missed = block_sum(missed, shared) / count;
  squares = block_sum(squares, shared) / count;
  if (threadIdx.x > 0) return;
  mean[c] = center + missed;
  const float variance = squares - missed * missed;  // `missed` is a rounding error
  var[c] = variance < 0 ? 0 : variance;
}

extern "C" __global__ void __launch_bounds__(256)
    batch_norm_scale_shift(const float* x, const float* scale, const float* shift, i64 count,
                           int channels, int positions, float* y) {
  const i64 i = global_thread();
  if (i >= count) return;
  const int c = int(i / positions % channels);
  y[i] = scale[c] * x[i] + shift[c];
}

extern "C" __global__ void __launch_bounds__(256)
    batch_norm_backward(const float* grad, const float* x, const float* weight, const float* mean,
                        const float* rstd, int images, int channels, int positions, float* dx,
                        float* dweight, float* dbias) {
  __shared__ float shared[256];
  const i64 c = blockIdx.x;
  const float center = mean[c];
  float total = 0, product = 0;
  for (i64 n = 0; n < images; ++n) {
    const i64 start = (n * channels + c) * positions;
    float sum = 0, with_x = 0;
    for (int i = threadIdx.x; i < positions; i += 256) {
      sum += grad[start + i];
      with_x += grad[start + i] * (x[start + i] - center);
    }
    total += sum, product += with_x;
  }
  total = block_sum(total, shared);
  product = block_sum(product, shared) * rstd[c];
  if (threadIdx.x == 0) dbias[c] = total, dweight[c] = product;
  const float count = float(i64(images) * positions), a = weight[c] * rstd[c];
  const float b = -a * rstd[c] * (product / count), d = -a * (total / count);
  for (i64 n = 0; n < images; ++n) {
    const i64 start = (n * channels + c) * positions;
    for (int i = threadIdx.x; i < positions; i += 256)
      dx[start + i] = a * grad[start + i] + b * (x[start + i] - center) + d;
  }
}
