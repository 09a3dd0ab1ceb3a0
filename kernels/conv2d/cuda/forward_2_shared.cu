// Convolution, rung 2: a tile of the output a block, its operands in shared memory.
//
// Letters: N images, C input channels, K filters, G groups; r a row of the window, (c, u, v), and m
// a pixel of the output, (n, i, j), as in geometry.cuh.  Grid: tiles of 16 pixels along x, of 16
// filters along y, groups along z.
//
// The convolution is a matrix product, weight (K, rows) times columns (rows, pixels), with columns
// looked up in x ("implicit GEMM").  A block owns 16 filters at 16 pixels, a thread one value.  The
// block copies 16 x 16 numbers of both operands into shared memory, and every one of them is then
// used 16 times: 16 times fewer reads of global memory than rung 1, for two barriers every 16 rows.
// Each multiplication still takes two reads, now of shared memory; that is the limit.
#include "device.cuh"
#include "geometry.cuh"

constexpr int TILE = 16;

extern "C" __global__ void __launch_bounds__(256)
    conv2d_forward(const float* x, const float* weight, const float* bias, bool has_bias,
                   int images, int channels, int height, int width, int filters, int window_h,
                   int window_w, int out_h, int out_w, int stride_h, int stride_w, int pad_h,
                   int pad_w, int dilation_h, int dilation_w, int groups, float* y) {
  const Geometry g = {images,   channels, height, width, filters, window_h,   window_w,   out_h,
                      out_w,    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups};
  __shared__ float weights[TILE][TILE], columns[TILE][TILE];
  const int across = threadIdx.x, down = threadIdx.y, group = blockIdx.z;
  const int m = blockIdx.x * TILE + across, k = blockIdx.y * TILE + down;
  const bool has_pixel = m < g.pixels(), has_filter = k < g.share();
  const Window window = window_at(g, x, group, has_pixel ? m : 0);
  const float* filter = weight + (i64(group) * g.share() + k) * g.rows();
  float sum = 0;
  for (int first = 0; first < g.rows(); first += TILE) {
    const int r = first + across;  // neighbors in a row of weight, and in a row of columns
    weights[down][across] = has_filter && r < g.rows() ? filter[r] : 0;
    const bool inside = has_pixel && first + down < g.rows();
    columns[down][across] = inside ? window_value(g, window, first + down) : 0;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TILE; ++i) sum += weights[down][i] * columns[i][across];
    __syncthreads();  // before the next numbers overwrite these
  }
  if (!has_pixel || !has_filter) return;
  const int channel = group * g.share() + k;
  y[g.output(m) + i64(channel) * g.plane()] = has_bias ? sum + bias[channel] : sum;
}
