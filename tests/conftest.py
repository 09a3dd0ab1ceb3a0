"""Profiles, markers and the development data that tests share."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import settings
from recordings import COPIES, SHARED, Recordings, all_recordings

# A kernel's first call compiles it, which takes longer than Hypothesis's deadline for one example.
# Derandomized, because a red build must be red again when it is run again.
settings.register_profile("minimask", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("minimask")


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of development data beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the development data folder {SHARED} (or MINIMASK_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def goldens(tmp_path_factory):
    """What other systems recorded: the copies in tests/goldens and the rest beside the checkout.

    `MINIMASK_GOLDENS` takes the place of both.
    """
    chosen = os.environ.get("MINIMASK_GOLDENS")
    if chosen:
        assert os.path.isdir(chosen), f"MINIMASK_GOLDENS: {chosen} is no folder"
        return Recordings(chosen)
    return all_recordings([COPIES, SHARED / "goldens"], tmp_path_factory.mktemp("goldens"))
