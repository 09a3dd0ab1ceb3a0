"""What a model is asked for in a dry run: a prediction, or the losses of a training step.

Which boxes a network proposes and how many objects it finds depends on numbers, which a dry run
has not.  So they are given: as many proposals and objects as the model keeps at most.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.data.sample import Target
from minimask.kernels.dispatch import unchecked
from minimask.models.bodies import Body
from minimask.models.roi_pooling import as_rois

OBJECTS = 4  # of a training image


@dataclass(frozen=True)
class Counts:
    """Regions of one image."""

    proposals: int = 0  # that the second stage looks at
    objects: int = 0  # found, each with its mask and keypoints
    sampled: int = 0  # regions that the second stage learns from
    positives: int = 0  # of these, such as hold an object: the mask branch learns from them


def counts_of(model: Any) -> Counts:
    """As many of each as a model has at most."""
    heads = getattr(model, "roi_heads", None)
    if heads is None or not hasattr(model, "rpn"):
        return Counts()
    sampled = heads.sampler.batch_size_per_image
    share = heads.sampler.positive_fraction
    return Counts(
        model.rpn.post_nms_top_n_test,
        heads.detections_per_img,
        sampled,
        max(1, int(sampled * share)),
    )


@contextlib.contextmanager
def at_size(model: Any, size: tuple[int, int] | None) -> Iterator[None]:
    """Inside the block images of `size` are not resized; None: as always."""
    sizes = model.min_size, model.max_size
    if size is not None:
        model.min_size = model.max_size = None
    elif isinstance(model.min_size, tuple | list):  # training draws one; the last is the largest
        model.min_size = model.min_size[-1]
    try:
        yield
    finally:
        model.min_size, model.max_size = sizes


def predict(model: Any, images: list[np.ndarray], counts: Counts) -> None:
    """The network's part of a prediction, batch norm with its collected statistics."""
    was_training = model.training
    model.eval()
    try:
        with no_grad(), unchecked():
            if not counts.proposals:
                model.predict(images, batch_size=len(images))
                return
            batch = model.prepare(images)
            pyramid = model.backbone(Tensor(batch.images))
            model.rpn.head(pyramid)
            heads, shape = model.roi_heads, batch.shape
            heads.predict_boxes(pyramid, _rois(len(images), counts.proposals, shape), batch)
            found = _rois(len(images), counts.objects, shape)
            if len(found) and heads.mask_head is not None:
                heads.predict_masks(pyramid, found, batch)
            if len(found) and getattr(heads, "keypoint_head", None) is not None:
                heads.predict_keypoints(pyramid, found, batch)
    finally:
        model.train(was_training)


def losses(model: Any, images: list[np.ndarray], counts: Counts) -> Tensor:
    """The sum of the losses of a training step."""
    rng = np.random.default_rng(0)
    targets = [_target(model, image) for image in images]
    model.train()
    if not counts.proposals:
        found = model.losses(images, targets, rng=rng)
    else:
        with unchecked():
            batch, targets = model.prepare_training(images, targets, rng)
            pyramid = model.backbone(Tensor(batch.images))
            _, found = model.rpn(pyramid, batch, targets, rng)
            proposals = [_proposals(t.boxes, counts, batch.shape) for t in targets]
            found |= model.roi_heads(pyramid, proposals, batch, targets, rng)[1]
    first, *others = found.values()
    for loss in others:
        first = first + loss
    return first


def body_of(model: Any) -> Body | None:
    """The network below pyramid and heads."""
    return next((m for m in model.modules() if isinstance(m, Body)), None)


def _rois(images: int, count: int, shape: tuple[int, int]) -> np.ndarray:
    """(images * count, 5) RoIs, each a quarter of the image."""
    height, width = shape
    box = np.array([[width / 4, height / 4, width / 2, height / 2]], np.float32)
    return as_rois([box.repeat(count, axis=0)] * images)


def _target(model: Any, image: np.ndarray) -> Target:
    """A few objects in the left half, one below the other."""
    height, width = image.shape[:2]
    step = height / OBJECTS
    boxes = [[0, i * step, width / 2 - 1, (i + 1) * step - 1] for i in range(OBJECTS)]
    masks, keypoints = np.ones((OBJECTS, height, width), bool), None
    skeleton = getattr(model, "skeleton", None)
    if skeleton is not None:
        y = np.arange(OBJECTS, dtype=np.float32)[:, None] * step + step / 2
        count = len(skeleton.names)
        points = [np.full((OBJECTS, count), width / 4), y.repeat(count, 1)]
        keypoints = np.stack([*points, np.full((OBJECTS, count), 2)], axis=2).astype(np.float32)
    labels = np.zeros(OBJECTS, np.int64)
    return Target(np.array(boxes, np.float32), labels, masks, keypoints)


def _proposals(boxes: np.ndarray, counts: Counts, shape: tuple[int, int]) -> np.ndarray:
    """Just so many boxes that hold an object, and enough that hold none."""
    height, width = shape
    copies = max(0, counts.positives - len(boxes))
    nowhere = np.array([[width / 2 + 1, 0, width - 1, height - 1]], np.float32)
    parts = [boxes[np.arange(copies) % len(boxes)], nowhere.repeat(counts.sampled, axis=0)]
    return np.concatenate(parts).astype(np.float32)
