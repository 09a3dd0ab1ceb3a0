// RoIPool, forward, rung 1: one thread an output value.
//
// Letters: N images, C channels, H W height and width, R regions of interest (RoIs), P pooled size
// (PH rows, PW columns).
//
// Every thread works out its bin's borders anew, with four divisions of 64-bit integers,
// and reads the bin cell by cell.  Neighbors in a warp have neighboring bins, so that one load of
// a warp gathers from several rows, at steps of a bin's width.  Writes are contiguous.  Expected
// limit: requests to the cache, and the divisions where bins are small.
#include "bins.cuh"

extern "C" __global__ void __launch_bounds__(256)
    roi_pool_forward(const float* features, const float* rois, int images, int channels, int height,
                     int width, int pixels, i64 outputs, int pooled_height, int pooled_width,
                     float scale, float* out, int* argmax) {
  const i64 t = global_thread();
  if (t >= outputs) return;
  const int q = int(t % pooled_width), p = int(t / pooled_width % pooled_height);
  const i64 crop = t / pooled_width / pooled_height;  // r * channels + c
  const i64 r = crop / channels;
  const Roi roi = load_roi(rois + 5 * r, scale, images);
  int2 rows = make_int2(0, 0), columns = make_int2(0, 0);
  if (roi.image >= 0) {
    rows = bin_cells(roi.y0, roi.y1, p, pooled_height, height);
    columns = bin_cells(roi.x0, roi.x1, q, pooled_width, width);
  }
  const i64 plane = i64(max(roi.image, 0)) * channels + (crop - r * channels);
  pool_bin(features + plane * pixels, width, rows, columns, out + t, argmax + t);
}
