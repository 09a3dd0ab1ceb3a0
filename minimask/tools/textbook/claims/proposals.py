"""Claims 12 to 15, 17, 18 and 29: anchors, the network that judges them, its proposals."""

# N images   A anchors per cell   H, W height and width of a map   R boxes

from __future__ import annotations

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd import Tensor, no_grad, ops
from minimask.conventions import PAPER
from minimask.kernels import box_iou, nms
from minimask.models.anchors import AnchorGenerator
from minimask.models.fpn import FPNBackbone
from minimask.models.rpn import RPNHead, flatten_level
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, WRONG, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    Listener,
    clear_gradients,
    gradient_size,
    network_of,
    scene,
    small_network,
    total,
)

CHAPTER = Chapter("Anchors and proposals")

PAPER_SIZES, PAPER_RATIOS = (128, 256, 512), (0.5, 1.0, 2.0)  # Faster R-CNN, section 3.3


@CHAPTER.claim(
    12,
    by="S0 S1 S2 S3 S4",
    says="Faster R-CNN is a region proposal network and Fast R-CNN, two stages on the same "
    "convolutions.",
    verdict=RIGHT,
    correction="Right. One of the texts once writes Fast R-CNN where it means Faster R-CNN, and "
    "abbreviates the proposal network wrongly.",
    section="Faster R-CNN, section 3.2",
)
def two_stages_one_backbone(evidence: Evidence) -> None:
    """Which modules run, and whose loss reaches the first convolution."""
    network, sample, heard = small_network(), scene(), Listener()
    assert isinstance(network.backbone, FPNBackbone)
    with heard.listen():
        network.predict([sample.image])
    for name in ("ResNet", "RPNHead", "BoxHead"):
        evidence.equal(f"runs of {name} for one image", heard.modules[name], 1)
    for stage, names in (
        ("first", ("loss_objectness", "loss_rpn_box_reg")),
        ("second", ("loss_classifier", "loss_box_reg")),
    ):
        clear_gradients(network)
        rng = np.random.default_rng(0)
        losses = network.losses([sample.image], [sample.target], rng=rng)
        total(losses, *names).backward()
        size = gradient_size(network.backbone.body.sections()[0][0])
        evidence.at_least(f"gradient of the {stage} stage's losses at the first layer", size, 1e-9)
        evidence.quote()


def paper_grid(height: int, width: int) -> np.ndarray:
    """Faster R-CNN's anchors on a map of `height` x `width` cells of 16 pixels: (R, 4)."""
    grid = AnchorGenerator([PAPER_SIZES], PAPER_RATIOS, convention=PAPER)
    return grid([(height, width)], (16 * height, 16 * width)).flat


@CHAPTER.claim(
    13,
    by="S0",
    says="A map of 38 x 56 cells with 9 anchors each at stride 16 gives 38569 / 16 = 1192 "
    "proposals.",
    verdict=WRONG,
    correction="Three errors. The multiplication signs were lost: it is 38 x 56 x 9 = 19152, not "
    "38569. A sixteenth of that is 1197, not 1192. And nothing is to be divided: 38 x 56 is "
    "already the map of an image of about 600 x 900 at stride 16. There are 19152 anchors; "
    "proposals are those that survive.",
    section="Faster R-CNN, section 3.1.1",
)
def anchors_of_a_map(evidence: Evidence) -> None:
    """Build the grid and count."""
    anchors = paper_grid(38, 56)
    evidence.equal("anchors of the grid", len(anchors), 19152)
    evidence.show("the map's image, 16 times as large", (38 * 16, 56 * 16), "pixels")
    evidence.differs("38569 / 16", 38569 / 16, 1192)
    evidence.differs("19152 / 16", len(anchors) / 16, 1192)
    evidence.equal("different anchors among them", len(np.unique(anchors, axis=0)), len(anchors))


@CHAPTER.claim(
    14,
    by="S0 S4",
    says="The proposal network sorts by score and drops low ones; non-maximum suppression "
    "removes what overlaps a better box by more than 0.7.",
    verdict=RIGHT,
    correction="Right for proposals. The second suppression, per class at the end, takes 0.5 "
    "(0.3 in matterport's code).",
    section="Faster R-CNN, section 3.3",
)
def suppression_at_0_7(evidence: Evidence) -> None:
    """300 random boxes: what is kept, what is dropped, and the same by the definition."""
    torchvision, matterport = network_of("torchvision"), network_of("matterport")
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (300, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(15, 50, (300, 2))], axis=1)
    scores = rng.random(300)
    kept = nms(boxes, scores, torchvision.rpn.nms_thresh)
    iou = box_iou(boxes, boxes)
    dropped = np.setdiff1d(np.arange(300), kept)
    among = iou[np.ix_(kept, kept)] - np.eye(len(kept))
    evidence.show("boxes kept of 300", len(kept))
    evidence.true("their scores fall", all(np.diff(scores[kept]) < 0))
    evidence.at_most("largest IoU among the kept", float(among.max()), 0.7)
    evidence.quote()
    better = iou[np.ix_(dropped, kept)] * (scores[kept] > scores[dropped][:, None])
    evidence.at_least("smallest IoU of a dropped box with a better one", better.max(1).min(), 0.7)
    evidence.true("the same as by the definition", kept.tolist() == _by_definition(iou, scores))
    evidence.equal("thresholds, proposals", torchvision.rpn.nms_thresh, 0.7)
    finals = (torchvision.roi_heads.nms_thresh, matterport.roi_heads.nms_thresh)
    evidence.equal("thresholds, final boxes, torchvision and matterport", finals, (0.5, 0.3))


def _by_definition(iou: np.ndarray, scores: np.ndarray, threshold: float = 0.7) -> list[int]:
    """Suppression word for word: visit by falling score, keep what no kept box overlaps."""
    kept: list[int] = []
    for box in np.argsort(-scores, kind="stable"):
        if all(iou[box, other] <= threshold for other in kept):
            kept.append(int(box))
    return kept


def funnel(limit: int = 40) -> tuple[dict[str, int], np.ndarray, np.ndarray]:
    """How many boxes are left at each step of a small network, then proposals and scores."""
    options = {"anchor_sizes": (24, 32, 48, 64, 80), "rpn_pre_nms_top_n_test": 150}
    image = scene().image
    stages = dict(small_network(**options, rpn_post_nms_top_n_test=limit).stages(image))
    unlimited = small_network(**options, rpn_post_nms_top_n_test=10_000)
    survivors = dict(unlimited.stages(image))["rpn/proposals"]
    sizes = [stages[f"rpn/objectness/{i}"].size for i in range(5)]
    counts = {
        "anchors": sum(sizes),
        "best of each level": sum(min(size, 150) for size in sizes),
        "after suppression": len(survivors),
        "proposals": len(stages["rpn/proposals"]),
    }
    prefix = survivors[: len(stages["rpn/proposals"])]
    return counts, stages["rpn/proposals"], prefix


@CHAPTER.claim(
    15,
    by="S4",
    says="After suppression only the best N proposals go on.",
    verdict=RIGHT,
    correction="Right: 2000 in training; in testing 300 (C4) or 1000 (FPN) in the Mask R-CNN "
    "paper.",
    section="Mask R-CNN, section 3.1",
)
def best_n(evidence: Evidence) -> None:
    """The funnel of a small network, with and without the last limit."""
    counts, proposals, best = funnel()
    for name, count in counts.items():
        evidence.show(name, count)
    evidence.equal("proposals with N = 40", len(proposals), 40)
    evidence.true("they are the first 40 without a limit", np.array_equal(proposals, best))
    evidence.at_least("survivors without a limit", counts["after suppression"], 41)
    rpn = network_of("torchvision").rpn
    evidence.equal(
        "N in training and testing",
        (rpn.post_nms_top_n_train, rpn.post_nms_top_n_test),
        (2000, 1000),
    )


@CHAPTER.claim(
    17,
    by="S4",
    says="The regions predicted at a window are called anchors.",
    verdict=IMPRECISE,
    correction="Anchors are the fixed boxes one starts from, the same for every image; proposals "
    "are anchors moved as the network says.",
    section="Faster R-CNN, section 3.1.1",
)
def anchors_are_not_proposals(evidence: Evidence) -> None:
    """Two images through one network."""
    network = small_network(rpn_nms_thresh=1.0)
    network.rpn.head.bbox_pred.weight.data *= 100  # random weights move little
    first, second = (dict(network.stages(scene(i).image)) for i in range(2))
    same = np.array_equal(first["rpn/anchors"], second["rpn/anchors"])
    evidence.true("two images have the same anchors", same)
    a, b = ({tuple(box) for box in s["rpn/proposals"].tolist()} for s in (first, second))
    evidence.at_most("share of proposals in common", len(a & b) / len(a), 0.05)
    evidence.quote()
    deltas = flatten_level(first["rpn/deltas/2"], 4)[0]
    starts = sum(first[f"rpn/objectness/{i}"].size for i in range(2))
    anchors = first["rpn/anchors"][starts : starts + len(deltas)]
    refined = box_ops.clip(box_ops.decode(deltas, anchors), 96, 96)
    inside = {tuple(np.round(box, 3)) for box in refined.tolist()}
    from_level = sum(tuple(np.round(box, 3)) in inside for box in a)
    evidence.at_least("proposals that are moved anchors of level 4", from_level, 1)
    still = box_ops.decode(np.zeros_like(anchors), anchors)
    evidence.at_most("pixels moved by deltas of 0", float(np.abs(still - anchors).max()), 1e-4)


@CHAPTER.claim(
    18,
    by="S4",
    says="With k boxes per place the box layer has 4k outputs and the class layer 2k scores.",
    verdict=RIGHT,
    correction="Right for the paper's two-way softmax. Most code has k scores through a sigmoid, "
    "which the paper allows: the softmax of two is the sigmoid of their difference.",
    section="Faster R-CNN, section 3.1",
)
def outputs_per_place(evidence: Evidence) -> None:
    """Outputs of our layer, and both forms of the probability from the same 2k scores."""
    rng, k = np.random.default_rng(0), 9
    head = RPNHead(8, k, rng)
    features = rng.standard_normal((1, 8, 5, 6)).astype(np.float32)
    with no_grad():
        (scores,), (deltas,) = head([Tensor(features)])
    evidence.equal("box outputs per place, k = 9", deltas.shape[1], 4 * k)
    evidence.equal("scores per place with a sigmoid", scores.shape[1], k)
    two = rng.standard_normal((k, 2)) * 5
    soft = ops.softmax(Tensor(two), axis=1).data[:, 1]
    sharp = ops.sigmoid(Tensor(two[:, 1] - two[:, 0])).data
    evidence.at_most("softmax of two less sigmoid", float(np.abs(soft - sharp).max()), 1e-12)


@CHAPTER.claim(
    29,
    by="S0",
    says="There are 9 anchors at each place: 3 scales times 3 ratios.",
    verdict=RIGHT,
    correction="Right for Faster R-CNN. With a feature pyramid there is one scale on each of "
    "five levels, so 3 at each cell.",
    section="Faster R-CNN, section 3.1.1; FPN, section 4.1",
)
def nine_or_three(evidence: Evidence) -> None:
    """Count the anchors of a cell and of whole images in both designs."""
    single = AnchorGenerator([PAPER_SIZES], PAPER_RATIOS, convention=PAPER)
    sizes = (32, 64, 128, 256, 512)
    pyramid = AnchorGenerator(sizes, PAPER_RATIOS, convention=PAPER)
    evidence.equal("anchors of a cell, one map", single.per_cell, 9)
    evidence.equal("anchors of a cell, pyramid", pyramid.per_cell, 3)
    areas: list[float] = np.sqrt(box_ops.area(single.cells[0])).round(3).tolist()
    evidence.equal("their sizes", sorted(set(areas)), [128.0, 256.0, 512.0], "pixels")
    for size, expected in (((800, 1344), 268_569), ((1024, 1024), 261_888)):
        shapes = [(-(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16, 32, 64)]
        count = len(pyramid(shapes, size).flat)
        evidence.equal(f"anchors of {size[0]} x {size[1]} pixels, pyramid", count, expected)
