"""The libraries that `minimask[classical]` installs, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, what: str) -> Any:
    """A module of scikit-image or SciPy.

    Args:
        module: its name.
        what: what it is needed for, as people know it.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = {"skimage": "scikit-image", "scipy": "SciPy"}[module.partition(".")[0]]
        raise ImportError(
            f"{what} needs {library}, which is not installed: pip install 'minimask[classical]'"
        ) from error
