"""What happens to keypoints when their image changes.

Letters: R instances, H W height and width of the image, P keypoints of an instance.
"""

from __future__ import annotations

import numpy as np

from minimask.data.skeleton import Skeleton

HIDDEN, VISIBLE = 1, 2  # values of v; 0 is not labeled


def check_keypoints(keypoints: np.ndarray, count: int, name: str) -> None:
    """Refuse keypoints that do not belong to `count` objects, in one sentence.

    Args:
        keypoints: should be (count, P, 3): x, y, and visibility 0, 1 or 2.
        count: R, the objects.
        name: what the message calls them.

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
    sound = np.isfinite(keypoints).all(axis=2) & np.isin(keypoints[:, :, 2], (0, 1, 2))
    if not sound.all():
        i, k = np.argwhere(~sound)[0]
        raise ValueError(
            f"{name}[{i}, {k}] = {keypoints[i, k].tolist()}: expected x and y in pixels and "
            "visibility 0 (not labeled), 1 (hidden) or 2 (visible)"
        )


def mirrored(keypoints: np.ndarray, width: int, skeleton: Skeleton) -> np.ndarray:
    """Keypoints of the image seen in a mirror: a left hand has become a right one.

    Args:
        keypoints: (R, P, 3).
        width: W.
        skeleton: says which keypoints are left and right.

    Returns:
        (R, P, 3) float32; unlabeled ones stay as they are.
    """
    moved = keypoints[:, list(skeleton.flip)]
    labeled = moved[:, :, 2] > 0
    moved[:, :, 0] = np.where(labeled, width - moved[:, :, 0], moved[:, :, 0])
    return moved


def moved_keypoints(keypoints: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The same keypoints at other places; unlabeled ones stay at 0, 0.

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
