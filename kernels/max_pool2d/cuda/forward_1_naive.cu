// Max pooling, forward, rung 1: one thread an output value.
//
// Letters: planes are the N images times the C channels, each H x W pixels and OH x OW outputs.
//
// Threads of a warp take neighbors along a row, so that writes are contiguous and reads nearly.  With windows of 3 x 3, 2 apart, each pixel is loaded 2.25 times, from the cache but for
// the first.  Expected limit: the instructions of the loops, whose borders only the launch knows.
#include "device.cuh"

// Whether a value takes the place of the largest so far: it is larger, or the first NaN.
__device__ inline bool wins(float value, float best) { return !(value <= best) && best == best; }

extern "C" __global__ void __launch_bounds__(256)
    max_pool2d_forward(const float* x, int planes, int height, int width, int pixels,
                       int out_height, int out_width, int window_y, int window_x, int stride_y,
                       int stride_x, int padding_y, int padding_x, float* out, int* argmax) {
  const i64 t = global_thread(), outputs = i64(out_height) * out_width;
  if (t >= planes * outputs) return;
  const i64 plane = t / outputs;
  const int k = int(t - plane * outputs), i = k / out_width, j = k - i * out_width;
  const int y = i * stride_y - padding_y, x0 = j * stride_x - padding_x;  // the window's corner
  const int top = max(y, 0), bottom = min(y + window_y, height);  // padding is never chosen
  const int left = max(x0, 0), right = min(x0 + window_x, width);
  const float* source = x + plane * pixels;
  int winner = top * width + left;
  float best = source[winner];
  for (int v = top; v < bottom; ++v)
    for (int u = left; u < right; ++u) {
      const float value = source[v * width + u];
      if (wins(value, best)) best = value, winner = v * width + u;
    }
  out[t] = best;
  argmax[t] = winner;
}
