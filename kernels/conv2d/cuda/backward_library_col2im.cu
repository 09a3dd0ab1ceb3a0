// Gradient of a convolution's input by a library's matrix product: what comes after the product.
//
// Letters: N images, C input channels, H W height and width of the input, OH OW of the output, kh kw
// of the window.
//
// The product gives the gradient of columns (N, C kh kw, OH OW): of every pixel under every tap.  One
// thread owns one pixel of dx and collects its value from all taps under which it was read, so that
// there are no atomics.  Limit: memory; the columns are up to kh kw times the image.
#include "device.cuh"
#include "gradients.cuh"

extern "C" __global__ void __launch_bounds__(256)
    conv2d_col2im(const float* columns, const float* bias, bool has_bias, int images, int channels,
                  int height, int width, int filters, int window_h, int window_w, int out_h,
                  int out_w, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                  int dilation_w, int groups, float* dx) {
  const i64 index = global_thread(), plane = index / width / height;
  if (plane >= i64(images) * channels) return;
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const int y = int(index / width % height), x = int(index % width);
  float sum = has_bias ? bias[plane % channels] : 0;
  for (int u = 0; u < window_h; ++u) {
    const int i = down.position(y, u);
    for (int v = 0; i >= 0 && v < window_w; ++v) {
      const int j = across.position(x, v);
      if (j >= 0) sum += columns[(((plane * window_h + u) * window_w + v) * out_h + i) * out_w + j];
    }
  }
  dx[index] = sum;
}
