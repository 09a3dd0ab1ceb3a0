"""What a data set hands out and a model learns from, and the COCO form of many images.

Letters: R instances, H W height and width of the image, K classes, P keypoints of an instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from minimask import boxes as box_ops
from minimask.data.keypoint_values import category_entry
from minimask.data.keypoints import check_keypoints, coco_entry
from minimask.data.mask_values import as_bool, as_masks
from minimask.data.masks import ObjectMasks
from minimask.data.run_lengths import encode_crop
from minimask.data.skeleton import Skeleton


@dataclass
class Target:
    """The objects of one training image.

    =========  ============  ===========  ============================================
    name       shape         dtype        format
    =========  ============  ===========  ============================================
    boxes      (R, 4)        float32      x0 y0 x1 y1 in pixels, positive width and height
    labels     (R,)          int64        0 .. K - 1, indices into the model's classes
    masks      (R, H, W)     uint8, bool  1 where the object is; None for boxes only
    keypoints  (R, P, 3)     float32      x y in pixels, visibility 0, 1, 2 as in
                                          `skeleton`; None for data without
    crowds     (C, 4)        float32      boxes of groups that are no objects; None: none
    =========  ============  ===========  ============================================

    Masks may be `ObjectMasks`, or whole numbers such as 0 and 255, which become bool.

    Raises:
        TypeError: masks of another type, see `mask_values.as_masks`.
        ValueError: masks that are not one per object.
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | ObjectMasks | None = None
    keypoints: np.ndarray | None = None
    crowds: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.masks is not None:
            self.masks = as_masks(self.masks, "Target.masks")


def as_rgb(image: np.ndarray, name: str = "image") -> np.ndarray:
    """An image as (H, W, 3) uint8; gray is repeated, an alpha channel dropped.

    Raises:
        TypeError: not a uint8 array.
        ValueError: a shape that is no image, or no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"{name}: expected a NumPy array of uint8, got {type(image).__name__}; "
            "files are read with minimask.data.read_image(path)"
        )
    if image.dtype != np.uint8:
        raise TypeError(
            f"{name}: expected uint8 pixels 0..255, got {image.dtype}; "
            "scale it first, e.g. (image / image.max() * 255).astype('uint8')"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"{name}: expected shape (H, W), (H, W, 3) or (H, W, 4), got {image.shape}"
        )
    if image.size == 0:
        raise ValueError(f"{name}: has no pixels: shape {image.shape}")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]


def check_target(target: Target, image: np.ndarray, num_labels: int, name: str) -> None:
    """Refuse a target that does not fit its image, in one sentence.

    Raises:
        TypeError: masks of a type that says nothing about inside and outside.
        ValueError: shapes that disagree, boxes without area or not finite, unknown labels, masks
            with several values, keypoints that are none.
    """
    boxes, labels, masks = target.boxes, target.labels, target.masks
    box_ops.check_boxes(f"{name}.boxes", np.asarray(boxes))
    if np.shape(labels) != (len(boxes),):
        raise ValueError(f"{name}.labels: expected shape ({len(boxes)},), got {np.shape(labels)}")
    bad = np.flatnonzero(~(np.asarray(boxes)[:, 2:] > np.asarray(boxes)[:, :2]).all(axis=1))
    bad = bad if len(bad) else np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name}.boxes[{bad[0]}] = {np.asarray(boxes)[bad[0]].tolist()}: expected x0 < x1 and "
            "y0 < y1 in pixels; drop objects without area (or were these x, y, width, height?)"
        )
    if len(boxes) and not (0 <= np.min(labels) and np.max(labels) < num_labels):
        raise ValueError(
            f"{name}.labels: expected 0 .. {num_labels - 1}, got {np.min(labels)} .. "
            f"{np.max(labels)}; background is no class outside the network"
        )
    if target.keypoints is not None:
        check_keypoints(target.keypoints, len(boxes), f"{name}.keypoints")
    if masks is None:
        return
    masks = as_masks(masks, f"{name}.masks")  # whoever puts other ones into a target is told here
    if masks.shape != (len(boxes), *image.shape[:2]):
        raise ValueError(
            f"{name}.masks: expected shape {(len(boxes), *image.shape[:2])}, got {masks.shape}"
        )


@dataclass(eq=False)
class Sample:
    """One image with everything that is known about the objects in it.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        boxes: (R, 4) float32, x0 y0 x1 y1 in pixels: the tight boxes of the masks.
        labels: (R,) int64, 0-based index into the data set's classes.
        masks: (R, H, W) bool, the visible part of each object; `ObjectMasks` need less memory.
            Whole numbers such as 0 and 255 become bool.
        crowd: (R,) bool, True where one mask covers a whole group; default: none.
        image_id: the number results are reported under.
        file_name: where the image came from, None for generated ones.
        keypoints: (R, P, 3) float32, x y in pixels and visibility 0, 1, 2, see `data.skeleton`;
            None in a data set without.
        skeleton: which keypoints these are: flips need to know left from right.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | ObjectMasks
    crowd: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    image_id: int = 0
    file_name: str | None = None
    keypoints: np.ndarray | None = None
    skeleton: Skeleton | None = None

    def __post_init__(self) -> None:
        self.masks = as_bool(self.masks, "Sample.masks")
        if len(self.crowd) == 0 and len(self.labels):
            self.crowd = np.zeros(len(self.labels), bool)
        height, width = self.image.shape[:2]
        count = len(self.labels)
        expected = {"boxes": (count, 4), "masks": (count, height, width), "crowd": (count,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"Sample.{name}: expected shape {shape} for {count} labels and an image of "
                    f"{height} x {width}, got {getattr(self, name).shape}"
                )
        if self.keypoints is not None:
            check_keypoints(self.keypoints, count, "Sample.keypoints", self.skeleton)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def name(self) -> str:
        """What messages call this image: its file name, else its number."""
        return self.file_name or f"image {self.image_id}"

    @property
    def target(self) -> Target:
        """What a model learns from: the objects, and beside them the boxes of crowds.

        A crowd's mask covers many objects.
        """
        if not self.crowd.any():
            return Target(self.boxes, self.labels, self.masks, self.keypoints)
        one, crowds = self.keep(~self.crowd), self.boxes[self.crowd]
        return Target(one.boxes, one.labels, one.masks, one.keypoints, crowds)

    def keep(self, index: np.ndarray) -> Sample:
        """The same image with some of its instances.

        Args:
            index: (R,) bool or a list of instance numbers.
        """
        return replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            masks=self.masks[index],
            crowd=self.crowd[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
        )

    def contiguous(self) -> Sample:
        """The same sample with C-contiguous arrays: flips leave views with negative strides."""
        masks = self.masks
        masks = (
            masks.contiguous() if isinstance(masks, ObjectMasks) else np.ascontiguousarray(masks)
        )
        return replace(self, image=np.ascontiguousarray(self.image), masks=masks)


class Dataset(Protocol):
    """What training and evaluation ask of a data set."""

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]  # the COCO category id of each class
    # A data set with keypoints also has `skeleton`, see `skeleton_of`.

    def __len__(self) -> int:
        """Number of images; TypeError where there is no end."""

    def __getitem__(self, index: int) -> Sample:
        """Image `index` with its instances."""

    def describe(self, index: int) -> str:
        """Name of item `index` for messages, without reading it."""

    def coco(self) -> dict[str, Any]:
        """The ground truth as COCO JSON, masks as compressed RLE."""


def skeleton_of(data: Any) -> Skeleton | None:
    """What the keypoints of a data set or model are; None where it has none."""
    return getattr(data, "skeleton", None)


def boxes_of_masks(masks: np.ndarray | ObjectMasks) -> np.ndarray:
    """The tight box of each mask: the smallest box that holds all its pixels.

    Args:
        masks: (R, H, W) bool.

    Returns:
        (R, 4) float32, x0 y0 x1 y1; pixel i covers [i, i + 1).  An empty mask gives 0 0 0 0.
    """
    if isinstance(masks, ObjectMasks):
        return masks.boxes()
    boxes = np.zeros((len(masks), 4), np.float32)
    if masks.size == 0:
        return boxes
    height, width = masks.shape[1:]
    columns: np.ndarray = np.any(masks, axis=1)
    rows: np.ndarray = np.any(masks, axis=2)
    boxes[:, 0] = columns.argmax(axis=1)
    boxes[:, 1] = rows.argmax(axis=1)
    boxes[:, 2] = width - columns[:, ::-1].argmax(axis=1)
    boxes[:, 3] = height - rows[:, ::-1].argmax(axis=1)
    boxes[~rows.any(axis=1)] = 0
    return boxes


def encode_masks(masks: np.ndarray | ObjectMasks) -> list[dict[str, Any]]:
    """COCO's compressed run lengths of each mask, as JSON can hold them.

    Args:
        masks: (R, H, W) bool.

    Returns:
        R dicts of size [H, W] and counts (a string).
    """
    from pycocotools import mask as rle

    if isinstance(masks, ObjectMasks):
        size = masks.shape[1:]
        crops = map(masks.crop, range(len(masks)))
        encoded = [encode_crop(crop, y, x, *size) for crop, (y, x) in crops]
    else:
        encoded = rle.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
    return [{"size": list(r["size"]), "counts": r["counts"].decode("ascii")} for r in encoded]


def coco_ground_truth(
    samples: Iterable[Sample],
    classes: Sequence[str],
    category_ids: Sequence[int],
    skeleton: Skeleton | None = None,
) -> dict[str, Any]:
    """COCO JSON that says what `samples` hold, for pycocotools or for a file.

    Args:
        samples: images with instances; their image_id must differ.
        classes: K names.
        category_ids: K ids, the COCO id of each class.
        skeleton: of the classes; default: the samples'.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for sample in samples:
        height, width = sample.image.shape[:2]
        name = sample.file_name or f"{sample.image_id:06d}.png"
        images.append({"id": sample.image_id, "file_name": name, "width": width, "height": height})
        areas = sample.masks.sum(axis=(1, 2))
        for i, segmentation in enumerate(encode_masks(sample.masks)):
            x0, y0, x1, y1 = sample.boxes[i].tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": sample.image_id,
                    "category_id": category_ids[sample.labels[i]],
                    "segmentation": segmentation,
                    "area": int(areas[i]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": int(sample.crowd[i]),
                }
            )
            if sample.keypoints is not None:
                annotations[-1] |= coco_entry(sample.keypoints[i])
                skeleton = skeleton or sample.skeleton
    named = category_entry(skeleton)
    categories = [{"id": i, "name": n, **named} for i, n in zip(category_ids, classes, strict=True)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}
