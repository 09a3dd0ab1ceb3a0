// Gradients of a convolution by a library's matrix product: the copies before and after it.
//
// Letters: N images, C input channels, K filters, H W height and width of the input, OH OW of the
// output.
//
// Columns are (N, C kh kw, OH OW): every pixel under every tap, up to kh kw times the image.  Writing
// and reading them is the price for a product that runs at the library's full rate.
#include "device.cuh"
#include "gradients.cuh"

// x to columns: one thread a number, along a row of the output.
extern "C" __global__ void __launch_bounds__(256)
    image_to_columns(const float* x, int images, int channels, int height, int width, int filters,
                     int window_h, int window_w, int out_h, int out_w, int stride_h, int stride_w,
                     int pad_h, int pad_w, int dilation_h, int dilation_w, int groups, float* columns) {
  const i64 index = global_thread();
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const i64 line = index / out_w / out_h, plane = line / window_w / window_h;
  if (plane >= i64(images) * channels) return;
  const int row = down.pixel(int(index / out_w % out_h), int(line / window_w % window_h));
  const int column = across.pixel(int(index % out_w), int(line % window_w));
  columns[index] = row < 0 || column < 0 ? 0 : x[(plane * height + row) * width + column];
}

// The columns' gradient to dx: one thread a pixel, which collects its value from every tap.
extern "C" __global__ void __launch_bounds__(256)
    columns_to_image(const float* columns, const float* bias, bool has_bias, int images, int channels,
                     int height, int width, int filters, int window_h, int window_w, int out_h,
                     int out_w, int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                     int dilation_w, int groups, float* dx) {
  const i64 index = global_thread(), plane = index / width / height;
  if (plane >= i64(images) * channels) return;
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  float sum = has_bias ? bias[plane % channels] : 0;
  for (int u = 0; u < window_h; ++u) {
    const int i = down.position(int(index / width % height), u);
    for (int v = 0; i >= 0 && v < window_w; ++v) {
      const int j = across.position(int(index % width), v);
      if (j >= 0) sum += columns[(((plane * window_h + u) * window_w + v) * out_h + i) * out_w + j];
    }
  }
  dx[index] = sum;
}
