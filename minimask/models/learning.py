"""What a training step computes: the losses of the first and of the second stage.

Letters: N images, R regions of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minimask.autograd import Tensor, zero_like
from minimask.autograd.arrays import Array, array_module
from minimask.autograd.hooks import stage
from minimask.conventions import Convention
from minimask.models import box_head, rpn
from minimask.models.box_head import Regions
from minimask.models.detections import Target
from minimask.models.roi_pooling import as_rois
from minimask.models.sampling import Samples
from minimask.models.transform import Batch, resize_target
from minimask.system.device import download, on_gpu

if TYPE_CHECKING:
    from minimask.models.faster_rcnn import FasterRCNN

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Lesson:
    """What both stages of a training step begin with."""

    pyramid: list[Tensor]
    batch: Batch
    targets: list[Target]  # per image, in the network's input


def begin(
    model: FasterRCNN,
    images: Sequence[np.ndarray],
    targets: Sequence[Target],
    rng: np.random.Generator,
) -> Lesson:
    """Resize images and targets, and compute the features."""
    batch = model.prepare(images, rng)
    resized = [resize_target(t, f, batch.shape) for t, f in zip(targets, batch.frames, strict=True)]
    return Lesson(model.backbone(Tensor(batch.images)), batch, resized)


def first_stage(
    model: FasterRCNN, lesson: Lesson, rng: np.random.Generator, samples: Samples | None = None
) -> tuple[Losses, list[np.ndarray]]:
    """The two losses of the proposal network, and its proposals in the network's input."""
    c, batch = model.convention, lesson.batch
    true_boxes = [t.boxes for t in lesson.targets]
    objectness, deltas = model.rpn.head(lesson.pyramid)
    shapes = [level.shape[2:] for level in lesson.pyramid]
    like = lesson.pyramid[0].data
    levels = model.rpn.anchors(shapes, batch.shape, like=like)
    anchors = model.rpn.anchors.together(shapes, batch.shape)
    there = model.rpn.anchors.together(shapes, batch.shape, like=like)
    matches = _match_anchors(there, true_boxes, c)
    if samples is None:
        chosen = rpn.sample_anchors(matches, c, rng)
        made = model.rpn.propose(objectness, deltas, levels, batch.frames, training=True)
        proposals = [boxes for boxes, _ in made]
    else:
        chosen = list(zip(samples.anchors_positive, samples.anchors_negative, strict=True))
        proposals = list(samples.proposals)
    wanted = [
        rpn.anchor_targets(anchors, positive, m, boxes, c)
        for (positive, _), m, boxes in zip(chosen, matches, true_boxes, strict=True)
    ]
    logits = rpn.flatten_levels(objectness, 1).reshape((len(true_boxes), -1))
    loss = rpn.rpn_loss(logits, rpn.flatten_levels(deltas, 4), chosen, wanted, c)
    return {"loss_objectness": loss[0], "loss_rpn_box_reg": loss[1]}, proposals


@stage("anchors, matching")
def _match_anchors(
    anchors: Array, true_boxes: Sequence[np.ndarray], convention: Convention
) -> list[np.ndarray]:
    """The object each anchor of each image is to find, on the CPU, where chance decides."""
    matches = [rpn.assign_anchors(anchors, boxes, convention) for boxes in true_boxes]
    if not on_gpu(anchors):
        return matches
    together = array_module(anchors).stack(matches).astype(np.int32)  # half as much to read
    return [m.astype(np.int64) for m in download(together, "matched anchors")]


def second_stage(
    model: FasterRCNN,
    lesson: Lesson,
    proposals: Sequence[np.ndarray],
    rng: np.random.Generator,
    samples: Samples | None = None,
) -> tuple[Losses, list[Regions]]:
    """The two losses of classes and boxes, and the regions of each image they are about."""
    regions = _choose_regions(model, lesson, proposals, rng, samples)
    rois = as_rois([r.boxes for r in regions])
    if len(rois):
        pooled = model.pool_boxes(lesson.pyramid, rois, lesson.batch.shape[0])
        logits, deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
        classifier, box_reg = box_head.box_loss(logits, deltas, regions, model.convention)
    else:
        classifier = box_reg = zero_like(lesson.pyramid[0])
    return {"loss_classifier": classifier, "loss_box_reg": box_reg}, regions


@stage("region sampling")
def _choose_regions(
    model: FasterRCNN,
    lesson: Lesson,
    proposals: Sequence[np.ndarray],
    rng: np.random.Generator,
    samples: Samples | None,
) -> list[Regions]:
    """The regions of each image that the second stage learns from."""
    c, regions = model.convention, []
    for n, (boxes, target) in enumerate(zip(proposals, lesson.targets, strict=True)):
        candidates = box_head.with_true_boxes(boxes, target.boxes, c)
        matches = box_head.assign_regions(candidates, target.boxes, c)
        if samples is None:
            chosen = box_head.sample_regions(matches, c, rng)
        else:
            chosen = samples.regions_positive[n], samples.regions_negative[n]
        regions.append(
            box_head.make_regions(
                candidates,
                matches,
                chosen,
                target.boxes,
                target.labels,
                len(model.classes) + 1,
                c,
            )
        )
    return regions
