"""Tier 3: the real compilers, without a GPU.  Does it compile, and to what?

CUDA C++ goes through NVRTC to machine code for each architecture; Numba kernels to PTX, which
ptxas assembles.  Looked at: registers, spills to memory, shared memory, and instructions on
float64, which no kernel here should have: on most GPUs they run at 1/32 to 1/64 of the speed.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimask.kernels.launch import MOST_SHARED, Program

ARCHITECTURES = (75, 80, 90, 100)  # Turing, Ampere, Hopper, Blackwell
# such as "90" or "75,90": the others are left out, which is for tests that must be quick
CHOSEN = "MINIMASK_ARCHITECTURES"
MOST_REGISTERS = 128  # of a thread: two blocks of 256 then share a multiprocessor's 65536


class NoToolkit(RuntimeError):
    """The compilers are not installed; the message says how to get them."""


@dataclass(frozen=True)
class Compiled:
    """One kernel, compiled for one architecture."""

    kernel: str
    architecture: int
    registers: int
    spilled: int  # bytes
    shared: int  # bytes, static
    float64: tuple[str, ...]  # instructions on float64, each once

    @property
    def problems(self) -> list[str]:
        """What is wrong with it, a sentence each."""
        found = []
        if self.spilled:
            found.append(f"{self.spilled} bytes of registers spill to memory")
        if self.shared > MOST_SHARED:
            found.append(f"{self.shared} bytes of shared memory, at most {MOST_SHARED} are safe")
        if self.float64:
            found.append(f"computes in float64: {', '.join(self.float64)}")
        return [f"{self.kernel} for sm_{self.architecture}: {problem}" for problem in found]


_KERNEL = re.compile(
    r"Compiling entry function '(\w+)' for 'sm_(\d+)a?'(.*?)(?=Compiling entry|\Z)", re.S
)
# arithmetic on float64; loads, moves and conversions to it always come with some
_FLOAT64 = re.compile(r"\b(?!ld|st|mov|cvt)([a-z]\w*(?:\.\w+)*\.f64)\b")


def architectures() -> tuple[int, ...]:
    """Those that kernels are compiled for: all, unless MINIMASK_ARCHITECTURES names some.

    Raises:
        ValueError: it names another.
    """
    named = os.environ.get(CHOSEN)
    if not named:
        return ARCHITECTURES
    known = {str(a): a for a in ARCHITECTURES}
    unknown = [word for word in named.split(",") if word not in known]
    if unknown:
        raise ValueError(f"{CHOSEN}: {unknown[0]!r} is none of {', '.join(known)}")
    return tuple(known[word] for word in named.split(","))


def why_not() -> str | None:
    """Why CUDA C++ cannot be compiled here, in a sentence; None if it can."""
    try:
        _nvrtc()
    except NoToolkit as error:
        return str(error)
    return None


@functools.cache
def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except Exception as error:  # the package is missing, or it finds no library
        raise NoToolkit(
            "compiling for a GPU needs NVRTC: pip install cuda-bindings "
            f"'nvidia-cuda-nvrtc==13.0.*' ({type(error).__name__})"
        ) from None
    return nvrtc


def compile_cuda(program: Program, architecture: int) -> list[Compiled]:
    """Every kernel of a program, compiled for one architecture.

    Raises:
        NoToolkit: NVRTC is not installed.
        ValueError: the source does not compile; the message is the compiler's.
    """
    _, log = build(program.source(), program.options, f"sm_{architecture}", program.path.name)
    ptx, _ = build(program.source(), program.options, f"compute_{architecture}", program.path.name)
    return list(_read_log(log, float64_by_kernel(ptx.decode())))


def build(source: str, options: tuple[str, ...], target: str, name: str) -> tuple[bytes, str]:
    """Machine code (sm_90) or PTX (compute_90) of a source, and the compiler's log."""
    nvrtc = _nvrtc()
    handle = nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), 0, [], [])
    _check(nvrtc, handle)
    flags = [f"--gpu-architecture={target}", "--std=c++17", *options]
    if target.startswith("sm_"):
        flags.append("--ptxas-options=-v")
    failed = nvrtc.nvrtcCompileProgram(handle[1], len(flags), [f.encode() for f in flags])
    size = _check(nvrtc, nvrtc.nvrtcGetProgramLogSize(handle[1]))
    log = bytes(size + 1)  # written into; Python shares those of one byte
    nvrtc.nvrtcGetProgramLog(handle[1], log)
    text = log.decode(errors="replace").strip("\0 \n")
    if failed[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise ValueError(f"{name} does not compile for {target}:\n{text}")
    code = "CUBIN" if target.startswith("sm_") else "PTX"
    size = _check(nvrtc, getattr(nvrtc, f"nvrtcGet{code}Size")(handle[1]))
    out = bytes(size + 1)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{code}")(handle[1], out))
    nvrtc.nvrtcDestroyProgram(handle[1])
    return out[:size], text


def _check(nvrtc: Any, result: tuple[Any, ...]) -> Any:
    if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC: {result[0].name}")
    return result[1] if len(result) > 1 else None


def float64_by_kernel(ptx: str) -> dict[str, tuple[str, ...]]:
    """The float64 instructions of every kernel of a PTX text; functions it calls count too."""
    parts = re.split(r"(?=\.(?:visible \.)?(?:entry|func)\b)", ptx)
    shared = {m for part in parts if ".entry" not in part[:20] for m in _FLOAT64.findall(part)}
    entries = [(re.search(r"\.entry (\w+)", part), part) for part in parts]
    return {
        match[1]: tuple(sorted(set(_FLOAT64.findall(part)) | shared))
        for match, part in entries
        if match
    }


def _read_log(log: str, float64: dict[str, tuple[str, ...]]) -> Iterator[Compiled]:
    for kernel, architecture, text in _KERNEL.findall(log):
        spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", text)
        shared = re.search(r"(\d+) bytes smem", text)
        yield Compiled(
            kernel,
            int(architecture),
            int(re.findall(r"Used (\d+) registers", text)[0]),
            sum(map(int, spills)),
            int(shared[1]) if shared else 0,
            float64.get(kernel, ()),
        )


# ---- Numba


def why_not_numba() -> str | None:
    """Why Numba-CUDA kernels cannot be compiled here; None if they can."""
    problem = why_not()
    if problem is None and ptxas() is None:
        problem = "assembling PTX needs ptxas: pip install 'nvidia-cuda-nvcc==13.0.*'"
    return problem


def ptxas() -> str | None:
    """The assembler: of the package nvidia-cuda-nvcc, of $CUDA_HOME, or on the PATH."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        for file in files("nvidia-cuda-nvcc") or []:
            if file.name in ("ptxas", "ptxas.exe"):
                return str(file.locate())
    except PackageNotFoundError:
        pass
    home = os.environ.get("CUDA_HOME")
    return shutil.which("ptxas", path=f"{home}/bin" if home else None) or shutil.which("ptxas")


def compile_numba(op: str, variant: str, targets: Sequence[int] | None = None) -> list[Compiled]:
    """Every kernel of a Numba-CUDA rung, for the types of the arguments in its small cases.

    Runs in a process of its own: Numba asks the driver for a device, and is told of one there.

    Raises:
        NoToolkit: a compiler is missing.
        ValueError: Numba cannot compile it; the message is Numba's.
    """
    problem = why_not_numba()
    if problem:
        raise NoToolkit(problem)
    command = [sys.executable, "-W", "ignore", "-m", "minimask.tools.kernel_lab.numba_ptx"]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run(
        [*command, op, variant, *map(str, targets or architectures())],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{op}, {variant} does not compile:\n{done.stderr.strip()[-3000:]}")
    compiled: list[Compiled] = []
    for architecture, kernels in json.loads(done.stdout.splitlines()[-1]).items():
        for kernel, ptx in kernels.items():
            compiled += assemble(kernel, ptx, int(architecture))
    return compiled


def assemble(kernel: str, ptx: str, architecture: int) -> Iterator[Compiled]:
    """PTX to machine code by ptxas.

    Raises:
        NoToolkit: there is no ptxas.
        ValueError: it refuses the PTX.
    """
    assembler = ptxas()
    if assembler is None:
        raise NoToolkit(why_not_numba())
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [assembler, "-v", f"-arch=sm_{architecture}", str(source), "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{kernel}: ptxas refuses it: {done.stderr.strip()}")
    for one in _read_log(done.stderr, float64_by_kernel(ptx)):
        yield Compiled(
            kernel,
            architecture,
            one.registers,
            one.spilled,
            one.shared,
            tuple(_FLOAT64.findall(ptx)) and one.float64,
        )
