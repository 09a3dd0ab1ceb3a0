"""The same weights under another choice: one field of the convention at a time.

Every network is built again with the one field changed, gets the same weights, and predicts and
learns from the same image.  What is compared is what a person would see: boxes, scores, masks; and
where these stay the same, what training compares the network with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minimask.autograd.hooks import Recorder, hooked
from minimask.data.sample import Target
from minimask.models.detections import Detections
from minimask.models.detector import arrays_of
from minimask.tools.profile.work import find_something
from minimask.tools.textbook.compare.fields import Switch
from minimask.tools.textbook.compare.matching import Change, compare_detections
from minimask.tools.textbook.compare.training import (
    Step,
    TrainingChange,
    compare_steps,
    pull_on_first_stage,
    training_step,
)
from minimask.tools.textbook.compare.variant import variant

SURE = 0.5  # detections of trained networks that are shown
SHOWN = 8  # of others
OBJECTS = 12  # detections that stand for the truth where it is not known


@dataclass(frozen=True)
class Base:
    """The network as its file wants it, on one image.

    Attributes:
        model: with its weights.
        image: (H, W, 3) uint8.
        target: the objects that training is shown with.
        truth: where these come from, in words.
        detections: what it finds.
        min_score: detections from this score on count.
        stages: every intermediate of the prediction: name and array.
        step: a training step; None: there is none.
    """

    model: Any
    image: np.ndarray
    target: Target
    truth: str
    detections: Detections
    min_score: float
    stages: list[tuple[str, np.ndarray]]
    step: Step | None


@dataclass(frozen=True)
class Flipped:
    """What one other choice changes.

    Attributes:
        switch: the field and its values.
        detections: what the network then finds; None: it could not run.
        change: of the detections.
        begins: the first stage of the prediction that differs; None: none does.
        step: the training step with the other choice.
        training: what differs in it.
        problem: why the network could not run so.
        why: where it was tried elsewhere: why nothing is to be seen on the person's own.
        base: what it is compared with.
        instead: where it was tried, if not on the person's own network and image.
    """

    switch: Switch
    base: Base
    detections: Detections | None = None
    change: Change | None = None
    begins: str | None = None
    step: Step | None = None
    training: TrainingChange | None = None
    problem: str | None = None
    why: str | None = None
    instead: str | None = None

    @property
    def kind(self) -> str:
        """Where it matters: "prediction", "training", "stages", "nothing", or "problem"."""
        if self.problem is not None:
            return "problem"
        if self.change is not None and not self.change.nothing:
            return "prediction"
        if self.training is not None and not self.training.nothing:
            return "training"
        return "stages" if self.begins is not None else "nothing"


def open_base(
    model: Any,
    image: np.ndarray,
    target: Target | None = None,
    min_score: float | None = None,
) -> Base:
    """Run a network as its file wants it.

    Args:
        model: what `minimask.models` builds, with its weights; its score threshold is lowered if
            it finds nothing.
        image: (H, W, 3) uint8.
        target: the objects in it; None: what the network finds is taken for them.
        min_score: detections from this score on count; None: 0.5, or less where nothing is as sure.
    """
    (found,) = model.predict([image])
    if not len(found):
        find_something(model, image)
    with hooked(Recorder()) as recorder:
        (found,) = model.predict([image])
    truth = "as annotated"
    if target is None:
        target, truth = _taken_for_truth(model, image, found)
    return Base(
        model=model,
        image=image,
        target=target,
        truth=truth,
        detections=found,
        min_score=_min_score(found) if min_score is None else min_score,
        stages=list(arrays_of(recorder)),
        step=training_step(model, image, target),
    )


def _min_score(found: Detections) -> float:
    if not len(found) or (found.scores >= SURE).any():
        return SURE
    return float(found.scores[:SHOWN][-1])


def _taken_for_truth(model: Any, image: np.ndarray, found: Detections) -> tuple[Target, str]:
    """Objects to train on where nothing is annotated."""
    kept = found.keep(found.scores >= _min_score(found)).keep(slice(OBJECTS))
    sides = kept.boxes[:, 2:] - kept.boxes[:, :2]
    kept = kept.keep((sides > 1).all(axis=1))
    if len(kept):
        masks = None if kept.mask_probs is None else kept.masks
        keypoints = None
        if kept.keypoints is not None:
            keypoints = kept.keypoints.copy()
            keypoints[..., 2] = 2  # visible
        target = Target(kept.boxes.astype(np.float32), kept.labels, masks, keypoints)
        if masks is None or masks.any(axis=(1, 2)).all():
            return target, "what the network found here, taken for the truth"
    from minimask.tools.profile.work import fit_keypoints, with_objects

    (sample,) = fit_keypoints([with_objects(image)], model)
    target = Target(sample.boxes, sample.labels, sample.masks, sample.keypoints)
    return target, "four ellipses, taken for objects"


def flip(base: Base, switch: Switch) -> Flipped:
    """Build the network with one choice changed, give it the weights, run it."""
    try:
        model = variant(base.model, {switch.field: switch.after})
        with hooked(Recorder()) as recorder:
            (found,) = model.predict([base.image])
    except (ValueError, ArithmeticError, IndexError) as error:
        return Flipped(switch, base, problem=str(error) or type(error).__name__)
    change = compare_detections(base.detections, found, base.min_score)
    step = training_step(model, base.image, base.target) if base.step is not None else None
    training = compare_steps(base.step, step) if base.step is not None and step else None
    if switch.field == "moving_targets" and training is not None:  # the losses stay what they are
        pulls = [pull_on_first_stage(m, base.image, base.target) for m in (base.model, model)]
        training = replace(training, pull=(pulls[0], pulls[1]))
    begins = _first_difference(base.stages, recorder)
    return Flipped(switch, base, found, change, begins, step, training)


def _first_difference(stages: list[tuple[str, np.ndarray]], recorder: Recorder) -> str | None:
    """The name of the first intermediate that is not the same to the last bit."""
    others = list(arrays_of(recorder))
    for (name, array), (other_name, other) in zip(stages, others, strict=False):
        if name != other_name:
            return name
        if array.shape != other.shape or not np.array_equal(array, other, equal_nan=True):
            return name
    return None if len(stages) == len(others) else "out/boxes"
