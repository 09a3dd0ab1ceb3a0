"""The two passes of a model that a trace shows: a prediction, and one step of training.

Nothing is computed a second time: the model says what it computes (`minimask.autograd.hooks`).

Letters: G ground-truth objects, B anchors of all levels, R RoIs, M side of a mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.autograd import topological_order
from minimask.autograd.hooks import hooked, stage
from minimask.data.sample import Target
from minimask.models.box_head import Candidates, SampledRoIs
from minimask.models.detections import Detections
from minimask.models.detector import arrays_of
from minimask.models.keypoint_head import KeypointTargets
from minimask.models.proposals import ProposalFilter
from minimask.models.transform import Batch
from minimask.tools.textbook.trace.stopwatch import LossCall, Stopwatch


@dataclass(frozen=True)
class Prediction:
    """A prediction with everything computed on the way.

    Attributes:
        arrays: every intermediate by name, as `model.stages` names them.
        seconds: from the step before to this one, by the same names.
        batch: the image as the network takes it.
        filter: how the proposals were filtered.
        candidates: what the detections were chosen from; None: there were no proposals.
        detections: what `model.predict` returns.
    """

    arrays: dict[str, np.ndarray]
    seconds: dict[str, float]
    batch: Batch
    filter: ProposalFilter
    candidates: Candidates | None
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
    """Predict once to compile what is to be timed, then once more with a record of it.

    Args:
        model: a Faster or Mask R-CNN.
        image: (H, W, 3) uint8.
    """
    model.predict([image])
    with hooked(Stopwatch(model)) as recorded:
        (detections,) = model.predict([image])
    return Prediction(
        dict(arrays_of(recorded)),
        recorded.steps,
        recorded.one("transform/batch"),
        recorded.one("rpn/filter"),
        recorded.one("det/candidates"),
        detections,
    )


@dataclass(frozen=True)
class TrainingStep:
    """One training step on one image: what it compared, and what it learned.

    Attributes:
        recorded: what the model said on the way, and the operations at the end of the losses.
        losses: the values of `model.losses`.
        gradients: length of the gradient of each parameter after the backward pass, by name; of
            those that learn nothing, None.
        kept: bytes of the results that the backward pass began with.
    """

    recorded: Stopwatch
    losses: dict[str, float]
    gradients: dict[str, float | None]
    kept: int

    @property
    def loss_calls(self) -> list[LossCall]:
        """The operations at the end of the losses."""
        return self.recorded.losses

    @property
    def seconds(self) -> dict[str, float]:
        """By stage."""
        return self.recorded.seconds

    @property
    def batch(self) -> Batch:
        """The image as the network took it."""
        return self.recorded.one("transform/batch")

    @property
    def target(self) -> Target:
        """The ground truth in the network's input."""
        return self.recorded.one("transform/targets")

    @property
    def anchors(self) -> np.ndarray:
        """(B, 4) of all levels."""
        return self.recorded.one("rpn/anchors")

    @property
    def matches(self) -> np.ndarray:
        """(B,) the object of each anchor, -1 background, -2 ignored."""
        return self.recorded.one("rpn/matches")

    @property
    def sampled_anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """The positive and the negative anchors that the step learned from."""
        return self.recorded.one("rpn/sampled")

    @property
    def anchor_targets(self) -> np.ndarray:
        """(positives, 4) the regression targets of the positive anchors."""
        return self.recorded.one("rpn/target_deltas")

    @property
    def proposals(self) -> np.ndarray:
        """(R, 4) the proposals of the step."""
        return self.recorded.one("rpn/proposals")

    @property
    def roi_candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """(R, 4) the boxes RoIs were sampled from, and (R,) the object of each."""
        return self.recorded.one("roi/candidates")

    @property
    def sampled_rois(self) -> SampledRoIs:
        """The sampled RoIs with their targets."""
        return self.recorded.one("roi/sampled")

    @property
    def mask_rois(self) -> SampledRoIs:
        """The same; positive are those whose mask was learned."""
        return self.recorded.one("mask/sampled")

    @property
    def keypoint_targets(self) -> KeypointTargets:
        """The RoIs whose heat maps were learned, and where their keypoints are."""
        return self.recorded.one("keypoint/sampled")

    @property
    def mask_targets(self) -> np.ndarray | None:
        """(R, M, M) of the positive `mask_rois`; None: no mask was learned."""
        return self.recorded.one("mask/targets")

    @property
    def mask_logits(self) -> np.ndarray:
        """(R, mask channels, M, M) of the positive `mask_rois`."""
        return np.asarray(self.recorded.one("mask/logits").data)


def record_training_step(model: Any, image: np.ndarray, target: Target, seed: int) -> TrainingStep:
    """One training step without its update; weights, statistics and mode stay as they were.

    Args:
        model: a Faster or Mask R-CNN.
        image: (H, W, 3) uint8.
        target: its objects.
        seed: of the draws of anchors and RoIs.
    """
    parameters = list(model.named_parameters())
    before = [p.grad for _, p in parameters]
    buffers = [(buffer, buffer.copy()) for _, buffer in model.named_buffers()]
    was_training = model.training
    model.train()
    try:
        for _, parameter in parameters:
            parameter.grad = None
        with hooked(Stopwatch(model)) as recorded:
            losses = model.losses([image], [target], rng=np.random.default_rng(seed))
            values = {name: float(loss.data) for name, loss in losses.items()}
            total = sum(losses.values())
            kept = sum(t.data.nbytes for t in topological_order(total))
            with stage("backward"):
                total.backward()
        gradients = {name: _length(p.grad) for name, p in parameters}
    finally:
        model.train(was_training)
        for (_, parameter), gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
        for buffer, content in buffers:
            buffer[...] = content
    return TrainingStep(recorded, values, gradients, kept)


def _length(gradient: Any) -> float | None:
    """The Euclidean norm of a gradient; None where there is none."""
    if gradient is None:
        return None
    flat = np.asarray(gradient, np.float64).ravel()
    return math.sqrt(float(flat @ flat))
