"""Claims 74 to 82: what section 3 of Faster R-CNN says, and Fast R-CNN before it."""

# B anchors   G ground-truth objects   R boxes   H, W height and width of a map

from __future__ import annotations

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, no_grad
from minimask.conventions import PAPER
from minimask.data.shapes import Shapes
from minimask.kernels import box_iou
from minimask.models.anchors import AnchorGenerator
from minimask.models.matcher import BACKGROUND
from minimask.models.proposals import filter_proposals
from minimask.models.rpn import RPNHead
from minimask.models.transform import ImageTransform
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, Chapter, Evidence
from minimask.tools.textbook.claims.proposals import paper_grid
from minimask.tools.textbook.claims.scenes import gradient_size, network_of

CHAPTER = Chapter("The papers: proposals")


@CHAPTER.claim(
    74,
    by="FR",
    says="Anchors and the functions that judge them are translation-invariant: if an object "
    "moves, its proposal moves with it.",
    verdict=RIGHT,
    correction="Right, for moves by whole cells and away from the border.",
    section="Faster R-CNN, section 3.1.1",
)
def proposals_move_along(evidence: Evidence) -> None:
    """Features moved by three cells through the proposal network."""
    rng = np.random.default_rng(0)
    head = RPNHead(4, 3, rng)
    features = np.zeros((1, 4, 20, 20), np.float32)
    features[:, :, 5:9, 4:8] = rng.standard_normal((4, 4, 4))
    shifted = np.roll(features, 3, axis=3)
    with no_grad():
        (before,), (deltas,) = head([Tensor(features)])
        (after,), (moved_deltas,) = head([Tensor(shifted)])
    change = np.abs(np.roll(before.data, 3, axis=3) - after.data)[..., 1:-1, 1:-1]
    evidence.at_most("scores, moved less of the moved", float(change.max()), 1e-7)
    change = np.abs(np.roll(deltas.data, 3, axis=3) - moved_deltas.data)[..., 1:-1, 1:-1]
    evidence.at_most("deltas, moved less of the moved", float(change.max()), 1e-7)
    evidence.at_least(
        "scores, unmoved less of the moved", float(np.abs(before.data - after.data).max()), 1e-4
    )
    cells = paper_grid(4, 5).reshape(4, 5, 9, 4)
    steps = np.diff(cells, axis=1).reshape(-1, 4)
    away = float(np.abs(steps - [16, 0, 16, 0]).max())
    evidence.at_most("anchors of the next cell, from 16 pixels on", away, 1e-3, "pixels")


@CHAPTER.claim(
    75,
    by="FR",
    says="Of about 20 000 anchors of an image of 600 x 1000, about 6000 do not cross its border, "
    "and only they are trained on.",
    verdict=IMPRECISE,
    correction="Of 600 x 1000 it is 8000; 6000 is right for 600 x 800, the shape of most "
    "photographs. Today's systems train on all anchors, and so does minimask.",
    section="Faster R-CNN, section 3.1.3",
)
def anchors_inside_the_image(evidence: Evidence) -> None:
    """Count the anchors that lie wholly inside."""
    for width, total, expected in ((1000, 20_000, 8000), (800, 17_000, 6000)):
        anchors = paper_grid(38, -(-width // 16))
        inside = is_inside(anchors, 600, width)
        evidence.equal(f"anchors, 600 x {width}", len(anchors), total, within=0.1 * total)
        evidence.equal("of them inside", int(inside.sum()), expected, within=0.05 * expected)
    at_the_border = np.array([[0, 200, 120, 340]], np.float32)
    labels = network_of("paper").rpn.matcher(at_the_border, anchors)
    evidence.at_least("minimask's positives that cross", int(((labels >= 0) & ~inside).sum()), 1)


def is_inside(anchors: np.ndarray, height: int, width: int) -> np.ndarray:
    """(B,) bool: which anchors do not cross the image's border."""
    x0, y0, x1, y1 = anchors.T
    return (x0 >= 0) & (y0 >= 0) & (x1 <= width) & (y1 <= height)


def random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 4) float64 boxes of 8 to 300 pixels."""
    corners = rng.uniform(0, 500, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(8, 300, (count, 2))], axis=1)


@CHAPTER.claim(
    76,
    by="FR",
    says="Four numbers t move an anchor to a box: shifts of the center over its size, logarithms "
    "of the growth.",
    verdict=RIGHT,
    correction="Right; it can be undone exactly, up to a limit that code sets to the growth.",
    section="Faster R-CNN, equation 2",
)
def deltas_are_invertible(evidence: Evidence) -> None:
    """There and back, and the formula by hand."""
    rng = np.random.default_rng(0)
    boxes, anchors = random_boxes(500, rng), random_boxes(500, rng)
    deltas = box_ops.encode(boxes, anchors)
    back = box_ops.decode(deltas, anchors)
    evidence.at_most("boxes there and back", float(np.abs(back - boxes).max()), 1e-9, "pixels")
    x, xa = boxes[:, ::2].mean(axis=1), anchors[:, ::2].mean(axis=1)
    w, wa = boxes[:, 2] - boxes[:, 0], anchors[:, 2] - anchors[:, 0]
    by_hand = np.stack([(x - xa) / wa, np.log(w / wa)])
    evidence.at_most(
        "t_x and t_w less those by hand", float(np.abs(deltas[:, ::2].T - by_hand).max()), 1e-9
    )
    growth = box_ops.decode(np.array([[0, 0, 10.0, 10.0]]), np.array([[0, 0, 16.0, 16.0]]))
    side = float(growth[0, 2] - growth[0, 0])
    evidence.equal("a side of 16 pixels grown by e^10, limited", side, 1000, "pixels", within=1e-6)


@CHAPTER.claim(
    77,
    by="FR",
    says="The four numbers do not depend on the scale and the place of the image.",
    verdict=RIGHT,
    correction="Right: that is why one layer serves anchors of all sizes.",
    section="Faster R-CNN, section 3.1.2; R-CNN, appendix C",
)
def deltas_ignore_scale(evidence: Evidence) -> None:
    """Box and anchor scaled and moved together."""
    rng = np.random.default_rng(0)
    boxes, anchors = random_boxes(200, rng), random_boxes(200, rng)
    plain = box_ops.encode(boxes, anchors)
    for factor, shift in ((0.25, 0), (7.0, 0), (1.0, 333), (3.0, -40)):
        changed = box_ops.encode(boxes * factor + shift, anchors * factor + shift)
        worst = float(np.abs(changed - plain).max())
        evidence.at_most(f"change of t, times {factor:g} and moved by {shift}", worst, 1e-9)
    in_pixels = np.abs((boxes - anchors) * 7 - (boxes - anchors)).max()
    evidence.at_least(
        "change of the differences in pixels, times 7", float(in_pixels), 100, "pixels"
    )


@CHAPTER.claim(
    78,
    by="FR",
    says="k regressors are learned, one for each scale and ratio, which share no weights.",
    verdict=RIGHT,
    correction="Right for the last layer; all before it is shared.",
    section="Faster R-CNN, section 3.1.2",
)
def regressors_are_separate(evidence: Evidence) -> None:
    """The gradient of one anchor's deltas at the weights of all."""
    rng, k = np.random.default_rng(0), 9
    head = RPNHead(8, k, rng)
    _, (deltas,) = head([Tensor(rng.standard_normal((1, 8, 6, 6)).astype(np.float32))])
    (deltas[:, 12:16] ** 2).sum().backward()  # the fourth of nine anchors
    gradient = head.bbox_pred.weight.grad
    assert gradient is not None
    touched = np.flatnonzero(np.abs(gradient).max(axis=(1, 2, 3)))
    evidence.equal("rows of the layer", len(gradient), 4 * k)
    evidence.equal("rows that the fourth anchor's loss moves", touched.tolist(), [12, 13, 14, 15])
    evidence.quote()
    below = gradient_size(head.conv)
    evidence.at_least("its gradient in the layer before", below, 1e-9)


@CHAPTER.claim(
    79,
    by="FR",
    says="The box loss is the robust smooth L1, less sensitive to outliers than a square.",
    verdict=RIGHT,
    correction="Right: its slope never exceeds 1.",
    section="Fast R-CNN, equation 3; Faster R-CNN, section 3.1.2",
)
def smooth_l1_is_robust(evidence: Evidence) -> None:
    """The share of one outlier in the gradient of twenty boxes."""
    errors = np.r_[np.full(19, 0.4), 30.0]
    shares = {}
    for name in ("smooth L1", "square"):
        t = Tensor(errors, requires_grad=True)
        zero = np.zeros_like(errors)
        loss = (
            F.smooth_l1(t, zero, beta=1.0, reduction="sum")
            if name == "smooth L1"
            else (t * t * 0.5).sum()
        )
        loss.backward()
        assert t.grad is not None
        shares[name] = float(t.grad[-1] / t.grad.sum())
        evidence.show(f"slope at the outlier of 30, {name}", float(t.grad[-1]))
    evidence.at_most("its share of the gradient, smooth L1", shares["smooth L1"], 0.15)
    evidence.at_least("its share of the gradient, square", shares["square"], 0.75)


@CHAPTER.claim(
    80,
    by="FR",
    says="256 anchors of an image are drawn, up to half of them positive; negatives fill up "
    "where there are fewer.",
    verdict=RIGHT,
    correction="Right. Without this, background would be almost all there is to learn from.",
    section="Faster R-CNN, section 3.1.3",
)
def negatives_fill_up(evidence: Evidence) -> None:
    """Draws with many, few and no positives."""
    sampler = network_of("paper").rpn.sampler
    for objects, expected in ((500, (128, 128)), (12, (12, 244)), (0, (0, 256))):
        matches = np.full(20_000, BACKGROUND)
        matches[:objects] = 0
        positive, negative = sampler(matches, np.random.default_rng(0))
        drawn = (len(positive), len(negative))
        evidence.equal(f"drawn with {objects} positives of 20 000", drawn, expected)
    evidence.show("share of positives without sampling, 12 of 20 000", 12 / 20_000)


@CHAPTER.claim(
    81,
    by="FR",
    says="Each object's best anchor is made positive, because otherwise some objects would have "
    "none.",
    verdict=RIGHT,
    correction="Right; above all small objects and long ones.",
    section="Faster R-CNN, section 3.1.2",
)
def some_objects_need_their_best(evidence: Evidence) -> None:
    """Generated objects and the anchors of the small network, with the rule and without."""
    grid = AnchorGenerator((8, 16, 32, 64, 128), convention=PAPER)
    anchors = grid([(128 // s, 128 // s) for s in (4, 8, 16, 32, 64)], (128, 128)).flat
    shapes = Shapes(seed=4, size=128)
    objects = np.concatenate([shapes[i].boxes for i in range(12)])
    overlap = box_iou(objects, anchors).max(axis=1)
    matcher = network_of("paper").rpn.matcher
    without = int((overlap < matcher.fg_iou_thresh).sum())
    evidence.show("objects", len(objects))
    evidence.at_least("without an anchor of IoU 0.7", without, 1)
    found = sum((matcher(box[None], anchors) >= 0).any() for box in objects)
    evidence.equal("with a positive anchor by the rule", int(found), len(objects))


def recall_of_proposals(limit: int, threshold: float = 0.7) -> tuple[float, int]:
    """A proposal network that is nearly right, on 600 x 1000 pixels: recall at 0.5, and how many.

    Scores are each anchor's overlap with its object, deltas those to the object, both with noise.
    """
    rng = np.random.default_rng(0)
    objects = random_boxes(12, rng)
    objects = box_ops.clip(objects, 600, 1000)
    anchors = paper_grid(38, 63).astype(np.float64)
    overlap = box_iou(objects, anchors)
    nearest = objects[overlap.argmax(axis=0)]
    logits = 8 * overlap.max(axis=0) + rng.normal(0, 0.7, len(anchors))
    deltas = box_ops.encode(nearest, anchors) + rng.normal(0, 0.12, anchors.shape)
    deltas[overlap.max(axis=0) < 0.3] = 0  # nothing near: it stays where it is
    ((boxes, _),) = filter_proposals(
        [logits[None]],
        [deltas[None]],
        [anchors],
        [ImageTransform((600, 1000), (600, 1000))],
        pre_nms_top_n=12_000,
        post_nms_top_n=limit,
        nms_thresh=threshold,
        min_size=PAPER.rpn_min_size,
    )
    recall = float((box_iou(objects, boxes).max(axis=1) >= 0.5).mean())
    return recall, len(boxes)


@CHAPTER.claim(
    82,
    by="FR",
    says="Suppression leaves about 2000 proposals and does not cost accuracy; in testing 300 do.",
    verdict=RIGHT,
    correction="Right in kind, here with a simulated proposal network: thousands of boxes become "
    "a few hundred without losing an object.",
    section="Faster R-CNN, sections 3.3 and 4.1",
)
def three_hundred_suffice(evidence: Evidence) -> None:
    """Recall before and after suppression, with 2000, 300 and 10 proposals."""
    everything, before = recall_of_proposals(12_000, threshold=1.0)
    suppressed, after = recall_of_proposals(12_000)
    evidence.show("boxes before suppression", before)
    evidence.at_most("boxes after it", after, 0.5 * before)
    evidence.equal("recall at 0.5, before and after", suppressed - everything, 0.0)
    evidence.at_least("recall at 0.5 with 300", recall_of_proposals(300)[0], 0.95)
    evidence.quote()
    evidence.at_most(
        "with 300 of the best without suppression", recall_of_proposals(300, 1.0)[0], 0.95
    )
