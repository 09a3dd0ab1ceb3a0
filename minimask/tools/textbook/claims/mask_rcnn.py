"""Claims 83 and 87 to 93: what Mask R-CNN's section 3 says of masks, and the pyramid under it."""

# R regions   C channels   H, W height and width   M side of a mask   P side of a pooled square

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from minimask.autograd import Tensor
from minimask.conventions import EXACT, PAPER
from minimask.models.mask_head import (
    MaskHead,
    MaskMLP,
    MaskMLPPredictor,
    MaskPredictor,
    mask_targets,
)
from minimask.models.matcher import BACKGROUND
from minimask.models.paste import paste_mask
from minimask.models.roi_pooling import pyramid_levels
from minimask.models.transform import resized_size
from minimask.tools.textbook.claims.ledger import RIGHT, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    Listener,
    disk,
    gradient_size,
    mask_iou,
    network_of,
    scene,
    small_network,
)

CHAPTER = Chapter("The papers: masks")


@CHAPTER.claim(
    83,
    by="MR",
    says="The mask loss is defined on positive regions only.",
    verdict=RIGHT,
    correction="Right; an image without objects teaches the mask head nothing.",
    section="Mask R-CNN, section 3.1",
)
def masks_learn_from_positives(evidence: Evidence) -> None:
    """Gradient in the mask head from an image with objects, and from one where none is matched."""
    sample = scene()
    for bound in (0.5, 1.0):
        network = small_network(
            append_gt_boxes=bound < 1, box_fg_iou_thresh=bound, box_bg_iou_thresh=bound
        )
        rng = np.random.default_rng(0)
        losses = network.losses([sample.image], [sample.target], rng=rng)
        if losses["loss_mask"].requires_grad:
            losses["loss_mask"].backward()
        size = gradient_size(network.roi_heads.mask_head)
        if bound < 1:
            evidence.at_least("gradient in the mask head with positive regions", size, 1e-9)
        else:
            evidence.equal("gradient in the mask head without any", size, 0.0)
            evidence.quote()


def connected_parameters(sizes: Sequence[int]) -> int:
    """Weights and biases of fully connected layers between vectors of these lengths."""
    return sum((before + 1) * after for before, after in pairwise(sizes))


@CHAPTER.claim(
    87,
    by="MR",
    says="A convolutional mask head keeps the layout of the region, and needs fewer parameters "
    "than fully connected layers.",
    verdict=RIGHT,
    correction="Right: a fortieth.",
    section="Mask R-CNN, section 3 and table 2e",
)
def convolutions_need_fewer(evidence: Evidence) -> None:
    """Parameters of both heads at the paper's sizes, and what a moved region does to the mask."""
    rng = np.random.default_rng(0)
    fcn = (MaskHead(256, (256,) * 4, rng), MaskPredictor(256, 256, 80, rng))
    convolutional = sum(p.size for module in fcn for p in module.parameters())
    small = (MaskMLP(98, (20, 30), rng), MaskMLPPredictor(30, 3, 28, rng))
    built = sum(p.size for module in small for p in module.parameters())
    sizes = (98, 20, 30, 3 * 28 * 28)
    evidence.equal("small connected head by the formula", connected_parameters(sizes), built)
    connected = connected_parameters((256 * 14 * 14, 1024, 1024, 80 * 28 * 28))
    evidence.show("convolutional head", convolutional, "parameters")
    evidence.show("fully connected head, 2 x 1024", connected, "parameters")
    evidence.at_least("parameters, connected / convolutional", connected / convolutional, 40)
    evidence.quote()
    head, predictor = MaskHead(4, (4,), rng), MaskPredictor(4, 4, 1, rng)
    features = np.zeros((1, 4, 14, 14), np.float32)
    features[:, :, 4:8, 3:7] = rng.standard_normal((4, 4, 4))
    mask, shifted = (
        predictor(head(Tensor(x))).data for x in (features, np.roll(features, 3, axis=3))
    )
    change = np.abs(np.roll(mask, 6, axis=3) - shifted)[..., 2:-2, 8:-2]
    evidence.at_most("mask moved by 6 less mask of features moved by 3", float(change.max()), 1e-6)


@CHAPTER.claim(
    88,
    by="MR",
    says="Regions are drawn with one positive to three negatives: of 512 with a pyramid, of 64 "
    "without.",
    verdict=RIGHT,
    correction="Right; at most a quarter are positives, and negatives fill up.",
    section="Mask R-CNN, section 3.1",
)
def a_quarter_positive(evidence: Evidence) -> None:
    """Draws from many positives and from few."""
    of_the_paper = network_of("paper").roi_heads.sampler
    for size in (512, 64):
        sampler = dataclasses.replace(of_the_paper, batch_size_per_image=size)
        for positives in (400, 5):
            matches = np.full(2000, BACKGROUND)
            matches[:positives] = 0
            positive, negative = sampler(matches, np.random.default_rng(0))
            kept = min(positives, size // 4)
            drawn = (len(positive), len(negative))
            evidence.equal(f"of {size}, {positives} positives", drawn, (kept, size - kept))
    evidence.equal("in the paper's convention", of_the_paper.batch_size_per_image, 512)


@CHAPTER.claim(
    89,
    by="MR",
    says="The mask branch runs on the 100 best boxes only, which keeps it cheap: a fifth of the "
    "whole.",
    verdict=RIGHT,
    correction="Right: its work is in proportion to the boxes, and a mask takes far more than "
    "class and box do. On 1000 proposals it would cost ten times as much.",
    section="Mask R-CNN, section 3.1",
)
def masks_cost_by_the_box(evidence: Evidence) -> None:
    """Multiply-adds of the mask head for 5 and for 50 boxes, beside the box head's."""
    work = {}
    for boxes in (5, 50):
        heard = Listener()
        with heard.listen():
            small_network(box_detections_per_img=boxes).predict([scene().image])
        work[boxes] = heard.flop("MaskHead") + heard.flop("MaskPredictor")
        evidence.show(f"mask head, {boxes} boxes", work[boxes] / 1e6, "MFLOP")
        regions = len(heard.rois()[7])
        box_work = (heard.flop("BoxHead") + heard.flop("BoxPredictor")) / regions
    evidence.equal("50 boxes / 5 boxes", work[50] / work[5], 10.0, within=1e-9)
    evidence.at_least("a mask / a box, multiply-adds", work[5] / 5 / box_work, 5)


@CHAPTER.claim(
    90,
    by="MR",
    says="With a pyramid a region of side s is cut from level floor(4 + log2(s / 224)).",
    verdict=RIGHT,
    correction="Right; systems add a millionth here and there, which decides at 112, 224 and 448 "
    "pixels.",
    section="FPN, equation 1",
)
def levels_by_size(evidence: Evidence) -> None:
    """Levels of squares of many sizes, and of boxes of one area."""
    sides = (20, 56, 111, 112, 200, 224, 447, 448, 900)
    boxes = np.array([[0, 0, s, s] for s in sides], np.float32)
    levels = pyramid_levels(boxes, "paper").tolist()
    evidence.equal(
        f"levels of sides {', '.join(map(str, sides))}", levels, [2, 2, 2, 3, 3, 4, 4, 5, 5]
    )
    same = np.array([[0, 0, 224, 224], [0, 0, 448, 112], [0, 0, 56, 896]], np.float32)
    evidence.equal(
        "levels of three boxes of one area", pyramid_levels(same, "paper").tolist(), [4] * 3
    )
    edge = np.array([[0, 0, 112 - 2e-5, 112]], np.float32)
    answers = {
        rule: int(pyramid_levels(edge, rule)[0]) for rule in ("paper", "torchvision", "mmdet")
    }
    evidence.show("a hair below 112 pixels", ", ".join(f"{k} {v}" for k, v in answers.items()))


@CHAPTER.claim(
    91,
    by="MR",
    says="The mask is resized to its box and cut at 0.5.",
    verdict=RIGHT,
    correction="Right; done with half pixels in mind it keeps an outline to a fraction of a pixel.",
    section="Mask R-CNN, section 3.1",
)
def resized_and_cut(evidence: Evidence) -> None:
    """A disk through 28 x 28 cells and back into boxes of several sizes."""
    for diameter in (20, 60, 180):
        size = 240
        true = disk(size, size, 120.3, 119.6, diameter / 2)
        low = np.array([120.3, 119.6]) - diameter / 2
        box = np.r_[low, low + diameter].astype(np.float32)
        cells = mask_targets(
            true[None].astype(np.uint8), box[None], np.array([0]), 28, aligned=True
        )[0]
        for cut in (0.5, 0.2):
            mask = paste_mask(cells, box, size, size, EXACT.paste) >= cut
            radius = float(np.sqrt(mask.sum() / np.pi))
            error = abs(radius - diameter / 2)
            if cut == 0.5:
                name = f"error of the radius, disk of {diameter} pixels"
                evidence.at_most(name, error, 0.01 * diameter + 0.1, "pixels")
                evidence.at_least("its IoU", mask_iou(mask, true), 0.93)
            else:
                evidence.show("the same cut at 0.2", error, "pixels")


@CHAPTER.claim(
    92,
    by="MR",
    says="The target of a mask is the part of the true mask inside the region.",
    verdict=RIGHT,
    correction="Right; what the region misses of the object is no longer asked for.",
    section="Mask R-CNN, section 3.1",
)
def targets_are_cut_by_regions(evidence: Evidence) -> None:
    """A square object and regions that cover it wholly, half, and not at all."""
    truth = np.zeros((1, 64, 64), np.uint8)
    truth[0, 16:48, 16:48] = 1
    boxes = np.array([[16, 16, 48, 48], [32, 16, 64, 48], [48, 48, 64, 64]], np.float32)
    targets = mask_targets(truth, boxes, np.zeros(3, np.int64), 28, target="hard", aligned=True)
    shares = [round(float(t.mean()), 6) for t in targets]
    evidence.equal("share of the target that is object", shares, [1.0, 0.5, 0.0])
    evidence.true("the half lies on the left", (targets[1][:, :14] == 1).all())
    changed = truth.copy()
    changed[0, 16:48, 0:32] = 1 - changed[0, 16:48, 0:32]  # outside the second region
    again = mask_targets(
        changed, boxes[1:2], np.zeros(1, np.int64), 28, target="hard", aligned=True
    )
    evidence.equal(
        "change when the object changes outside", float(np.abs(again - targets[1]).max()), 0.0
    )


@CHAPTER.claim(
    93,
    by="MR",
    says="Images are resized so that their shorter side has 800 pixels.",
    verdict=RIGHT,
    correction="Right; code also limits the longer side, to 1333.",
    section="Mask R-CNN, section 3.1",
)
def shorter_side_800(evidence: Evidence) -> None:
    """Photographs of several shapes."""
    for size, expected in (
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((1000, 1000), (800, 800)),
        ((300, 900), (444, 1333)),
    ):
        resized = resized_size(*size, 800, 1333, PAPER)
        evidence.equal(f"{size[0]} x {size[1]} becomes", resized, expected, "pixels")
