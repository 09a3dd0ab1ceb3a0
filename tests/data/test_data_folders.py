"""One folder per image, one mask file per object."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from minimask.data.folder_masks import FolderMasks
from minimask.data.sample import boxes_of_masks


def test_mask_folders(shared):
    data = FolderMasks(shared / "data" / "nuclei" / "stage1_layout", classes=["nucleus"])
    assert len(data) == 6 and data.classes == ("nucleus",)
    for i in range(len(data)):
        sample = data[i]
        files = list((data.paths[i].parent.parent / "masks").iterdir())
        assert len(sample) == len(files) > 0
        np.testing.assert_array_equal(sample.boxes, boxes_of_masks(sample.masks))
    truth = data.coco()
    assert {a["category_id"] for a in truth["annotations"]} == {1}
    assert len({i["file_name"] for i in truth["images"]}) == 6


def test_mask_folders_that_are_wrong(tmp_path):
    with pytest.raises(ValueError, match="expected folders ID/images"):
        FolderMasks(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        FolderMasks(tmp_path / "none")
    for name in ("images", "masks"):
        (tmp_path / "x" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="expected one image file, found 0"):
        FolderMasks(tmp_path)
    Image.new("RGB", (6, 4)).save(tmp_path / "x" / "images" / "x.png")
    assert len(FolderMasks(tmp_path)[0]) == 0
    Image.new("L", (6, 4)).save(tmp_path / "x" / "masks" / "empty.png")
    assert len(FolderMasks(tmp_path)[0]) == 0  # a mask without a pixel is left out
    Image.new("L", (4, 6), 255).save(tmp_path / "x" / "masks" / "turned.png")
    with pytest.raises(ValueError, match=r"turned\.png: 4 x 6 pixels, but its image has 6 x 4"):
        FolderMasks(tmp_path)[0]
    with pytest.raises(ValueError, match="one class"):
        FolderMasks(tmp_path, classes=("a", "b"))
