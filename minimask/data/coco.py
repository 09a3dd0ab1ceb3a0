"""COCO instance annotations: one JSON file and a folder of images.

Letters: R instances, H W height and width of the image.
"""

from __future__ import annotations

import difflib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minimask.data.images import missing_file, read_image
from minimask.data.masks import ObjectMasks
from minimask.data.sample import Sample, boxes_of_masks
from minimask.data.segmentation import (
    is_number,
    segmentation_problem,
    to_run_lengths,
)

# what every entry of a COCO instance file must have
FIELDS: dict[str, dict[str, type]] = {
    "categories": {"id": int, "name": str},
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"id": int, "image_id": int, "category_id": int},
}

MORE = " (`minimask data check` lists all findings)"
LARGEST = 100_000  # pixels a side; more is a mistake, and masks of it would fill the memory


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The COCO file's content, or an error that names file, line and column.

    Args:
        path: the JSON file.

    Raises:
        FileNotFoundError: no such file; the message names the closest one there is.
        ValueError: no JSON, or not an object with images, annotations and categories.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(missing_file(path)) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error}") from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: broken JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (RecursionError, ValueError) as error:  # nested too deeply, numbers too long
        raise ValueError(f"{path}: broken JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected an object with images, annotations and categories, "
            f"got a {type(content).__name__}"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            found = ", ".join(list(content)[:8]) or "nothing"
            raise ValueError(
                f"{path}: {key}: expected a list, as COCO instance files have; found: {found}"
            )
    return content


def structure_problems(content: dict[str, Any]) -> Iterator[tuple[str, int | None, str]]:
    """What keeps a file from being read as COCO instances at all.

    Args:
        content: from `read_json`.

    Yields:
        The JSON path, the annotation's id where it has one, and what is wrong there.
    """
    for key, needed in FIELDS.items():
        for i, entry in enumerate(content[key]):
            where = f"{key}[{i}]"
            if not isinstance(entry, dict):
                yield where, None, f"expected an object, got {type(entry).__name__}"
                continue
            mine = entry.get("id") if key == "annotations" else None
            for name, kind in needed.items():
                value = entry.get(name)
                if not isinstance(value, kind) or isinstance(value, bool):
                    expected = "a whole number" if kind is int else "text"
                    got = f"{value!r}" if name in entry else "nothing"
                    yield f"{where}.{name}", mine, f"expected {expected}, got {got}"
                elif name in ("width", "height") and not 1 <= entry[name] <= LARGEST:
                    yield f"{where}.{name}", mine, f"expected 1 to {LARGEST} pixels, got {value}"


class CocoDataset:
    """Images with instance masks from a COCO JSON file.

    Category ids may have gaps: labels count 0, 1, ... in the order of `classes`.  Boxes are the
    tight boxes of the masks, not the file's `bbox`, so that boxes and masks agree after every
    crop and flip; `coco()` keeps the file's, so evaluation is the official one.

    Args:
        annotations: the JSON file.
        images: the folder its file names start from.
        classes: names of the categories to keep, in this order; default: all, by id.
        boxes_only: read annotations without a mask too, with their box as the mask;
            for training a detector of boxes.
        white: for 16-bit images: the value shown as white, default 65535.

    Raises:
        FileNotFoundError: no such file or folder.
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
        self.path = pathlib.Path(annotations)
        self.folder = pathlib.Path(images)
        if not self.folder.is_dir():
            raise FileNotFoundError(missing_file(self.folder, "folder"))
        self.boxes_only = boxes_only
        self.white = white
        content = read_json(self.path)
        for where, _, problem in structure_problems(content):
            raise self._error(where, problem)
        self._content = content
        self._checked: set[int] = set()  # annotations whose segmentation is known to be sound
        self.images: list[dict[str, Any]] = content["images"]
        self._index_categories(classes)
        self._index_annotations()

    def _error(self, where: str, problem: str) -> ValueError:
        return ValueError(f"{self.path}: {where}: {problem}{MORE}")

    def _index_categories(self, classes: Sequence[str] | None) -> None:
        ids: dict[str, int] = {}
        for i, category in enumerate(self._content["categories"]):
            name = category["name"]
            if name in ids:
                raise self._error(f"categories[{i}].name", f"{name!r} is there twice")
            if category["id"] in ids.values():
                raise self._error(f"categories[{i}].id", f"{category['id']} is there twice")
            ids[name] = category["id"]
        for name in classes or ():
            if name not in ids:
                close = difflib.get_close_matches(name, ids, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                has = ", ".join(list(ids)[:20])
                raise ValueError(
                    f"classes: no category {name!r} in {self.path}; {hint}It has: {has}"
                )
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError(f"classes: expected different names, got {list(classes)}")
        self.classes = tuple(classes if classes is not None else sorted(ids, key=ids.__getitem__))
        self.category_ids = tuple(ids[name] for name in self.classes)
        self._every_category = set(ids.values())

    def _index_annotations(self) -> None:
        """Annotations by image; each must point to an image and a category that exist."""
        self._of_image: dict[int, list[int]] = {}
        for i, image in enumerate(self.images):
            if image["id"] in self._of_image:
                raise self._error(f"images[{i}].id", f"{image['id']} is there twice")
            self._of_image[image["id"]] = []
        seen: set[int] = set()
        kept = set(self.category_ids)
        for i, annotation in enumerate(self._content["annotations"]):
            if annotation["id"] in seen:
                raise self._error(f"annotations[{i}].id", f"{annotation['id']} is there twice")
            seen.add(annotation["id"])
            if annotation["image_id"] not in self._of_image:
                problem = f"no image has the id {annotation['image_id']}"
                raise self._error(f"annotations[{i}].image_id", problem)
            if annotation["category_id"] not in self._every_category:
                problem = f"no category has the id {annotation['category_id']}"
                raise self._error(f"annotations[{i}].category_id", problem)
            if annotation["category_id"] in kept:
                self._of_image[annotation["image_id"]].append(i)

    def __len__(self) -> int:
        return len(self.images)

    def describe(self, index: int) -> str:
        """Path of the image file, for messages."""
        return str(self.folder / self.images[index]["file_name"])

    def __getitem__(self, index: int) -> Sample:
        """Read image `index` with its instances.

        Raises:
            FileNotFoundError: no such image; the message names the closest one.
            ValueError: the image is damaged or its size is not the file's; a mask is broken.
        """
        entry = self.images[index]
        path = self.folder / entry["file_name"]
        image = read_image(path, white=self.white)
        height, width = image.shape[:2]
        if (height, width) != (entry["height"], entry["width"]):
            raise ValueError(
                f"{path}: {width} x {height} pixels (after EXIF rotation), but {self.path}: "
                f"images[{index}] says {entry['width']} x {entry['height']}; "
                "annotations and image do not belong together"
            )
        masks, labels, crowd = self._instances(entry)
        return Sample(
            image, boxes_of_masks(masks), labels, masks, crowd, entry["id"], entry["file_name"]
        )

    def _instances(self, entry: dict[str, Any]) -> tuple[ObjectMasks, np.ndarray, np.ndarray]:
        """Masks (R, H, W), labels (R,) and crowd flags (R,); empty masks are left out."""
        height, width = entry["height"], entry["width"]
        numbers = self._of_image[entry["id"]]
        label_of = {category: label for label, category in enumerate(self.category_ids)}
        annotations = [self._content["annotations"][i] for i in numbers]
        runs = (
            to_run_lengths(self._segmentation(i, height, width), height, width) for i in numbers
        )
        masks = ObjectMasks.from_run_lengths(runs, height, width)
        labels = np.array([label_of[a["category_id"]] for a in annotations], np.int64)
        crowd = np.array([bool(a.get("iscrowd", 0)) for a in annotations], bool)
        some = masks.any(axis=(1, 2))
        return masks[some], labels[some], crowd[some]

    def _segmentation(self, i: int, height: int, width: int) -> Any:
        """The checked segmentation of annotation i."""
        annotation = self._content["annotations"][i]
        segmentation = annotation.get("segmentation")
        if self.boxes_only and not segmentation:
            return [_rectangle(self._box(i))]
        if i not in self._checked:
            problem = segmentation_problem(segmentation, height, width)
            if problem:
                path = f"annotations[{i}].segmentation"
                raise ValueError(f"{self.path}: {path}{problem}{MORE}")
            self._checked.add(i)
        return segmentation

    def _box(self, i: int) -> list[float]:
        box = self._content["annotations"][i].get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            raise self._error(
                f"annotations[{i}].bbox", f"expected [x, y, width, height], got {box}"
            )
        return box

    def coco(self) -> dict[str, Any]:
        """The ground truth for pycocotools: the kept categories, every mask as compressed RLE."""
        annotations = []
        for entry in self.images:
            height, width = entry["height"], entry["width"]
            for i in self._of_image[entry["id"]]:
                runs = to_run_lengths(self._segmentation(i, height, width), height, width)
                annotations.append(_complete(self._content["annotations"][i], runs))
        categories = [
            {"id": i, "name": n} for i, n in zip(self.category_ids, self.classes, strict=True)
        ]
        return {
            "info": self._content.get("info", {}),
            "images": self.images,
            "annotations": annotations,
            "categories": categories,
        }


def _rectangle(box: list[float]) -> list[float]:
    """A box x y width height as polygon."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _complete(annotation: dict[str, Any], runs: dict[str, Any]) -> dict[str, Any]:
    """An annotation with everything the metric reads: RLE, area, bbox, iscrowd."""
    from pycocotools import mask as rle

    counts = runs["counts"]
    result = {key: annotation[key] for key in ("id", "image_id", "category_id")}
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    result["segmentation"] = {"size": list(runs["size"]), "counts": text}
    given = annotation.get("area")
    result["area"] = given if is_number(given) else float(rle.area(runs))
    result["bbox"] = annotation.get("bbox") or rle.toBbox(runs).tolist()
    result["iscrowd"] = int(annotation.get("iscrowd", 0))
    return result
