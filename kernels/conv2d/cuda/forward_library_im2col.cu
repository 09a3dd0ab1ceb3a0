// The columns of a convolution, written out, for a library's matrix product.
//
// Letters: N images, C input channels, H W height and width of the input, OH OW of the output, kh
// kw of the window.  Grid: pixels of an image along x, rows of the columns, (c, u, v), along y,
// images along z.
//
// One thread a column and row, grid permitting: neighbors read neighbors and write neighbors.  It
// writes every input value up to kh kw times, and the product reads them all again: memory's speed
// is the limit, and what the other rungs save.
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    conv2d_im2col(const float* x, int first_image, int images, int channels, int height, int width,
                  int window_h, int window_w, int out_h, int out_w, int stride_h, int stride_w,
                  int pad_h, int pad_w, int dilation_h, int dilation_w, float* columns) {
  const int plane = out_h * out_w, p = int(global_thread());
  if (p >= plane) return;
  const int rows = channels * window_h * window_w;
  const int top = p / out_w * stride_h - pad_h, left = p % out_w * stride_w - pad_w;
  for (int n = blockIdx.z; n < images; n += gridDim.z) {
    for (int r = blockIdx.y; r < rows; r += gridDim.y) {
      const int c = r / (window_h * window_w), tap = r % (window_h * window_w);
      const int row = top + tap / window_w * dilation_h;
      const int column = left + tap % window_w * dilation_w;
      const bool inside = row >= 0 && row < height && column >= 0 && column < width;
      const float* channel = x + (i64(first_image + n) * channels + c) * height * width;
      columns[(i64(n) * rows + r) * plane + p] = inside ? channel[i64(row) * width + column] : 0;
    }
  }
}
