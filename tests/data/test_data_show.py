"""Contact sheets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from minimask.data.sample import Sample, boxes_of_masks
from minimask.data.shapes import Shapes
from minimask.data.show import annotate, contact_sheet, show_samples


def test_outline_and_box_are_where_the_object_is():
    masks = np.zeros((1, 16, 16), bool)
    masks[0, 4:8, 6:12] = True
    image = np.zeros((16, 16, 3), np.uint8)
    sample = Sample(image, boxes_of_masks(masks), np.zeros(1, np.int64), masks)
    # unnamed, so that only the object is drawn
    picture = np.asarray(annotate(sample, [""], width=64))
    colored = (picture > 20).any(axis=2)
    y, x = np.nonzero(colored)
    assert (y.min(), y.max(), x.min(), x.max()) == (16, 31, 24, 47)


def test_sheet_of_images_of_any_size(tmp_path):
    shapes = [Shapes(size=s)[0] for s in (40, (30, 90), (100, 20), 200)]
    empty = Shapes(size=64, objects=(0, 0))[0]
    sheet = contact_sheet([*shapes, empty], Shapes().classes, columns=2, width=80)
    assert sheet.width == 2 * (2 * 80 + 2 + 6) + 6
    path = show_samples(Shapes(2), tmp_path / "sheet.png", count=5)
    with Image.open(path) as picture:
        assert picture.width > 500
    show_samples(Shapes(), tmp_path / "endless.jpg", indices=[7], width=60)
    assert (tmp_path / "endless.jpg").exists()


def test_nothing_to_show():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], ("a",))
