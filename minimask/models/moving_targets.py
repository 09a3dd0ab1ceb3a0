"""Matterport's second stage also teaches the first: its targets move with the proposals.

A regression target leads from a proposal to its object, so it changes when the proposal does.
Faster R-CNN takes proposals for given (section 3.2, "approximate joint training"), and so do the
other systems.  In Matterport's code the gradient ends where features are cut out, but not where
targets are computed: the first stage learns to propose boxes whose correction is the predicted one.

Letters: B anchors of all levels, R proposals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd import Tensor, ops
from minimask.autograd.arrays import Array, constant
from minimask.models.transform import ImageTransform
from minimask.system.device import download, upload

SAME = 0.01  # pixels: what a box may be off for being rounded
Four = tuple[float, float, float, float]


@dataclass(frozen=True)
class Origins:
    """What the first stage said of an image, from which its proposals can be computed again."""

    deltas: Tensor  # (B, 4)
    anchors: np.ndarray  # (B, 4)
    transform: ImageTransform
    box_weights: Four
    delta_clamp: str

    def moving(self, proposals: np.ndarray) -> Tensor:
        """Proposals as boxes that a gradient can follow back to their deltas: (R, 4) -> (R, 4).

        Boxes that are no proposals, such as objects that joined them, stay where they are.
        """
        like = self.deltas.data
        source, distance = self._sources(proposals)
        anchors = upload(self.anchors[source].astype(np.float32), like, "anchors")
        sizes = anchors[:, 2:] - anchors[:, :2]
        deltas = self.deltas[upload(source, like)] / constant(self.box_weights, like)
        centers = deltas[:, :2] * sizes + (anchors[:, :2] + 0.5 * sizes)
        growth = deltas[:, 2:]
        if self.delta_clamp != "none":
            lowest = -box_ops.MAX_DW_DH if self.delta_clamp == "both" else None
            growth = ops.clip(growth, lowest, box_ops.MAX_DW_DH)
        halves = ops.exp(growth) * (0.5 * sizes)
        boxes = ops.concatenate([centers - halves, centers + halves], axis=1)
        lowest, highest = (self._limit(far, like) for far in (-1e9, 1e9))
        boxes = ops.minimum(ops.maximum(boxes, lowest), highest)
        near = upload((distance < SAME)[:, None], like, "proposals")
        return ops.where(near, boxes, upload(proposals.astype(np.float32), like, "proposals"))

    def _sources(self, proposals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The anchor that each proposal was moved from, and how far from it that ends; (R,)."""
        deltas = download(self.deltas.data, "deltas")
        with np.errstate(over="ignore", invalid="ignore"):
            decoded = box_ops.decode(deltas, self.anchors, self.box_weights, self.delta_clamp)
        boxes = self.transform.clip_proposals(decoded)
        away = [np.abs(boxes - proposal).max(axis=1) for proposal in proposals]
        return np.array([a.argmin() for a in away], np.int64), np.array([a.min() for a in away])

    def _limit(self, far: float, like: Array) -> Array:
        """The border that a box far outside is cut off at, (1, 4)."""
        outside = np.full((1, 4), far, np.float32)
        return upload(self.transform.clip_proposals(outside), like, "borders")


def moving_deltas(gt_boxes: np.ndarray, boxes: Tensor, box_weights: Four) -> Tensor:
    """`boxes.encode` with a gradient to the boxes: (R, 4), (R, 4) -> (R, 4)."""
    like = boxes.data
    objects = upload(gt_boxes.astype(np.float32), like, "gt boxes")
    sizes, object_sizes = boxes[:, 2:] - boxes[:, :2], objects[:, 2:] - objects[:, :2]
    centers = boxes[:, :2] + sizes * 0.5
    away = (-centers + (objects[:, :2] + 0.5 * object_sizes)) / sizes
    growth = -ops.log(sizes / object_sizes)
    return ops.concatenate([away, growth], axis=1) * constant(box_weights, like)
