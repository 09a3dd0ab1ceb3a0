"""Checkpoints that survive a kill at any moment.

A checkpoint is one folder, `checkpoints/step-000400`, with the arrays as safetensors and the rest
as JSON.  It is written under another name, flushed to the disk, then renamed.  Renaming a folder
is one indivisible act of the file system, so a folder of that name is always complete; whatever a
killed run left half-written, or half-deleted, carries another name and is removed later.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.system.files import flush_folder, write_to_disk, write_whole

if TYPE_CHECKING:  # the command line looks at folders before NumPy may load
    import numpy as np

    Array = np.ndarray[Any, Any]

FOLDER = "checkpoints"
NAME = re.compile(r"step-(\d{6,})")
UNFINISHED = (".writing-", ".deleting-")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # full disk, quota, file-size limit


class DiskFull(OSError):
    """The disk had no room; whatever was complete before is still there."""


@dataclass(frozen=True)
class Checkpoint:
    """One saved moment of a run.

    Attributes:
        step: training steps done when it was written.
        arrays: per file ("model", "optimizer", ...) its arrays by name.
        state: everything else, as it is in `state.json`.
        path: the folder.
    """

    step: int
    arrays: dict[str, dict[str, Array]]
    state: dict[str, Any]
    path: Path


@contextlib.contextmanager
def room_needed(run: Path) -> Iterator[None]:
    """Turn "no space left" inside the block into a `DiskFull` that says what is still good."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM or isinstance(error, DiskFull):
            raise
        good = find_latest(run)
        kept = (
            f"The last good checkpoint is {good}; make room, then continue with --resume."
            if good
            else "There is no checkpoint yet; make room and start again."
        )
        reason = f"{run}: no room to write ({error.strerror}). {kept}"
        raise DiskFull(error.errno, reason) from error


def write_json(path: Path, content: Any) -> None:
    """Write `content` as readable JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def write_arrays(path: Path, arrays: Mapping[str, Array], about: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all; `about` is text stored in its header."""
    write_whole(path, _safetensors(arrays, about))


def save(
    run: Path,
    step: int,
    arrays: Mapping[str, Mapping[str, Array]],
    state: Mapping[str, Any],
    *,
    keep: int = 2,
    keep_steps: Iterable[int] = (),
) -> Path:
    """Write the checkpoint of `step` and remove those no longer wanted.

    Args:
        run: the run's folder.
        step: training steps done.
        arrays: per file name its arrays by name.
        state: what `state.json` holds besides the step.
        keep: how many of the newest checkpoints stay.
        keep_steps: steps whose checkpoints stay in any case, e.g. the best one's.

    Returns:
        The checkpoint's folder.

    Raises:
        DiskFull: there was no room; the older checkpoints are untouched.
    """
    folder = run / FOLDER
    final = folder / f"step-{step:06d}"
    if final.exists():  # the same step of the same run holds the same weights
        return final
    part = folder / f".writing-{final.name}"
    with room_needed(run):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            for name, content in arrays.items():
                write_to_disk(part / f"{name}.safetensors", _safetensors(content, {}))
            text = json.dumps({"step": step, **state}, indent=2) + "\n"
            write_to_disk(part / "state.json", text.encode())
            flush_folder(part)
            os.rename(part, final)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        flush_folder(folder)
    _prune(run, keep, {step, *keep_steps})
    return final


def load(path: Path) -> Checkpoint:
    """Read a checkpoint's folder.

    Raises:
        FileNotFoundError: there is no such folder, or it is no checkpoint.
        ValueError: a file in it is damaged; the message names it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (path / "state.json").is_file():
        raise FileNotFoundError(f"{path} is no checkpoint: it has no state.json")
    file = path / "state.json"
    try:
        state = json.loads(file.read_text())
        arrays = {}
        for file in sorted(path.glob("*.safetensors")):
            arrays[file.stem] = load_file(file)
        return Checkpoint(int(state["step"]), arrays, state, path)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); delete the folder {path.name} to go on from the "
            "checkpoint before it"
        ) from error


def steps_saved(run: Path) -> list[int]:
    """The steps of all complete checkpoints of a run, in order."""
    folder = run / FOLDER
    names = [NAME.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in names if match)


def find_latest(run: Path) -> Path | None:
    """The newest complete checkpoint's folder, None if there is none."""
    steps = steps_saved(run)
    return run / FOLDER / f"step-{steps[-1]:06d}" if steps else None


def find(run: Path, step: int) -> Path | None:
    """The folder of the complete checkpoint of this step, None if there is none."""
    return run / FOLDER / f"step-{step:06d}" if step in steps_saved(run) else None


def sweep(run: Path) -> None:
    """Remove what a killed run left half-written or half-deleted."""
    for folder in (run, run / FOLDER):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith(UNFINISHED):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _prune(run: Path, keep: int, also: set[int]) -> None:
    """Remove all checkpoints but the newest `keep` and those of the steps `also`."""
    steps = steps_saved(run)
    for step in set(steps[: max(0, len(steps) - keep)]) - also:
        _remove(run / FOLDER / f"step-{step:06d}")


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint; renamed first, so that a half-deleted one is never taken for whole."""
    going = checkpoint.with_name(f".deleting-{checkpoint.name}")
    shutil.rmtree(going, ignore_errors=True)
    os.rename(checkpoint, going)
    shutil.rmtree(going)


def _safetensors(arrays: Mapping[str, Array], about: Mapping[str, str]) -> bytes:
    """The arrays as the bytes of a safetensors file."""
    import numpy as np
    from safetensors.numpy import save as to_bytes

    # not ascontiguousarray, which turns a single number into a list of one
    content = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return to_bytes(content, metadata=dict(about) or None)
