"""Regions for detectors that find none themselves: windows on a grid, or read from a file.

Letters: R regions of an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np


class Proposer(Protocol):
    """Whatever says where to look: a `GridProposer`, a trained `ProposalNetwork`, your own."""

    def propose(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For each image (R, 4) float32 boxes in its pixels."""
        ...


@dataclass(frozen=True)
class GridProposer:
    """Windows of a few sizes and shapes, each moved over the image by a share of itself.

    So detectors looked before proposals were computed from the image ("sliding windows").

    Attributes:
        sizes: square roots of the windows' areas, as shares of the image's short side.
        aspect_ratios: height / width.
        step: how far apart windows are, as a share of their width and height.
        limit: at most so many windows of an image; of more, evenly spread ones are taken.

    Raises:
        ValueError: a size, ratio or step that is not positive, or a limit below 1.
    """

    sizes: Sequence[float] = (0.12, 0.17, 0.25, 0.35, 0.5, 0.7)
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)
    step: float = 0.35
    limit: int = 2000  # Fast R-CNN, section 2: selective search gives about as many

    def __post_init__(self) -> None:
        for name in ("sizes", "aspect_ratios"):
            values = getattr(self, name)
            if not len(values) or min(values) <= 0:
                raise ValueError(f"grid_{name}: expected positive numbers, got {list(values)}")
        if self.step <= 0:
            raise ValueError(f"grid_step: expected a positive share, got {self.step}")
        if self.limit < 1:
            raise ValueError(f"grid_limit: expected at least 1, got {self.limit}")

    def propose(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For each image the windows, (R, 4) float32 in its pixels."""
        return [self.windows(*image.shape[:2]) for image in images]

    def windows(self, height: int, width: int) -> np.ndarray:
        """The windows of one image, which all lie inside it: (R, 4)."""
        found = []
        for size in self.sizes:
            for ratio in self.aspect_ratios:
                side = size * min(height, width)
                h, w = min(side * math.sqrt(ratio), height), min(side / math.sqrt(ratio), width)
                y, x = (
                    np.linspace(0, whole - part, 1 + math.ceil((whole - part) / (self.step * part)))
                    for whole, part in ((height, h), (width, w))
                )
                low_y, low_x = (grid.ravel() for grid in np.meshgrid(y, x, indexing="ij"))
                found.append(np.stack([low_x, low_y, low_x + w, low_y + h], axis=1))
        boxes = np.concatenate(found).astype(np.float32)
        if len(boxes) > self.limit:
            boxes = boxes[np.linspace(0, len(boxes) - 1, self.limit).astype(int)]
        return boxes


def read_proposals(path: str | PathLike[str]) -> dict[int | str, np.ndarray]:
    """The regions of a file, by image: (R, 4) float32 x0 y0 x1 y1, best first.

    Args:
        path: COCO results (a JSON list of image_id, bbox as x y width height, and score), as
            `minimask evaluate --results` and `minimask predict` write them, e.g. of an RPN; or an
            `.npz` file with an array (R, 4) x0 y0 x1 y1 for each image, named by its id.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or something in it is no box; the message says which.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    if path.suffix == ".npz":
        return _from_arrays(path)
    from minimask.data.json_files import read_json

    found: dict[int | str, list[tuple[float, list[float]]]] = {}
    results = read_json(path)
    if not isinstance(results, list):
        raise ValueError(f"{path}: expected COCO results, a list, got {type(results).__name__}")
    for i, result in enumerate(results):
        try:
            x, y, w, h = (float(v) for v in result["bbox"])
            entry = (float(result.get("score", 1.0)), [x, y, x + w, y + h])
            image = result["image_id"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError(f"{path}: [{i}] is no region: it needs image_id and bbox") from None
        if not np.isfinite([entry[0], *entry[1]]).all() or w <= 0 or h <= 0:
            raise ValueError(f"{path}: [{i}]: the box {result['bbox']} has no area")
        found.setdefault(image, []).append(entry)
    return {
        image: np.array([box for _, box in sorted(entries, key=lambda e: -e[0])], np.float32)
        for image, entries in found.items()
    }


def regions_of(
    proposals: Mapping[int | str, np.ndarray], images: Sequence[tuple[int | str, str]]
) -> list[np.ndarray]:
    """The regions of each image, (R, 4).

    Args:
        proposals: as `read_proposals` gives them.
        images: of each its id, and its name for messages.

    Raises:
        ValueError: an image that is not among them.
    """
    for number, name in images:
        if number not in proposals:
            some = ", ".join(map(str, list(proposals)[:4]))
            raise ValueError(
                f"{name}: the proposals have no regions of image {number!r}; they have {some} ..."
            )
    return [proposals[number] for number, _ in images]


def _from_arrays(path: Path) -> dict[int | str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"{path}: no file of arrays ({error})") from None
    for name, boxes in arrays.items():
        check_proposals(boxes, f"{path}: {name}")
    return {int(n) if n.isdecimal() else n: b.astype(np.float32) for n, b in arrays.items()}


def check_proposals(boxes: np.ndarray, name: str) -> None:
    """Raise a ValueError that begins with `name` unless these are boxes with an area: (R, 4)."""
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected boxes (R, 4), got {boxes.shape} of {boxes.dtype}")
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(f"{name}: row {i} is no box with an area: {boxes[i].tolist()}")
