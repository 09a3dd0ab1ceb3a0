"""The stand-in for CuPy, and the real one where there is a GPU."""

from __future__ import annotations

import importlib
import os

import pytest

from minimask.kernels.host_shim import build
from minimask.system import device

from . import stand_in


@pytest.fixture
def cupy_stand_in(monkeypatch):
    """`import cupy` gives the stand-in; needs g++, which runs the kernels.

    Where the real CuPy is installed, the stand-in refuses what that does not have.
    """
    demanded = os.environ.get("MINIMASK_ALL_TIERS")
    if problem := build.why_not():
        pytest.fail(problem) if demanded else pytest.skip(problem)
    try:
        real = importlib.import_module("cupy")
    except ImportError as error:
        assert not demanded, f"MINIMASK_ALL_TIERS is set, and {error}"
        real = None
    module = stand_in.install(monkeypatch, real)
    monkeypatch.setattr(device, "find", lambda name: name)
    monkeypatch.setattr("minimask.nn.module.find", lambda name: name)
    return module


@pytest.fixture(scope="session")
def real_cupy():
    """CuPy on a real GPU."""
    try:
        device.find("cuda")
    except OSError as error:
        pytest.skip(f"not run on a GPU: {error}")
    return importlib.import_module("cupy")
