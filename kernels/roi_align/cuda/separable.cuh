// A slice of one RoI as two small matrix products, out = A F B^T: the body of rungs 3, 4 and 5.
//
// Letters: H W height and width, C channels, PH PW the pooled size, p q a bin.
#pragma once
#include "taps.cuh"

// What a column of the map gives to a row of bins: the sum over the rows that the bins read.
template <class Cells>
__device__ inline void sum_column(const typename Cells::Number* column, int pitch, const Tap* taps,
                                  int count, float (&sum)[Cells::WIDTH]) {
#pragma unroll
  for (int j = 0; j < Cells::WIDTH; ++j) sum[j] = 0;
#pragma unroll 4
  for (int k = 0; k < count; ++k) {
    float cell[Cells::WIDTH];
    Cells::load(column + i64(taps[k].cell) * pitch, cell);
#pragma unroll
    for (int j = 0; j < Cells::WIDTH; ++j) sum[j] += taps[k].weight * cell[j];
  }
}

// Bins q ... end - 1 of one row, for the channels at `image`.
//
// Neighboring bins share their border's two columns of cells; the sums of the last two columns
// stay in registers, so that within a row of bins a cell is read once.
template <class Cells>
__device__ inline void pool_run(const typename Cells::Number* image, int pitch, int channels,
                                const Taps& y, int p, const Taps& x, int q, int end,
                                const Slice& slice, int lane, typename Cells::Number* stage) {
  constexpr int WIDTH = Cells::WIDTH;
  const int2 rows = y.list[p];
  int older_cell = -1, newer_cell = -1;
  float older[WIDTH] = {}, newer[WIDTH] = {}, value[WIDTH];
  for (; q < end; ++q) {
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) value[j] = 0;
    const int2 columns = x.list[q];
    for (int k = 0; k < columns.y; ++k) {
      const Tap tap = x.tap[columns.x + k];
      if (tap.cell != older_cell && tap.cell != newer_cell) {
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) older[j] = newer[j];
        sum_column<Cells>(image + i64(tap.cell) * channels, pitch, y.tap + rows.x, rows.y, newer);
        older_cell = newer_cell, newer_cell = tap.cell;
      }
#pragma unroll
      for (int j = 0; j < WIDTH; ++j)
        value[j] += tap.weight * (tap.cell == newer_cell ? newer[j] : older[j]);
    }
    stage_bin<Cells>(stage, slice, lane, p * slice.bins_x + q, value);
  }
}

// The block's part of shared memory, one after another: the taps of both axes, their lists, the
// output.  plan.py computes its size.
struct Shared {
  Taps y, x;
  unsigned char* stage;
};

__device__ inline Shared divide_shared(unsigned char* memory, const Slice& slice, int most_y,
                                       int most_x) {
  Tap* taps = reinterpret_cast<Tap*>(memory);
  int2* lists = reinterpret_cast<int2*>(taps + most_y + most_x);
  unsigned char* stage = reinterpret_cast<unsigned char*>(lists + slice.rows + slice.bins_x);
  return {{taps, lists}, {taps + most_y, lists + slice.rows}, stage};
}

// All the bins of a slice of RoI blockIdx.x, for the channels from blockIdx.y * lanes * WIDTH on;
// `features` is its level's (N, H, W, C), `out` (R, C, PH, PW).
template <class Cells>
__device__ inline void pool_slice(const typename Cells::Number* features, const Roi& roi,
                                  int channels, const Slice& slice, const Shared& shared,
                                  typename Cells::Number* out) {
  typedef typename Cells::Number Number;
  const int me = threadIdx.x;
  build_taps(roi.rows, slice.row, slice.rows, roi.columns, shared.y, shared.x);
  __syncthreads();
  Number* stage = reinterpret_cast<Number*>(shared.stage);
  const int first = blockIdx.y * slice.lanes * Cells::WIDTH;
  const int lane = me % slice.lanes, channel = first + lane * Cells::WIDTH;
  const int pitch = roi.columns.length * channels;  // fits, cuda.py sees to it
  const Number* image = features + i64(max(roi.image, 0)) * roi.rows.length * pitch + channel;
  const int runs = slice.runs(), groups = blockDim.x / slice.lanes;
  for (int unit = me / slice.lanes; unit < slice.rows * runs && channel < channels;
       unit += groups) {
    const int p = unit / runs, q = unit % runs * slice.run;
    pool_run<Cells>(image, pitch, channels, shared.y, p, shared.x, q,
                    min(q + slice.run, slice.bins_x), slice, lane, stage);
  }
  __syncthreads();
  const int all_bins = roi.rows.bins * slice.bins_x;
  write_slice<Cells>(stage, slice, first, channels, all_bins,
                     out + i64(blockIdx.x) * channels * all_bins);
}
