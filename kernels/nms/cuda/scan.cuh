// Which boxes are kept, from the words of a mask: the scan of rungs 3 and 4.
//
// The words of a mask here: box j of tile c and tile t <= c have one word at
// ((c * (c + 1) / 2 + t) * 64 + j % 64).  Bit k says that box k of tile t suppresses box j and comes
// before it.  All that concerns tile c is one contiguous stretch, read side by side.
#pragma once

__device__ inline i64 words_of(int tile) { return i64(tile) * (tile + 1) / 2 * TILE; }

// One bit a row of a tile, of which each lane of a warp holds rows `lane` and `lane` + 32.
__device__ inline u64 ballot64(bool low, bool high) {
  const u32 a = __ballot_sync(0xffffffffu, low), b = __ballot_sync(0xffffffffu, high);
  return u64(b) << 32 | a;
}

// Which of the boxes `open` of a tile are kept.  `low` and `high`: which boxes of the tile come
// before rows `lane` and `lane` + 32 and suppress them.  One warp.
//
// In each round a box is kept if nothing that is kept or still open suppresses it, and gone if
// something kept does.  The first open box is always decided, so that it ends; a round decides all
// boxes whose suppressors are decided, so that the rounds are as many as the longest chain of boxes
// that overlap one another is long, and most often two or three.
__device__ inline u64 resolve(u64 open, u64 low, u64 high) {
  const int lane = threadIdx.x % 32;
  u64 keep = 0;
  while (open) {
    const u64 in = ballot64(!(low & (keep | open)), !(high & (keep | open))) & open;
    keep |= in;
    const u64 out = ballot64((low & keep) != 0, (high & keep) != 0);
    open &= ~(in | out);
  }
  return keep;
}

// The scan of the boxes from `start` to `stop` - 1, which suppress only each other.  All threads of
// the block, at least two warps.  `kept_words`: shared, a word for each tile these boxes lie in;
// `gone`: shared, two words.  `keep(i, flag)` is called once for each box until `limit` are kept.
//
// In one step warp 0 resolves tile c.  The other warps meanwhile read what suppresses the boxes of
// tile c + 1, as far as it lies in tiles before c; what lies in c itself warp 0 adds, as it holds
// the answer in a register.  So one barrier serves 64 boxes, and nothing read from memory waits for
// a decision: the words are read whatever is kept, and masked afterwards.
template <class Keep>
__device__ inline void scan(const u64* mask, int start, int stop, int limit, u64* kept_words,
                            u64* gone, Keep keep) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int first = start / TILE, last = (stop - 1) / TILE;
  if (threadIdx.x < 2) gone[threadIdx.x] = 0;
  __syncthreads();
  u64 previous = 0;                                      // what is kept of the tile before
  u64 beside_low = 0, beside_high = 0;                   // words about the tile before
  u64 own_low = 0, own_high = 0;                         // and about the tile itself
  if (warp == 0) {
    const u64* words = mask + words_of(first) + i64(first) * TILE;
    own_low = words[lane], own_high = words[lane + 32];
  }
  int total = 0;
  for (int c = first; c <= last; ++c) {
    const u64* next = mask + words_of(c + 1);
    if (warp == 0) {
      const u64 a = beside_low & previous, b = beside_high & previous, lows = own_low;
      const u64 highs = own_high;
      if (c < last) {  // for the next step, so that they arrive during this one
        beside_low = next[i64(c) * TILE + lane], beside_high = next[i64(c) * TILE + lane + 32];
        own_low = next[i64(c + 1) * TILE + lane], own_high = next[i64(c + 1) * TILE + lane + 32];
      }
      const int i = c * TILE + lane;
      const u64 lost = gone[c & 1];
      const u64 open = ballot64(i >= start && i < stop && !a, i + 32 >= start && i + 32 < stop && !b);
      previous = resolve(open & ~lost, lows, highs);
      total += __popcll(previous);
      if (i >= start && i < stop) keep(i, previous >> lane & 1);
      if (i + 32 >= start && i + 32 < stop) keep(i + 32, previous >> (lane + 32) & 1);
      __syncwarp();  // all lanes have read it
      if (lane == 0) {
        gone[c & 1] = 0;
        kept_words[c - first] = previous;
      }
    } else if (c < last) {
      u64 low = 0, high = 0;
#pragma unroll 4
      for (int t = first + warp - 1; t < c; t += warps - 1) {
        const u64 there = kept_words[t - first];
        low |= next[i64(t) * TILE + lane] & there;
        high |= next[i64(t) * TILE + lane + 32] & there;
      }
      const u64 lost = ballot64(low != 0, high != 0);
      if (lane == 0 && lost) atomicOr(&gone[(c + 1) & 1], lost);
    }
    if (__syncthreads_or(total >= limit)) return;
  }
}
