"""The profile as text, 100 columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from minimask.tools.profile.repeat import Measured
from minimask.tools.profile.stages import BETWEEN, OWN
from minimask.tools.profile.summary import Profile, Row, summed

SMALL = 0.005  # kinds of operations below this share of the whole are one row together
HEAD = (
    ("", 24),
    ("calls", 6),
    ("forward", 8),
    ("backward", 9),
    ("share", 6),
    ("GFLOP", 7),
    ("GB", 7),
    ("GFLOP", 7),
    ("floor", 7),
    ("times", 7),
    ("made", 6),
    ("kept", 6),
)
UNITS = ("", "", "ms", "ms", "%", "", "moved", "per s", "ms", "floor", "MB", "MB")

LEGEND = """\
forward, backward: time; all rows add up to the whole, as what is between operations (Python, and
  NumPy outside of them) has its own; stages without calls consist of that alone
GFLOP: 2 x the multiply-adds of the formula, of convolutions, matrix products and RoIAlign
GB moved: what must be read and written once; floor: the greater of GFLOP / the matrix rate and
  GB / the copy rate, for each call; below 1 x floor: Winograd multiplies less, caches are faster
made: results; kept: what stays for the backward pass, each buffer once, no parameters"""


def table(profile: Profile, top: int = 10) -> str:
    """Two tables, by stage and by kind of operation, and the `top` slowest layers."""
    parts = [
        [_head("by stage"), *_stage_lines(profile)],
        [_head("by operation"), *_lines(together(profile), profile)],
    ]
    if top:
        parts.append(_layer_lines(profile, top))
    for part, rows in zip(parts, (profile.stages, profile.operations), strict=False):
        part.append(_line("whole", summed("whole", rows), profile.total))
    return "\n\n".join("\n".join(part) for part in parts) + f"\n\n{LEGEND}"


def together(profile: Profile) -> list[Row]:
    """The rows by kind of operation, with all small ones in one."""
    kinds = [row for row in profile.operations if row.name not in (BETWEEN, OWN)]
    large = [row for row in kinds if row.seconds >= SMALL * profile.total / 1e9]
    small = kinds[len(large) :]  # they are sorted
    others = [summed(f"{len(small)} others, < {100 * SMALL:g} %", small)] if small else []
    return [*large, *others, *profile.operations[len(kinds) :]]


def _head(title: str) -> str:
    first = "".join(f"{word:>{width}}" for word, width in HEAD[1:])
    second = "".join(f"{unit:>{width}}" for unit, (_, width) in zip(UNITS, HEAD, strict=True))
    return f"{title:{HEAD[0][1]}}{first}\n{second}"


def _lines(rows: Iterable[Row], profile: Profile) -> list[str]:
    return [_line(row.name, row, profile.total) for row in rows]


def _stage_lines(profile: Profile) -> list[str]:
    """A stage without operations is nothing but what is between: that line then has its name."""
    lines, with_operations = [], {row.name for row in profile.stages}
    for row in profile.stages:
        between = row.name == BETWEEN and row.stage in with_operations
        name = "  between" if between else row.stage or row.name
        lines.append(_line(name, row, profile.total))
    return lines


def _layer_lines(profile: Profile, top: int) -> list[str]:
    """Fewer columns, as the paths of modules are long."""
    names = ("forward ms", "backward ms", "share %", "x floor")
    title = f"the {min(top, len(profile.layers))} slowest layers"
    lines = [f"{title:59}" + "".join(f"{n:>{len(n) + 1}}" for n in names).rjust(41)]
    for row in profile.layers[:top]:
        times = row.seconds / row.floor if row.floor else None
        share = 100 * row.seconds / (profile.total / 1e9) if profile.total else None
        values = (row.forward / 1e6, row.backward / 1e6 or None, share, times)
        cells = (f"{short(v):>{len(n) + 1}}" for v, n in zip(values, names, strict=True))
        lines.append(f"{f'{row.stage}  {row.name}'[:59]:59}{''.join(cells).rjust(41)}".rstrip())
    return lines


def _line(name: str, row: Row, total: int) -> str:
    seconds = row.seconds
    computes = row.floor >= 5e-6  # of less, the ratio says only that a call takes time
    values: Sequence[float | None] = (
        row.calls or None,
        row.forward / 1e6 or None,
        row.backward / 1e6 or None,
        100 * seconds / (total / 1e9) if total else None,
        row.flop / 1e9 or None,
        None,
        row.flop / 1e9 / seconds if row.flop and seconds else None,
        1e3 * row.floor if computes else None,
        seconds / row.floor if computes else None,
        row.made / 1e6 or None,
        row.kept / 1e6 or None,
    )
    width = HEAD[0][1]
    texts = [short(value) for value in values]
    texts[5] = f"{row.moved / 1e9:.3f}" if row.moved >= 5e5 else ""
    cells = (f"{text:>{w}}" for text, (_, w) in zip(texts, HEAD[1:], strict=True))
    return f"{name[:width]:{width}}{''.join(cells)}".rstrip()


def short(value: float | None) -> str:
    """Three digits or more: 0.12, 1.23, 12.3, 123, 1234; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, int) or abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def closing(profile: Profile, measured: Measured) -> str:
    """What the tables do not say: the observer's cost, memory, what the floors were made with."""
    machine = profile.machine
    plain, observed = (1e3 * median(s) for s in (measured.plain, measured.observed))
    peak = "unknown here" if measured.peak is None else f"{measured.peak / 1e6:.0f} MB"
    rate, copied = machine.matrix_rate / 1e9, machine.bandwidth / 1e9
    lines = [
        f"step without the profile {plain:.1f} ms, with it {observed:.1f} ms "
        f"({100 * measured.overhead:+.1f} %); medians of {len(measured.plain)}",
        f"kept for the backward pass {profile.kept / 1e6:.1f} MB; "
        f"peak memory of this process {peak}",
        f"measured here, threads: {machine.threads}; matrix product {rate:.0f} GFLOP/s (float32), "
        f"copy {copied:.1f} GB/s (read + written)",
    ]
    if machine.disturbed and machine.other_rate:
        lines.append(
            f"the matrix product was measured twice, and was at {machine.other_rate / 1e9:.0f} "
            "GFLOP/s the other time:\nother programs were running, so do not trust these times"
        )
    return "\n".join(lines)
