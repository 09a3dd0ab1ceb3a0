"""The best mask that misaligned bins allow: known perfectly where they read, pasted where meant.

A mask head sees a box as a grid of bins and answers with a grid of mask cells, which is then
stretched over the box (Mask R-CNN, section 3.1).  Suppose it made no mistake: each mask cell says
how much of the object there is at the place its bin is read from.  What its mask then lacks is
the fault of the grid and of the bins' places alone.  The mean shift of each bin, which is the same
for every box, counts as learned and is taken off first.

Letters: H W height and width of an image, M mask cells a side, P bins a side.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from minimask.data.sample import boxes_of_masks
from minimask.data.shapes import Shapes
from minimask.models.paste import THRESHOLD, paste_mask
from minimask.tools.textbook.explore.misalignment import offsets
from minimask.tools.textbook.explore.operations import ROI_ALIGN, ROI_POOL, ROI_WARP
from minimask.tools.textbook.explore.scene import STRIDES

BINS = 14  # a side, as the mask head of an FPN pools
CELLS = 28  # a side of its mask
DIAMETERS = (32, 64, 128, 256)  # of the objects, in pixels
OPERATIONS = (ROI_POOL, ROI_WARP, ROI_ALIGN)
LOOSE = 2.0  # pixels at most between an object and its box: boxes do not end on whole pixels
CLASSES = ("circle", "square", "triangle", "star", "ring", "cross", "hexagon", "moon")


@dataclass(frozen=True)
class BoundRow:
    """One operation, for objects of one size, at one stride.

    Attributes:
        operation: its name.
        diameter: of the objects, in pixels.
        stride: pixels a cell.
        iou: mean mask IoU.
        above: share of the objects whose mask IoU is at least 0.75.
    """

    operation: str
    diameter: int
    stride: int
    iou: float
    above: float


@dataclass(frozen=True)
class Bound:
    """The table, how many objects of each size are behind it, and the seconds it took."""

    rows: tuple[BoundRow, ...]
    objects: int
    seconds: float

    def iou(self, operation: str, diameter: int, stride: int) -> float:
        """Mean mask IoU of one row."""
        key = (operation, diameter, stride)
        return next(r.iou for r in self.rows if (r.operation, r.diameter, r.stride) == key)


def measure(objects: int = 100, seed: int = 0) -> Bound:
    """Measure all operations, sizes and strides on the same generated objects.

    Args:
        objects: of each size.
        seed: of the objects and their boxes.
    """
    began = time.perf_counter()
    rows = []
    for diameter in DIAMETERS:
        masks, boxes = _objects(diameter, objects, seed)
        for operation in OPERATIONS:
            for stride in STRIDES:
                off = offsets(operation, boxes, 1 / stride, BINS) * stride
                off = off - off.mean(axis=0)
                pairs = zip(masks, boxes, off, strict=True)
                ious = np.array([best_iou(mask, box, own) for mask, box, own in pairs])
                above = float((ious >= 0.75).mean())
                rows.append(BoundRow(operation.name, diameter, stride, float(ious.mean()), above))
    return Bound(tuple(rows), objects, time.perf_counter() - began)


def best_iou(mask: np.ndarray, box: np.ndarray, off: np.ndarray) -> float:
    """Mask IoU of an object with what its bins allow.

    Args:
        mask: (H, W) bool.
        box: (4,) x0 y0 x1 y1 in pixels.
        off: (2, P): how far the rows and the columns of bins are read beside their places, pixels.
    """
    grid = read_mask(mask, box, off)
    pasted = paste_mask(grid, box, mask.shape[0], mask.shape[1], way="detectron2") >= THRESHOLD
    union = np.count_nonzero(pasted | mask)
    return np.count_nonzero(pasted & mask) / union if union else 1.0


def read_mask(mask: np.ndarray, box: np.ndarray, off: np.ndarray) -> np.ndarray:
    """(M, M) float32: the object's share of every mask cell, at the place it is read from."""
    share = CELLS // off.shape[1]
    rows = _edges(box[1], box[3], off[0].repeat(share))
    columns = _edges(box[0], box[2], off[1].repeat(share))
    held = boxes_of_masks(mask[None])[0].astype(int)  # the rest of the image is empty
    part = mask[held[1] : held[3], held[0] : held[2]].astype(np.float64)
    inside = _sums(_sums(part, rows - held[1]).T, columns - held[0]).T
    area = (rows[:, 1] - rows[:, 0])[:, None] * (columns[:, 1] - columns[:, 0])
    return (inside / area).astype(np.float32)


def _edges(low: float, high: float, off: np.ndarray) -> np.ndarray:
    """(M, 2): begin and end of each mask cell, moved by `off`."""
    edge = low + (high - low) * np.arange(len(off) + 1) / len(off)
    return np.stack([edge[:-1] + off, edge[1:] + off], axis=1)


def _sums(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The sum of rows from each begin to each end, (L, C), (M, 2) -> (M, C); rows may be cut."""
    length = len(values)
    totals = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    at = edges.clip(0, length)
    low = np.minimum(at.astype(np.int64), length - 1)
    part = (at - low)[:, :, None]
    up_to = totals[low] * (1 - part) + totals[low + 1] * part
    return up_to[:, 1] - up_to[:, 0]


def _objects(diameter: int, count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Masks of single shapes of that size, and boxes a little loose: (count, 4) float64."""
    side = diameter * 2
    shapes = Shapes(
        count, side, seed, CLASSES, objects=(1, 1), object_size=(0.4, 0.6), rotation=180
    )
    rng = np.random.default_rng(seed)
    masks, boxes = [], []
    for i in range(count):
        sample = shapes[i]
        for mask, box in zip(sample.masks, sample.boxes, strict=True):
            slack = rng.uniform(0, LOOSE, 4)
            masks.append(mask)
            boxes.append(box + slack * (-1, -1, 1, 1))
    return masks, np.array(boxes, np.float64)


def table(bound: Bound) -> str:
    """The measurement as text: a line for each size and operation, a column for each stride."""
    name = max(len(operation.name) for operation in OPERATIONS)
    heads = "".join(f"  {f'stride {stride}':>9}" for stride in STRIDES)
    lines = [
        f"The best mask IoU that the bins allow: {bound.objects} shapes of each size, "
        f"{BINS} x {BINS} bins, {CELLS} x {CELLS} mask, {bound.seconds:.1f} s",
        "",
        f"{'pixels':>6}  {'operation':<{name}}{heads}",
    ]
    for diameter in DIAMETERS:
        for operation in OPERATIONS:
            ious = [bound.iou(operation.name, diameter, stride) for stride in STRIDES]
            values = "".join(f"  {iou:>9.3f}" for iou in ious)
            lines.append(f"{diameter:>6}  {operation.name:<{name}}{values}")
    return "\n".join(lines)
