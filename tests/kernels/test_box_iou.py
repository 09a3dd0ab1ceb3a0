from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minimask.kernels.box_iou import VARIANTS, best_overlaps, box_iou
from minimask.kernels.box_iou.cuda.launch import tile_of
from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
CUDA = [name for name in VARIANTS if name.startswith("cuda")]
every_variant = pytest.mark.parametrize("variant", CPU)
needs_compiler = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))


def assert_close(actual, desired, rtol=1e-12, atol=0.0):
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol, strict=True)


def random_boxes(seed, count, dtype="f8"):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 80, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(0.1, 60, (count, 2))], 1).astype(dtype)


# ------------------------------------------------------------------ numbers worked out by hand


@every_variant
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_pairs_by_hand(variant, dtype):
    a = np.array([[0, 0, 2, 2], [0, 0, 4, 4]], dtype)
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [5, 5, 6, 6]], dtype)
    expected = [
        # 2x2 against 2x2 shifted by (1, 1): 1 / (4 + 4 - 1); itself; touching; apart
        [1 / 7, 1, 0, 0],
        # 4x4 holds the first three, of area 4 each: 4 / 16
        [1 / 4, 1 / 4, 1 / 4, 0],
    ]
    got = box_iou(a, b, variant=variant)
    assert_close(got, np.array(expected, dtype), rtol=2e-7)


NAN, INF = np.nan, np.inf
WITHOUT_INSIDE = {
    "zero area": [1, 1, 1, 3],
    "a point": [1, 1, 1, 1],
    "inverted in x": [3, 1, 1, 3],
    "inverted in y": [1, 3, 3, 1],
    "inverted in both, width times height is positive": [3, 3, 1, 1],
    "NaN x0": [NAN, 1, 3, 3],
    "NaN y0": [1, NAN, 3, 3],
    "NaN x1": [1, 1, NAN, 3],
    "NaN y1": [1, 1, 3, NAN],
    "infinite": [-INF, -INF, INF, INF],
}


@every_variant
@pytest.mark.parametrize("name", WITHOUT_INSIDE)
def test_a_box_with_no_inside_overlaps_nothing_not_even_itself(variant, name):
    odd = np.array([WITHOUT_INSIDE[name]], "f8")
    boxes = np.concatenate([odd, [[0.0, 0, 4, 4]], odd])
    got = box_iou(boxes, boxes, variant=variant)
    assert_close(got, np.diag([0.0, 1, 0]))


# --------------------------------------------------------------- an independent implementation


whole_boxes = hnp.arrays(
    np.int64, st.tuples(st.integers(0, 5), st.just(4)), elements=st.integers(0, 9)
)


@given(whole_boxes, whole_boxes, st.sampled_from(CPU))
def test_counting_cells_gives_the_same(a, b, variant):
    def cells(box):
        grid = np.zeros((10, 10), bool)
        grid[box[1] : max(box[3], box[1]), box[0] : max(box[2], box[0])] = True
        return grid

    expected = np.zeros((len(a), len(b)))
    for i, j in np.ndindex(expected.shape):
        union = (cells(a[i]) | cells(b[j])).sum()
        expected[i, j] = (cells(a[i]) & cells(b[j])).sum() / max(union, 1)
    assert_close(box_iou(a, b, variant=variant), expected)


@every_variant
def test_torchvision_gives_the_same(variant):
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    a, b = random_boxes(0, 200, "f4"), random_boxes(1, 300, "f4")
    expected = ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert_close(box_iou(a, b, variant=variant), expected, rtol=1e-5, atol=1e-7)


# -------------------------------------------------------------------------------- invariances


@every_variant
def test_neither_order_nor_place_nor_size_nor_side_matters(variant):
    a, b = random_boxes(2, 20), random_boxes(3, 30)
    iou = box_iou(a, b, variant=variant)
    assert (iou > 0).sum() > 100
    assert_close(box_iou(b, a, variant=variant), iou.T)
    assert_close(box_iou(a[::-1], b, variant=variant), iou[::-1])
    assert_close(box_iou(a * 4, b * 4, variant=variant), iou)
    assert_close(box_iou(a + 1024, b + 1024, variant=variant), iou, rtol=1e-9, atol=1e-12)
    flip = [2, 1, 0, 3]
    mirror = np.array([-1, 1, -1, 1])
    assert_close(box_iou((a * mirror)[:, flip], (b * mirror)[:, flip], variant=variant), iou)


# -------------------------------------------------------------------------- variants and input

coordinate = st.one_of(
    st.floats(-50, 50, width=32), st.integers(-3, 3).map(float), st.sampled_from([NAN, INF, -INF])
)


def some_boxes(dtype):
    return hnp.arrays(dtype, st.tuples(st.integers(0, 20), st.just(4)), elements=coordinate)


@given(some_boxes("f4"), some_boxes("f4"), st.sampled_from(["C", "F", "reversed"]))
def test_variants_agree_with_the_reference_in_float64(a, b, layout):
    if layout == "F":
        a, b = np.asfortranarray(a), np.asfortranarray(b)
    elif layout == "reversed":
        a, b = a[::-1], b[::-1]
    expected = box_iou(a.astype("f8"), b.astype("f8"), variant="reference")
    for variant in CPU:
        assert_close(box_iou(a.astype("f8"), b.astype("f8"), variant=variant), expected)
        single = box_iou(a, b, variant=variant)
        assert single.dtype == np.float32
        # bit for bit what the reference gives in float32
        assert_close(single, box_iou(a, b, variant="reference"), rtol=0)


@needs_compiler
@pytest.mark.parametrize("variant", CUDA)
@given(some_boxes("f4"), some_boxes("f4"))
@settings(max_examples=25)
def test_gpu_kernels_give_bit_for_bit_what_the_reference_gives(variant, a, b):
    with using(emulate=True):
        found = box_iou(a, b, variant=variant)
    assert_close(found, box_iou(a, b, variant="reference"), rtol=0)


@pytest.mark.parametrize(
    ("a", "b", "rows", "step", "quads"),
    [
        (1, 1, 512, 512, 128),  # four rows a quad; no more rows than fit into a tile
        (268569, 50, 120, 20, 250),  # 25 quads in two rows, ten times
        (8, 3, 340, 340, 255),
        (5, 4096, 4, 1, 1024),  # a row a period, four blocks side by side
        (5, 4095, 16, 4, 4095),
    ],
)
def test_the_tiled_rung_shares_out_whole_quads(a, b, rows, step, quads):
    assert tile_of(a, b) == (rows, step, quads)
    assert step * b == 4 * quads
    assert rows % step == 0 and rows <= 512


def test_more_boxes_than_one_task_holds():
    a, b = random_boxes(4, 3, "f4"), random_boxes(5, 9001, "f4")
    assert_close(box_iou(a, b), box_iou(a, b, variant="reference"), rtol=0)


@every_variant
def test_the_arrays_given_are_left_alone(variant):
    a = random_boxes(6, 5)
    before = a.copy()
    box_iou(a, a, variant=variant)
    assert_close(a, before)


@every_variant
def test_types(variant):
    whole = np.array([[0, 0, 2, 2]])
    for dtype, expected in (("f4", "f4"), ("f8", "f8"), ("f2", "f4"), ("u1", "f4"), ("i8", "f8")):
        assert box_iou(whole.astype(dtype), whole.astype(dtype), variant=variant).dtype == expected
    assert box_iou(whole.astype("f4"), whole.astype("f8"), variant=variant).dtype == "f8"


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (np.zeros(4), r"boxes_a: expected shape \(R, 4\), got \(4,\); .*box\[None\]"),
        (np.zeros((2, 5)), r"boxes_a: expected shape \(R, 4\), got \(2, 5\)"),
    ],
)
def test_a_wrong_shape_is_named(boxes, message):
    with pytest.raises(ValueError, match=message):
        box_iou(boxes, np.zeros((1, 4)))


def test_a_wrong_type_is_named():
    with pytest.raises(TypeError, match="boxes_b: expected floating-point numbers or integers"):
        box_iou(np.zeros((1, 4)), np.zeros((1, 4), complex))
    with pytest.raises(TypeError, match="boxes_a: expected an array, got list"):
        box_iou([[0, 0, 1, 1]], np.zeros((1, 4)))


# -------------------------------------------------------------------------------- best_overlaps


@every_variant
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_best_overlaps_by_hand(variant, dtype):
    a = np.array([[0, 0, 4, 4], [0, 0, 2, 2], [50, 50, 60, 60]], dtype)
    b = np.array([[0, 0, 4, 2], [0, 0, 2, 2], [0, 2, 4, 4], [9, 9, 10, 10]], dtype)
    # IoU with the first of A: 1/2, 1/4, 1/2, 0, so that two are the closest to it;
    # with the second: 1/2 (a tie, the first counts), 1, 0, 0; with the third: none
    nearest, overlap, closest = best_overlaps(a, b, variant=variant)
    np.testing.assert_array_equal(nearest, np.array([0, 1, 0, 0]), strict=True)
    np.testing.assert_array_equal(overlap, np.array([0.5, 1, 0.5, 0], dtype), strict=True)
    np.testing.assert_array_equal(closest, np.array([0.5, 1, 0.5, 0], dtype), strict=True)


@every_variant
def test_best_overlaps_of_nothing(variant):
    boxes = random_boxes(0, 3, "f4")
    nearest, overlap, closest = best_overlaps(boxes[:0], boxes, variant=variant)
    np.testing.assert_array_equal(nearest, np.full(3, -1), strict=True)
    for zeros in (overlap, closest):
        np.testing.assert_array_equal(zeros, np.zeros(3, "f4"), strict=True)
    assert [x.shape for x in best_overlaps(boxes, boxes[:0], variant=variant)] == [(0,)] * 3
    assert [x.shape for x in best_overlaps(boxes[:0], boxes[:0], variant=variant)] == [(0,)] * 3


def plain_loops(iou):
    """What `best_overlaps` promises, from all pairs, one number after another."""
    best = [max(row, default=0) for row in iou]
    found = []
    for column in iou.T:
        nearest = max(range(len(column)), key=lambda i: column[i])
        closest = max(b if v == b else 0 for v, b in zip(column, best, strict=True))
        found.append((nearest, column[nearest], closest))
    return [np.array(x) for x in zip(*found, strict=True)]


@given(some_boxes("f4"), some_boxes("f4"), st.sampled_from(["f4", "f8"]), st.sampled_from(CPU))
def test_best_overlaps_against_plain_loops(a, b, dtype, variant):
    a, b = a.astype(dtype), b.astype(dtype)
    if len(a) == 0 or len(b) == 0:
        return
    expected = plain_loops(box_iou(a, b, variant="reference"))
    for got, wanted in zip(best_overlaps(a, b, variant=variant), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@st.composite
def many_boxes(draw, dtype="f4"):
    """Enough for several blocks, in places of a small grid, so that there are ties."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    lists = []
    for count in (draw(st.integers(0, 12)), draw(st.sampled_from([1, 511, 512, 513, 1700]))):
        grid = draw(st.sampled_from([6, 200]))
        boxes = rng.integers(0, grid, (count, 4)).astype(dtype)
        boxes[:, 2:] += boxes[:, :2] * draw(st.sampled_from([0, 1]))  # else some are inverted
        odd = rng.random(boxes.shape) < draw(st.sampled_from([0, 0.01]))
        boxes[odd] = rng.choice([NAN, INF, -INF], odd.sum())
        lists.append(np.sort(boxes, axis=0) if draw(st.booleans()) else boxes)
    return lists


@given(many_boxes(), st.sampled_from(["f4", "f8"]), st.booleans())
def test_best_overlaps_of_many_are_the_references_bit_for_bit(lists, dtype, reverse):
    a, b = (boxes.astype(dtype)[:: -1 if reverse else 1] for boxes in lists)
    expected = best_overlaps(a, b, variant="reference")
    for got, wanted in zip(best_overlaps(a, b), expected, strict=True):
        np.testing.assert_array_equal(got, wanted, strict=True)


def test_best_overlaps_are_the_same_with_any_number_of_threads():
    a, b = random_boxes(7, 30, "f4"), random_boxes(8, 5000, "f4")
    threads = numba.get_num_threads()
    results = []
    for count in (1, threads):
        numba.set_num_threads(count)
        results.append(best_overlaps(a, b))
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many, strict=True)


def test_best_overlaps_take_any_numbers_and_name_what_is_wrong():
    a = np.array([[0, 0, 2, 2]])
    nearest, overlap, _ = best_overlaps(a.astype("f4"), a)
    assert (nearest[0], overlap[0], overlap.dtype) == (0, 1, np.float64)
    with pytest.raises(ValueError, match=r"boxes_b: expected shape \(R, 4\), got \(4,\)"):
        best_overlaps(a, a[0])
    with (
        pytest.raises(ValueError, match="'cuda_2_tiled' has no best_overlaps"),
        using(emulate=True),
    ):
        best_overlaps(a, a, variant="cuda_2_tiled")
