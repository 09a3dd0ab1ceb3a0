// RoIAlign, forward, rung 1: one thread per output, every sample interpolated as the definition reads.
//
// Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH
// rows, PW columns), p q a bin, n samples a bin along an axis.
//
// A thread owns one of the R C PH PW outputs and reads four cells for each of its n x n
// samples.  Threads of a warp are neighbors in q, so they read the same few rows of a feature
// plane, at scattered places: of every 32 bytes that come from memory a thread uses 4.  And every
// channel works out the same positions anew.
#include "device.cuh"
#include "sampling.cuh"
#include "outputs.cuh"

__device__ inline float interpolate(const float* plane, int width, Between y, Between x) {
  const float* above = plane + i64(y.near) * width;
  const float* below = plane + i64(y.far) * width;
  const float top = above[x.near] * (1 - x.part) + above[x.far] * x.part;
  const float bottom = below[x.near] * (1 - x.part) + below[x.far] * x.part;
  return top * (1 - y.part) + bottom * y.part;
}

extern "C" __global__ void roi_align_forward(const float* features, const float* rois, i64 outputs,
                                             int images, int channels, int height, int width,
                                             int bins_y, int bins_x, float scale, int ratio,
                                             bool aligned, bool largest, float* out) {
  const i64 index = global_thread();
  if (index >= outputs) return;
  const Output o = output_at(index, channels, bins_y, bins_x);
  const Roi roi =
      make_roi(rois + 5 * o.roi, images, height, width, bins_y, bins_x, scale, ratio, aligned);
  out[index] = 0;
  if (roi.image < 0) return;
  const float* plane = features + (i64(roi.image) * channels + o.channel) * height * width;
  const Range ys = samples_inside(roi.rows, o.p), xs = samples_inside(roi.columns, o.q);
  const i64 count_y = ys.end - ys.first, count_x = xs.end - xs.first;
  const bool some_outside = count_y < roi.rows.samples || count_x < roi.columns.samples;
  float sum = 0, most = some_outside ? 0 : -__int_as_float(0x7f800000);  // outside counts as 0
  for (i64 i = ys.first; i < ys.end; ++i) {
    const Between y = cells_around(roi.rows, sample_position(roi.rows, o.p, i));
    for (i64 j = xs.first; j < xs.end; ++j) {
      const Between x = cells_around(roi.columns, sample_position(roi.columns, o.q, j));
      const float value = interpolate(plane, width, y, x);
      sum += value;
      if (value > most || value != value) most = value;  // a NaN stays: nothing is greater than it
    }
  }
  out[index] = largest ? most : sum / (float(roi.rows.samples) * float(roi.columns.samples));
}
