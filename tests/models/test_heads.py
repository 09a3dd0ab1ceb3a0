"""The heads' losses and post-processing, with numbers small enough to check by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.autograd import Tensor
from minimask.autograd.hooks import Recorder, hooked
from minimask.conventions import DETECTRON2, MATTERPORT, TORCHVISION
from minimask.kernels.nms import batched_nms
from minimask.models import Target, box_head, mask_head, rpn
from minimask.models.box_head import SampledRoIs, postprocess_detections
from minimask.models.proposals import filter_proposals, topk
from minimask.models.roi_heads import RoIHeads
from minimask.models.transform import ImageTransform
from minimask.nn import Module
from minimask.tools.testing import gradcheck

WHOLE = ImageTransform((100, 100), (100, 100))


def logit(p):
    return math.log(p / (1 - p))


# --- region proposal network ------------------------------------------------------------------

SAMPLED = [(np.array([1]), np.array([0, 2])), (np.array([], int), np.array([3]))]
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
        SAMPLED,
        [np.zeros((1, 4)), np.zeros((0, 4))],
        divisor=convention.rpn_loss_divisor,
        beta=convention.rpn_loss_beta,
    )
    assert loss[0].item() == pytest.approx(entropies / entropies_over)
    assert loss[1].item() == pytest.approx(distance)


def test_rpn_loss_has_the_gradient_of_its_value():
    targets = [np.full((1, 4), 0.3), np.zeros((0, 4))]
    gradcheck(lambda o: rpn.rpn_loss(o, Tensor(DELTAS), SAMPLED, targets)[0], OBJECTNESS)
    gradcheck(lambda d: rpn.rpn_loss(Tensor(OBJECTNESS), d, SAMPLED, targets)[1], DELTAS)


def test_levels_are_flattened_in_the_order_of_the_anchors():
    level = np.arange(2 * 6 * 2 * 3).reshape(2, 6, 2, 3)  # 3 anchors of 2 values
    flat = rpn.flatten_level(level, 2)
    assert flat.shape == (2, 18, 2)
    row, column, anchor = 1, 2, 1
    at = (row * 3 + column) * 3 + anchor
    np.testing.assert_array_equal(flat[1, at], level[1, [2, 3], row, column])
    both = rpn.flatten_levels([Tensor(level), Tensor(level[:, :, :1, :1])], 2)
    np.testing.assert_array_equal(both.data[:, :18], flat)


def proposals(before, after, logits=((3.0, 2.0, 1.0), (2.5,)), deltas=None):
    anchors = [np.array([[0, 0, 20, 20], [1, 0, 21, 20], [50, 50, 70, 70]], np.float32)]
    anchors.append(np.array([[0, 1, 20, 21]], np.float32))
    levels = [np.array([x], np.float32) for x in logits]
    level_deltas = [np.zeros((1, len(x), 4), np.float32) for x in logits]
    if deltas is not None:
        level_deltas[0][0] = deltas
    ((boxes, scores),) = filter_proposals(
        levels, level_deltas, anchors, [WHOLE], pre_nms_top_n=before, post_nms_top_n=after
    )
    return boxes[:, :2].tolist(), scores


def test_proposals_suppress_within_their_level_only():
    boxes, scores = proposals(10, 10)
    assert boxes == [[0, 0], [0, 1], [50, 50]]  # the second overlaps the first; the third does not
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array([3, 2.5, 1]))), rtol=1e-6)


def test_limits_before_and_after_suppression():
    assert proposals(2, 10)[0] == [[0, 0], [0, 1]]  # the best two of each level
    assert proposals(10, 1)[0] == [[0, 0]]


def test_moved_proposals_are_clipped_and_the_small_ones_dropped():
    deltas = [[-9, 0, 0, 0], [0, 0, -30, 0], [2, 0, 0, 0]]  # out of the image; thin; to the border
    boxes, _ = proposals(10, 10, deltas=deltas)
    assert boxes == [[0, 1], [90, 50]]


def test_nan_and_infinity_are_no_proposals():
    boxes, _ = proposals(
        10, 10, logits=((np.nan, 2.0, 1.0), (2.5,)),
        deltas=[[0, 0, 0, 0], [np.nan, 0, 0, 0], [0, 0, 0, 0]],
    )  # fmt: skip
    assert boxes == [[0, 1], [50, 50]]


def test_large_levels_give_the_same_best_as_sorting():
    logits = np.random.default_rng(0).permutation(1000).astype(np.float32).reshape(2, 500)
    best = topk(logits, 20)
    np.testing.assert_array_equal(best, np.argsort(-logits, axis=1)[:, :20])


# --- box head ---------------------------------------------------------------------------------


def second_stage(convention):
    """What samples RoIs and makes their targets; its layers, which are not asked, do nothing."""
    return RoIHeads(Module(), Module(), 3, convention)


def sampled_rois(convention):
    """Two RoIs on objects of label 0 and 1, and one on background, in the middle."""
    candidates = np.array([[0, 0, 10, 10], [40, 40, 60, 60], [20, 0, 30, 20]], np.float32)
    gt_boxes = np.array([[20, 0, 30, 20], [1, 0, 11, 10]], np.float32)
    heads = second_stage(convention)
    matches = heads.matcher(gt_boxes, candidates)
    np.testing.assert_array_equal(matches, [1, -1, 0])
    drawn = np.array([2, 0]), np.array([1])
    return heads.build_targets(candidates, matches, drawn, Target(gt_boxes, np.array([0, 1])))


@pytest.mark.parametrize(
    ("convention", "labels"), [(TORCHVISION, [2, 0, 1]), (DETECTRON2, [1, 2, 0])]
)
def test_sampled_rois_by_hand(convention, labels):
    sampled = sampled_rois(convention)
    np.testing.assert_array_equal(sampled.labels, labels)
    np.testing.assert_array_equal(sampled.positive, [True, False, True])
    np.testing.assert_array_equal(sampled.matched[sampled.positive], [1, 0])
    np.testing.assert_allclose(sampled.target_deltas, [[1, 0, 0, 0], [0] * 4, [0] * 4], atol=1e-6)


@pytest.mark.parametrize(
    ("convention", "distance"),
    [(TORCHVISION, (1 - 1 / 18) / 3), (DETECTRON2, 1 / 3), (MATTERPORT, 0.5 / 8)],
    ids=lambda c: getattr(c, "name", None),
)
def test_box_loss_by_hand(convention, distance):
    sampled = sampled_rois(convention)
    rows = 3 if convention.background == "first" else 2
    logits = np.zeros((3, 3))
    deltas = np.full((3, rows, 4), 77.0)  # must not count ...
    deltas[[0, 2], sampled.labels[[0, 2]]] = 0  # ... but for the object's class of a positive RoI
    how = {"divisor": convention.box_loss_divisor, "beta": convention.box_loss_beta}
    loss = box_head.box_loss(Tensor(logits), Tensor(deltas.reshape(3, -1)), [sampled], **how)
    assert loss[0].item() == pytest.approx(math.log(3))
    assert loss[1].item() == pytest.approx(distance, rel=1e-5)
    gradcheck(
        lambda x: box_head.box_loss(Tensor(logits), x, [sampled], **how)[1],
        deltas.reshape(3, -1) + 0.01,
    )


def test_gt_boxes_join_the_proposals_unless_the_convention_says_no():
    proposals, gt_boxes = np.zeros((3, 4), np.float32), np.ones((2, 4), np.float64)
    gt_boxes[:, 2:] = 9
    target = Target(gt_boxes, np.zeros(2, np.int64))
    candidates = []
    for convention in (TORCHVISION, MATTERPORT):
        with hooked(Recorder()) as recorder:
            second_stage(convention).sample([proposals], [target], np.random.default_rng(0))
        (((boxes, matches),),) = recorder.values("roi/candidates")
        assert len(matches) == len(boxes)
        candidates.append(boxes)
    joined, alone = candidates
    assert joined.shape == (5, 4) and joined.dtype == np.float32
    np.testing.assert_array_equal(joined[3:], gt_boxes)
    assert alone is proposals


def objects(background="first", **options):
    """Three RoIs, the first two on each other; background is the first of three classes."""
    boxes = np.array([[0, 0, 20, 20], [0, 1, 20, 21], [50, 50, 70, 70]], np.float32)
    probabilities = np.array([[0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.96, 0.03, 0.01]])
    rows = 3
    if background == "last":
        probabilities, rows = np.roll(probabilities, -1, axis=1), 2
    (found,) = postprocess_detections(
        np.log(probabilities).astype(np.float32),
        np.zeros((3, 4 * rows), np.float32),
        [boxes],
        [WHOLE],
        background=background,
        **options,
    )
    rows = zip(found.labels, found.scores, found.boxes[:, 1], strict=True)
    return [(label, round(float(score), 3), y) for label, score, y in rows]


@pytest.mark.parametrize("background", ["first", "last"])
def test_objects_are_suppressed_within_their_class(background):
    expected = [(0, 0.6, 0), (1, 0.3, 0)]
    assert objects(background) == expected


def test_score_threshold_and_number_of_detections():
    found = objects(score_thresh=0.02)
    assert found == [(0, 0.6, 0), (1, 0.3, 0), (0, 0.03, 50)]
    assert objects(score_thresh=0.02, detections_per_img=1) == found[:1]
    assert objects(score_thresh=0.7) == []


def test_one_class_per_region():
    found = objects(best_class_only=True, score_thresh=0.0)
    assert found == [(0, 0.6, 0)]


def detections(boxes, scores, labels, **options):
    """The boxes of every image that survive, as lists of indices: deltas of 0, given scores."""
    rows = 1 + max((int(n.max(initial=0)) + 1 for n in labels), default=1)
    logits = []
    for score, label in zip(scores, labels, strict=True):
        probabilities = np.full((len(score), rows), 1e-30)  # below every threshold
        probabilities[np.arange(len(score)), 1 + label] = score
        probabilities[:, 0] = 1 - score
        logits.append(np.log(probabilities))
    logits = np.concatenate(logits).astype(np.float32)
    zeros = np.zeros((len(logits), 4 * rows), np.float32)
    found = postprocess_detections(logits, zeros, boxes, [WHOLE] * len(boxes), **options)
    return [
        [next(i for i, b in enumerate(given_boxes) if np.array_equal(b, p)) for p in f.proposals]
        for f, given_boxes in zip(found, boxes, strict=True)
    ]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(0, 1000))
def test_images_and_classes_of_a_batch_do_not_meet(counts, seed):
    """Suppression for a whole batch is suppression image by image."""
    rng = np.random.default_rng(seed)
    corners = [rng.uniform(0, 20, (n, 2)) for n in counts]
    boxes = [np.concatenate([c, c + 10], axis=1).astype(np.float32) for c in corners]
    scores = [rng.permutation(np.linspace(0.1, 0.9, n, dtype=np.float32)) for n in counts]
    labels = [rng.integers(0, 3, n) for n in counts]
    together = detections(boxes, scores, labels, nms_thresh=0.5, detections_per_img=5)
    for b, s, n, kept in zip(boxes, scores, labels, together, strict=True):
        assert kept == batched_nms(b, s, n, 0.5)[:5].tolist()


def test_suppression_of_two_images_by_hand():
    boxes = [np.array([[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]], np.float32)] * 2
    scores = [np.array([0.5, 0.9, 0.1], np.float32), np.array([0.9, 0.5, 0.95], np.float32)]
    same, other = np.zeros(3, int), np.array([0, 1, 0])
    assert detections(boxes, scores, [same, same], detections_per_img=9) == [[1, 2], [2, 0]]
    assert detections(boxes, scores, [other, other], detections_per_img=2) == [[1, 0], [2, 0]]


# --- mask head ----------------------------------------------------------------------------------


def test_targets_are_the_shares_of_the_cells():
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 4:8, 4:11] = 1  # 7 columns of cells of 2: the fourth is half covered
    box = np.array([[4, 4, 12, 8]], np.float32)
    target = mask_head.mask_targets(mask, box, np.array([0]), 4, aligned=True)[0]
    # columns of 2 pixels, rows of 1; the last column has one pixel of two
    np.testing.assert_allclose(target, np.tile([1, 1, 1, 0.5], (4, 1)), atol=1e-6)
    hard = mask_head.mask_targets(mask, box, np.array([0]), 4, target="hard", aligned=True)
    np.testing.assert_array_equal(hard[0], np.ones((4, 4)))


def test_targets_come_from_the_matched_object():
    masks = np.zeros((2, 9, 9), np.uint8)
    masks[1] = 1
    box = np.array([[1, 1, 8, 8]], np.float32).repeat(2, axis=0)
    target = mask_head.mask_targets(masks, box, np.array([1, 0]), 3)
    np.testing.assert_array_equal(target, [np.ones((3, 3)), np.zeros((3, 3))])
    assert mask_head.mask_targets(masks, box[:0], np.array([], int), 3).shape == (0, 3, 3)


def test_only_the_objects_class_of_positive_rois_learns():
    sampled = sampled_rois(TORCHVISION)  # labels 2, background, 1
    masks = np.ones((2, 100, 100), np.uint8)
    logits = np.full((2, 3, 4, 4), 50.0)  # right by far, were it not for ...
    logits[0, 2] = logit(0.9)
    logits[1, 1] = logit(0.5)
    loss = mask_head.mask_loss(Tensor(logits), [sampled], [masks])
    assert loss.item() == pytest.approx(-(math.log(0.9) + math.log(0.5)) / 2, rel=1e-5)
    gradcheck(lambda x: mask_head.mask_loss(x, [sampled], [masks]), logits / 50)


def test_probabilities_are_of_the_own_class():
    logits = np.zeros((2, 3, 2, 2), np.float32)
    logits[0, 2], logits[1, 0] = 100, -100
    probs = mask_head.mask_probabilities(logits, np.array([2, 0]))
    np.testing.assert_allclose(probs, [np.ones((2, 2)), np.zeros((2, 2))], atol=1e-6)


def test_masks_are_learned_on_as_many_positives_as_asked_for():
    positive = np.array([True, False, True, True, False, True])
    zeros = np.zeros(6, np.int64)
    boxes = np.zeros((6, 4), np.float32)
    sampled = SampledRoIs(boxes, zeros, zeros, boxes, positive)
    drawn = [
        mask_head.subsample_positives(sampled, 2, np.random.default_rng(seed)).positive
        for seed in range(20)
    ]
    assert all(d.sum() == 2 and not (d & ~positive).any() for d in drawn)
    assert np.any(drawn, axis=0).tolist() == positive.tolist()  # each has its turn
    rng = np.random.default_rng(0)
    assert mask_head.subsample_positives(sampled, None, rng) is sampled
    assert mask_head.subsample_positives(sampled, 4, rng) is sampled
