"""One training step's targets and losses, to be compared with those of another convention.

Letters: B anchors, R regions, M side of a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.autograd.hooks import Recorder, hooked
from minimask.data.sample import Target
from minimask.system.device import download


@dataclass(frozen=True)
class Step:
    """What a training step on one image compared the network with.

    Attributes:
        losses: by name.
        shown: (H, W, 3) uint8, the network's input with its normalization taken back.
        anchors: (positives, 4) the anchors that stand for objects.
        regions: (positives, 4) the sampled regions that hold objects.
        masks: (positives, M, M) what their masks are to become; None: no masks are learned.
        gt_boxes: of the objects, in the network's input.
        crowds: boxes of the groups in it.
    """

    losses: dict[str, float]
    shown: np.ndarray
    anchors: np.ndarray
    regions: np.ndarray
    masks: np.ndarray | None
    gt_boxes: np.ndarray
    crowds: np.ndarray

    def total(self) -> float:
        """The sum that training minimizes."""
        return sum(self.losses.values())


def training_step(model: Any, image: np.ndarray, target: Target, seed: int = 0) -> Step | None:
    """Targets and losses of one step, without learning from it; None: the model has no such step.

    Args:
        model: in eval mode, so that norms are as in prediction.
        image: (H, W, 3) uint8.
        target: its objects.
        seed: of the draws of anchors and regions, which are then the same for two conventions as
            far as their targets are.
    """
    try:
        model.check_targets([image], [target])
    except ValueError:
        return None
    with no_grad(), hooked(Recorder()) as recorder:
        losses = model.losses([image], [target], rng=np.random.default_rng(seed))
    known = {name: value for name, value in recorder.entries}
    from minimask.tools.textbook.trace.context import picture_of

    empty = np.zeros((0, 4), np.float32)
    matches = known.get("rpn/matches", known.get("head/matches"))
    anchors = known.get("rpn/anchors", known.get("head/anchors"))
    sampled = known.get("mask/sampled", known.get("roi/sampled"))
    masks = known.get("mask/targets")
    truth = known["transform/targets"][0]
    return Step(
        losses={name: float(loss.item()) for name, loss in losses.items()},
        shown=picture_of(known["transform/batch"], model.convention),
        anchors=empty if matches is None else np.asarray(anchors)[matches[0] >= 0],
        regions=empty if sampled is None else sampled[0].boxes[sampled[0].positive],
        masks=None if masks is None else _array(masks),
        gt_boxes=np.asarray(truth.boxes),
        crowds=empty if truth.crowds is None else np.asarray(truth.crowds),
    )


def _array(value: Any) -> np.ndarray:
    return np.asarray(download(value.data if isinstance(value, Tensor) else value, "targets"))


@dataclass(frozen=True)
class TrainingChange:
    """What differs between the steps of two conventions.

    Attributes:
        losses: by name before and after, of those that differ.
        anchors: positive anchors in the first only, in the second only, in both.
        regions: likewise.
        cells: share of the cells of mask targets that differ; None: not comparable, or no masks.
        pull: before and after, how strongly the box loss of the second stage changes the box layer
            of the first; None: not looked at.
    """

    losses: dict[str, tuple[float, float]]
    anchors: tuple[int, int, int]
    regions: tuple[int, int, int]
    cells: float | None
    pull: tuple[float, float] | None = None

    @property
    def nothing(self) -> bool:
        """Whether training would be the same."""
        moved = any(self.anchors[:2]) or any(self.regions[:2])
        pulled = self.pull is not None and self.pull[0] != self.pull[1]
        return not (self.losses or moved or self.cells or pulled)

    def in_words(self) -> str:
        """Such as "loss mask 0.31 -> 0.29; 12 anchors positive of which 3 are new"."""
        losses = self.losses.items()
        parts = [f"loss {name.removeprefix('loss_')} {two(a, b)}" for name, (a, b) in losses]
        for what, (only_before, only_after, both) in (
            ("anchors", self.anchors),
            ("regions", self.regions),
        ):
            if only_before or only_after:
                parts.append(
                    f"{both + only_before} {what} with an object before, {both + only_after} "
                    f"after, {both} of them the same"
                )
        if self.cells:
            parts.append(f"{self.cells:.1%} of the mask targets' cells differ")
        if self.pull is not None:
            a, b = self.pull
            parts.append(f"pull of the second stage's box loss on the first stage {two(a, b)}")
        return "; ".join(parts) or "no target and no loss changes"

    @property
    def moves(self) -> str:
        """Which boxes to look at: "anchors" or "regions", those that change or lose otherwise."""
        if any(self.anchors[:2]):
            return "anchors"
        of_rpn = all("rpn" in name or name == "loss_objectness" for name in self.losses)
        return "anchors" if of_rpn and not any(self.regions[:2]) else "regions"


def pull_on_first_stage(model: Any, image: np.ndarray, target: Target, seed: int = 0) -> float:
    """Length of the gradient of the second stage's box loss in the first stage's box layer."""
    losses = model.losses([image], [target], rng=np.random.default_rng(seed))
    model.zero_grad()
    losses["loss_box_reg"].backward()
    grad = model.rpn.head.bbox_pred.weight.grad
    model.zero_grad()
    return 0.0 if grad is None else float(np.linalg.norm(download(grad, "gradient")))


def two(a: float, b: float) -> str:
    """Two numbers with as many digits as show that they differ."""
    return " → ".join(pair_said(a, b))


def pair_said(a: float, b: float) -> tuple[str, str]:
    """The same as two texts."""
    for digits in range(4, 10):
        texts = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts


def compare_steps(before: Step, after: Step) -> TrainingChange:
    """What differs between two steps on the same image."""
    losses = {
        name: (value, after.losses.get(name, float("nan")))
        for name, value in before.losses.items()
        if value != after.losses.get(name)
    }
    cells = None
    a, b = before.masks, after.masks
    if (
        a is not None
        and b is not None
        and a.shape == b.shape
        and _same(before.regions, after.regions)
    ):
        cells = float((np.abs(a - b) > 0).mean()) if a.size else 0.0
    return TrainingChange(
        losses,
        overlap_of(before.anchors, after.anchors),
        overlap_of(before.regions, after.regions),
        cells,
    )


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))


def overlap_of(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int]:
    """How many boxes are in the first list only, in the second only, in both."""
    one, other = ({tuple(np.round(box, 2).tolist()) for box in boxes} for boxes in (a, b))
    return len(one - other), len(other - one), len(one & other)
