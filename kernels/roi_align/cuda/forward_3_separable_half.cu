// RoIAlign, forward, rung 3, a form: features and output in float16, sums in float32.
//
// Letters: N images, C channels, L levels, H W height and width of a level, R regions of interest,
// P pooled size (PH rows, PW columns).
//
// The kernel waits for memory, not for arithmetic; half the bytes a number is half of that.  A load
// of 16 bytes now brings 8 channels, a warp reads 256 channels of a cell.  Positions, weights and
// sums stay float32: what is lost is the rounding of the result to 11 bits.
#include "device.cuh"
#include "half.cuh"
#include "sampling.cuh"
#include "channels.cuh"
#include "separable.cuh"
#include "levels.cuh"

struct Half8 {
  typedef half Number;
  static constexpr int WIDTH = 8;
  __device__ static void load(const half* at, float (&v)[8]) {
    const uint4 all = *reinterpret_cast<const uint4*>(at);
    const u32 pairs[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      v[2 * j] = to_float({static_cast<unsigned short>(pairs[j])});
      v[2 * j + 1] = to_float({static_cast<unsigned short>(pairs[j] >> 16)});
    }
  }
  __device__ static half store(float v) { return to_half(v); }
};

struct Half1 {
  typedef half Number;
  static constexpr int WIDTH = 1;
  __device__ static void load(const half* at, float (&v)[1]) { v[0] = to_float(*at); }
  __device__ static half store(float v) { return to_half(v); }
};

template <class Cells>
__device__ inline void pool_roi(const Levels<const half>& pyramid, const float* rois,
                                const i64* levels, int images, int channels, int bins_y, int ratio,
                                bool aligned, int most_y, int most_x, Slice slice,
                                unsigned char* memory, half* out) {
  const i64 r = blockIdx.x;
  const Shared shared = divide_shared(memory, slice, most_y, most_x);
  const Level<const half> level = pyramid.at(levels[r]);
  const Roi roi = make_roi(rois + 5 * r, level.exists ? images : 0, level.height, level.width,
                           bins_y, slice.bins_x, level.scale, ratio, aligned);
  slice.row = blockIdx.z * slice.rows;
  slice.rows = min(slice.rows, bins_y - slice.row);
  pool_slice<Cells>(level.map, roi, channels, slice, shared, out);
}

extern "C" __global__ void __launch_bounds__(224, 2)
    roi_align_forward_half_by_8(const half* f0, const half* f1, const half* f2, const half* f3,
                                const half* f4, const half* f5, const half* f6, const half* f7,
                                int h0, int h1, int h2, int h3, int h4, int h5, int h6, int h7,
                                int w0, int w1, int w2, int w3, int w4, int w5, int w6, int w7,
                                float s0, float s1, float s2, float s3, float s4, float s5,
                                float s6, float s7, const float* rois, const i64* levels,
                                int images, int channels, int bins_y, int bins_x, int ratio,
                                bool aligned, int lanes, int rows, int run, int most_y, int most_x,
                                half* out) {
  DYNAMIC_SHARED(unsigned char, memory);
  const Levels<const half> pyramid = {{f0, f1, f2, f3, f4, f5, f6, f7},
                                      {h0, h1, h2, h3, h4, h5, h6, h7},
                                      {w0, w1, w2, w3, w4, w5, w6, w7},
                                      {s0, s1, s2, s3, s4, s5, s6, s7}};
  pool_roi<Half8>(pyramid, rois, levels, images, channels, bins_y, ratio, aligned, most_y, most_x,
                  {lanes, 0, rows, bins_x, run}, memory, out);
}

extern "C" __global__ void __launch_bounds__(224, 2)
    roi_align_forward_half_by_1(const half* f0, const half* f1, const half* f2, const half* f3,
                                const half* f4, const half* f5, const half* f6, const half* f7,
                                int h0, int h1, int h2, int h3, int h4, int h5, int h6, int h7,
                                int w0, int w1, int w2, int w3, int w4, int w5, int w6, int w7,
                                float s0, float s1, float s2, float s3, float s4, float s5,
                                float s6, float s7, const float* rois, const i64* levels,
                                int images, int channels, int bins_y, int bins_x, int ratio,
                                bool aligned, int lanes, int rows, int run, int most_y, int most_x,
                                half* out) {
  DYNAMIC_SHARED(unsigned char, memory);
  const Levels<const half> pyramid = {{f0, f1, f2, f3, f4, f5, f6, f7},
                                      {h0, h1, h2, h3, h4, h5, h6, h7},
                                      {w0, w1, w2, w3, w4, w5, w6, w7},
                                      {s0, s1, s2, s3, s4, s5, s6, s7}};
  pool_roi<Half1>(pyramid, rois, levels, images, channels, bins_y, ratio, aligned, most_y, most_x,
                  {lanes, 0, rows, bins_x, run}, memory, out);
}

// (batch, rows, columns) -> (batch, columns, rows)
extern "C" __global__ void __launch_bounds__(256)
    roi_align_transpose(const half* in, int rows, int columns, half* out) {
  __shared__ half tile[32][33];
  turn(in, rows, columns, tile, out);
}
