// RoIAlign, backward, rung 3: a block owns cells of the map, and nobody else adds to them.
//
// Letters: N images, C channels, L levels, H W height and width of a level, R regions of interest,
// P pooled size (PH rows, PW columns), p q a bin, x y a cell.
//
// The sum of A^T G B over the RoIs, turned around: not a RoI looks for its cells, but cells for
// their RoIs.  A block owns TILE x TILE cells of one image and level, for 32 channels; a thread a
// column of them for 4 channels, 64 sums in registers.  The block goes through the list of all
// RoIs, keeps those that reach its tile in the order they came (a vote of each warp, and a sum over
// the warps), and takes a few of these at a time: in shared memory the weights of the tile's rows A
// and columns B and the gradients G, channels last, then
//
//     t = sum over q of B[q, x] G[p, q]    sum[y] += A[p, y] t    for all p that reach the tile
//
// Against atomic additions: one order of summation, so the same bits in every run; every cell is
// written once, channels-first, so there is no filling with zeros before and no transposition
// after; all levels are one launch.  It costs reading the list and, for each tile a RoI reaches, a
// part of its gradient.  What limits it is arithmetic and reads of shared memory, about 150
// instructions a RoI, tile and channel; where hundreds of RoIs lie on one tile, that tile's blocks
// are the last to end.
#include "device.cuh"
#include "sampling.cuh"
#include "levels.cuh"

constexpr int TILE = 16;      // cells, both ways; launch_levels.py knows it too
constexpr int CHANNELS = 32;  // of a block
constexpr int PITCH = 36;     // floats from one bin to the next: four bins lie in different banks
constexpr int WEIGHTS = 20;   // floats from one bin's weights for the tile's cells to the next
constexpr int THREADS = TILE * CHANNELS / 4;

struct Tile {  // what a block owns
  int level, image, y, x;
  bool exists;
};

// Tiles are counted from the last level to the first: the coarse ones, on which most RoIs lie,
// begin first.
__device__ inline Tile find_tile(const Levels<float>& pyramid, int images, i64 index) {
  Tile tile = {0, 0, 0, 0, false};
#pragma unroll
  for (int l = Levels<float>::MOST - 1; l >= 0; --l) {
    const int across = (pyramid.width[l] + TILE - 1) / TILE;
    const int down = (pyramid.height[l] + TILE - 1) / TILE;
    const i64 count = i64(across) * down * images;
    if (!tile.exists && index < count) {
      const int place = int(index % (i64(across) * down)), y = place / across, x = place % across;
      tile = {l, int(index / (i64(across) * down)), y * TILE, x * TILE, true};
    }
    if (!tile.exists) index -= count;
  }
  return tile;
}

// The bins that can reach cells `cell` ... cell + TILE - 1, as first and last: some too many do no
// harm.
__device__ inline bool bins_between(const Axis& a, int cell, int* first, int* last) {
  const float from = cell - 1, to = cell + TILE, size = a.side / a.bins;
  const float low = fminf(a.start, a.start + a.side), high = fmaxf(a.start, a.start + a.side);
  const float slack = 0.01f + 1e-6f * (high - low);  // what rounding can do to the borders
  if (a.samples == 0 || high < from - slack || low > to + slack) return false;
  *first = 0, *last = a.bins - 1;
  if (size == 0) return true;
  const float u = (from - slack - a.start) / size, v = (to + slack - a.start) / size;
  *first = int(fminf(fmaxf(fminf(u, v) - 0.01f, 0), a.bins - 1));
  *last = int(fminf(fmaxf(fmaxf(u, v) + 0.01f, 0), a.bins - 1));
  return true;
}

// What bin p gives to each of the tile's cells along one axis.
__device__ inline void weigh_cells(const Axis& a, int p, int cell, float* weight) {
  for (int k = 0; k < TILE; ++k) weight[k] = 0;
  Range samples = samples_between(a, p, cell - 1, cell + TILE);
  const float share = __fdiv_rn(1, float(a.samples));
  for (i64 i = samples.first; i < samples.end; ++i) {
    const Pair at = sample_position(a, p, i);
    if (!inside(a, at)) continue;
    const Between cells = cells_around(a, at);
    const int near = cells.near - cell, far = cells.far - cell;
    if (near >= 0 && near < TILE) weight[near] += (1 - cells.part) * share;
    if (far >= 0 && far < TILE) weight[far] += cells.part * share;
  }
}

struct Found {  // the RoIs of the list that reach the tile, and which of their bins do
  int roi[THREADS], top[THREADS], bottom[THREADS], left[THREADS], right[THREADS];
  int before[THREADS / 32];
};

struct Input {
  const float* grad;  // (R, C, PH, PW)
  const float* rois;
  const i64* levels;
  i64 count;  // R
  int images, channels, bins_y, bins_x, ratio;
  bool aligned;
  int rows;  // of bins that an entry has
  __device__ Roi roi(i64 r, const Level<float>& level) const {
    return make_roi(rois + 5 * r, images, level.height, level.width, bins_y, bins_x, level.scale,
                    ratio, aligned);
  }
};

// Test RoIs first ... first + THREADS - 1, a thread each; returns how many reach the tile.
__device__ inline int find_rois(const Input& in, i64 first, const Tile& tile,
                                const Level<float>& level, Found& found) {
  const i64 r = first + threadIdx.x;
  const int warp = threadIdx.x / 32;
  int top, bottom, left, right;
  bool reaches = r < in.count && in.levels[r] == tile.level;
  if (reaches) {
    const Roi roi = in.roi(r, level);
    reaches = roi.image == tile.image && bins_between(roi.rows, tile.y, &top, &bottom) &&
              bins_between(roi.columns, tile.x, &left, &right);
  }
  const u32 votes = __ballot_sync(0xffffffffu, reaches);
  if (threadIdx.x % 32 == 0) found.before[warp] = __popc(votes);
  __syncthreads();
  int place = __popc(votes & ((1u << threadIdx.x % 32) - 1)), all = 0;
  for (int w = 0; w < THREADS / 32; ++w) {
    if (w < warp) place += found.before[w];
    all += found.before[w];
  }
  if (reaches) {
    found.roi[place] = int(r);
    found.top[place] = top, found.bottom[place] = bottom;
    found.left[place] = left, found.right[place] = right;
  }
  __syncthreads();
  return all;
}

// What a RoI, or the part of its bins that fits, gives to the tile.
struct Entry {
  int i;            // in `Found`
  int row;          // the first row of bins
  int first, last;  // the rows that reach the tile
  // in shared memory
  float* gradient;  // G (rows, PW, PITCH)
  float* down;      // A (rows, WEIGHTS)
  float* across;    // B (PW, WEIGHTS)
};

// RoI i of the found ones, its rows of bins from `row` on, as the k-th entry in shared memory.
__device__ inline Entry entry_at(const Input& in, const Found& found, int i, int row, int k,
                                 float* memory) {
  const int bins = in.rows * in.bins_x;
  float* gradient = memory + k * (bins * PITCH + (in.rows + in.bins_x) * WEIGHTS);
  float* down = gradient + bins * PITCH;
  const int first = max(found.top[i], row), last = min(found.bottom[i], row + in.rows - 1);
  return {i, row, first, last, gradient, down, down + in.rows * WEIGHTS};
}

// The rows of a gradient (C, PH, PW) that reach the tile, to shared memory with the channels last.
__device__ inline void turn_gradient(const Input& in, const Entry& entry, int roi, int slice) {
  const int all = in.bins_y * in.bins_x, before = entry.row * in.bins_x;
  const float* from = in.grad + (i64(roi) * in.channels + slice) * all;
  for (int c = threadIdx.x / 32; c < CHANNELS; c += THREADS / 32)
    for (int bin = entry.first * in.bins_x + threadIdx.x % 32; bin < (entry.last + 1) * in.bins_x;
         bin += 32)
      entry.gradient[(bin - before) * PITCH + c] =
          slice + c < in.channels ? from[i64(c) * all + bin] : 0;
}

// Found RoIs first ... first + count - 1 to shared memory: gradients, and weights, a thread a bin.
__device__ inline void load_entries(const Input& in, const Tile& tile, const Level<float>& level,
                                    const Found& found, int first, int count, int row, int slice,
                                    float* memory) {
  for (int k = 0; k < count; ++k)
    turn_gradient(in, entry_at(in, found, first + k, row, k, memory), found.roi[first + k], slice);
  const int bins = in.rows + in.bins_x;
  for (int task = threadIdx.x; task < count * bins; task += THREADS) {
    const int k = task / bins, bin = task % bins, i = first + k;
    const Entry entry = entry_at(in, found, i, row, k, memory);
    const Roi roi = in.roi(found.roi[i], level);
    const int p = row + bin, q = bin - in.rows;
    if (bin < in.rows && p >= entry.first && p <= entry.last)
      weigh_cells(roi.rows, p, tile.y, entry.down + bin * WEIGHTS);
    if (bin >= in.rows && q >= found.left[i] && q <= found.right[i])
      weigh_cells(roi.columns, q, tile.x, entry.across + q * WEIGHTS);
  }
}

__device__ inline void add(float4& sum, float weight, const float4& t) {
  if (weight == 0) return;  // not read: a NaN in t is another cell's
  sum.x += weight * t.x, sum.y += weight * t.y;
  sum.z += weight * t.z, sum.w += weight * t.w;
}

// sum += A^T G B of one entry, whose bins left ... right reach the tile's columns.
__device__ inline void add_entry(const Entry& entry, int bins_x, int left, int right,
                                 float4 (&sum)[TILE]) {
  const int x = threadIdx.x % TILE, quad = threadIdx.x / TILE * 4;
  // of these, the ones that reach this thread's column
  while (left <= right && entry.across[left * WEIGHTS + x] == 0) ++left;
  while (left <= right && entry.across[right * WEIGHTS + x] == 0) --right;
  for (int p = entry.first; p <= entry.last; ++p) {
    float4 t = make_float4(0, 0, 0, 0);
    const float* bins = entry.gradient + (p - entry.row) * bins_x * PITCH + quad;
    for (int q = left; q <= right; ++q)
      add(t, entry.across[q * WEIGHTS + x], *reinterpret_cast<const float4*>(bins + q * PITCH));
    const float4* weights = reinterpret_cast<const float4*>(entry.down + (p - entry.row) * WEIGHTS);
#pragma unroll
    for (int y = 0; y < TILE; y += 4) {
      const float4 w = weights[y / 4];
      if (w.x + w.y + w.z + w.w == 0) continue;  // the bin does not reach these rows
      add(sum[y], w.x, t), add(sum[y + 1], w.y, t);
      add(sum[y + 2], w.z, t), add(sum[y + 3], w.w, t);
    }
  }
}

__device__ inline void write_sums(const float4 (&sum)[TILE], const Level<float>& level,
                                  const Tile& tile, int channels) {
  const int x = tile.x + threadIdx.x % TILE, first = blockIdx.y * CHANNELS + threadIdx.x / TILE * 4;
  if (x >= level.width) return;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (first + j >= channels) return;
    float* plane =
        level.map + (i64(tile.image) * channels + first + j) * level.height * level.width;
#pragma unroll
    for (int y = 0; y < TILE; ++y) {
      const float4 v = sum[y];
      if (tile.y + y < level.height)
        plane[i64(tile.y + y) * level.width + x] = j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
    }
  }
}

// `rows` rows of bins of a RoI fit in shared memory, `batch` times.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    roi_align_backward(float* f0, float* f1, float* f2, float* f3, float* f4, float* f5, float* f6,
                       float* f7, int h0, int h1, int h2, int h3, int h4, int h5, int h6, int h7,
                       int w0, int w1, int w2, int w3, int w4, int w5, int w6, int w7, float s0,
                       float s1, float s2, float s3, float s4, float s5, float s6, float s7,
                       const float* grad, const float* rois, const i64* levels, i64 count,
                       int images, int channels, int bins_y, int bins_x, int ratio, bool aligned,
                       int rows, int batch) {
  DYNAMIC_SHARED(float, memory);
  __shared__ Found found;
  const Levels<float> pyramid = {{f0, f1, f2, f3, f4, f5, f6, f7},
                                 {h0, h1, h2, h3, h4, h5, h6, h7},
                                 {w0, w1, w2, w3, w4, w5, w6, w7},
                                 {s0, s1, s2, s3, s4, s5, s6, s7}};
  const Input in = {grad,   rois,   levels, count,   images, channels,
                    bins_y, bins_x, ratio,  aligned, rows};
  const Tile tile = find_tile(pyramid, images, blockIdx.x);
  const Level<float> level = pyramid.at(tile.level);
  const int slice = blockIdx.y * CHANNELS;
  float4 sum[TILE] = {};
  for (i64 start = 0; start < count; start += THREADS) {
    const int all = find_rois(in, start, tile, level, found);
    for (int row = 0; row < bins_y; row += rows)
      for (int i = 0; i < all; i += batch) {
        const int here = min(batch, all - i);
        load_entries(in, tile, level, found, i, here, row, slice, memory);
        __syncthreads();
        for (int k = 0; k < here; ++k)
          add_entry(entry_at(in, found, i + k, row, k, memory), bins_x, found.left[i + k],
                    found.right[i + k], sum);
        __syncthreads();
      }
  }
  write_sums(sum, level, tile, channels);
}
