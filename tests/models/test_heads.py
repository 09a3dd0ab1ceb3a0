"""The heads' losses and post-processing, with numbers small enough to check by hand."""

import dataclasses
import math

import numpy as np
import pytest

from minimask.autograd import Tensor
from minimask.conventions import DETECTRON2, MATTERPORT, TORCHVISION
from minimask.models import box_head, mask_head, rpn
from minimask.models.proposals import filter_proposals, top
from minimask.models.transform import Frame
from minimask.tools.testing import gradcheck

FRAME = Frame((100, 100), (100, 100))


def logit(p):
    return math.log(p / (1 - p))


# --- region proposal network ------------------------------------------------------------------

SAMPLES = [(np.array([1]), np.array([0, 2])), (np.array([], int), np.array([3]))]
OBJECTNESS = np.array([[logit(0.2), logit(0.5), logit(0.1), 7], [5, 6, 7, logit(0.6)]])
DELTAS = np.zeros((2, 4, 4))
DELTAS[0, 1] = [0.05, 0, 0, 2]  # below and above 1/9


@pytest.mark.parametrize(
    ("convention", "entropies_over", "distance"),
    [
        (TORCHVISION, 4, (0.05**2 / 2 * 9 + 2 - 1 / 18) / 4),
        (DETECTRON2, 512, 2.05 / 512),
        (MATTERPORT, 4, (0.05**2 / 2 + 1.5) / 4),  # one positive, four coordinates
    ],
    ids=lambda c: getattr(c, "name", None),
)
def test_rpn_loss_by_hand(convention, entropies_over, distance):
    entropies = -sum(math.log(p) for p in (1 - 0.2, 0.5, 1 - 0.1, 1 - 0.6))
    loss = rpn.rpn_loss(
        Tensor(OBJECTNESS),
        Tensor(DELTAS),
        SAMPLES,
        [np.zeros((1, 4)), np.zeros((0, 4))],
        convention,
    )
    assert loss[0].item() == pytest.approx(entropies / entropies_over)
    assert loss[1].item() == pytest.approx(distance)


def test_rpn_loss_has_the_gradient_of_its_value():
    targets = [np.full((1, 4), 0.3), np.zeros((0, 4))]
    gradcheck(
        lambda o: rpn.rpn_loss(o, Tensor(DELTAS), SAMPLES, targets, TORCHVISION)[0], OBJECTNESS
    )
    gradcheck(
        lambda d: rpn.rpn_loss(Tensor(OBJECTNESS), d, SAMPLES, targets, TORCHVISION)[1], DELTAS
    )


def test_levels_are_flattened_in_the_order_of_the_anchors():
    level = np.arange(2 * 6 * 2 * 3).reshape(2, 6, 2, 3)  # 3 anchors of 2 values
    flat = rpn.flatten_level(level, 2)
    assert flat.shape == (2, 18, 2)
    row, column, anchor = 1, 2, 1
    at = (row * 3 + column) * 3 + anchor
    np.testing.assert_array_equal(flat[1, at], level[1, [2, 3], row, column])
    both = rpn.flatten_levels([Tensor(level), Tensor(level[:, :, :1, :1])], 2)
    np.testing.assert_array_equal(both.data[:, :18], flat)


def proposals(convention, before, after, logits=((3.0, 2.0, 1.0), (2.5,)), deltas=None):
    anchors = [np.array([[0, 0, 20, 20], [1, 0, 21, 20], [50, 50, 70, 70]], np.float32)]
    anchors.append(np.array([[0, 1, 20, 21]], np.float32))
    levels = [np.array([x], np.float32) for x in logits]
    moves = [np.zeros((1, len(x), 4), np.float32) for x in logits]
    if deltas is not None:
        moves[0][0] = deltas
    ((boxes, scores),) = filter_proposals(
        levels, moves, anchors, [FRAME], convention, before, after
    )
    return boxes[:, :2].tolist(), scores


def test_proposals_suppress_within_their_level_only():
    boxes, scores = proposals(TORCHVISION, 10, 10)
    assert boxes == [[0, 0], [0, 1], [50, 50]]  # the second overlaps the first; the third does not
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array([3, 2.5, 1]))), rtol=1e-6)


def test_limits_before_and_after_suppression():
    assert proposals(TORCHVISION, 2, 10)[0] == [[0, 0], [0, 1]]  # the best two of each level
    assert proposals(TORCHVISION, 10, 1)[0] == [[0, 0]]


def test_moved_proposals_are_clipped_and_the_small_ones_dropped():
    deltas = [[-9, 0, 0, 0], [0, 0, -30, 0], [2, 0, 0, 0]]  # out of the image; thin; to the border
    boxes, _ = proposals(TORCHVISION, 10, 10, deltas=deltas)
    assert boxes == [[0, 1], [90, 50]]


def test_nan_and_infinity_are_no_proposals():
    boxes, _ = proposals(
        TORCHVISION, 10, 10, logits=((np.nan, 2.0, 1.0), (2.5,)),
        deltas=[[0, 0, 0, 0], [np.nan, 0, 0, 0], [0, 0, 0, 0]],
    )  # fmt: skip
    assert boxes == [[0, 1], [50, 50]]


def test_large_levels_give_the_same_best_as_sorting():
    logits = np.random.default_rng(0).permutation(1000).astype(np.float32).reshape(2, 500)
    best = top(logits, 20)
    np.testing.assert_array_equal(best, np.argsort(-logits, axis=1)[:, :20])


# --- box head ---------------------------------------------------------------------------------


def regions(convention):
    """Two regions on objects of label 0 and 1, and one on background, in the middle."""
    candidates = np.array([[0, 0, 10, 10], [40, 40, 60, 60], [20, 0, 30, 20]], np.float32)
    true_boxes = np.array([[20, 0, 30, 20], [1, 0, 11, 10]], np.float32)
    matches = box_head.assign_regions(candidates, true_boxes, convention)
    np.testing.assert_array_equal(matches, [1, -1, 0])
    chosen = np.array([2, 0]), np.array([1])
    return box_head.make_regions(
        candidates, matches, chosen, true_boxes, np.array([0, 1]), 3, convention
    )


@pytest.mark.parametrize(
    ("convention", "labels"), [(TORCHVISION, [2, 0, 1]), (DETECTRON2, [1, 2, 0])]
)
def test_regions_by_hand(convention, labels):
    found = regions(convention)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.positive, [True, False, True])
    np.testing.assert_array_equal(found.matched[found.positive], [1, 0])
    np.testing.assert_allclose(found.targets, [[1, 0, 0, 0], [0] * 4, [0] * 4], atol=1e-6)


@pytest.mark.parametrize(
    ("convention", "distance"),
    [(TORCHVISION, (1 - 1 / 18) / 3), (DETECTRON2, 1 / 3), (MATTERPORT, 0.5 / 8)],
    ids=lambda c: getattr(c, "name", None),
)
def test_box_loss_by_hand(convention, distance):
    found = regions(convention)
    rows = 3 if convention.background == "first" else 2
    logits = np.zeros((3, 3))
    deltas = np.full((3, rows, 4), 77.0)  # must not count ...
    deltas[[0, 2], found.labels[[0, 2]]] = 0  # ... but for the true class of a positive region
    loss = box_head.box_loss(Tensor(logits), Tensor(deltas.reshape(3, -1)), [found], convention)
    assert loss[0].item() == pytest.approx(math.log(3))
    assert loss[1].item() == pytest.approx(distance, rel=1e-5)
    gradcheck(
        lambda x: box_head.box_loss(Tensor(logits), x, [found], convention)[1],
        deltas.reshape(3, -1) + 0.01,
    )


def test_true_boxes_join_the_proposals_unless_the_convention_says_no():
    proposals, true_boxes = np.zeros((3, 4), np.float32), np.ones((2, 4), np.float64)
    joined = box_head.with_true_boxes(proposals, true_boxes, TORCHVISION)
    assert joined.shape == (5, 4) and joined.dtype == np.float32
    assert box_head.with_true_boxes(proposals, true_boxes, MATTERPORT) is proposals


def objects(convention, **changes):
    """Three regions, the first two on each other; background is the first of three classes."""
    convention = dataclasses.replace(convention, **changes)
    boxes = np.array([[0, 0, 20, 20], [0, 1, 20, 21], [50, 50, 70, 70]], np.float32)
    probabilities = np.array([[0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.96, 0.03, 0.01]])
    rows = 3
    if convention.background == "last":
        probabilities, rows = np.roll(probabilities, -1, axis=1), 2
    (found,) = box_head.find_objects(
        np.log(probabilities).astype(np.float32),
        np.zeros((3, 4 * rows), np.float32),
        [boxes],
        [FRAME],
        convention,
    )
    rows = zip(found.labels, found.scores, found.boxes[:, 1], strict=True)
    return [(label, round(float(score), 3), y) for label, score, y in rows]


@pytest.mark.parametrize("background", ["first", "last"])
def test_objects_are_suppressed_within_their_class(background):
    expected = [(0, 0.6, 0), (1, 0.3, 0)]
    assert objects(TORCHVISION, background=background) == expected


def test_score_threshold_and_number_of_detections():
    found = objects(TORCHVISION, box_score_thresh=0.02)
    assert found == [(0, 0.6, 0), (1, 0.3, 0), (0, 0.03, 50)]
    assert objects(TORCHVISION, box_score_thresh=0.02, box_detections_per_img=1) == found[:1]
    assert objects(TORCHVISION, box_score_thresh=0.7) == []


def test_one_class_per_region():
    found = objects(TORCHVISION, best_class_only=True, box_score_thresh=0.0)
    assert found == [(0, 0.6, 0)]


# --- mask head ----------------------------------------------------------------------------------


def test_targets_are_the_shares_of_the_cells():
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 4:8, 4:11] = 1  # 7 columns of cells of 2: the fourth is half covered
    box = np.array([[4, 4, 12, 8]], np.float32)
    soft = dataclasses.replace(TORCHVISION, mask_target_aligned=True)
    target = mask_head.mask_targets(mask, box, np.array([0]), 4, soft)[0]
    # columns of 2 pixels, rows of 1; the last column has one pixel of two
    np.testing.assert_allclose(target, np.tile([1, 1, 1, 0.5], (4, 1)), atol=1e-6)
    hard = dataclasses.replace(soft, mask_target="hard")
    np.testing.assert_array_equal(
        mask_head.mask_targets(mask, box, np.array([0]), 4, hard)[0], np.ones((4, 4))
    )


def test_targets_come_from_the_matched_object():
    masks = np.zeros((2, 9, 9), np.uint8)
    masks[1] = 1
    box = np.array([[1, 1, 8, 8]], np.float32).repeat(2, axis=0)
    target = mask_head.mask_targets(masks, box, np.array([1, 0]), 3, TORCHVISION)
    np.testing.assert_array_equal(target, [np.ones((3, 3)), np.zeros((3, 3))])
    assert mask_head.mask_targets(masks, box[:0], np.array([], int), 3, TORCHVISION).shape == (
        0,
        3,
        3,
    )


def test_only_the_true_class_of_positive_regions_learns():
    found = regions(TORCHVISION)  # labels 2, background, 1
    masks = np.ones((2, 100, 100), np.uint8)
    logits = np.full((2, 3, 4, 4), 50.0)  # right by far, were it not for ...
    logits[0, 2] = logit(0.9)
    logits[1, 1] = logit(0.5)
    loss = mask_head.mask_loss(Tensor(logits), [found], [masks], TORCHVISION)
    assert loss.item() == pytest.approx(-(math.log(0.9) + math.log(0.5)) / 2, rel=1e-5)
    gradcheck(lambda x: mask_head.mask_loss(x, [found], [masks], TORCHVISION), logits / 50)


def test_probabilities_are_of_the_own_class():
    logits = np.zeros((2, 3, 2, 2), np.float32)
    logits[0, 2], logits[1, 0] = 100, -100
    probs = mask_head.mask_probabilities(logits, np.array([2, 0]), TORCHVISION)
    np.testing.assert_allclose(probs, [np.ones((2, 2)), np.zeros((2, 2))], atol=1e-6)


def test_masks_are_learned_on_as_many_positives_as_asked_for():
    positive = np.array([True, False, True, True, False, True])
    zeros = np.zeros(6, np.int64)
    boxes = np.zeros((6, 4), np.float32)
    regions = box_head.Regions(boxes, zeros, zeros, boxes, positive)
    some = dataclasses.replace(TORCHVISION, mask_batch_size_per_image=2)
    drawn = [
        mask_head.draw_regions(regions, some, np.random.default_rng(seed)).positive
        for seed in range(20)
    ]
    assert all(d.sum() == 2 and not (d & ~positive).any() for d in drawn)
    assert np.any(drawn, axis=0).tolist() == positive.tolist()  # each has its turn
    rng = np.random.default_rng(0)
    assert mask_head.draw_regions(regions, TORCHVISION, rng) is regions
