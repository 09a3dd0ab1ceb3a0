"""Claims 24 to 28: the second stage, and how both stages share and learn together."""

# B anchors   G ground-truth objects   p probability of an object   t four deltas

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.conventions import PAPER
from minimask.data.shapes import Shapes
from minimask.kernels import roi_pool
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    clear_gradients,
    gradient_size,
    scene,
    small_network,
    total,
)
from minimask.train.four_step import four_step, part_hash
from minimask.train.settings import TrainSettings

CHAPTER = Chapter("Two stages together")


@CHAPTER.claim(
    24,
    by="S0 S2 S4",
    says="RoI pooling makes regions of any size the same size, as fully connected layers need.",
    verdict=RIGHT,
    correction="Right.",
    section="Fast R-CNN, section 2.1",
)
def pooling_makes_equal(evidence: Evidence) -> None:
    """Regions from 2 to 30 cells a side."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1, 4, 32, 32)).astype(np.float32)
    sides = (2, 5, 11, 30)
    rois = np.array([[0, 1, 1, side, side] for side in sides], np.float32)
    pooled, _ = roi_pool(features, rois, 7)
    raw = [int(4 * side * side) for side in sides]
    evidence.equal("different lengths before", len(set(raw)), 4)
    evidence.equal("shape after", pooled.shape, (4, 4, 7, 7))
    evidence.quote()
    weight = rng.standard_normal((10, 4 * 49)).astype(np.float32)
    rows = F.linear(pooled.reshape(4, -1), weight)
    evidence.equal("after one fully connected layer", rows.shape, (4, 10))


@CHAPTER.claim(
    25,
    by="S4",
    says="Fast R-CNN gives the indices of the bounding box and the class.",
    verdict=WRONG,
    correction="It gives offsets, four for every class, from the region to the object, and a "
    "score for every class and background.",
    section="Fast R-CNN, section 2.2",
)
def offsets_not_indices(evidence: Evidence) -> None:
    """Shapes of both outputs, and what the four numbers do."""
    stages = dict(small_network().stages(scene().image))
    regions, classes = len(stages["rpn/proposals"]), 4
    evidence.equal("scores", stages["box/cls_logits"].shape, (regions, classes + 1))
    evidence.equal(
        f"box outputs of {regions} regions, 4 classes and background",
        stages["box/deltas"].shape,
        (regions, 4 * (classes + 1)),
    )
    evidence.quote()
    whole = np.array_equal(stages["box/deltas"], np.round(stages["box/deltas"]))
    evidence.true("the box outputs are no whole numbers, as indices were", not whole)
    region = np.array([[10.0, 20.0, 50.0, 60.0]])
    for name, deltas, expected in (
        ("0, 0, 0, 0", (0, 0, 0, 0), (10, 20, 50, 60)),
        ("1, 0, 0, 0 (weight 10)", (1, 0, 0, 0), (14, 20, 54, 60)),
    ):
        refined = box_ops.decode(np.array([deltas], float), region, PAPER.box_weights)
        evidence.equal(f"region 10 20 50 60 after {name}", tuple(refined[0].round(6)), expected)


@CHAPTER.claim(
    26,
    by="S4",
    says="The input of Fast R-CNN are regions cut out of the feature map.",
    verdict=RIGHT,
    correction="Right.",
    section="Fast R-CNN, section 2",
)
def cut_from_features(evidence: Evidence) -> None:
    """What the box head is given, cut out again from the pyramid by hand."""
    network, sample = small_network(), scene()
    stages = dict(network.stages(sample.image))
    levels = [stages[f"fpn/{i}"] for i in range(4)]
    proposals = stages["rpn/proposals"]
    rois = np.concatenate([np.zeros((len(proposals), 1), np.float32), proposals], axis=1)
    again = np.stack(
        [
            F.roi_align(
                levels[level], roi[None], 7, spatial_scale=1 / (4 << level), sampling_ratio=2
            ).data[0]
            for roi in rois
            for level in [_level(roi[1:])]
        ]
    )
    evidence.equal("regions", len(again), len(proposals))
    difference = float(np.abs(again - stages["box/pooled"]).max())
    evidence.at_most("cut out by hand less the head's input", difference, 1e-5)
    evidence.quote()


def _level(box: np.ndarray) -> int:
    """The place in the pyramid by FPN's equation 1."""
    side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    return int(np.clip(np.floor(4 + np.log2(side / 224)), 2, 5)) - 2


@CHAPTER.claim(
    27,
    by="S0",
    says="Both stages can be trained separately, or together, which is 1.5 times faster.",
    verdict=IMPRECISE,
    correction="The number is from the authors' code and VGG-16; the paper says 25 to 50 % less "
    "time, 1.33 to 2 times faster. And what is trained together is an approximation: the regions "
    "depend on the proposal network, but no gradient flows back through their coordinates.",
    section="Faster R-CNN, section 3.2",
)
def approximate_joint_training(evidence: Evidence) -> None:
    """The second stage's loss depends on the proposals; its gradient does not reach them."""
    network, sample = (
        small_network(append_gt_boxes=False, box_fg_iou_thresh=0.2, box_bg_iou_thresh=0.2),
        scene(),
    )

    def second_stage() -> Any:
        rng = np.random.default_rng(0)
        losses = network.losses([sample.image], [sample.target], rng=rng)
        return total(losses, "loss_classifier", "loss_box_reg", "loss_mask")

    loss = second_stage()
    loss.backward()
    evidence.at_least("its gradient in the backbone", gradient_size(network.backbone), 1e-9)
    evidence.equal("its gradient in the proposal network", gradient_size(network.rpn.head), 0.0)
    evidence.quote()
    clear_gradients(network)
    bias = network.rpn.head.bbox_pred.bias
    assert bias is not None
    bias.data += np.float32(0.05)
    change = abs(float(second_stage().data) - float(loss.data))
    evidence.at_least("change of the loss when all proposals move by 5 %", change, 1e-5)
    fastest, slowest = 1 / (1 - 0.50), 1 / (1 - 0.25)
    evidence.show("times faster at 25 and 50 % less", (slowest, fastest))
    evidence.true("1.5 lies between", slowest <= 1.5 <= fastest)


@CHAPTER.claim(
    28,
    by="S4",
    says="Shared layers come from training in four steps: the proposal network; a detector of "
    "its own on its proposals; the proposal network again on the detector's layers, which stay "
    "fixed; the detector's head.",
    verdict=RIGHT,
    correction="Right, so Faster R-CNN was trained. Mask R-CNN did so only for the timed model; "
    "today's systems train everything at once.",
    section="Faster R-CNN, section 3.2",
)
def four_steps(evidence: Evidence) -> None:
    """One update in each step, and the hash of every part's weights after each."""
    network, images = small_network(), Shapes(2, size=64, seed=0)
    settings = TrainSettings(steps=1, batch=1, warmup=0)
    with tempfile.TemporaryDirectory() as folder:
        report = four_step(network, images, settings, Path(folder) / "run", progress=False)
    hashes = [{k: v[:8] for k, v in step["hashes"].items()} for step in report["steps"]]
    proposer, detector, third, fourth = hashes
    evidence.equal("steps", len(hashes), 4)
    evidence.differs("backbone after step 2", detector["backbone"], proposer["backbone"])
    evidence.equal("backbone after step 3", third["backbone"], detector["backbone"])
    evidence.quote()
    evidence.differs("proposal network after step 3", third["rpn"], proposer["rpn"])
    evidence.equal("backbone after step 4", fourth["backbone"], detector["backbone"])
    evidence.equal("proposal network after step 4", fourth["rpn"], third["rpn"])
    evidence.differs("heads after step 4", fourth["roi_heads"], detector["roi_heads"])
    shared = part_hash(network.backbone)[:8]
    evidence.equal("backbone of the network in the end", shared, detector["backbone"])
