"""Runs a student's kernel, in a process of its own, which may crash or never end.

Started by `student.py`.  Prints one line of JSON before every case, so that the one who waits
knows which case did not end, and one with the outcome.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
import traceback
from typing import Any

import numpy as np

from minimask.kernels.host_shim import build, emulator
from minimask.kernels.launch import Program
from minimask.tools.kernel_lab import launch_shape, values
from minimask.tools.kernel_lab.contracts import Contract, contracts

Outcome = dict[str, Any]


def in_the_shim(file: pathlib.Path, contract: Contract, kind: str, seeds: list[int]) -> Outcome:
    """Every case in the host shim; only the small ones in the slower kinds of build."""
    program, text = Program(file), file.read_text(encoding="utf-8")
    outcome: Outcome = {"cases": 0, "wrong": None, "stop": False}
    found: list[Any] = []
    watcher = None
    if kind == "count":
        from minimask.tools.kernel_lab import counting

        watcher = counting.watch(found)
    for case, given in contract.cases(small=kind != "plain"):
        report(case=case.name)
        desired = contract.expected(case, given)
        for seed in seeds:
            given = contract.values(case) or {}
            try:
                shape = launch_shape.read(text, contract.letters(given), contract.count(given))
                with emulator.running(seed=seed, kind=kind, watcher=watcher):
                    arguments = (contract.name, shape.grid, shape.block, *given.values())
                    program.launch(*arguments, shared=shape.shared)
                if kind == "plain":  # the other kinds look for other mistakes
                    values.compare(case, contract.results(given), desired)
            except values.Wrong as error:
                order = f"threads in order {seed}: " if seed else ""
                return {**outcome, "wrong": f"{order}{error}"}
            except (emulator.KernelError, build.CompileError, ValueError, TypeError) as error:
                return {**outcome, "wrong": str(error), "stop": True}
        conflict = next((c.conflict for c in found if c.conflict), None)
        if conflict:
            return {**outcome, "wrong": f"{conflict} ({case.name})"}
        outcome["cases"] += 1
    return outcome


def in_the_simulator(file: pathlib.Path, contract: Contract) -> Outcome:
    """The small cases in Numba's simulator."""
    outcome: Outcome = {"cases": 0, "wrong": None, "stop": False}
    try:
        kernel, text = load(file, contract), file.read_text(encoding="utf-8")
        for case, given in contract.cases(small=True):
            report(case=case.name)
            desired = contract.expected(case, given)
            shape = launch_shape.read(text, contract.letters(given), contract.count(given), 64)
            if 0 not in shape.grid:
                kernel[shape.grid, shape.block](*(number(v) for v in given.values()))
            values.compare(case, contract.results(given), desired)
            outcome["cases"] += 1
    except values.Wrong as error:
        outcome["wrong"] = str(error)
    except Exception as error:  # whatever a student's code raises
        outcome.update(wrong=told(error, file), stop=True)
    return outcome


def to_ptx(file: pathlib.Path, contract: Contract, architecture: int) -> dict[str, str]:
    """What Numba makes of the kernel for one architecture, for the types of the first case."""
    from numba import types
    from numba.cuda import compile_ptx

    from minimask.tools.kernel_lab import numba_ptx

    capability = numba_ptx.without_a_driver(architecture)
    kernel = load(file, contract)
    _, given = next(contract.cases(small=True))
    arguments = (numba_ptx.typeof(types, number(v)) for v in given.values())
    ptx, _ = compile_ptx(kernel.py_func, types.void(*arguments), cc=capability)
    return {contract.name: ptx}


def load(file: pathlib.Path, contract: Contract) -> Any:
    """The kernel a Python file defines.

    Raises:
        ValueError: it defines none of that name, or one with other parameters.
    """
    spec = importlib.util.spec_from_file_location("student_kernel", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = [p.name for p in contract.signature]
    expected = f"expected\n  @cuda.jit\n  def {contract.name}({', '.join(names)}):"
    kernel = getattr(module, contract.name, None)
    function = getattr(kernel, "fn", None) or getattr(kernel, "py_func", None)
    if function is None:
        what = "no kernel" if kernel is None else "no @cuda.jit before"
        raise ValueError(f"{what} {contract.name}; {expected}")
    count = function.__code__.co_argcount
    if count != len(names):
        raise ValueError(
            f"{contract.name} takes {count} arguments instead of {len(names)}; {expected}"
        )
    return kernel


def number(value: Any) -> Any:
    """A float as a float32, which is what the kernel gets on a GPU; others as they are."""
    return np.float32(value) if isinstance(value, float) else value


def told(error: BaseException, file: pathlib.Path) -> str:
    """The error, and the line of the student's file it came from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    where = f"{file.name}:{frames[-1].lineno}: " if frames else ""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        where = f"{file.name}:{error.lineno}: "
    name = "" if isinstance(error, ValueError | IndexError) else f"{type(error).__name__}: "
    return f"{where}{name}{error}"


def report(**content: Any) -> None:
    """One line for the process that waits."""
    print(json.dumps(content), flush=True)


def main(request: dict[str, Any]) -> Any:
    """Do what a request asks: file, contract, kind (of build, "simulator" or "ptx")."""
    file, contract = pathlib.Path(request["file"]), contracts()[request["contract"]]
    if request["kind"] == "simulator":
        return in_the_simulator(file, contract)
    if request["kind"] == "ptx":
        return to_ptx(file, contract, request["architecture"])
    return in_the_shim(file, contract, request["kind"], request["seeds"])


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
