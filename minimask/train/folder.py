"""The folder of a run: who may write to it, what it holds.

settings.json         everything the run depends on
checkpoints/          step-000400/ ...
log.csv losses.png    the losses of every step
ap.csv ap.png         the metrics of every evaluation; of semantic segmenters iou.csv, iou.png
val_losses.csv        the losses on validation images at every evaluation, also in losses.png
pictures/             predictions beside the ground truth
model.safetensors     the final weights; metrics.json their metrics
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from minimask.train import checkpoint
from minimask.train.settings import RunSettings
from minimask.train.stage_plan import agree_until

SETTINGS = "settings.json"
LOCK = ".lock"


class FolderInUse(ValueError):
    """The output folder holds something that must not be overwritten."""


def is_run(folder: Path) -> bool:
    """Whether a run was started in this folder."""
    return (folder / SETTINGS).is_file()


def check(folder: Path, settings: RunSettings, *, resume: bool) -> None:
    """Refuse a folder that must not be written to; changes nothing.

    Args:
        folder: where the run wants to write.
        settings: this run's.
        resume: go on with the run that the folder holds, if it holds one; `steps`, `patience`,
            `checkpoint_stages` and those of the `stages` to come may then be others than before.

    Raises:
        FolderInUse: the folder holds another run, or other files, or has more steps done.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderInUse(f"--out {folder} is a file; choose a folder that does not exist yet")
    if is_run(folder):
        if not resume:
            raise FolderInUse(
                f"{folder} already holds a run ({_progress(folder)}): continue it with --resume, "
                "or choose another --out"
            )
        before = RunSettings.read(folder / SETTINGS)
        done = _done(folder)
        free = {"steps", "patience", "checkpoint_stages"}  # what is done does not depend on them
        if agree_until(before.train.stages, settings.train.stages, done):
            free.add("stages")
        different = settings.differences(before, besides=free)
        if done > settings.train.steps:
            raise FolderInUse(
                f"{folder} has {done} steps done, more than --steps {settings.train.steps}: give "
                "more to train on, or choose another --out"
            )
        if different:
            raise FolderInUse(
                f"{folder} holds a run with other settings ({'; '.join(different)}): resume it "
                "with its own (--resume alone takes them from the folder), or choose another --out"
            )
    elif others := _files(folder):
        raise FolderInUse(
            f"{folder} is not empty (it holds {', '.join(others[:3])}"
            f"{', ...' if len(others) > 3 else ''}) and holds no run: choose another --out"
        )


def prepare(folder: Path, settings: RunSettings) -> None:
    """Note the settings in a run's folder; remove what a killed run left unfinished.

    Where they end the run later than before, its results so far get the name of their step.
    """
    checkpoint.sweep(folder)
    if is_run(folder) and RunSettings.read(folder / SETTINGS) == settings:
        return
    metrics = folder / "metrics.json"
    if metrics.is_file():  # results last: without metrics the run counts as not finished
        step = json.loads(metrics.read_text())["step"]
        os.replace(metrics, folder / f"metrics-step-{step:06d}.json")
        final = folder / "model.safetensors"
        if final.is_file():
            os.replace(final, folder / f"model-step-{step:06d}.safetensors")
    checkpoint.write_json(folder / SETTINGS, settings.to_json())


def _files(folder: Path) -> list[str]:
    """What is in a folder besides the traces of a run that was killed before it began."""
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(n for n in names if n != LOCK and not n.startswith(checkpoint.UNFINISHED))


def _progress(folder: Path) -> str:
    """Such as "400 of 1600 steps"."""
    total = RunSettings.read(folder / SETTINGS).train.steps
    return f"{_done(folder)} of {total} steps done"


def _done(folder: Path) -> int:
    """Steps that are saved."""
    steps = checkpoint.steps_saved(folder)
    return steps[-1] if steps else 0


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside the block no other process may train into `folder`.

    The system drops the lock when the process ends, however it ends.

    Raises:
        FolderInUse: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"another process is training into {folder} right now") from None
        yield
    finally:
        os.close(descriptor)
