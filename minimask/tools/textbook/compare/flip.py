"""The same weights under another choice: one field of the convention at a time.

Every network is built again with the one field changed, gets the same weights, and predicts and
learns from the same image.  What is compared is what a person would see: boxes, scores, masks; and
where these stay the same, what training compares the network with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import models
from minimask.autograd.hooks import Recorder, hooked
from minimask.data.sample import Target
from minimask.models.detections import Detections
from minimask.models.detector import arrays_of
from minimask.tools.profile.work import find_something
from minimask.tools.textbook.compare import scenes
from minimask.tools.textbook.compare.fields import Switch, field_names, switches
from minimask.tools.textbook.compare.matching import Change, compare_detections
from minimask.tools.textbook.compare.training import (
    Step,
    TrainingChange,
    compare_steps,
    training_step,
)

SURE = 0.5  # detections of trained networks that are shown
SHOWN = 8  # of others
OBJECTS = 12  # detections that stand for the truth where it is not known
SAME = "in this image both choices come to the same"
OUTPUTS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.")  # their rows count classes


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
        why: why nothing changes, where that is known.
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
        """Where it matters: "prediction", "training", "nothing", or "problem"."""
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


def flip_fields(
    base: Base,
    which: str = "all",
    progress: Callable[[str], None] = lambda field: None,
) -> Iterator[Flipped]:
    """Switch one field after the other to what another system chooses, and run again.

    Args:
        base: from `open_base`.
        which: the name of a field, or "all".
        progress: called with the field's name before each.

    Raises:
        ValueError: no such field.
    """
    for switch in switches(base.model, which):
        progress(switch.field)
        yield _where_it_matters(base, switch)


def _where_it_matters(base: Base, switch: Switch) -> Flipped:
    """The switch on the given image, or where that shows nothing, where it shows something."""
    result = flip(base, switch)
    if result.kind != "nothing":
        return result
    why = why_nothing(base.model, switch)
    if why == SAME:
        image, target = scenes.difficult(base.model)
        other = open_base(base.model, image, target, base.min_score)
        elsewhere = flip(other, switch)
        if elsewhere.kind != "nothing":
            words = (
                "the same network on a difficult scene: objects overlap, are thin, tiny, cut off"
            )
            return dataclasses.replace(elsewhere, instead=words, why=why)
    convention = dataclasses.replace(base.model.convention, name=base.model.convention.name)
    model, words = scenes.stand_in(switch.field, convention)
    if switch.field == "level_rule":
        scene, words = scenes.at_limits(model), f"{words}, sides at the limit of two levels,"
    else:
        scene = scenes.difficult(model)
    other = open_base(model, *scene)
    elsewhere = flip(other, switch)
    if elsewhere.kind in ("nothing", "problem"):
        return dataclasses.replace(result, why=why)
    return dataclasses.replace(elsewhere, instead=f"{words} with random weights", why=why)


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
    begins = _first_difference(base.stages, recorder)
    return Flipped(switch, base, found, change, begins, step, training)


def variant(model: Any, changes: Mapping[str, Any]) -> Any:
    """The same network with the same weights and other choices: fields or hyperparameters."""
    names = set(field_names())
    config = {name: value for name, value in model.config.items() if name not in names}
    own = {name: value for name, value in model.config.items() if name == "norm_eps"}
    own |= {name: value for name, value in changes.items() if name in names}
    config["convention"] = dataclasses.asdict(dataclasses.replace(model.convention, **own))
    thresholds = {"box_score_thresh": getattr(model.selection, "score_thresh", None)}
    if hasattr(model, "roi_heads"):  # lowered where nothing was found
        config |= {name: value for name, value in thresholds.items() if value is not None}
    config |= {name: value for name, value in changes.items() if name not in names}
    other = models.build(config)
    shapes = {name: array.shape for name, array in other.state_dict().items()}
    other.load_state_dict(
        {name: _fitted(name, array, shapes[name]) for name, array in model.state_dict().items()}
    )
    _copy_epsilons(model, other, own)
    for name in ("min_size", "max_size"):
        setattr(other, name, getattr(model, name))
    return other.eval()


def _fitted(name: str, array: Any, shape: Sequence[int]) -> Any:
    """Rows of the last layers where the classes are counted otherwise: in the file's order.

    That is what a reader does that does not know: one row too many is left out, a missing one is 0.
    """
    if tuple(array.shape) == tuple(shape) or not name.startswith(OUTPUTS):
        return array
    rows = np.zeros(shape, array.dtype)
    count = min(len(array), shape[0])
    rows[:count] = array[:count]
    return rows


def _copy_epsilons(model: Any, other: Any, changes: Mapping[str, Any]) -> None:
    """Norms whose epsilon belongs to the file, not to the convention."""
    from minimask.nn import FrozenBatchNorm2d

    if "norm_eps" in changes:
        return
    for one, same in zip(model.modules(), other.modules(), strict=True):
        if isinstance(one, FrozenBatchNorm2d):
            same.eps = one.eps


def _first_difference(stages: list[tuple[str, np.ndarray]], recorder: Recorder) -> str | None:
    """The name of the first intermediate that is not the same to the last bit."""
    others = list(arrays_of(recorder))
    for (name, array), (other_name, other) in zip(stages, others, strict=False):
        if name != other_name:
            return name
        if array.shape != other.shape or not np.array_equal(array, other, equal_nan=True):
            return name
    return None if len(stages) == len(others) else "out/boxes"


def why_nothing(model: Any, switch: Switch) -> str:
    """Why a field changes nothing in this network on this image, as far as that can be said."""
    field, config = switch.field, model.config
    heads = getattr(model, "roi_heads", None)
    keypoints = getattr(heads, "keypoint_head", None)
    masks = getattr(heads, "mask_head", None)
    pyramid = hasattr(model.backbone, "fpn")
    block = getattr(getattr(model.backbone, "body", None), "block", config.get("block"))
    cases = (
        (field.startswith("keypoint_") and keypoints is None, "it finds no keypoints"),
        (field.startswith("mask_") and masks is None, "it draws no masks"),
        (field == "paste" and masks is None, "it draws no masks"),
        (field == "stride_in_1x1" and block != "bottleneck", "its blocks have no 1x1 convolution"),
        (field == "single_map_divisor" and pyramid, "it has a pyramid"),
        (field == "dilate_first_block", "none of its stages is dilated"),
        (field == "anchor_order" and pyramid, "each of its levels has anchors of one size"),
        (field == "level_rule" and not pyramid, "it has no pyramid"),
    )
    for holds, reason in cases:
        if holds:
            return reason
    return SAME
