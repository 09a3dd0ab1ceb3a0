// RoIAlign, backward, rung 1: one thread an output's gradient, added wherever it was read from.
//
// Letters: N images, C channels, H W height and width, R regions of interest, P pooled size (PH
// rows, PW columns).
//
// A thread owns one gradient of an output and adds its share to the four cells of every sample.
// Boxes overlap, so the additions are atomic, and their order, hence the last bits of the sums, is
// different in every run.  The result must be filled with zeros before.
#include "device.cuh"
#include "sampling.cuh"
#include "outputs.cuh"

extern "C" __global__ void roi_align_backward(const float* grad, const float* rois, i64 outputs,
                                              int images, int channels, int height, int width,
                                              int bins_y, int bins_x, float scale, int ratio,
                                              bool aligned, float* out) {
  const i64 index = global_thread();
  if (index >= outputs) return;
  const Output o = output_at(index, channels, bins_y, bins_x);
  const Roi roi =
      make_roi(rois + 5 * o.roi, images, height, width, bins_y, bins_x, scale, ratio, aligned);
  if (roi.image < 0) return;
  float* plane = out + (i64(roi.image) * channels + o.channel) * height * width;
  const Range ys = samples_inside(roi.rows, o.p), xs = samples_inside(roi.columns, o.q);
  const float share = grad[index] / (float(roi.rows.samples) * float(roi.columns.samples));
  for (i64 i = ys.first; i < ys.end; ++i) {
    const Between y = cells_around(roi.rows, sample_position(roi.rows, o.p, i));
    float* above = plane + i64(y.near) * width;
    float* below = plane + i64(y.far) * width;
    for (i64 j = xs.first; j < xs.end; ++j) {
      const Between x = cells_around(roi.columns, sample_position(roi.columns, o.q, j));
      atomicAdd(above + x.near, share * (1 - y.part) * (1 - x.part));
      atomicAdd(above + x.far, share * (1 - y.part) * x.part);
      atomicAdd(below + x.near, share * y.part * (1 - x.part));
      atomicAdd(below + x.far, share * y.part * x.part);
    }
  }
}
