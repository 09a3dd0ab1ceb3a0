// nms, rung 2: the matrix as bits, half of it, and 64 boxes between two barriers.
//
// Letters: R boxes, sorted by falling score, in T tiles of 64; `groups` numbers that are equal
// within a group.
//
// `nms_pairs`: a block of 64 threads owns 64 x 64 pairs, one thread a row.  The boxes of the columns lie
// in shared memory, where all threads read the same one at once; a thread's 64 answers are the bits
// of one word.  Tiles left of the diagonal are not computed: a box matters only to those after it.
// (R, T) words: 1/8 byte a pair instead of 1.
//
// `nms_scan`: one block; thread w owns words w, w + 256, ... of the row of bits `gone`.  Whether a box
// of the present tile is gone, every thread follows by itself, in a register; the other words need
// be right only when their tile comes.  So one barrier serves 64 boxes.
//
// Against rung 1: 1/8 of the memory traffic, 1/2 of the pairs, 1/64 of the barriers.  Limited by
// the walk: for each kept box a word is read that decides about the next one.
#include "device.cuh"
#include "nms.cuh"

extern "C" __global__ void __launch_bounds__(64)
    nms_pairs(const float4* __restrict__ boxes, const i64* __restrict__ groups, int count,
              float threshold, u64* __restrict__ words) {
  __shared__ float4 tile[TILE];
  __shared__ float areas[TILE];
  __shared__ i64 names[TILE];
  const int column = blockIdx.x, row = blockIdx.y;
  if (column < row) return;
  const int j = column * TILE + threadIdx.x, i = row * TILE + threadIdx.x;
  if (j < count) {
    tile[threadIdx.x] = boxes[j];
    areas[threadIdx.x] = area(boxes[j]);
    names[threadIdx.x] = groups[j];
  }
  __syncthreads();
  if (i >= count) return;
  const float4 box = boxes[i];
  const float own = area(box);
  const i64 name = groups[i];
  const int stop = min(TILE, count - column * TILE);
  u64 bits = 0;
  for (int k = column == row ? threadIdx.x + 1 : 0; k < stop; ++k)
    if (names[k] == name && suppresses(box, own, tile[k], areas[k], threshold)) bits |= u64(1) << k;
  words[i64(i) * gridDim.x + column] = bits;
}

extern "C" __global__ void __launch_bounds__(256)
    nms_scan(const u64* __restrict__ words, int count, int tiles,
             unsigned char* __restrict__ kept) {
  DYNAMIC_SHARED(u64, gone);  // a bit a box
  for (int w = threadIdx.x; w < tiles; w += blockDim.x) gone[w] = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    __syncthreads();  // the words that earlier tiles have changed are written
    u64 lost = gone[tile];
    const int stop = min(TILE, count - tile * TILE);
    for (int k = 0; k < stop; ++k) {
      const int i = tile * TILE + k;
      if (threadIdx.x == 0) kept[i] = !(lost >> k & 1);
      if (lost >> k & 1) continue;  // the same for all threads
      const u64* row = words + i64(i) * tiles;
      lost |= row[tile];
      for (int w = tile + 1 + threadIdx.x; w < tiles; w += blockDim.x) gone[w] |= row[w];
    }
  }
}
