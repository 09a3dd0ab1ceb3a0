"""Matching and sampling, by hand and against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.kernels.box_iou import box_iou
from minimask.kernels.dispatch import using
from minimask.models.matcher import BACKGROUND, IGNORED, BalancedSampler, Matcher

BY_THRESHOLDS = Matcher(0.7, 0.3)
WITH_THE_BEST = Matcher(0.7, 0.3, best_iou_min=0.0)


def test_by_hand():
    iou = np.array(
        [
            [0.8, 0.65, 0.2, 0.1, 0.0],
            [0.1, 0.2, 0.4, 0.69, 0.0],
        ]
    )
    np.testing.assert_array_equal(
        BY_THRESHOLDS.match_iou(iou), [0, IGNORED, IGNORED, IGNORED, BACKGROUND]
    )
    # object 1 has no box above 0.7: its best one, box 3, is given to it
    np.testing.assert_array_equal(
        WITH_THE_BEST.match_iou(iou), [0, IGNORED, IGNORED, 1, BACKGROUND]
    )
    np.testing.assert_array_equal(
        Matcher(0.7, 0.3, best_iou_min=0.7).match_iou(iou),
        [0, IGNORED, IGNORED, IGNORED, BACKGROUND],
    )


def test_the_bounds_are_torchvisions():
    iou = np.array([[0.7, 0.3, 0.299]])
    np.testing.assert_array_equal(BY_THRESHOLDS.match_iou(iou), [0, IGNORED, BACKGROUND])


def test_a_rescued_box_keeps_its_own_nearest_object():
    # box 0 is object 1's best, but overlaps object 0 more
    iou = np.array([[0.6, 0.9], [0.4, 0.1]])
    np.testing.assert_array_equal(WITH_THE_BEST.match_iou(iou), [0, 0])


def test_all_boxes_tied_for_best_are_matches():
    iou = np.array([[0.5, 0.5, 0.4]])
    np.testing.assert_array_equal(WITH_THE_BEST.match_iou(iou), [0, 0, IGNORED])


def test_an_object_nothing_overlaps_does_not_claim_every_box():
    np.testing.assert_array_equal(WITH_THE_BEST.match_iou(np.zeros((1, 3))), [-1] * 3)


def test_no_objects_and_no_boxes():
    np.testing.assert_array_equal(WITH_THE_BEST.match_iou(np.zeros((0, 2))), [-1, -1])
    assert WITH_THE_BEST.match_iou(np.zeros((3, 0))).shape == (0,)


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="above the foreground bound"):
        Matcher(0.3, 0.7)
    assert Matcher(0.5, 0.5).bg_iou_thresh == 0.5


@st.composite
def objects_and_boxes(draw):
    """Boxes in places of a small grid, with ties; some inverted, NaN or infinite."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    lists = []
    for count in (draw(st.integers(0, 6)), draw(st.sampled_from([0, 1, 40, 700]))):
        boxes = rng.integers(0, 8, (count, 4)).astype(draw(st.sampled_from(["f4", "f8"])))
        boxes[:, 2:] += boxes[:, :2] * draw(st.sampled_from([0, 1]))
        odd = rng.random(boxes.shape) < draw(st.sampled_from([0, 0.05]))
        boxes[odd] = rng.choice([np.nan, np.inf, -np.inf], odd.sum())
        lists.append(boxes)
    return lists


@given(
    objects_and_boxes(),
    st.sampled_from([0.25, 0.3, 0.5, 0.7, 1.0]),
    st.sampled_from([0.0, 0.2, 0.25]),
    st.sampled_from([None, 0.0, 0.25, 0.5, 1.1]),
    st.sampled_from([None, "reference"]),
)
def test_boxes_are_matched_as_all_their_overlaps_are(lists, high, low, best_iou_min, variant):
    objects, boxes = lists
    matcher = Matcher(high, low, best_iou_min)
    expected = matcher.match_iou(box_iou(objects, boxes))
    with using(variant):
        got = matcher(objects, boxes)
    np.testing.assert_array_equal(got, expected, strict=True)


def slow_match(iou, high, low):
    result = []
    for b in range(iou.shape[1]):
        column = iou[:, b]
        best = int(np.argmax(column))
        rescued = any(column[g] == iou[g].max() and column[g] > 0 for g in range(len(iou)))
        if column[best] >= high or rescued:
            result.append(best)
        else:
            result.append(-1 if column[best] < low else -2)
    return result


@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 10_000))
def test_against_plain_loops(objects, boxes, seed):
    iou = np.random.default_rng(seed).integers(0, 11, (objects, boxes)) / 10  # with ties
    np.testing.assert_array_equal(WITH_THE_BEST.match_iou(iou), slow_match(iou, 0.7, 0.3))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40), st.integers(0, 10_000))
def test_a_sample_has_the_promised_sizes_and_no_repetition(positives, negatives, ignored, seed):
    rng = np.random.default_rng(seed)
    matches = rng.permutation([3] * positives + [-1] * negatives + [-2] * ignored).astype(int)
    p, n = BalancedSampler(32, 0.25)(matches, rng)
    assert len(p) == min(positives, 8)
    assert len(n) == min(negatives, 32 - len(p))
    assert (matches[p] == 3).all() and (matches[n] == -1).all()
    assert (np.diff(p) > 0).all() and (np.diff(n) > 0).all()


def test_sampling_is_random_fair_and_repeatable():
    matches = np.full(20, -1)
    sampler = BalancedSampler(5, 0.5)
    draws = [sampler(matches, np.random.default_rng(seed))[1] for seed in range(400)]
    counts = np.bincount(np.concatenate(draws), minlength=20)
    assert counts.min() > 60 and counts.max() < 140  # 100 expected, standard deviation 8.7
    np.testing.assert_array_equal(draws[7], sampler(matches, np.random.default_rng(7))[1])


def test_limit_of_negatives_per_positive():
    matches = np.array([0] + [-1] * 50)
    p, n = BalancedSampler(20, 0.33, negatives_per_positive=2.0)(matches, np.random.default_rng(0))
    assert (len(p), len(n)) == (1, 2)
