"""What weights come from: a file, a run's folder or one of its checkpoints, with what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from minimask.weights.epsilon import epsilon_of
from minimask.weights.files import read_contents
from minimask.weights.recognise import recognise_translated
from minimask.weights.systems import COUNTER, Translated, translate

FILES = (".safetensors", ".npz", ".pth", ".pt", ".pkl", ".h5")
MINIMASK = "minimask"


@dataclass(frozen=True)
class Source:
    """Weights that were read, and what is known about them.

    Attributes:
        path: the file.
        arrays: by the names that minimask's models use, and in their layout.
        config: for `minimask.models.build`: what they were saved with, or the network that was
            recognised; None where that is none of the known ones.
        system: whose file it is: "minimask", "torchvision", "detectron2", "mmdet", "matterport",
            "caffe2".
        convention: the name of the choices that the weights were trained with; None: the config
            says it, or nobody.
        words: what was recognised, in one line, or what was seen instead; "" where the file has
            its config.
        norm_eps: what norms add to variances; None: not known.
        remarks: what is in the file besides and was left out, a sentence each.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    config: dict[str, Any] | None = None
    system: str = MINIMASK
    convention: str | None = None
    words: str = ""
    norm_eps: float | None = None
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short, for messages: a file in a run is named with its folder."""
        own_name = self.path.stem in ("model", "ema")
        return str(Path(self.path.parent.name, self.path.name)) if own_name else self.path.name

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of its classes, if it says them."""
        names = (self.config or {}).get("classes")
        known = isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)
        return tuple(names) if known and names else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array."""
        return {name: array.shape for name, array in self.arrays.items()}


def read_source(path: str | PathLike[str]) -> Source:
    """Read weights from wherever they are.

    Args:
        path: a file of any kind that `read_contents` knows, a run's folder (its final weights, or
            else its newest checkpoint), or a checkpoint's folder.  Averaged weights are taken
            where there are any.

    Raises:
        FileNotFoundError: nothing there, or a folder without weights.
        ValueError: a damaged file; the message names it.
    """
    path = Path(path)
    file, config = path, None
    if path.is_dir():
        file, config = _in_folder(path)
    contents = read_contents(file)
    source = from_arrays(file, contents.arrays, contents.about, config or contents.config)
    return replace(source, remarks=contents.remarks)


def from_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Source:
    """What arrays of any of the systems are the weights of.

    Args:
        path: of the file, for messages.
        arrays: under the names they have in it.
        about: what the file has beside them, see `systems.translate`.
        config: the `model.config` they were saved with, if it says one.

    Raises:
        ValueError: names of a system with shapes that it never has.
    """
    try:
        translated = translate(arrays, {**(about or {}), "file": path.name})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    own = dict(translated.arrays)
    own.pop("ema.steps", None)  # counts the updates of averaged weights
    if config is not None:
        return Source(path, own, config, norm_eps=epsilon_of(config))
    found, words = recognised(replace(translated, arrays=own))
    known = translated.system, translated.convention, words, translated.norm_eps
    return Source(path, own, found, *known)


def recognised(translated: Translated) -> tuple[dict[str, Any] | None, str]:
    """The config of a network and what it is; or None, and what was seen instead."""
    try:
        found = recognise_translated(translated)
    except ValueError as error:
        return None, str(error)
    return found.config, found.words


def check_values(
    path: str | PathLike[str], arrays: Mapping[str, np.ndarray], names: Iterable[str]
) -> None:
    """Refuse numbers that no trained network has, under any of these names.

    Raises:
        ValueError: whole numbers in place of weights, NaN, infinities, a negative variance; says
            which array of which file.
    """
    for name in names:
        array = arrays[name]
        if name.endswith(COUNTER):
            continue
        if array.dtype.kind != "f":
            raise ValueError(
                f"{path}: {name} holds {array.dtype} numbers, and weights are float; a quantized "
                "network cannot be read, save it as float32"
            )
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32, copy=False))
        if not finite.all():
            count = int(finite.size - finite.sum())
            raise ValueError(
                f"{path}: {name} has {count} of {finite.size} values that are NaN or infinite; the "
                "file is damaged, or its training went wrong: take an earlier checkpoint"
            )
        if name.endswith("running_var") and (array < 0).any():
            raise ValueError(f"{path}: {name} has negative variances; the file is damaged")


def _in_folder(folder: Path) -> tuple[Path, dict[str, Any] | None]:
    """The file of weights in a run's or a checkpoint's folder, and the config it belongs to."""
    if (folder / "state.json").is_file():
        return _in_checkpoint(folder)
    final = folder / "model.safetensors"
    if final.is_file():
        return final, None
    saved = sorted(folder.glob("checkpoints/step-*/state.json"))
    if saved:
        return _in_checkpoint(max(saved, key=lambda file: int(file.parent.name[5:])).parent)
    if (folder / "settings.json").is_file():
        raise FileNotFoundError(f"{folder}: this run has no weights yet")
    inside = sorted(entry.name for entry in folder.iterdir())
    held = f"it holds {', '.join(inside[:3])}{', ...' * (len(inside) > 3)}" if inside else "empty"
    raise FileNotFoundError(
        f"{folder}: a folder without weights ({held}); name a run, a checkpoint, or a file that "
        f"ends in {', '.join(FILES)}"
    )


def _in_checkpoint(folder: Path) -> tuple[Path, dict[str, Any] | None]:
    state = folder / "state.json"
    try:
        config = json.loads(state.read_text())["model"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{state}: damaged ({error}); take another checkpoint") from None
    averaged = folder / "ema.safetensors"
    return averaged if averaged.is_file() else folder / "model.safetensors", config or None
