"""Images with instance masks from annotation files of any format.

Letters: R instances, H W height and width of the image.
"""

from __future__ import annotations

import difflib
import os
import pathlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minimask.data.annotations import Annotations
from minimask.data.findings import Finding
from minimask.data.formats import read_annotations
from minimask.data.image_depth import White
from minimask.data.images import missing_file, read_image
from minimask.data.keypoint_values import NO_NAMES, category_entry, common_skeleton
from minimask.data.keypoints import from_coco_keypoints
from minimask.data.mask_outlines import outline_of
from minimask.data.masks import ObjectMasks
from minimask.data.sample import Sample, boxes_of_masks
from minimask.data.segmentation import rectangle, to_run_lengths
from minimask.data.skeleton import Skeleton
from minimask.data.soundness import examine, raise_errors


class AnnotatedImages:
    """Images with the objects that annotation files say are in them.

    Category ids may have gaps: labels count 0, 1, ... in the order of `classes`.  Boxes are the
    tight boxes of the masks, not the file's, so that boxes and masks agree after every crop and
    flip; `coco()` keeps the file's, so evaluation is the official one.

    Everything in the files is looked at here: a broken annotation or a missing image is known
    before the first image is read.

    Args:
        found: from `read_annotations`.
        classes: names of the classes to keep, in this order; default: all, by id, without a root
            category that only groups others.  For files that name no classes: what to call them.
        boxes_only: keep objects without a mask, with their box as the mask; for training a
            detector of boxes.
        white: the value shown as white, as in `read_image`.
        page: of image files with several pages, from 1; default: the first.
        may_lack: whether some of `classes` may be missing in the files, as in validation data
            where a rare class does not occur; objects of further classes are left out.

    Attributes:
        notes: what was read otherwise than it is written, and what was left out.
        skeleton: the keypoints of the kept classes; None: they have none.
        why_no_keypoints: a sentence, where they have some that cannot be used.

    Raises:
        FileNotFoundError: an image is not there.
        ValueError: something in the files cannot be used; file, place and reason.
    """

    def __init__(
        self,
        found: Annotations,
        classes: Sequence[str] | None = None,
        *,
        boxes_only: bool = False,
        white: White = None,
        page: int | None = None,
        may_lack: bool = False,
    ) -> None:
        if found.folder is None:
            raise ValueError(f"{found.source}: the folder of the images is not known")
        sound = examine(named(found, classes), boxes_only=boxes_only)
        raise_errors(sound.errors, found.source)
        self.found = sound.annotations
        self.path, self.folder = found.source, found.folder
        self.boxes_only, self.white, self.page = boxes_only, white, page
        self.notes: list[Finding] = [*found.notes, *sound.left_out]
        self.images: list[dict[str, Any]] = self.found.images
        self.classes, self.category_ids = chosen_classes(self.found, classes, may_lack)
        self.skeleton, self.why_no_keypoints = _skeleton(self.found, self.classes)
        label_of = {number: label for label, number in enumerate(self.category_ids)}
        self._label_of = _labels_by_name(self.found, self.classes) | label_of
        self._of_image: dict[Any, list[dict[str, Any]]] = {i["id"]: [] for i in self.images}
        for annotation in self.found.annotations:
            if annotation["category_id"] in self._label_of:
                self._of_image[annotation["image_id"]].append(annotation)

    def __len__(self) -> int:
        return len(self.images)

    def describe(self, index: int) -> str:
        """Path of the image file, for messages."""
        return str(self.folder / self.images[index]["file_name"])

    def ids_of(self, label: int) -> list[Any]:
        """The category ids that are read as this class."""
        return [number for number, own in self._label_of.items() if own == label]

    def objects(self, index: int) -> list[dict[str, Any]]:
        """The annotations of image `index` that are of the kept classes."""
        return self._of_image[self.images[index]["id"]]

    def __getitem__(self, index: int) -> Sample:
        """Read image `index` with its instances.

        Raises:
            FileNotFoundError: no such image; the message names the closest one.
            ValueError: the image is damaged or its size is not the file's.
        """
        entry = self.images[index]
        path = self.folder / entry["file_name"]
        image = read_image(path, white=self.white, page=self.page)
        height, width = image.shape[:2]
        if (height, width) != (entry["height"], entry["width"]):
            raise ValueError(
                f"{path}: {width} x {height} pixels (after EXIF rotation), but {self.path}: "
                f"images[{index}] says {entry['width']} x {entry['height']}; "
                "annotations and image do not belong together"
            )
        masks, labels, crowd = self._instances(entry)
        return Sample(
            image,
            boxes_of_masks(masks),
            labels,
            masks,
            crowd,
            entry["id"],
            entry["file_name"],
            self._keypoints(entry),
            self.skeleton,
        )

    def _keypoints(self, entry: dict[str, Any]) -> np.ndarray | None:
        """(R, P, 3); 0 of objects that have none, None where no object has."""
        if self.skeleton is None:
            return None
        count, annotations = len(self.skeleton), self._of_image[entry["id"]]
        points = np.zeros((len(annotations), count, 3), np.float32)
        for place, annotation in zip(points, annotations, strict=True):
            if "keypoints" in annotation:
                place[:] = from_coco_keypoints(annotation["keypoints"], count)
        return points

    def _instances(self, entry: dict[str, Any]) -> tuple[ObjectMasks, np.ndarray, np.ndarray]:
        """Masks (R, H, W), labels (R,) and crowd flags (R,)."""
        height, width = entry["height"], entry["width"]
        annotations = self._of_image[entry["id"]]
        drawn = [_mask_of(a) for a in annotations]
        runs = (to_run_lengths(d, height, width) for d in drawn)
        masks = ObjectMasks.from_run_lengths(runs, height, width, list(map(outline_of, drawn)))
        labels = np.array([self._label_of[a["category_id"]] for a in annotations], np.int64)
        crowd = np.array([bool(a["iscrowd"]) for a in annotations], bool)
        return masks, labels, crowd

    def coco(self) -> dict[str, Any]:
        """The ground truth for pycocotools: the kept classes, every mask as compressed RLE."""
        annotations = []
        for entry in self.images:
            for annotation in self._of_image[entry["id"]]:
                runs = to_run_lengths(_mask_of(annotation), entry["height"], entry["width"])
                category = self.category_ids[self._label_of[annotation["category_id"]]]
                annotations.append(_complete(annotation | {"category_id": category}, runs))
        points = category_entry(self.skeleton)
        categories = [
            {"id": i, "name": n, **points}
            for i, n in zip(self.category_ids, self.classes, strict=True)
        ]
        return {
            "info": {},
            "images": self.images,
            "annotations": annotations,
            "categories": categories,
        }


def open_annotations(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    *,
    format: str | None = None,
    boxes_only: bool = False,
    white: White = None,
    page: int | None = None,
    may_lack: bool = False,
    unnamed: Sequence[str] | None = None,
) -> AnnotatedImages:
    """The data set that annotation files describe, whatever their format.

    Args:
        path: a file or folder; its format is recognised by what is in it.
        images: the folder of the images; default: as the files say, or beside them.
        classes: see `AnnotatedImages`, as the rest.
        format: name of the format, where it is not to be recognised.
        boxes_only: keep objects that have a box only.
        white: see `AnnotatedImages`.
        page: likewise.
        may_lack: whether classes may be missing.
        unnamed: what to call the classes of files that name none, if it is as many.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: of no known format, or something in the files cannot be used.
    """
    if images is not None and not pathlib.Path(images).is_dir():
        raise FileNotFoundError(missing_file(images, "folder"))
    found = read_annotations(path, images, format)
    if classes is None and unnamed is not None and len(unnamed) == len(found.categories):
        found = named(found, unnamed)
    return AnnotatedImages(
        found, classes, boxes_only=boxes_only, white=white, page=page, may_lack=may_lack
    )


def named(found: Annotations, classes: Sequence[str] | None) -> Annotations:
    """The annotations under the user's names, where the files have none of their own.

    Raises:
        ValueError: not as many names as there are kinds of objects.
    """
    if found.names_classes or classes is None:
        return found
    if len(classes) != len(found.categories):
        raise ValueError(
            f"classes: {found.source} holds {len(found.categories)} kinds of objects without "
            f"names, so give as many; got {list(classes)}"
        )
    categories = [c | {"name": n} for c, n in zip(found.categories, classes, strict=True)]
    return replace(found, categories=categories)


def chosen_classes(
    found: Annotations, classes: Sequence[str] | None, may_lack: bool = False
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Names and category ids of the classes to keep.

    Of several categories with one name those in use count; if several are, they are one class.

    Raises:
        ValueError: names that are repeated, or that the files do not have.
    """
    used = {annotation["category_id"] for annotation in found.annotations}
    ids: dict[str, Any] = {}
    for category in sorted(found.categories, key=_by_id):
        name = category["name"]
        if name not in ids or (ids[name] not in used and category["id"] in used):
            ids[name] = category["id"]
    if classes is None:
        none = {_root(found, used)} | _backgrounds(found, used)
        kept = sorted((i for i in ids.values() if i not in none), key=lambda i: _by_id({"id": i}))
        name_of = {number: name for name, number in ids.items()}
        return tuple(name_of[i] for i in kept), tuple(kept)
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes: expected different names, got {list(classes)}")
    lacking = [name for name in classes if name not in ids]
    if lacking and not (may_lack and len(lacking) < len(classes)):
        close = difflib.get_close_matches(lacking[0], ids, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        has = ", ".join(list(ids)[:20])
        raise ValueError(
            f"classes: no category {lacking[0]!r} in {found.source}; {hint}It has: {has}"
        )
    free = max((i for i in ids.values() if isinstance(i, int)), default=0) + 1
    ids |= {name: free + i for i, name in enumerate(lacking)}
    return tuple(classes), tuple(ids[name] for name in classes)


def _by_id(category: dict[str, Any]) -> tuple[bool, Any]:
    """Numbers in their order, then texts in theirs."""
    return isinstance(category["id"], str), category["id"]


def _skeleton(found: Annotations, classes: Sequence[str]) -> tuple[Skeleton | None, str | None]:
    """The keypoints of the classes, or why there are none although some are written."""
    try:
        kept = (category for category in found.categories if category["name"] in classes)
        skeleton = common_skeleton(kept)
    except ValueError as error:
        return None, str(error)
    unnamed = (note.message for note in found.notes if NO_NAMES in note.message)
    return skeleton, None if skeleton is not None else next(unnamed, None)


def _root(found: Annotations, used: set[Any]) -> Any:
    """Id of a category that no object has and that all others name as theirs; None: there is none.

    Some exporters put the project's name in front of the classes.
    """
    for category in found.categories:
        others = [c for c in found.categories if c is not category]
        above = {c.get("supercategory") for c in others}
        if category["id"] not in used and above == {category["name"]}:
            return category["id"]
    return None


def _backgrounds(found: Annotations, used: set[Any]) -> set[Any]:
    """Ids of categories called background that no object has: the network has its own."""
    return {
        category["id"]
        for category in found.categories
        if category["id"] not in used and category["name"].strip("_ ").lower() == "background"
    }


def _labels_by_name(found: Annotations, classes: Sequence[str]) -> dict[Any, int]:
    """Label of every category id, categories of one name being one class."""
    label = {name: i for i, name in enumerate(classes)}
    return {c["id"]: label[c["name"]] for c in found.categories if c["name"] in label}


def _mask_of(annotation: dict[str, Any]) -> Any:
    """The sound segmentation, or the box as a polygon."""
    if annotation["segmentation"] is not None:
        return annotation["segmentation"]
    return [rectangle(annotation["bbox"])]


def _complete(annotation: dict[str, Any], runs: dict[str, Any]) -> dict[str, Any]:
    """An annotation with everything the metric reads: RLE, area, bbox, iscrowd."""
    from pycocotools import mask as rle

    counts = runs["counts"]
    result = {key: annotation[key] for key in ("id", "image_id", "category_id", "iscrowd")}
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    result["segmentation"] = {"size": list(runs["size"]), "counts": text}
    given = annotation.get("area")
    result["area"] = float(rle.area(runs)) if given is None else given
    result["bbox"] = annotation.get("bbox") or rle.toBbox(runs).tolist()
    return result | {k: annotation[k] for k in ("keypoints", "num_keypoints") if k in annotation}
