"""Mask R-CNN from scratch: readable kernels, a small autograd engine, the model, its training.

Everything public is imported when it is first used, so `import minimask` is instant and needs
no GPU package, and the command line can choose BLAS settings before NumPy loads.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from minimask._version import __version__
from minimask.system import moved

if TYPE_CHECKING:
    from minimask import models
    from minimask.autograd import Tensor, no_grad
    from minimask.kernels.dispatch import using
    from minimask.models.detections import Detections
    from minimask.system.environment import hello
    from minimask.train.run import open_run
    from minimask.weights import load_weights, save_weights

_HOME = {
    "Tensor": "minimask.autograd",
    "no_grad": "minimask.autograd",
    "using": "minimask.kernels.dispatch",
    "Detections": "minimask.models.detections",
    "hello": "minimask.system.environment",
    "load_weights": "minimask.weights",
    "open_run": "minimask.train.run",
    "save_weights": "minimask.weights",
}

moved.install()

__all__ = [
    "Detections",
    "Tensor",
    "__version__",
    "hello",
    "load_weights",
    "models",
    "no_grad",
    "open_run",
    "save_weights",
    "using",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    try:
        return importlib.import_module(f"minimask.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"minimask.{name}":
            raise
        raise AttributeError(f"module 'minimask' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    """The public names, imported or not: what Tab offers."""
    return sorted({*globals(), *__all__})
