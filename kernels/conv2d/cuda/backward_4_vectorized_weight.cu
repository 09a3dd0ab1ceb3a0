// Gradients of a convolution's weight and bias, rung 4: values in registers, sums cut into slices.
//
// Letters: N images, C input channels, K filters, G groups, H W height and width of the input,
// OH OW of the output.
//
// dw is a product of matrices, (K / G, N OH OW) times (N OH OW, C / G kh kw): a small result, and
// very long sums.  Against rung 2:
//   - a thread owns 8 x 8 (or 4 x 4) values of the result, in registers: see multiply in
//     gradients.cuh;
//   - the sums are cut into slices of positions, so that there are blocks enough to fill a GPU.  Each
//     slice writes its own partial result, and a second kernel adds the slices up in their order:
//     no atomics, and the same bits at every run;
//   - grad is read as float4 along its rows, where OH OW is a multiple of 4.  In shared memory both
//     tiles are turned round; a line of them is 4 numbers longer than a tile, which puts what a warp
//     stores into 32 different banks;
//   - which pixel a column of the product reads is worked out once a block, in three tables;
//   - the next numbers are on their way while a chunk is multiplied.
// Limit: the rate of float32 products, then the gathering of x, one number a load.  It costs the
// partial results, slices times the size of the weight, written and read once.
//
// db is a sum over images and positions: a warp sums up to `piece` values of one channel of one
// image, and a second kernel adds those sums up, again in a fixed order.
#include "device.cuh"
#include "gradients.cuh"

constexpr int DEPTH = 8;  // positions of a chunk
constexpr int NOWHERE = -(1 << 30);

struct Sizes {
  int images, channels, filters, groups;
  Axis down, across;
  int chunks;  // of a slice
};

struct Tables {  // for each column of the tile: the pixel under its tap at position (0, 0)
  int row[128], column[128], offset[128];  // `offset` counts numbers from the group's first channel
};

__device__ inline void fill(Tables& tables, int tile, const Sizes& s) {
  const int taps = s.down.taps * s.across.taps, inner = s.channels / s.groups * taps;
  for (int i = threadIdx.x; i < tile; i += 256) {
    const int column = blockIdx.x * tile + i, tap = column % taps;
    const int y = tap / s.across.taps * s.down.dilation - s.down.pad;
    const int x = tap % s.across.taps * s.across.dilation - s.across.pad;
    tables.row[i] = column < inner ? y : NOWHERE;  // which is outside of every image
    tables.column[i] = x;
    tables.offset[i] = (column / taps * s.down.length + y) * s.across.length + x;
  }
}

template <int SIDE>
__device__ inline void write_tile(const float (&sum)[SIDE][SIDE], const Sizes& s, int slice, int group,
                                  float* partial) {
  const int share = s.filters / s.groups;
  const int inner = s.channels / s.groups * s.down.taps * s.across.taps;
#pragma unroll
  for (int i = 0; i < SIDE; ++i) {
    const int filter = blockIdx.y * 16 * SIDE + tile_row(i);
    if (filter >= share) continue;
    float* line = partial + ((i64(slice) * s.groups + group) * share + filter) * inner;
#pragma unroll
    for (int j = 0; j < SIDE; ++j) {
      const int column = blockIdx.x * 16 * SIDE + tile_column(j);
      if (column < inner) line[column] = sum[i][j];
    }
  }
}

template <int SIDE>
__device__ inline void weight_tile(const float* grad, const float* x, const Sizes& s, Tables& tables,
                                   float4* shared_rows, float4* shared_columns, float* partial) {
  constexpr int TILE = 16 * SIDE, LINE = TILE + 4, LOADS = TILE / 32;
  const int slice = blockIdx.z / s.groups, group = blockIdx.z % s.groups;
  const int share = s.filters / s.groups, out_w = s.across.positions;
  const int plane = s.down.positions * out_w, positions = s.images * plane;
  const i64 image_size = i64(s.channels) * s.down.length * s.across.length;
  const float* group_x = x + i64(group) * (s.channels / s.groups) * s.down.length * s.across.length;
  const float* group_grad = grad + i64(group) * share * plane;
  fill(tables, TILE, s);
  __syncthreads();

  // it fetches one position of every chunk, for a row of the tile of every 32 ...
  const int line = threadIdx.x / DEPTH;
  int number = slice * s.chunks * DEPTH + threadIdx.x % DEPTH;
  int n = number / plane, i = number / out_w % s.down.positions, j = number % out_w;
  // ... or, of grad, four positions of one row
  const bool by_four = plane % 4 == 0;
  const int four_row = threadIdx.x / 2, four_filter = blockIdx.y * TILE + four_row;
  int four = slice * s.chunks * DEPTH + threadIdx.x % 2 * 4, four_n = four / plane, four_at = four % plane;
  float next_x[LOADS], next_grad[4];
  auto fetch = [&]() {
    const float* pixels = group_x + n * image_size + i64(i * s.down.stride) * s.across.length + j * s.across.stride;
#pragma unroll
    for (int r = 0; r < LOADS; ++r) {
      const int c = line + 32 * r, y = i * s.down.stride + tables.row[c];
      const int across = j * s.across.stride + tables.column[c];
      const bool inside = y >= 0 && y < s.down.length && across >= 0 && across < s.across.length;
      next_x[r] = number < positions && inside ? pixels[tables.offset[c]] : 0;
    }
    if (by_four) {
      float4 d = make_float4(0, 0, 0, 0);
      if (four_row < TILE && four < positions && four_filter < share)
        d = *reinterpret_cast<const float4*>(group_grad + (i64(four_n) * s.filters + four_filter) * plane + four_at);
      next_grad[0] = d.x, next_grad[1] = d.y, next_grad[2] = d.z, next_grad[3] = d.w;
      four += DEPTH, four_at += DEPTH;
      while (four_at >= plane) four_at -= plane, ++four_n;
    } else {
#pragma unroll
      for (int r = 0; r < LOADS; ++r) {
        const int filter = blockIdx.y * TILE + line + 32 * r;
        const bool exists = number < positions && filter < share;
        next_grad[r] = exists ? group_grad[(i64(n) * s.filters + filter) * plane + i * out_w + j] : 0;
      }
    }
    number += DEPTH, j += DEPTH;
    for (; j >= out_w; j -= out_w)
      if (++i == s.down.positions) i = 0, ++n;
  };
  auto store = [&](int buffer) {
    float* rows = reinterpret_cast<float*>(shared_rows) + buffer * DEPTH * LINE;
    float* columns = reinterpret_cast<float*>(shared_columns) + buffer * DEPTH * LINE;
    if (by_four && four_row < TILE) {
#pragma unroll
      for (int r = 0; r < 4; ++r) rows[(threadIdx.x % 2 * 4 + r) * LINE + four_row] = next_grad[r];
    }
#pragma unroll
    for (int r = 0; r < LOADS; ++r) {
      columns[threadIdx.x % DEPTH * LINE + line + 32 * r] = next_x[r];
      if (!by_four) rows[threadIdx.x % DEPTH * LINE + line + 32 * r] = next_grad[r];
    }
  };

  float sum[SIDE][SIDE] = {};
  const int all = (positions + DEPTH - 1) / DEPTH, chunks = min(s.chunks, all - slice * s.chunks);
  fetch();
  store(0);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    __syncthreads();  // this chunk is complete, and nobody still reads the one before
    if (chunk + 1 < chunks) fetch();
    const int buffer = chunk % 2 * DEPTH * LINE;
    multiply<SIDE, DEPTH, LINE>(reinterpret_cast<const float*>(shared_rows) + buffer,
                                reinterpret_cast<const float*>(shared_columns) + buffer, sum);
    if (chunk + 1 < chunks) store((chunk + 1) % 2);
  }
  write_tile<SIDE>(sum, s, slice, group, partial);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_backward_weight_128(const float* grad, const float* x, int images, int channels,
                               int height, int width, int filters, int window_h, int window_w,
                               int out_h, int out_w, int stride_h, int stride_w, int pad_h,
                               int pad_w, int dilation_h, int dilation_w, int groups, int chunks,
                               float* partial) {
  __shared__ float4 rows[DEPTH * 132 / 2], columns[DEPTH * 132 / 2];  // two buffers each
  __shared__ Tables tables;
  const Sizes s = {images, channels, filters, groups,
                   {height, window_h, out_h, stride_h, pad_h, dilation_h},
                   {width, window_w, out_w, stride_w, pad_w, dilation_w}, chunks};
  weight_tile<8>(grad, x, s, tables, rows, columns, partial);
}

extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_weight_64(const float* grad, const float* x, int images, int channels,
                              int height, int width, int filters, int window_h, int window_w,
                              int out_h, int out_w, int stride_h, int stride_w, int pad_h,
                              int pad_w, int dilation_h, int dilation_w, int groups, int chunks,
                              float* partial) {
  __shared__ float4 rows[DEPTH * 68 / 2], columns[DEPTH * 68 / 2];
  __shared__ Tables tables;
  const Sizes s = {images, channels, filters, groups,
                   {height, window_h, out_h, stride_h, pad_h, dilation_h},
                   {width, window_w, out_w, stride_w, pad_w, dilation_w}, chunks};
  weight_tile<4>(grad, x, s, tables, rows, columns, partial);
}

// The slices' sum, first to last: one thread a value.
extern "C" __global__ void __launch_bounds__(256)
    conv2d_add_slices(const float* partial, int slices, i64 count, float* total) {
  const i64 i = global_thread();
  if (i >= count) return;
  float sum = 0;
  for (int slice = 0; slice < slices; ++slice) sum += partial[slice * count + i];
  total[i] = sum;
}

// One warp a piece of a plane: partial[(n * pieces + p) * filters + k].
extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_bias_sum_pieces(const float* grad, int planes, int filters, int positions,
                                    int pieces, int piece, float* partial) {
  const i64 task = global_thread() / 32, plane = task / pieces;
  const int lane = threadIdx.x % 32, begin = int(task % pieces) * piece;
  if (plane >= planes) return;  // the whole warp
  const int end = min(begin + piece, positions);
  const float* values = grad + plane * positions;
  float sum = 0;
  if (positions % 4 == 0) {
#pragma unroll 4
    for (int i = begin + 4 * lane; i < end; i += 128) {
      const float4 v = *reinterpret_cast<const float4*>(values + i);
      sum += (v.x + v.y) + (v.z + v.w);
    }
  } else {
#pragma unroll 4
    for (int i = begin + lane; i < end; i += 32) sum += values[i];
  }
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
  if (lane == 0) partial[(plane / filters * pieces + task % pieces) * filters + plane % filters] = sum;
}

// Block (32, 8): 32 channels; eight threads share the pieces of each.
extern "C" __global__ void __launch_bounds__(256)
    conv2d_backward_bias_add_pieces(const float* partial, int count, int filters, float* dbias) {
  __shared__ float sums[8][32];
  const int k = blockIdx.x * 32 + threadIdx.x;
  float sum = 0;
  if (k < filters) {
#pragma unroll 4
    for (int i = threadIdx.y; i < count; i += 8) sum += partial[i64(i) * filters + k];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || k >= filters) return;
  for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
  dbias[k] = sum;
}
