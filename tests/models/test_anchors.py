"""Anchors: numbers worked out by hand and known totals."""

from dataclasses import replace

import numpy as np
import pytest

from minimask.conventions import TORCHVISION
from minimask.models.anchors import AnchorGenerator, cell_anchors


def test_cell_of_size_32_is_torchvisions_rounded_one():
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    np.testing.assert_array_equal(cell_anchors([32], [0.5, 1, 2]), expected)


def test_cell_of_size_32_is_not_rounded_in_detectron2():
    wide = cell_anchors([32], [0.5, 1, 2], round_corners=False)[0]
    np.testing.assert_allclose(wide, [-22.627, -11.314, 22.627, 11.314], atol=5e-4)


def test_areas_and_shapes_follow_size_and_ratio():
    cell = cell_anchors([64, 128], [0.5, 1, 2], round_corners=False, order="size")
    width, height = cell[:, 2] - cell[:, 0], cell[:, 3] - cell[:, 1]
    np.testing.assert_allclose(width * height, np.repeat([64**2, 128**2], 3), rtol=1e-5)
    np.testing.assert_allclose(height / width, [0.5, 1, 2] * 2, rtol=1e-5)


def test_order_of_several_sizes_in_a_cell():
    by_ratio = cell_anchors([64, 128], [0.5, 2])
    by_size = cell_anchors([64, 128], [0.5, 2], order="size")
    np.testing.assert_array_equal(by_ratio[[0, 2, 1, 3]], by_size)


def test_total_of_an_800_by_1344_image():
    shapes = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
    levels = AnchorGenerator((32, 64, 128, 256, 512))(shapes, (800, 1344)).levels
    assert [len(level) for level in levels] == [201600, 50400, 12600, 3150, 819]
    assert sum(len(level) for level in levels) == 268569


def test_order_is_rows_columns_anchors():
    (level,) = AnchorGenerator([32], [0.5, 1, 2])([(2, 3)], (32, 48)).levels
    cell = cell_anchors([32], [0.5, 1, 2])
    for row in range(2):
        for column in range(3):
            shift = 16 * np.array([column, row, column, row])
            at = 3 * (3 * row + column)
            np.testing.assert_array_equal(level[at : at + 3], cell + shift)


def test_offset_moves_by_part_of_a_stride():
    half = replace(TORCHVISION, anchor_offset=0.5)
    (first,) = AnchorGenerator([8], [1], half)([(1, 1)], (16, 16)).levels
    np.testing.assert_array_equal(first, [[4, 4, 12, 12]])


def test_anchors_are_remembered_and_protected():
    grid = AnchorGenerator([8], [1])
    assert grid([(4, 4)], (16, 16)) is grid([(4, 4)], (16, 16))
    with pytest.raises(ValueError, match="read-only"):
        grid([(4, 4)], (16, 16)).flat[0] = 0
    assert len(grid([(2, 2)], (16, 16)).flat) == 4


def test_all_levels_together_are_the_levels_without_a_copy():
    grid = AnchorGenerator([8, 16], [0.5, 1])
    shapes = [(4, 5), (2, 3)]
    anchors = grid(shapes, (32, 40))
    levels, flat = anchors.levels, anchors.flat
    np.testing.assert_array_equal(flat, np.concatenate(levels))
    assert [len(level) for level in levels] == [40, 12]
    assert all(np.shares_memory(level, flat) for level in levels)
    assert flat is grid(shapes, (32, 40)).flat
    assert not flat.flags.writeable


def test_levels_must_agree():
    with pytest.raises(ValueError, match="sizes for 2 levels, but 1 feature maps"):
        AnchorGenerator([8, 16])([(4, 4)], (16, 16))
    with pytest.raises(ValueError, match="every level needs as many"):
        AnchorGenerator([8, (16, 32)])
