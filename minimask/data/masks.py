"""The masks of one image's objects, each kept only inside its tight box.

450 objects on a photo of 12 megapixels fill 5.5 GB as an array (R, H, W), and 7 MB as crops.

Letters: R objects, H W height and width of the image, h w of one object's box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minimask.data.mask_crops import Corner, pick, places_by_axis, tight
from minimask.data.mask_outlines import Outline, along_slice, moved, swapped
from minimask.data.run_lengths import decode_columns

# what else may be asked of an array, answered by one: nothing here that would change a copy
AS_ARRAY = ("all", "flatten", "max", "mean", "min", "nonzero", "ravel", "reshape", "tolist")


class ObjectMasks(np.lib.mixins.NDArrayOperatorsMixin):
    """Masks of the objects of one image, used like an array (R, H, W) of bool.

    `masks[i]` is the mask of one object, (H, W) bool, made when it is asked for and read-only, as
    a change of it would be lost.  `masks[some]` and `masks[some, rows, columns]` are ObjectMasks;
    rows and columns are slices or arrays that pick each axis by itself.  Arithmetic, comparisons
    and NumPy's functions take what `np.asarray(masks)` gives: all of the masks as one array.

    Args:
        crops: R arrays (h, w) of bool; borders without a pixel are cut off.
        corners: R pairs, row and column of each crop's upper left pixel.
        height: H.
        width: W.
        outlines: R outlines that the masks were drawn from, None of those without; default: none.

    Raises:
        ValueError: a crop reaches beyond the image.
    """

    def __init__(
        self,
        crops: Sequence[np.ndarray],
        corners: Iterable[Corner],
        height: int,
        width: int,
        outlines: Sequence[Outline | None] | None = None,
    ) -> None:
        self._outlines: list[Outline | None] = list(outlines or [None] * len(crops))
        self._crops: list[np.ndarray] = []
        self._corners: list[Corner] = []
        self.shape = (len(crops), int(height), int(width))
        for crop, (y, x) in zip(crops, corners, strict=True):
            below, right = y + crop.shape[0], x + crop.shape[1]
            if crop.size and not (0 <= y < below <= height and 0 <= x < right <= width):
                raise ValueError(
                    f"masks: a crop of {crop.shape[0]} x {crop.shape[1]} pixels at row {y}, "
                    f"column {x} reaches beyond the image of {height} x {width}"
                )
            crop, (dy, dx) = tight(crop)
            self._crops.append(crop)
            self._corners.append((y + dy, x + dx) if crop.size else (0, 0))
        if len(self._outlines) != len(crops):
            raise ValueError(f"masks: {len(crops)} masks, but {len(self._outlines)} outlines")

    # ---- made from something else

    @classmethod
    def from_masks(cls, masks: Iterable[np.ndarray], height: int, width: int) -> ObjectMasks:
        """From masks (H, W) of bool one after the other, or from an array (R, H, W).

        Raises:
            ValueError: a mask of another size.
        """
        crops, corners = [], []
        for mask in masks:
            if mask.shape != (height, width):
                raise ValueError(f"masks: expected {(height, width)}, got {mask.shape}")
            crop, corner = tight(mask)
            crops.append(crop)
            corners.append(corner)
        return cls(crops, corners, height, width)

    @classmethod
    def from_run_lengths(
        cls,
        runs: Iterable[dict[str, Any]],
        height: int,
        width: int,
        outlines: Sequence[Outline | None] | None = None,
    ) -> ObjectMasks:
        """From COCO's compressed run lengths; of each only the columns it lies in are decoded.

        Args:
            runs: R dicts of size [H, W] and counts (a string or bytes), checked before.
            height: H.
            width: W.
            outlines: as for the class.

        Raises:
            ValueError: counts that are no run lengths of so many pixels.
        """
        decoded = [decode_columns(run["counts"], height, width) for run in runs]
        crops, lefts = [crop for crop, _ in decoded], [left for _, left in decoded]
        return cls(crops, [(0, left) for left in lefts], height, width, outlines)

    # ---- what an array of bool has

    ndim = 3
    dtype = np.dtype(bool)

    @property
    def size(self) -> int:
        """R * H * W."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes that are really kept."""
        return sum(crop.nbytes for crop in self._crops)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._dense(i) for i in range(len(self)))

    def __repr__(self) -> str:
        return f"ObjectMasks(shape={self.shape}, {self.nbytes} bytes)"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All masks as an array (R, H, W)."""
        if copy is False:
            raise ValueError("ObjectMasks are no array: np.asarray has to make a copy")
        whole = np.zeros(self.shape, bool if dtype is None else dtype)
        for mask, (crop, (y, x)) in zip(whole, self._parts(), strict=True):
            mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return whole

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.asarray(i) if isinstance(i, ObjectMasks) else i for i in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        if name in AS_ARRAY:
            return getattr(np.asarray(self), name)
        raise AttributeError(
            f"ObjectMasks has no attribute {name!r}; np.asarray(masks) is an array that may have it"
        )

    def __getitem__(self, key: Any) -> Any:
        """One mask (H, W), masks of some objects, or of a part of the image; see the class."""
        if isinstance(key, int | np.integer):
            return self._dense(int(key))
        objects, *axes = key if isinstance(key, tuple) else (key,)
        if isinstance(objects, int | np.integer):
            return self._dense(int(objects))[tuple(axes)]
        places = places_by_axis((objects, *axes), self.shape)
        if places is None:  # single pixels, points, or a mask of bool over everything
            return np.asarray(self)[key]
        chosen, rows, columns = places
        if rows is None and columns is None:
            crops, corners, outlines = (
                [them[i] for i in chosen] for them in (self._crops, self._corners, self._outlines)
            )
            return self._like(crops, corners, *self.shape[1:], outlines)
        rows_at, columns_at = (
            along_slice(index, size)
            for index, size in zip((*axes, slice(None))[:2], self.shape[1:], strict=True)
        )
        rows = np.arange(self.shape[1]) if rows is None else rows
        columns = np.arange(self.shape[2]) if columns is None else columns
        picked = [pick(self._crops[i], self._corners[i], rows, columns) for i in chosen]
        outlines = [self._outlines[i] for i in chosen]
        if rows_at is None or columns_at is None:  # nobody knows where an outline's places go
            outlines = [None] * len(outlines)
        else:
            outlines = moved(outlines, x=columns_at, y=rows_at)
        crops, corners = [c for c, _ in picked], [c for _, c in picked]
        return ObjectMasks(crops, corners, len(rows), len(columns), outlines)

    def transpose(self, *axes: Any) -> Any:
        """Rows and columns swapped by (0, 2, 1): ObjectMasks; any other order: an array."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        if tuple(order or ()) != (0, 2, 1):
            return np.asarray(self).transpose(*axes)
        corners = [(x, y) for y, x in self._corners]
        crops, outlines = [crop.T for crop in self._crops], swapped(self._outlines)
        return self._like(crops, corners, self.shape[2], self.shape[1], outlines)

    def any(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        """Whether there is a pixel: of each object with axis (1, 2), in one of them with 0, ..."""
        return self._reduce("any", bool, axis, keepdims)

    def sum(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
    ) -> Any:
        """Number of pixels: of each object with axis (1, 2), of objects at a place with 0, ..."""
        return self._reduce("sum", np.int64 if dtype is None else dtype, axis, keepdims)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """An array (R, H, W) of another type; of bool these masks, or a copy."""
        if np.dtype(dtype) != bool:
            return self.__array__(dtype)
        return self.copy() if copy else self

    def copy(self) -> ObjectMasks:
        """The same masks in memory of their own."""
        crops = [crop.copy() for crop in self._crops]
        return self._like(crops, self._corners, *self.shape[1:], self._outlines)

    # ---- what an array has not

    def boxes(self) -> np.ndarray:
        """(R, 4) float32: the tight boxes x0 y0 x1 y1; 0 0 0 0 of a mask without a pixel."""
        found = [(x, y, x + crop.shape[1], y + crop.shape[0]) for crop, (y, x) in self._parts()]
        return np.array(found, np.float32).reshape(-1, 4)

    def areas(self) -> np.ndarray:
        """(R,) int64: the number of pixels of each object."""
        return np.array([np.count_nonzero(crop) for crop in self._crops], np.int64)

    def crop(self, i: int) -> tuple[np.ndarray, Corner]:
        """The mask of object i inside its tight box, (h, w) bool, and row and column of it."""
        return self._crops[i], self._corners[i]

    def outline(self, i: int) -> Outline | None:
        """The polygons that object i was drawn from; None: it is known by its pixels alone."""
        return self._outlines[i]

    def placed(self, height: int, width: int, y: int, x: int) -> ObjectMasks:
        """The masks in another image, moved by y rows and x columns; what leaves it is cut off."""
        crops, corners = [], []
        for crop, (top, left) in self._parts():
            top, left = top + y, left + x
            rows = slice(max(0, -top), max(0, height - top))
            columns = slice(max(0, -left), max(0, width - left))
            crops.append(crop[rows, columns])
            corners.append((max(0, top), max(0, left)))
        outlines = moved(self._outlines, x=(1.0, x), y=(1.0, y))
        return ObjectMasks(crops, corners, height, width, outlines)

    def resized(self, rows: np.ndarray, columns: np.ndarray) -> ObjectMasks:
        """The masks at another size, their outlines with them.

        Args:
            rows: (new H,) of each new row the old one that it shows.
            columns: (new W,) the same of columns.
        """
        made: ObjectMasks = self[:, rows[:, None], columns]
        height, width = self.shape[1:]
        factors = {"x": (len(columns) / width, 0.0), "y": (len(rows) / height, 0.0)}
        made._outlines = moved(self._outlines, **factors)
        return made

    def contiguous(self) -> ObjectMasks:
        """The same masks with every crop C-contiguous: flips leave views."""
        crops = [np.ascontiguousarray(crop) for crop in self._crops]
        return self._like(crops, self._corners, *self.shape[1:], self._outlines)

    # ---- parts

    def _like(
        self,
        crops: list[np.ndarray],
        corners: list[Corner],
        height: int,
        width: int,
        outlines: list[Outline | None],
    ) -> ObjectMasks:
        """From crops that are tight already."""
        made = ObjectMasks((), (), height, width)
        made.shape = (len(crops), height, width)
        made._crops, made._corners, made._outlines = crops, list(corners), list(outlines)
        return made

    def _parts(self) -> Iterator[tuple[np.ndarray, Corner]]:
        return zip(self._crops, self._corners, strict=True)

    def _dense(self, i: int) -> np.ndarray:
        if not -len(self) <= i < len(self):
            raise IndexError(f"masks: object {i} of {len(self)}")
        (y, x), crop = self._corners[i], self._crops[i]
        mask = np.zeros(self.shape[1:], bool)
        mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        mask.flags.writeable = False
        return mask

    def _reduce(self, name: str, dtype: Any, axis: Any, keepdims: bool) -> Any:
        """`any` or `sum` over some axes, from the crops alone."""
        axes = (0, 1, 2) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(sorted(a + 3 if a < 0 else a for a in axes))
        inside = tuple(a - 1 for a in axes if a > 0)
        left = [1 if a - 1 in inside else self.shape[a] for a in (1, 2)]
        out = np.zeros((1 if 0 in axes else len(self), *left), dtype)
        join: Callable[..., Any] = np.logical_or if name == "any" else np.add
        for i, (crop, (y, x)) in enumerate(self._parts()):
            part = getattr(crop, name)(axis=inside, keepdims=True) if inside else crop
            rows = slice(None) if 0 in inside else slice(y, y + crop.shape[0])
            columns = slice(None) if 1 in inside else slice(x, x + crop.shape[1])
            place = out[0 if 0 in axes else i, rows, columns]
            join(place, part, out=place, casting="unsafe")
        result = (
            out if keepdims else out.reshape([n for a, n in enumerate(out.shape) if a not in axes])
        )
        return result if result.ndim else result[()]
