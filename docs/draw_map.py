"""The map of the house as an SVG: rooms in rows, and arrows that are imports.

Rows are storeys: an arrow never leads up.  An arrow is drawn only where there is an import, and
only if it does not follow from others: models -> kernels is left out beside models -> nn ->
functional -> kernels.  The same source gives the same bytes on every machine.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from import_graph import ROOT, Import, find_modules
from rooms import ROOMS, room_of

SOURCE = (".py", ".cu", ".cuh", ".hpp", ".cpp", ".j2", ".js", ".css")
WIDTH, MARGIN, GUTTER = 900, 14, 92  # pixels; the gutter holds the storeys' names
UNIT, BOX, GAP, AIR = 39, 78, 36, 7  # a column; height of a room; between rows; beside a room
LANE, LANES, CORNER = 6, 5, 6  # between arrows side by side; how many fit; radius of a bend

# Row, first column, columns (of 20) and rows of every room of the map.
PLACES: dict[str, tuple[int, float, float, int]] = {
    "cli": (0, 0, 20, 1),
    "textbook": (1, 0, 10, 1),
    "kernel lab": (1, 11, 9, 1),
    "info": (2, 0, 4.8, 1),
    "profile": (2, 5.2, 4.8, 1),
    "testing": (2, 11, 3.7, 1),
    "doctor": (2, 15.4, 4.6, 1),
    "train": (3, 0, 5, 1),
    "draw": (3, 5, 4.3, 1),
    "evaluate": (3, 9.3, 4.7, 1),
    "classical": (3, 15.4, 4.6, 1),
    "weights": (4, 0, 4, 1),
    "models": (4, 4, 5.7, 1),
    "data": (4, 9.7, 4.3, 1),
    "nn": (5, 0, 4.6, 1),
    "boxes": (5, 4.6, 4.4, 1),
    "conventions": (5, 9, 5, 1),
    "functional": (6, 0, 8, 1),
    "autograd": (7, 0, 6, 1),
    "kernels": (7, 6, 8, 1),
    "system": (4, 15.4, 4.6, 4),
    "arrays and hooks": (8, 0, 20, 1),
}
STOREYS = (  # name, first and last row
    ("tools", 0, 2),
    ("use", 3, 3),
    ("network", 4, 5),
    ("engine", 6, 7),
    ("ground", 8, 8),
)
STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.paper { fill: #ffffff } .storey { fill: #f2f5f8 } .storey:nth-of-type(even) { fill: #e9eef3 }
.room { fill: #ffffff; stroke: #9fb0c0 } .ink { fill: #17212b } .soft { fill: #4d5d6c }
.arrow { fill: none; stroke: #3f6f9f; stroke-width: 1.4 } .head { fill: #3f6f9f }
@media (prefers-color-scheme: dark) {
.paper { fill: #0f151b } .storey { fill: #161e26 } .storey:nth-of-type(even) { fill: #1b2530 }
.room { fill: #22303d; stroke: #4a6075 } .ink { fill: #eef3f7 } .soft { fill: #b4c1cd }
.arrow { stroke: #86b7e6 } .head { fill: #86b7e6 }
}
"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Rectangle:
    """Where a room is drawn, in pixels; `first` and `last` are its rows."""

    x0: float
    y0: float
    x1: float
    y1: float
    first: int
    last: int


def top_of(row: int) -> float:
    """Upper edge of a row's rooms."""
    return MARGIN + AIR + row * (BOX + GAP)


def rectangle(name: str) -> Rectangle:
    """Where a room is drawn."""
    row, column, columns, rows = PLACES[name]
    left = MARGIN + GUTTER
    return Rectangle(
        left + column * UNIT + AIR,
        top_of(row),
        left + (column + columns) * UNIT - AIR,
        top_of(row + rows - 1) + BOX,
        row,
        row + rows - 1,
    )


def room_edges(imports: Iterable[Import]) -> dict[str, set[str]]:
    """For every room of the map the rooms of the map that it imports."""
    edges: dict[str, set[str]] = {name: set() for name in PLACES}
    for edge in imports:
        here, there = room_of(edge.importer).name, room_of(edge.imported).name
        if here != there and here in edges and there in edges:
            edges[here].add(there)
    return edges


def shortest(edges: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """The edges that do not follow from others: the graph's transitive reduction."""

    def reached(name: str) -> set[str]:
        found: set[str] = set()
        waiting = list(edges[name])
        while waiting:
            other = waiting.pop()
            if other not in found:
                found.add(other)
                waiting += edges[other]
        return found

    return [
        (here, there)
        for here in edges
        for there in sorted(edges[here])
        if not any(there in reached(other) for other in edges[here] - {there})
    ]


def sizes(root: pathlib.Path = ROOT) -> dict[str, tuple[int, int]]:
    """Files and lines of source of every room, kernels and pages included."""
    counts = {room.name: (0, 0) for room in ROOMS}
    modules = {path: name for name, path in find_modules(root).items()}
    for folder, package in (
        (root / "minimask", "minimask"),
        (root / "kernels", "minimask.kernels"),
    ):
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.suffix not in SOURCE:
                continue
            name = modules.get(path, ".".join((package, *parts[:-1], "_")))
            room = room_of(name).name
            files, lines = counts[room]
            text = path.read_text(encoding="utf-8")
            counts[room] = files + 1, lines + text.count("\n")
    return counts


def size_text(files: int, lines: int) -> str:
    """Rounded up to hundreds of lines, so that the map need not be drawn again every day."""
    hundreds = -(-lines // 100)
    amount = f"{hundreds / 10:g} k" if hundreds >= 10 else f"{hundreds * 100}"
    return f"{files} file{'s' * (files != 1)}, {amount} lines"


def blocked(x: float, rows: Iterable[int]) -> bool:
    """Whether a room stands at `x` in one of the rows."""
    return any(
        r.first <= row <= r.last and r.x0 - AIR / 2 < x < r.x1 + AIR / 2
        for r in map(rectangle, PLACES)
        for row in rows
    )


class Router:
    """Leads arrows round the rooms, each in a lane of its own."""

    def __init__(self, arrows: list[tuple[str, str]]):
        self.lanes: dict[int, int] = {}  # of every gap between rows, how many are in use
        self.columns: set[float] = set()  # where an arrow goes down past a row already
        ports = self._ports(arrows, 0), self._ports(arrows, 1)
        for arrow in arrows:  # straight down where one end is free to move
            for end in (0, 1):
                r, x = rectangle(arrow[end]), ports[1 - end][arrow]
                alone = sum(other[end] == arrow[end] for other in arrows) == 1
                if alone and r.x0 + 2 * CORNER < x < r.x1 - 2 * CORNER:
                    ports[end][arrow] = x
                    break
        self.leaving, self.entering = ports

    def _ports(self, arrows: list[tuple[str, str]], end: int) -> dict[tuple[str, str], float]:
        """Where arrows leave (end 0) or enter (end 1): side by side, in the order of the others."""
        ports = {}
        for name in PLACES:
            r = rectangle(name)
            mine = [arrow for arrow in arrows if arrow[end] == name]
            mine.sort(key=lambda arrow: _middle(arrow[1 - end]))
            for i, arrow in enumerate(mine):
                ports[arrow] = round(r.x0 + (r.x1 - r.x0) * (i + 1) / (len(mine) + 1))
        return ports

    def lane(self, row: int) -> float:
        """A free height in the gap below `row`."""
        used = self.lanes[row] = self.lanes.get(row, 0) + 1
        return top_of(row) + BOX + 5 + (used - 1) % LANES * 5

    def path(self, arrow: tuple[str, str]) -> list[Point]:
        """The corners of an arrow from one room to another."""
        here, there = map(rectangle, arrow)
        if here.first == there.first:
            y = (here.y0 + here.y1) / 2
            return [(here.x1, y), (there.x0, y)]
        x, target = self.leaving[arrow], self.entering[arrow]
        start = (x, here.y1)
        if there.first <= here.last < there.last:  # beside: enter from the left
            y = self.lane(here.last)
            return [start, (x, y), (there.x0, y)]
        between = range(here.last + 1, there.first)
        if not between:
            if abs(x - target) < 1:
                return [start, (x, there.y0)]
            y = self.lane(here.last)
            return [start, (x, y), (target, y), (target, there.y0)]
        column = self._column(x, target, between)
        points = [start]
        if column != x:
            y = self.lane(here.last)
            points += [(x, y), (column, y)]
        if column != target:
            y = self.lane(there.first - 1)
            points += [(column, y), (target, y)]
        return [*points, (target, there.y0)]

    def _column(self, x: float, target: float, rows: range) -> float:
        """Where to go down past `rows`: the free place that makes the shortest way."""
        free = [
            at
            for at in [x, target, *range(MARGIN + GUTTER, WIDTH - MARGIN, LANE)]
            if not blocked(at, rows) and all(abs(at - used) >= LANE for used in self.columns)
        ]
        best = min(free, key=lambda at: (abs(at - x) + abs(at - target), at))
        self.columns.add(best)
        return best


def _middle(name: str) -> float:
    here = rectangle(name)
    return (here.x0 + here.x1) / 2


def rounded(points: list[Point]) -> str:
    """An SVG path through the points, with round corners."""
    text = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        a, b = _towards(at, before), _towards(at, after)
        text += f"L{a[0]:g} {a[1]:g}Q{at[0]:g} {at[1]:g} {b[0]:g} {b[1]:g}"
    return text + f"L{points[-1][0]:g} {points[-1][1]:g}"


def _towards(at: Point, other: Point) -> Point:
    dx, dy = other[0] - at[0], other[1] - at[1]
    length = abs(dx) + abs(dy)  # one of them is zero
    step = min(CORNER, length / 2) / length if length else 0
    return at[0] + dx * step, at[1] + dy * step


def wrapped(text: str, width: float) -> list[str]:
    """Words in lines of at most `width` pixels, in 12-pixel letters of usual width."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1] + word) + 1 > width / 6.1:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_room(name: str, what: str, size: str) -> str:
    """One room: its name, what it is for, how large it is."""
    r = rectangle(name)
    middle = (r.x0 + r.x1) / 2
    lines = wrapped(what, r.x1 - r.x0 - 12)
    y = (r.y0 + r.y1) / 2 - (len(lines) + 1) * 7.5 + 5
    parts = [
        f'<rect class="room" x="{r.x0:g}" y="{r.y0:g}" width="{r.x1 - r.x0:g}" '
        f'height="{r.y1 - r.y0:g}" rx="7"/>',
        f'<text class="ink" x="{middle:g}" y="{y:g}" font-size="15" font-weight="600" '
        f'text-anchor="middle">{escape(name)}</text>',
    ]
    for i, line in enumerate([*lines, size]):
        kind = "ink" if i < len(lines) else "soft"
        font = 12 if i < len(lines) else 11
        parts.append(
            f'<text class="{kind}" x="{middle:g}" y="{y + 16 + 15 * i:g}" font-size="{font}" '
            f'text-anchor="middle">{escape(line)}</text>'
        )
    return "\n".join(parts)


def draw_map(imports: Iterable[Import]) -> str:
    """The whole map as the text of an SVG file.

    Raises:
        ValueError: a room has no place on the map.
    """
    missing = {room.name for room in ROOMS} - PLACES.keys() - {"import minimask"}
    if missing:
        raise ValueError(f"docs/draw_map.py: PLACES lacks {', '.join(sorted(missing))}")
    arrows = shortest(room_edges(imports))
    height = top_of(8) + BOX + AIR + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" height="{height:g}" role="img" aria-labelledby="title">',
        '<title id="title">Rooms of minimask in rows; an arrow leads from who imports to what is '
        "imported, always down or to the right</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="head" d="M0 0L8 4L0 8Z"/></marker></defs>',
        f'<rect class="paper" width="{WIDTH}" height="{height:g}" rx="10"/>',
    ]
    for name, first, last in STOREYS:
        y0, y1 = top_of(first) - AIR - 3, top_of(last) + BOX + AIR + 3
        parts.append(
            f'<rect class="storey" x="{MARGIN}" y="{y0:g}" width="{WIDTH - 2 * MARGIN}" '
            f'height="{y1 - y0:g}" rx="8"/>'
        )
        parts.append(
            f'<text class="soft" x="{MARGIN + 12}" y="{(y0 + y1) / 2 + 5:g}" font-size="14" '
            f'font-weight="600">{name}</text>'
        )
    router = Router(arrows)
    for arrow in arrows:
        d = rounded(router.path(arrow))
        title = f"{arrow[0]} imports {arrow[1]}"
        parts.append(
            f'<path class="arrow" d="{d}" marker-end="url(#head)"><title>{title}</title></path>'
        )
    counted = sizes()
    parts += [
        draw_room(room.name, room.what, size_text(*counted[room.name]))
        for room in ROOMS
        if room.name in PLACES
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"
