"""The two passes of a model that a trace shows: a prediction, and one step of training.

Letters: G true objects, B anchors of all levels, R regions, K classes with background.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.autograd import hooks
from minimask.autograd.backward import topological_order
from minimask.models import box_head, mask_head, rpn
from minimask.models.box_head import Regions
from minimask.models.detections import Detections, Target
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.transform import Batch, resize_target
from minimask.tools.textbook.trace.listening import Call, LossCall, listening, timing

DOORS: tuple[tuple[Any, str], ...] = (
    (FasterRCNN, "prepare"),
    (rpn, "assign_anchors"),
    (rpn, "rpn_loss"),
    (rpn.RPN, "propose"),
    (box_head, "with_true_boxes"),
    (box_head, "assign_regions"),
    (box_head, "sample_regions"),
    (box_head, "make_regions"),
    (box_head, "box_loss"),
    (mask_head, "mask_loss"),
    (mask_head, "mask_targets"),
)


@dataclass(frozen=True)
class Prediction:
    """A prediction with everything computed on the way.

    Attributes:
        arrays: every intermediate by name, as `model.stages` names them.
        seconds: from the step before to this one, by the same names.
        batch: the image as the network takes it.
        detections: what `model.predict` returns.
        total: seconds of all steps.
    """

    arrays: dict[str, np.ndarray]
    seconds: dict[str, float]
    batch: Batch
    detections: Detections

    @property
    def total(self) -> float:
        """Seconds of the whole prediction."""
        return sum(self.seconds.values())

    def levels(self, prefix: str) -> list[np.ndarray]:
        """The arrays of all levels of a kind, e.g. "rpn/objectness/", finest first."""
        return [array for name, array in self.arrays.items() if name.startswith(prefix)]

    @property
    def pyramid(self) -> list[np.ndarray]:
        """The feature maps both stages look at: several levels, or one without a pyramid."""
        return self.levels("fpn/") or self.levels("neck")

    def spent(self, prefix: str) -> float:
        """Seconds of the steps whose names begin so."""
        return sum(value for name, value in self.seconds.items() if name.startswith(prefix))


def record_prediction(model: Any, image: np.ndarray) -> Prediction:
    """Predict once, then once more step by step.

    Args:
        model: a Faster or Mask R-CNN.
        image: (H, W, 3) uint8.
    """
    (detections,) = model.predict([image])  # also compiles what is to be timed below
    arrays, seconds = {}, {}
    since = time.perf_counter()
    for name, array in model.stages(image):
        seconds[name] = time.perf_counter() - since
        arrays[name] = array
        since = time.perf_counter()
    return Prediction(arrays, seconds, model.prepare([image]), detections)


@dataclass(frozen=True)
class Lesson:
    """One training step on one image: what it compared, and what it learned.

    Attributes:
        calls: of the model's functions, see `DOORS`.
        loss_calls: the operations at the end of the losses.
        losses: the values of `model.losses`.
        gradients: length of the gradient of each parameter after the backward pass, by name; of
            those that learn nothing, None.
        seconds: by stage.
        target: the objects in the network's input.
        batch: the image as the network took it.
        kept: bytes of the results that the backward pass began with.
    """

    calls: dict[str, list[Call]]
    loss_calls: list[LossCall]
    losses: dict[str, float]
    gradients: dict[str, float | None]
    seconds: dict[str, float]
    target: Target
    batch: Batch
    kept: int

    def call_of(self, name: str) -> Call:
        """The first call of a function that every step makes."""
        return self.calls[name][0]

    @property
    def matches(self) -> np.ndarray:
        """(B,) the object of each anchor, -1 background, -2 ignored."""
        return np.asarray(self.call_of("assign_anchors").result)

    @property
    def sampled_anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """The positive and the negative anchors that the step learned from."""
        return self.call_of("rpn_loss").arguments["samples"][0]

    @property
    def proposals(self) -> np.ndarray:
        """(R, 4) the proposals of the step."""
        return self.call_of("propose").result[0][0]

    @property
    def regions(self) -> Regions:
        """The sampled regions with their targets."""
        return self.call_of("make_regions").result


def record_lesson(model: Any, image: np.ndarray, target: Target, seed: int) -> Lesson:
    """One training step without its update; weights, statistics and mode stay as they were.

    Args:
        model: a Faster or Mask R-CNN.
        image: (H, W, 3) uint8.
        target: its objects.
        seed: of the draws of anchors and regions.
    """
    parameters = list(model.named_parameters())
    before = [p.grad for _, p in parameters]
    buffers = [(buffer, buffer.copy()) for _, buffer in model.named_buffers()]
    was_training = model.training
    model.train()
    try:
        for _, parameter in parameters:
            parameter.grad = None
        with listening(DOORS) as calls, timing(model) as stopwatch:
            losses = model.losses([image], [target], rng=np.random.default_rng(seed))
            values = {name: float(loss.data) for name, loss in losses.items()}
            total = sum(losses.values())
            kept = sum(t.data.nbytes for t in topological_order(total))
            with hooks.stage("backward"):
                total.backward()
        gradients = {name: _length(p.grad) for name, p in parameters}
    finally:
        model.train(was_training)
        for (_, parameter), gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
        for buffer, content in buffers:
            buffer[...] = content
    batch = calls["prepare"][0].result
    moved = resize_target(target, batch.frames[0], batch.shape)
    seconds = dict(stopwatch.seconds)
    return Lesson(calls, stopwatch.losses, values, gradients, seconds, moved, batch, kept)


def _length(gradient: Any) -> float | None:
    """The Euclidean norm of a gradient; None where there is none."""
    if gradient is None:
        return None
    flat = np.asarray(gradient, np.float64).ravel()
    return math.sqrt(float(flat @ flat))
