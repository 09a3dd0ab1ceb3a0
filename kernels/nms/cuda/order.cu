// What every rung of nms does before and after: keys to sort by, where groups begin, and the kept
// boxes packed together.
//
// Letters: R boxes.
#include "device.cuh"

const int LOT = 8;           // neighbors that one thread counts
const int MOST_WARPS = 32;

// Keys that sort ascending as the scores fall: equal scores have equal keys (0 and -0 too), a NaN
// has the largest.  The bits of floats from 0 on are ordered like whole numbers; those of negative
// ones the other way around.  A sort by the floats themselves would go by the sign of a NaN.
extern "C" __global__ void __launch_bounds__(256)
    nms_score_keys(const float* __restrict__ scores, int count, int* __restrict__ keys) {
  const i64 i = global_thread();
  if (i >= count) return;
  const u32 bits = __float_as_uint(scores[i]), magnitude = bits & 0x7fffffffu;
  const bool negative = bits >> 31;
  if (magnitude > 0x7f800000u)
    keys[i] = 0x7fffffff;  // a NaN
  else
    keys[i] = negative ? int(magnitude) : -int(magnitude);
}

// How many of the block's threads before this one, and how many of all, have how many `own`: two
// barriers.  All threads of the block call it; `sums` is shared, a number a warp.
__device__ inline int count_before(int own, int* sums, int* all) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  int upto = own;
  for (int d = 1; d < 32; d *= 2) {
    const int left = __shfl_up_sync(0xffffffffu, upto, d);
    if (lane >= d) upto += left;
  }
  __syncthreads();  // everyone has read what the call before left in `sums`
  if (lane == 31) sums[warp] = upto;
  __syncthreads();
  int before = 0, sum = 0;
  for (int w = 0; w < warps; ++w) {
    if (w == warp) before = sum;
    sum += sums[w];
  }
  *all = sum;
  return before + upto - own;
}

// The groups of boxes that lie sorted by group: where each begins, with R at the end; the ordinal
// of every box's group; how many groups there are.  One block, LOT boxes a thread and round.
extern "C" __global__ void __launch_bounds__(1024)
    nms_find_groups(const i64* __restrict__ groups, int count, int* __restrict__ starts,
                    int* __restrict__ ordinals, int* __restrict__ total) {
  __shared__ int sums[MOST_WARPS];
  int found = 0;
  for (int begin = 0; begin < count; begin += blockDim.x * LOT) {
    const int first = begin + threadIdx.x * LOT;
    u32 heads = 0;  // bit k: box first + k is the first of its group
    for (int k = 0; k < LOT; ++k) {
      const int i = first + k;
      if (i < count && (i == 0 || groups[i] != groups[i - 1])) heads |= 1u << k;
    }
    int all;
    int next = found + count_before(__popc(heads), sums, &all);
    for (int k = 0; k < LOT && first + k < count; ++k) {
      if (heads >> k & 1) starts[next++] = first + k;
      ordinals[first + k] = next - 1;
    }
    found += all;
  }
  if (threadIdx.x == 0) {
    starts[found] = count;
    total[0] = found;
  }
}

// The kept boxes: the first `limit` entries of `order` whose flag is set, then -1; how many there
// are.  One block, LOT flags a thread and round, so that 20000 boxes take three rounds.
extern "C" __global__ void __launch_bounds__(1024)
    nms_compact(const unsigned char* __restrict__ kept, const i64* __restrict__ order, int count,
                int limit, i64* __restrict__ indices, int* __restrict__ total) {
  __shared__ int sums[MOST_WARPS];
  int found = 0;
  for (int begin = 0; begin < count && found < limit; begin += blockDim.x * LOT) {
    const int first = begin + threadIdx.x * LOT;
    u32 flags = 0;
    for (int k = 0; k < LOT; ++k)
      if (first + k < count && kept[first + k]) flags |= 1u << k;
    int all;
    int next = found + count_before(__popc(flags), sums, &all);
    for (int k = 0; k < LOT; ++k)
      if (flags >> k & 1) {
        if (next < limit) indices[next] = order[first + k];
        ++next;
      }
    found += all;
  }
  if (found > limit) found = limit;
  for (int i = found + threadIdx.x; i < limit; i += blockDim.x) indices[i] = -1;
  if (threadIdx.x == 0) total[0] = found;
}
