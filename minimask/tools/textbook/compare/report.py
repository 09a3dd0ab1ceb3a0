"""What was compared, as text."""

from __future__ import annotations

from collections.abc import Sequence

from minimask.tools.textbook.compare.fields import said
from minimask.tools.textbook.compare.flip import Base, Flipped
from minimask.tools.textbook.compare.networks import ArrayDifference, Comparison, StageDifference

LONG = 22  # characters of a value in the table
MOST = 12  # arrays that are named one by one


def short(value: object) -> str:
    """A value in so few characters that a table stays a table."""
    text = said(value)
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def effect(flipped: Flipped) -> str:
    """What one switch changes, in words."""
    if flipped.problem is not None:
        return f"cannot run so: {flipped.problem}"
    if flipped.kind == "nothing":
        return f"nothing: {flipped.why}"
    if flipped.instead is not None:
        return f"nothing here ({flipped.why}); {flipped.instead}: {difference(flipped)}"
    return difference(flipped)


def difference(flipped: Flipped) -> str:
    """What differs, where anything does."""
    if flipped.kind == "prediction" and flipped.change is not None:
        return flipped.change.in_words()
    if flipped.kind == "training" and flipped.training is not None:
        return f"only training: {flipped.training.in_words()}"
    least = flipped.base.min_score
    return f"{flipped.begins} differs, but no object of score {least:.2g} or more"


def flip_table(base: Base, results: Sequence[Flipped]) -> str:
    """A line for each switch, and what it changes."""
    rows = [
        (
            result.switch.field,
            f"{short(result.switch.before)} → {short(result.switch.after)}",
            result.switch.who(),
            effect(result),
        )
        for result in results
    ]
    heads = ("field", "here → there", "chosen by", "what changes")
    wide = [max(len(row[i]) for row in [heads, *rows]) for i in range(3)]
    lines = [
        "  ".join([*(f"{cell:<{w}}" for cell, w in zip(row, wide, strict=False)), row[3]])
        for row in [heads, *rows]
    ]
    found = f"{len(base.detections)} objects found, {_counted(base)} of score {base.min_score:.2g}"
    return "\n".join([f"{found} or more; the objects for training: {base.truth}", "", *lines])


def _counted(base: Base) -> int:
    return int((base.detections.scores >= base.min_score).sum())


def networks_text(found: Comparison, *, every: bool = False) -> str:
    """The comparison of two networks: arrays that differ, stages, detections."""
    lines = [array_summary(found), "", *_array_lines(found, every)]
    if found.stages:
        lines += ["", "stage by stage, each network from the image on by itself:", ""]
        lines += _stage_lines(found.stages)
    if found.change is not None:
        lines += ["", f"found: {found.change.in_words()}"]
    return "\n".join(lines)


def array_summary(found: Comparison) -> str:
    """Such as "84 arrays: 80 the same to the last bit, 4 differ"."""
    count = len(found.arrays)
    other = [d for d in found.arrays if d.largest is None]
    differ = count - found.equal - len(other)
    text = f"{count} arrays: {found.equal} the same to the last bit, {differ} differ"
    return text + (f", {len(other)} only in one or of another shape" if other else "")


def worst_first(found: Comparison) -> list[ArrayDifference]:
    """The arrays that differ: the incomparable ones, then the largest first."""
    apart = [d for d in found.arrays if not d.equal]
    return sorted(
        apart, key=lambda d: (d.largest is not None, -(d.relative or 0.0), -(d.largest or 0.0))
    )


def shape_words(difference: ArrayDifference | StageDifference) -> str:
    """Its shape, or what of it is where."""
    a, b = difference.shapes
    if a == b and a is not None:
        return " × ".join(map(str, a)) or "one number"
    if a is None or b is None:
        return "only in the second" if a is None else "only in the first"
    return f"{' × '.join(map(str, a))} here, {' × '.join(map(str, b))} there"


def _array_lines(found: Comparison, every: bool) -> list[str]:
    apart = worst_first(found)
    shown = apart if every else apart[:MOST]
    if not shown:
        return []
    rows = [("array", "largest", "/ std", "correlation", "shape")]
    for d in shown:
        rows.append(
            (d.name, number(d.largest), number(d.relative), number(d.correlation), shape_words(d))
        )
    left = [f"... and {len(apart) - len(shown)} more: --all"] if len(apart) > len(shown) else []
    return [*_columns(rows), *left]


def _stage_lines(stages: Sequence[StageDifference]) -> list[str]:
    rows = [("stage", "difference / std", "the same boxes", "shape")]
    for s in stages:
        near = "" if s.near is None else f"{s.near:.1%}"
        rows.append((s.name, number(s.relative), near, shape_words(s)))
    return _columns(rows)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(f"{c:<{w}}" for c, w in zip(row, wide, strict=True)).rstrip() for row in rows]


def number(value: float | None) -> str:
    """A difference, readable; a dash where there is none."""
    if value is None:
        return "–"
    return "0" if value == 0 else f"{value:.3g}"
