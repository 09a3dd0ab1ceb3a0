"""Whether the parts of a run belong together: model, data, checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from minimask.data.sample import skeleton_of

if TYPE_CHECKING:
    from minimask.data.sample import Dataset
    from minimask.train.checkpoint import Checkpoint


def check_classes(model: Any, dataset: Dataset, val: Dataset | None) -> None:
    """Raise unless model, training and validation data agree on the classes."""
    for owner, classes in (
        ("the model", model.classes),
        ("the validation data", val.classes if val is not None else dataset.classes),
    ):
        if tuple(classes) != tuple(dataset.classes):
            raise ValueError(
                f"the training data has the classes {', '.join(dataset.classes)}, {owner} has "
                f"{', '.join(classes)}; they must be the same, in the same order"
            )


def check_keypoints(model: Any, dataset: Dataset, val: Dataset | None) -> None:
    """Raise where the model learns keypoints and the data has none, or others.

    Raises:
        ValueError: it names both.
    """
    own = skeleton_of(model)
    if own is None:
        return
    for which, data in (("training data", dataset), ("validation data", val)):
        theirs = None if data is None else skeleton_of(data)
        if data is dataset and theirs is None:
            raise ValueError(no_keypoints("the model", dataset))
        if theirs is not None and (problem := own.problem(theirs)):
            raise ValueError(f"the model has {problem} ({which}); they must be the same")


def no_keypoints(who: str, dataset: Any) -> str:
    """The sentence for a model that learns keypoints on data without, with the reason if known."""
    why = getattr(dataset, "why_no_keypoints", None)
    reason = f": {why}" if why else "; annotate some, or choose a model such as maskrcnn_laptop"
    return f"{who} learns keypoints, but the training data has none{reason}"


def check_model(saved: Checkpoint, model: Any) -> None:
    """Raise unless a checkpoint's weights are those of such a model.

    Raises:
        ValueError: it was written for another model; the message says what differs.
    """
    theirs, own = saved.state["model"], json.loads(json.dumps(model.config))
    different = [k for k in sorted(theirs.keys() | own.keys()) if theirs.get(k) != own.get(k)]
    if different:
        listed = "; ".join(f"{k}: {theirs.get(k)} there, {own.get(k)} here" for k in different)
        raise ValueError(f"{saved.path} is a checkpoint of another model ({listed})")
