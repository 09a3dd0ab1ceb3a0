"""The fields of a convention for people: what each is about, and which system chose what."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.conventions import CHOICES, CONVENTIONS, HYPERPARAMETERS, Convention
from minimask.conventions.words import FIELD_WORDS
from minimask.models.architecture import Architecture
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN

# The first field of each part of the network, as they are declared; what follows belongs to it.
PARTS = {
    "channels": "The image",
    "stride_in_1x1": "Backbone",
    "box_corners": "Boxes",
    "round_anchors": "Anchors and region proposal network",
    "level_rule": "Features of regions",
    "background": "Second stage",
    "mask_target": "Masks",
    "keypoint_loss_divisor": "Keypoints",
}
# Fields in which all named conventions agree: what else could be.
AGREED = {"anchor_offset": 0.5, "box_weights": (1.0, 1.0, 1.0, 1.0)}
NUMBERS = "Counts, thresholds and other options"
# Options that decide how many weights there are: no other value can be tried with the same file.
OF_WEIGHTS = ("rpn_channels",)
# Values that differ on paper only.
EQUAL = {"level_rule": {"detectron2", "paper"}}


@dataclass(frozen=True)
class Switch:
    """One field, and another value for it.

    Attributes:
        field: of `Convention`, or one of its hyperparameters.
        before: the network's own value.
        after: the other one.
        systems: the conventions that choose the other one; none: no named one does.
        part: of the network that it belongs to.
    """

    field: str
    before: Any
    after: Any
    systems: tuple[str, ...]
    part: str

    @property
    def key(self) -> str:
        """For addresses in a page."""
        return f"{self.field}-{said(self.after)}".replace(" ", "").replace(",", "-")

    @property
    def of_hyperparameter(self) -> bool:
        """Whether it is an option of the factory, not a field of the convention."""
        return self.field not in field_names()

    def who(self) -> str:
        """The systems that choose the other value, in words."""
        return ", ".join(self.systems) or "no named convention"


def field_names() -> list[str]:
    """The choices of a convention, in the order of their declaration."""
    fields = [field.name for field in dataclasses.fields(Convention)]
    return [name for name in fields if name not in ("name", "hyperparameters", "sizes")]


def number_names() -> list[str]:
    """The options that a named convention sets otherwise, and that the same weights can have."""
    chosen = {name for c in CONVENTIONS.values() for name in numbers_of(c)} - set(OF_WEIGHTS)
    return [name for name in dict.fromkeys([*HYPERPARAMETERS, *sorted(chosen)]) if name in chosen]


def numbers_of(convention: Convention) -> dict[str, Any]:
    """The options of a factory that a convention sets."""
    return {**convention.hyperparameters, **getattr(convention, "sizes", {})}


def usual(name: str) -> Any:
    """The value of a hyperparameter where a convention says nothing."""
    if name in {field.name for field in dataclasses.fields(Architecture)}:
        return getattr(Architecture(), name)
    kind, prefix = (RPN, "rpn_") if name.startswith("rpn_") else (RoIHeads, "box_")
    parameters = inspect.signature(kind.__init__).parameters
    short = name.removeprefix(prefix)
    return parameters[short if short in parameters else name].default


def part_of(field: str) -> str:
    """The part of the network that a field belongs to."""
    part = NUMBERS
    for name in field_names():
        part = PARTS.get(name, part)
        if name == field:
            return part
    return NUMBERS


def choices(field: str) -> dict[str, Any]:
    """What each named convention chooses."""
    if field in field_names():
        return {name: getattr(c, field) for name, c in CONVENTIONS.items()}
    default = usual(field)
    return {name: numbers_of(c).get(field, default) for name, c in CONVENTIONS.items()}


def value_of(model: Any, field: str) -> Any:
    """What a model does."""
    if field in field_names():
        return model.config.get(field, getattr(model.convention, field))
    given = model.config.get(field, numbers_of(model.convention).get(field))
    return usual(field) if given is None else given


def switches(model: Any, which: str = "all") -> list[Switch]:
    """Every other value that a field can take, or all fields: what other systems choose.

    Args:
        model: what `minimask.models` builds.
        which: a field of `Convention`, one of its hyperparameters, or "all".

    Raises:
        ValueError: no such field.
    """
    known = [*field_names(), *number_names()]
    if which in OF_WEIGHTS:
        raise ValueError(f"--flip: {which} decides the shapes of weights; other weights are needed")
    if which != "all" and which not in known:
        close = difflib.get_close_matches(which, known, n=1)
        hint = (
            f"did you mean {close[0]}?" if close else f"expected all or one of {', '.join(known)}"
        )
        raise ValueError(f"--flip: no field {which!r} in a convention; {hint}")
    return [s for name in (known if which == "all" else [which]) for s in _of(model, name)]


def not_switched() -> list[str]:
    """What is left out, a sentence each."""
    sentences = [
        "level_rule is not switched between detectron2 and paper: detectron2 adds 1e-8 before the "
        "logarithm, which in numbers of 32 bits moves no box to another level."
    ]
    for name in OF_WEIGHTS:
        values = {s: numbers_of(c)[name] for s, c in CONVENTIONS.items() if name in numbers_of(c)}
        chosen = ", ".join(f"{said(value)} in {system}" for system, value in values.items())
        sentences.append(
            f"{name} is not switched ({chosen}; else that of the features): {sentence(name)} "
            "Another value needs other weights."
        )
    return sentences


def _of(model: Any, field: str) -> list[Switch]:
    own, chosen = value_of(model, field), choices(field)
    equal = EQUAL.get(field, set())
    others: dict[Any, list[str]] = {}
    for system, value in chosen.items():
        if not same(value, own) and not (equal and {value, own} <= equal):
            others.setdefault(_as_known(value, others), []).append(system)
    if not others:
        others = {value: [] for value in _elsewhere(field, own)}
    part = part_of(field)
    return [Switch(field, own, value, tuple(who), part) for value, who in others.items()]


def _elsewhere(field: str, own: Any) -> list[Any]:
    """Other values of a field in which all named conventions agree."""
    if field in CHOICES:
        return [value for value in CHOICES[field] if value != own]
    if isinstance(own, bool):
        return [not own]
    return [AGREED[field]] if field in AGREED else []


def same(a: Any, b: Any) -> bool:
    """Whether two values are one choice: equal, but for the last digits of numbers."""
    if isinstance(a, float | tuple) and isinstance(b, float | tuple) and not isinstance(a, str):
        return len(np.atleast_1d(a)) == len(np.atleast_1d(b)) and bool(np.allclose(a, b, 1e-9, 0))
    return bool(a == b)


def _as_known(value: Any, known: Mapping[Any, Any]) -> Any:
    """The same value as it stands among those that are known."""
    return next((k for k in known if same(k, value)), value)


def said(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(said(v) for v in value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def sentence(field: str) -> str:
    """What a field decides, in a sentence."""
    if field in FIELD_WORDS:
        return FIELD_WORDS[field].sentence
    return NUMBER_WORDS.get(field, f"{field.replace('_', ' ').capitalize()}.")


def written_in(field: str) -> str | None:
    """Papers or files of the systems in which a field is decided; None: not recorded."""
    return FIELD_WORDS[field].source if field in FIELD_WORDS else None


# Of options that are no fields; those are in `minimask.conventions.words`.
NUMBER_WORDS = {
    "rpn_pre_nms_top_n_train": "Proposals of a level before suppression, in training.",
    "rpn_pre_nms_top_n_test": "Proposals of a level before suppression, in prediction.",
    "rpn_post_nms_top_n_train": "Proposals of an image after suppression, in training.",
    "rpn_post_nms_top_n_test": "Proposals of an image after suppression, in prediction.",
    "box_batch_size_per_image": "Regions that a training step learns from in each image.",
    "box_positive_fraction": "The largest share of them that may hold an object.",
    "box_negatives_per_positive": "At most so many background regions for each one with an object.",
    "box_score_thresh": "Detections must be as probable as this.",
    "box_nms_thresh": "Of detections of one class that overlap more than this, the best is kept.",
    "rpn_channels": "Channels of the proposal network's hidden layer.",
    "max_size": "Limit of the long side of the resized image.",
    "roi_op": "How features are taken out of a region: RoIAlign, RoIPool, or TensorFlow's crop.",
}
