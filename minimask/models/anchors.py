"""Anchors: the boxes of fixed shapes, at every cell of the pyramid, that the RPN judges and moves.

Letters: A anchors per cell, B anchors of all levels, H W height and width of a feature map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import floordiv
from typing import Any

import numpy as np

from minimask.autograd.arrays import Array
from minimask.autograd.hooks import stage
from minimask.conventions import TORCHVISION, Convention
from minimask.models.box_corners import from_edges
from minimask.system.device import on_gpu, upload


def cell_anchors(
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    *,
    round_corners: bool = True,
    order: str = "ratio",
) -> np.ndarray:
    """The anchors of one cell, centered at (0, 0).

    Args:
        sizes: square roots of the anchors' areas, in pixels.
        aspect_ratios: height / width; the area stays.
        round_corners: to whole pixels.
        order: which runs slowest when there are several sizes: "ratio" or "size".

    Returns:
        (A, 4) float32 with A = len(sizes) * len(aspect_ratios).
    """
    by_height = np.sqrt(np.asarray(aspect_ratios, np.float32))
    by_width = 1 / by_height
    size = np.asarray(sizes, np.float32)
    if order == "ratio":
        widths, heights = np.outer(by_width, size).ravel(), np.outer(by_height, size).ravel()
    else:
        widths, heights = np.outer(size, by_width).ravel(), np.outer(size, by_height).ravel()
    cell = np.stack([-widths, -heights, widths, heights], axis=1) / 2
    return np.round(cell) if round_corners else cell


def exact_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> np.ndarray:
    """The anchors of one cell in float64, without rounding, in the order of `cell_anchors`."""
    by_width = np.sqrt(1 / np.asarray(aspect_ratios, np.float64))
    size = np.asarray(sizes, np.float64)
    widths, heights = (size * by_width[:, None]).ravel(), (size / by_width[:, None]).ravel()
    return np.stack([-widths, -heights, widths, heights], axis=1) * 0.5


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def network_stride(pixels: int, cells: int) -> int:
    """The power of two that makes `cells` of so many pixels, each halving rounded up.

    Of a single cell, which any large one makes, the smallest: its place is the same.
    """
    return 1 << max(0, math.ceil(math.log2(pixels / cells)))


@dataclass(frozen=True)
class Anchors:
    """The anchors of all levels of an image, B in all; float32."""

    levels: list[Array]  # for each level (H * W * A, 4)
    flat: Array  # (B, 4), one level after the other, where the network is
    on_cpu: np.ndarray  # the same in this computer's memory
    # what is compared with objects, (B, 4): by the edges of the pixels, whatever the others are
    # named by; then in float64, so that anchors of equal overlap are found as equal as in NumPy
    edges: np.ndarray


class AnchorGenerator:
    """Anchors of all levels for a padded image; computed once per shape and remembered."""

    def __init__(
        self,
        sizes: Sequence[float | Sequence[float]],
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),  # Faster R-CNN, section 3.3
        convention: Convention = TORCHVISION,
    ):
        """One entry of `sizes` per level of the pyramid: a size, or several, in pixels."""
        self.offset = convention.anchor_offset  # of the first anchor's center, in strides
        self.fixed_strides = convention.map_strides == "fixed"
        self.corners = convention.box_corners
        per_level = [s if isinstance(s, Sequence) else (s,) for s in sizes]
        how: dict[str, Any] = {
            "round_corners": convention.round_anchors,
            "order": convention.anchor_order,
        }
        self.cells = [cell_anchors(s, aspect_ratios, **how) for s in per_level]
        counts = {len(cell) for cell in self.cells}
        if len(counts) != 1:
            raise ValueError(f"anchor sizes: every level needs as many, got {per_level}")
        self.per_cell = counts.pop()
        self._exact = [exact_anchors(s, aspect_ratios) for s in per_level]
        self._known: dict[tuple[Any, ...], Anchors] = {}

    @stage("anchors, matching")
    def __call__(
        self,
        feature_shapes: Sequence[tuple[int, int]],
        image_shape: tuple[int, int],
        like: Array | None = None,
    ) -> Anchors:
        """The anchors in the order levels, rows, columns, anchors of a cell.

        Args:
            feature_shapes: (H, W) of each level.
            image_shape: height and width of the padded images.
            like: an array of the device they are needed on; default: the CPU.

        Returns:
            Corners in pixels of the padded image, named as the convention's `box_corners` says. Do
            not change them: they are shared between calls.
        """
        if len(feature_shapes) != len(self.cells):
            raise ValueError(
                f"anchors: sizes for {len(self.cells)} levels, "
                f"but {len(feature_shapes)} feature maps"
            )
        key: tuple[Any, ...] = (tuple(feature_shapes), tuple(image_shape))
        if like is not None and on_gpu(like):  # a copy on that GPU is kept beside those on the CPU
            key = (*key, like.device.id)
        if key not in self._known:
            flat = on_cpu = edges = self._make(self.cells, feature_shapes, image_shape)
            if self.corners != "edges":
                edges = self._make(self._exact, feature_shapes, image_shape)
                flat = on_cpu = _read_only(from_edges(on_cpu, self.corners))
            if on_gpu(like):
                flat = upload(on_cpu, like, "anchors")
            if len(self._known) >= 64:  # images of ever new shapes must not fill the memory
                self._known.clear()
            sizes = [height * width * self.per_cell for height, width in feature_shapes]
            ends = np.cumsum(sizes).tolist()
            levels = [flat[end - size : end] for size, end in zip(sizes, ends, strict=True)]
            self._known[key] = Anchors(levels, flat, on_cpu, edges)
        return self._known[key]

    def _make(
        self,
        cells: Sequence[np.ndarray],
        feature_shapes: Sequence[tuple[int, int]],
        image_shape: tuple[int, int],
    ) -> np.ndarray:
        """The anchors of all levels from those of one cell of each, read-only."""
        levels = [
            self._level(cell, shape, image_shape)
            for cell, shape in zip(cells, feature_shapes, strict=True)
        ]
        return _read_only(np.concatenate(levels))

    def _level(
        self, cell: np.ndarray, shape: tuple[int, int], image_shape: tuple[int, int]
    ) -> np.ndarray:
        """Shift the anchors of one cell over a whole level."""
        stride_of = network_stride if self.fixed_strides else floordiv
        stride_y, stride_x = map(stride_of, image_shape, shape)
        y = (np.arange(shape[0], dtype=np.float32) + self.offset) * stride_y
        x = (np.arange(shape[1], dtype=np.float32) + self.offset) * stride_x
        grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
        shifts = np.stack([grid_x, grid_y, grid_x, grid_y], axis=-1).astype(cell.dtype)
        return (shifts[:, :, None] + cell).reshape(-1, 4)
