// RoIPool, forward, rung 2: a block owns one RoI and a slice of channels, and pools columns first.
//
// Letters: C channels, R regions of interest (RoIs), P pooled size (PH rows, PW columns).  A strip
// is one row of bins in one channel, over all columns of the RoI.
//
// Against rung 1: the borders of the bins are worked out once a block, by PH + PW threads, and kept
// in shared memory.  A maximum is separable: one thread first takes the largest value of one column
// of a strip, so that threads of a warp read neighbors in a row, and a cell once, however many bins
// share its column.  Then one thread a bin takes the largest of its columns, in shared memory, and
// threads write side by side.  Of equal values the one with the smaller place wins, which is the
// first, row by row.  It costs two barriers for every `capacity` columns.
//
// Expected limit: the rate of the L2 cache for large RoIs, writing 8 bytes a bin for small ones.
#include "bins.cuh"

// n / divisor without a division, for n * divisor < 2^31; reciprocal = 2^31 / divisor + 1.
__device__ inline int quotient(int n, u32 reciprocal) { return int(u64(n) * reciprocal >> 31); }

__device__ inline u32 reciprocal_of(int divisor) { return (1u << 31) / u32(divisor) + 1; }

// The borders of all bins along an axis, a thread a bin; the first `taken` threads are busy.
__device__ inline void find_bins(int low, int high, int count, int length, int taken, int2* bins) {
  for (int k = int(threadIdx.x) - taken; k < count; k += blockDim.x)
    if (k >= 0) bins[k] = bin_cells(low, high, k, count, length);
}

// The largest value of rows top to bottom of one column, and its place in the plane.
__device__ inline void pool_column(const float* plane, int width, int2 rows, int column,
                                   float* largest, int* place) {
  const float* cell = plane + rows.x * width + column;
  float best = *cell;
  int winner = rows.x;
#pragma unroll 4
  for (int y = rows.x + 1; y < rows.y; ++y) {
    cell += width;
    const float value = *cell;
    const bool better = wins(value, best);
    best = better ? value : best;
    winner = better ? y : winner;
  }
  *largest = best;
  *place = winner * width + column;
}

// Of the columns begin to end of a strip, the largest value and its place.
__device__ inline void pool_across(const float* best, const int* place, int begin, int end,
                                   float* largest, int* winner) {
  float held = best[begin];
  int where = place[begin];
  for (int x = begin + 1; x < end; ++x) {
    const float value = best[x];
    const bool equal = value == held || (value != value && held != held);
    const bool better = wins(value, held) || (equal && place[x] < where);
    held = better ? value : held;
    where = better ? place[x] : where;
  }
  *largest = held;
  *winner = where;
}

extern "C" __global__ void __launch_bounds__(256)
    roi_pool_forward(const float* __restrict__ features, const float* __restrict__ rois, int images,
                     int channels, int height, int width, int pixels, int pooled_height,
                     int pooled_width, float scale, int slice, int slices, int capacity, float* out,
                     int* argmax) {
  DYNAMIC_SHARED(int2, rows);         // PH pairs: begin and end of every bin's rows
  int2* columns = rows + pooled_height;  // PW pairs
  float* best = reinterpret_cast<float*>(columns + pooled_width);  // `capacity` of them
  int* place = reinterpret_cast<int*>(best + capacity);            // likewise; -1: no cell
  const int r = blockIdx.x / slices, first_channel = (blockIdx.x - r * slices) * slice;
  const int strips = min(slice, channels - first_channel) * pooled_height;
  const Roi roi = load_roi(rois + 5 * i64(r), scale, images);
  if (roi.image < 0) {
    for (int k = threadIdx.x; k < pooled_height + pooled_width; k += blockDim.x)
      rows[k] = make_int2(0, 0);
  } else {
    find_bins(roi.y0, roi.y1, pooled_height, height, 0, rows);
    find_bins(roi.x0, roi.x1, pooled_width, width, pooled_height, columns);
  }
  __syncthreads();
  const int left = columns[0].x, wide = columns[pooled_width - 1].y - left;
  const int at_once = wide < 1 ? strips : capacity / wide;  // strips that fit shared memory
  const u32 by_wide = reciprocal_of(max(wide, 1)), by_rows = reciprocal_of(pooled_height);
  const u32 by_columns = reciprocal_of(pooled_width);
  const float* planes = features + (i64(max(roi.image, 0)) * channels + first_channel) * pixels;
  const i64 start = (i64(r) * channels + first_channel) * pooled_height * pooled_width;
  for (int first = 0; first < strips; first += max(at_once, 1)) {
    const int count = min(max(at_once, 1), strips - first);
    for (int t = threadIdx.x; at_once && t < count * wide; t += blockDim.x) {
      const int strip = quotient(t, by_wide), x = t - strip * wide;
      const int channel = quotient(first + strip, by_rows);
      const int2 own = rows[first + strip - channel * pooled_height];
      place[t] = -1;
      if (own.x < own.y)
        pool_column(planes + i64(channel) * pixels, width, own, left + x, best + t, place + t);
    }
    __syncthreads();
    for (int t = threadIdx.x; t < count * pooled_width; t += blockDim.x) {
      const int strip = quotient(t, by_columns);
      const int2 own = columns[t - strip * pooled_width];
      const int begin = strip * wide + own.x - left, end = strip * wide + own.y - left;
      float largest = 0;
      int winner = -1;
      if (!at_once) {  // a map too wide for shared memory: as in rung 1
        const int channel = quotient(first + strip, by_rows);
        pool_bin(planes + i64(channel) * pixels, width,
                 rows[first + strip - channel * pooled_height], own, &largest, &winner);
      } else if (begin < end && place[begin] >= 0) {
        pool_across(best, place, begin, end, &largest, &winner);
      }
      const i64 target = start + i64(first) * pooled_width + t;
      out[target] = largest;
      argmax[target] = winner;
    }
    __syncthreads();
  }
}
