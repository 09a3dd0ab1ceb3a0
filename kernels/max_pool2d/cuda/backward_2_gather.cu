// Max pooling, backward, rung 2: one thread a pixel, which collects what is its own.
//
// Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
//
// Rung 1 sends every gradient to the winner.  Here each pixel asks the windows that contain it
// whether it is their winner, and sums up the gradients of those that say yes, row by row.  No two
// threads write the same number: no atomics, no filling with zeros, one order of summation, so that
// the result is the same bit for bit in every run.  It costs that the windows are known, and that
// each output is looked at by all pixels of its window: 9 for 3 x 3, of which the caches serve 8.
// Expected limit: the divisions that turn a thread's number into a place, then device memory.
#include "device.cuh"

// The first window along an axis that contains pixel y; they begin at i * stride - padding.
__device__ inline int first_window(int y, int window, int stride, int padding) {
  const int beyond = y + padding - window;  // rounding must be down, and C rounds towards 0
  return beyond < 0 ? 0 : beyond / stride + 1;
}

extern "C" __global__ void __launch_bounds__(256)
    max_pool2d_backward(const float* grad, const int* argmax, int planes, int width, int pixels,
                        int out_height, int out_width, int window_y, int window_x, int stride_y,
                        int stride_x, int padding_y, int padding_x, float* dx) {
  const i64 t = global_thread();
  if (t >= i64(planes) * pixels) return;
  const i64 plane = t / pixels;
  const int pixel = int(t - plane * pixels), y = pixel / width, x = pixel - y * width;
  const int bottom = min((y + padding_y) / stride_y, out_height - 1);
  const int left = first_window(x, window_x, stride_x, padding_x);
  const int right = min((x + padding_x) / stride_x, out_width - 1);
  const i64 start = plane * out_height * out_width;
  float sum = 0;
  for (int i = first_window(y, window_y, stride_y, padding_y); i <= bottom; ++i)
    for (int j = left; j <= right; ++j) {
      const i64 place = start + i64(i) * out_width + j;
      if (argmax[place] == pixel) sum += grad[place];
    }
  dx[t] = sum;
}
