// Merged taps: for every bin of a RoI and each axis, which cells it reads and what each weighs.
//
// Interpolation treats rows and columns apart, and so does the mean over a grid of samples, hence
// out = A F B^T.  Samples of a bin that lie between the same cells share them; merged, a bin of
// 2 x 2 samples reads 6 cells instead of 16 on random boxes.  A bin's list is one thread's work.
#pragma once

struct Tap {
  int cell;
  float weight;
};

struct Taps {  // of some bins along one axis; in shared memory
  Tap* tap;
  int2* list;  // of each bin: where its taps begin, and how many there are
};

// The lists of all bins lie in one array, and nobody waits to know how long the others are: bins
// follow one another along the axis, so a list may begin at the cell its bin begins at, and a few
// slots farther for each bin before, since neighbors share their last cells.
__device__ inline int cell_at_edge(const Axis& a, int p) {
  return cells_around(a, position(a, 2 * i64(a.samples) * p)).near;
}

// Slots a bin has beyond the cells from its first edge to its last, and so the slots of all bins:
// this many for each, and one for each cell of the map.  plan.py knows these numbers too.
constexpr int SPARE_TAPS = 6;
__device__ inline int most_taps(int length, int bins) { return length + SPARE_TAPS * bins; }

// The taps of bin p, into `room` slots; returns how many.
//
// Samples are taken so that cells ascend: a sample then adds to the two last cells, or goes on to
// new ones.  A cell that is read with weight 0 stays in the list: a NaN in it counts, as it does in
// the reference.
__device__ inline int merge_taps(const Axis& a, int p, Tap* taps, int room) {
  const Range samples = samples_inside(a, p);
  const float share = __fdiv_rn(1, float(a.samples));
  int count = 0, near = -1;
  float weight_near = 0, weight_far = 0;
  for (i64 k = samples.first; k < samples.end && count + 4 <= room; ++k) {
    const i64 i = a.side >= 0 ? k : samples.first + samples.end - 1 - k;
    const Between at = cells_around(a, sample_position(a, p, i));
    if (at.near > near) {
      if (near >= 0) taps[count++] = {near, weight_near};
      if (near >= 0 && at.near > near + 1) taps[count++] = {near + 1, weight_far};
      weight_near = near >= 0 && at.near == near + 1 ? weight_far : 0;
      weight_far = 0;
      near = at.near;
    }
    weight_near += (1 - at.part) * share;
    weight_far += at.part * share;
  }
  if (near >= 0) taps[count++] = {near, weight_near};
  if (near >= 0 && near + 1 < a.length) taps[count++] = {near + 1, weight_far};
  return count;
}

// The taps of `row_count` rows of bins from `first` on, and of all columns of bins, by the block.
__device__ inline void build_taps(const Axis& rows, int first, int row_count, const Axis& columns,
                                  const Taps& y, const Taps& x) {
  const int tasks = row_count + columns.bins;
  for (int task = threadIdx.x; task < tasks; task += blockDim.x) {
    const bool is_row = task < row_count;
    const Axis a = is_row ? rows : columns;
    // member by member: a choice between references would put both into memory
    const Taps taps = {is_row ? y.tap : x.tap, is_row ? y.list : x.list};
    const int b = is_row ? task : task - row_count, p = is_row ? first + b : b;
    const int bins = is_row ? row_count : columns.bins;
    taps.list[b] = make_int2(0, 0);
    if (a.samples == 0) continue;
    const bool ascends = a.side >= 0;
    const int low = cell_at_edge(a, ascends ? p : p + 1);
    const int high = cell_at_edge(a, ascends ? p + 1 : p);
    const int slot = low + SPARE_TAPS * (ascends ? b : bins - 1 - b);
    const int room = max(high - low, 0) + SPARE_TAPS;
    taps.list[b] = make_int2(slot, merge_taps(a, p, taps.tap + slot, room));
  }
}
