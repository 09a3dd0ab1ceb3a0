"""One folder per image with one mask file per object, as the Data Science Bowl 2018 came.

root/ID/images/ID.png
root/ID/masks/*.png      one file per object, white on black
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minimask.data.formats.mask_folders import image_folders, mask_files, only_image
from minimask.data.image_depth import White
from minimask.data.images import missing_file, read_image, read_mask
from minimask.data.masks import ObjectMasks
from minimask.data.sample import Sample, boxes_of_masks, coco_ground_truth


class FolderMasks:
    """Images with one mask file per object; all objects are of one class.

    Args:
        folder: the folder of folders; those without `images/` are passed over.
        classes: the one class name.
        white: the value shown as white, as in `read_image`.
        page: of image files with several pages, from 1; default: the first.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image folders inside, not one image in one, or more than one class.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        classes: Sequence[str] = ("object",),
        *,
        white: White = None,
        page: int | None = None,
    ) -> None:
        self.folder = pathlib.Path(folder)
        self.white, self.page = white, page
        self.classes = tuple(classes)
        if len(self.classes) != 1:
            raise ValueError(f"classes: mask folders hold one class, got {self.classes}")
        self.category_ids: tuple[int, ...] = (1,)
        if not self.folder.is_dir():
            raise FileNotFoundError(missing_file(self.folder, "folder"))
        self.paths = [only_image(path) for path in image_folders(self.folder)]
        if not self.paths:
            raise ValueError(
                f"{folder}: expected folders ID/images/ID.png with masks in ID/masks, found none"
            )
        self._coco: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def describe(self, index: int) -> str:
        """Path of the image file, for messages."""
        return str(self.paths[index])

    def mask_files(self, index: int) -> list[pathlib.Path]:
        """The mask files of image `index`, those without a pixel included."""
        return [file for file, _ in mask_files(self.paths[index].parent.parent / "masks")]

    def __getitem__(self, index: int) -> Sample:
        """Read image `index` with its masks; masks without a pixel are left out.

        Raises:
            ValueError: a file is damaged, or a mask is not as large as its image.
        """
        path = self.paths[index]
        image = read_image(path, white=self.white, page=self.page)
        height, width = image.shape[:2]
        masks = ObjectMasks.from_masks(self._masks(index, height, width), height, width)
        masks = masks[masks.any(axis=(1, 2))]
        name = path.relative_to(self.folder).as_posix()
        labels = np.zeros(len(masks), np.int64)
        return Sample(
            image, boxes_of_masks(masks), labels, masks, image_id=index + 1, file_name=name
        )

    def _masks(self, index: int, height: int, width: int) -> Iterator[np.ndarray]:
        """The masks (height, width) of an image, one after the other."""
        for file in self.mask_files(index):
            mask = read_mask(file)
            if mask.shape != (height, width):
                raise ValueError(
                    f"{file}: {mask.shape[1]} x {mask.shape[0]} pixels, but its image "
                    f"has {width} x {height}; a mask must be as large as its image"
                )
            yield mask

    def coco(self) -> dict[str, Any]:
        """The ground truth as COCO JSON, masks as compressed RLE."""
        if self._coco is None:
            samples = (self[i] for i in range(len(self)))
            self._coco = coco_ground_truth(samples, self.classes, self.category_ids)
        return self._coco
