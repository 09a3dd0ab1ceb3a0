// RoIAlign, forward, rung 3: as rung 2, but every bin reads a cell once: out = A F B^T.
//
// Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH
// rows, PW columns), p q a bin.
//
// For the mean: a block owns a slice of the channels of one RoI.  It first merges the samples of
// every bin into lists of cells and weights, one for each axis, in shared memory: a thread a bin,
// some 1000 cycles once, against what was done anew for every bin and sample.  Then a group of
// threads goes along a row of bins, adds up columns of cells with the weights of the rows, and the
// columns with theirs.  A bin of 3 x 3 samples reads about 16 cells instead of 36, and the columns
// that two bins share only once.  What limits it is reading the cells: from memory once, then from
// the caches, where the rows that two rows of bins share are found again.
#include "device.cuh"
#include "sampling.cuh"
#include "channels.cuh"
#include "separable.cuh"

template <class Cells>
__device__ inline void pool_roi(const float* features, const float* rois, int images, int channels,
                                int height, int width, int bins_y, float scale, int ratio,
                                bool aligned, Slice slice, unsigned char* memory, float* out) {
  const i64 r = blockIdx.x;
  const Shared shared =
      divide_shared(memory, slice, most_taps(height, slice.rows), most_taps(width, slice.bins_x));
  const Roi roi =
      make_roi(rois + 5 * r, images, height, width, bins_y, slice.bins_x, scale, ratio, aligned);
  slice.row = blockIdx.z * slice.rows;
  slice.rows = min(slice.rows, bins_y - slice.row);
  pool_slice<Cells>(features, roi, channels, slice, shared, out);
}

extern "C" __global__ void __launch_bounds__(224, 4)
    roi_align_forward_by_4(const float* features, const float* rois, int images, int channels,
                           int height, int width, int bins_y, int bins_x, float scale, int ratio,
                           bool aligned, int lanes, int rows, int run, float* out) {
  DYNAMIC_SHARED(unsigned char, memory);
  pool_roi<Float4>(features, rois, images, channels, height, width, bins_y, scale, ratio, aligned,
                   {lanes, 0, rows, bins_x, run}, memory, out);
}

extern "C" __global__ void __launch_bounds__(224, 4)
    roi_align_forward_by_1(const float* features, const float* rois, int images, int channels,
                           int height, int width, int bins_y, int bins_x, float scale, int ratio,
                           bool aligned, int lanes, int rows, int run, float* out) {
  DYNAMIC_SHARED(unsigned char, memory);
  pool_roi<Float1>(features, rois, images, channels, height, width, bins_y, scale, ratio, aligned,
                   {lanes, 0, rows, bins_x, run}, memory, out);
}
