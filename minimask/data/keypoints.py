"""What happens to keypoints when their image changes.

Letters: R instances, H W height and width of the image, P keypoints of an instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask.data.skeleton import Skeleton

HIDDEN, VISIBLE = 1, 2  # values of v; 0: not labeled


def check_keypoints(
    keypoints: np.ndarray, count: int, name: str, skeleton: Skeleton | None = None
) -> None:
    """Refuse keypoints that do not belong to `count` objects, in one sentence.

    Args:
        keypoints: should be (count, P, 3): x, y, and visibility 0, 1 or 2.
        count: R, the objects.
        name: what the message calls them.
        skeleton: whose keypoints they should be.

    Raises:
        ValueError: another shape, places that are not finite, another visibility.
    """
    keypoints = np.asarray(keypoints)
    shape = keypoints.shape
    if len(shape) != 3 or shape[0] != count or shape[2] != 3:
        raise ValueError(
            f"{name}: expected shape ({count}, P, 3), x, y and visibility of P keypoints for each "
            f"of {count} boxes, got {shape}"
        )
    if skeleton is not None and shape[1] != len(skeleton):
        raise ValueError(
            f"{name}: {shape[1]} keypoints for each object, but the skeleton names {len(skeleton)}"
        )
    sound = np.isfinite(keypoints).all(axis=2) & np.isin(keypoints[:, :, 2], (0, 1, 2))
    if not sound.all():
        i, k = np.argwhere(~sound)[0]
        raise ValueError(
            f"{name}[{i}, {k}] = {keypoints[i, k].tolist()}: expected x and y in pixels and "
            "visibility 0 (not labeled), 1 (hidden) or 2 (visible)"
        )


def mirrored(keypoints: np.ndarray, skeleton: Skeleton | None) -> np.ndarray:
    """Keypoints with left and right exchanged, as a mirror does: a left hand becomes a right one.

    Every reflection is a mirror, also one that swaps top and bottom, or rows and columns.

    Args:
        keypoints: (R, P, 3), already at their places in the mirror.
        skeleton: says which are left and right.

    Raises:
        ValueError: without a skeleton.
    """
    if skeleton is None:
        raise ValueError(
            "Sample.skeleton: an image with keypoints can only be flipped where it is known which "
            "are left and right; give the sample a Skeleton"
        )
    return keypoints[:, list(skeleton.flip)]


def at_places(keypoints: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The same keypoints at other places; those that are not labeled are 0 0 0.

    Args:
        keypoints: (R, P, 3).
        places: (R, P, 2), x y.

    Returns:
        (R, P, 3) float32.
    """
    labeled = keypoints[:, :, 2:] > 0
    return np.concatenate(
        [np.where(labeled, places, 0), keypoints[:, :, 2:]], axis=2, dtype=np.float32
    )


def scaled(keypoints: np.ndarray, x: float, y: float) -> np.ndarray:
    """Keypoints of an image whose sides became x and y times as long: (R, P, 3) float32."""
    return (keypoints * np.array([x, y, 1])).astype(np.float32)


def hidden_by(keypoints: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Keypoints of an image on which something was laid: what lies under it is hidden, v = 1.

    Args:
        keypoints: (R, P, 3).
        covered: (H, W) bool, where it was laid.
    """
    height, width = covered.shape
    x, y = np.floor(keypoints[:, :, :2]).astype(int).transpose(2, 0, 1)
    under = covered[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    seen = np.where(under, np.minimum(keypoints[:, :, 2], HIDDEN), keypoints[:, :, 2])
    return np.concatenate([keypoints[:, :, :2], seen[:, :, None]], axis=2, dtype=np.float32)


def without_outside(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """Keypoints of a cut image: what lies outside of it is not labeled any more, 0 0 0.

    Args:
        keypoints: (R, P, 3) in pixels of the cut image.
        height: H.
        width: W.
    """
    places = keypoints[:, :, :2]
    inside = ((places >= 0) & (places <= (width, height))).all(axis=2, keepdims=True)
    return np.where(inside, keypoints, np.float32(0))


# COCO counts keypoints from the center of the first pixel, everything here from its corner.
COCO_SHIFT = 0.5


def from_coco_keypoints(flat: Sequence[float], count: int) -> np.ndarray:
    """Keypoints as a COCO file writes them, x0 y0 v0 x1 y1 v1 ...; unlabeled ones are 0 0 0.

    COCO's x and y are indices of pixels, so half a pixel is added, as detectron2 does
    (`data/datasets/coco.py`); torchvision takes them as they are.

    Args:
        flat: 3 * count numbers.
        count: P.

    Returns:
        (P, 3) float32.
    """
    found = np.array(flat, np.float32).reshape(count, 3)
    found[:, :2] += np.float32(COCO_SHIFT)
    return np.where(found[:, 2:] > 0, found, np.float32(0))


def to_coco_keypoints(keypoints: np.ndarray, *, scores: bool = False) -> list[float]:
    """The way back: (P, 3) -> 3 P numbers; the third of each, visibility or score, stays.

    Args:
        keypoints: of one object.
        scores: the third is a score; else keypoints of visibility 0 are written 0 0 0.
    """
    shifted = np.asarray(keypoints, np.float64) - (COCO_SHIFT, COCO_SHIFT, 0)
    labeled = scores | (keypoints[:, 2:] > 0)
    return np.where(labeled, shifted, 0.0).ravel().tolist()


def coco_entry(keypoints: np.ndarray) -> dict[str, Any]:
    """What an annotation of a COCO file says of the keypoints (P, 3) of its object."""
    count = int((keypoints[:, 2] > 0).sum())
    return {"keypoints": to_coco_keypoints(keypoints), "num_keypoints": count}


def spread_keypoints(boxes: np.ndarray, count: int) -> np.ndarray:
    """Keypoints that mean nothing, for generated objects that a keypoint head is to be fed with.

    Args:
        boxes: (R, 4).
        count: P, spread over the diagonal of each box.

    Returns:
        (R, P, 3) float32, all visible.
    """
    share = ((np.arange(count) + 0.5) / count)[None, :, None]
    places = boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])
    seen = np.full((len(boxes), count, 1), VISIBLE)
    return np.concatenate([places, seen], axis=2, dtype=np.float32)
