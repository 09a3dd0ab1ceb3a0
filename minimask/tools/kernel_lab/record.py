"""What every rung has passed, and with which sources: `kernels/record.json`.

A tier counts only while the sources are the ones that passed it.  The sources of a rung are its
module and what that imports of its own folder, and for CUDA C++ the `.cu` files that its functions
launch, with everything they include.
"""

from __future__ import annotations

import ast
import datetime
import functools
import hashlib
import json
import pathlib
import subprocess
from collections.abc import Iterable, Mapping
from types import CodeType
from typing import Any

from minimask.kernels import OPERATIONS
from minimask.kernels.launch import Program
from minimask.kernels.sources import ROOT
from minimask.system.files import write_whole
from minimask.tools.kernel_lab import values
from minimask.tools.kernel_lab.tiers import Result, tiers_of

FILE = ROOT / "record.json"
Entries = dict[str, dict[str, dict[str, dict[str, str]]]]  # operation, rung, tier, what is known


def read(file: pathlib.Path = FILE) -> Entries:
    """The record; empty if there is none yet.

    Raises:
        ValueError: the file is no JSON.
    """
    if not file.is_file():
        return {}
    try:
        found: Entries = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: no JSON ({error}); remove it and run the check again") from None
    return found


def passed(entries: Entries, op: str, variant: str) -> dict[str, dict[str, str]]:
    """The tiers a rung has passed in the form it has now, with what is known of each."""
    known = entries.get(op, {}).get(variant, {})
    now = digest(op, variant)
    return {tier: entry for tier, entry in known.items() if entry["sources"] == now}


def update(results: Iterable[tuple[str, Result]], file: pathlib.Path = FILE) -> Entries:
    """Write results into the record: passed tiers are noted, failed ones forgotten.

    What a machine cannot run stays as it was.  Rungs that no longer exist are dropped.
    """
    entries = read(file)
    for op, result in results:
        rung = entries.setdefault(op, {}).setdefault(result.variant, {})
        if result.passed:
            rung[result.tier] = _entry(op, result)
        elif result.passed is False:
            rung.pop(result.tier, None)
    tidy = {
        op: {name: dict(sorted(tiers.items())) for name, tiers in _existing(op, rungs)}
        for op, rungs in sorted(entries.items())
        if op in OPERATIONS
    }
    write_whole(file, (json.dumps(tidy, indent=1) + "\n").encode())
    return tidy


def _existing(op: str, rungs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    variants = values.variants(op)
    return [
        (name, {t: e for t, e in rungs[name].items() if t in tiers_of(variants[name])})
        for name in variants
        if rungs.get(name)
    ]


def _entry(op: str, result: Result) -> dict[str, str]:
    entry = {
        "date": datetime.date.today().isoformat(),
        "sources": digest(op, result.variant),
        "checked": result.text,
    }
    return entry | (_machine() if result.tier == "gpu" else {})


@functools.cache
def _machine() -> dict[str, str]:
    """Which GPU, driver and commit a result is of."""
    import cupy

    runtime = cupy.cuda.runtime
    version = runtime.driverGetVersion()
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "device": runtime.getDeviceProperties(0)["name"].decode(),
        "driver": f"CUDA {version // 1000}.{version % 1000 // 10}",
        "commit": commit.stdout.strip() or "unknown",
    }


# ---- the sources of a rung


def digest(op: str, variant: str) -> str:
    """A short hash of everything a rung is made of."""
    key = hashlib.sha256()
    for name, text in sorted(sources(op, variant).items()):
        key.update(f"{name}\0{text}\0".encode())
    return key.hexdigest()[:16]


def sources(op: str, variant: str) -> dict[str, str]:
    """The files of a rung with their texts, by their path in the operation's folder.

    `.cu` files come with what they include.
    """
    found: dict[str, str] = {}
    chosen = values.variants(op)[variant]
    _add_module(op, chosen.module, found)
    if chosen.folder == "cuda":
        for program in _programs(op, variant):
            found[program.path.relative_to(values.folder(op)).as_posix()] = program.source()
    return found


def _add_module(op: str, module: str, found: dict[str, str]) -> None:
    """A module of an operation's folder, and those of the folder that it imports."""
    name = module.replace(".", "/") + ".py"
    path = values.folder(op) / name
    if name in found or not path.is_file():
        return
    found[name] = path.read_text(encoding="utf-8")
    package = f"minimask.kernels.{op}"
    for node in ast.walk(ast.parse(found[name])):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            inner = f"{node.module}.".removeprefix(f"{package}.")
            _add_module(op, inner.removesuffix("."), found)
            for alias in node.names:  # from a folder: its modules, by name
                _add_module(op, f"{inner}{alias.name}", found)


def _programs(op: str, variant: str) -> list[Program]:
    """The programs that a rung's functions name, directly or through other functions."""
    module = values.module(op, variant)
    found: dict[Program, None] = {}
    names = {values.PARTS.get(f, f) for f in OPERATIONS[op]}
    rung = values.variants(op)[variant].rung
    functions = [getattr(module, f"{n}_{rung}" if rung else n, None) for n in sorted(names)]
    seen: set[int] = set()
    for function in functions:
        _reach(function, found, seen)
    if not found:  # named in a way that is not understood: all of them
        for value in vars(module).values():
            _reach(value, found, seen)
    return list(found)


def _reach(value: Any, found: dict[Program, None], seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Program):
        found[value] = None
    elif isinstance(value, Mapping):
        for item in value.values():
            _reach(item, found, seen)
    elif isinstance(value, tuple | list):
        for item in value:
            _reach(item, found, seen)
    elif isinstance(getattr(value, "__code__", None), CodeType):
        if value.__module__.startswith("minimask.kernels."):
            for name in _names(value.__code__):
                _reach(value.__globals__.get(name), found, seen)


def _names(code: CodeType) -> set[str]:
    """The global names a function uses, those of functions inside it included."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))
