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
# # 01 · RoIPool and RoIAlign
#
# Objects have any size, and the head of a detector wants 7 × 7 numbers. Something must cut a
# region out of a feature map and bring it to that size. **RoIPool** (Fast R-CNN, 2015) rounds to
# whole cells on the way. **RoIAlign** (Mask R-CNN, 2017) does not. You will compute both by hand,
# see what the rounding costs, derive the gradients and write a kernel.
#
# **Needs** no GPU and no download; g++ for two cells near the end. About 40 minutes to read and
# try, a minute to run. A *RoI* is a region of interest: a box.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minimask as mm

mm.hello()

# %% [markdown]
# ## A picture and a question
#
# One box over a feature map whose cells are 16 pixels wide: its corners lie somewhere inside cells.
# We cut it into 4 × 4 **bins**, each of which becomes one number. Dashed is what is meant; red are
# the cells that RoIPool reads, for one bin of the third row.
#
# Now the box moves right by 16 pixels, one cell, in steps of 1 pixel. *How many different values
# will that bin take on the way?* And how many if nothing is rounded? Write it down.

# %%
my_guess = {"RoIPool": None, "RoIAlign": None}  # different values: your numbers here

from minimask.tools.textbook import explore
from minimask.tools.textbook.explore import bins
from minimask.tools.textbook.explore.operations import ROI_ALIGN, ROI_POOL, ROI_WARP

scene = explore.Scene()  # a box of 111 x 98 pixels, stride 16, 4 x 4 bins, a map of noise


def show_bins(axis, scene, operation, p=2, q=1):
    """The map, the bins that are meant, and what one of them, row p and column q, reads."""
    axis.imshow(scene.features()[0, 0], cmap="Greys", extent=(0, scene.shape[1], scene.shape[0], 0))
    x0, y0, x1, y1 = np.array(scene.box) * scene.scale
    for share in np.linspace(0, 1, scene.size + 1):
        axis.plot([x0 + share * (x1 - x0)] * 2, [y0, y1], "--", color="tab:blue")
        axis.plot([x0, x1], [y0 + share * (y1 - y0)] * 2, "--", color="tab:blue")
    rows, columns = bins.of_scene(scene, operation)
    (top, bottom), (left, right) = rows.edges[p], columns.edges[q]
    axis.add_patch(plt.Rectangle((left, top), right - left, bottom - top, color="red", alpha=0.4))
    x, y = np.meshgrid(columns.samples[q], rows.samples[p])
    axis.plot(x, y, "r.")
    axis.set(title=operation.name, xlim=(2, 13), ylim=(11, 1), aspect="equal")


figure, axis = plt.subplots(figsize=(4.4, 4.2), layout="constrained")
show_bins(axis, scene, ROI_POOL)
plt.show()

# %% [markdown]
# ## By hand
#
# A map of 5 × 5 holds the columns' numbers: 0 1 2 3 4 in every row. The box runs from 1.3 to 3.7,
# and we want 2 × 2 bins.
#
# **RoIPool** rounds the corners to the cells 1 and 4, *both included*: four cells, two a bin. The
# largest of {1, 2} is 2, of {3, 4} it is 4.
#
# **Meant** were bins from 1.3 to 2.5 and from 2.5 to 3.7, with centers 1.9 and 3.1. Cell *i* covers
# *i* to *i* + 1, so its value sits at *i* + 0.5: at 1.9 the ramp is 1.4, at 3.1 it is
# 2.6. RoIPool is off by 0.6 and by 1.4 cells.

# %%
ramp = np.tile(np.arange(5.0), (5, 1))[None, None]  # (N, C, H, W) = (1, 1, 5, 5)
rois = np.array([[0, 1.3, 1.3, 3.7, 3.7]])  # image, x0 y0 x1 y1

pooled, place = mm.kernels.roi_pool(ramp, rois, 2)
aligned = mm.kernels.roi_align(ramp, rois, 2, sampling_ratio=1)
print("RoIPool ", pooled[0, 0].tolist())
print("RoIAlign", aligned[0, 0].round(6).tolist())

# %% [markdown]
# ## The formula, in NumPy
#
# RoIPool first. Bin *p* of *P* gets the cells from ⌊*p* · side / *P*⌋ up to ⌈(*p* + 1) · side /
# *P*⌉. Rounding down at the start and up at the end lets neighbors overlap and leaves no cell out.
# So there are *two* roundings, of the box and of each bin.

# %%
from math import ceil, floor

from minimask.tools.testing import assert_close


def pool_by_definition(plane, box, size):
    """(H, W), x0 y0 x1 y1 in cells -> (P, P): the largest cell of every bin."""
    x0, y0, x1, y1 = (floor(corner + 0.5) for corner in box)
    width, height = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    out = np.zeros((size, size))
    for p in range(size):
        rows = slice(max(y0 + floor(p * height / size), 0), y0 + ceil((p + 1) * height / size))
        for q in range(size):
            start = max(x0 + floor(q * width / size), 0)
            cells = plane[rows, start : x0 + ceil((q + 1) * width / size)]
            out[p, q] = cells.max() if cells.size else 0
    return out


assert_close(pool_by_definition(ramp[0, 0], rois[0, 1:], 2), pooled[0, 0])
print("the same")

# %% [markdown]
# RoIAlign: lay *n* × *n* samples evenly into every bin and read each **bilinearly**, that is,
# between the four cells around it, each weighted by how near it is. Then take the mean. A sample at
# *x* lies *x* − 0.5 from the center of cell 0.


# %%
def bilinear(plane, y, x):
    """Values of a plane (H, W) at positions counted from the center of cell 0."""
    y, x = np.clip(y, 0, plane.shape[0] - 1), np.clip(x, 0, plane.shape[1] - 1)
    top, left = np.int64(y), np.int64(x)
    bottom, right = (
        np.minimum(top + 1, plane.shape[0] - 1),
        np.minimum(left + 1, plane.shape[1] - 1),
    )
    down, along = y - top, x - left
    above = plane[top, left] * (1 - along) + plane[top, right] * along
    below = plane[bottom, left] * (1 - along) + plane[bottom, right] * along
    return above * (1 - down) + below * down


def align_by_definition(plane, box, size, n=2):
    """(H, W), x0 y0 x1 y1 in cells -> (P, P): the mean of n x n samples a bin."""
    steps = (np.arange(size * n) + 0.5) / (size * n)
    x0, y0, x1, y1 = box
    y, x = y0 + steps * (y1 - y0) - 0.5, x0 + steps * (x1 - x0) - 0.5
    return bilinear(plane, y[:, None], x[None, :]).reshape(size, n, size, n).mean((1, 3))


rng = np.random.default_rng(0)
noise, box = rng.normal(size=(12, 16)), [2.3, 1.7, 11.9, 8.2]
several = np.array([[0, *box]])
assert_close(
    align_by_definition(noise, box, 7),
    mm.kernels.roi_align(noise[None, None], several, 7, sampling_ratio=2)[0, 0],
)
expected = mm.kernels.roi_pool(noise[None, None], several, 7)[0][0, 0]
assert_close(pool_by_definition(noise, box, 7), expected)
print("both the same as minimask's")

# %% [markdown]
# ## Move the box
#
# Back to the question. The map is now a ramp, so the right answer is known for every position: the
# bin's center. RoIWarp stands between the two: it rounds the box as RoIPool does, and then samples
# bilinearly. RoIAlign with `aligned=False` takes a cell's value to sit at its corner.

# %%
ramp_scene = explore.Scene(map="ramp")
steps = np.arange(161) / 10
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for operation in explore.OPERATIONS:
    values = [explore.pool(ramp_scene.moved(x), operation).values[2, 1] for x in steps]
    errors = [v - bins.ideal(ramp_scene.moved(x))[2, 1] for v, x in zip(values, steps, strict=True)]
    axes[0].plot(steps, values, color=operation.color, label=operation.name)
    axes[1].plot(steps, errors, color=operation.color)
    print(f"{operation.name:24} {len(set(np.round(values[::10], 6))):3} different values")
axes[0].set(xlabel="box moved right by ... pixels", ylabel="the bin's value, pixels")
axes[1].set(xlabel="box moved right by ... pixels", ylabel="error, pixels")
axes[0].legend(fontsize="small")
plt.show()
print("your guess:", my_guess)

# %% [markdown]
# RoIPool knows few answers and jumps between them. What it says depends on where the box happens to
# lie on the grid. RoIAlign glides with the box. Its version with `aligned=False` glides as well,
# half a cell (8 pixels) beside the mark; a network can learn to live with a constant error, and
# torchvision's published weights have.
#
# Would it help to *average* the cells instead of taking the largest? No (exercise 2): the jumps
# come from the rounding. Here is the whole story of one box, a row for each operation: where it
# reads, with which weights, what it makes of it, the error on a ramp, and where the gradient goes.

# %%
from minimask.tools.textbook.explore import figure as drawing

drawing.draw(scene, drawing.all_lines(ratio=2))

# %% [markdown]
# In JupyterLab the next cell is a panel with sliders: move the box by tenths of a pixel, change the
# stride, watch which row jumps. Where only outputs are shown it is empty; `minimask explore --out
# explorer.html` makes a page that does the same in a browser.

# %%
try:
    panel = explore.panel(scene)
except ImportError as error:
    panel = None
    print(error)
panel

# %% [markdown]
# ## How far off, in pixels?
#
# A cell is as wide as the stride, so the rounding costs more on coarse maps. Over 20 000 random
# boxes: where a bin reads, minus where it should. The *mean* can be learned. The standard deviation
# cannot, because it differs from box to box. Guess before you run it: what becomes of it when the
# stride doubles?

# %%
from minimask.tools.textbook.explore import misalignment

measured = misalignment.measure()
strides = sorted({row.stride for row in measured.rows})
print(f"{'std in pixels, at stride':24}", *(f"{stride:7}" for stride in strides))
for operation in explore.OPERATIONS:
    rows = [row for row in measured.rows if row.operation == operation.name]
    print(f"{operation.name:24}", *(f"{row.std:7.2f}" for row in rows))

# %% [markdown]
# At stride 32 RoIPool is off by 11 pixels, which is much for a mask and little for the question
# "is this a dog?". That is why detectors lived well with RoIPool until somebody asked for outlines.
# A feature pyramid softens it: small objects are read from stride 4.

# %% [markdown]
# ## What that does to a mask
#
# Take a true mask, reduce it to a map of stride 16, pool 14 × 14 numbers from it, and paste them
# back to where the box is. No network is involved: what is lost is lost by the pooling alone.
#
# To be fair: rounded boxes include their last cell, so on average they reach one cell too far right
# and down. A network can learn that, and we forgive it by pasting into the box that is read on
# average. RoIPool also fattens the mask by taking the largest value. RoIWarp only rounds.

# %%
from minimask.data import Shapes
from minimask.kernels.rois import quantize_rois

data = Shapes(size=256, seed=3, objects=(1, 2), object_size=(0.3, 0.6), min_visible=0.95, noise=0)


def there_and_back(mask, box, stride, operation):
    """The mask that is left after pooling it at a stride and pasting it back."""
    height, width = mask.shape
    cells = mask.reshape(height // stride, stride, width // stride, stride).mean((1, 3))
    features, rois = cells[None, None].astype(np.float64), np.array([[0.0, *box]])
    if operation is ROI_POOL:
        small, _ = mm.kernels.roi_pool(features, rois, 14, spatial_scale=1 / stride)
    elif operation is ROI_WARP:
        rounded = quantize_rois(rois, 1 / stride)  # in whole cells
        small = mm.kernels.roi_align(features, rounded, 14, sampling_ratio=2)
    else:
        small = mm.kernels.roi_align(features, rois, 14, spatial_scale=1 / stride, sampling_ratio=2)
    x0, y0, x1, y1 = box if operation is ROI_ALIGN else [*box[:2], *(box[2:] + stride)]
    y = ((np.arange(height) + 0.5) - y0) / (y1 - y0) * 14 - 0.5
    x = ((np.arange(width) + 0.5) - x0) / (x1 - x0) * 14 - 0.5
    inside = ((y > -0.5) & (y < 13.5))[:, None] & ((x > -0.5) & (x < 13.5))
    return (bilinear(small[0, 0], y[:, None], x[None, :]) > 0.5) & inside


def iou(a, b):
    """Intersection over union of two masks."""
    return (a & b).sum() / (a | b).sum()


objects = [
    (m, b) for s in map(data.__getitem__, range(40)) for m, b in zip(s.masks, s.boxes, strict=True)
]
for stride in (4, 8, 16, 32):
    kept = {
        operation.name: np.mean(
            [iou(m, there_and_back(m, b, stride, operation)) for m, b in objects]
        )
        for operation in (ROI_POOL, ROI_WARP, ROI_ALIGN)
    }
    print(f"stride {stride:2}: mask IoU", "  ".join(f"{k} {v:.3f}" for k, v in kept.items()))

# %%
sample = data[2]
mask, box = sample.masks[0], sample.boxes[0]
figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.8), layout="constrained")
axes[0].imshow(sample.image)
axes[0].set(title="the mask; at stride 16:")
axes[0].contour(mask, [0.5], colors="white")
for axis, operation in zip(axes[1:], (ROI_POOL, ROI_ALIGN), strict=True):
    left = there_and_back(mask, box, 16, operation)
    axis.imshow(sample.image)
    axis.contour(left, [0.5], colors="white")
    axis.set(title=f"{operation.name}: IoU {iou(mask, left):.2f}")
for axis in axes:
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## The gradient
#
# RoIAlign's output is a weighted sum of cells, *y* = Σ *w* · *x*, with weights that depend on the
# box alone. So ∂*y*/∂*x* = *w*: every cell gets back the gradient of each bin times the weight with
# which the bin read it. RoIPool's output is *one* cell, so that cell gets everything and its
# neighbors nothing.
#
# `gradcheck` compares with a difference quotient. Silence means it agrees.

# %%
import minimask.functional as F
from minimask.tools.testing import gradcheck

features = rng.normal(size=(1, 2, 12, 16))
gradcheck(lambda x: F.roi_align(x, several, 3, sampling_ratio=2), features)
gradcheck(lambda x: F.roi_pool(x, several, 3), features)

figure, axes = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained")
for axis, operation in zip(axes, (ROI_POOL, ROI_ALIGN), strict=True):
    gradient = explore.pool(scene, operation).gradient
    figure.colorbar(axis.imshow(gradient, cmap="viridis"), ax=axis)
    axis.set(title=f"{operation.name}: {np.count_nonzero(gradient)} cells learn")
plt.show()

# %% [markdown]
# Now break it. Here is an operation that computes RoIAlign forward, and backward gives each bin's
# gradient to the *nearest* cell, as if it had been rounded. The mistake is easy to make and
# training would even work, a little worse. Which number in the message tells you what is wrong?

# %%
from minimask.autograd import Function


class Careless(Function):
    """RoIAlign with one sample a bin; its backward pass forgets the weights."""

    @staticmethod
    def forward(ctx, x, rois):
        ctx.save(x.shape, rois)
        return mm.kernels.roi_align(x, rois, 3, sampling_ratio=1)

    @staticmethod
    def backward(ctx, grad):
        shape, rois = ctx.saved
        (_, x0, y0, x1, y1), steps = rois[0], (np.arange(3) + 0.5) / 3
        rows, columns = np.int64(y0 + steps * (y1 - y0)), np.int64(x0 + steps * (x1 - x0))
        gradient = np.zeros(shape)
        gradient[0, :, rows[:, None], columns] = grad[0].transpose(1, 2, 0)
        return gradient, None


try:
    gradcheck(lambda x: Careless.apply(x, several), features)
except AssertionError as error:
    print(error)

# %% [markdown]
# ## The kernel ladder
#
# minimask computes RoIAlign in many ways, from the definition to what a GPU should do best. The
# step from `naive` to `separable` is an idea you can check on paper: interpolation treats rows and
# columns apart, so *out* = *A* · *F* · *B*ᵀ, and samples that lie between the same cells share
# their weights.
#
# How many numbers must a thread then read? The host shim runs the CUDA C++ on this CPU and counts
# (chapter 03 tells how).

# %%
from minimask.kernels.case import Case
from minimask.kernels.host_shim import build
from minimask.tools.kernel_lab import counting

many = np.concatenate([np.zeros((8, 1)), 16 * rng.uniform(1, 9, (8, 4))], 1).astype(np.float32)
many[:, 3:] = many[:, 1:3] + 16 * rng.uniform(8, 14, (8, 2))
features32 = rng.normal(size=(1, 32, 24, 24)).astype(np.float32)
case = Case("8 boxes", "roi_align", (features32, many, 7), {"spatial_scale": 1 / 16})
for variant in ("cuda_1_naive", "cuda_2_channels_last", "cuda_3_separable"):
    if build.why_not():
        print(build.why_not())
        break
    launches = counting.count("roi_align", variant, case)
    last = launches[-1].traffic  # the kernel itself; before it, features may change their order
    each = sum(t.read_bytes for t in last if t.name != counting.SHARED) / 4 / (8 * 32 * 49)
    sectors = sum(t.read_transactions for t in last if t.name != counting.SHARED)
    print(
        f"{variant:22} {each:5.1f} numbers read for one output, {sectors * 32 / 1e3:5.0f} kB moved"
    )

# %% [markdown]
# ## Your turn
#
# RoIPool as a kernel, with one thread for an output. The rounding itself is missing, about three
# lines: the rows `top` up to `bottom` and the columns `left` up to `right` of bin (i, j). The box
# covers `height` × `width` cells from (y0, x0). Whole-number division rounds down; for rounding up,
# add `PH - 1` first. What lies outside of the map is cut off.
#
# The check answers. Run it until `values` says *passed*.

# %%
import pathlib
import tempfile

from minimask.tools.kernel_lab import report, student
from minimask.tools.kernel_lab.contracts import contracts

MINE = r"""
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
  // your lines: the cells of bin (i, j), cut off at the map's borders

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
mine = pathlib.Path(tempfile.mkdtemp(), "mine.cu")
mine.write_text(MINE, encoding="utf-8")
for result in student.check(mine, contracts()["roi_pool"], ["values"]):
    print(report.result(result))

# %% [markdown]
# ## Measure
#
# A ResNet-50 detector pools 1000 boxes of 256 channels for every image. Here is an eighth of that,
# on one level. RoIPool reads whole cells and compares; RoIAlign multiplies and adds. Which will be
# faster, and by which factor? The `reference` is the definition in NumPy.

# %%
import time


def milliseconds(work, *arguments, **options):
    """The best of three runs, after one that compiles."""
    work(*arguments, **options)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work(*arguments, **options)
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


large = rng.normal(size=(1, 64, 100, 168)).astype(np.float32)
corner = rng.uniform(0, 1000, (500, 2))
boxes = np.concatenate([np.zeros((500, 1)), corner, corner + rng.uniform(60, 340, (500, 2))], 1)
boxes = boxes.astype(np.float32)
for name, function in {"roi_pool": mm.kernels.roi_pool, "roi_align": mm.kernels.roi_align}.items():
    for variant in ("reference", "cpu"):
        time_taken = milliseconds(function, large, boxes, 7, spatial_scale=1 / 8, variant=variant)
        print(f"{name:10} {variant:10} {time_taken:7.1f} ms here")

# %% [markdown]
# ## Where it sits in the network
#
# `model.stages` yields every intermediate of a prediction by name. Between the proposals of the
# first stage and the box head of the second stands RoIAlign: boxes of any size in, channels × 7 × 7
# out. Below, a proposal is pooled by hand from each level of the pyramid, and compared with what
# the network pooled: exactly one level should agree, that of the box's size. (The weights are
# random. The arithmetic does not mind.)

# %%
names = ["circle", "square", "triangle", "star"]
network = mm.models.maskrcnn_laptop(classes=names, min_size=256, anchor_sizes=(8, 16, 32, 64, 128))
stages = dict(network.stages(sample.image))
best = int(mm.kernels.box_iou(stages["rpn/proposals"], sample.boxes).max(1).argmax())
proposal = np.concatenate([[0], stages["rpn/proposals"][best]]).astype(np.float32)[None]
choices = {
    "sampling_ratio": network.convention.sampling_ratio,
    "aligned": network.convention.roi_aligned,
}
print("the proposal nearest to an object:", proposal[0, 1:].astype(float).round(1).tolist())
print(choices)
for level in range(4):
    features = stages[f"fpn/{level}"]
    stride = 256 // features.shape[2]
    ours = mm.kernels.roi_align(features, proposal, 7, spatial_scale=1 / stride, **choices)
    off = np.abs(ours[0] - stages["box/pooled"][best]).max()
    print(f"level P{level + 2}, stride {stride:2}: differs by {off:.1e}")

# %%
channel = int(stages["box/pooled"][best].std((1, 2)).argmax())  # the one with most to see
x0, y0, x1, y1 = proposal[0, 1:]
figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.8), layout="constrained")
axes[0].imshow(sample.image)
axes[1].imshow(stages["fpn/0"][0, channel], extent=(0, 256, 256, 0), cmap="viridis")
axes[2].imshow(stages["box/pooled"][best, channel], cmap="viridis")
for axis in axes[:2]:
    axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color="white", lw=2))
for axis, title in zip(axes, ("image, a proposal", "channel of P2", "pooled, 7 x 7"), strict=True):
    axis.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Exercises
#
# 1. Your turn, above.
# 2. Let `pool_by_definition` average instead. How many different values does the bin of the first
#    question take now, and how far do they jump?
# 3. Repair `Careless`: its backward pass must hand each bin's gradient to four cells, with the
#    weights of `bilinear`. `gradcheck` decides.
#
# Solutions, each of which is checked: `solutions/01_roi_pool_and_roi_align.py`. The paper measures
# what all this means for masks in its Table 2c and 2d; `minimask ablate` repeats that on generated
# images.
