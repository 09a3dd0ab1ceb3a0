// Gradient of a convolution's input, rung 4: a matrix product with values in registers.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output.
//
// A block owns a tile of channels times pixels, 128 x 128 or, where those are too few to fill a GPU,
// 64 x 64; a thread owns 8 x 8 or 4 x 4 values of it, in registers.  Against rung 2:
//   - 16 numbers from shared memory, read as four float4, now feed 64 products instead of 2 feeding 1;
//   - the filters are transposed first, to (tap, filter, channel), so that they are read as float4;
//   - pixels are sorted by their remainder modulo the stride.  All pixels of such a class meet the
//     same taps, and at each of them the positions next to each other: nothing is multiplied by the
//     zeros of a stride, and the taps that never meet a class are not looked at;
//   - taps are the outer loop, filters the inner one, so that a thread works out which position its
//     pixel has under a tap once per tap, not once per product;
//   - the next numbers are on their way from global memory while this chunk is multiplied, and two
//     buffers in shared memory take turns: one barrier for 512 or 256 products a thread;
//   - where even small tiles do not fill a GPU, the sums are cut into parts, which another kernel adds
//     up in their order (add_slices in backward_4_vectorized_weight.cu).
// Limit: the rate of float32 products, for layers of 64 channels or more.  It costs a pass over the
// weights to transpose them, registers (half as many threads at a time), and work on padding where
// a group has few channels or filters.
#include "device.cuh"
#include "gradients.cuh"

constexpr int CHUNK = 1024;  // numbers of each matrix that lie in shared memory: 4 for each thread

// The pixels of one axis with the remainder `r` modulo the stride (counted from the padded edge):
// first, first + stride, ...  Pixel i of them meets tap `tap + a * step` at position
// `position + i - (shift + a * shift_step)`, for a from 0 to taps - 1.
struct Class {
  int first, count, position, tap, taps, shift, shift_step;
};

__device__ inline Class class_of(const Axis& axis, int r, int step) {
  Class found;
  found.first = ((r - axis.pad) % axis.stride + axis.stride) % axis.stride;
  found.count = found.first < axis.length ? (axis.length - 1 - found.first) / axis.stride + 1 : 0;
  found.position = (found.first + axis.pad - r) / axis.stride;
  int tap = 0;
  while (tap < axis.taps && tap * axis.dilation % axis.stride != r) ++tap;
  found.tap = tap;
  found.taps = tap < axis.taps ? (axis.taps - 1 - tap) / step + 1 : 0;
  found.shift = (tap * axis.dilation - r) / axis.stride;
  found.shift_step = axis.dilation * step / axis.stride;
  return found;
}

// The class of this block's pixels along both axes.  In shared memory: in registers of every thread
// they would leave too few for a second block on the same multiprocessor.
struct Classes {
  Class down, across;
};

struct Sizes {
  int images, channels, filters, groups;
  Axis down, across;
  int step_h, step_w;  // between taps of a class: stride / gcd(stride, dilation)
  int chunks;          // that a part of the sums has, at most
};

// Which pixel of the image number `i` of a class is.
struct Pixel {
  int image, row, column;  // row and column within the class

  __device__ Pixel(int i, const Class& down, const Class& across) {
    image = i / across.count / down.count;
    row = i / across.count % down.count;
    column = i % across.count;
  }
};

template <int SIDE>
__device__ inline void write_tile(const float (&sum)[SIDE][SIDE], const Sizes& s, const Class& down,
                                  const Class& across, int group, float* dx) {
  const int depth = s.channels / s.groups, pixels = s.images * down.count * across.count;
  const i64 plane = i64(s.down.length) * s.across.length;
  // then four neighbors in the tile are four neighbors in a row of the image
  const bool whole = s.across.stride == 1 && s.across.length % 4 == 0;
#pragma unroll
  for (int j = 0; j < SIDE; ++j) {
    const int number = blockIdx.x * 16 * SIDE + tile_column(j);
    if (number >= pixels || (whole && j % 4 != 0)) continue;
    const Pixel at(number, down, across);
    const i64 row = down.first + i64(at.row) * s.down.stride;
    const i64 channel = i64(at.image) * s.channels + group * depth;
    float* out = dx + (channel + blockIdx.y * 16 * SIDE + tile_row(0)) * plane +
                 row * s.across.length + across.first + at.column * s.across.stride;
#pragma unroll
    for (int i = 0; i < SIDE; ++i) {
      if (blockIdx.y * 16 * SIDE + tile_row(i) >= depth) break;
      if (whole && j % 4 == 0)  // % SIDE only tells the compiler that j + 3 is in range
        *reinterpret_cast<float4*>(out) = make_float4(sum[i][j], sum[i][(j + 1) % SIDE],
                                                      sum[i][(j + 2) % SIDE], sum[i][(j + 3) % SIDE]);
      else
        *out = sum[i][j];
      out += (i % 4 == 3 ? 61 : 1) * plane;  // see tile_row
    }
  }
}

template <int SIDE>
__device__ inline void input_tile(const float* grad, const float4* packed, const float* bias,
                                  const Sizes& s, Classes& here, float4* shared_rows,
                                  float4* shared_columns, float* dx) {
  constexpr int TILE = 16 * SIDE, DEPTH = CHUNK / TILE;
  const int classes = s.down.stride * s.across.stride;
  const int group = blockIdx.z / classes % s.groups, which = blockIdx.z % classes;
  const int part = blockIdx.z / classes / s.groups;
  if (threadIdx.x == 0) here.down = class_of(s.down, which / s.across.stride, s.step_h);
  if (threadIdx.x == 32) here.across = class_of(s.across, which % s.across.stride, s.step_w);
  __syncthreads();
  const Class &down = here.down, &across = here.across;
  const int pixels = s.images * down.count * across.count;
  if (i64(blockIdx.x) * TILE >= pixels) return;  // classes differ in size by a row or a column
  const int depth4 = (s.channels / s.groups + 3) / 4, share = s.filters / s.groups;
  const i64 positions = i64(s.down.positions) * s.across.positions;

  // what this thread fetches of every chunk: four filters at one pixel, and one float4 of weights
  const int number = blockIdx.x * TILE + threadIdx.x % TILE, filter = threadIdx.x / TILE;
  const Pixel at(number, down, across);
  const float* image = grad + (i64(at.image) * s.filters + group * share) * positions;
  const int c4 = blockIdx.y * (TILE / 4) + threadIdx.x % (TILE / 4), row = threadIdx.x / (TILE / 4);
  // the chunk fetched next: its tap (a, b), its first filter
  const int per_tap = max(1, (share + DEPTH - 1) / DEPTH), first_chunk = part * s.chunks;
  const int first_tap = first_chunk / per_tap, in_row = max(1, across.taps);
  int a = first_tap / in_row, b = first_tap % in_row;
  int begin = first_chunk % per_tap * DEPTH;
  float next[4];
  float4 next_weights;
  auto fetch = [&]() {
    const int i = down.position + at.row - down.shift - a * down.shift_step;
    const int j = across.position + at.column - across.shift - b * across.shift_step;
    const bool seen = number < pixels && i >= 0 && i < s.down.positions && j >= 0 && j < s.across.positions;
    const float* from = image + i64(i) * s.across.positions + j;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int k = begin + filter + r * (256 / TILE);
      next[r] = seen && k < share ? from[k * positions] : 0;
    }
    const int tap = (down.tap + a * s.step_h) * s.across.taps + across.tap + b * s.step_w;
    const i64 line = (i64(group) * s.down.taps * s.across.taps + tap) * share + begin + row;
    const bool exists = begin + row < share && c4 < depth4;
    next_weights = exists ? packed[line * depth4 + c4] : make_float4(0, 0, 0, 0);
    begin += DEPTH;
    if (begin < share) return;
    begin = 0;
    if (++b == across.taps) b = 0, ++a;
  };
  auto store = [&](int buffer) {
    float* columns = reinterpret_cast<float*>(shared_columns + buffer * (CHUNK / 4));
#pragma unroll
    for (int r = 0; r < 4; ++r) columns[threadIdx.x + 256 * r] = next[r];
    shared_rows[buffer * (CHUNK / 4) + threadIdx.x] = next_weights;
  };

  float sum[SIDE][SIDE];  // begin with the bias, which only a transposed convolution has
#pragma unroll
  for (int i = 0; i < SIDE; ++i) {
    const int c = blockIdx.y * TILE + tile_row(i);
    const bool counts = bias && part == 0 && c < s.channels / s.groups;
    const float start = counts ? bias[group * (s.channels / s.groups) + c] : 0;
#pragma unroll
    for (int j = 0; j < SIDE; ++j) sum[i][j] = start;
  }
  const int chunks = min(s.chunks, down.taps * across.taps * per_tap - first_chunk);
  if (chunks > 0) {
    fetch();
    store(0);
  }
  for (int chunk = 0; chunk < chunks; ++chunk) {
    __syncthreads();  // this chunk is complete, and nobody still reads the one before
    if (chunk + 1 < chunks) fetch();
    const int buffer = chunk % 2 * (CHUNK / 4);
    multiply<SIDE, DEPTH, TILE, SIDE == 8 ? 1 : 4>(reinterpret_cast<const float*>(shared_rows + buffer),
                                reinterpret_cast<const float*>(shared_columns + buffer), sum);
    if (chunk + 1 < chunks) store((chunk + 1) % 2);
  }
  const i64 size = i64(s.images) * s.channels * s.down.length * s.across.length;
  write_tile<SIDE>(sum, s, down, across, group, dx + part * size);
}

// weight (K, C / G, kh, kw) as (G, kh kw, K / G, C / G rounded up to a multiple of 4): one thread a
// number.  Reads are kh kw numbers apart; the next taps find them in the cache.
extern "C" __global__ void __launch_bounds__(256)
    conv2d_transpose_filters(const float* weight, int filters, int depth, int taps, int groups,
                             float* packed) {
  const int padded = (depth + 3) / 4 * 4, share = filters / groups;
  const i64 index = global_thread(), line = index / padded;
  if (line >= i64(filters) * taps) return;
  const int c = int(index % padded), tap = int(line / share % taps);
  const i64 k = line / share / taps * share + line % share;
  packed[index] = c < depth ? weight[(k * depth + c) * taps + tap] : 0;
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_backward_input_128(const float* grad, const float4* packed, const float* bias,
                              bool has_bias, int images, int channels, int height, int width,
                              int filters, int window_h, int window_w, int out_h, int out_w,
                              int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                              int dilation_w, int groups, int step_h, int step_w, int chunks,
                              float* dx) {
  __shared__ float4 rows[CHUNK / 2], columns[CHUNK / 2];  // two buffers each
  __shared__ Classes here;
  const Sizes s = {images, channels, filters, groups,
                   {height, window_h, out_h, stride_h, pad_h, dilation_h},
                   {width, window_w, out_w, stride_w, pad_w, dilation_w}, step_h, step_w, chunks};
  input_tile<8>(grad, packed, has_bias ? bias : nullptr, s, here, rows, columns, dx);
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_input_64(const float* grad, const float4* packed, const float* bias,
                             bool has_bias, int images, int channels, int height, int width,
                             int filters, int window_h, int window_w, int out_h, int out_w,
                             int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h,
                             int dilation_w, int groups, int step_h, int step_w, int chunks,
                             float* dx) {
  __shared__ float4 rows[CHUNK / 2], columns[CHUNK / 2];
  __shared__ Classes here;
  const Sizes s = {images, channels, filters, groups,
                   {height, window_h, out_h, stride_h, pad_h, dilation_h},
                   {width, window_w, out_w, stride_w, pad_w, dilation_w}, step_h, step_w, chunks};
  input_tile<4>(grad, packed, has_bias ? bias : nullptr, s, here, rows, columns, dx);
}
