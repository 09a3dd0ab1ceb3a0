"""A run's folder turned back into what it was made of: its model and its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.train import checkpoint, folder
from minimask.train.settings import DataSettings, RunSettings

if TYPE_CHECKING:
    from minimask.data.sample import Dataset

VALIDATION = 1  # added to the seed: generated validation images are never training images


@dataclass(frozen=True)
class OpenedRun:
    """A finished or running run, ready to be evaluated or used.

    Attributes:
        model: with the run's weights, the averaged ones where it averages.
        settings: everything the run depends on.
        weights: the file or checkpoint folder the weights come from.
        step: training steps behind them.
    """

    model: Any
    settings: RunSettings
    weights: Path
    step: int


def open_run(path: str | Path) -> OpenedRun:
    """The model of a run, or of one of its checkpoints.

    Args:
        path: a run's folder (its final weights, or else its newest checkpoint), one of its
            checkpoints, or the final `model.safetensors`.

    Raises:
        FileNotFoundError: there is no run, or it has no weights yet.
        ValueError: a file is damaged.
    """
    path = Path(path)
    run = _run_of(path)
    settings = RunSettings.read(run / folder.SETTINGS)
    final = run / "model.safetensors"
    if path == final or (path == run and final.is_file()):
        config, arrays = _read_final(final)
        step = settings.train.steps
        weights = final
    else:
        found = checkpoint.find_latest(run) if path == run else path
        if found is None:
            raise FileNotFoundError(f"{run} has no weights yet: the run was stopped as it began")
        saved = checkpoint.load(found)
        config, step, weights = saved.state["model"], saved.step, found
        arrays = saved.arrays.get("ema", saved.arrays["model"])
        arrays = {name: a for name, a in arrays.items() if name != "ema.steps"}
    from minimask.models import build

    model = build(config)
    model.load_state_dict(arrays)
    model.eval()
    return OpenedRun(model, settings, weights, step)


def open_data(settings: DataSettings, seed: int) -> tuple[Dataset, Dataset | None]:
    """Training data and, if there is any, validation data.

    Args:
        settings: which.
        seed: the run's seed, from which generated images follow.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is damaged, or both sets have different classes.
    """
    if settings.data == "own":
        raise ValueError("the data of this run was given from Python; name the files to use")
    if settings.data == "shapes":
        from minimask.data.shapes import Shapes

        size = settings.shapes_size
        validation = Shapes(settings.val_count, size=size, seed=2 * seed + VALIDATION)
        return Shapes(settings.shapes_count, size=size, seed=2 * seed), validation
    from minimask.data.coco import CocoDataset

    assert settings.annotations is not None and settings.images is not None
    train = CocoDataset(settings.annotations, settings.images)
    if settings.val_annotations is None or settings.val_images is None:
        return train, None
    return train, CocoDataset(settings.val_annotations, settings.val_images, classes=train.classes)


def _run_of(path: Path) -> Path:
    """The run's folder that `path` is, or lies in."""
    for candidate in (path, path.parent, path.parent.parent):
        if folder.is_run(candidate):
            return candidate
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    raise FileNotFoundError(f"{path} is no run: it has no {folder.SETTINGS}")


def _read_final(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Model config and weights of `model.safetensors`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            config = json.loads((file.metadata() or {})["minimask"])["model"]
            return config, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or not written by a run ({error})") from error
