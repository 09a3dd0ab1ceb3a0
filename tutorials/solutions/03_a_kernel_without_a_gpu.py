"""Solutions to chapter 03, each held against minimask's checks: run this file."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from minimask.kernels.host_shim import emulator
from minimask.kernels.launch import Program, blocks
from minimask.tools.kernel_lab import counting, student
from minimask.tools.kernel_lab.contracts import contracts

# ---- 1. The blank: a value wins if it is the first, if it is larger, or if it is the first NaN.
# `!(value <= best)` is true for a larger value and for a NaN; `best == best` stops at a NaN.
MAX_POOL = r"""
// launch: block=256 grid=(threads + 255) / 256
#include "device.cuh"

extern "C" __global__ void max_pool2d(const float* x, int N, int C, int H, int W, int KH, int KW,
                                      int OH, int OW, int SY, int SX, int PY, int PX, float* out,
                                      int* argmax) {
  const i64 thread = global_thread();
  if (thread >= i64(N) * C * OH * OW) return;
  const int j = thread % OW, i = thread / OW % OH;
  const float* plane = x + thread / OW / OH * H * W;
  float best = 0;
  int where = -1;
  for (int u = 0; u < KH; ++u)
    for (int v = 0; v < KW; ++v) {
      const int row = i * SY - PY + u, column = j * SX - PX + v;
      if (row < 0 || row >= H || column < 0 || column >= W) continue;
      const float value = plane[row * W + column];
      if (where < 0 || (!(value <= best) && best == best)) best = value, where = row * W + column;
    }
  out[thread] = best;
  argmax[thread] = where;
}
"""

# ---- 2. A box at once: two reads of 16 bytes a thread instead of eight of 4.  The boxes of a warp
# lie in 16 sectors.  Each of four requests touched all of them; now a single one brings them.
IOU = r"""
__device__ inline float overlap(float4 a, float4 b) {
  const float width = fminf(a.z, b.z) - fmaxf(a.x, b.x);
  const float height = fminf(a.w, b.w) - fmaxf(a.y, b.y);
  const float shared = fmaxf(width, 0) * fmaxf(height, 0);
  const float area_a = (a.z - a.x) * (a.w - a.y), area_b = (b.z - b.x) * (b.w - b.y);
  const float iou = shared / (area_a + area_b - shared);
  return iou > 0 ? iou : 0;
}
"""
WHOLE_BOXES = rf"""
// launch: block=(32, 8) grid=((B + 31) / 32, (A + 7) / 8)
#include "device.cuh"
{IOU}
extern "C" __global__ void box_iou(const float4* boxes_a, const float4* boxes_b, int A, int B,
                                   float* out) {{
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  const int i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i < A && j < B) out[i64(i) * B + j] = overlap(boxes_a[i], boxes_b[j]);
}}
"""
SINGLE_NUMBERS = WHOLE_BOXES.replace("const float4* boxes", "const float* boxes").replace(
    "overlap(boxes_a[i], boxes_b[j])",
    "overlap(box(boxes_a + 4 * i), box(boxes_b + 4 * j))",
)
SINGLE_NUMBERS = SINGLE_NUMBERS.replace(
    "extern",
    "__device__ inline float4 box(const float* p) {"
    " return make_float4(p[0], p[1], p[2], p[3]); }\n\nextern",
)

# ---- 3. Walking down: the second barrier stands at the end of the loop's body.  Without it a fast
# thread loads the next 8 boxes while a slow one still reads the present ones.
SECOND_BARRIER = "    __syncthreads();  // before the next boxes overwrite these\n"
WALKING = rf"""
// launch: block=(32, 8) grid=((B + 31) / 32, (A + 31) / 32)
#include "device.cuh"
{IOU}
extern "C" __global__ void box_iou(const float4* boxes_a, const float4* boxes_b, int A, int B,
                                   float* out) {{
  __shared__ float4 tile[8];
  const int j = blockIdx.x * 32 + threadIdx.x;
  const float4 b = j < B ? boxes_b[j] : make_float4(0, 0, 0, 0);
  for (int step = 0; step < 4; ++step) {{
    const int first = blockIdx.y * 32 + step * 8;
    if (threadIdx.y == 0 && threadIdx.x < 8 && first + int(threadIdx.x) < A)
      tile[threadIdx.x] = boxes_a[first + threadIdx.x];
    __syncthreads();
    const int i = first + threadIdx.y;
    if (i < A && j < B) out[i64(i) * B + j] = overlap(tile[threadIdx.y], b);
{SECOND_BARRIER}  }}
}}
"""


def program(source: str) -> Program:
    """A kernel's text as a program that can be launched."""
    path = pathlib.Path(tempfile.mkdtemp(), "solution.cu")
    path.write_text(source, encoding="utf-8")
    return Program(path)


def passed(source: str, operation: str, tiers: Sequence[str]) -> bool:
    """Whether a kernel passes the tiers; says what they found."""
    results = list(student.check(program(source).path, contracts()[operation], tiers))
    for result in results:
        print(f"{operation:11} {result.tier:8} {result.passed!s:6} {result.text}")
    return all(result.passed for result in results)


def count(source: str) -> counting.Counted:
    """What a box_iou kernel with blocks of 32 x 8 threads reads and writes on 64 x 224 boxes."""
    corner = np.random.default_rng(0).uniform(0, 100, (224, 2))
    boxes = np.concatenate([corner, corner + 20], 1).astype(np.float32)
    out, found = np.empty((64, 224), np.float32), []
    with emulator.running(kind="count", watcher=counting.watch(found)):
        arguments = (boxes[:64].copy(), boxes, 64, 224, out)  # arrays that overlap count as one
        program(source).launch("box_iou", (blocks(224, 32), blocks(64, 8)), (32, 8), *arguments)
    return found[0]


def main() -> None:
    """Check every solution."""
    assert passed(MAX_POOL, "max_pool2d", ["values", "address", "thread"])

    assert passed(SINGLE_NUMBERS, "box_iou", ["values"])
    assert passed(WHOLE_BOXES, "box_iou", ["values", "address"])
    reads = {}
    for name, source in {"numbers": SINGLE_NUMBERS, "boxes": WHOLE_BOXES}.items():
        counted = count(source)
        b = next(t for t in counted.traffic if t.name == "boxes_b")
        reads[name] = b.reads / counted.threads, b.read_transactions
        each = b.read_transactions / b.read_requests
        print(f"{name}: {reads[name][0]:g} reads of B a thread, {each:g} sectors a request")
    assert reads["boxes"][0] == reads["numbers"][0] / 4
    assert reads["boxes"][1] == reads["numbers"][1] / 4

    assert passed(WALKING, "box_iou", ["values", "thread"])
    assert not passed(WALKING.replace(SECOND_BARRIER, ""), "box_iou", ["thread"])


if __name__ == "__main__":
    main()
