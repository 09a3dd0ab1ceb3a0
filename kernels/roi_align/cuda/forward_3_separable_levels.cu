// RoIAlign, forward, rung 3, a form: all levels of a feature pyramid in one launch.
//
// Letters: N images, C channels, L levels, H W height and width of a level, R regions of interest,
// P pooled size (PH rows, PW columns).
//
// A block owns a slice of the channels of one RoI, and looks up the level the RoI is cut from:
// which map, how large, at which scale.  With a launch for each level the RoIs of a level must be
// gathered first and its crops put back in order afterwards, which writes and reads the whole
// output once more, and the CPU has to wait for the GPU to say how many there are; and a level of
// few RoIs leaves most of the GPU idle.  It costs 32 arguments: at most 8 levels.
#include "device.cuh"
#include "sampling.cuh"
#include "channels.cuh"
#include "separable.cuh"
#include "levels.cuh"

template <class Cells>
__device__ inline void pool_roi(const Levels<const float>& pyramid, const float* rois,
                                const i64* levels, int images, int channels, int bins_y, int ratio,
                                bool aligned, int most_y, int most_x, Slice slice,
                                unsigned char* memory, float* out) {
  const i64 r = blockIdx.x;
  const Shared shared = divide_shared(memory, slice, most_y, most_x);
  const Level<const float> level = pyramid.at(levels[r]);
  const Roi roi = make_roi(rois + 5 * r, level.exists ? images : 0, level.height, level.width,
                           bins_y, slice.bins_x, level.scale, ratio, aligned);
  slice.row = blockIdx.z * slice.rows;
  slice.rows = min(slice.rows, bins_y - slice.row);
  pool_slice<Cells>(level.map, roi, channels, slice, shared, out);
}

extern "C" __global__ void __launch_bounds__(224, 4)
    roi_align_forward_levels_by_4(const float* f0, const float* f1, const float* f2,
                                  const float* f3, const float* f4, const float* f5,
                                  const float* f6, const float* f7, int h0, int h1, int h2, int h3,
                                  int h4, int h5, int h6, int h7, int w0, int w1, int w2, int w3,
                                  int w4, int w5, int w6, int w7, float s0, float s1, float s2,
                                  float s3, float s4, float s5, float s6, float s7,
                                  const float* rois, const i64* levels, int images, int channels,
                                  int bins_y, int bins_x, int ratio, bool aligned, int lanes,
                                  int rows, int run, int most_y, int most_x, float* out) {
  DYNAMIC_SHARED(unsigned char, memory);
  const Levels<const float> pyramid = {{f0, f1, f2, f3, f4, f5, f6, f7},
                                       {h0, h1, h2, h3, h4, h5, h6, h7},
                                       {w0, w1, w2, w3, w4, w5, w6, w7},
                                       {s0, s1, s2, s3, s4, s5, s6, s7}};
  pool_roi<Float4>(pyramid, rois, levels, images, channels, bins_y, ratio, aligned, most_y, most_x,
                   {lanes, 0, rows, bins_x, run}, memory, out);
}

extern "C" __global__ void __launch_bounds__(224, 4)
    roi_align_forward_levels_by_1(const float* f0, const float* f1, const float* f2,
                                  const float* f3, const float* f4, const float* f5,
                                  const float* f6, const float* f7, int h0, int h1, int h2, int h3,
                                  int h4, int h5, int h6, int h7, int w0, int w1, int w2, int w3,
                                  int w4, int w5, int w6, int w7, float s0, float s1, float s2,
                                  float s3, float s4, float s5, float s6, float s7,
                                  const float* rois, const i64* levels, int images, int channels,
                                  int bins_y, int bins_x, int ratio, bool aligned, int lanes,
                                  int rows, int run, int most_y, int most_x, float* out) {
  DYNAMIC_SHARED(unsigned char, memory);
  const Levels<const float> pyramid = {{f0, f1, f2, f3, f4, f5, f6, f7},
                                       {h0, h1, h2, h3, h4, h5, h6, h7},
                                       {w0, w1, w2, w3, w4, w5, w6, w7},
                                       {s0, s1, s2, s3, s4, s5, s6, s7}};
  pool_roi<Float1>(pyramid, rois, levels, images, channels, bins_y, ratio, aligned, most_y, most_x,
                   {lanes, 0, rows, bins_x, run}, memory, out);
}
