"""A prediction one step at a time: every intermediate with its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from minimask.autograd import Tensor
from minimask.models import box_head, mask_head
from minimask.models.box_head import Found
from minimask.models.mask_head import MaskBranch
from minimask.models.roi_pooling import as_rois
from minimask.models.transform import Batch
from minimask.system.device import download

if TYPE_CHECKING:
    from minimask.models.faster_rcnn import FasterRCNN
    from minimask.models.mask_rcnn import MaskRCNN

Steps = Iterator[tuple[str, np.ndarray]]


def trace(model: FasterRCNN, image: np.ndarray) -> Steps:
    """The steps of `model.predict([image])`; see `FasterRCNN.stages` for the names."""
    batch = model.prepare([image])
    yield "transform/image", batch.images
    features = model.backbone.body(Tensor(batch.images))
    yield from ((f"body/{i}", c.data) for i, c in enumerate(features))
    pyramid = model.backbone.neck(features)
    if len(pyramid) == 1:  # no pyramid: the last map of the body
        yield "neck", pyramid[0].data
    else:
        yield from ((f"fpn/{i}", p.data) for i, p in enumerate(pyramid[:-1]))
        yield "fpn/pool", pyramid[-1].data
    proposals = yield from _proposal_steps(model, pyramid, batch)
    found = yield from _box_steps(model, pyramid, proposals, batch)
    if isinstance(model.roi_heads, MaskBranch):
        found = yield from _mask_steps(cast("MaskRCNN", model), pyramid, found, batch)
    detections = model.to_image(found, batch.frames[0])
    yield "out/boxes", detections.boxes
    yield "out/labels", detections.labels
    yield "out/scores", detections.scores
    if detections.mask_probs is not None:
        yield "out/masks", detections.soft_masks[:, None]


def _proposal_steps(
    model: FasterRCNN, pyramid: list[Tensor], batch: Batch
) -> Generator[tuple[str, np.ndarray], None, np.ndarray]:
    objectness, deltas = model.rpn.head(pyramid)
    for i, (logits, moves) in enumerate(zip(objectness, deltas, strict=True)):
        yield f"rpn/objectness/{i}", logits.data
        yield f"rpn/deltas/{i}", moves.data
    shapes = [p.shape[2:] for p in pyramid]
    anchors = model.rpn.anchors(shapes, batch.shape, like=pyramid[0].data)
    yield "rpn/anchors", model.rpn.anchors.together(shapes, batch.shape)
    ((proposals, scores),) = model.rpn.propose(objectness, deltas, anchors, batch.frames)
    yield "rpn/proposals", proposals
    yield "rpn/scores", scores
    return proposals


def _box_steps(
    model: FasterRCNN, pyramid: list[Tensor], proposals: np.ndarray, batch: Batch
) -> Generator[tuple[str, np.ndarray], None, Found]:
    found = box_head.nothing_found()
    if len(proposals):
        pooled = model.pool_boxes(pyramid, as_rois([proposals]), batch.shape[0])
        yield "box/pooled", pooled.data
        features = model.roi_heads.box_head(pooled)
        yield "box/features", features.data
        logits, deltas = model.roi_heads.box_predictor(features)
        yield "box/cls_logits", logits.data
        yield "box/deltas", deltas.data
        said = download(logits.data, "class scores"), download(deltas.data, "box deltas")
        (found,) = box_head.find_objects(*said, [proposals], batch.frames, model.convention)
    yield "det/boxes", found.boxes
    yield "det/labels", found.labels
    yield "det/scores", found.scores
    return found


def _mask_steps(
    model: MaskRCNN, pyramid: list[Tensor], found: Found, batch: Batch
) -> Generator[tuple[str, np.ndarray], None, Found]:
    if len(found.boxes) == 0:
        return model.find_masks(pyramid, [found], batch.shape[0])[0]
    pooled = model.pool_masks(
        pyramid, as_rois([box_head.mask_boxes(found, model.convention)]), batch.shape[0]
    )
    yield "mask/pooled", pooled.data
    features = model.roi_heads.mask_head(pooled)
    yield "mask/features", features.data
    logits = model.roi_heads.mask_predictor(features)
    yield "mask/logits", logits.data
    labels = box_head.network_labels(found.labels, model.convention)
    probs = mask_head.mask_probabilities(logits.data, labels, model.convention)
    return dataclasses.replace(found, masks=probs)
