// Channels-last blocks: what the rungs from 2 on share.
//
// Features lie as (N, H, W, C) in memory.  A group of LANES threads works on one cell at a time,
// each on the WIDTH channels of one load, so that a warp reads 512 bytes in a row.  A block makes a
// slice of LANES * WIDTH channels of a RoI's bins (or of some rows of bins).  The output has its
// channels first; it is gathered in shared memory and leaves as whole rows of bins.
#pragma once

struct Slice {    // of a RoI's output (C, PH, PW), the part one block makes
  int lanes;      // threads that share a cell
  int row, rows;  // the rows of bins
  int bins_x;     // PW
  int run;        // bins of a row that one group of threads makes, one after another
  __device__ int bins() const { return rows * bins_x; }
  __device__ int runs() const { return (bins_x + run - 1) / run; }  // in a row
};

// What a thread reads of a cell, WIDTH channels at once, and the type they are stored in.
struct Float4 {
  typedef float Number;
  static constexpr int WIDTH = 4;
  __device__ static void load(const float* at, float (&v)[4]) {
    const float4 four = *reinterpret_cast<const float4*>(at);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  }
  __device__ static float store(float v) { return v; }
};

struct Float1 {  // for a number of channels that is no multiple of 4
  typedef float Number;
  static constexpr int WIDTH = 1;
  __device__ static void load(const float* at, float (&v)[1]) { v[0] = *at; }
  __device__ static float store(float v) { return v; }
};

// A thread's channels of a bin lie `bins` apart in the staging area; the odd distance between the
// threads of a group keeps them out of each other's banks.
template <class Cells>
__device__ inline int stage_stride(const Slice& slice) {
  return Cells::WIDTH * slice.bins() | 1;
}

template <class Cells>
__device__ inline void stage_bin(typename Cells::Number* stage, const Slice& slice, int lane,
                                 int bin, const float (&value)[Cells::WIDTH]) {
  typename Cells::Number* mine = stage + lane * stage_stride<Cells>(slice) + bin;
#pragma unroll
  for (int j = 0; j < Cells::WIDTH; ++j) mine[j * slice.bins()] = Cells::store(value[j]);
}

// Write the staged slice to `out` (C, PH, PW) of the RoI, a warp for each channel.
template <class Cells>
__device__ inline void write_slice(const typename Cells::Number* stage, const Slice& slice,
                                   int channel, int channels, int all_bins,
                                   typename Cells::Number* out) {
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  const int count = min(slice.lanes * Cells::WIDTH, channels - channel);
  const typename Cells::Number* row;
  for (int c = threadIdx.x / 32; c < count; c += warps) {
    row = stage + c / Cells::WIDTH * stage_stride<Cells>(slice) + c % Cells::WIDTH * slice.bins();
    typename Cells::Number* to = out + i64(channel + c) * all_bins + slice.row * slice.bins_x;
    for (int bin = lane; bin < slice.bins(); bin += 32) to[bin] = row[bin];
  }
}

// (rows, columns) -> (columns, rows), for each z of the grid: a block of 32 x 8 threads turns a
// tile of 32 x 32 in shared memory, so that it is read and written along the rows.
template <class Number>
__device__ inline void turn(const Number* in, int rows, int columns, Number (*tile)[33],
                            Number* out) {
  const i64 plane = i64(blockIdx.z) * rows * columns;
  const int x = blockIdx.x * 32, y = blockIdx.y * 32;
  for (int j = threadIdx.y; j < 32; j += 8)
    if (y + j < rows && x + int(threadIdx.x) < columns)
      tile[j][threadIdx.x] = in[plane + i64(y + j) * columns + x + threadIdx.x];
  __syncthreads();
  for (int j = threadIdx.y; j < 32; j += 8)
    if (x + j < columns && y + int(threadIdx.x) < rows)
      out[plane + i64(x + j) * rows + y + threadIdx.x] = tile[threadIdx.x][j];
}
