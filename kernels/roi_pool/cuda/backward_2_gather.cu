// RoIPool, backward, rung 2: a block owns a tile of a feature plane; no atomics on the result.
//
// Letters: C channels, R regions of interest (RoIs), a plane is one channel of one image.
//
// The tile's sums lie in shared memory.  The block walks all bins of the RoIs of its image in
// order, 2048 at a time, and keeps those whose winner lies in its tile: 8 entries a thread.  Bins
// that share a winner must not add at once, and must add in order.  So they add in rounds: every
// entry bids for its cell, the earliest wins and adds, the others bid again.  Whoever wins does not
// depend on how fast threads are: the sums have one order, that of the RoIs, bit for bit in every
// run.  Where many bins have one winner, rounds would be many; after 32 of them the entries that
// are left go to shared memory and every thread walks through them all, adding those of its own
// cells: dear, but the same for any number.
//
// Against rung 1: no zeros to write before, and the plane is written once, side by side.  It costs
// that every tile of a plane reads its argmax, from the L2 cache but for the first: tiles of a plane
// are neighbors in the grid.  Expected limit: that reading, and waiting at two barriers a round.
#include "bins.cuh"

constexpr int THREADS = 256;
constexpr int ENTRIES = 8;                  // a thread
constexpr int CHUNK = THREADS * ENTRIES;    // bins looked at together
constexpr int TILE = 6144;                  // cells at most; the launch divides the plane evenly
constexpr int ROUNDS = 32;

// A bin that a thread looks at: b of RoI r, and where it is in grad and argmax.
struct Bin {
  int r, b;
  i64 place;
  __device__ void advance(int bins, i64 between) {  // to the thread's next one
    b += THREADS % bins;
    const int rois = THREADS / bins + (b >= bins);
    b -= b >= bins ? bins : 0;
    r += rois;
    place += THREADS + rois * between;
  }
};

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

// Every cell gets the value of its earliest entry, then of the next, ...; false: some may be left.
__device__ inline bool add_in_rounds(int (&cell)[ENTRIES], const float (&value)[ENTRIES],
                                     bool waiting, int* bids, float* sum) {
#pragma unroll
  for (int s = 0; s < ENTRIES; ++s) bids[s * THREADS + threadIdx.x] = -1;
  for (int round = 0; __syncthreads_or(waiting); ++round) {
    if (round == ROUNDS) return false;
    const int bid = (round + 1) * CHUNK - 1 - int(threadIdx.x);  // earlier entries bid more
#pragma unroll
    for (int s = 0; s < ENTRIES; ++s)
      if (cell[s] >= 0) atomicMax(bids + (cell[s] & (CHUNK - 1)), bid - s * THREADS);
    __syncthreads();
    waiting = false;
#pragma unroll
    for (int s = 0; s < ENTRIES; ++s) {
      if (cell[s] < 0) continue;
      if (bids[cell[s] & (CHUNK - 1)] == bid - s * THREADS) {
        sum[cell[s]] += value[s];
        cell[s] = -1;
      } else {
        waiting = true;
      }
    }
  }
  return true;
}

// All threads walk through what is left, in order; each adds to the cells that are its own.
__device__ inline void add_rest(const int (&cell)[ENTRIES], const float (&value)[ENTRIES],
                                int* cells, float* values, float* sum) {
#pragma unroll
  for (int s = 0; s < ENTRIES; ++s) {
    cells[s * THREADS + threadIdx.x] = cell[s];
    values[s * THREADS + threadIdx.x] = value[s];
  }
  __syncthreads();
  for (int k = 0; k < CHUNK; ++k)
    if (cells[k] >= 0 && cells[k] % THREADS == threadIdx.x) sum[cells[k]] += values[k];
  __syncthreads();
}

extern "C" __global__ void __launch_bounds__(256, 4)
    roi_pool_backward(const float* __restrict__ grad, const float* __restrict__ rois,
                      const int* __restrict__ argmax, int count, int images, int channels,
                      int pixels, int bins, int cells, int tiles, float* __restrict__ dx) {
  __shared__ float sum[TILE];
  __shared__ int bids[CHUNK];    // the best for each cell modulo CHUNK; then what is left: cells
  __shared__ float rest[CHUNK];  // and values
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
  const i64 between = i64(channels - 1) * bins;  // of two RoIs, the bins of other channels
  Bin next = {range[0] + int(threadIdx.x) / bins, int(threadIdx.x) % bins, 0};
  next.place = (i64(next.r) * channels + channel) * bins + next.b;
  int chunks = int((i64(end - range[0]) * bins + CHUNK - 1) / CHUNK);  // negative: no RoI
  for (; chunks > 0; --chunks) {
    int cell[ENTRIES];
    float value[ENTRIES];
    bool waiting = false;
    Bin bin = next;
#pragma unroll
    for (int s = 0; s < ENTRIES; ++s) {  // all at once on their way, and only then looked at
      const bool own = bin.r < end && (!mixed || image_of(rois + 5 * i64(bin.r), images) == image);
      cell[s] = own ? argmax[bin.place] : -1;
      bin.advance(bins, between);
    }
#pragma unroll
    for (int s = 0; s < ENTRIES; ++s) {
      const i64 own = i64(cell[s]) - start;
      const bool mine = own >= 0 && own < size;
      cell[s] = mine ? int(own) : -1;
      value[s] = mine ? grad[next.place] : 0;
      waiting = waiting || mine;
      next.advance(bins, between);
    }
    if (!add_in_rounds(cell, value, waiting, bids, sum)) add_rest(cell, value, bids, rest, sum);
  }
  __syncthreads();
  for (int k = threadIdx.x; k < size; k += THREADS) dx[i64(plane) * pixels + start + k] = sum[k];
}
