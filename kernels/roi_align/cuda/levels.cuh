// The levels of a feature pyramid as kernel arguments: at most 8, absent ones of height 0.
#pragma once

template <class Number>
struct Level {
  Number* map;
  int height, width;
  float scale;  // cells per unit of the boxes
  bool exists;
};

template <class Number>
struct Levels {
  static constexpr int MOST = 8;
  Number* map[MOST];
  int height[MOST], width[MOST];
  float scale[MOST];

  // Compared one by one: an index that is not known to the compiler would put the arrays, which are
  // kernel arguments, into memory.
  __device__ Level<Number> at(i64 wanted) const {
    Level<Number> found = {map[0], 1, 1, 1, false};
#pragma unroll
    for (int l = 0; l < MOST; ++l)
      if (wanted == l && height[l] > 0) found = {map[l], height[l], width[l], scale[l], true};
    return found;
  }
};
