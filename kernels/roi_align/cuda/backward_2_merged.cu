// RoIAlign, backward, rung 2: as rung 1, with merged weights, as the separable forward has them.
//
// Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH
// rows, PW columns).
//
// A block owns a slice of the channels of one RoI.  It first merges the samples of every bin into
// lists of cells and weights, one for each axis, in shared memory, and then adds weight * weight *
// gradient to each cell of a bin, atomically: one addition for each cell and bin instead of four
// for each sample.  A warp adds to 32 channels of a cell, 128 bytes in a row.  It costs a
// transposition of the result, which is channels-last while it is added to.
#include "device.cuh"
#include "sampling.cuh"
#include "channels.cuh"
#include "separable.cuh"

// `out` is (N, H, W, C) and all zeros.  blockIdx.y counts slices of 32 channels, blockIdx.z parts
// of `rows` rows of bins, whose gradients are turned to channels-last in shared memory.
extern "C" __global__ void __launch_bounds__(256)
    roi_align_backward(const float* grad, const float* rois, int images, int channels, int height,
                       int width, int bins_y, int bins_x, float scale, int ratio, bool aligned,
                       int rows, float* out) {
  DYNAMIC_SHARED(unsigned char, memory);
  const i64 r = blockIdx.x;
  Slice slice = {32, 0, rows, bins_x, bins_x};
  const Shared shared =
      divide_shared(memory, slice, most_taps(height, rows), most_taps(width, bins_x));
  float* turned = reinterpret_cast<float*>(shared.stage);  // (bins, 33)
  const Roi roi =
      make_roi(rois + 5 * r, images, height, width, bins_y, bins_x, scale, ratio, aligned);
  if (roi.image < 0) return;
  slice.row = blockIdx.z * rows;
  slice.rows = min(rows, bins_y - slice.row);
  build_taps(roi.rows, slice.row, slice.rows, roi.columns, shared.y, shared.x);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int first = blockIdx.y * 32, count = min(32, channels - first);
  const float* mine = grad + ((r * channels + first) * bins_y + slice.row) * bins_x;
  for (int c = warp; c < count; c += warps)
    for (int bin = lane; bin < slice.bins(); bin += 32)
      turned[bin * 33 + c] = mine[i64(c) * bins_y * bins_x + bin];
  __syncthreads();
  if (lane >= count) return;
  float* image = out + i64(roi.image) * height * width * channels + first + lane;
  for (int bin = warp; bin < slice.bins(); bin += warps) {
    const int p = bin / bins_x, q = bin % bins_x;
    const float value = turned[bin * 33 + lane];
    const int2 rows_read = shared.y.list[p], columns_read = shared.x.list[q];
    const Tap* down = shared.y.tap + rows_read.x;
    const Tap* across = shared.x.tap + columns_read.x;
    for (int i = 0; i < rows_read.y; ++i)
      for (int k = 0; k < columns_read.y; ++k)
        atomicAdd(image + (i64(down[i].cell) * width + across[k].cell) * channels,
                  down[i].weight * across[k].weight * value);
  }
}
