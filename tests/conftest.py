"""Profiles, markers and the development data that tests share."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import settings

# A kernel's first call compiles it, which takes longer than Hypothesis's deadline for one example.
# Derandomized, because a red build must be red again when it is run again.
settings.register_profile("minimask", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("minimask")

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of development data beside the checkout; tests that need it skip without it."""
    folder = pathlib.Path(os.environ.get("MINIMASK_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the development data folder {folder} (or MINIMASK_SHARED)")
    return folder
