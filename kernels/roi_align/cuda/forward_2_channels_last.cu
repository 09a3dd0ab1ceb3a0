// RoIAlign, forward, rung 2: as rung 1, but with the channels of a cell side by side in memory.
//
// Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH
// rows, PW columns), p q a bin, n samples a bin along an axis.
//
// A block owns a slice of the channels of one RoI; a group of threads makes a bin, four channels a
// thread.  The cells of a sample are then read in whole lines of 128 bytes, of which every byte is
// used, and a position is worked out once for a group instead of once a channel.
//
// It costs a transposition where the features come channels-first (kernel `roi_align_transpose`, a read and a
// write of the whole map), and a detour of the output, which is channels-first, through shared
// memory. What limits it: a bin reads 4 n n cells, and neighboring samples read the same ones.
#include "device.cuh"
#include "sampling.cuh"
#include "channels.cuh"

template <class Cells>
__device__ inline void read_cell(const float* row, int x, int channels, float weight,
                                 float (&sum)[Cells::WIDTH]) {
  float cell[Cells::WIDTH];
  Cells::load(row + i64(x) * channels, cell);
#pragma unroll
  for (int j = 0; j < Cells::WIDTH; ++j) sum[j] += weight * cell[j];
}

// One bin, from `image` (H, W, C) at the thread's first channel.
template <class Cells>
__device__ inline void pool_bin(const float* image, const Roi& roi, int p, int q, int channels,
                                bool largest, float (&result)[Cells::WIDTH]) {
  constexpr int WIDTH = Cells::WIDTH;
  const Range ys = samples_inside(roi.rows, p), xs = samples_inside(roi.columns, q);
  const bool some_outside =
      ys.end - ys.first < roi.rows.samples || xs.end - xs.first < roi.columns.samples;
  const float share = 1 / (float(roi.rows.samples) * float(roi.columns.samples));
  const float start = largest && !some_outside ? -__int_as_float(0x7f800000) : 0;
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) result[j] = start;
  for (i64 i = ys.first; i < ys.end; ++i) {
    const Between y = cells_around(roi.rows, sample_position(roi.rows, p, i));
    const float* above = image + i64(y.near) * roi.columns.length * channels;
    const float* below = image + i64(y.far) * roi.columns.length * channels;
    for (i64 k = xs.first; k < xs.end; ++k) {
      const Between x = cells_around(roi.columns, sample_position(roi.columns, q, k));
      float value[WIDTH] = {};
      read_cell<Cells>(above, x.near, channels, (1 - y.part) * (1 - x.part), value);
      read_cell<Cells>(above, x.far, channels, (1 - y.part) * x.part, value);
      read_cell<Cells>(below, x.near, channels, y.part * (1 - x.part), value);
      read_cell<Cells>(below, x.far, channels, y.part * x.part, value);
#pragma unroll
      for (int j = 0; j < WIDTH; ++j) {
        if (!largest) result[j] += value[j] * share;
        else if (value[j] > result[j] || value[j] != value[j]) result[j] = value[j];
      }
    }
  }
}

template <class Cells>
__device__ inline void pool_slice(const float* features, const float* rois, int images,
                                  int channels, int height, int width, int bins_y, float scale,
                                  int ratio, bool aligned, bool largest, Slice slice, float* stage,
                                  float* out) {
  slice.row = blockIdx.z * slice.rows;
  slice.rows = min(slice.rows, bins_y - slice.row);
  const i64 r = blockIdx.x;
  const Roi roi =
      make_roi(rois + 5 * r, images, height, width, bins_y, slice.bins_x, scale, ratio, aligned);
  const int first = blockIdx.y * slice.lanes * Cells::WIDTH;
  const int lane = threadIdx.x % slice.lanes, group = threadIdx.x / slice.lanes;
  const int groups = blockDim.x / slice.lanes, channel = first + lane * Cells::WIDTH;
  const float* image = features + i64(roi.image) * height * width * channels + channel;
  for (int unit = group; unit < slice.rows * slice.runs() && channel < channels; unit += groups) {
    const int p = unit / slice.runs(), q = unit % slice.runs() * slice.run;
    for (int k = q; k < min(q + slice.run, slice.bins_x); ++k) {
      float value[Cells::WIDTH] = {};
      if (roi.image >= 0) pool_bin<Cells>(image, roi, slice.row + p, k, channels, largest, value);
      stage_bin<Cells>(stage, slice, lane, p * slice.bins_x + k, value);
    }
  }
  __syncthreads();
  const int all = bins_y * slice.bins_x;
  write_slice<Cells>(stage, slice, first, channels, all, out + r * channels * all);
}

extern "C" __global__ void __launch_bounds__(224, 2)
    roi_align_forward_by_4(const float* features, const float* rois, int images, int channels,
                           int height, int width, int bins_y, int bins_x, float scale, int ratio,
                           bool aligned, bool largest, int lanes, int rows, int run, float* out) {
  DYNAMIC_SHARED(float, stage);
  pool_slice<Float4>(features, rois, images, channels, height, width, bins_y, scale, ratio, aligned,
                     largest, {lanes, 0, rows, bins_x, run}, stage, out);
}

extern "C" __global__ void __launch_bounds__(224, 2)
    roi_align_forward_by_1(const float* features, const float* rois, int images, int channels,
                           int height, int width, int bins_y, int bins_x, float scale, int ratio,
                           bool aligned, bool largest, int lanes, int rows, int run, float* out) {
  DYNAMIC_SHARED(float, stage);
  pool_slice<Float1>(features, rois, images, channels, height, width, bins_y, scale, ratio, aligned,
                     largest, {lanes, 0, rows, bins_x, run}, stage, out);
}

// (batch, rows, columns) -> (batch, columns, rows)
extern "C" __global__ void __launch_bounds__(256)
    roi_align_transpose(const float* in, int rows, int columns, float* out) {
  __shared__ float tile[32][33];
  turn(in, rows, columns, tile, out);
}
