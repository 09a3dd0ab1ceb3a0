"""COCO instance annotations as a data set."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from minimask.data.annotated import AnnotatedImages
from minimask.data.formats.coco import read_coco
from minimask.data.images import missing_file


class CocoDataset(AnnotatedImages):
    """Images with instance masks from a COCO JSON file.

    Args:
        annotations: the JSON file.
        images: the folder its file names start from.
        classes: names of the categories to keep, in this order; default: all, by id.
        boxes_only: read annotations without a mask too, with their box as the mask;
            for training a detector of boxes.
        white: for 16-bit images: the value shown as white, default 65535.

    Raises:
        FileNotFoundError: no such file or folder; an image is not there.
        ValueError: the file cannot be used; the message has its name and the JSON path.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str],
        classes: Sequence[str] | None = None,
        *,
        boxes_only: bool = False,
        white: int | None = None,
    ) -> None:
        if not pathlib.Path(images).is_dir():
            raise FileNotFoundError(missing_file(images, "folder"))
        found = read_coco(annotations, images)
        super().__init__(found, classes, boxes_only=boxes_only, white=white)
