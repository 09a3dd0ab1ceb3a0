"""A whole trace: its steps and arrays, to look at one by one or to write as a page."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minimask.data.sample import Target, as_rgb, check_target
from minimask.models.faster_rcnn import FasterRCNN
from minimask.system.device import on_gpu
from minimask.tools.textbook.page import render
from minimask.tools.textbook.trace import (
    chapter_boxes,
    chapter_features,
    chapter_losses,
    chapter_masks,
    chapter_regions,
    chapter_training,
)
from minimask.tools.textbook.trace.book import write_book
from minimask.tools.textbook.trace.chapter_anchors import anchor_step, matching_step
from minimask.tools.textbook.trace.chapter_proposals import (
    delta_step,
    funnel_step,
    proposal_step,
    score_step,
)
from minimask.tools.textbook.trace.context import TraceContext
from minimask.tools.textbook.trace.record import (
    Prediction,
    TrainingStep,
    record_prediction,
    record_training_step,
)
from minimask.tools.textbook.trace.steps import Step


def trace(
    model: Any,
    image: np.ndarray,
    target: Target | None = None,
    *,
    seed: int = 0,
    title: str = "",
    about: str = "",
) -> Trace:
    """Predict and, with ground-truth objects, do one training step; keep everything on the way.

    Args:
        model: a Faster or Mask R-CNN; its weights, statistics and mode stay as they are.
        image: (H, W, 3) uint8; gray and RGBA are taken too.
        target: the ground-truth objects, with masks if the model has a mask head.
        seed: of the anchors and regions that the training step draws.
        title: of the page.
        about: a sentence below it, e.g. where the weights come from.

    Raises:
        TypeError: no image.
        ValueError: target and image do not belong together, the model has not the two stages that
            the book is about, or it is on a GPU.
    """
    if not isinstance(model, FasterRCNN):
        raise ValueError(
            f"model: a trace shows the two stages of Faster and Mask R-CNN, and {model.title} has "
            "others; its arrays are in model.stages(image)"
        )
    image = as_rgb(image)
    if on_gpu(next(model.parameters()).data):
        raise ValueError('model: a trace reads everything back; move it first: model.to("cpu")')
    training = None
    prediction = record_prediction(model, image)
    if target is not None:
        check_target(target, image, len(model.classes), "target")
        if all(getattr(target, name) is not None for name in model.needs):
            training = record_training_step(model, image, target, seed)
    context = TraceContext(model, image, prediction, target, training)
    return Trace(context, title or "Step by step", about)


def make_steps(context: TraceContext) -> list[Step]:
    """All steps in order; those that need what is not there are left out."""
    first = [anchor_step(context), matching_step(context), score_step(context)]
    first += [delta_step(context), funnel_step(context), proposal_step(context)]
    return [
        *chapter_features.steps(context),
        *(step for step in first if step is not None),
        *chapter_regions.steps(context),
        *chapter_boxes.steps(context),
        *chapter_masks.steps(context),
        *chapter_training.steps(context),
        *chapter_losses.steps(context),
    ]


class Trace:
    """Everything about one image: see `trace`.

    Attributes:
        context: the recorded passes and what follows from them.
        title: of the page.
        about: a sentence about model and image.
    """

    def __init__(self, context: TraceContext, title: str, about: str = "") -> None:
        self.context, self.title, self.about = context, title, about

    @property
    def prediction(self) -> Prediction:
        """The recorded prediction."""
        return self.context.prediction

    @property
    def training(self) -> TrainingStep | None:
        """The recorded training step."""
        return self.context.training

    @functools.cached_property
    def steps(self) -> list[Step]:
        """The steps in order."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a broken model too
            return make_steps(self.context)

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Every intermediate by its name, e.g. "rpn/proposals"."""
        found = dict(self.context.arrays)
        for step in self.steps:
            found |= step.arrays
        return found

    def __getitem__(self, name: str) -> Any:
        """A step by its key, "rpn-proposals", or an array by its name, "rpn/proposals".

        Raises:
            KeyError: neither; the message has some that there are.
        """
        for step in self.steps:
            if step.key == name:
                return step
        if name in self.arrays:
            return self.arrays[name]
        keys = ", ".join(step.key for step in self.steps)
        raise KeyError(f"no step or array {name!r}; steps: {keys}")

    def __getattr__(self, name: str) -> Group:
        """The arrays whose names begin with `name` and a slash."""
        if name.startswith("_"):
            raise AttributeError(name)
        group = Group(name, self.arrays)
        if not len(group):
            raise AttributeError(f"a trace has no {name!r}; groups: {', '.join(self.groups)}")
        return group

    @property
    def groups(self) -> list[str]:
        """What stands before the slash in the arrays' names."""
        return list(dict.fromkeys(name.split("/")[0] for name in self.arrays))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.groups]

    def __repr__(self) -> str:
        return f"Trace({self.title!r}: {len(self.steps)} steps, {len(self.arrays)} arrays)"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the book: one HTML file that needs nothing else.

        Raises:
            OSError: it cannot be written.
        """
        write_book(path, self.context, self.steps, self.title, self.about)

    def _repr_html_(self) -> str:
        return render("trace/notebook_trace.html.j2", {"trace": self})


class Group:
    """Arrays of one kind: `trace.rpn.proposals`, `trace.rpn.objectness[0]`, `trace.body[3]`."""

    def __init__(self, prefix: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._prefix = prefix
        self._arrays = {
            name.removeprefix(f"{prefix}/"): array
            for name, array in arrays.items()
            if name.startswith(f"{prefix}/")
        }
        if prefix in arrays:
            self._arrays[""] = arrays[prefix]

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, name: str | int) -> Any:
        key = str(name)
        if key in self._arrays:
            return self._arrays[key]
        inner = Group(key, self._arrays)
        if not len(inner):
            raise KeyError(f"{self._prefix} has no {key!r}; it has {', '.join(self._arrays)}")
        return inner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *dict.fromkeys(name.split("/")[0] for name in self._arrays)]

    def __repr__(self) -> str:
        lines = [f"{n or '(itself)'}: {a.dtype} {a.shape}" for n, a in self._arrays.items()]
        return f"{self._prefix}\n  " + "\n  ".join(lines)
