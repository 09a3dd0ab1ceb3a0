"""What the model says about an image.

Letters: R objects in an image, H W its height and width, M side of a predicted mask, P keypoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.data.keypoints import to_coco_keypoints
from minimask.data.sample import Target as Target  # was at home here: old imports go on working
from minimask.data.sample import encode_masks
from minimask.data.skeleton import Skeleton
from minimask.models.paste import THRESHOLD, paste_crop


@dataclass(frozen=True)
class Instances:
    """The objects found in one image, best first, in pixels of the network's input.

    ===========  ============  =======  ===============================================
    name         shape         dtype    format
    ===========  ============  =======  ===============================================
    boxes        (R, 4)        float32  x0 y0 x1 y1
    labels       (R,)          int64    0 .. K - 1, without background
    scores       (R,)          float32  0 .. 1
    proposals    (R, 4)        float32  what each box was refined from
    mask_probs   (R, M, M)     float32  0 .. 1 over the box, from the mask head; None: no masks
    keypoints    (R, P, 3)     float32  x y and score, from the keypoint head; None: no keypoints
    ===========  ============  =======  ===============================================
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    proposals: np.ndarray
    mask_probs: np.ndarray | None = None
    keypoints: np.ndarray | None = None

    @classmethod
    def empty(cls) -> Instances:
        """No objects at all."""
        no_boxes = np.zeros((0, 4), np.float32)
        return cls(no_boxes, np.zeros(0, np.int64), np.zeros(0, np.float32), no_boxes)


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in one image, best first.

    ===========  ============  =======  ============================================
    name         shape         dtype    format
    ===========  ============  =======  ============================================
    boxes        (R, 4)        float32  x0 y0 x1 y1 in pixels of the original image
    labels       (R,)          int64    0 .. K - 1, indices into `classes`
    scores       (R,)          float32  0 .. 1
    mask_probs   (R, M, M)     float32  0 .. 1 over the mask box; None for boxes only
    mask_boxes   (R, 4)        float32  the box each mask lies in; None: `boxes`
    keypoints    (R, P, 3)     float32  x y in pixels, score; None: the model finds none
    ===========  ============  =======  ============================================

    Full-size masks are drawn when asked for (`masks`, `soft_masks`, `mask`) and not kept.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    mask_probs: np.ndarray | None
    image_size: tuple[int, int]  # height, width
    classes: tuple[str, ...]
    paste: str = "torchvision"  # how small masks are drawn, see `minimask.models.paste`
    mask_boxes: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    skeleton: Skeleton | None = None  # names and limbs of the keypoints

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        height, width = self.image_size
        found = ", ".join(
            f"{name} {score:.2f}"
            for name, score in zip(self.names[:5], self.scores[:5], strict=True)
        )
        more = ", ..." if len(self) > 5 else ""
        if self.keypoints is not None:
            more += f"; {self.keypoints.shape[1]} keypoints each"
        return f"Detections({len(self)} in {width} x {height} pixels: {found}{more})"

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.classes[label] for label in self.labels]

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """What the P keypoints are called."""
        if self.keypoints is None:
            raise ValueError("these detections have no keypoints: the model has no keypoint head")
        if self.skeleton is None:
            return tuple(str(k + 1) for k in range(self.keypoints.shape[1]))
        return self.skeleton.names

    @property
    def masks(self) -> np.ndarray:
        """(R, H, W) bool: which pixels belong to each object; drawn anew at each call."""
        masks = np.zeros((len(self), *self.image_size), bool)
        for i, (crop, (x, y)) in enumerate(self._crops()):
            masks[i, y : y + crop.shape[0], x : x + crop.shape[1]] = crop >= THRESHOLD
        return masks

    @property
    def soft_masks(self) -> np.ndarray:
        """(R, H, W) float32: probability that a pixel belongs to each object."""
        masks = np.zeros((len(self), *self.image_size), np.float32)
        for i, (crop, (x, y)) in enumerate(self._crops()):
            masks[i, y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return masks

    def mask(self, i: int) -> np.ndarray:
        """(H, W) bool: which pixels belong to object `i`."""
        mask = np.zeros(self.image_size, bool)
        crop, (x, y) = self.crop_mask(i)
        mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return mask

    def soft_crop(self, i: int) -> tuple[np.ndarray, tuple[int, int]]:
        """The mask of object `i` around its box only: (h, w) float32, and (x, y) of its corner."""
        if self.mask_probs is None:
            raise ValueError("these detections have no masks: the model is a Faster R-CNN")
        boxes = self.boxes if self.mask_boxes is None else self.mask_boxes
        return paste_crop(self.mask_probs[i], boxes[i], *self.image_size, self.paste)

    def crop_mask(self, i: int) -> tuple[np.ndarray, tuple[int, int]]:
        """The mask of object `i` around its box only: (h, w) bool, and (x, y) of its corner."""
        crop, corner = self.soft_crop(i)
        return crop >= THRESHOLD, corner

    def keep(self, index: Any) -> Detections:
        """Only some detections: a bool mask, indices or a slice, e.g. `d.keep(d.scores > 0.5)`."""
        if isinstance(index, int | np.integer):
            index = [int(index)]
        probs = None if self.mask_probs is None else self.mask_probs[index]
        around = None if self.mask_boxes is None else self.mask_boxes[index]
        return dataclasses.replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            scores=self.scores[index],
            mask_probs=probs,
            mask_boxes=around,
            keypoints=None if self.keypoints is None else self.keypoints[index],
        )

    def to_coco(
        self, image_id: int | str, category_ids: Sequence[int | str] | None = None
    ) -> list[dict[str, Any]]:
        """The detections as COCO results: one JSON-able dict each, boxes as x y width height.

        Keypoints are written as COCO counts them: the center of the first pixel is 0, not 0.5.

        Args:
            image_id: the image's id in the annotation file.
            category_ids: the COCO id of each class; default 1, 2, ...
        """
        ids = list(category_ids) if category_ids is not None else range(1, len(self.classes) + 1)
        if len(ids) != len(self.classes):
            raise ValueError(
                f"category_ids: expected {len(self.classes)}, one per class, got {len(ids)}"
            )
        results = []
        for i in range(len(self)):
            x0, y0, x1, y1 = (float(v) for v in self.boxes[i])
            result: dict[str, Any] = {
                "image_id": _plain(image_id),
                "category_id": _plain(ids[self.labels[i]]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(self.scores[i]),
            }
            if self.mask_probs is not None:
                (result["segmentation"],) = encode_masks(self.mask(i)[None])
            if self.keypoints is not None:
                result["keypoints"] = to_coco_keypoints(self.keypoints[i], scores=True)
            results.append(result)
        return results

    def _crops(self) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        return (self.soft_crop(i) for i in range(len(self)))


def _plain(number: int | str) -> int | str:
    """An id as JSON can hold it; some files have texts."""
    return number if isinstance(number, str) else int(number)
