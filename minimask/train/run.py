"""A run's folder turned back into what it was made of: its model and its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.data import registry
from minimask.train import checkpoint, folder
from minimask.train.settings import RunSettings
from minimask.train.start import start_model

if TYPE_CHECKING:
    from minimask.data.sample import Dataset
    from minimask.data.skeleton import Skeleton


Make = Callable[[Mapping[str, Any], Mapping[str, tuple[int, ...]]], Any]


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


def open_run(path: str | Path, make: Make | None = None) -> OpenedRun:
    """The model of a run, or of one of its checkpoints.

    Args:
        path: a run's folder (its final weights, or else its newest checkpoint), one of its
            checkpoints, or the final `model.safetensors` (also one of before it trained on).
        make: builds the model from its config and the shapes of its weights; default: as they say.

    Raises:
        FileNotFoundError: there is no run, or it has no weights yet.
        ValueError: a file is damaged, or the model was put together by hand.
    """
    path = Path(path)
    run = _run_of(path)
    settings = RunSettings.read(run / folder.SETTINGS)
    final = run / "model.safetensors"
    if path.is_file() or (path == run and final.is_file()):
        weights = path if path.is_file() else final
        config, arrays, step = _read_final(weights)
        step = settings.train.steps if step is None else step
    else:
        found = checkpoint.find_latest(run) if path == run else path
        if found is None:
            raise FileNotFoundError(f"{run} has no weights yet: the run was stopped as it began")
        saved = checkpoint.load(found)
        config, step, weights = saved.state["model"], saved.step, found
        arrays = saved.arrays.get("ema", saved.arrays["model"])
        arrays = {name: a for name, a in arrays.items() if name != "ema.steps"}
    if not config:
        raise ValueError(
            f"{run}: its model was put together by hand and has no config to build it from; make "
            f"it again as you did, then mm.load_weights(model, {str(run / 'model.safetensors')!r})"
        )
    model = _filled(config, arrays, weights, make)
    model.eval()
    return OpenedRun(model, settings, weights, step)


def new_model(
    settings: RunSettings, classes: tuple[str, ...], skeleton: Skeleton | None = None
) -> Any:
    """The model that a run starts with: random weights, or those of a file.

    Args:
        settings: of the run.
        classes: to learn.
        skeleton: of the data, for a model that finds keypoints.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown model, or weights of another one.
    """
    return start_model(settings, classes, skeleton=skeleton).model


def open_data(settings: RunSettings) -> tuple[Dataset, Dataset | None]:
    """Training data and, if there is any, validation data.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is damaged, or both sets have different classes.
    """
    data = settings.data
    if data.data == "own":
        raise ValueError("the data of this run was given from Python; name the files to use")
    data.check()
    entry = registry.find(data.data)
    from minimask.models.factory import learns_masks

    about = {
        "boxes_only": not learns_masks(settings.model.model),
        "size": data.shapes_size,
    }
    images = {"count": data.shapes_count, "seed": settings.train.seed}
    train = entry.open(**entry.takes(about | images) | data.given())
    val = data.given("val_")
    if entry.generated:
        images = {"count": data.val_count, "seed": registry.VALIDATION_SEED}
        val = data.given()
    elif not val:
        return train, None
    of_training = {"classes": train.classes, "may_lack": True}
    return train, entry.open(**entry.takes(about | images | of_training) | val)


def final_weights(path: Path) -> bool:
    """Whether a file is the final weights of the run in whose folder it is."""
    return path.name.startswith("model") and folder.is_run(path.parent)


def _run_of(path: Path) -> Path:
    """The run's folder that `path` is, or lies in."""
    for candidate in (path, path.parent, path.parent.parent):
        if folder.is_run(candidate):
            return candidate
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    raise FileNotFoundError(f"{path} is no run: it has no {folder.SETTINGS}")


def _filled(
    config: dict[str, Any], arrays: dict[str, Any], weights: Path, make: Make | None
) -> Any:
    """The model of a run with its weights: both may come from another person's folder."""
    from minimask.models.bounded import build_for
    from minimask.weights.source import check_values

    try:
        model = (make or build_for)(config, {name: a.shape for name, a in arrays.items()})
        check_values(weights, arrays, arrays)
        model.load_state_dict(arrays)
    except ValueError as error:
        words = str(error).removeprefix(f"{weights}: ")
        raise ValueError(f"{weights}: {words}") from error
    return model


def _read_final(path: Path) -> tuple[dict[str, Any], dict[str, Any], int | None]:
    """Model config and weights of `model.safetensors`, and their step if it says that."""
    from minimask.weights.files import read_contents
    from minimask.weights.readers.safetensors import said_beside

    contents = read_contents(path)
    about = said_beside(path) if contents.kind == "safetensors" else {}
    step = about.get("step")
    if "model" not in about or not isinstance(about["model"], dict | None):
        raise ValueError(f"{path} is damaged, or not written by a run (it says no model)")
    return about["model"] or {}, contents.arrays, step if isinstance(step, int) else None
