"""Two networks side by side: their arrays, then every stage of a prediction on one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.autograd.hooks import Recorder, hooked
from minimask.kernels import box_iou
from minimask.models.detections import Detections
from minimask.models.detector import arrays_of
from minimask.tools.textbook.compare.matching import Change, compare_detections

COUNTER = "num_batches_tracked"
CLOSE = 0.99  # IoU of boxes that are called the same
BOXES = ("rpn/proposals", "det/boxes", "out/boxes")


@dataclass(frozen=True)
class ArrayDifference:
    """An array of both networks.

    Attributes:
        name: as minimask's models call it.
        shapes: in the first and the second; None: it has none of that name.
        largest: absolute difference; None: not comparable.
        relative: the same in standard deviations of the first's.
        correlation: of the two; None: not comparable, or one is constant.
    """

    name: str
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    largest: float | None = None
    relative: float | None = None
    correlation: float | None = None

    @property
    def equal(self) -> bool:
        """Whether both have it, the same to the last bit."""
        return self.largest == 0


@dataclass(frozen=True)
class StageDifference:
    """An intermediate result of both predictions.

    Attributes:
        name: as `model.stages` calls it.
        shapes: in the first and the second.
        relative: largest difference in standard deviations of the first; None: other shapes.
        near: of boxes: share of the first's that the second has too (IoU 0.99); None: no boxes.
    """

    name: str
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    relative: float | None = None
    near: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Everything that was compared.

    Attributes:
        arrays: of both networks.
        stages: of the prediction; empty where there was no image.
        found: what both found; None: no image.
        change: of the detections.
        image: that both looked at.
        min_score: detections from this score on count.
    """

    arrays: tuple[ArrayDifference, ...]
    stages: tuple[StageDifference, ...] = ()
    found: tuple[Detections, Detections] | None = None
    change: Change | None = None
    image: np.ndarray | None = None
    min_score: float = 0.0

    @property
    def equal(self) -> int:
        """Arrays that are the same to the last bit."""
        return sum(difference.equal for difference in self.arrays)


def compare_arrays(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> list[ArrayDifference]:
    """Every array by name, in the order of the first."""
    names = [n for n in dict.fromkeys([*a, *b]) if not n.endswith(COUNTER)]
    return [_array(name, a.get(name), b.get(name)) for name in names]


def _array(name: str, a: np.ndarray | None, b: np.ndarray | None) -> ArrayDifference:
    shapes = (None if a is None else tuple(a.shape), None if b is None else tuple(b.shape))
    if a is None or b is None or a.shape != b.shape or not a.size:
        return ArrayDifference(name, shapes)
    one, other = (x.astype(np.float64).ravel() for x in (a, b))
    largest = float(np.abs(one - other).max())
    spread = float(one.std())
    relative = largest / spread if spread > 0 else (0.0 if largest == 0 else None)
    correlation = None
    if spread > 0 and other.std() > 0:
        correlation = float(np.corrcoef(one, other)[0, 1])
    return ArrayDifference(name, shapes, largest, relative, correlation)


def compare_networks(
    a: Any, b: Any, image: np.ndarray | None = None, min_score: float | None = None
) -> Comparison:
    """Compare two models array by array and, with an image, stage by stage.

    Each network computes everything itself from the image on, so differences grow on the way.

    Args:
        a: what `minimask.models` builds, with its weights.
        b: likewise, of any other system or run.
        image: (H, W, 3) uint8.
        min_score: detections from this score on count; None: 0.5, or less where nothing is as sure.
    """
    states = [{n: np.asarray(v) for n, v in model.state_dict().items()} for model in (a, b)]
    arrays = tuple(compare_arrays(*states))
    if image is None:
        return Comparison(arrays)
    runs = [_run(model, image) for model in (a, b)]
    from minimask.tools.textbook.compare.flip import _min_score

    least = _min_score(runs[0][1]) if min_score is None else min_score
    change = compare_detections(runs[0][1], runs[1][1], least)
    stages = tuple(_stages(runs[0][0], runs[1][0]))
    return Comparison(arrays, stages, (runs[0][1], runs[1][1]), change, image, least)


def _run(model: Any, image: np.ndarray) -> tuple[dict[str, np.ndarray], Detections]:
    from minimask.tools.profile.work import find_something

    (found,) = model.predict([image])
    if not len(found):
        find_something(model, image)
    with hooked(Recorder()) as recorder:
        (found,) = model.predict([image])
    return dict(arrays_of(recorder)), found


def _stages(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> list[StageDifference]:
    return [_stage(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])]


def _stage(name: str, a: np.ndarray | None, b: np.ndarray | None) -> StageDifference:
    shapes = (None if a is None else tuple(a.shape), None if b is None else tuple(b.shape))
    if a is None or b is None:
        return StageDifference(name, shapes)
    relative = None
    if a.shape == b.shape and a.size:
        spread = float(a.std(dtype=np.float64))
        largest = float(np.abs(a.astype(np.float64) - b).max())
        relative = largest / spread if spread > 0 else (0.0 if largest == 0 else float("inf"))
    near = None
    if name in BOXES and len(a):
        near = 0.0
        if len(b):
            near = float((box_iou(a, b).max(axis=1) >= CLOSE).mean())
    return StageDifference(name, shapes, relative, near)
