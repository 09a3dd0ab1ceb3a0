// Batch normalization, rung 2: a channel cut into slices, and four values at a time.
//
// Letters: N images, C channels, P positions of a plane (H W).
//
// The N P values of a channel are cut into slices of 4096; a block of 256 threads owns one, 16 values
// a thread.  Against rung 1:
//   - there are as many blocks as slices in all channels, enough to fill a GPU;
//   - the values of a slice stay in registers, so that its mean and then its squared deviations from
//     that mean are taken from one reading of memory;
//   - a second kernel joins the slices' moments, first to last (Chan, Golub and LeVeque 1983): a
//     fixed order, so the same bits at every run, and no cancellation;
//   - where P is a multiple of 4, reads and writes are float4.
// scale_shift and dx walk through memory in one line, four neighbors a thread, whatever P is.
//
// Limit: memory, which is read once by the moments, and backward twice by grad and x.
#include "device.cuh"

constexpr int MINE = 16;             // values of a thread
constexpr int SLICE = 256 * MINE;

// The sum of all threads' values, for all of them; lanes first, then warps.
__device__ inline float block_sum(float value, float* shared) {
  for (int half = 16; half > 0; half /= 2) value += __shfl_xor_sync(0xffffffffu, value, half);
  __syncthreads();  // nobody still reads the last sum
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < 8; ++warp) sum += shared[warp];
  return sum;
}

// This thread's values of slice blockIdx.x of channel blockIdx.y; `filler` past the channel's end.
__device__ inline void read_slice(const float* x, int images, int channels, int positions, float filler,
                                  float (&values)[MINE]) {
  const u32 count = u32(images) * positions, begin = blockIdx.x * SLICE;
  const float* channel = x + i64(blockIdx.y) * positions;
  const i64 image = i64(channels) * positions;
  if (positions % 4 == 0) {
#pragma unroll
    for (int r = 0; r < MINE; r += 4) {
      const u32 i = begin + 256 * r + 4 * threadIdx.x;
      float4 v = make_float4(filler, filler, filler, filler);
      if (i < count) v = *reinterpret_cast<const float4*>(channel + i / positions * image + i % positions);
      values[r] = v.x, values[r + 1] = v.y, values[r + 2] = v.z, values[r + 3] = v.w;
    }
  } else {
#pragma unroll
    for (int r = 0; r < MINE; ++r) {
      const u32 i = begin + 256 * r + threadIdx.x;
      values[r] = i < count ? channel[i / positions * image + i % positions] : filler;
    }
  }
}

// A thread's values, added in pairs.
__device__ inline float own_sum(float (&values)[MINE]) {
#pragma unroll
  for (int half = MINE / 2; half > 0; half /= 2)
#pragma unroll
    for (int r = 0; r < half; ++r) values[r] += values[r + half];
  return values[0];
}

// means, missed and squares: (slices, C).  The slice's mean is mean + missed: two numbers, because
// one rounds a large mean by more than the slices' means differ.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_slice_moments(const float* x, int images, int channels, int positions, float* means,
                             float* missed, float* squares) {
  __shared__ float shared[8];
  const u32 left = u32(images) * positions - blockIdx.x * SLICE;
  const float count = float(min(left, u32(SLICE)));
  float values[MINE], sums[MINE];
  read_slice(x, images, channels, positions, 0, values);
#pragma unroll
  for (int r = 0; r < MINE; ++r) sums[r] = values[r];
  const float center = block_sum(own_sum(sums), shared) / count;
#pragma unroll
  for (int r = 0; r < MINE; ++r) {
    const u32 i = positions % 4 == 0 ? 256 * (r / 4 * 4) + 4 * threadIdx.x + r % 4 : 256 * r + threadIdx.x;
    values[r] = i < left ? values[r] - center : 0;
    sums[r] = values[r];
  }
  const float rest = block_sum(own_sum(sums), shared) / count;
#pragma unroll
  for (int r = 0; r < MINE; ++r) values[r] *= values[r];
  const float total = block_sum(own_sum(values), shared);
  if (threadIdx.x > 0) return;
  const i64 at = blockIdx.x * i64(channels) + blockIdx.y;
  means[at] = center, missed[at] = rest;
  const float square = total - count * rest * rest;  // `rest` is a rounding error
  squares[at] = square < 0 ? 0 : square;
}

// One thread a channel: the moments of all slices, from those of each.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_join_moments(const float* means, const float* missed, const float* squares,
                            int slices, int images, int channels, int positions, float* mean,
                            float* var) {
  const i64 c = global_thread();
  if (c >= channels) return;
  const float origin = means[c];
  const u32 all = u32(images) * positions;
  float offset = 0, deviations = 0;  // the mean so far is origin + offset
  for (int slice = 0; slice < slices; ++slice) {
    const i64 at = slice * i64(channels) + c;
    const u32 before = u32(slice) * SLICE, here = min(all - before, u32(SLICE));
    const float step = means[at] - origin + missed[at] - offset;
    const float share = float(here) / float(before + here);
    deviations += squares[at] + step * step * (float(before) * share);
    offset += step * share;
  }
  mean[c] = origin + offset;
  var[c] = deviations / float(all);
}

// sums and products: (slices, C), of grad and of grad (x - mean)
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_backward_slice_sums(const float* grad, const float* x, const float* mean, int images,
                                   int channels, int positions, float* sums, float* products) {
  __shared__ float shared[8];
  const i64 c = blockIdx.y;
  const float center = mean[c];
  float d[MINE], values[MINE];
  read_slice(grad, images, channels, positions, 0, d);
  read_slice(x, images, channels, positions, center, values);
#pragma unroll
  for (int r = 0; r < MINE; ++r) values[r] = d[r] * (values[r] - center);
  const float sum = block_sum(own_sum(d), shared), product = block_sum(own_sum(values), shared);
  if (threadIdx.x > 0) return;
  sums[blockIdx.x * i64(channels) + c] = sum;
  products[blockIdx.x * i64(channels) + c] = product;
}

// One thread a channel: dbias, dweight, and dx = factors[0] grad + factors[1] x + factors[2] of it.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_backward_join_sums(const float* sums, const float* products, const float* weight,
                                  const float* rstd, int slices, int images, int channels,
                                  int positions, float* factors, float* dweight, float* dbias) {
  const i64 c = global_thread();
  if (c >= channels) return;
  float total = 0, product = 0;
  for (int slice = 0; slice < slices; ++slice) {
    total += sums[slice * i64(channels) + c];
    product += products[slice * i64(channels) + c];
  }
  product *= rstd[c];
  dbias[c] = total, dweight[c] = product;
  const float count = float(u32(images) * positions), a = weight[c] * rstd[c];
  factors[c] = a;
  factors[channels + c] = -a * rstd[c] * (product / count);
  factors[2 * channels + c] = -a * (total / count);
}

// The channel of value `i`, and of the values after it.
struct Channel {
  int position, positions, channel, channels;

  __device__ Channel(i64 i, int all_channels, int all_positions) {
    positions = all_positions, channels = all_channels;
    const i64 plane = i / positions;
    position = int(i - plane * positions), channel = int(plane % channels);
  }
  __device__ void next() {
    if (++position < positions) return;
    position = 0;
    if (++channel == channels) channel = 0;
  }
};

__device__ inline int read4(const float* from, i64 i, i64 count, float (&values)[4]) {
  if (i + 4 <= count) {
    const float4 v = *reinterpret_cast<const float4*>(from + i);
    values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
    return 4;
  }
  for (int q = 0; q < 4; ++q) values[q] = i + q < count ? from[i + q] : 0;
  return int(count - i);
}

__device__ inline void write4(float* to, i64 i, int count, const float (&values)[4]) {
  if (count == 4)
    *reinterpret_cast<float4*>(to + i) = make_float4(values[0], values[1], values[2], values[3]);
  else
    for (int q = 0; q < 3; ++q)
      if (q < count) to[i + q] = values[q];
}

extern "C" __global__ void __launch_bounds__(256)
    batch_norm_scale_shift(const float* x, const float* scale, const float* shift, i64 count,
                           int channels, int positions, float* y) {
  const i64 i = 4 * global_thread();
  if (i >= count) return;
  Channel c(i, channels, positions);
  float values[4];
  const int here = read4(x, i, count, values);
#pragma unroll
  for (int q = 0; q < 4; ++q, c.next()) values[q] = scale[c.channel] * values[q] + shift[c.channel];
  write4(y, i, here, values);
}

extern "C" __global__ void __launch_bounds__(256)
    batch_norm_backward_input(const float* grad, const float* x, const float* mean,
                              const float* factors, i64 count, int channels, int positions,
                              float* dx) {
  const i64 i = 4 * global_thread();
  if (i >= count) return;
  Channel c(i, channels, positions);
  float d[4], values[4];
  const int here = read4(grad, i, count, d);
  read4(x, i, count, values);
#pragma unroll
  for (int q = 0; q < 4; ++q, c.next())
    d[q] = factors[c.channel] * d[q] + factors[channels + c.channel] * (values[q] - mean[c.channel]) +
           factors[2 * channels + c.channel];
  write4(dx, i, here, d);
}
