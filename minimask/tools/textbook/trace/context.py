"""What the chapters of a trace draw from: the model, the image, and the two recorded passes.

Letters: B anchors of all levels, G ground-truth objects, H W height and width of the network's
input.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.data.sample import Target
from minimask.models.box_head import background_class
from minimask.models.roi_pooling import pyramid_levels
from minimask.models.transform import Batch, resize_target
from minimask.tools.textbook.trace.decisions import Outcome, decide
from minimask.tools.textbook.trace.funnel import Cut, funnel
from minimask.tools.textbook.trace.record import Prediction, TrainingStep


def level_names(letter: str, strides: Sequence[float]) -> list[str]:
    """Of maps of these strides: P2 for 4, P3 for 8; P5b for another one of the same stride."""
    names: list[str] = []
    for stride in strides:
        name = f"{letter}{round(np.log2(stride))}"
        while name in names:
            name += "b"
        names.append(name)
    return names


@dataclass(frozen=True)
class TraceContext:
    """Everything a chapter may need; what several need is computed once.

    Attributes:
        model: the traced model.
        image: (H, W, 3) uint8, as given.
        prediction: the recorded prediction.
        target: the ground truth of the image; None: unknown.
        training: the recorded training step; None: without ground truth there is none.
    """

    model: Any
    image: np.ndarray
    prediction: Prediction
    target: Target | None = None
    training: TrainingStep | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The prediction's intermediates by name."""
        return self.prediction.arrays

    def pick(self, *prefixes: str) -> dict[str, np.ndarray]:
        """The intermediates whose names begin so."""
        return {name: a for name, a in self.arrays.items() if name.startswith(prefixes)}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, without background."""
        return self.model.classes

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The names of the network's outputs, with background where the network has it."""
        names = list(self.classes)
        names.insert(
            background_class(len(names) + 1, self.model.roi_heads.background), "background"
        )
        return names

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """(H, W, 3) uint8: the network's input with its normalization taken back."""
        return picture_of(self.prediction.batch, self.model.convention)

    @functools.cached_property
    def gt(self) -> Target | None:
        """The ground truth in the frame of a prediction's input."""
        if self.target is None:
            return None
        batch = self.prediction.batch
        how = self.model.convention
        return resize_target(self.target, batch.transforms[0], batch.shape, how)

    @functools.cached_property
    def strides(self) -> list[int]:
        """Pixels of the input for a cell of each level of the pyramid."""
        height = self.prediction.batch.shape[0]
        return [2 ** round(np.log2(height / level.shape[2])) for level in self.prediction.pyramid]

    @functools.cached_property
    def level_names(self) -> list[str]:
        """P2, P3, ... by the levels' strides, or C4 or C5 without a pyramid."""
        return level_names("P" if len(self.strides) > 1 else "C", self.strides)

    @functools.cached_property
    def pooled_names(self) -> list[str]:
        """The levels that regions are cut from."""
        return self.level_names[: self.model.roi_heads.pooler.levels]

    def level_of(self, boxes: np.ndarray) -> np.ndarray:
        """The level (0 the finest) that each of the boxes (R, 4) is cut from."""
        pooled = self.strides[: len(self.pooled_names)]
        lowest, last = round(np.log2(pooled[0])), round(np.log2(pooled[-1]))
        highest = min(last, lowest + len(pooled) - 1)
        return (
            pyramid_levels(boxes, self.model.roi_heads.pooler.level_rule, lowest, highest) - lowest
        )

    @functools.cached_property
    def proposal_filter(self) -> list[Cut]:
        """From all anchors to the proposals."""
        return funnel(self.prediction)

    @functools.cached_property
    def outcome(self) -> Outcome | None:
        """What became of the proposals; None: there were none."""
        return decide(self.model.roi_heads, self.prediction)

    @functools.cached_property
    def roi(self) -> int:
        """The proposal shown in detail: that of the best detection, else the best-scored one."""
        outcome = self.outcome
        if outcome is None or len(outcome.kept) == 0:
            return 0
        return int(outcome.rois[outcome.kept[0]])

    def name(self, label: int) -> str:
        """A class, counted without background."""
        return self.classes[label]


def picture_of(batch: Batch, convention: Any) -> np.ndarray:
    """The network's input as an image: its normalization and channel order taken back."""
    pixels = np.asarray(batch.images[0]).transpose(1, 2, 0)
    pixels = pixels * np.asarray(convention.pixel_std) + np.asarray(convention.pixel_mean)
    if convention.channels == "bgr":
        pixels = pixels[:, :, ::-1]
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def most(items: np.ndarray, limit: int, seed: int = 0) -> np.ndarray:
    """All of the items, or `limit` of them drawn by chance, in their order."""
    if len(items) <= limit:
        return items
    index = np.random.default_rng(seed).choice(len(items), limit, replace=False)
    return items[np.sort(index)]


def milliseconds(seconds: float) -> str:
    """A time, readable."""
    if seconds < 1e-4:
        return "below 0.1 ms"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def megabytes(size: int) -> str:
    """A size of memory, readable."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
