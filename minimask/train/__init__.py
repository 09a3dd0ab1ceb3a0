"""Training: optimizers, schedules, checkpoints, the loop.

Everything is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minimask.train.checkpoint import DiskFull
    from minimask.train.diagnose import TrainingError
    from minimask.train.folder import FolderInUse
    from minimask.train.loop import Interrupted, train
    from minimask.train.optim import EMA, SGD, AdamW, clip_grad_norm
    from minimask.train.run import open_data, open_run
    from minimask.train.schedule import warmup_cosine, warmup_step
    from minimask.train.settings import DataSettings, ModelSettings, RunSettings, TrainSettings

_HOME = {
    "EMA": "optim",
    "SGD": "optim",
    "AdamW": "optim",
    "DataSettings": "settings",
    "DiskFull": "checkpoint",
    "FolderInUse": "folder",
    "Interrupted": "loop",
    "ModelSettings": "settings",
    "RunSettings": "settings",
    "TrainSettings": "settings",
    "TrainingError": "diagnose",
    "clip_grad_norm": "optim",
    "open_data": "run",
    "open_run": "run",
    "train": "loop",
    "warmup_cosine": "schedule",
    "warmup_step": "schedule",
}

__all__ = [
    "EMA",
    "SGD",
    "AdamW",
    "DataSettings",
    "DiskFull",
    "FolderInUse",
    "Interrupted",
    "ModelSettings",
    "RunSettings",
    "TrainSettings",
    "TrainingError",
    "clip_grad_norm",
    "open_data",
    "open_run",
    "train",
    "warmup_cosine",
    "warmup_step",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(f"minimask.train.{_HOME[name]}"), name)
    raise AttributeError(f"module 'minimask.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, imported or not: what Tab offers."""
    return sorted({*globals(), *__all__})
