"""What `minimask data check` says at its end: how to train on this data, and how long it takes."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minimask.data.advice import Advice

MODEL = "maskrcnn_laptop"
MEASURED_SIDE = 320  # pixels


def sentences(advice: Advice, files: dict[str, Path]) -> str:
    """The advice in a few lines, ending in the command that follows it.

    Args:
        advice: computed from the data.
        files: what was given for `annotations` and `images`.
    """
    words = ["minimask", "train"]
    for name, path in files.items():
        words += [f"--{name}", str(path)]
    words += ["--model", advice.model] if advice.model else []
    words += [*advice.options(), "--out", "runs/mine"]
    return (
        f"{advice.about}\n"
        f"to train on it, {_duration(seconds_per_step(advice) * advice.steps)} on this machine "
        f"({advice.steps} steps of {advice.batch} images):\n  {shlex.join(words)}"
    )


def _duration(seconds: float) -> str:
    """Such as "about 12 minutes"."""
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds > 2 * length:
            return f"about {seconds / length:.0f} {unit}"
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} minute{'' if minutes == 1 else 's'}"


def seconds_per_step(advice: Advice) -> float:
    """Measured: a step of the smallest network on a small image, for as many pixels as advised."""
    import numpy as np

    from minimask.data.sample import Sample
    from minimask.models import build
    from minimask.train.settings import TrainSettings
    from minimask.train.step import Trainer

    seconds = 0.0
    side = 64
    for side in (64, min(MEASURED_SIDE, advice.size)):  # the first compiles the kernels
        mask = np.zeros((1, side, side), bool)
        mask[:, side // 4 : side // 2, side // 4 : side // 2] = True
        box = np.array([[side // 4, side // 4, side // 2, side // 2]], np.float32)
        sample = Sample(np.zeros((side, side, 3), np.uint8), box, np.zeros(1, np.int64), mask)
        config = {"model": MODEL, "classes": ["object"], "min_size": side, "max_size": side}
        trainer = Trainer(build(config | {"norm": "batch"}), TrainSettings(batch=1))
        trainer.advance([[sample]])
        began = time.perf_counter()
        trainer.advance([[sample]])
        seconds = time.perf_counter() - began
    return seconds * (advice.size / side) ** 2 * advice.batch
