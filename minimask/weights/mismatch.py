"""Why weights do not fit a network: the causes, not the hundreds of names that follow from them."""

from __future__ import annotations

from collections.abc import Iterator

from minimask.weights.anatomy import BODY, RES5, Anatomy, Shapes, anatomy
from minimask.weights.recognise import recognise
from minimask.weights.systems import COUNTER

FEW = 6  # differences that are named one by one
MASKS = ("roi_heads.mask_",)
HEADS = ("rpn.", "roi_heads.")
RETINA = ("head.classification_head.", "head.regression_head.")
BOX_HEAD = ("roi_heads.box_head.", "roi_heads.box_predictor.")


def differences(own: Shapes, given: Shapes) -> list[str]:
    """One line for each array that is on one side only or has another shape."""
    lines = [f"missing {n} {s}" for n, s in own.items() if n not in given and COUNTER not in n]
    lines += [
        f"unexpected {n} {s}" for n, s in given.items() if n not in own and not n.endswith(COUNTER)
    ]
    lines += [
        f"{n} is {s} here, {given[n]} in the file"
        for n, s in own.items()
        if n in given and given[n] != s
    ]
    return lines


def explain(own: Shapes, given: Shapes) -> str:
    """Why arrays of the shapes `given` do not fit a network of the shapes `own`; "" if they do.

    Ten lines or fewer: what is built otherwise, then the arrays that this does not account for.
    """
    lines = differences(own, given)
    if not lines:
        return ""
    mine, theirs = anatomy(own), anatomy(given)
    if theirs.body is None and mine.body is not None and theirs.outputs is None:
        return _not_recognised(given)
    found = list(_causes(mine, theirs, own, given))
    explained = tuple(prefix for _, prefixes in found for prefix in prefixes)
    left = [line for line in lines if not (explained and _name(line).startswith(explained))]
    return "\n  ".join([cause for cause, _ in found] + _grouped(left))


def _grouped(lines: list[str]) -> list[str]:
    """The differences one by one, or where there are many, an example of each kind."""
    if len(lines) <= FEW:
        return sorted(lines)
    groups = {
        "arrays are in the file only": [n for n in lines if n.startswith("unexpected ")],
        "arrays of the model are not in the file": [n for n in lines if n.startswith("missing ")],
        "arrays have another shape": [n for n in lines if n.split()[1] == "is"],
    }
    texts = []
    for text, group in groups.items():
        if group:
            first = group[0].removeprefix("unexpected ").removeprefix("missing ")
            texts.append(f"{len(group)} {text}, such as {first}")
    return texts


def _causes(
    mine: Anatomy, theirs: Anatomy, own: Shapes, given: Shapes
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is built otherwise, each with the beginnings of the names that it accounts for."""
    if mine.body and theirs.body:
        a, b = mine.body, theirs.body
        if (a.block, a.layers, a.channels, a.stem, a.width) != (
            b.block, b.layers, b.channels, b.stem, b.width,
        ):  # fmt: skip
            yield f"the file is {b}, the model is {a}", (BODY, RES5)
        if "group" in (a.norm, b.norm) and a.norm != b.norm:
            yield _norms(b.norm, own, given), (BODY, RES5)
    names = {"fpn": "a feature pyramid", "c4": "the map C4 alone", "c5": "the map C5 alone"}
    if mine.features != theirs.features and mine.features and theirs.features:
        there, here = names[theirs.features], names[mine.features]
        yield f"the file's heads look at {there}, the model's at {here}", ("backbone.", *HEADS)
        return
    both = mine.outputs is not None and theirs.outputs is not None
    if both and (mine.retina is None) != (theirs.retina is None):
        kinds = ("a RetinaNet, which has one stage", "a network of two stages")
        there, here = kinds if mine.retina is None else kinds[::-1]
        yield (
            f"the file is of {there}, the model is {here}; only the file's backbone can be taken, "
            "with --backbone-weights",
            ("backbone.fpn.", *HEADS, *RETINA),
        )
        return
    if mine.pyramid != theirs.pyramid:
        yield (
            f"the file's feature maps have {theirs.pyramid} channels, the model's {mine.pyramid}",
            ("backbone.fpn.", "backbone.reduce.", *HEADS, *RETINA),
        )
    if mine.anchors != theirs.anchors:
        yield (
            f"the file has {theirs.anchors} anchors at each place, the model {mine.anchors}",
            ("rpn.", "head.classification_head.cls_logits.", "head.regression_head.bbox_reg."),
        )
    if mine.box_width != theirs.box_width:
        yield (
            f"the file's box head is {theirs.box_width} wide, the model's {mine.box_width}",
            BOX_HEAD,
        )
    yield from _mask_causes(mine, theirs)


def _mask_causes(mine: Anatomy, theirs: Anatomy) -> Iterator[tuple[str, tuple[str, ...]]]:
    if mine.mask and not theirs.mask:
        yield (
            "the file has no mask branch (a Faster R-CNN), the model has one; take a model "
            "fasterrcnn_.., or only the file's backbone with --backbone-weights",
            MASKS,
        )
    elif theirs.mask and not mine.mask:
        yield (
            "the file has a mask branch, the model (a Faster R-CNN) none; take a model "
            "maskrcnn_.., or only the file's backbone with --backbone-weights",
            MASKS,
        )
    elif (mine.mask, mine.mask_channels, mine.mask_predictor) != (
        theirs.mask, theirs.mask_channels, theirs.mask_predictor,
    ):  # fmt: skip
        there, here = (
            f"{a.mask} of {', '.join(map(str, a.mask_channels))} and {a.mask_predictor} channels"
            for a in (theirs, mine)
        )
        yield f"the file's mask head is {there}, the model's {here}", MASKS


def _norms(kind: str | None, own: Shapes, given: Shapes) -> str:
    """The two sides norm otherwise."""
    if kind == "group":
        norms = sum(n.endswith("running_mean") and n not in given for n in own)
        return (
            f"{norms} norms of the backbone have no running statistics: the file was trained "
            "with --norm group"
        )
    norms = sum(n.endswith("running_mean") and n not in own for n in given)
    return (
        f"{norms} norms of the file's backbone have running statistics, and the model's group "
        "norm has none: the file was trained with --norm batch or frozen_batch"
    )


def _not_recognised(given: Shapes) -> str:
    try:
        return recognise(given).words
    except ValueError as error:
        return str(error)


def _name(line: str) -> str:
    first, second = line.split()[:2]
    return second if first in ("missing", "unexpected") else first
