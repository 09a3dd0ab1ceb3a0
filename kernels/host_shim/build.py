"""Compile a kernel file for the CPU, once per source and kind of build.

Kinds: "plain"; "address" finds accesses out of bounds and undefined arithmetic; "thread" finds
races; "count" counts accesses.  Libraries are kept in the user's cache folder under the hash of
everything they are made from, so a changed kernel is compiled anew and an unchanged one is not.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from minimask.kernels.sources import signatures

HERE = pathlib.Path(__file__).resolve().parent
COMMON = (
    *("-std=c++20", "-shared", "-fPIC", "-g", "-w"),
    "-fno-gnu-unique",  # two libraries must not share their state
    "-ffp-contract=off",  # a * b + c rounds twice
    "-U_FORTIFY_SOURCE",  # it takes a jump between stacks for an attack
)
KINDS = {
    "plain": ("-O2",),
    "address": ("-O1", "-fsanitize=address,undefined,float-cast-overflow"),
    "thread": ("-O1", "-fsanitize=thread"),
    # a float4 stays one access: -O1 would take it apart into four
    "count": ("-O1", "-gdwarf-4", "-fno-tree-sra", "-fsanitize=thread", "-DMINIMASK_COUNT"),
}


class NoCompiler(RuntimeError):
    """The host shim needs g++ and this machine has none that works."""


class CompileError(ValueError):
    """A kernel file that g++ does not accept; the message is the compiler's."""


def compiler() -> str:
    """The path of g++.

    Raises:
        NoCompiler: there is none; the message says how to get it.
    """
    found = shutil.which(os.environ.get("CXX") or "g++")
    if not sys.platform.startswith("linux"):
        raise NoCompiler(
            f"the host shim runs on Linux (here: {sys.platform}); in Windows use WSL, on a Mac a "
            "Linux container"
        )
    if found is None:
        raise NoCompiler(
            "running CUDA C++ on the CPU needs g++ 10 or newer, and there is none here; install "
            "it, e.g. `sudo apt install g++`"
        )
    return found


def cache_folder() -> pathlib.Path:
    """Where compiled libraries are kept: $XDG_CACHE_HOME/minimask or ~/.cache/minimask."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "minimask" / "host_shim"


def library(source: str, kind: str = "plain") -> pathlib.Path:
    """The shared library with every kernel of `source`, compiled if it is not there yet.

    Args:
        source: CUDA C++ without includes, as `Program.source` gives it.
        kind: a name in KINDS.

    Raises:
        NoCompiler: there is no g++.
        CompileError: it refuses the source.
    """
    command = [compiler(), *COMMON, *KINDS[kind]]
    names = signatures(source)
    if not names:
        raise CompileError("the file has no `__global__ void` kernel")
    exports = "\n".join(f"SHIM_EXPORT({name})" for name in names)
    text = f'#include "cuda_shim.hpp"\n{source}\n{exports}\n'
    key = hashlib.sha256()
    for part in (*command, text, *(p.read_text() for p in sorted(HERE.glob("*.?pp")))):
        key.update(part.encode())
    target = cache_folder() / f"{key.hexdigest()[:24]}-{kind}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _compile(command, text, kind, target)
    return target


def _compile(command: list[str], text: str, kind: str, target: pathlib.Path) -> None:
    """Compile beside the target and move it there, so that no half library is ever seen."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        main, out = pathlib.Path(folder, "kernels.cpp"), pathlib.Path(folder, "out.so")
        main.write_text(text, encoding="utf-8")
        if kind == "count":  # instrumented, but linked with our own calls instead of the sanitizer
            counted, counter = str(main.with_suffix(".o")), str(main.with_name("counter.o"))
            plain = [part for part in command if part not in ("-shared", *KINDS["count"])]
            _run([*plain, *KINDS["count"], "-c", "-I", str(HERE), str(main), "-o", counted])
            _run([*plain, "-O2", "-c", "-I", str(HERE), str(HERE / "counting.cpp"), "-o", counter])
            _run([command[0], "-shared", counted, counter, "-o", str(out)])
        else:
            _run([*command, "-I", str(HERE), str(main), "-o", str(out)])
        out.rename(target)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(done.stderr.strip() or f"{command[0]} failed")


def why_not() -> str | None:
    """Why the host shim cannot run here, in a sentence; None if it can."""
    try:
        compiler()
    except NoCompiler as error:
        return str(error)
    return None
