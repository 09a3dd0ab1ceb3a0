"""The profile for programs: JSON, and a trace for a viewer such as Perfetto."""

from __future__ import annotations

from typing import Any

from minimask._version import __version__
from minimask.tools.profile.observer import Observer
from minimask.tools.profile.repeat import Measured
from minimask.tools.profile.summary import Profile, Row


def as_json(profile: Profile, measured: Measured | None = None) -> dict[str, Any]:
    """Everything the tables show and more: every layer, exact numbers."""
    machine = profile.machine
    repeats = measured and {
        "ms_without_profile": [1e3 * seconds for seconds in measured.plain],
        "ms_with_profile": [1e3 * seconds for seconds in measured.observed],
        "peak_memory_bytes": measured.peak,
    }
    return {
        "minimask": __version__,
        **(repeats or {}),
        "machine": {
            "matrix_gflop_per_s": machine.matrix_rate / 1e9,
            "disturbed": machine.disturbed,
            "copy_gb_per_s": machine.bandwidth / 1e9,
            "threads": machine.threads,
        },
        "total_ms": profile.total / 1e6,
        "kept_bytes": profile.kept,
        "stages": [_row(row) for row in profile.stages],
        "operations": [_row(row) for row in profile.operations],
        "layers": [_row(row) for row in profile.layers],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        **({"in": row.stage} if row.stage else {}),
        "calls": row.calls,
        "forward_ms": row.forward / 1e6,
        "backward_ms": row.backward / 1e6,
        "gflop": row.flop / 1e9,
        "moved_bytes": row.moved,
        "floor_ms": 1e3 * row.floor,
        "made_bytes": row.made,
        "kept_bytes": row.kept,
    }


def as_trace(observer: Observer) -> dict[str, Any]:
    """One step as complete events of the Chrome trace format, times in microseconds.

    Open it in a trace viewer, for example Perfetto: stages lie over layers, these over operations.
    """
    begin = observer.start

    def event(name: str, kind: str, start: int, end: int, **more: Any) -> dict[str, Any]:
        times = {"ts": (start - begin) / 1e3, "dur": (end - start) / 1e3}
        return {"name": name, "cat": kind, "ph": "X", "pid": 0, "tid": 0, **times, "args": more}

    events = [
        event(place.layer, place.phase, place.since, end, stage=place.stage)
        for place, end in observer.spans
    ]
    for record in observer.records:
        call, place = record.call, record.place
        shapes = " ".join("x".join(map(str, shape)) for shape in call.inputs)
        events.append(
            event(
                call.name,
                place.phase,
                record.start,
                record.end,
                stage=place.stage,
                layer=place.layer,
                inputs=shapes,
            )
        )
    events.sort(key=lambda e: (e["ts"], -e["dur"]))
    return {"displayTimeUnit": "ms", "traceEvents": events}
