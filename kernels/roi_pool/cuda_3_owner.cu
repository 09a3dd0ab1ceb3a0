// RoIPool, rung 3, backward: a block owns a tile of a feature plane; no atomics on the result.
//
// Letters: C channels, R regions of interest (RoIs), a plane is one channel of one image.
//
// The tile's sums lie in shared memory.  The block walks all bins of the RoIs of its image in
// order, 2048 at a time, and keeps those whose winner lies in its tile: 8 entries a thread.  Bins
// that share a winner must not add at once, and must add in order.  So they add in rounds: every
// entry bids for its cell, the earliest wins and adds, the others bid again.  Whoever wins does not
// depend on how fast threads are: the sums have one order, that of the RoIs, bit for bit in every
// run.  Where many bins have one winner, rounds would be many; after 8 of them the entries that are
// left go to shared memory and every thread walks through them all, adding those of its own cells.
//
// Against rung 1: no zeros to write before, and the plane is written once, side by side.  It costs
// that every tile of a plane reads its argmax, from the L2 cache but for the first: tiles of a plane
// are neighbors in the grid.  Expected limit: that reading, and waiting at two barriers a round.
#include "bins.cuh"

constexpr int THREADS = 256;
constexpr int ENTRIES = 8;                  // a thread
constexpr int CHUNK = THREADS * ENTRIES;    // bins looked at together
constexpr int TILE = 6144;                  // cells at most; the launch divides the plane evenly
constexpr int ROUNDS = 8;

// The range of RoIs that the block must walk, and whether others lie between them.
__device__ inline void find_rois(const float* rois, int count, int image, int images, int* first,
                                 int* end, int* own) {
  for (int r = threadIdx.x; r < count; r += THREADS)
    if (image_of(rois + 5 * i64(r), images) == image) {
      atomicMin(first, r);
      atomicMax(end, r + 1);
      atomicAdd(own, 1);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    roi_pool_backward(const float* __restrict__ grad, const float* __restrict__ rois,
                      const int* __restrict__ argmax, int count, int images, int channels,
                      int pixels, int bins, int cells, int tiles, float* __restrict__ dx) {
  __shared__ float sum[TILE];
  __shared__ float left_value[CHUNK];  // of entries that are left after the rounds
  __shared__ int bids[CHUNK];          // the best bid for each cell modulo CHUNK; then their cells
  __shared__ int range[3];
  const int plane = blockIdx.x / tiles, tile = blockIdx.x - plane * tiles;
  const int image = plane / channels, channel = plane - image * channels;
  const int start = tile * cells, size = min(cells, pixels - start);
  for (int k = threadIdx.x; k < size; k += THREADS) sum[k] = 0;
  if (threadIdx.x < 3) range[threadIdx.x] = threadIdx.x == 0 ? count : 0;
  __syncthreads();
  find_rois(rois, count, image, images, range, range + 1, range + 2);
  __syncthreads();
  const int end = range[1];
  const bool mixed = end - range[0] != range[2];
  // this thread's next entry: bin b of RoI r; from one entry to the next it is THREADS bins
  int r = range[0] + int(threadIdx.x) / bins, b = int(threadIdx.x) % bins;
  const int step_r = THREADS / bins, step_b = THREADS - step_r * bins;
  for (i64 chunk = i64(range[0]) * bins; chunk < i64(end) * bins; chunk += CHUNK) {
    int cell[ENTRIES];
    float value[ENTRIES];
    bool waiting = false;
#pragma unroll
    for (int s = 0; s < ENTRIES; ++s) {
      cell[s] = -1;
      value[s] = 0;
      if (r < end && (!mixed || image_of(rois + 5 * i64(r), images) == image)) {
        const i64 place = (i64(r) * channels + channel) * bins + b;
        const i64 own = i64(argmax[place]) - start;
        if (own >= 0 && own < size) {
          cell[s] = int(own);
          value[s] = grad[place];
          waiting = true;
        }
      }
      b += step_b;
      r += step_r + (b >= bins);
      b -= b >= bins ? bins : 0;
    }
#pragma unroll
    for (int s = 0; s < ENTRIES; ++s) bids[s * THREADS + threadIdx.x] = -1;
    int round = 0;
    for (; __syncthreads_or(waiting) && round < ROUNDS; ++round) {
      const int bid = (round + 1) * CHUNK - 1 - int(threadIdx.x);  // earlier entries bid more
#pragma unroll
      for (int s = 0; s < ENTRIES; ++s)
        if (cell[s] >= 0) atomicMax(bids + (cell[s] & CHUNK - 1), bid - s * THREADS);
      __syncthreads();
      waiting = false;
#pragma unroll
      for (int s = 0; s < ENTRIES; ++s) {
        if (cell[s] < 0) continue;
        if (bids[cell[s] & CHUNK - 1] == bid - s * THREADS) {
          sum[cell[s]] += value[s];
          cell[s] = -1;
        } else {
          waiting = true;
        }
      }
    }
    if (round < ROUNDS) continue;
#pragma unroll
    for (int s = 0; s < ENTRIES; ++s) {
      bids[s * THREADS + threadIdx.x] = cell[s];
      left_value[s * THREADS + threadIdx.x] = value[s];
    }
    __syncthreads();
    for (int k = 0; k < CHUNK; ++k)
      if (bids[k] >= 0 && bids[k] % THREADS == threadIdx.x) sum[bids[k]] += left_value[k];
    __syncthreads();
  }
  __syncthreads();
  for (int k = threadIdx.x; k < size; k += THREADS) dx[i64(plane) * pixels + start + k] = sum[k];
}
