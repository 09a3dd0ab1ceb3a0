"""Claims 39 to 46: the three heads, and what they are trained with."""

# R regions   K classes   M side of a mask   C channels

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd import Tensor
from minimask.conventions import DETECTRON2, PAPER, TORCHVISION
from minimask.models import mask_rcnn
from minimask.models.box_head import BoxPredictor, SampledRoIs, postprocess_detections
from minimask.models.coco_classes import COCO_91
from minimask.models.mask_head import MaskPredictor, mask_channels, mask_loss
from minimask.models.transform import ImageTransform
from minimask.nn import Conv2d, ConvTranspose2d, Linear
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import Listener, scene, small_network
from minimask.train.step import batch_losses

CHAPTER = Chapter("Heads and losses")


@CHAPTER.claim(
    39,
    by="S1",
    says="There are three heads: class and box after fully connected layers, the mask by a fully "
    "convolutional network.",
    verdict=RIGHT,
    correction="Right: two layers of 1024 for class and box; four convolutions, a transposed one "
    "and a last 1x1 for the mask.",
    section="Mask R-CNN, section 3 and figure 4",
)
def three_heads(evidence: Evidence) -> None:
    """The layers of the heads as built with the paper's sizes."""
    network = mask_rcnn(block="basic", layers=(1, 1, 1, 1), num_classes=81)
    heads = network.roi_heads
    linear = [m for m in heads.box_head.modules() if isinstance(m, Linear)]
    widths = [m.weight.shape[0] for m in linear]
    evidence.equal("fully connected layers before class and box", widths, [1024, 1024])
    outputs = [m.weight.shape[0] for m in heads.box_predictor.modules() if isinstance(m, Linear)]
    evidence.equal("outputs for class and box, 80 classes", outputs, [81, 4 * 81])
    mask = [*heads.mask_head.modules(), *heads.mask_predictor.modules()]
    kinds: dict[str, list[Any]] = {
        "3x3 convolutions": [m for m in mask if isinstance(m, Conv2d) and m.weight.shape[2] == 3],
        "transposed convolutions": [m for m in mask if isinstance(m, ConvTranspose2d)],
        "1x1 convolutions": [m for m in mask if isinstance(m, Conv2d) and m.weight.shape[2] == 1],
        "fully connected layers": [m for m in mask if isinstance(m, Linear)],
    }
    counts = [len(found) for found in kinds.values()]
    evidence.equal(f"mask head: {', '.join(kinds)}", counts, [4, 1, 1, 0])


@CHAPTER.claim(
    40,
    by="S1 S2",
    says="A mask has 28 x 28 values, because the network was trained on COCO.",
    verdict=WRONG,
    correction="The size is right with a pyramid (14 x 14 without), the reason is not: RoIAlign "
    "gives 14 x 14 cells and a transposed convolution doubles them. The data has no say in it.",
    section="Mask R-CNN, figure 4",
)
def size_of_a_mask(evidence: Evidence) -> None:
    """Masks of networks for 1, 4 and 90 classes."""
    rng = np.random.default_rng(0)
    for classes in (1, 4, 90):
        predictor = MaskPredictor(8, 8, classes + 1, rng)
        shape = predictor(np.zeros((1, 8, 14, 14), np.float32)).shape[2:]
        evidence.equal(f"side of a mask, {classes} classes", shape, (28, 28), "cells")
    heard = Listener()
    with heard.listen():
        (found,) = small_network(features="c4").predict([scene().image])
    assert found.mask_probs is not None
    evidence.equal(
        "side of a mask without a pyramid", found.mask_probs.shape[1:], (14, 14), "cells"
    )
    (found,) = small_network().predict([scene().image])
    assert found.mask_probs is not None
    evidence.equal("side of a mask with a pyramid", found.mask_probs.shape[1:], (28, 28), "cells")


def mask_gradient(output: str = "sigmoid") -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the mask loss at the logits (3, 5, 28, 28) of three regions, and their labels."""
    rng = np.random.default_rng(0)
    logits = Tensor(rng.standard_normal((3, 5, 28, 28)), requires_grad=True)
    labels, truth = np.array([1, 4, 2]), np.zeros((3, 64, 64), np.uint8)
    boxes = np.array([[4, 4, 40, 40], [10, 8, 60, 50], [0, 0, 64, 64]], np.float32)
    truth[:, 12:36, 12:36] = 1
    ones = np.ones(3, bool)
    sampled = SampledRoIs(boxes, labels, np.arange(3), np.zeros((3, 4), np.float32), ones)
    mask_loss(logits, [sampled], [truth], output=output, target="hard").backward()
    assert logits.grad is not None
    return logits.grad, labels


@CHAPTER.claim(
    41,
    by="S1 S4",
    says="There is a mask for each of K classes, a sigmoid for each pixel, the loss is the "
    "average binary cross-entropy, and only the true class's mask counts.",
    verdict=RIGHT,
    correction="Right. The other K - 1 masks get no gradient at all, not just little.",
    section="Mask R-CNN, section 3",
)
def other_masks_get_nothing(evidence: Evidence) -> None:
    """Gradient of the mask loss in every channel, with sigmoids and with a softmax."""
    gradient, labels = mask_gradient()
    own = np.zeros(gradient.shape[:2], bool)
    own[np.arange(3), labels] = True
    evidence.at_least(
        "smallest gradient in the true class's mask", float(np.abs(gradient[own]).min()), 1e-8
    )
    evidence.equal("largest gradient in the other masks", float(np.abs(gradient[~own]).max()), 0.0)
    evidence.quote()
    gradient, _ = mask_gradient("softmax")
    evidence.at_least("the same with a softmax", float(np.abs(gradient[~own]).max()), 1e-6)
    flat = Tensor(np.zeros((1, 5, 28, 28)))
    sampled = SampledRoIs(
        np.array([[0, 0, 8, 8]], np.float32),
        np.array([1]),
        np.array([0]),
        np.zeros((1, 4)),
        np.ones(1, bool),
    )
    loss = float(mask_loss(flat, [sampled], [np.ones((1, 8, 8), np.uint8)], target="hard").data)
    evidence.equal("loss of an undecided mask, ln 2", loss, math.log(2), within=1e-6)


@CHAPTER.claim(
    42,
    by="S4",
    says="The loss is a weighted sum: of L_cls, of L_box times lambda, of L_mask times gamma.",
    verdict=IMPRECISE,
    correction="The paper has no such weights: all are 1.",
    section="Mask R-CNN, section 3",
)
def losses_weigh_one(evidence: Evidence) -> None:
    """The sum that training goes down, beside its parts."""
    network, sample = small_network(), scene()
    sum_of_all, parts = batch_losses(network, [sample], 0, 0)
    values = {name: float(part.data) for name, part in parts.items()}
    for name, value in values.items():
        evidence.show(name, value)
    difference = abs(float(sum_of_all.data) - sum(values.values()))
    evidence.at_most("the sum less all parts with weight 1", difference, 1e-5)


@CHAPTER.claim(
    43,
    by="S4",
    says="The losses for class and box resemble those of the proposal network.",
    verdict=IMPRECISE,
    correction="The class loss is a softmax over K classes and background, not two; the box loss "
    "is computed for the true class's own four numbers, which count 10, 10, 5 and 5 times.",
    section="Fast R-CNN, section 2.3",
)
def losses_of_the_second_stage(evidence: Evidence) -> None:
    """Losses before training, and the targets of one and the same move in both stages."""
    network, sample = small_network(), scene()
    predictor = network.roi_heads.box_predictor
    assert isinstance(predictor, BoxPredictor)
    for layer in (network.rpn.head.cls_logits, predictor.cls_score):
        for parameter in layer.parameters():
            parameter.data *= 0  # undecided
    rng = np.random.default_rng(0)
    losses = network.losses([sample.image], [sample.target], rng=rng)
    first, second = (float(losses[name].data) for name in ("loss_objectness", "loss_classifier"))
    evidence.equal("undecided, proposal network: ln 2", first, math.log(2), within=1e-4)
    evidence.equal("undecided, 4 classes and background: ln 5", second, math.log(5), within=1e-4)
    evidence.quote()
    box, region = np.array([[12.0, 8, 60, 40]]), np.array([[10.0, 10, 50, 50]])
    ratio = box_ops.encode(box, region, PAPER.box_weights) / box_ops.encode(
        box, region, PAPER.rpn_box_weights
    )
    evidence.equal("targets, second stage / first", ratio[0].round(9).tolist(), [10, 10, 5, 5])
    deltas = predictor.bbox_pred.weight.shape[0]
    anchors = network.rpn.head.bbox_pred.weight.shape[0]
    evidence.equal("box outputs, first and second stage", (anchors, deltas), (4 * 3, 4 * 5))


@CHAPTER.claim(
    44,
    by="S3",
    says="A region may also be classified as background.",
    verdict=RIGHT,
    correction="Right: background is one more class.",
    section="Fast R-CNN, section 2.1",
)
def background_is_a_class(evidence: Evidence) -> None:
    """Two regions, one of them surely background."""
    logits = np.array([[9.0, 0, 0, 0, 0], [0, 0, 9.0, 0, 0]], np.float32)
    regions = np.array([[4, 4, 30, 30], [40, 40, 80, 90]], np.float32)
    transforms = [ImageTransform((96, 96), (96, 96))]
    deltas = np.zeros((2, 20), np.float32)
    (found,) = postprocess_detections(logits, deltas, [regions], transforms)
    evidence.show("scores for 4 classes", logits.shape[1])
    evidence.equal("objects of two regions", len(found.boxes), 1)
    evidence.quote()
    evidence.equal("its class, counted without background", found.labels.tolist(), [1])
    chance = float(np.exp(9) / (np.exp(9) + 4))
    evidence.equal(
        "its score, softmax with background", float(found.scores[0]), chance, within=1e-6
    )


@CHAPTER.claim(
    45,
    by="S2",
    says="The network has 81 classes with background.",
    verdict=RIGHT,
    correction="Right for matterport's code: 80 and background. torchvision has 91 outputs, as "
    "COCO's ids have gaps; detectron2 and mmdetection put background last and give it no mask.",
)
def eighty_one_or_ninety_one(evidence: Evidence) -> None:
    """Outputs for COCO's 80 classes in the systems' conventions."""
    named = [name for name in COCO_91 if name != "N/A"]
    evidence.equal("classes with a name among COCO's ids", len(named), 80)
    evidence.equal("highest id and background", len(COCO_91) + 1, 91)
    evidence.equal(
        "masks with background first, torchvision and matterport",
        mask_channels(81, "sigmoid", TORCHVISION.background),
        81,
    )
    evidence.equal(
        "masks with background last, detectron2 and mmdetection",
        mask_channels(81, "sigmoid", DETECTRON2.background),
        80,
    )
    evidence.equal(
        "where background is", (TORCHVISION.background, DETECTRON2.background), ("first", "last")
    )


@CHAPTER.claim(
    46,
    by="S0 S4",
    says="Five losses: object or not and box of the proposal network; class, box and mask.",
    verdict=RIGHT,
    correction="Right.",
    section="Mask R-CNN, section 3; Faster R-CNN, equation 1",
)
def five_losses(evidence: Evidence) -> None:
    """Names and first values of the losses of a network with random weights."""
    network, sample = small_network(), scene()
    rng = np.random.default_rng(0)
    losses = network.losses([sample.image], [sample.target], rng=rng)
    names = ["loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"]
    evidence.equal("names", list(losses), names)
    for name, start in (("loss_objectness", 2), ("loss_mask", 2)):
        value = float(losses[name].data)
        evidence.equal(f"{name} at the start, near ln 2", value, math.log(start), within=0.05)
    evidence.true("all finite", all(np.isfinite(float(loss.data)) for loss in losses.values()))
