from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build
from minimask.kernels.nms import VARIANTS, batched_nms, batched_nms_padded, nms

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
CUDA = [name for name in VARIANTS if name.startswith("cuda")]
every_variant = pytest.mark.parametrize("variant", CPU)
every_cuda = pytest.mark.parametrize("variant", CUDA)
needs_compiler = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
NAN = np.nan


def assert_kept(actual, expected):
    np.testing.assert_array_equal(actual, np.asarray(expected, np.int64), strict=True)


def random_boxes(seed, count, dtype="f4", far=100.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, far, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], 1)
    return boxes.astype(dtype), rng.permutation(count).astype(dtype) / count


# ------------------------------------------------------------------ numbers worked out by hand

# 4 x 4 boxes along a line.  Two shifted by d share 4 - d columns: IoU (4 - d) / (4 + d)
#   d = 1: 3/5    d = 2: 1/3    d = 3: 1/7
LINE = np.array([[x, 0, x + 4, 4] for x in (0, 1, 2, 3)], "f4")


@every_variant
def test_a_chain_by_hand(variant):
    scores = np.array([0.6, 0.9, 0.8, 0.7], "f4")
    # visited 1, 2, 3, 0.  Above 1/2 only neighbors suppress: 1 takes 2 and 0; 3 (at distance 2
    # from 1) stays, as 2, which would have suppressed it, is gone
    assert_kept(nms(LINE, scores, 0.5, variant=variant), [1, 3])
    # above 1/4 distance 2 suppresses as well
    assert_kept(nms(LINE, scores, 0.25, variant=variant), [1])
    assert_kept(nms(LINE, scores, 0.7, variant=variant), [1, 2, 3, 0])


@every_variant
def test_an_iou_equal_to_the_threshold_does_not_suppress(variant):
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 4, 1]], "f4")  # 1/2, 1/4 and 1/2
    scores = np.array([0.9, 0.8, 0.7], "f4")
    assert_kept(nms(boxes, scores, 0.5, variant=variant), [0, 1, 2])
    assert_kept(nms(boxes, scores, np.nextafter(0.5, 0, dtype="f4"), variant=variant), [0])


@every_variant
def test_equal_scores_are_visited_by_index(variant):
    boxes = LINE[[1, 0, 2, 1]]
    assert_kept(nms(boxes, np.ones(4, "f4"), 0.5, variant=variant), [0])
    assert_kept(nms(boxes[1:], np.ones(3, "f4"), 0.5, variant=variant), [0, 1])
    apart = LINE + np.arange(4, dtype="f4")[::-1, None] * 10
    assert_kept(nms(apart, np.array([1, 2, 2, 1], "f4"), 0.5, variant=variant), [1, 2, 0, 3])


@every_variant
def test_thresholds_zero_and_one(variant):
    boxes = np.concatenate([LINE, LINE[:1], [[4, 0, 8, 4]]]).astype("f4")
    scores = np.arange(6, 0, -1).astype("f4")
    # 0: any overlap suppresses; touching (the last) is none.  1: nothing does, not even a copy
    assert_kept(nms(boxes, scores, 0, variant=variant), [0, 5])
    assert_kept(nms(boxes, scores, 1, variant=variant), range(6))


@every_variant
def test_groups_by_hand(variant):
    scores = np.array([0.6, 0.9, 0.8, 0.7], "f4")
    groups = np.array([7, -2, 7, -2])
    # -2 holds 1 and 3 (distance 2), 7 holds 2 and 0 (distance 2): IoU 1/3 everywhere
    assert_kept(batched_nms(LINE, scores, groups, 0.5, variant=variant), [1, 2, 3, 0])
    assert_kept(batched_nms(LINE, scores, groups, 0.3, variant=variant), [1, 2])


@every_variant
def test_boxes_with_no_inside_are_kept_and_suppress_nothing(variant):
    odd = [[0, 0, 0, 4], [4, 0, 0, 4], [4, 4, 0, 0], [NAN, 0, 4, 4], [0, 0, 4, NAN]]
    boxes = np.array([*odd, [0, 0, 4, 4], *odd], "f4")
    scores = np.arange(len(boxes), 0, -1).astype("f4")
    assert_kept(nms(boxes, scores, 0.0, variant=variant), range(len(boxes)))


@every_variant
def test_nan_scores_rank_last(variant):
    boxes = LINE[[0, 0, 0, 3]] + np.array([[0], [0], [0], [90]], "f4")
    assert_kept(nms(boxes, np.array([NAN, -5, -np.inf, NAN], "f4"), 0.5, variant=variant), [1, 3])


@every_variant
def test_no_boxes(variant):
    empty = np.zeros((0, 4), "f4")
    assert_kept(nms(empty, np.zeros(0, "f4"), 0.5, variant=variant), [])
    groups = np.zeros(0, np.int64)
    assert_kept(batched_nms(empty, np.zeros(0, "f4"), groups, 0.5, variant=variant), [])


# --------------------------------------------------------------- an independent implementation


def iou_of_whole_boxes(a, b):
    """In fractions, so that nothing rounds."""
    sides = [max(0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1)]
    areas = [max(0, c[2] - c[0]) * max(0, c[3] - c[1]) for c in (a, b)]
    if 0 in areas:
        return Fraction(0)
    overlap = sides[0] * sides[1]
    return Fraction(overlap, sum(areas) - overlap)


def one_at_a_time(boxes, scores, groups, threshold):
    left = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [
            i
            for i in left
            if groups[i] != groups[best]
            or iou_of_whole_boxes(boxes[i], boxes[best]) <= Fraction(threshold)
        ]
    return kept


@given(
    hnp.arrays(np.int64, st.tuples(st.integers(0, 25), st.just(4)), elements=st.integers(0, 8)),
    st.data(),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    st.sampled_from(["f4", "f8"]),
)
def test_fractions_and_a_sorted_list_give_the_same(boxes, data, threshold, dtype):
    count = len(boxes)
    scores = data.draw(hnp.arrays(np.int64, count, elements=st.integers(0, 6)))
    groups = data.draw(hnp.arrays(np.int64, count, elements=st.integers(-1, 1)))
    plain = [[int(v) for v in box] for box in boxes]
    for names in (groups, np.zeros_like(groups)):
        expected = one_at_a_time(plain, scores.tolist(), names.tolist(), threshold)
        arrays = boxes.astype(dtype), scores.astype(dtype)
        for variant in CPU:
            assert_kept(batched_nms(*arrays, names, threshold, variant=variant), expected)
            if not names.any():
                assert_kept(nms(*arrays, threshold, variant=variant), expected)


@every_variant
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_torchvision_gives_the_same(variant, threshold):
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    boxes, scores = random_boxes(0, 1000)
    expected = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).numpy()
    assert 50 < len(expected) < 1000
    assert_kept(nms(boxes, scores, threshold, variant=variant), expected)


# ------------------------------------------------------------------- invariances and variants


@every_variant
def test_order_of_the_input_and_mirroring_do_not_matter(variant):
    boxes, scores = random_boxes(1, 300, "f8")
    kept = nms(boxes, scores, 0.4, variant=variant)
    assert 50 < len(kept) < 250
    order = np.random.default_rng(2).permutation(300)
    assert_kept(order[nms(boxes[order], scores[order], 0.4, variant=variant)], kept)
    mirrored = (boxes * [-1, 1, -1, 1])[:, [2, 1, 0, 3]]
    assert_kept(nms(mirrored, scores, 0.4, variant=variant), kept)
    assert_kept(nms(boxes * 8, scores, 0.4, variant=variant), kept)


@every_variant
def test_groups_are_calls_of_their_own(variant):
    boxes, scores = random_boxes(3, 300)
    groups = np.random.default_rng(4).integers(0, 5, 300)
    alone = [
        np.flatnonzero(groups == g)[nms(boxes[groups == g], scores[groups == g], 0.3)]
        for g in range(5)
    ]
    together = np.concatenate(alone)
    expected = together[np.argsort(-scores[together], kind="stable")]
    assert_kept(batched_nms(boxes, scores, groups, 0.3, variant=variant), expected)


@every_variant
def test_kept_boxes_are_apart_and_each_lost_one_has_a_better_neighbor(variant):
    from minimask.kernels.box_iou import box_iou

    boxes, scores = random_boxes(5, 400)
    kept = nms(boxes, scores, 0.3, variant=variant)
    assert (np.diff(scores[kept]) < 0).all()
    iou = box_iou(boxes, boxes[kept], variant="reference")
    assert (iou[kept] > 0.3).sum() == len(kept)  # each with itself alone
    lost = np.setdiff1d(np.arange(400), kept)
    better = scores[kept][None] > scores[lost][:, None]
    assert ((iou[lost] > 0.3) & better).any(1).all()


@pytest.mark.parametrize("count", [1, 63, 64, 65, 129, 2000])
@pytest.mark.parametrize("far", [30.0, 1000.0])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_variants_keep_the_same(count, far, dtype):
    boxes, scores = random_boxes(count, count, dtype, far)
    scores = np.round(scores, 1)  # many ties
    groups = np.random.default_rng(6).integers(0, 3, count)
    assert_kept(nms(boxes, scores, 0.5), nms(boxes, scores, 0.5, variant="reference"))
    expected = batched_nms(boxes, scores, groups, 0.5, variant="reference")
    assert_kept(batched_nms(boxes, scores, groups, 0.5), expected)


coordinate = st.one_of(st.floats(-9, 9, width=32), st.sampled_from([NAN, np.inf, -np.inf]))


@given(
    hnp.arrays("f4", st.tuples(st.integers(0, 30), st.just(4)), elements=coordinate),
    st.data(),
    st.floats(0, 1),
)
def test_variants_keep_the_same_of_odd_boxes(boxes, data, threshold):
    value = st.one_of(st.floats(-1, 1, width=32), st.just(NAN))
    scores = data.draw(hnp.arrays("f4", len(boxes), elements=value))
    for arrays in ((boxes, scores), (np.asfortranarray(boxes[::-1]), scores[::-1])):
        assert_kept(nms(*arrays, threshold), nms(*arrays, threshold, variant="reference"))


@every_variant
def test_the_arrays_given_are_left_alone(variant):
    boxes, scores = random_boxes(7, 50)
    before = boxes.copy(), scores.copy()
    nms(boxes, scores, 0.3, variant=variant)
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


# ---------------------------------------------------------------- arrays of a length known before


@every_variant
@pytest.mark.parametrize("limit", [0, 1, 2, 3, 9])
def test_padded_is_the_first_of_those_kept(variant, limit):
    scores = np.array([0.6, 0.9, 0.8, 0.7], "f4")
    indices, count = batched_nms_padded(LINE, scores, None, 0.7, limit=limit, variant=variant)
    assert_kept(indices, ([1, 2, 3, 0] + [-1] * 9)[:limit])
    np.testing.assert_array_equal(count, np.array([min(limit, 4)], np.int32), strict=True)
    groups = np.array([7, -2, 7, -2])
    indices, count = batched_nms_padded(LINE, scores, groups, 0.3, limit=limit, variant=variant)
    assert_kept(indices, ([1, 2] + [-1] * 9)[:limit])
    assert count == min(limit, 2)


def test_a_limit_that_is_none_is_named():
    boxes, scores = random_boxes(8, 3)
    with pytest.raises(ValueError, match="limit: expected a number of boxes, got -1"):
        batched_nms_padded(boxes, scores, None, 0.5, limit=-1)
    with pytest.raises(TypeError, match="float"):
        batched_nms_padded(boxes, scores, None, 0.5, limit=1.5)


# --------------------------------------------------------------------- GPU kernels, emulated


@needs_compiler
@every_cuda
@given(
    hnp.arrays("f4", st.tuples(st.integers(0, 90), st.just(4)), elements=coordinate),
    st.data(),
    st.floats(0, 1, width=32),
)
@settings(max_examples=25)
def test_gpu_kernels_keep_the_same_of_odd_boxes(variant, boxes, data, threshold):
    value = st.one_of(st.floats(-1, 1, width=32), st.sampled_from([NAN, -NAN, np.inf, -np.inf]))
    scores = data.draw(hnp.arrays("f4", len(boxes), elements=value))
    groups = data.draw(hnp.arrays(np.int64, len(boxes), elements=st.integers(-1, 1)))
    limit = data.draw(st.integers(0, 100))
    for arrays in ((boxes, scores), (np.asfortranarray(boxes[::-1]), scores.copy())):
        with using(emulate=True):
            kept = batched_nms(*arrays, groups, threshold, variant=variant)
            first, count = batched_nms_padded(
                *arrays, groups, threshold, limit=limit, variant=variant
            )
        expected = batched_nms(*arrays, groups, threshold, variant="reference")
        assert_kept(kept, expected)
        assert_kept(first, [*expected, *[-1] * limit][:limit])
        assert count == min(limit, len(expected))


@needs_compiler
@every_cuda
def test_gpu_kernels_compute_in_float32_alone(variant):
    boxes, scores = random_boxes(9, 3, "f8")
    with using(emulate=True), pytest.raises(TypeError, match="boxes: the GPU kernels compute in"):
        nms(boxes, scores, 0.5, variant=variant)


@needs_compiler
def test_rows_of_a_large_group_are_read_from_memory():
    """More boxes than one block does alone, in groups that begin and end within tiles."""
    boxes, scores = random_boxes(10, 1300, far=300.0)
    groups = np.repeat([5, 2, 8, 1], [20, 530, 100, 650])
    expected = batched_nms(boxes, scores, groups, 0.4, variant="reference")
    with using(emulate=True):
        assert_kept(batched_nms(boxes, scores, groups, 0.4), expected)
        first, _ = batched_nms_padded(boxes, scores, groups, 0.4, limit=50)
    assert_kept(first, expected[:50])


# -------------------------------------------------------------------------------------- errors


def test_what_does_not_fit_is_named():
    boxes, scores = random_boxes(8, 3)
    with pytest.raises(ValueError, match=r"boxes: expected shape \(R, 4\), got \(4,\)"):
        nms(boxes[0], scores, 0.5)
    with pytest.raises(ValueError, match=r"scores: expected shape \(3,\), one a box, got \(2,\)"):
        nms(boxes, scores[:2], 0.5)
    with pytest.raises(ValueError, match=r"groups: expected shape \(3,\), one a box, got \(2,\)"):
        batched_nms(boxes, scores, np.zeros(2, int), 0.5)
    with pytest.raises(TypeError, match="groups: expected integers, got float64"):
        batched_nms(boxes, scores, np.zeros(3), 0.5)
    for threshold in (-0.1, 1.5, NAN):
        with pytest.raises(ValueError, match="iou_threshold: expected a number from 0 to 1"):
            nms(boxes, scores, threshold)


@every_variant
def test_whole_numbers_are_scores_too(variant):
    boxes = LINE.astype(np.int64) * 10
    assert_kept(nms(boxes, np.array([1, 2, 3, 4], np.uint8), 0.5, variant=variant), [3, 1])
