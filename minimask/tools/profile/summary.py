"""From what an observer noted to rows: by stage, by kind of operation, by layer.

The rows of the first two tables add up to the whole time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from minimask.tools.profile.costs import cost_of
from minimask.tools.profile.machine import Machine
from minimask.tools.profile.observer import FORWARD, Observer, Record
from minimask.tools.profile.stages import BETWEEN, OWN, sorted_stages


@dataclass
class Row:
    """What operations of one kind, or in one place, cost together."""

    name: str
    stage: str = ""  # of a row by stage or layer
    calls: int = 0  # forward
    forward: int = 0  # nanoseconds; also what is neither, such as the optimizer
    backward: int = 0
    flop: float = 0.0  # twice the multiply-adds of convolutions, matrix products and RoIAlign
    moved: int = 0  # bytes that had to be read and written
    floor: float = 0.0  # seconds
    made: int = 0  # bytes of results
    kept: int = 0  # bytes of them that stay for the backward pass

    @property
    def seconds(self) -> float:
        """Forward and backward."""
        return (self.forward + self.backward) / 1e9

    def add(self, record: Record, machine: Machine) -> None:
        """Count one operation."""
        cost, forward = cost_of(record.call), record.place.phase == FORWARD
        flop = cost.forward(record.call) if forward else cost.backward(record.call)
        self.spend(record.place.phase, record.end - record.start)
        self.calls += forward
        self.flop += flop
        self.moved += record.moved
        self.floor += machine.floor(flop, record.moved)
        self.made += record.made
        self.kept += record.kept

    def spend(self, phase: str, nanoseconds: int) -> None:
        """Count time in which nothing was computed that has a cost."""
        if phase == FORWARD:
            self.forward += nanoseconds
        else:
            self.backward += nanoseconds


def summed(name: str, rows: Iterable[Row]) -> Row:
    """One row for several."""
    total = Row(name)
    for row in rows:
        for part in ("calls", "forward", "backward", "flop", "moved", "floor", "made", "kept"):
            setattr(total, part, getattr(total, part) + getattr(row, part))
    return total


@dataclass(frozen=True)
class Profile:
    """Where one step spent its time and memory.

    Attributes:
        total: nanoseconds, which is also the sum over `stages` and the sum over `operations`.
        stages: for each stage its operations, then what was between them; the observer last.
        operations: by kind, most time first; then what was between them, and the observer.
        layers: by layer and kind, most time first; operations only.
        observer: what they were made of.
        machine: what the floors were computed with.
    """

    total: int
    stages: list[Row]
    operations: list[Row]
    layers: list[Row]
    observer: Observer = field(repr=False)
    machine: Machine

    @property
    def kept(self) -> int:
        """Bytes that stay until the backward pass: all activations, no parameters."""
        return sum(row.kept for row in self.stages)


def summarize(observer: Observer, machine: Machine) -> Profile:
    """Add up what an observer noted."""
    own = Row(OWN, forward=observer.own)
    kinds = _rows(observer.records, machine, lambda r: ("", _label(r)))
    layers = _rows(observer.records, machine, lambda r: (r.place.layer, _label(r)))
    between = Row(BETWEEN)
    for (_, phase), nanoseconds in observer.between.items():
        between.spend(phase, nanoseconds)
    return Profile(
        observer.total,
        [*_stage_rows(observer, machine), own],
        [*_slowest_first(kinds), between, own],
        _slowest_first(layers),
        observer,
        machine,
    )


def _label(record: Record) -> str:
    call = record.call
    # a backward pass whose forward pass was not watched has no shapes to take a label from
    return cost_of(call).label(call) if call.inputs else call.name


def _rows(
    records: Iterable[Record], machine: Machine, key: Callable[[Record], tuple[str, str]]
) -> list[Row]:
    """A row for every key (stage or layer, name), in the order they first occur."""
    rows: dict[tuple[str, str], Row] = {}
    for record in records:
        place, name = key(record)
        rows.setdefault((place, name), Row(name, place)).add(record, machine)
    return list(rows.values())


def _slowest_first(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row.seconds)


def _stage_rows(observer: Observer, machine: Machine) -> list[Row]:
    """For each stage a row of its operations, if it has any, and one of what is between them."""
    operations = {
        row.stage: row
        for row in _rows(observer.records, machine, lambda r: (r.place.stage, r.place.stage))
    }
    between: dict[str, Row] = {}
    for (stage, phase), nanoseconds in observer.between.items():
        between.setdefault(stage, Row(BETWEEN, stage)).spend(phase, nanoseconds)
    rows = []
    for stage in sorted_stages(operations.keys() | between.keys()):
        rows += [table[stage] for table in (operations, between) if stage in table]
    return rows
