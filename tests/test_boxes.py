"""Box arithmetic: by hand, and what must hold for any boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minimask import boxes as box_ops


def rows(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(-1, 4)


@st.composite
def proper_boxes(draw, count=None):
    """Boxes with sides between 1 and 100 pixels."""
    shape = (draw(st.integers(0, 8) if count is None else count), 2)
    corner = draw(hnp.arrays(np.float64, shape, elements=st.floats(-500, 500)))
    sides = draw(hnp.arrays(np.float64, shape, elements=st.floats(1, 100)))
    return np.concatenate([corner, corner + sides], axis=1)


def test_area_counts_no_extra_pixel_and_inverted_boxes_as_nothing():
    boxes = rows([0, 0, 2, 3], [1, 1, 1, 5], [4, 0, 0, 3], [4, 4, 0, 0])
    np.testing.assert_array_equal(box_ops.area(boxes), [6, 0, 0, 0])


def test_clip_by_hand():
    boxes = rows([-3, -2, 50, 60], [45, 5, 55, 35])
    expected = rows([0, 0, 40, 30], [40, 5, 40, 30])
    np.testing.assert_array_equal(box_ops.clip(boxes, height=30, width=40), expected)


def test_encode_by_hand():
    # anchor center (5, 10) size (10, 20); box center (7, 10) size (20, 10)
    deltas = box_ops.encode(rows([-3, 5, 17, 15]), rows([0, 0, 10, 20]))
    np.testing.assert_allclose(deltas, [[0.2, 0, np.log(2), -np.log(2)]], rtol=1e-6, atol=1e-7)
    weighted = box_ops.encode(rows([-3, 5, 17, 15]), rows([0, 0, 10, 20]), (10, 10, 5, 5))
    np.testing.assert_allclose(weighted, deltas * [10, 10, 5, 5], rtol=1e-6)


def test_decode_by_hand():
    moved = box_ops.decode(rows([0.5, -0.25, np.log(3), 0]), rows([0, 0, 10, 20]))
    # center (5, 10) -> (10, 5), width 30, height 20
    np.testing.assert_allclose(moved, [[-5, -5, 25, 15]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("clamp", "width", "height"),
    [("upper", 62.5, 0.0), ("both", 62.5, 0.016), ("none", np.exp(5), 0.0)],
)
def test_decode_limits_growth(clamp, width, height):
    box = box_ops.decode(
        rows([0, 0, 5, -20], dtype=float), rows([0, 0, 1, 1], dtype=float), clamp=clamp
    )[0]
    assert box[2] - box[0] == pytest.approx(width, rel=1e-9)
    assert box[3] - box[1] == pytest.approx(height, abs=1e-7)


@given(proper_boxes(st.just(5)), proper_boxes(st.just(5)))
def test_decode_inverts_encode_without_a_limit(boxes, anchors):
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = box_ops.encode(boxes, anchors, weights)
    again = box_ops.decode(deltas, anchors, weights, clamp="none")
    np.testing.assert_allclose(again, boxes, rtol=1e-9, atol=1e-9)


@given(proper_boxes(), proper_boxes(st.just(1)), st.floats(0.1, 10), st.floats(-50, 50))
def test_encode_does_not_see_scale_or_place(boxes, anchor, factor, shift):
    anchors = np.repeat(anchor, len(boxes), axis=0)
    here = box_ops.encode(boxes, anchors)
    there = box_ops.encode(boxes * factor + shift, anchors * factor + shift)
    np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-6)


@given(proper_boxes())
def test_format_conversions_are_inverse(boxes):
    np.testing.assert_allclose(
        box_ops.xywh_to_xyxy(box_ops.xyxy_to_xywh(boxes)), boxes, rtol=1e-12, atol=1e-9
    )


def test_xyxy_to_xywh_by_hand():
    np.testing.assert_array_equal(box_ops.xyxy_to_xywh(rows([1, 2, 4, 8])), [[1, 2, 3, 6]])


def test_remove_small_keeps_the_bound_and_drops_nan():
    boxes = rows([0, 0, 1, 1], [0, 0, 0.5, 9], [0, 0, 9, 0], [0, 0, np.nan, 9], [5, 5, 1, 1])
    np.testing.assert_array_equal(box_ops.remove_small(boxes, 1.0), [0])
    np.testing.assert_array_equal(box_ops.remove_small(boxes, 0.0), [0, 1])


def test_scale_has_its_own_factor_per_axis():
    np.testing.assert_array_equal(
        box_ops.scale(rows([1, 2, 3, 4]), y_factor=10, x_factor=2), [[2, 20, 6, 40]]
    )


@pytest.mark.parametrize("function", [box_ops.area, box_ops.xyxy_to_xywh])
def test_no_boxes_are_fine(function):
    assert len(function(np.zeros((0, 4), np.float32))) == 0


# Boxes of any type


def test_integer_boxes_by_hand():
    box = np.array([[10, 20, 30, 40]])
    assert box_ops.scale(box, 0.5, 0.25).tolist() == [[2.5, 10, 7.5, 20]]
    assert box_ops.clip(box, 30.5, 20.25).tolist() == [[10, 20, 20.25, 30.5]]
    # from center (20, 30), 20 x 20 to center (25, 30), 40 x 10
    deltas = box_ops.encode(np.array([[5, 25, 45, 35]]), box, (10, 10, 5, 5))
    np.testing.assert_allclose(deltas, [[2.5, 0, 5 * np.log(2), 5 * np.log(0.5)]])
    decoded = box_ops.decode(np.array([[1, 0, 0, 0]]), box, (4, 4, 1, 1))
    assert decoded.tolist() == [[15, 20, 35, 40]]  # a quarter of the width of 20


def test_differences_of_unsigned_boxes_do_not_wrap_around():
    inverted = np.array([[10, 10, 5, 5]], np.uint8)
    assert box_ops.area(inverted).tolist() == [0]
    assert box_ops.is_large(inverted, 1).tolist() == [False]
    assert box_ops.remove_small(inverted, 0).tolist() == []
    assert box_ops.xyxy_to_xywh(inverted).tolist() == [[10, 10, -5, -5]]
    wide = np.array([[200, 0, 100, 255]], np.uint8)
    assert box_ops.xywh_to_xyxy(wide).tolist() == [[200, 0, 300, 255]]
    assert box_ops.area(np.array([[0, 0, 100, 100]], np.int8)).tolist() == [10000]
    assert box_ops.area(np.array([[0, 0, 1000, 1000]], np.float16)).tolist() == [1e6]


FUNCTIONS = {
    "area": box_ops.area,
    "clip": lambda b: box_ops.clip(b, 30.5, 20.25),
    "encode boxes": lambda b: box_ops.encode(b, np.full(b.shape, [1, 2, 8.5, 9]), (10, 10, 5, 5)),
    "encode anchors": lambda b: box_ops.encode(np.full(b.shape, [1, 2, 8.5, 9]), b),
    "encode both": lambda b: box_ops.encode(b, b, (10, 10, 0.3, 5)),
    "decode deltas": lambda b: box_ops.decode(b, np.full(b.shape, [1, 2, 8.5, 9]), (7, 9, 0.3, 5)),
    "decode anchors": lambda b: box_ops.decode(np.full(b.shape, 0.25), b, clamp="both"),
    "decode both": lambda b: box_ops.decode(b, b, (7, 9, 5, 5)),
    "remove_small": lambda b: box_ops.remove_small(b, 1.5),
    "is_large": lambda b: box_ops.is_large(b, 0.5),
    "scale": lambda b: box_ops.scale(b, 0.3, 1.7),
    "xywh_to_xyxy": box_ops.xywh_to_xyxy,
    "xyxy_to_xywh": box_ops.xyxy_to_xywh,
}


TYPES = {
    **dict.fromkeys(("?", "i1", "u1", "i2", "u2", "f2", "f4"), np.float32),
    **dict.fromkeys(("i4", "u4", "i8", "u8", "f8"), np.float64),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=25)
@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 4), st.just(4)), elements=st.integers(0, 120)))
def test_boxes_of_any_type_give_what_float64_gives(name, numbers):
    function = FUNCTIONS[name]
    for dtype, result in TYPES.items():
        boxes = (numbers % 2 if dtype == "?" else numbers).astype(dtype)
        before = boxes.copy()
        with np.errstate(all="ignore"):  # boxes without a size have no logarithm
            got, want = function(boxes), function(boxes.astype(np.float64))
        if want.dtype == np.float64 and ("code" not in name or "both" in name):
            assert got.dtype == result  # where another array is float64, so is the result
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4, err_msg=dtype)
        np.testing.assert_array_equal(boxes, before)


def test_every_function_of_boxes_is_checked_with_every_type():
    named = {name.split()[0] for name in FUNCTIONS}
    public = {
        name
        for name, value in vars(box_ops).items()
        if getattr(value, "__module__", None) == box_ops.__name__ and not name.startswith("_")
    }
    assert named == public


def test_what_is_no_array_of_numbers_is_refused():
    for call in (box_ops.area, lambda b: box_ops.scale(b, 1, 1), lambda b: box_ops.clip(b, 1, 1)):
        with pytest.raises(TypeError, match="boxes: expected an array, got list"):
            call([[0, 0, 1, 1]])
        with pytest.raises(TypeError, match="boxes: expected floating-point numbers or integers"):
            call(np.array([["a", "b", "c", "d"]]))


def test_float32_stays_float32():
    boxes = rows([0, 0, 3, 4])
    deltas = box_ops.encode(boxes, boxes, (10.0, 10.0, 5.0, 5.0))
    for result in (deltas, box_ops.decode(deltas, boxes), box_ops.scale(boxes, 0.3, 0.7)):
        assert result.dtype == np.float32


def test_a_single_box_is_refused_with_the_way_out():
    with pytest.raises(
        ValueError, match=r"boxes: expected shape \(R, 4\), got \(4,\).*box\[None\]"
    ):
        box_ops.area(np.zeros(4))
    with pytest.raises(ValueError, match="anchors: expected"):
        box_ops.encode(np.zeros((2, 4)), np.zeros((2, 5)))
    with pytest.raises(ValueError, match="clamp: expected"):
        box_ops.decode(np.zeros((1, 4)), np.ones((1, 4)), clamp="lower")
