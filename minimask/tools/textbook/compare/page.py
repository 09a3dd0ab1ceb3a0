"""The comparison as a page: one HTML file with every picture inside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.tools.textbook.compare import pictures
from minimask.tools.textbook.compare.fields import (
    Switch,
    choices,
    not_switched,
    said,
    sentence,
    written_in,
)
from minimask.tools.textbook.compare.flip import Base, Flipped
from minimask.tools.textbook.compare.networks import Comparison
from minimask.tools.textbook.compare.report import (
    array_summary,
    difference,
    number,
    shape_words,
    worst_first,
)
from minimask.tools.textbook.compare.training import pair_said
from minimask.tools.textbook.page import png_uri, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = 128  # colors of a picture: a third of the bytes, and nobody sees it
MOST = 60  # arrays on a page
NONE = "–"  # in a cell of which there is nothing to say
KINDS = {
    "prediction": "changes what is found",
    "training": "changes training only",
    "stages": "changes a step on the way, and nothing that is found",
    "nothing": "changes nothing here",
    "problem": "cannot run so",
}


def picture_of_flip(result: Flipped) -> Figure | None:
    """Before and after for one switch; None where there is nothing to see."""
    switch, base = result.switch, result.base
    names = (f"before: {short(switch.before)}", f"after: {short(switch.after)}")
    if result.kind == "prediction" and result.detections is not None and result.change is not None:
        return pictures.draw_change(
            base.image, base.detections, result.detections, result.change, names
        )
    if result.kind == "training" and base.step is not None and result.step is not None:
        assert result.training is not None
        return pictures.draw_training(base.step, result.step, result.training, names)
    return None


def short(value: Any) -> str:
    """A value for a legend."""
    text = said(value)
    return text if len(text) <= 30 else f"{text[:29]}…"


def picture_of_networks(found: Comparison, names: tuple[str, str]) -> Figure | None:
    """What two networks found on one image; None: there was none."""
    if found.found is None or found.image is None or found.change is None:
        return None
    return pictures.draw_change(found.image, *found.found, found.change, names)


def write_flip_page(
    path: str | os.PathLike[str], base: Base, results: Sequence[Flipped], title: str, about: str
) -> None:
    """Write the page about the switched fields, whole or not at all.

    Args:
        path: of the HTML file.
        base: the network as its file wants it.
        results: of `flip_fields`.
        title: of the page.
        about: which network and which image, in a sentence.

    Raises:
        OSError: the file cannot be written.
    """
    entries = [_flip_entry(result) for result in results]
    counts = {kind: sum(entry["kind"] == kind for entry in entries) for kind in KINDS}
    elsewhere = sum(entry["instead"] is not None for entry in entries)
    context = {
        "title": title,
        "about": about,
        "truth": base.truth,
        "found": int((base.detections.scores >= base.min_score).sum()),
        "min_score": f"{base.min_score:.2g}",
        "parts": [(part, list(group)) for part, group in groupby(entries, key=lambda e: e["part"])],
        "kinds": [(kind, KINDS[kind], count) for kind, count in counts.items() if count],
        "entries": entries,
        "elsewhere": elsewhere,
        "left_out": not_switched(),
        "image": png_uri(np.ascontiguousarray(base.image), colors=PALETTE),
    }
    write_page(path, "compare/flip.html.j2", context)


def _flip_entry(result: Flipped) -> dict[str, Any]:
    switch, change, training = result.switch, result.change, result.training
    figure = picture_of_flip(result)
    losses = {} if training is None else training.losses
    what = f"cannot run so: {result.problem}" if result.problem else difference(result)
    return {
        "key": switch.key,
        "field": switch.field,
        "part": switch.part,
        "sentence": sentence(switch.field),
        "source": written_in(switch.field),
        "before": said(switch.before),
        "after": said(switch.after),
        "who": switch.who(),
        "chosen": _chosen(switch),
        "kind": result.kind,
        "kind_words": KINDS[result.kind],
        "effect": f"nothing: {result.why}" if result.kind == "nothing" else what,
        "instead": result.instead,
        "why": result.why,
        "begins": result.begins,
        "numbers": [] if change is None or change.nothing else _numbers(result),
        "losses": [(n.removeprefix("loss_"), *pair_said(a, b)) for n, (a, b) in losses.items()],
        "pull": None if training is None or training.pull is None else pair_said(*training.pull),
        "training": None if training is None or training.nothing else training.in_words(),
        "picture": _uri(figure),
        "targets": result.kind == "training" and training is not None and bool(training.cells),
        "boxes": training.moves if result.kind == "training" and training is not None else "",
        "alt": _alt(result),
        "cells": _cells(result),
    }


def _uri(figure: Figure | None) -> str | None:
    return None if figure is None else png_uri(figure, colors=PALETTE, keep=pictures.COLORS)


def _chosen(switch: Switch) -> list[tuple[str, str]]:
    """Every value with the systems that choose it."""
    by_value: dict[str, list[str]] = {}
    for system, value in choices(switch.field).items():
        by_value.setdefault(said(value), []).append(system)
    return [(value, ", ".join(systems)) for value, systems in by_value.items()]


def _numbers(result: Flipped) -> list[tuple[str, str]]:
    change = result.change
    assert change is not None
    facts = [
        ("objects before and after", f"{change.before} and {change.after}"),
        ("found by both", str(change.matched)),
    ]
    if change.matched:
        facts += [
            ("largest change of a box", f"{change.box:.3g} pixels"),
            ("largest change of a score", f"{change.score:.3g}"),
        ]
        if change.mask_iou is not None:
            facts.append(("smallest overlap of two masks", f"{change.mask_iou:.3f} IoU"))
    if change.points is not None and any(change.points):
        facts += [
            ("largest shift of a keypoint", f"{change.points[0]:.3g} pixels"),
            ("largest change of a keypoint's score", f"{change.points[1]:.3g}"),
        ]
    if change.relabelled:
        facts.append(("called by another class", str(change.relabelled)))
    return facts


def _cells(result: Flipped) -> dict[str, str]:
    """What the overview's row says."""
    change, training = result.change, result.training
    total = NONE
    if training is not None and training.losses:
        a, b = (sum(pair[k] for pair in training.losses.values()) for k in (0, 1))
        total = f"{b - a:+.3g}"
    cells = dict.fromkeys(("box", "score", "mask", "matched", "new"), NONE)
    if change is not None and not change.nothing:
        cells |= {"matched": f"{change.matched} of {change.before}", "new": str(len(change.new))}
        if change.matched:
            cells |= {"box": f"{change.box:.2g}", "score": f"{change.score:.2g}"}
        if change.mask_iou is not None:
            cells["mask"] = f"{change.mask_iou:.3f}"
    return {**cells, "loss": total}


def _alt(result: Flipped) -> str:
    switch = result.switch
    where = (
        "Boxes and masks on the image"
        if result.kind == "prediction"
        else "What training compares the network with"
    )
    return (
        f"{where} with {switch.field} {said(switch.before)} (blue) and {said(switch.after)} "
        f"(orange, dashed): {difference(result)}."
    )


def write_networks_page(
    path: str | os.PathLike[str], found: Comparison, names: tuple[str, str], abouts: tuple[str, str]
) -> None:
    """Write the page about two networks, whole or not at all.

    Args:
        path: of the HTML file.
        found: from `compare_networks`.
        names: of the two files.
        abouts: what each is, in a sentence.

    Raises:
        OSError: the file cannot be written.
    """
    figure = picture_of_networks(found, names)
    apart = worst_first(found)
    words = found.change.in_words() if found.change is not None else ""
    context = {
        "names": names,
        "abouts": abouts,
        "summary": array_summary(found),
        "arrays": [
            (d.name, shape_words(d), number(d.largest), number(d.relative), number(d.correlation))
            for d in apart[:MOST]
        ],
        "more": max(0, len(apart) - MOST),
        "stages": [
            (s.name, shape_words(s), number(s.relative), "" if s.near is None else f"{s.near:.1%}")
            for s in found.stages
        ],
        "found": words,
        "min_score": f"{found.min_score:.2g}",
        "picture": _uri(figure),
        "alt": f"Boxes and masks of {names[0]} (blue) and {names[1]} (orange, dashed): {words}.",
    }
    write_page(path, "compare/networks.html.j2", context)
