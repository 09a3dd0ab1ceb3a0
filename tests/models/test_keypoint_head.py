"""Numbers by hand: which pixel a keypoint is in, the loss, the peak of an enlarged map."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.autograd import Tensor
from minimask.models import heat_maps, keypoint_head
from minimask.models.keypoint_head import KeypointTargets, keypoint_targets
from minimask.tools.testing import gradcheck

BOX = np.array([[10.0, 20.0, 38.0, 76.0]], np.float32)  # a pixel of its map is 1/2 wide, 1 high


def of(*keypoints, box=BOX):
    found = keypoint_targets(np.array([keypoints], np.float32), box)
    return found.pixels[0].tolist(), found.valid[0].tolist()


# --- targets ------------------------------------------------------------------------------------


def test_the_pixel_that_holds_the_keypoint():
    pixels, valid = of((10, 20, 2), (10.49, 20.99, 1), (10.5, 21, 2), (24, 48, 2))
    assert pixels == [0, 0, 56 + 1, 28 * 56 + 28]
    assert valid == [True] * 4


def test_the_far_border_belongs_to_the_last_pixel_and_nothing_beyond_to_any():
    pixels, valid = of((38, 76, 2), (38.01, 50, 2), (9.99, 50, 2), (20, 76.01, 2), (20, 19.99, 2))
    assert pixels == [56 * 56 - 1, 0, 0, 0, 0]
    assert valid == [True, False, False, False, False]


def test_hidden_keypoints_are_learned_and_unlabeled_ones_not():
    _, valid = of((20, 40, 0), (20, 40, 1), (20, 40, 2))
    assert valid == [False, True, True]


@pytest.mark.parametrize("box", [(10, 20, 10, 76), (10, 20, 38, 20), (38, 20, 10, 76)])
def test_a_region_without_area_holds_no_keypoint(box):
    _, valid = of((10, 20, 2), (20, 40, 2), box=np.array([box], np.float32))
    assert valid == [False, False]


def test_a_region_that_is_not_finite_holds_no_keypoint():
    for bad in (np.nan, np.inf):
        _, valid = of((20, 40, 2), box=np.array([[10, 20, bad, 76]], np.float32))
        assert valid == [False]


# --- loss ---------------------------------------------------------------------------------------


def targets(pixels, valid):
    pixels, valid = np.array(pixels, np.int64), np.array(valid, bool)
    return KeypointTargets(np.zeros((len(pixels), 4), np.float32), pixels * valid, valid)


def test_equal_heights_give_the_logarithm_of_the_number_of_pixels():
    loss = keypoint_head.keypoint_loss(
        Tensor(np.zeros((2, 1, 56, 56), np.float32)), [targets([[5], [7]], [[1], [1]])]
    )
    assert loss.item() == pytest.approx(math.log(56 * 56), rel=1e-6)


def test_only_valid_keypoints_count_and_the_divisor_replaces_their_number():
    logits = np.zeros((2, 2, 2, 2), np.float32)
    logits[0, 0, 1, 0] = logits[1, 1, 0, 1] = 3.0  # the second is not valid
    given_ = [targets([[2, 0]], [[1, 1]]), targets([[1, 1]], [[1, 0]])]
    high, flat = math.log(3 + math.exp(3)) - 3, math.log(4)
    expected = high + 2 * flat
    assert keypoint_head.keypoint_loss(Tensor(logits), given_).item() == pytest.approx(expected / 3)
    divided = keypoint_head.keypoint_loss(Tensor(logits), given_, 24)
    assert divided.item() == pytest.approx(expected / 24)


def test_gradient_of_the_loss():
    rng = np.random.default_rng(0)
    learned = [targets([[3, 8], [1, 0]], [[1, 1], [1, 0]])]
    gradcheck(lambda x: keypoint_head.keypoint_loss(x, learned), rng.normal(size=(2, 2, 3, 3)))
    gradcheck(lambda x: keypoint_head.keypoint_loss(x, learned, 5), rng.normal(size=(2, 2, 3, 3)))


@pytest.mark.parametrize("regions", [0, 2])
def test_without_keypoints_loss_and_gradients_are_zero(regions):
    logits = Tensor(np.ones((regions, 3, 4, 4), np.float32), requires_grad=True)
    nothing = [targets(np.zeros((regions, 3)), np.zeros((regions, 3)))]
    for divisor in (None, 12):
        loss = keypoint_head.keypoint_loss(logits, nothing, divisor)
        loss.backward()
        assert loss.item() == 0 and not logits.grad.any()


# --- peaks --------------------------------------------------------------------------------------


def enlarged(heat_map, height, width):
    """The whole bicubic enlargement, one matrix per axis, in float64."""

    def matrix(length, new_length):
        out, a = np.zeros((new_length, length)), -0.75
        for i in range(new_length):
            center = (i + 0.5) * length / new_length - 0.5
            for k in range(math.floor(center) - 1, math.floor(center) + 3):
                x = abs(center - k)
                near = ((a + 2) * x - (a + 3)) * x * x + 1
                far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
                out[i, min(max(k, 0), length - 1)] += near if x <= 1 else far
        return out

    size = len(heat_map)
    return matrix(size, height) @ heat_map.astype(np.float64) @ matrix(size, width).T


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 12),
    width=st.floats(0.2, 50),
    height=st.floats(0.2, 50),
    smooth=st.booleans(),
)
def test_the_peak_is_the_highest_value_of_the_whole_enlargement(seed, size, width, height, smooth):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(1, 3, size, size)).astype(np.float32)
    if smooth:
        maps = maps.cumsum(axis=2).cumsum(axis=3)
    x0, y0 = rng.uniform(-20, 400, 2)
    box = np.array([[x0, y0, x0 + width, y0 + height]], np.float32)
    w, h = (max(float(side), 1.0) for side in box[0, 2:] - box[0, :2])
    columns, rows = math.ceil(w), math.ceil(h)
    ((found),) = heat_maps.find_peaks(maps, box)
    for (x, y, value), heat_map in zip(found, maps[0], strict=True):
        whole = enlarged(heat_map, rows, columns)
        assert value == pytest.approx(whole.max(), rel=1e-4, abs=1e-4)
        column, row = (x - box[0, 0]) * columns / w - 0.5, (y - box[0, 1]) * rows / h - 0.5
        assert abs(column - round(column)) < 0.01 and abs(row - round(row)) < 0.01
        assert whole[round(row), round(column)] >= whole.max() - 1e-4 * max(1, np.abs(whole).max())


def test_of_equal_peaks_the_first_counts_row_by_row():
    maps = np.zeros((1, 2, 8, 8), np.float32)
    maps[0, 0, 5, 1] = maps[0, 0, 2, 6] = maps[0, 0, 2, 3] = 1
    box = np.array([[0, 0, 8, 8]], np.float32)
    (peaks,) = heat_maps.find_peaks(maps, box)
    assert peaks.tolist() == [[3.5, 2.5, 1.0], [0.5, 0.5, 0.0]]


def test_a_box_below_one_pixel_counts_as_one_pixel():
    maps = np.random.default_rng(0).normal(size=(1, 1, 56, 56)).astype(np.float32)
    for side in (0.0, 0.3, 1.0):
        box = np.array([[5, 6, 5 + side, 6 + side]], np.float32)
        (((x, y, value),),) = heat_maps.find_peaks(maps, box)
        assert (x, y) == (5.5, 6.5)
        assert value == pytest.approx(enlarged(maps[0, 0], 1, 1)[0, 0], abs=1e-5)


def test_what_is_not_a_number_gives_no_place_and_does_not_hide_the_rest():
    maps = np.zeros((2, 2, 8, 8), np.float32)
    maps[0, 0] = np.nan
    maps[0, 1, 1, 1], maps[0, 1, 6, 6] = np.nan, 2
    maps[1, :, 3, 3] = 1
    boxes = np.array([[0, 0, 8, 8], [0, 0, np.nan, 8]], np.float32)
    peaks = heat_maps.find_peaks(maps, boxes)
    assert np.isnan(peaks[0, 0]).all()
    assert peaks[0, 1].tolist() == [6.5, 6.5, 2.0]
    assert np.isfinite(peaks[1]).all()  # as if one pixel wide


def test_no_boxes_have_no_peaks():
    found = keypoint_head.find_keypoints(
        np.zeros((0, 5, 56, 56), np.float32), np.zeros((0, 4), np.float32), "probability"
    )
    assert found.shape == (0, 5, 3) and found.dtype == np.float32


def test_a_probability_is_the_peaks_share_in_its_map():
    maps = np.zeros((1, 1, 4, 4), np.float32)
    maps[0, 0, 2, 1] = 2
    box = np.array([[0, 0, 4, 4]], np.float32)
    ((logit,),) = keypoint_head.find_keypoints(maps, box)[:, :, 2]
    ((share,),) = keypoint_head.find_keypoints(maps, box, "probability")[:, :, 2]
    assert logit == 2
    assert share == pytest.approx(math.exp(2) / (15 + math.exp(2)), rel=1e-6)
