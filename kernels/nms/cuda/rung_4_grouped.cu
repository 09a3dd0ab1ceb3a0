// nms, rung 4: a block a group, and no word for pairs of different groups.
//
// Letters: R boxes, sorted by group and within it by falling score, in T tiles of 64, whatever the
// groups; group g reaches from `starts[g]` to `starts[g + 1]` - 1, and `ordinals` names each box's.
//
// `nms_scan`: a block of 512 threads owns a group, and the group gridDim.x after it.  One of up to 512
// boxes it does alone: boxes and mask lie in shared memory, so that nothing is read from memory but
// the boxes.  The mask of a larger group comes from `nms_pairs`, as in rung 3, and a group's scan begins
// at its own first tile.  Groups are independent, so that their scans run side by side, where rung
// 3 goes through all boxes in one chain; and each ends as soon as it has kept `limit` boxes, as no
// more than that many of it can be among the best `limit` of all groups.
//
// `nms_pairs`: blockIdx.y is a tile of rows; its blocks share out the tiles from the first one of its
// first group to itself.  Before that lie only other groups.
//
// Against rung 3: the sort by group costs a second pass; the pairs are those within groups, not
// all, and the longest group sets the time of the scan, not their sum.  Nothing is moved apart to
// keep groups from meeting, which would round the coordinates.  Limited by the launches around it
// (sorting, above all), and beyond some 5000 boxes in one group by its scan.
#include "device.cuh"
#include "nms.cuh"
#include "scan.cuh"

const int TOGETHER = 4;  // tiles a block holds a row of boxes against at once
const int SMALL = 512;   // boxes of a group that needs no mask in memory
const int SMALL_TILES = SMALL / TILE;
const int SMALL_WORDS = SMALL_TILES * (SMALL_TILES + 1) / 2 * TILE;

__device__ inline bool is_small(const int* starts, int group) {
  return starts[group + 1] - starts[group] <= SMALL;
}

extern "C" __global__ void __launch_bounds__(256)
    nms_pairs(const float4* __restrict__ boxes, const int* __restrict__ ordinals,
              const int* __restrict__ starts, int count, float threshold, u64* __restrict__ words) {
  __shared__ float4 tile[TOGETHER * TILE];
  __shared__ float areas[TOGETHER * TILE];
  __shared__ int names[TOGETHER * TILE];
  const int row = blockIdx.y, k = threadIdx.x % TILE, from = threadIdx.x - k, i = row * TILE + k;
  const int head = ordinals[row * TILE], tail = ordinals[min(row * TILE + TILE, count) - 1];
  const bool head_small = is_small(starts, head);
  if (head_small && is_small(starts, tail)) return;  // a larger group would be one of the two
  const int first = head_small ? row : starts[head] / TILE;
  const bool real = i < count;
  const float4 box = real ? boxes[i] : make_float4(0, 0, 0, 0);
  const float own = area(box);
  const int name = real ? ordinals[i] : -1;
  for (int left = first + blockIdx.x * TOGETHER; left <= row; left += gridDim.x * TOGETHER) {
    const int j = left * TILE + threadIdx.x;
    if (j < count) {
      tile[threadIdx.x] = boxes[j];
      areas[threadIdx.x] = area(boxes[j]);
      names[threadIdx.x] = ordinals[j];
    }
    __syncthreads();
    const int column = left + from / TILE;
    if (column <= row) {
      u64 bits = 0;
      const int stop = !real ? 0 : column == row ? k : TILE;
      for (int m = from; m < from + stop; ++m)
        if (names[m] == name && suppresses(tile[m], areas[m], box, own, threshold))
          bits |= u64(1) << (m - from);
      words[words_of(row) + i64(column) * TILE + k] = bits;
    }
    __syncthreads();  // everyone is done with the tile
  }
}

// The mask of a small group, all of it in shared memory: one thread a word.
__device__ inline void small_mask(const float4* boxes, const float* areas, int count,
                                  float threshold, u64* words) {
  const int tiles = (count + TILE - 1) / TILE;
  for (int w = threadIdx.x; w < tiles * (tiles + 1) / 2 * TILE; w += blockDim.x) {
    int row = 0, column = w / TILE;
    while (column > row) column -= ++row;  // rows of 1, 2, 3, ... tiles
    const int k = w % TILE, i = row * TILE + k;
    u64 bits = 0;
    if (i < count) {
      const float4 box = boxes[i];
      const float own = areas[i];
      const int stop = column == row ? k : TILE;
      for (int m = 0; m < stop; ++m) {
        const int j = column * TILE + m;
        if (suppresses(boxes[j], areas[j], box, own, threshold)) bits |= u64(1) << m;
      }
    }
    words[w] = bits;
  }
}

// kept: not set at first; box i is number rank[i] by falling score over all groups.
extern "C" __global__ void __launch_bounds__(512, 2)
    nms_scan(const float4* __restrict__ boxes, const int* __restrict__ starts,
             const int* __restrict__ groups, const i64* __restrict__ rank,
             const u64* __restrict__ words, float threshold, int limit,
             unsigned char* __restrict__ kept) {
  // a large group: a word for each of its tiles.  A small one: boxes, areas, mask, kept words
  DYNAMIC_SHARED(u64, memory);
  __shared__ u64 gone[2];
  float4* tile = reinterpret_cast<float4*>(memory);
  float* areas = reinterpret_cast<float*>(tile + SMALL);
  u64* near = reinterpret_cast<u64*>(areas + SMALL);
  for (int g = blockIdx.x; g < groups[0]; g += gridDim.x) {
    const int start = starts[g], stop = starts[g + 1], count = stop - start;
    if (count > SMALL) {
      scan(words, start, stop, limit, memory, gone,
           [=](int i, bool flag) { kept[rank[i]] = flag; });
      continue;
    }
    __syncthreads();  // everyone is done with the group before
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
      tile[i] = boxes[start + i];
      areas[i] = area(boxes[start + i]);
    }
    __syncthreads();
    small_mask(tile, areas, count, threshold, near);
    __syncthreads();
    scan(near, 0, count, limit, near + SMALL_WORDS, gone,
         [=](int i, bool flag) { kept[rank[start + i]] = flag; });
  }
}
