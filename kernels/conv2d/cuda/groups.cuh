// What the kernels made for groups share: a tile of pixels a block, a few channels a thread.
//
// Letters: as in geometry.cuh.
#pragma once

// The 256 threads of a block on a tile of `width` columns, 8, 16 or 32: a thread owns one
// column, and PIXELS rows of it, `apart` rows from each other.
template <int PIXELS>
struct Tile {
  int width, apart, top, left, row, column;

  // Tile number `number` of an image of `columns` columns.
  __device__ Tile(int number, int columns, int width)
      : width(width),
        apart(256 / width),
        top(number / ((columns + width - 1) / width) * (256 / width * PIXELS)),
        left(number % ((columns + width - 1) / width) * width),
        row(threadIdx.x / width),
        column(threadIdx.x % width) {}

  __device__ int height() const { return apart * PIXELS; }
};

// Copy a rectangle of some planes of an image, zeros where it reaches beyond: [count][rows][columns].
__device__ inline void copy_patch(const float* planes, int count, int height, int width, int top,
                                  int left, int rows, int columns, float* patch) {
  const int area = rows * columns;
  for (int i = threadIdx.x; i < count * area; i += 256) {
    const int y = top + i % area / columns, x = left + i % columns;
    const bool inside = y >= 0 && y < height && x >= 0 && x < width;
    patch[i] = inside ? planes[(i64(i / area) * height + y) * width + x] : 0;
  }
}

// sum[a][b] += weights[a] * values[b], weights side by side in shared memory.
template <int CHANNELS, int PIXELS>
__device__ inline void add_products(const float* weights, const float (&values)[PIXELS],
                                    float (&sum)[CHANNELS][PIXELS]) {
#pragma unroll
  for (int a = 0; a < CHANNELS; ++a) {
    const float w = weights[a];  // one number for all threads: one read
#pragma unroll
    for (int b = 0; b < PIXELS; ++b) sum[a][b] += w * values[b];
  }
}
