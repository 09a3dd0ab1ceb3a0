// Max pooling, backward, rung 3: one thread a strip of four neighbors in a row.
//
// Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
//
// A thread owns four pixels and looks once at every window that meets them: 6 at most for 3 x 3,
// 2 apart, instead of 9 by four threads of rung 2, and writes one float4.
//
// Blocks are 32 strips wide and 8 rows high: rows that share windows share the cache of one
// multiprocessor.  The grid has the places as coordinates, which saves rung 2's divisions; where a
// row is no multiple of 128, some threads idle.  Expected limit: device memory.
#include "device.cuh"

// n / stride for n >= 0; the usual strides without a division, and all threads go the same way.
__device__ inline int divide(int n, int stride) {
  return stride == 2 ? n >> 1 : stride == 1 ? n : n / stride;
}

// The first window along an axis that contains pixel y; they begin at i * stride - padding.
__device__ inline int first_window(int y, int window, int stride, int padding) {
  const int beyond = y + padding - window;  // rounding must be down, and C rounds towards 0
  return beyond < 0 ? 0 : divide(beyond, stride) + 1;
}

extern "C" __global__ void __launch_bounds__(256)
    max_pool2d_backward(const float* grad, const int* argmax, int planes, int height, int width,
                        int pixels, int out_height, int out_width, int window_y, int window_x,
                        int stride_y, int stride_x, int padding_y, int padding_x, float* dx) {
  const int x = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  const int y = blockIdx.y * blockDim.y + threadIdx.y;
  if (y >= height || x >= width) return;
  const int top = first_window(y, window_y, stride_y, padding_y);
  const int bottom = min(divide(y + padding_y, stride_y), out_height - 1);
  const int left = first_window(x, window_x, stride_x, padding_x);
  const int right = min(divide(min(x + 3, width - 1) + padding_x, stride_x), out_width - 1);
  const int pixel = y * width + x;
  for (int plane = blockIdx.z; plane < planes; plane += gridDim.z) {
    const i64 start = i64(plane) * out_height * out_width;
    float sum[4] = {0, 0, 0, 0};
    for (int i = top; i <= bottom; ++i)
      for (int j = left; j <= right; ++j) {
        const i64 place = start + i64(i) * out_width + j;
        const i64 mine = i64(argmax[place]) - pixel;  // 0 to 3: one of the four won
        const float value = grad[place];              // asked for at once: both come together
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (mine == k) sum[k] += value;
      }
    float* target = dx + i64(plane) * pixels + pixel;
    if (width % 4 == 0) {
      *reinterpret_cast<float4*>(target) = make_float4(sum[0], sum[1], sum[2], sum[3]);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (x + k < width) target[k] = sum[k];
    }
  }
}
