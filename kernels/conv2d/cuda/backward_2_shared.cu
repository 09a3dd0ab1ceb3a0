// Gradients of a convolution, rung 2: matrix products whose tiles lie in shared memory.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output.
//
// Both gradients are products of matrices that are never written (per group):
//   dx  (C / G, N H W)            = weight' (C / G, K / G kh kw) times windows of grad
//   dw  (K / G, C / G kh kw)      = grad (K / G, N OH OW) times windows of x
// A block owns 16 x 16 values of the result, a thread one of them.  Against rung 1: the block reads
// 16 x 16 numbers of each matrix together, and every number then serves 16 threads, so that global
// memory is read 16 times less.  It costs two barriers for 16 products a thread, and shared memory
// is now read twice for every product: that is the limit.  For dw each block still walks through all
// positions alone.  db: one block a filter, whose threads' sums are added up in a tree.
#include "device.cuh"
#include "gradients.cuh"

constexpr int TILE = 16;
constexpr int PADDED = TILE + 1;  // so that a column of a tile lies in 16 different banks

// The product of one row of `rows` and one column of `columns`, both [inner][which].
__device__ inline float product(const float (*rows)[PADDED], const float (*columns)[PADDED], float sum) {
  for (int i = 0; i < TILE; ++i) sum += rows[i][threadIdx.y] * columns[i][threadIdx.x];
  return sum;
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_input(const float* grad, const float* weight, const float* bias, bool has_bias,
                          int images, int channels, int height, int width, int filters,
                          int window_h, int window_w, int out_h, int out_w, int stride_h,
                          int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w,
                          int groups, float* dx) {
  __shared__ float rows[TILE][PADDED], columns[TILE][PADDED];
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const int depth = channels / groups, share = filters / groups, taps = window_h * window_w;
  const int group = blockIdx.z, c = blockIdx.y * TILE + threadIdx.y;  // c within the group
  const i64 pixel = i64(blockIdx.x) * TILE + threadIdx.x;
  const bool inside = pixel < i64(images) * height * width;
  const int x = int(pixel % width), y = int(pixel / width % height);
  const i64 n = pixel / width / height, first = i64(group) * share;
  const int wanted = blockIdx.y * TILE + threadIdx.x;  // the channel whose weight it fetches
  float sum = 0;
  for (int begin = 0; begin < share * taps; begin += TILE) {
    const int inner = begin + threadIdx.y, k = inner / taps, u = inner % taps / window_w, v = inner % window_w;
    float w = 0, d = 0;
    if (inner < share * taps) {
      const int i = down.position(y, u), j = across.position(x, v);
      if (wanted < depth) w = weight[((first + k) * depth + wanted) * taps + u * window_w + v];
      if (inside && i >= 0 && j >= 0) d = grad[((n * filters + first + k) * out_h + i) * out_w + j];
    }
    rows[threadIdx.y][threadIdx.x] = w;
    columns[threadIdx.y][threadIdx.x] = d;
    __syncthreads();
    sum = product(rows, columns, sum);
    __syncthreads();  // before faster threads put the next tile over this one
  }
  if (!inside || c >= depth) return;
  const int channel = group * depth + c;
  dx[((n * channels + channel) * height + y) * width + x] = has_bias ? sum + bias[channel] : sum;
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_weight(const float* grad, const float* x, int images, int channels, int height,
                           int width, int filters, int window_h, int window_w, int out_h, int out_w,
                           int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                           int dilation_w, int groups, float* dweight) {
  __shared__ float rows[TILE][PADDED], columns[TILE][PADDED];
  const Axis down = {height, window_h, out_h, stride_h, pad_h, dilation_h};
  const Axis across = {width, window_w, out_w, stride_w, pad_w, dilation_w};
  const int depth = channels / groups, share = filters / groups, taps = window_h * window_w;
  const int group = blockIdx.z, inner = depth * taps;
  const i64 positions = i64(images) * out_h * out_w;
  // it fetches position threadIdx.x of a filter and of a column: neighbors in memory for the warp
  const int filter = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.y;
  const int u = column % taps / window_w, v = column % window_w;
  const i64 c = i64(group) * depth + column / taps;
  float sum = 0;
  for (i64 begin = 0; begin < positions; begin += TILE) {
    const i64 position = begin + threadIdx.x, n = position / out_w / out_h;
    const int i = int(position / out_w % out_h), j = int(position % out_w);
    const int row = down.pixel(i, u), across_at = across.pixel(j, v);
    float d = 0, p = 0;
    if (position < positions) {
      if (filter < share)
        d = grad[((n * filters + i64(group) * share + filter) * out_h + i) * out_w + j];
      if (column < inner && row >= 0 && across_at >= 0)
        p = x[((n * channels + c) * height + row) * width + across_at];
    }
    rows[threadIdx.x][threadIdx.y] = d;
    columns[threadIdx.x][threadIdx.y] = p;
    __syncthreads();
    sum = product(rows, columns, sum);
    __syncthreads();
  }
  const int mine = blockIdx.x * TILE + threadIdx.x;
  if (filter < share && mine < inner) dweight[(i64(group) * share + filter) * inner + mine] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_bias(const float* grad, int images, int filters, int positions, float* dbias) {
  __shared__ float sums[256];
  const i64 k = blockIdx.x;
  float sum = 0;
  for (i64 n = 0; n < images; ++n) {
    const float* d = grad + (n * filters + k) * positions;
    float image = 0;
    for (int i = threadIdx.x; i < positions; i += 256) image += d[i];
    sum += image;
  }
  sums[threadIdx.x] = sum;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) dbias[k] = sums[0];
}
