"""Weights as the start of another training, of other classes.

Only the last layers count classes.  Their rows go by the classes' names; rows of classes that the
file does not know keep the model's random numbers; everything else is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.weights import retina
from minimask.weights.anatomy import anatomy
from minimask.weights.epsilon import set_epsilon
from minimask.weights.mismatch import explain
from minimask.weights.source import Source, check_values, read_source
from minimask.weights.systems import COUNTER

if TYPE_CHECKING:
    from minimask.nn import Module

BOX, MASK, CLASS = "box predictor", "mask predictor", "class predictor"
SCORES = "roi_heads.box_predictor.cls_score"
# layer -> (part, outputs per row); None: as many as a mask has pixels
HEADS: dict[str, tuple[str, int | None]] = {
    SCORES: (BOX, 1),
    "roi_heads.box_predictor.bbox_pred": (BOX, 4),
    "roi_heads.mask_predictor.mask_fcn_logits": (MASK, 1),
    "roi_heads.mask_predictor.mask_logits": (MASK, None),
    retina.SCORES: (CLASS, 1),  # of each anchor
}
COCO_OUTPUTS = 91
SHOWN = 6  # class names in a report


@dataclass(frozen=True)
class Transfer:
    """What was taken from a file of weights; printed, it is one line.

    Attributes:
        source: the file's short name.
        outputs: of the file and of the model, background counted; None where only a backbone was
            taken.
        kept: classes whose rows of the last layers were taken.
        anew: the layers that start from random numbers but for those rows.
        words: the report, without the file's name.
    """

    source: str
    outputs: tuple[int, int] | None
    kept: tuple[str, ...]
    anew: tuple[str, ...]
    words: str

    def __str__(self) -> str:
        """Such as "demo.pth: 91 -> 4 outputs: box and mask predictor start anew; ..."."""
        return f"{self.source}: {self.words}"


def transfer_weights(
    model: Module,
    source: str | PathLike[str] | Source,
    classes: Sequence[str] | None = None,
) -> Transfer:
    """Let a model start from the weights of another one, which may know other classes.

    What fits is taken. In the last layers, which have rows for each class, the rows go by the
    classes' names, whatever the order and the number; new classes keep the model's random rows,
    and background's row is kept with any class that is. Both ways of counting, background first
    or last, are understood.

    Args:
        model: what `minimask.models` builds, with its random weights; unchanged on an error.
        source: a file, a run's folder, a checkpoint's folder, or what `read_source` gave.
        classes: the names of the file's classes, without background, if it does not say them.
            Files that minimask wrote do; one with 91 outputs is taken for COCO's; of others with
            as many outputs as the model the rows are taken in their order, which the report says.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a damaged file, numbers that no network has, or another network: the message
            lists the causes.
    """
    if not isinstance(source, Source):
        source = read_source(source)
    own = model.state_dict()
    shapes = {name: array.shape for name, array in own.items()}
    theirs = {n: s for n, s in source.shapes.items() if n in own or not n.endswith(COUNTER)}
    heads = [n for n in own if n.rpartition(".")[0] in HEADS and n in theirs]
    comparable = [n for n in heads if shapes[n][1:] == theirs[n][1:]]
    if anatomy(shapes).anchors != anatomy(theirs).anchors:  # then those are no rows of classes
        comparable = [n for n in comparable if HEADS[n.rpartition(".")[0]][0] != CLASS]
    problem = explain(
        {n: s for n, s in shapes.items() if n not in comparable},
        {n: s for n, s in theirs.items() if n not in comparable},
    )
    if problem:
        raise ValueError(f"{source.path}: the weights do not fit:\n  {problem}")
    check_values(source.path, source.arrays, theirs)
    names = _names(source, classes)
    arrays = {name: source.arrays[name] for name in theirs}
    outputs = _outputs(shapes, theirs)
    mine = tuple(getattr(model, "classes", ()))
    if not heads or outputs is None:
        report = Transfer(source.name, None, mine, (), "all taken")
    elif names is None and outputs[0] == outputs[1] and not _differ(comparable, shapes, theirs):
        report = Transfer(source.name, outputs, mine, (), _in_order(outputs[0]))
    elif names == mine and not _differ(comparable, shapes, theirs):
        report = Transfer(source.name, outputs, mine, (), "all taken")
    else:
        counted = Counts(mine, shapes), Counts(names or ("",) * (outputs[0] - 1), theirs)
        arrays |= {n: _rows(n, own[n], source.arrays[n], model, *counted) for n in comparable}
        report = _report(source, outputs, mine, names, comparable)
    model.load_state_dict(arrays)
    set_epsilon(model, source.norm_eps)
    return replace(report, words=report.words + _other_convention(model, source))


def _other_convention(model: Module, source: Source) -> str:
    """A warning where the weights of another system get a model that follows other choices."""
    ours = getattr(getattr(model, "convention", None), "name", None)
    if source.system in ("minimask", "torchvision") or ours in (None, source.convention):
        return ""
    return f"; they were trained under the convention {source.convention}, the model follows {ours}"


@dataclass(frozen=True)
class Counts:
    """How a network counts the classes in its last layers."""

    classes: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def background_last(self) -> bool:
        """Only where background comes last does it have no box."""
        found = anatomy(self.shapes)
        return found.box_rows == len(self.classes) and found.outputs == len(self.classes) + 1

    def rows(self, count: int) -> dict[str, int]:
        """The row of every class in a layer of `count` rows; "": background's. Empty: shared."""
        classes = len(self.classes)
        if count == classes:
            return {name: i for i, name in enumerate(self.classes) if name not in ("", "N/A")}
        if count != classes + 1:
            return {}
        first = 0 if self.background_last else 1
        known = {n: i + first for i, n in enumerate(self.classes) if n not in ("", "N/A")}
        return known | {"": classes if self.background_last else 0}


def _rows(
    name: str, own: np.ndarray, given: np.ndarray, model: Any, mine: Counts, theirs: Counts
) -> np.ndarray:
    """The model's array with the rows of every class that the file knows too."""
    part, per_row = HEADS[name.rpartition(".")[0]]
    if part == MASK and model.roi_heads.mask_output == "agnostic" and given.shape == own.shape:
        return given
    if part == CLASS:
        return _rows_of_anchors(own, given, mine, theirs)
    per_row = model.roi_heads.mask_predictor.size**2 if per_row is None else per_row
    result = own.reshape(-1, per_row, *own.shape[1:]).copy()
    source = given.reshape(-1, per_row, *given.shape[1:])
    return _by_name(result, source, mine, theirs).reshape(own.shape)


def _rows_of_anchors(
    own: np.ndarray, given: np.ndarray, mine: Counts, theirs: Counts
) -> np.ndarray:
    """The same where every anchor has rows of its own: (A K, ...)."""
    anchors = anatomy(mine.shapes).anchors
    assert anchors is not None
    result = own.reshape(anchors, -1, *own.shape[1:]).swapaxes(0, 1).copy()
    source = given.reshape(anchors, -1, *given.shape[1:]).swapaxes(0, 1)
    return _by_name(result, source, mine, theirs).swapaxes(0, 1).reshape(own.shape)


def _by_name(result: np.ndarray, source: np.ndarray, mine: Counts, theirs: Counts) -> np.ndarray:
    """`result`, whose rows are classes, with the rows of `source` for those that both know."""
    here, there = mine.rows(len(result)), theirs.rows(len(source))
    common = [n for n in here if n in there]
    if any(common):  # background alone means nothing without a class to compare it with
        for label in common:
            result[here[label]] = source[there[label]]
    return result


def _names(source: Source, classes: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of the file's classes: given, from the file itself, COCO's, or unknown."""
    outputs = anatomy(source.shapes).outputs
    names = tuple(classes) if classes is not None else source.classes
    if names is None and outputs == COCO_OUTPUTS:
        from minimask.models.coco_classes import COCO_91

        return COCO_91
    if names is not None and outputs is not None and len(names) + 1 != outputs:
        raise ValueError(
            f"{source.path}: {len(names)} names of classes, but {outputs} outputs, which are "
            f"{outputs - 1} classes and background"
        )
    return names


def _outputs(own: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[int, int] | None:
    there, here = anatomy(given).outputs, anatomy(own).outputs
    return None if there is None or here is None else (there, here)


def _differ(names: Sequence[str], own: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return any(own[name] != given[name] for name in names)


def _in_order(outputs: int) -> str:
    return (
        f"all taken; it does not name its classes, so its {outputs} outputs were taken for the "
        "model's in their order"
    )


def _report(
    source: Source,
    outputs: tuple[int, int],
    mine: tuple[str, ...],
    names: tuple[str, ...] | None,
    heads: Sequence[str],
) -> Transfer:
    """Of weights whose classes are not the model's: what was kept."""
    known = tuple(name for name in mine if name in (names or ()) and name != "N/A")
    parts = list(dict.fromkeys(HEADS[name.rpartition(".")[0]][0] for name in heads))
    listed = "box and mask predictor" if len(parts) == 2 else parts[0]
    start = "start" if len(parts) == 2 else "starts"
    count = f"{outputs[0]} -> {outputs[1]} outputs"
    if outputs[0] == outputs[1]:
        other = "in another order" if names != mine else "counted otherwise"
        count += f" {other}" if set(known) == set(mine) else " with other names"
    if names is not None and source.classes is None and outputs[0] == COCO_OUTPUTS:
        count += " (taken for COCO's)"
    if len(known) == len(mine):
        words = f"{count}: of the {listed} the rows of {_listed(known)} were taken, by name"
    elif known:
        both = "which both know"
        words = f"{count}: {listed} {start} anew but for {_listed(known)}, {both}"
    else:
        words = f"{count}: {listed} {start} anew"
    anew = () if len(known) == len(mine) else tuple(parts)
    return Transfer(source.name, outputs, known, anew, f"{words}; all else taken")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:SHOWN]))
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
