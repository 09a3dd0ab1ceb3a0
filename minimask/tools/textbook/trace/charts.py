"""Charts as SVG: sharp at any size, in the colors of the page around them, no script.

Every chart is narrow, so that its letters stay readable on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import escape

from minimask.tools.textbook.trace.steps import Picture

WIDTH = 400  # pixels
ROW = 20  # pixels of a bar with its gap
LETTER = 7.2  # pixels of width, about
LABELS = 190  # pixels for the names of bars, at most
VALUE = 64  # pixels for their values
BLUE, GREEN, RED, ORANGE = "#2f7fd0", "#14936b", "#d5572a", "#c98500"


def bars(
    names: Sequence[str],
    values: Sequence[float],
    caption: str,
    *,
    texts: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
    logarithmic: bool = False,
) -> Picture:
    """Horizontal bars from zero, a name before and a value behind each.

    Args:
        names: of the bars.
        values: at least 0; with `logarithmic`, the length is the logarithm's from the smallest on.
        caption: of the chart.
        texts: the values in words; default: three digits of them.
        colors: of each bar.
        logarithmic: for values of very different sizes.
    """
    texts = texts or [f"{value:.3g}" for value in values]
    label = min(LABELS, 10 + LETTER * max(map(len, names), default=0))
    room, height = WIDTH - label - VALUE, ROW * len(names) + 4
    lengths = _lengths(np.asarray(values, np.float64), logarithmic)
    parts = []
    for i, (name, text, length) in enumerate(zip(names, texts, lengths, strict=True)):
        y, color = ROW * i + 2, colors[i] if colors else BLUE
        shown = escape(_cut(name, 27))
        parts.append(
            f'<text x="{label - 6:.0f}" y="{y + 13}" text-anchor="end">{shown}</text>'
            f'<rect x="{label:.0f}" y="{y + 2}" width="{max(length * room, 0.5):.1f}" '
            f'height="{ROW - 5}" fill="{color}"/>'
            f'<text x="{label + length * room + 5:.1f}" y="{y + 13}">{escape(text)}</text>'
        )
    return _chart(parts, WIDTH, height, caption)


def _lengths(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Lengths 0 .. 1 of bars; what is not finite or not above 0 has none."""
    good = np.isfinite(values) & (values > 0)
    if not good.any():
        return np.zeros(len(values))
    if not logarithmic:
        return np.where(good, values, 0) / values[good].max()
    logs = np.log10(np.where(good, values, 1))
    low, high = logs[good].min() - 0.3, logs[good].max()
    return np.where(good, (logs - low) / max(high - low, 1e-9), 0)


def histogram(
    values: np.ndarray,
    caption: str,
    *,
    bins: int = 40,
    limits: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    logarithmic: bool = False,
    width: int = WIDTH,
) -> Picture:
    """How often values fall between neighboring bounds.

    Args:
        values: any shape; what is not finite is left out.
        caption: of the chart.
        bins: number of them.
        limits: of the axis; default: of the values.  What lies beyond goes into the end bins.
        marks: vertical lines: where, and what they say.
        logarithmic: heights are logarithms of the counts.
        width: pixels.
    """
    known = np.asarray(values, np.float64).ravel()
    known = known[np.isfinite(known)]
    low, high = limits or (float(known.min(initial=0)), float(known.max(initial=0)))
    high = high if high > low else low + 1
    counts, _ = np.histogram(np.clip(known, low, high), bins, (low, high))
    tall, top, bottom = 110, 16, 18
    heights = np.log1p(counts) if logarithmic else counts.astype(np.float64)
    heights = heights / max(heights.max(), 1e-9) * tall
    step = (width - 8) / bins
    parts = [
        f'<rect x="{4 + i * step:.2f}" y="{top + tall - h:.1f}" width="{step * 0.9:.2f}" '
        f'height="{h:.1f}" fill="{BLUE}"/>'
        for i, h in enumerate(heights)
        if h > 0
    ]
    y = top + tall
    parts.append(f'<path d="M4 {y}H{width - 4}" stroke="currentColor" stroke-opacity=".5"/>')
    parts.append(f'<text x="4" y="{y + 14}">{low:.3g}</text>')
    parts.append(f'<text x="{width - 4}" y="{y + 14}" text-anchor="end">{high:.3g}</text>')
    for where, words in marks:
        x = 4 + (np.clip(where, low, high) - low) / (high - low) * (width - 8)
        room = LETTER * len(words)  # outwards where there is, so that two marks keep apart
        side = "end" if x > room and (x < width / 2 or x + room > width) else "start"
        parts.append(
            f'<path d="M{x:.1f} {top - 4}V{y}" stroke="{RED}" stroke-dasharray="4 3"/>'
            f'<text x="{x:.1f}" y="{top - 6}" text-anchor="{side}">{escape(words)}</text>'
        )
    most = f"highest: {int(counts.max(initial=0))}"
    parts.append(f'<text x="{width / 2}" y="{y + 14}" text-anchor="middle">{most}</text>')
    return _chart(parts, width, y + bottom, caption)


def scatter(x: np.ndarray, y: np.ndarray, caption: str, size: tuple[int, int]) -> Picture:
    """Points in a frame of `size` (height, width), y downwards as in images."""
    height, width = size
    wide, tall = 200, max(40, min(240, round(200 * height / width)))
    across, down = (wide - 8) / max(width, 1), (tall - 8) / max(height, 1)
    parts = [f'<rect x="4" y="4" width="{wide - 8}" height="{tall - 8}" class="frame"/>']
    parts += [
        f'<circle cx="{4 + a * across:.1f}" cy="{4 + b * down:.1f}" r="1.6" fill="{BLUE}" '
        f'fill-opacity=".5"/>'
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    return _chart(parts, wide, tall, caption)


def matrix(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], caption: str
) -> Picture:
    """Numbers 0 .. 1 in squares, the darker the larger.

    Args:
        values: (rows, columns).
        rows: names.
        columns: names.
        caption: of the chart.
    """
    cell, left, top = 58, 120, 24
    parts = [
        f'<text x="{left + cell * (j + 0.5)}" y="{top - 8}" text-anchor="middle">'
        f"{escape(_cut(name, 8))}</text>"
        for j, name in enumerate(columns)
    ]
    for i, name in enumerate(rows):
        y = top + i * 24
        parts.append(
            f'<text x="{left - 6}" y="{y + 16}" text-anchor="end">{escape(_cut(name, 17))}</text>'
        )
        for j in range(len(columns)):
            value, x = float(values[i, j]), left + j * cell
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="22" fill="{GREEN}" '
                f'fill-opacity="{0.06 + 0.75 * value:.2f}"/>'
                f'<text x="{x + cell / 2 - 1}" y="{y + 16}" text-anchor="middle">{value:.2f}</text>'
            )
    return _chart(parts, left + cell * len(columns) + 4, top + 24 * len(rows) + 4, caption)


def _chart(parts: Sequence[str], width: int, height: int, caption: str) -> Picture:
    """The whole drawing."""
    svg = (
        f'<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(caption)}" fill="currentColor" '
        f'font-size="12" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
    return Picture(caption, svg, width, height, width, drawing=True)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
