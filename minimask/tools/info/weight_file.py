"""What is in a file of weights: which network, how its numbers are spread, what looks wrong.

Nothing is built: everything here comes from the names, shapes and numbers in the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from minimask.weights.anatomy import anatomy
from minimask.weights.files import read_contents
from minimask.weights.source import Source, read_source
from minimask.weights.systems import COUNTER

LARGE = 1e4  # no weight of a trained network is; variances of the first layers are
MOST = 6  # arrays that a finding names
CONTAINERS = {
    "torch": "zip of torch",
    "torch (old layout)": "torch, its layout before 1.6",
    "pickle": "pickled arrays",
    "hdf5": "HDF5 of Keras",
}
_PART = re.compile(
    r"^(backbone\.body\.layer\d|backbone\.body|backbone\.\w+|rpn\.head\.\w+|rpn|roi_heads\.\w+"
    r"|head\.\w+|layer\d|\w+)"
)
_NORMS = {
    "frozen_batch": "frozen batch norm",
    "batch": "batch norm",
    "group": "group norm",
    None: "no norm",
}


@dataclass(frozen=True)
class ArrayFacts:
    """One array: what can be said of it in a line; the numbers count finite values only."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float
    low: float
    high: float
    strange: int  # values that are NaN or infinite

    @classmethod
    def of(cls, name: str, array: np.ndarray) -> ArrayFacts:
        """The facts of an array; of an empty one the numbers are NaN."""
        values = array.astype(np.float64, copy=False) if array.dtype.kind in "fiub" else array
        with np.errstate(all="ignore"):
            finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()

        def of(statistic: Callable[..., Any]) -> float:
            return float(statistic(finite)) if finite.size else float("nan")

        return cls(
            name=name,
            shape=tuple(array.shape),
            dtype=str(array.dtype),
            mean=of(np.mean),
            std=of(np.std),
            low=of(np.min),
            high=of(np.max),
            strange=int(array.size - finite.size),
        )


@dataclass(frozen=True)
class Part:
    """The arrays of one part of the network together."""

    name: str
    arrays: int
    numbers: int
    rms: float  # root mean square of the weights, without norms' statistics
    largest: float  # absolute value


@dataclass(frozen=True)
class Inspection:
    """A file of weights, looked at.

    Attributes:
        path: the file that was read (of a run: the file in it).
        size: bytes.
        container: the kind of file.
        system: whose names it has.
        network: what `minimask.models.build` calls it; None: none that is known.
        words: what it is, in a sentence, or why it is no network that is known.
        classes: without background; None: not known.
        class_names: where the file says them.
        convention: whose choices it follows.
        norms: of the backbone.
        facts: every array, by its name in the file.
        parts: the same in groups, by the names that minimask's models use.
        findings: what looks wrong, a sentence each.
        remarks: what is in the file besides and was left out, a sentence each.
    """

    path: Path
    size: int
    container: str
    system: str
    network: str | None
    words: str
    classes: int | None
    class_names: tuple[str, ...] | None
    convention: str | None
    norms: str
    facts: tuple[ArrayFacts, ...]
    parts: tuple[Part, ...]
    findings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def numbers(self) -> int:
        """Of all arrays."""
        return sum(int(np.prod(fact.shape)) for fact in self.facts)

    @property
    def dtypes(self) -> dict[str, int]:
        """How many arrays there are of each kind of numbers."""
        return dict(Counter(fact.dtype for fact in self.facts))

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        plain = ("size", "container", "system", "network", "words", "classes", "convention")
        return {
            "path": str(self.path),
            **{name: getattr(self, name) for name in plain},
            "class_names": self.class_names,
            "norms": self.norms,
            "numbers": self.numbers,
            "dtypes": self.dtypes,
            "parts": [vars(part) for part in self.parts],
            "arrays": [vars(fact) for fact in self.facts],
            "findings": list(self.findings),
            "remarks": list(self.remarks),
        }


def inspect_weights(path: str | PathLike[str]) -> Inspection:
    """Look at a file of weights, a run's folder or a checkpoint's.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no file of weights, or a damaged one.
    """
    source = read_source(path)
    contents = read_contents(source.path)
    inside = contents.arrays
    facts = tuple(ArrayFacts.of(name, array) for name, array in inside.items())
    network = (source.config or {}).get("model")
    seen = anatomy(source.shapes)
    classes = source.classes
    count = len(classes) if classes else (seen.outputs - 1 if seen.outputs else None)
    return Inspection(
        path=source.path,
        size=source.path.stat().st_size,
        container=CONTAINERS.get(contents.kind, contents.kind),
        system=source.system,
        network=None if network is None else str(network),
        words=_words(source),
        classes=count,
        class_names=classes,
        convention=_convention(source),
        norms=_NORMS[seen.body.norm if seen.body else None],
        facts=facts,
        parts=tuple(_parts(source.arrays)),
        findings=tuple(findings(inside, facts)),
        remarks=contents.remarks,
    )


def _words(source: Source) -> str:
    """What it is, in a sentence."""
    if source.words:
        return source.words
    return f"{(source.config or {}).get('model')}, as the file says"


def _convention(source: Source) -> str | None:
    chosen = source.convention or (source.config or {}).get("convention")
    if isinstance(chosen, Mapping):
        return str(chosen.get("name", "its own"))
    return str(chosen) if chosen else None


def _parts(arrays: Mapping[str, np.ndarray]) -> list[Part]:
    """The arrays in groups, in the order of the file."""
    groups: dict[str, list[tuple[str, np.ndarray]]] = {}
    for name, array in arrays.items():
        found = _PART.match(name)
        groups.setdefault(found[1] if found else name, []).append((name, array))
    parts = []
    for part, members in groups.items():
        weights = [a for n, a in members if a.dtype.kind == "f" and "running_" not in n]
        total = sum(float(np.square(a, dtype=np.float64).sum()) for a in weights)
        count = sum(a.size for a in weights)
        largest = max((float(np.abs(a).max()) for a in weights if a.size), default=0.0)
        numbers = sum(a.size for _, a in members)
        rms = (total / count) ** 0.5 if count else float("nan")
        parts.append(Part(part, len(members), numbers, rms, largest))
    return parts


def findings(arrays: Mapping[str, np.ndarray], facts: Sequence[ArrayFacts]) -> list[str]:
    """What looks wrong in the arrays of a file, a sentence for each kind."""
    weights = [fact for fact in facts if not fact.name.endswith(COUNTER)]
    variances = re.compile(r"(running_var|moving_variance(:0)?)$")
    kinds = {
        "hold NaN or infinite values": [f.name for f in weights if f.strange],
        "are variances below 0": [
            f.name for f in weights if variances.search(f.name) and f.low < 0
        ],
        "hold whole numbers": [f.name for f in weights if arrays[f.name].dtype.kind in "iub"],
        f"hold values above {LARGE:g}": [
            f.name
            for f in weights
            if not variances.search(f.name) and max(abs(f.low), abs(f.high)) > LARGE
        ],
        "are all 0": [
            f.name for f in weights if len(f.shape) > 1 and f.low == f.high == 0 and not f.strange
        ],
    }
    return [
        f"{len(names)} array{'s' * (len(names) != 1)} {kind}: {', '.join(names[:MOST])}"
        + (", ..." if len(names) > MOST else "")
        for kind, names in kinds.items()
        if names
    ]


def table(found: Inspection, *, every: bool = False) -> str:
    """The inspection as text: facts, then the parts of the network, or every array."""
    names = ", ".join(found.class_names[:8]) if found.class_names else "the file does not name them"
    more = ", ..." if found.class_names and len(found.class_names) > 8 else ""
    dtypes = ", ".join(f"{kind} ({count})" for kind, count in found.dtypes.items())
    lines = [
        ("file", f"{found.path} ({found.size / 1e6:.1f} MB, {found.container})"),
        ("system", found.system),
        ("network", found.words),
        ("classes", f"{found.classes}: {names}{more}" if found.classes else "not known"),
        ("convention", found.convention or "not known"),
        ("norms", f"{found.norms} in the backbone"),
        ("numbers", f"{found.numbers:,} in {len(found.facts)} arrays: {dtypes}"),
    ]
    text = "\n".join(f"{name:<11} {value}" for name, value in lines)
    text += "\n\n" + (_every(found) if every else _grouped(found))
    text += "".join(f"\n{remark}" for remark in found.remarks)
    text += "".join(f"\n! {finding}" for finding in found.findings)
    return text if found.findings else f"{text}\nnothing looks wrong"


def _grouped(found: Inspection) -> str:
    width = max([len(part.name) for part in found.parts], default=4)
    rows = [f"{'part':<{width}}  {'arrays':>6}  {'numbers':>12}  {'rms':>9}  {'largest':>9}"]
    rows += [
        f"{p.name:<{width}}  {p.arrays:>6}  {p.numbers:>12,}  {p.rms:>9.3g}  {p.largest:>9.3g}"
        for p in found.parts
    ]
    return "\n".join([*rows, "every array by itself: --all"])


def _every(found: Inspection) -> str:
    width = max([len(fact.name) for fact in found.facts], default=4)
    shapes = [" x ".join(map(str, fact.shape)) or "one number" for fact in found.facts]
    wide = max([len(shape) for shape in shapes], default=5)
    rows = [
        f"{'array':<{width}}  {'shape':<{wide}}  {'numbers':<8}  {'mean':>9}  {'std':>9}  "
        f"{'least':>9}  {'most':>9}"
    ]
    rows += [
        f"{f.name:<{width}}  {shape:<{wide}}  {f.dtype:<8}  {f.mean:>9.3g}  {f.std:>9.3g}  "
        f"{f.low:>9.3g}  {f.high:>9.3g}"
        for f, shape in zip(found.facts, shapes, strict=True)
    ]
    return "\n".join(rows)
