"""Anchors: the boxes of fixed shapes everywhere, and which of them stand for a ground-truth object.

Letters: A anchors per cell, B anchors of all levels, G ground-truth objects, H W cells of a level.
"""

from __future__ import annotations

import numpy as np

from minimask.boxes import decode
from minimask.draw.colors import PALETTE
from minimask.kernels import box_iou
from minimask.models.anchors import AnchorGenerator, cell_anchors
from minimask.models.matcher import BACKGROUND, IGNORED, Matcher
from minimask.models.rpn import RPN, anchor_targets
from minimask.tools.textbook.trace.charts import histogram
from minimask.tools.textbook.trace.context import TraceContext, most, picture_of
from minimask.tools.textbook.trace.drawing import IGNORED as IGNORED_COLOR
from minimask.tools.textbook.trace.drawing import NEGATIVE, POSITIVE, TRUTH, Sheet, photo
from minimask.tools.textbook.trace.steps import Picture, Step, Table

PART = "First stage: where might there be an object?"
DRAWN = 100  # boxes in a crowded picture
CLOSE = 10  # pixels: centers nearer to each other than this are not drawn


def anchor_step(context: TraceContext) -> Step:
    """All anchors, and those of the central cell of every level."""
    grid: AnchorGenerator = context.model.rpn.anchor_generator
    names, strides = context.level_names, context.strides
    maps = context.prediction.levels("rpn/objectness/")
    cells = [a.shape[2:] for a in maps]
    counts = [h * w * grid.per_cell for h, w in cells]
    rows = [
        [name, str(stride), f"{h} × {w}", f"{count:,}", _sizes(cell)]
        for name, stride, (h, w), count, cell in zip(
            names, strides, cells, counts, grid.cells, strict=True
        )
    ]

    def draw() -> list[Picture]:
        sheet, ends = Sheet(context.shown, dim=0.6), np.cumsum([0, *counts])
        for i, (h, w) in enumerate(cells):
            start = ends[i] + ((h // 2) * w + w // 2) * grid.per_cell
            own = context.arrays["rpn/anchors"][start : start + grid.per_cell]
            sheet.boxes(own, PALETTE[i % len(PALETTE)], [names[i]])
            x, y = (own[0, 0::2].mean(), own[0, 1::2].mean())
            sheet.points(np.array([x]), np.array([y]), TRUTH, 3)
        return [
            photo(sheet.pixels, "The anchors of one cell near the middle of every level."),
            photo(
                _centers(context, cells),
                "Where anchors sit: centers of the coarser levels, by color.",
            ),
        ]

    return Step(
        key="anchors",
        part=PART,
        title="Anchors of every level",
        words=("anchors", "k boxes for each location"),
        paper="Faster R-CNN, section 3.1.1; FPN, section 4.1",
        text=(
            "At every cell stand boxes of the same shapes, whatever the image shows. An anchor is "
            "not yet a proposal: that is an anchor which the network has judged and moved.",
        ),
        formula=(
            "area = size²,  height / width = ratio",
            "width = size / √ratio,  height = size · √ratio",
            f"anchors = Σ over levels of H · W · {grid.per_cell} = {sum(counts):,}",
        ),
        functions=(cell_anchors, AnchorGenerator._level),
        arrays=context.pick("rpn/anchors"),
        facts=(("anchors", f"{sum(counts):,}"), ("for each cell", str(grid.per_cell))),
        tables=(
            Table("By level", ("level", "stride", "cells", "anchors", "width × height"), rows),
        ),
        seconds=context.prediction.spent("rpn/anchors"),
        draw=draw,
    )


def _sizes(cell: np.ndarray) -> str:
    """The anchors of a cell as width × height."""
    return ", ".join(f"{x1 - x0:g} × {y1 - y0:g}" for x0, y0, x1, y1 in np.round(cell, 1))


def _centers(context: TraceContext, cells: list[tuple[int, ...]]) -> np.ndarray:
    """The centers of the anchors of the levels that are coarse enough to be told apart."""
    sheet, start = Sheet(context.shown, dim=0.6), 0
    per_cell, anchors = context.model.rpn.anchor_generator.per_cell, context.arrays["rpn/anchors"]
    for i, (h, w) in enumerate(cells):
        own = anchors[start : start + h * w * per_cell : per_cell]
        start += h * w * per_cell
        if context.strides[i] * sheet.factor < CLOSE:
            continue
        x, y = own[:, 0::2].mean(axis=1), own[:, 1::2].mean(axis=1)
        radius = min(1.0 + 0.7 * i, context.strides[i] * sheet.factor / 4)
        sheet.points(x, y, PALETTE[i % len(PALETTE)], radius)
    return sheet.pixels


def matching_step(context: TraceContext) -> Step | None:
    """IoU with the ground-truth objects, and what follows from it; None without a training step."""
    training, matcher = context.training, context.model.rpn.matcher
    if training is None:
        return None
    anchors, gt_boxes = training.anchors, training.target.boxes
    matches = training.matches
    best = _best_iou(anchors, gt_boxes)
    kinds = {"positive": matches >= 0, "negative": matches == BACKGROUND}
    kinds["ignored"] = matches == IGNORED
    per_object = [int((matches == i).sum()) for i in range(len(gt_boxes))]
    forced = int(((matches >= 0) & (best < matcher.fg_iou_thresh)).sum())

    def draw() -> list[Picture]:
        return _matching_pictures(context, anchors, matches, best)

    return Step(
        key="anchor-matching",
        part=PART,
        title="IoU with the ground truth, and the matching",
        words=("ground truth label p*", "intersection over union (IoU)", "positive anchor"),
        paper="Faster R-CNN, section 3.1.2",
        text=(
            f"An anchor is positive if an object overlaps it by {matcher.fg_iou_thresh:g} or more, "
            "or if it is the best there is for an object, so that no object goes without. It is "
            f"negative if no object overlaps it by {matcher.bg_iou_thresh:g}, and plays no part in "
            "between. This happens in training only: a prediction knows no ground truth.",
        ),
        formula=(
            "IoU(a, b) = area(a ∩ b) / area(a ∪ b)",
            f"p* = 1 if IoU ≥ {matcher.fg_iou_thresh:g}, or best of an object;  "
            f"p* = 0 if IoU < {matcher.bg_iou_thresh:g};  else ignored",
        ),
        functions=(RPN.match, Matcher.__call__),
        arrays={"train/anchor_iou": best, "train/anchor_matches": matches},
        facts=(
            *((kind, f"{int(mask.sum()):,}") for kind, mask in kinds.items()),
            ("positive only as the best of an object", str(forced)),
        ),
        tables=(_object_table(context, gt_boxes, per_object, anchors),),
        seconds=training.seconds.get("anchors, matching"),
        draw=draw,
    )


def _best_iou(anchors: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(B,) the largest IoU of each anchor with an object."""
    if len(objects) == 0:
        return np.zeros(len(anchors), np.float32)
    return box_iou(np.ascontiguousarray(objects, np.float32), anchors).max(axis=0)


def _object_table(
    context: TraceContext, objects: np.ndarray, counts: list[int], anchors: np.ndarray
) -> Table:
    assert context.training is not None
    rows = []
    for i, (box, label) in enumerate(zip(objects, context.training.target.labels, strict=True)):
        iou = box_iou(np.ascontiguousarray(box[None], np.float32), anchors)[0]
        size = f"{box[2] - box[0]:.0f} × {box[3] - box[1]:.0f}"
        rows.append([str(i), context.name(label), size, str(counts[i]), f"{iou.max():.2f}"])
    header = ("object", "class", "width × height", "positive anchors", "best IoU")
    return Table("By object", header, rows, folded=len(rows) > 8)


def _matching_pictures(
    context: TraceContext, anchors: np.ndarray, matches: np.ndarray, best: np.ndarray
) -> list[Picture]:
    training, rpn = context.training, context.model.rpn
    matcher = rpn.matcher
    assert training is not None
    image, objects = picture_in_training(context), training.target.boxes
    positive = most(np.flatnonzero(matches >= 0), DRAWN)
    target_deltas = anchor_targets(anchors, positive, matches, objects, rpn.box_weights)
    targets = decode(target_deltas, anchors[positive], rpn.box_weights, rpn.delta_clamp)
    negative = most(np.flatnonzero(matches == BACKGROUND), DRAWN)
    ignored = most(np.flatnonzero(matches == IGNORED), DRAWN)
    bounds = [
        (matcher.bg_iou_thresh, "negative below"),
        (matcher.fg_iou_thresh, "positive from here"),
    ]
    good = Sheet(image, 0.6).boxes(anchors[positive], POSITIVE, width=1).boxes(targets, TRUTH)
    bad = Sheet(image, 0.6).boxes(anchors[negative], NEGATIVE, width=1).boxes(objects, TRUTH)
    between = Sheet(image, 0.6).boxes(anchors[ignored], IGNORED_COLOR, width=1)
    return [
        histogram(
            best,
            "Largest IoU of every anchor with an object; heights are logarithmic.",
            limits=(0, 1),
            marks=bounds,
            logarithmic=True,
        ),
        photo(good.pixels, f"{len(positive)} positive anchors (green), moved as they should be."),
        photo(bad.pixels, f"{len(negative)} of the negative anchors; white: the objects."),
        photo(
            between.boxes(objects, TRUTH).pixels,
            f"{len(ignored)} of the ignored anchors, neither positive nor negative.",
        ),
    ]


def picture_in_training(context: TraceContext) -> np.ndarray:
    """The training step's input as an image."""
    assert context.training is not None
    return picture_of(context.training.batch, context.model.convention)
