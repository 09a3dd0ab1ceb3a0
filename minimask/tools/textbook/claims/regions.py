"""Claims 30, 31, 37 and 38: which regions there are, and what happens to them."""

# R regions   C channels   H, W height and width of a map   P side of the pooled square

from __future__ import annotations

import numpy as np

from minimask.autograd import Tensor
from minimask.kernels import box_iou
from minimask.models import Target
from minimask.models.box_head import box_loss
from minimask.tools.textbook.claims import published
from minimask.tools.textbook.claims.ledger import IMPRECISE, OPINION, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    Listener,
    network_of,
    scene,
    small_network,
)

CHAPTER = Chapter("Regions of interest")


@CHAPTER.claim(
    30,
    by="S0 S1 S2 S3 S4",
    says="The mask branch works in parallel with the branch for class and box.",
    verdict=IMPRECISE,
    correction="In training, yes. In prediction the box branch goes first, and masks are drawn "
    "only for the boxes it has corrected and kept, at most 100: faster, and better.",
    section="Mask R-CNN, section 3.1",
)
def masks_come_last_in_prediction(evidence: Evidence) -> None:
    """Which regions each branch is given, in training and in prediction."""
    network, sample = small_network(append_gt_boxes=True), scene()
    training, predicting = Listener(), Listener()
    with training.listen():
        rng = np.random.default_rng(0)
        network.losses([sample.image], [sample.target], rng=rng)
    with predicting.listen():
        (found,) = network.predict([sample.image])
    box, mask = (_as_set(training.rois()[side]) for side in (7, 14))
    evidence.show("training: regions of the box branch", len(box))
    evidence.equal("training: mask regions that are among them", len(mask & box), len(mask))
    box, mask = (_as_set(predicting.rois()[side]) for side in (7, 14))
    evidence.show("prediction: regions of the box branch", len(box))
    evidence.equal("prediction: mask regions that are among them", len(mask & box), 0)
    evidence.quote()
    evidence.true("they are the detections", mask == _as_set(_with_index(found.boxes)))
    evidence.at_most("how many", len(mask), network.roi_heads.detections_per_img)
    evidence.equal("at most, in the paper", network_of("paper").roi_heads.detections_per_img, 100)


def _as_set(rois: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(roi) for roi in np.round(rois.astype(float), 2).tolist()}


def _with_index(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((len(boxes), 1)), boxes], axis=1)


@CHAPTER.claim(
    31,
    by="S3",
    says="After one RoIAlign there are two branches.",
    verdict=IMPRECISE,
    correction="So it is without a pyramid, where both share the fifth stage (C4). With a "
    "pyramid there are two: 7 x 7 for boxes, 14 x 14 for masks.",
    section="Mask R-CNN, figure 4",
)
def two_sizes_of_roi_align(evidence: Evidence) -> None:
    """Sizes that the regions are pooled to."""
    heard = Listener()
    with heard.listen():
        small_network().predict([scene().image])
    evidence.equal("sides of pooled regions, pyramid", sorted(heard.rois()), [7, 14], "cells")
    c4, heard = small_network(features="c4"), Listener()
    with heard.listen():
        c4.predict([scene().image])
    sides = {tuple(c.output.shape[2:]) for c in heard.calls if c.name.startswith("RoI")}
    evidence.equal("sides of pooled regions, C4", sorted(sides), [(14, 14)], "cells")


@CHAPTER.claim(
    37,
    by="S1",
    says="RoIAlign is the most significant advance of Mask R-CNN.",
    verdict=OPINION,
    correction="An opinion. In the paper's tables a mask of its own for each class gains more "
    "(5.5 AP) than RoIAlign does on the same network (3.4); at stride 32 RoIAlign gains 7.3.",
    section="Mask R-CNN, tables 2b to 2d",
)
def which_step_gains_most(evidence: Evidence) -> None:
    """The published gains beside each other."""
    sigmoid = published.SIGMOID[0] - published.SOFTMAX[0]
    align = published.ROI_ALIGN_C4[0] - published.ROI_POOL_C4[0]
    stride_32 = published.ROI_ALIGN_C5[0] - published.ROI_POOL_C5[0]
    evidence.equal("a mask per class instead of softmax, C4", sigmoid, 5.5, "AP", within=0.01)
    evidence.equal("RoIAlign instead of RoIPool, C4", align, 3.4, "AP", within=0.01)
    evidence.equal("RoIAlign instead of RoIPool, C5", stride_32, 7.3, "AP", within=0.01)
    evidence.true("on C4 the mask per class gains more", sigmoid > align)
    evidence.true("on C5 RoIAlign gains more than either", stride_32 > max(sigmoid, align))


@CHAPTER.claim(
    38,
    by="S2",
    says="Only regions that overlap a true box by 0.5 or more are regions of interest; the "
    "others are neglected.",
    verdict=WRONG,
    correction="That is a rule of training alone, and the others are not neglected: they are the "
    "examples of background. Only box and mask are learned from those above. In prediction there "
    "are no ground-truth boxes. The bound itself counts: at least 0.5.",
    section="Mask R-CNN, section 3.1",
)
def negatives_are_not_neglected(evidence: Evidence) -> None:
    """Regions at, above and below 0.5: their labels, and the gradients they cause."""
    truth = np.array([[0, 0, 100, 100]], np.float32)
    candidates = np.array(
        [[0, 0, 100, 100], [0, 0, 100, 50], [0, 0, 100, 49], [60, 60, 160, 160]], np.float32
    )
    overlaps = [round(float(v), 3) for v in box_iou(truth, candidates)[0]]
    evidence.show("overlaps", overlaps)
    heads = network_of("paper").roi_heads
    matches = heads.matcher(truth, candidates)
    evidence.equal("objects (-1: background)", matches.tolist(), [0, 0, -1, -1])
    drawn = np.flatnonzero(matches >= 0), np.flatnonzero(matches < 0)
    sampled = heads.build_targets(candidates, matches, drawn, Target(truth, np.array([2])))
    rng = np.random.default_rng(0)
    logits = Tensor(rng.standard_normal((4, 5)), requires_grad=True)
    deltas = Tensor(rng.standard_normal((4, 20)), requires_grad=True)
    classifier, box = box_loss(logits, deltas, [sampled], beta=heads.loss_beta)
    (classifier + box).backward()
    assert logits.grad is not None and deltas.grad is not None
    from_class = np.abs(logits.grad[2:]).max(axis=1)
    evidence.at_least("gradient of the class loss from those below", float(from_class.min()), 0.01)
    evidence.quote()
    evidence.equal(
        "gradient of the box loss from those below", float(np.abs(deltas.grad[2:]).max()), 0.0
    )
    (found,) = small_network().predict([scene().image])
    evidence.at_least("objects found in prediction, without any true box", len(found), 1)
