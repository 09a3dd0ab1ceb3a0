"""The backbone alone: from a classifier of images, or from another detector."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from minimask.weights import stacked
from minimask.weights.anatomy import BODY, RES5, body_of
from minimask.weights.epsilon import set_epsilon
from minimask.weights.images import to_pixels_of
from minimask.weights.mismatch import differences, explain
from minimask.weights.source import Source, check_values, read_source
from minimask.weights.transfer import Transfer

if TYPE_CHECKING:
    from minimask.nn import Module


def transfer_backbone(model: Module, source: str | PathLike[str] | Source) -> Transfer:
    """Fill a model's backbone from a network that classifies images, or from another detector.

    Of a classifier (torchvision's names: conv1, bn1, layer1 .. layer4, fc) all but the classifier
    itself is taken; of a detector the backbone, with the feature pyramid where it fits.

    Args:
        model: what `minimask.models` builds; unchanged on an error.
        source: a file, a run's or checkpoint's folder, or what `read_source` gave.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a damaged file, or another backbone: the message lists the causes.
    """
    if not isinstance(source, Source):
        source = read_source(source)
    own = {n: a.shape for n, a in model.state_dict().items() if n.startswith(("backbone.", RES5))}
    given = _as_backbone(source, model)
    given, turned = to_pixels_of(model, given, source)
    neck = {n for n in own if n.startswith(("backbone.fpn.", "backbone.reduce."))}
    head = tuple(stacked.VGG_HEAD.values())
    body = {n: s for n, s in own.items() if n not in neck}
    body |= {n: a.shape for n, a in given.items() if n.startswith(head)}
    shapes = {n: a.shape for n, a in given.items()}
    there = {n for n in shapes if n.startswith(("backbone.fpn.", "backbone.reduce."))}
    problem = explain(body, {n: s for n, s in shapes.items() if n not in there})
    if problem:
        raise ValueError(f"{source.path}: the backbone does not fit:\n  {problem}")
    with_neck = bool(neck) and not differences(
        {n: own[n] for n in neck}, {n: shapes[n] for n in there}
    )
    taken = [n for n in given if n in body or (with_neck and n in neck)]
    check_values(source.path, given, taken)
    model.load_state_dict({n: given[n] for n in taken}, strict=False)
    set_epsilon(model, source.norm_eps)
    found = body_of(shapes, BODY)
    words = f"the backbone, {found}, was taken" if found else "the backbone was taken"
    words += " with fc6 and fc7" if any("fc7" in n for n in taken) else ""
    words += " with its feature pyramid" if with_neck else ""
    return Transfer(source.name, None, (), (), f"{words}{turned}; all else starts anew")


def _as_backbone(source: Source, model: Module) -> dict[str, np.ndarray]:
    """The file's backbone under the names it has in the detector."""
    arrays = source.arrays
    own = {name: array.shape for name, array in model.state_dict().items()}
    c4 = any(name.startswith(RES5) for name in own)
    if stacked.is_classifier(arrays):
        try:
            return stacked.as_detector(arrays, own)
        except ValueError as error:
            raise ValueError(f"{source.path}: {error}") from None
    if any(name.startswith("backbone.") for name in arrays):
        found = {n: a for n, a in arrays.items() if n.startswith(("backbone.", RES5))}
    elif body_of(source.shapes, "body.") is not None:
        found = {f"backbone.{n}": a for n, a in arrays.items() if n.startswith(("body.", "fpn."))}
    elif body_of(source.shapes) is not None:
        found = {f"{BODY}{n}": a for n, a in arrays.items() if not n.startswith("fc.")}
    else:
        raise ValueError(f"{source.path}: {source.words}")
    last = f"{BODY}layer4"
    old, new = (last, RES5) if c4 else (RES5, last)
    return {new + n.removeprefix(old) if n.startswith(old) else n: a for n, a in found.items()}
