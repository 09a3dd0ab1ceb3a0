"""Solutions to chapter 01, each checked: run this file."""

from __future__ import annotations

import pathlib
import tempfile
from math import ceil, floor
from typing import Any

import numpy as np

import minimask as mm
from minimask.autograd import Function
from minimask.kernels.host_shim import build
from minimask.tools.kernel_lab import student
from minimask.tools.kernel_lab.contracts import contracts
from minimask.tools.testing import gradcheck
from minimask.tools.textbook import explore

# ---- 1. The blank: round down where a bin begins and up where it ends, then cut off.
ROI_POOL = r"""
// launch: block=256 grid=(threads + 255) / 256
#include "device.cuh"

const float FAR = 1073741824;  // 2^30 cells: as good as infinitely far, and fits an integer

__device__ float whole_cell(float corner, float scale) {
  return fminf(fmaxf(floorf(__fadd_rn(__fmul_rn(corner, scale), 0.5f)), -FAR), FAR);
}

extern "C" __global__ void roi_pool(const float* features, const float* rois, int N, int C, int H,
                                    int W, int R, int PH, int PW, float scale, float* out,
                                    int* argmax) {
  const i64 thread = global_thread();
  if (thread >= i64(R) * C * PH * PW) return;
  const i64 j = thread % PW, i = thread / PW % PH, c = thread / PW / PH % C;
  const float* roi = rois + thread / PW / PH / C * 5;
  const i64 x0 = whole_cell(roi[1], scale), x1 = whole_cell(roi[3], scale);
  const i64 y0 = whole_cell(roi[2], scale), y1 = whole_cell(roi[4], scale);
  const i64 height = max(y1 - y0 + 1, i64(1)), width = max(x1 - x0 + 1, i64(1));

  i64 top = 0, bottom = 0, left = 0, right = 0;
  const i64 none = 0, rows = H, columns = W;
  top = max(y0 + i * height / PH, none), bottom = min(y0 + ((i + 1) * height + PH - 1) / PH, rows);
  left = max(x0 + j * width / PW, none), right = min(x0 + ((j + 1) * width + PW - 1) / PW, columns);

  if (!isfinite(roi[1] + roi[2] + roi[3] + roi[4])) bottom = top;  // such a box has no cells
  const float* plane = features + (i64(roi[0]) * C + c) * H * W;
  float best = 0;
  int where = -1;
  for (i64 y = top; y < bottom; ++y)
    for (i64 x = left; x < right; ++x) {
      const float value = plane[y * W + x];
      if (where < 0 || (!(value <= best) && best == best)) best = value, where = y * W + x;
    }
  out[thread] = best;
  argmax[thread] = where;
}
"""


# ---- 2. Averages jump too, by half a cell where maxima jump by a whole one: both know the box by
# its cells only, and these change when a corner crosses the middle of a cell.
def mean_by_definition(plane: np.ndarray, box: list[float], size: int) -> np.ndarray:
    """(H, W), x0 y0 x1 y1 in cells -> (P, P): the mean of every bin's cells."""
    x0, y0, x1, y1 = (floor(corner + 0.5) for corner in box)
    width, height = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    out = np.zeros((size, size))
    for p in range(size):
        rows = slice(max(y0 + floor(p * height / size), 0), y0 + ceil((p + 1) * height / size))
        for q in range(size):
            start = max(x0 + floor(q * width / size), 0)
            cells = plane[rows, start : x0 + ceil((q + 1) * width / size)]
            out[p, q] = cells.mean() if cells.size else 0
    return out


# ---- 3. Both axes apart: rows and columns of the four cells, and a weight for each.
class Careful(Function):
    """RoIAlign with one sample a bin; its backward pass keeps the weights."""

    @staticmethod
    def forward(ctx: Any, x: np.ndarray, rois: np.ndarray) -> np.ndarray:
        """(1, C, H, W), (1, 5) -> (1, C, 3, 3)."""
        ctx.save(x.shape, rois)
        return mm.kernels.roi_align(x, rois, 3, sampling_ratio=1)

    @staticmethod
    def backward(ctx: Any, grad: np.ndarray) -> Any:
        """Each bin's gradient goes to the four cells around its sample."""
        shape, rois = ctx.saved
        (_, x0, y0, x1, y1), steps = rois[0], (np.arange(3) + 0.5) / 3
        y, x = y0 + steps * (y1 - y0) - 0.5, x0 + steps * (x1 - x0) - 0.5  # from cell 0's center
        top, left = np.int64(y), np.int64(x)
        down, along = y - top, x - left
        gradient = np.zeros(shape)
        for row, of_row in ((top, 1 - down), (top + 1, down)):
            for column, of_column in ((left, 1 - along), (left + 1, along)):
                share = grad[0] * of_row[:, None] * of_column
                cells = (0, slice(None), row[:, None], column)
                np.add.at(gradient, cells, share.transpose(1, 2, 0))
        return gradient, None


def main() -> None:
    """Check every solution."""
    if build.why_not():
        print(f"1. not run: {build.why_not()}")
    else:
        file = pathlib.Path(tempfile.mkdtemp(), "solution.cu")
        file.write_text(ROI_POOL, encoding="utf-8")
        for result in student.check(file, contracts()["roi_pool"], ["values", "address"]):
            print(f"1. {result.tier}: {result.text}")
            assert result.passed

    scene, values = explore.Scene(map="ramp"), []
    for x in range(17):
        moved = scene.moved(x)
        cells = [corner * moved.scale for corner in moved.box]
        values.append(float(mean_by_definition(moved.features()[0, 0], cells, moved.size)[2, 1]))
    different = sorted(set(values))
    print(f"2. {len(different)} values: {different} pixels, {np.diff(different)} apart")
    assert len(different) < 5

    several = np.array([[0, 2.3, 1.7, 11.9, 8.2]])
    features = np.random.default_rng(0).normal(size=(1, 2, 12, 16))
    gradcheck(lambda x: Careful.apply(x, several), features)
    print("3. gradcheck agrees")


if __name__ == "__main__":
    main()
