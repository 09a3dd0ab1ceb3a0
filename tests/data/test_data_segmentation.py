"""Run lengths and polygons decode as pycocotools decodes them; garbage is named."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as rle

from minimask.data.sample import boxes_of_masks, encode_masks
from minimask.data.segmentation import decode, segmentation_problem, unpack_counts

HEIGHT, WIDTH = 20, 30


def official(runs) -> np.ndarray:
    """Decoding by pycocotools, whose use of NumPy 2 is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return rle.decode(runs).astype(bool)


@given(mask=npst.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_lengths_against_pycocotools(mask):
    """Decoded as pycocotools does, from packed and from listed counts."""
    (runs,) = encode_masks(mask[None])
    assert segmentation_problem(runs, *mask.shape) is None
    np.testing.assert_array_equal(decode(runs, *mask.shape), mask)
    np.testing.assert_array_equal(official(runs), mask)
    counts = unpack_counts(runs["counts"])
    assert counts is not None and counts.sum() == mask.size
    listed = {"size": list(mask.shape), "counts": counts.tolist()}
    assert segmentation_problem(listed, *mask.shape) is None
    np.testing.assert_array_equal(decode(listed, *mask.shape), mask)


def test_long_runs():
    """Counts of more than 15 bits, with differences below zero."""
    mask = np.zeros((1, 700, 900), bool)
    mask[0, :, 100:700] = True
    mask[0, 5, 800] = True
    (runs,) = encode_masks(mask)
    counts = unpack_counts(runs["counts"])
    assert counts is not None
    assert counts.tolist() == [70000, 420000, 70005, 1, 69994]
    np.testing.assert_array_equal(decode(runs, 700, 900), mask[0])


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-5, 35), st.floats(-5, 25)), min_size=3, max_size=8),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_against_pycocotools(polygons):
    flat = [[v for point in polygon for v in point] for polygon in polygons]
    assert segmentation_problem(flat, HEIGHT, WIDTH) is None
    expected = official(rle.merge(rle.frPyObjects(flat, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(decode(flat, HEIGHT, WIDTH), expected)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.fixed_dictionaries(
                {"size": st.just([HEIGHT, WIDTH]) | inner, "counts": inner | st.text("01234oP`")}
            )
        ),
    )
)
def test_no_garbage_reaches_the_decoder(garbage):
    """Whatever stands there, either a problem is named or it decodes."""
    if segmentation_problem(garbage, HEIGHT, WIDTH) is None:
        assert decode(garbage, HEIGHT, WIDTH).shape == (HEIGHT, WIDTH)


@given(masks=npst.arrays(bool, st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9))))
def test_tight_boxes(masks):
    for mask, box in zip(masks, boxes_of_masks(masks), strict=True):
        rows, columns = np.nonzero(mask)
        expected = [0, 0, 0, 0]
        if len(rows):
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(box, expected)
