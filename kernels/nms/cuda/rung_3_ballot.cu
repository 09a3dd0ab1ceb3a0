// nms, rung 3: 64 boxes are resolved by ballots, and no read waits for a decision.
//
// Letters: R boxes, sorted by falling score, in T tiles of 64; `groups` numbers that are equal
// within a group.
//
// `nms_pairs`: a block of 256 threads owns a row of four tiles left of the diagonal or on it: each
// thread one box against the 64 of a tile.  A word says which boxes *before* its own suppress it,
// the other way around than in rung 2 (the IoU is symmetric), and the words of a tile lie together:
// every write is 256 contiguous bytes a warp, and only T (T + 1) / 2 tiles take memory.
//
// `nms_scan`: one block runs the scan of scan.cuh.  In rung 2 each kept box waited for the word that
// the box before it had to decide upon; here the 64 words of a tile lie in the registers of one
// warp, which needs a few rounds of ballots, while the other warps fetch the next tile's.
//
// Limited, beyond some 5000 boxes, by one block reading the mask, half a word a pair of box and
// tile, as fast as one multiprocessor can; before that by T barriers.
#include "device.cuh"
#include "nms.cuh"
#include "scan.cuh"

const int TOGETHER = 4;  // tiles a block holds a row of boxes against at once

extern "C" __global__ void __launch_bounds__(256)
    nms_pairs(const float4* __restrict__ boxes, const i64* __restrict__ groups, int count,
              float threshold, u64* __restrict__ words) {
  __shared__ float4 tile[TOGETHER * TILE];
  __shared__ float areas[TOGETHER * TILE];
  __shared__ i64 names[TOGETHER * TILE];
  const int row = blockIdx.y, left = blockIdx.x * TOGETHER;
  if (left > row) return;
  const int j = left * TILE + threadIdx.x;
  if (j < count) {
    tile[threadIdx.x] = boxes[j];
    areas[threadIdx.x] = area(boxes[j]);
    names[threadIdx.x] = groups[j];
  }
  __syncthreads();
  const int column = left + threadIdx.x / TILE, k = threadIdx.x % TILE, i = row * TILE + k;
  if (column > row) return;
  u64 bits = 0;
  if (i < count) {
    const float4 box = boxes[i];
    const float own = area(box);
    const i64 name = groups[i];
    const int from = threadIdx.x / TILE * TILE, stop = column == row ? k : TILE;
    for (int m = 0; m < stop; ++m)
      if (names[from + m] == name && suppresses(tile[from + m], areas[from + m], box, own, threshold))
        bits |= u64(1) << m;
  }
  words[words_of(row) + i64(column) * TILE + k] = bits;
}

// kept: not set at first.
extern "C" __global__ void __launch_bounds__(512)
    nms_scan(const u64* __restrict__ words, int count, int limit,
             unsigned char* __restrict__ kept) {
  DYNAMIC_SHARED(u64, kept_words);  // T
  __shared__ u64 gone[2];
  scan(words, 0, count, limit, kept_words, gone, [=](int i, bool flag) { kept[i] = flag; });
}
