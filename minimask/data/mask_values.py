"""Which arrays are taken as masks, and what is said about all others.

Whoever has masks as files has them as 0 and 255, or 0 and 65535: what is not zero is inside.  An
array that could mean several things is refused: numbers between 0 and 1 need a threshold, an
image of labels needs to be taken apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask.data.masks import ObjectMasks


def as_masks(masks: Any, name: str) -> np.ndarray | ObjectMasks:
    """Masks as the rest of the code takes them.

    Args:
        masks: (R, H, W) of bool; of whole numbers with one value besides 0 in each mask; or
            ObjectMasks.
        name: what messages call it.

    Returns:
        ObjectMasks, (R, H, W) of bool, or of uint8 with 0 and 1: as given where it is one of them.

    Raises:
        TypeError: no array, or of a type that says nothing about inside and outside.
        ValueError: not three axes, or several values in one mask.
    """
    if isinstance(masks, ObjectMasks):
        return masks
    if not isinstance(masks, np.ndarray):
        raise TypeError(
            f"{name}: expected a NumPy array (R, H, W) of bool, got {type(masks).__name__}; "
            "a list of masks becomes one with np.stack(masks)"
        )
    if masks.size == 0 and masks.ndim == 3:  # np.zeros((0, H, W)): of an image without objects
        return masks if masks.dtype == np.uint8 else masks.astype(bool, copy=False)
    if masks.dtype.kind == "f":
        nan = " with NaN in it" if np.isnan(masks).any() else ""
        raise TypeError(
            f"{name}: expected bool, got {masks.dtype}{nan}; say where an object begins, "
            "e.g. masks > 0.5"
        )
    if masks.dtype.kind not in "biu":
        raise TypeError(f"{name}: expected bool, got {masks.dtype}")
    if masks.ndim != 3:
        hint = ""
        if masks.ndim == 2:
            hint = "; of an image of labels make one mask an object: labels == ids[:, None, None]"
        raise ValueError(f"{name}: expected shape (R, H, W), got {masks.shape}{hint}")
    if masks.dtype == bool or (masks.dtype == np.uint8 and masks.max() <= 1):
        return masks
    return _from_numbers(masks, name)


def _from_numbers(masks: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers as bool: what is not zero is inside, if that is all the numbers can mean."""
    inside = masks != 0
    for i, (mask, where) in enumerate(zip(masks, inside, strict=True)):
        values = mask[where]
        if not len(values) or (values[0] == values).all():
            continue
        shown = np.unique(values)
        listed = ", ".join(map(str, shown[:4])) + (", ..." if len(shown) > 4 else "")
        raise ValueError(
            f"{name}[{i}]: {len(shown)} values besides 0 ({listed}), expected one or bool; "
            "of soft edges say where the object begins, e.g. masks >= 128; of an image of labels "
            "make one mask an object: labels == ids[:, None, None]"
        )
    return inside


def as_bool(masks: Any, name: str) -> np.ndarray | ObjectMasks:
    """The same with bool for 0 and 1 too; see `as_masks`."""
    checked = as_masks(masks, name)
    return checked.view(bool) if checked.dtype == np.uint8 else checked
