"""Checks that cannot fail show nothing: here the code is broken, and they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minimask import boxes, functional
from minimask.evaluate import coco_metric
from minimask.functional.losses import BinaryCrossEntropyWithLogits, CrossEntropy, SmoothL1
from minimask.kernels import roi_align, roi_pool
from minimask.models import anchors, keypoint_head, proposals
from minimask.models.keypoint_head import KeypointPredictor
from minimask.models.matcher import BalancedSampler, Matcher
from minimask.models.roi_heads import RoIHeads
from minimask.nn import Module
from minimask.tools.textbook.claims import (
    faster_rcnn,
    find,
    heads,
    pooling,
    receptive_field,
    run,
    scenes,
)
from minimask.tools.textbook.claims import mask_rcnn as mask_claims
from minimask.tools.textbook.claims import proposals as proposal_claims
from minimask.tools.textbook.claims import roi_align as align_claims

Patch = pytest.MonkeyPatch


def no_suppression(patch: Patch) -> None:
    real = proposal_claims.nms
    patch.setattr(proposal_claims, "nms", lambda boxes, scores, _: real(boxes, scores, 1.0))


def no_limit_after_suppression(patch: Patch) -> None:
    real = proposals._by_image
    patch.setattr(proposals, "_by_image", lambda found, shape, after: real(found, shape, 10**6))


def a_column_of_anchors_lost(patch: Patch) -> None:
    real = anchors.AnchorGenerator._level

    def short(self: Any, cell: np.ndarray, shape: tuple[int, int], image: Any) -> np.ndarray:
        return real(self, cell, shape, image)[: -self.per_cell]

    patch.setattr(anchors.AnchorGenerator, "_level", short)


def convolution_sees_further(patch: Patch) -> None:
    def wide(x: Any, weight: Any, *, stride: int, padding: int) -> Any:
        return functional.conv2d(x, weight, stride=stride, padding=2 * padding, dilation=2)

    patch.setattr(receptive_field.F, "conv2d", wide)


def cross_entropy_without_background(patch: Patch) -> None:
    def forward(ctx: Any, logits: Any, targets: Any) -> Any:
        ctx.save(logits, targets)
        return -targets * np.log(1 / (1 + np.exp(-logits)))

    patch.setattr(BinaryCrossEntropyWithLogits, "forward", staticmethod(forward))


def smooth_l1_with_a_jump(patch: Patch) -> None:
    def forward(ctx: Any, pred: Any, target: Any, *, beta: float) -> Any:
        distance = np.abs(pred - target)
        ctx.save(pred - target, beta)
        return np.where(distance < beta, distance**2 * 0.5 / beta, distance)

    patch.setattr(SmoothL1, "forward", staticmethod(forward))


def best_anchor_ignored(patch: Patch) -> None:
    real = Matcher.__call__

    def by_thresholds(self: Matcher, gt_boxes: Any, boxes: Any) -> Any:
        return real(replace(self, best_iou_min=None), gt_boxes, boxes)

    patch.setattr(Matcher, "__call__", by_thresholds)


def masks_on_proposals(patch: Patch) -> None:
    patch.setitem(scenes.NARROW, "mask_on", "proposals")


def maximum_by_default(patch: Patch) -> None:
    def pooled(*a: Any, reduce: str = "max", **options: Any) -> Any:
        return roi_align(*a, reduce=reduce, **options)

    patch.setattr(pooling, "roi_align", pooled)


def bound_of_regions_moved(patch: Patch) -> None:
    real = Matcher.__call__

    def stricter(self: Matcher, gt_boxes: Any, boxes: Any) -> Any:
        return real(replace(self, fg_iou_thresh=self.fg_iou_thresh + 0.01), gt_boxes, boxes)

    patch.setattr(Matcher, "__call__", stricter)


def class_loss_of_positives_only(patch: Patch) -> None:
    real = CrossEntropy.backward

    def backward(ctx: Any, grad: Any) -> Any:
        gradient, _ = real(ctx, grad)
        labels = ctx.saved[3]
        gradient[labels == 0] = 0
        return gradient, None

    patch.setattr(CrossEntropy, "backward", staticmethod(backward))


def mask_gradient_leaks(patch: Patch) -> None:
    real = heads.mask_loss

    def leaking(logits: Any, *others: Any, **options: Any) -> Any:
        return real(logits, *others, **options) + (logits * logits).mean() * 1e-3

    patch.setattr(heads, "mask_loss", leaking)


def one_loss_counts_twice(patch: Patch) -> None:
    real = heads.batch_losses

    def doubled(*a: Any) -> Any:
        total, parts = real(*a)
        return total + parts["loss_mask"], parts

    patch.setattr(heads, "batch_losses", doubled)


def metric_rounds_down(patch: Patch) -> None:
    real = coco_metric.run_cocoeval

    def lower(*a: Any) -> Any:
        precision, *others = real(*a)
        return (np.where(precision > 0, precision * 0.98, precision), *others)

    patch.setattr(coco_metric, "run_cocoeval", lower)


def decode_forgets_the_center(patch: Patch) -> None:
    real = boxes.decode

    def shifted(deltas: Any, *others: Any, **options: Any) -> Any:
        return real(deltas, *others, **options) + 0.5

    patch.setattr(boxes, "decode", shifted)


def encode_in_pixels(patch: Patch) -> None:
    real = boxes.encode

    def in_pixels(target: Any, anchor: Any, *weights: Any) -> Any:
        out = real(target, anchor, *weights)
        out[:, :2] *= anchor[:, 2:] - anchor[:, :2]
        return out

    patch.setattr(boxes, "encode", in_pixels)


def negatives_do_not_fill(patch: Patch) -> None:
    real = BalancedSampler.__call__

    def one_to_one(self: BalancedSampler, matches: Any, rng: Any) -> Any:
        return real(replace(self, negatives_per_positive=1.0), matches, rng)

    patch.setattr(BalancedSampler, "__call__", one_to_one)


def frozen_layers_learn(patch: Patch) -> None:
    patch.setattr(Module, "requires_grad_", lambda self, flag=True: self)


def align_rounds(patch: Patch) -> None:
    def rounding(features: Any, rois: Any, size: int, **options: Any) -> Any:
        return roi_pool(features, rois, size)[0]

    patch.setattr(align_claims, "roi_align", rounding)


def half_of_the_regions_positive(patch: Patch) -> None:
    real = BalancedSampler.__call__

    def halves(self: BalancedSampler, matches: Any, rng: Any) -> Any:
        return real(replace(self, positive_fraction=0.5), matches, rng)

    patch.setattr(BalancedSampler, "__call__", halves)


def levels_rounded(patch: Patch) -> None:
    real = mask_claims.pyramid_levels
    patch.setattr(mask_claims, "pyramid_levels", lambda boxes, rule: real(boxes, "matterport"))


def masks_learn_from_all(patch: Patch) -> None:
    real = RoIHeads.mask_losses

    def more(self: Any, *others: Any) -> Any:
        weights = list(self.mask_head.parameters())
        return {"loss_mask": real(self, *others)["loss_mask"] + (weights[0] * weights[0]).sum()}

    patch.setattr(RoIHeads, "mask_losses", more)


def regressors_share(patch: Patch) -> None:
    real = faster_rcnn.RPNHead.forward

    def mixed(self: Any, pyramid: Any) -> Any:
        scores, deltas = real(self, pyramid)
        return scores, [d + d.mean(axis=1, keepdims=True) for d in deltas]

    patch.setattr(faster_rcnn.RPNHead, "forward", mixed)


def slope_without_limit(patch: Patch) -> None:
    def backward(ctx: Any, grad: Any) -> Any:
        difference, beta = ctx.saved
        return grad * difference / beta, None

    patch.setattr(SmoothL1, "backward", staticmethod(backward))


def heat_maps_half_as_fine(patch: Patch) -> None:
    patch.setattr(KeypointPredictor, "forward", lambda self, x: self.kps_score_lowres(x))


def keypoints_at_corners_of_cells(patch: Patch) -> None:
    right = keypoint_head.find_peaks

    def wrong(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return right(maps, boxes) - np.float32(0.5)

    patch.setattr(keypoint_head, "find_peaks", wrong)


MUTANTS: list[tuple[int, Callable[[Patch], None]]] = [
    (14, no_suppression),
    (15, no_limit_after_suppression),
    (13, a_column_of_anchors_lost),
    (16, convolution_sees_further),
    (19, cross_entropy_without_background),
    (20, smooth_l1_with_a_jump),
    (22, best_anchor_ignored),
    (28, frozen_layers_learn),
    (29, a_column_of_anchors_lost),
    (30, masks_on_proposals),
    (34, maximum_by_default),
    (38, bound_of_regions_moved),
    (38, class_loss_of_positives_only),
    (41, mask_gradient_leaks),
    (42, one_loss_counts_twice),
    (51, heat_maps_half_as_fine),
    (51, keypoints_at_corners_of_cells),
    (57, metric_rounds_down),
    (76, decode_forgets_the_center),
    (77, encode_in_pixels),
    (78, regressors_share),
    (79, slope_without_limit),
    (80, negatives_do_not_fill),
    (81, best_anchor_ignored),
    (83, masks_learn_from_all),
    (84, align_rounds),
    (85, align_rounds),
    (88, half_of_the_regions_positive),
    (90, levels_rounded),
]


@pytest.mark.parametrize(("number", "mutate"), MUTANTS, ids=lambda v: getattr(v, "__name__", v))
def test_the_check_notices(
    number: int, mutate: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    mutate(monkeypatch)
    assert run(find(number)).failed
    monkeypatch.undo()


def test_without_mutants_they_all_pass() -> None:
    """What a mutant broke is whole again; also shows that it was the mutant that was noticed."""
    quick = {number for number, _ in MUTANTS} - {28, 30, 83}
    assert [number for number in sorted(quick) if not run(find(number)).passed] == []
