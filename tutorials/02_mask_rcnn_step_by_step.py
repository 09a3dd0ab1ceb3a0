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
# # 02 · Mask R-CNN, step by step
#
# One image goes through a trained Mask R-CNN, and we stop after every step and look. By the end you
# will have counted the anchors, moved a box, computed a class's probability and derived the
# gradient of a mask by hand, each equal to what the network has.
#
# **Needs** no GPU and no download. If `make demo` has been run, its model is taken; otherwise a
# small one is trained below, in about a minute. About 45 minutes to read and try.

# %%
import minimask as mm

mm.runtime.prepare()  # before NumPy loads: threads that wait go to sleep
import matplotlib.pyplot as plt
import numpy as np

mm.hello()

# %% [markdown]
# ## A picture and a question
#
# Left an image, right the objects in it. The network looks at thousands of boxes, its **anchors**,
# and must end with one box and one mask for each object. Nothing is ever searched: every anchor is
# asked the same questions at once, and then boxes are thrown away, several times.
#
# Guess the numbers left at three points. They are printed when we get there.

# %%
my_guess = {"anchors": None, "proposals": None, "objects found": None}  # your numbers here

import pathlib
import tempfile

from minimask import draw
from minimask.data import Shapes

run_folder = pathlib.Path("../runs/demo")
demo = (run_folder / "model.safetensors").is_file()
if demo:
    look = {"size": 128}
else:  # easier images than the demo's, so that a minute of training is enough
    look = {"size": 96, "object_size": (0.3, 0.55), "noise": 0, "objects": (1, 3)}
    look |= {"classes": ("circle", "square", "triangle"), "min_visible": 0.9}
unseen = Shapes(40, seed=2**31, **look)
sample = next(s for s in unseen if len(set(s.labels)) == 3)

figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
axes[0].imshow(sample.image)
axes[1].imshow(draw.draw_target(sample.image, sample, unseen.classes, size=300))
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## A model
#
# The smallest network of minimask, with random weights, learns from images that are drawn as it
# asks for them. The metric, average precision (AP), is measured on 40 images it has never seen.

# %%
from minimask.train import TrainSettings, train

if demo:
    model = mm.open_run(run_folder).model
    print("the model of `make demo`")
else:
    sizes = {"min_size": 96, "max_size": 96, "anchor_sizes": (8, 16, 32, 64, 128)}
    model = mm.models.maskrcnn_laptop(classes=unseen.classes, **sizes)
    settings = TrainSettings(steps=340, batch=6, lr=2e-3, warmup=20, pictures=0)
    folder = pathlib.Path(tempfile.mkdtemp(), "run")
    summary = train(model, Shapes(**look), settings, folder, val=unseen, progress=False)
    print(f"trained on {settings.steps} x {settings.batch} images")
    print(*summary["table"].splitlines()[:3], sep="\n")

# %% [markdown]
# ## The trace
#
# `trace` predicts once, and then does one step of training on the same image (without changing the
# model), and keeps everything on the way. Each line below is a step: `run["rpn-scores"]` shows it
# with formula, code and pictures, `run.rpn.scores` is a plain array, and `run.write("book.html")`
# makes a page of it all.

# %%
from minimask.tools.textbook.trace import trace

run = trace(model, sample.image, sample.target)
run

# %% [markdown]
# ## Backbone and pyramid
#
# A ResNet halves the image five times; its maps see more and more, ever more coarsely. The
# **feature pyramid** goes back up and adds what the coarse maps know to the fine ones. So P2
# (stride 4) knows *what* as well as *where*. Here is the strength of each level's features.

# %%
size = run.transform.image.shape[-1]
figure, axes = plt.subplots(1, 6, figsize=(9, 1.9), layout="constrained")
axes[0].imshow(sample.image)
axes[0].set_title("image")
for level, axis in enumerate(axes[1:]):
    features = run.fpn["pool" if level == 4 else level]  # (1, C, H, W)
    axis.imshow(np.square(features[0]).mean(0) ** 0.5)
    axis.set_title(f"P{level + 2}, stride {4 << level}", fontsize="small")
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Anchors, by hand
#
# In the center of every cell sit three anchors of one size, low, square and tall. The sizes grow
# with the level. So level P2 of an image of 96 pixels has (96 / 4)² × 3 = 1728 anchors. Count the
# other levels yourself (strides 8, 16, 32, 64, rounded up) and compare.

# %%
counts = [3 * (-(-size // stride)) ** 2 for stride in (4, 8, 16, 32, 64)]
print(
    " + ".join(map(str, counts)), "=", sum(counts), "anchors; the network has", len(run.rpn.anchors)
)
print("the first three:", run.rpn.anchors[:3].round(1).tolist())

# %% [markdown]
# ## Move a box: formula and reference
#
# For each anchor the **region proposal network** says how likely there is an object, and by which
# *deltas* to move and stretch the anchor onto it:
#
# - center: *x* = *x*ₐ + *dx* · *w*ₐ, likewise *y*
# - size: *w* = *w*ₐ · exp(*dw*), likewise *h*
#
# By hand: an anchor of 32 × 32 with its center at (40, 40), and deltas (0.25, 0, ln 2, 0). The
# center moves right by 8, the width doubles: the box runs from 16 to 80 and from 24 to 56.

# %%
from minimask.boxes import decode
from minimask.tools.testing import assert_close


def move(anchor, deltas):
    """The box that the deltas make of an anchor, both x0 y0 x1 y1 and dx dy dw dh."""
    x0, y0, x1, y1 = anchor
    dx, dy, dw, dh = deltas
    x, y = (x0 + x1) / 2 + dx * (x1 - x0), (y0 + y1) / 2 + dy * (y1 - y0)
    w, h = (x1 - x0) * np.exp(dw), (y1 - y0) * np.exp(dh)
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


anchors, deltas = np.array([[24.0, 24, 56, 56]]), np.array([[0.25, 0, np.log(2), 0]])
example = move(anchors[0], deltas[0])
assert_close(example[None], decode(deltas, anchors))
print(example.round(6).tolist())
# %% [markdown]
# ## The funnel
#
# Now boxes are thrown away: the best of each level are kept, moved, clipped at the border, and of
# those that overlap much only the best survive (**non-maximum suppression**). *Recall* is the share
# of true objects that some box still covers with an IoU of at least 0.5. Moving boxes can raise it;
# throwing boxes away can only lower it.

# %%
funnel = run.context.proposal_filter
for cut in funnel:
    overlap = mm.kernels.box_iou(cut.boxes.astype(np.float32), sample.boxes.astype(np.float32))
    recall = (overlap.max(0) >= 0.5).mean()
    print(f"{cut.name:32} {len(cut.boxes):5} boxes, recall {recall:.2f}")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axis, cut in zip(axes, (funnel[0], funnel[1], funnel[-1]), strict=True):
    axis.imshow(sample.image)
    for box in cut.boxes[np.argsort(-cut.scores)[:40]]:
        (x0, y0, x1, y1), style = box, {"fill": False, "color": "white", "lw": 0.7}
        axis.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, **style))
    axis.set(title=f"{cut.name}: the best 40", xlim=(0, size), ylim=(size, 0))
    axis.axis("off")
plt.show()
print("your guess:", my_guess)

# %% [markdown]
# Every step shows itself, too, with the lines of code that compute it:

# %%
run["roi-align"]

# %% [markdown]
# ## Classes and boxes
#
# RoIAlign cuts each proposal out of the pyramid as 7 × 7 numbers a channel (chapter 01). Two fully
# connected layers make of them one score for each class, background included, and for each class
# its own four deltas. **Softmax** turns scores into probabilities. Let us do that for the region
# that became the best detection.

# %%
region, names = run.context.roi, run.context.class_names
logits = run.box.cls_logits[region].astype(np.float64)
probabilities = np.exp(logits - logits.max())
probabilities /= probabilities.sum()
for name, logit, probability in zip(names, logits, probabilities, strict=True):
    print(f"{name:12} score {logit:6.2f}  probability {probability:.3f}")

c = model.convention
label = int(np.argmax(run.out.scores))
row = names.index(model.classes[run.out.labels[label]])
deltas = run.box.deltas[region].reshape(-1, 4)[row] / np.array(c.box_weights)
print("moved by hand:  ", move(run.rpn.proposals[region], deltas).round(2).tolist())
print("of the network: ", run.out.boxes[label].astype(float).round(2).tolist())

# %% [markdown]
# A box that reaches outside of the image is clipped; everything else agrees. What scores too low
# has been dropped, and now, class by class, non-maximum suppression once more:

# %%
run["class-nms"]

# %% [markdown]
# ## Masks
#
# The mask branch draws *one mask for each class*, 28 × 28, with no competition among them: each
# number goes through its own sigmoid. The class was decided before; its mask is taken and the
# others are never looked at. This is the paper's idea, and what the next cell shows.

# %%
logits = run.mask.logits[label]  # (K, 28, 28), with a channel for background or without
channels = names if len(logits) == len(names) else list(model.classes)
figure, axes = plt.subplots(1, len(logits), figsize=(9, 2.4), layout="constrained", squeeze=False)
for axis, channel, name in zip(axes[0], logits, channels, strict=True):
    shown = axis.imshow(1 / (1 + np.exp(-channel)), vmin=0, vmax=1, cmap="viridis")
    taken = name == model.classes[run.out.labels[label]]
    axis.set_title(f"{name}{': taken' if taken else ''}", fontsize="small")
    axis.axis("off")
figure.colorbar(shown, ax=axes, shrink=0.8)
plt.show()

# %% [markdown]
# ## The gradient of a mask
#
# One number of a mask has the score *x* and should be *t*, 1 inside and 0 outside. Its loss is
# −*t* log σ(*x*) − (1 − *t*) log(1 − σ(*x*)). As σ′ = σ(1 − σ), nearly everything cancels, and the
# gradient is σ(*x*) − *t*: what it says minus what is true. The mean over the mask divides it by
# 28 · 28.
#
# And the masks of other classes? They are not in the loss. Their gradient is exactly 0.

# %%
import minimask.functional as F
from minimask.tools.testing import gradcheck

rng = np.random.default_rng(0)
truth = (rng.uniform(size=(1, 28, 28)) > 0.5).astype(np.float64)


def mask_loss(x, label=1):
    """(1, K, 28, 28) -> the loss of one region's mask, of the class it has."""
    return F.binary_cross_entropy_with_logits(x[:, label], truth)


x = mm.Tensor(rng.normal(size=(1, len(channels), 28, 28)), requires_grad=True)
mask_loss(x).backward()
gradcheck(mask_loss, x.data)
assert_close(x.grad[0, 1], (1 / (1 + np.exp(-x.data[0, 1])) - truth[0]) / 28**2)
print("largest gradient in each class's mask:", abs(x.grad[0]).max((1, 2)).round(6).tolist())

# %% [markdown]
# Break it: a backward pass that forgets the truth and returns σ(*x*) alone. Training with it would
# push all masks to nothing, and the loss would fall at first, as most of a mask is often outside.

# %%
from minimask.autograd import Function


class Forgetful(Function):
    """Binary cross-entropy whose backward pass forgets `truth`."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x)
        return np.mean(np.log1p(np.exp(x)) - truth * x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        return grad / (1 + np.exp(-x)) / x.size


try:
    gradcheck(Forgetful.apply, rng.normal(size=(1, 28, 28)))
except AssertionError as error:
    print(error)

# %% [markdown]
# ## Back into the image
#
# The 28 × 28 numbers are stretched over the detected box and cut at 0.5. Beside it, what is true. A
# minute of training leaves mistakes: an object may be missing, found twice, or misnamed.

# %%
(found,) = model.predict([sample.image])
shown = draw.overlay(sample.image, found, min_score=0.5, size=300)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
axes[0].imshow(run.out.masks[label, 0], vmin=0, vmax=1)
axes[1].imshow(shown)
axes[2].imshow(draw.draw_target(sample.image, sample, unseen.classes, size=300))
titles = ("the best mask, soft", "found, scores above 0.5", "true")
for axis, title in zip(axes, titles, strict=True):
    axis.set_title(title)
    axis.axis("off")
plt.show()
print(f"{len(sample.boxes)} objects, {(found.scores > 0.5).sum()} detections above 0.5")
print("your guess:", my_guess)

# %% [markdown]
# ## Five losses
#
# Training compares with the truth in five places: two in the first stage (is there an object, and
# where), three in the second (which class, where exactly, which pixels). They are simply added. The
# gradient then flows back through everything above. Which part do you expect to get the most?

# %%
for name, value in run.training.losses.items():
    print(f"{name:20} {value:.4f}")
print(f"{'sum':20} {sum(run.training.losses.values()):.4f}")

parts = {}
for name, length in run.training.gradients.items():
    part = ".".join(name.split(".")[:2])
    parts[part] = parts.get(part, 0) + (length or 0) ** 2
figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
axis.barh(list(parts), np.sqrt(list(parts.values())))
axis.invert_yaxis()
axis.set(xlabel="length of the gradient", title="what reaches each part of the network")
plt.show()

# %% [markdown]
# ## Ladder and clock
#
# Every operation of the network has several forms. `mm.using` chooses: the NumPy formulas, or the
# compiled loops that are taken by default. The numbers must agree; how much time lies between?

# %%
import time


def predict(variant):
    """What is found, and the seconds of the better of two runs."""
    times = []
    for _ in range(2):
        began = time.perf_counter()
        with mm.using(variant):
            (found,) = model.predict([sample.image])
        times.append(time.perf_counter() - began)
    return found, min(times)


(slow, slow_time), (fast, fast_time) = predict("reference"), predict("cpu")
print(f"reference {1000 * slow_time:6.1f} ms here, compiled {1000 * fast_time:6.1f} ms here")
print("largest difference of a box, in pixels:", f"{abs(slow.boxes - fast.boxes).max():.0e}")

# %% [markdown]
# ## Your turn
#
# Write non-maximum suppression. Boxes come with scores; go through them from the best score down,
# and keep a box unless it overlaps one already kept by more than the threshold. About three lines
# are missing. The check answers with the first box that is wrong.


# %%
def my_nms(boxes, scores, threshold):
    """(R, 4), (R,) -> the indices of the boxes that are kept, best first."""
    overlap = mm.kernels.box_iou(boxes, boxes)  # (R, R)
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if overlap[i, i] > threshold:  # your lines instead: this keeps every box
            kept.append(int(i))
    return kept


def check_nms(mine):
    """Compare with minimask's on the network's own boxes and on random ones."""
    cut = funnel[-3]  # before the network's own suppression
    corner = rng.uniform(0, 60, (50, 2))
    random = np.concatenate([corner, corner + rng.uniform(5, 30, (50, 2))], 1)
    for boxes, scores in ((cut.boxes, cut.scores), (random, rng.permutation(50) / 50)):
        boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
        wanted = mm.kernels.nms(boxes, scores, 0.5).tolist()
        ours = mine(boxes, scores, 0.5)
        for place, (a, b) in enumerate(zip(ours, wanted, strict=False)):
            if a != b:
                return f"place {place} of the result: you keep box {a}, minimask box {b}"
        if len(ours) != len(wanted):
            return f"you keep {len(ours)} boxes, minimask {len(wanted)}"
    return "yours does the same"


print(check_nms(my_nms))

# %% [markdown]
# ## Exercises
#
# 1. Your turn, above.
# 2. Which level is a proposal cut from? The pyramid's paper says ⌊4 + log₂(√(*w h*) / 224)⌋, not
#    less than 2 and not more than 5. Compute it for all proposals and compare with
#    `run.rpn.levels`, in which P2 is 0.
# 3. Stretch `run.mask.logits` of a detection over its box yourself: a sigmoid, a border of zeros
#    around the 28 × 28, then bilinearly at the centers of the pixels. Compare with `run.out.masks`.
#
# Solutions, each of which is checked: `solutions/02_mask_rcnn_step_by_step.py`. The same trace of
# your own photograph is `minimask trace photo.jpg --out book`.
