# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · A kernel without a GPU
#
# You will write a GPU kernel in CUDA C++, run it on the CPU, break it in three ways and see each
# break found, count what it asks of memory, and finish a kernel of your own.
#
# **Needs** Linux (or WSL) with g++ 10 or newer; no GPU. About 40 minutes to read and try, under
# two minutes to run. The kernel computes how much boxes overlap, the question that a detector asks
# most often.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minimask as mm

mm.hello()

# %% [markdown]
# ## A picture and a question
#
# We will compute a table: row *i*, column *j* holds the overlap of box *a<sub>i</sub>* with box
# *b<sub>j</sub>*. Every number gets a thread of its own. A GPU runs 32 threads, a **warp**, at the
# same time, and when they write, the write goes out in pieces of 32 bytes called **sectors**. A
# number takes 4 bytes.
#
# On the left the threads of a warp write neighbors in a row, on the right neighbors in a column.
# How many sectors does one write of a warp take in each case? Write your guess down; we shall
# count it below.

# %%
my_guess = {"along a row": None, "down a column": None}  # sectors a write: your numbers here

table = np.arange(64 * 64).reshape(64, 64)
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
for axis, owner, name in zip(axes, (table // 32, table.T // 32), my_guess, strict=True):
    axis.imshow(np.where(owner == 40, 1.0, 0.3 * (owner % 2)), cmap="Oranges", vmin=0, vmax=1.3)
    axis.set(title=f"threads of a warp {name}", xlabel="box of B", ylabel="box of A")
plt.show()

# %% [markdown]
# ## By hand
#
# The measure is *intersection over union*: the area two boxes share, divided by the area they
# cover together. Two squares of side 2, one moved right by 1, share 1 × 2 = 2. Together they cover
# 4 + 4 − 2 = 6. So the IoU is 2 / 6 = 1/3.

# %%
a = np.array([[0, 0, 2, 2]], np.float32)  # x0 y0 x1 y1
b = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [2, 0, 4, 2]], np.float32)
by_hand = np.array([[1 / 3, 1, 0]], np.float32)  # moved by 1; the same box; only touching

figure, axes = plt.subplots(1, 3, figsize=(7, 2), layout="constrained")
for axis, box, iou in zip(axes, b, by_hand[0], strict=True):
    for (x0, y0, x1, y1), color in ((a[0], "tab:blue"), (box, "tab:orange")):
        axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, color=color, alpha=0.5))
    axis.set(xlim=(-0.2, 4.2), ylim=(2.2, -0.2), aspect="equal", title=f"IoU {iou:.3f}")
plt.show()

# %% [markdown]
# ## The formula, in NumPy
#
# The shared part of two boxes is a box again: its left side is the larger of both left sides, its
# right side the smaller of both right sides. If it comes out inside out, nothing is shared. This
# is the reference that every faster version will be held against.


# %%
def reference(boxes_a, boxes_b):
    """(A, 4), (B, 4) -> (A, B): the IoU of all pairs."""
    corner = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])  # (A, B, 2)
    opposite = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    shared = np.clip(opposite - corner, 0, None).prod(-1)  # (A, B)
    area_a = (boxes_a[:, 2:] - boxes_a[:, :2]).prod(-1)
    area_b = (boxes_b[:, 2:] - boxes_b[:, :2]).prod(-1)
    return shared / (area_a[:, None] + area_b[None, :] - shared)


from minimask.tools.testing import assert_close

assert_close(reference(a, b), by_hand)
assert_close(mm.kernels.box_iou(a, b), by_hand)
print("all three agree")
# %% [markdown]
# ## The first kernel: what does one thread own?
#
# A kernel is a function that thousands of threads run at once. Each asks who it is (`blockIdx`,
# `threadIdx`), computes *its* number and leaves. Here a thread owns one pair. Blocks are 32 × 8
# threads; the line `// launch:` says so and is read by minimask's checks.
#
# The table's sides are rarely multiples of the block's, so some threads fall outside and must
# return at once. Remember that line.

# %%
NAIVE = r"""
// launch: block=(32, 8) grid=((B + 31) / 32, (A + 7) / 8)
#include "device.cuh"

extern "C" __global__ void box_iou(const float* boxes_a, const float* boxes_b, int A, int B,
                                   float* out) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;  // neighbors in a warp: neighbors in B
  const int i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i >= A || j >= B) return;  // the last blocks are not full
  const float* a = boxes_a + 4 * i;
  const float* b = boxes_b + 4 * j;
  const float width = fminf(a[2], b[2]) - fmaxf(a[0], b[0]);
  const float height = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
  const float shared = fmaxf(width, 0) * fmaxf(height, 0);
  const float area_a = (a[2] - a[0]) * (a[3] - a[1]), area_b = (b[2] - b[0]) * (b[3] - b[1]);
  const float iou = shared / (area_a + area_b - shared);
  out[i64(i) * B + j] = iou > 0 ? iou : 0;  // 0 / 0 is NaN, and NaN is not > 0
}
"""

# %% [markdown]
# ## Run it
#
# There is no GPU, but the text above is almost C++. The **host shim** gives g++ the missing words
# and plays every CUDA thread as a fiber: a little stack that can be left and entered again. The
# same `Program.launch` sends CuPy arrays to a GPU and NumPy arrays to the shim.
#
# We write the kernel to a file, then launch it with as many blocks as the table needs.

# %%
import pathlib
import tempfile

from minimask.kernels.launch import Program, blocks

folder = pathlib.Path(tempfile.mkdtemp())


def program(source, name="my_kernel.cu"):
    """A kernel's text as a program that can be launched; every text gets a file of its own."""
    path = pathlib.Path(tempfile.mkdtemp(dir=folder), name)
    path.write_text(source, encoding="utf-8")
    return Program(path)


def launch(source, boxes_a, boxes_b, down=False):
    """Run a box_iou kernel in blocks of 32 x 8 threads, along the rows or down the columns."""
    A, B = len(boxes_a), len(boxes_b)
    out = np.full((A, B), np.nan, np.float32)
    grid = (blocks(A, 32), blocks(B, 8)) if down else (blocks(B, 32), blocks(A, 8))
    program(source).launch("box_iou", grid, (32, 8), boxes_a, boxes_b, A, B, out)
    return out


launch(NAIVE, a, b)

# %% [markdown]
# Threads run in no particular order on a GPU. In the shim the order is drawn by a seed: 0 counts
# up, 1 counts down, others shuffle. A kernel whose result depends on it is wrong. Here nothing
# depends on it: all orders give the same bits.

# %%
from minimask.kernels.host_shim import emulator

rng = np.random.default_rng(0)
corners = rng.uniform(0, 100, (237, 2))
many = np.concatenate([corners, corners + rng.uniform(5, 40, (237, 2))], 1).astype(np.float32)

results = {}
for seed in (0, 1, 7):
    with emulator.running(seed=seed):
        results[seed] = launch(NAIVE, many[:37], many)
assert_close(results[0], reference(many[:37], many))
all(np.array_equal(results[0], other) for other in results.values())

# %% [markdown]
# ## Let it be examined
#
# Three boxes prove little. minimask keeps the awkward cases of every operation: no boxes at all,
# boxes without area, coordinates that are NaN or infinite, sizes just past a block. `check` runs
# them in processes of their own, where a kernel may crash or hang without harm:
#
# | tier | looks for |
# |---|---|
# | values | wrong numbers, in three orders of threads |
# | address | accesses outside an array, undefined arithmetic |
# | thread | races inside a block |
# | blocks | races between blocks |
# | compiled | what NVIDIA's compiler makes of it, if its packages are installed |

# %%
from minimask.tools.kernel_lab import report, student
from minimask.tools.kernel_lab.contracts import contracts


def check(source, operation="box_iou", tiers=()):
    """What `minimask kernels check my_kernel.cu --op box_iou` prints."""
    for result in student.check(program(source).path, contracts()[operation], tiers):
        print(report.result(result))


check(NAIVE)

# %% [markdown]
# ## Break it, first: a thread too many
#
# Take away the half of the guard that asks for the column. On a GPU the threads past the end of a
# row would hardly crash. They write into the beginning of the *next* row, and in the last row past
# the end of the array. Which tier will notice? Decide before you run it.

# %%
no_guard = NAIVE.replace("if (i >= A || j >= B) return;", "if (i >= A) return;")
check(no_guard, tiers=["values", "address"])

# %% [markdown]
# ## The second rung: share what all threads read
#
# A block of 32 × 8 threads needs only 8 boxes of A and 32 of B, yet each of its 256 threads fetches
# both. **Shared memory** is a small fast store of a block. Let the first 40 threads fetch one box
# each; then all read from there.
#
# But threads do not run in step. A fast one would read before a slow one has written.
# `__syncthreads()` is a barrier: nobody passes before all have arrived. All means all, so a thread
# outside the table must not return before it.

# %%
TILED = r"""
// launch: block=(32, 8) grid=((B + 31) / 32, (A + 7) / 8)
#include "device.cuh"

extern "C" __global__ void box_iou(const float* boxes_a, const float* boxes_b, int A, int B,
                                   float* out) {
  __shared__ float tile[40][4];  // 32 boxes of B, then 8 of A
  const int first_b = blockIdx.x * 32, first_a = blockIdx.y * 8;
  const int thread = threadIdx.y * 32 + threadIdx.x;
  if (thread < 40) {
    const bool of_b = thread < 32;
    const int box = of_b ? first_b + thread : first_a + thread - 32;
    const float* from = (of_b ? boxes_b : boxes_a) + 4 * box;
    for (int k = 0; k < 4; ++k) tile[thread][k] = box < (of_b ? B : A) ? from[k] : 0;
  }
  __syncthreads();
  const int j = first_b + threadIdx.x, i = first_a + threadIdx.y;
  if (i >= A || j >= B) return;
  const float* a = tile[32 + threadIdx.y];
  const float* b = tile[threadIdx.x];
  const float width = fminf(a[2], b[2]) - fmaxf(a[0], b[0]);
  const float height = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
  const float shared = fmaxf(width, 0) * fmaxf(height, 0);
  const float area_a = (a[2] - a[0]) * (a[3] - a[1]), area_b = (b[2] - b[0]) * (b[3] - b[1]);
  const float iou = shared / (area_a + area_b - shared);
  out[i64(i) * B + j] = iou > 0 ? iou : 0;
}
"""
check(TILED)

# %% [markdown]
# ## Break it, second: a race
#
# Without the barrier the kernel is wrong on a GPU, though perhaps only once in a thousand runs.
# That is what makes races nasty: trying it out proves nothing. The shim does not wait for luck. In
# the build for races every fiber counts as a thread, and ThreadSanitizer asks of each pair of
# accesses whether anything puts them in order.
#
# Read the two lines of the answer: which access meets which? (The numbers count the lines of the
# kernel's text from the first empty one.)

# %%
race = TILED.replace("  __syncthreads();\n", "")
check(race, tiers=["values", "thread"])

# %% [markdown]
# And the opposite mistake: a guard *before* the barrier. Threads outside the table leave, though by
# the rules of CUDA all threads of a block must reach the barrier; and here the boxes they should
# have fetched are missing. Shared memory starts as NaN in the shim, not as 0, so that a number
# nobody wrote gives itself away. Our last line turns that NaN into an IoU of 0, and only the
# comparison with the reference tells.

# %%
early = TILED.replace(
    "  if (thread < 40) {",
    "  if (first_a + int(threadIdx.y) >= A) return;\n  if (thread < 40) {",
)
check(early, tiers=["values"])

# %% [markdown]
# ## Count
#
# Back to the question at the top. The counting build notes every access of every thread, and works
# out what each warp makes of it. Here are the kernel above, the one with tiles, and one in which
# neighbors in a warp go *down a column*: `x` and `y` have changed places.
#
# How many sectors did you guess for a write?

# %%
import re

from minimask.tools.kernel_lab import counting


def other(found):
    """`threadIdx.x` -> `threadIdx.y`, and the other way round."""
    return f"{found[1]}.{'y' if found[2] == 'x' else 'x'}"


COLUMNS = re.sub(r"(Idx|Dim)\.([xy])", other, NAIVE)


def count(source, down=False):
    """What one launch on 64 x 224 boxes reads and writes, array by array."""
    found = []
    with emulator.running(kind="count", watcher=counting.watch(found)):
        launch(source, many[:64].copy(), many[:224], down)
    return {traffic.name: traffic for traffic in found[0].traffic}


rungs = {"along rows": count(NAIVE), "down columns": count(COLUMNS, True), "tiles": count(TILED)}
for name, traffic in rungs.items():
    write = traffic["out"]
    sectors = write.write_transactions / write.write_requests
    reads = (traffic["boxes_a"].reads + traffic["boxes_b"].reads) / (64 * 224)
    print(f"{name:13} {sectors:4.0f} sectors a write, {reads:5.2f} numbers read by a thread")
print("your guess:", my_guess)

figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
left = np.zeros(len(rungs))
for kind, color in (("read", "tab:blue"), ("write", "tab:orange")):
    arrays = [[t[name] for name in ("boxes_a", "boxes_b", "out")] for t in rungs.values()]
    moved = np.array([sum(getattr(a, f"{kind}_transactions") for a in three) for three in arrays])
    axis.barh(list(rungs), moved * 32 / 1000, left=left, color=color, label=kind)
    left += moved * 32 / 1000
axis.set(xlabel="kilobytes to and from global memory, 64 x 224 pairs")
axis.invert_yaxis()
axis.legend(loc="lower right")
plt.show()

# %% [markdown]
# Four sectors are all that 32 numbers of 4 bytes need. Down a column each of the 32 lies in a
# sector of its own, and 8 times the bytes travel. This is what *coalescing* means, and the first
# thing to look at in any kernel.
#
# The tile pays as well: of eight numbers a thread read from global memory, less than one is left.
# The rest come from shared memory, which lies beside the processor. The picture adds up the
# sectors that all requests move, before any cache.

# %% [markdown]
# ## A gradient, and why it needs atomics
#
# Gradients are where races between *blocks* live. Take `y = x[index]`, which picks elements,
# possibly one twice. Backward, each gradient returns to where its value came from:
# `grad_x[index[k]] += grad_y[k]`. With one thread for each *k*, two threads may add to one place.
# `atomicAdd` reads, adds and writes as one indivisible act.
#
# `gradcheck` compares a gradient with a difference quotient. The kernel is float32, so it is
# allowed 1e-5.

# %%
from minimask.autograd import Function
from minimask.tools.testing import gradcheck

SPREAD = r"""
#include "device.cuh"

extern "C" __global__ void spread(const float* grad, const int* index, int count, float* grad_x) {
  const i64 k = global_thread();
  if (k >= count) return;
  atomicAdd(grad_x + index[k], grad[k]);
}
"""


def picking(source):
    """y = x[index], whose gradient is computed by the kernel `spread` of a source."""

    class Pick(Function):
        @staticmethod
        def forward(ctx, x, index):
            ctx.save(len(x), index)
            return x[index]

        @staticmethod
        def backward(ctx, grad):
            size, index = ctx.saved
            grad_x = np.zeros(size, np.float32)
            arguments = (grad.astype(np.float32), index, len(index), grad_x)
            program(source).launch("spread", blocks(len(index), 4), 4, *arguments)
            return grad_x.astype(grad.dtype), None

    return Pick.apply


x, index = rng.normal(size=6), np.array([0, 2, 2, 5, 0, 2, 3], np.int32)
gradcheck(lambda x: picking(SPREAD)(x, index), x, rtol=1e-5)

# %% [markdown]
# Silence means it agrees. Now break it in two ways: write instead of adding, and add without
# atomics. The second passes `gradcheck`, because in the shim one fiber finishes its addition before
# the next begins. On a GPU two blocks would both read the old value, and one sum would be lost,
# sometimes. No comparison of values can be trusted with that. The counting build looks at who
# touches what instead.

# %%
WRITES = SPREAD.replace("atomicAdd(grad_x + index[k], grad[k]);", "grad_x[index[k]] = grad[k];")
PLAIN = SPREAD.replace("atomicAdd(grad_x + index[k], grad[k]);", "grad_x[index[k]] += grad[k];")
for name, source in {"atomicAdd": SPREAD, "writes": WRITES, "adds plainly": PLAIN}.items():
    found = []
    with emulator.running(kind="count", watcher=counting.watch(found)):
        try:
            gradcheck(lambda x, source=source: picking(source)(x, index), x, rtol=1e-5)
            print(f"{name}: gradcheck is content")
        except AssertionError as error:
            print(f"{name}: {error}")
    print(f"  {found[0].conflict or 'no two blocks meet in one place'}")

# %% [markdown]
# ## The ladder that minimask keeps
#
# Every operation in `kernels/` is such a ladder: one idea a rung, each checked as you did above,
# with its record. The last rung of `box_iou` goes further than ours: a thread keeps four boxes of
# B in registers and writes four numbers at once.

# %%
from minimask.tools.kernel_lab import record

for line in report.ladder("box_iou", record.read()):
    print(line)

# %% [markdown]
# ## Measure
#
# The shim says nothing about speed; that takes a GPU (`minimask kernels bench box_iou`). What can
# be timed here is the CPU's own ladder: the NumPy formula against the same loops compiled, both
# cores at work. NumPy makes a dozen arrays of the table's size on its way; the loops write each
# number once. By which factor will they differ? Guess first.

# %%
import time


def seconds(work):
    """The best of five runs, after one that compiles."""
    work()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


corners = rng.uniform(0, 700, (30_000, 2))
anchors = np.concatenate([corners, corners + rng.uniform(20, 90, (30_000, 2))], 1)
anchors = anchors.astype(np.float32)
for variant in ("reference", "cpu"):
    best = seconds(lambda v=variant: mm.kernels.box_iou(anchors[:50], anchors, variant=v))
    written = 50 * len(anchors) * 4 / best / 1e9
    print(f"{variant:9} {1000 * best:6.1f} ms here, the result written at {written:5.2f} GB/s")

# %% [markdown]
# ## Where it sits in the network
#
# A detector lays thousands of **anchors** over an image, boxes of fixed sizes and shapes. In
# training, each asks which object it overlaps most, and whether enough to be made responsible for
# it. That is our table: objects × anchors. Here is your kernel at work on the anchors of a small
# Mask R-CNN, and the three best anchors of every object.

# %%
from minimask.data import Shapes

sample = Shapes(size=128, seed=5)[4]
network = mm.models.maskrcnn_laptop(
    ["circle", "square", "triangle", "star"], min_size=128, anchor_sizes=(8, 16, 32, 64, 128)
)
anchors = dict(network.stages(sample.image))["rpn/anchors"].astype(np.float32)
overlaps = launch(TILED, sample.boxes, anchors)
print(f"{len(sample.boxes)} objects x {len(anchors)} anchors")
print("the best IoU of each object:", overlaps.max(1).round(2))

figure, axis = plt.subplots(figsize=(4, 4), layout="constrained")
axis.imshow(sample.image)
for row, (x0, y0, x1, y1) in zip(overlaps, sample.boxes, strict=True):
    axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color="white", lw=2))
    for u0, v0, u1, v1 in anchors[np.argsort(-row)[:3]]:
        box = plt.Rectangle((u0, v0), u1 - u0, v1 - v0, fill=False, color="tab:orange", ls="--")
        axis.add_patch(box)
axis.set(title="objects, and their three best anchors", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Your turn
#
# Max pooling takes the largest value of every window, and remembers where it was: the gradient
# will go there. One thread owns one output. About three lines are missing. The window may reach
# outside the image, and what lies there does not take part. A NaN wins over everything, and the
# first of equals stays.
#
# Fill them in and run the cell until `values` says *passed*. Then leave out `tiers`.

# %%
MINE = r"""
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
      // your lines: is the cell in the image? is its value the first, larger, or the first NaN?

    }
  out[thread] = best;
  argmax[thread] = where;
}
"""
check(MINE, "max_pool2d", tiers=["values"])

# %% [markdown]
# ## Exercises
#
# 1. Your turn, above.
# 2. A box is four floats side by side. Declare `boxes_a` and `boxes_b` as `const float4*` and read
#    a box at once. What becomes of the number of reads, and what of the sectors?
# 3. Let a block of `TILED` walk down 32 rows of A, loading the next 8 boxes after each step. It
#    needs a second barrier. Where? Take it out and let the race check find the place.
#
# Solutions, each of which is checked: `solutions/03_a_kernel_without_a_gpu.py`. Without a notebook
# the same checks are `minimask kernels start`, `check`, `count` and `bench`.
