"""What the tests of the kernel lab need on the machine, and kernels to try."""

from __future__ import annotations

import os
import pathlib

import pytest

from minimask.kernels.host_shim import build
from minimask.tools.kernel_lab import compile_gate


def need(problem: str | None) -> None:
    """Skip with the reason; fail instead where every tier is demanded, as in CI."""
    if problem is None:
        return
    if os.environ.get("MINIMASK_ALL_TIERS"):
        pytest.fail(f"MINIMASK_ALL_TIERS is set, and here {problem}")
    pytest.skip(problem)


@pytest.fixture(scope="session")
def shim() -> None:
    """CUDA C++ on the CPU needs g++."""
    need(build.why_not())


@pytest.fixture(scope="session")
def nvrtc() -> None:
    """The compile gate needs NVRTC."""
    need(compile_gate.why_not())


@pytest.fixture(scope="session")
def numba_compiler() -> None:
    """Numba kernels need ptxas besides."""
    need(compile_gate.why_not_numba())


@pytest.fixture
def kernel(tmp_path: pathlib.Path):
    """Write a student's file; returns its path."""

    def write(name: str, text: str) -> pathlib.Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
