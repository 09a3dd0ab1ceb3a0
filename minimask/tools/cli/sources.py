"""What `evaluate`, `predict` and `data` share: models from runs or files, checks of options."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.data import registry
from minimask.tools.cli import WrongUse

if TYPE_CHECKING:
    from minimask.data.sample import Dataset
    from minimask.train.settings import RunSettings


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model ready for use.

    Attributes:
        model: with its weights.
        source: where they come from, for messages.
        settings: of the run they come from; None for a file outside a run.
        run: the run's folder; None likewise.
        step: training steps behind them; None likewise.
    """

    model: Any
    source: str
    settings: RunSettings | None = None
    run: Path | None = None
    step: int | None = None


def open_model(path: Path, architecture: str | None = None) -> Opened:
    """The model of a run, a checkpoint, or a file of weights.

    Args:
        path: the folder of a run or checkpoint, or a file.
        architecture: name of the network, for files that do not say it themselves.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not the weights of a model, or of another one.
    """
    if architecture is not None:
        return Opened(_build(architecture, path), str(path))
    if path.is_file():
        in_run = (path.parent / "settings.json").is_file()
        config = None if in_run else _config_in(path)
        if config is not None:
            return Opened(_build(config, path), str(path))
        if not in_run:
            raise ValueError(
                f"{path}: these weights do not say which network they belong to; name it with "
                "--model, for example --model maskrcnn_resnet50_fpn"
            )
    if not path.exists():
        from minimask.data.images import missing_file

        raise FileNotFoundError(missing_file(path, "run or weights"))
    from minimask.train import open_run

    run = open_run(path)
    folder = next(p for p in (path, *path.parents) if (p / "settings.json").is_file())
    return Opened(run.model, str(run.weights), run.settings, folder, run.step)


def _config_in(path: Path) -> dict[str, Any] | None:
    """The `model.config` that a run writes into its weights; None: another kind of file."""
    if path.suffix != ".safetensors":
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return json.loads((file.metadata() or {})["minimask"])["model"]
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, or no safetensors file ({error})") from None
    except (KeyError, ValueError):
        return None


def _build(config: str | dict[str, Any], path: Path) -> Any:
    from minimask import models
    from minimask.weights import load_weights

    if isinstance(config, str):
        if config not in models.MODELS:
            known = ", ".join(models.MODELS)
            raise WrongUse(f"--model: expected one of {known}, got {config!r}")
        config = {"model": config, "num_classes": 91}
    model = models.build(config)
    load_weights(model, path)
    model.eval()
    return model


def check_data(name: str, files: Mapping[str, Path | None], classes: str | None = None) -> None:
    """Raise unless these options fit the data set that --data names.

    Args:
        name: of the data set.
        files: what was given for `annotations` and `images`.
        classes: names with commas.

    Raises:
        WrongUse: they do not.
    """
    shown = {"annotations": "--annotations", "images": "--images", "classes": "--classes"}
    values = {**files, "classes": classes}
    given = {option: value for option, value in values.items() if value is not None}
    try:
        registry.check_options(name, given, shown.get)
    except ValueError as error:
        raise WrongUse(str(error)) from error


def open_dataset(
    name: str,
    files: Mapping[str, Path | None],
    classes: str | None = None,
    offered: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set that the options name.

    Args:
        name: of the data set.
        files: what was given for `annotations` and `images`.
        classes: names with commas.
        offered: passed on if the data set takes it.
    """
    check_data(name, files, classes)
    entry = registry.find(name)
    options = entry.takes(offered or {})
    options |= {option: value for option, value in files.items() if value is not None}
    if classes is not None:
        options["classes"] = tuple(word.strip() for word in classes.split(",") if word.strip())
    dataset = entry.open(**options)
    if not entry.generated and not len(dataset):
        raise ValueError(f"{files.get('annotations') or files.get('images')}: lists no images")
    return dataset


def keep_existing(paths: Iterable[Path | None], force: bool) -> None:
    """Raise if one of the outputs exists, unless `force` says that it may be replaced.

    A folder counts as existing when there is something in it.
    """
    for path in paths:
        if path is None or force:
            continue
        if path.is_dir() and any(path.iterdir()):
            raise ValueError(f"{path} is not empty: choose another folder, or add --force")
        if path.is_file():
            raise ValueError(f"{path} exists already: choose another name, or add --force")


def refuse_overwriting(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Raise if an output is a file or folder that the command reads, whatever `--force` says.

    Two names of one file (links, `..`, upper and lower case where the system does not tell them
    apart) are the same.  A folder counts as itself, not as what is in it: name the files that a
    command will write there.

    Args:
        outputs: what will be written; None where an option is not given.
        inputs: what will be read; likewise.

    Raises:
        ValueError: it names the output, and the input where that is written differently.
    """
    read = [path for path in inputs if path is not None]
    for output in outputs:
        for path in read:
            if output is not None and _same_place(output, path):
                also = "" if str(output) == str(path) else f", there as {path}"
                raise ValueError(
                    f"{output} is read by this command{also}: choose another name for the output"
                )


def _same_place(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one does not exist yet, or cannot be looked at
        return os.path.realpath(a) == os.path.realpath(b)


def is_folder(path: Path | None, option: str) -> None:
    """Raise if an output folder's name is that of a file."""
    if path is not None and path.exists() and not path.is_dir():
        raise ValueError(f"{option} {path} is a file; name a folder")


def is_positive(value: int | None, option: str) -> None:
    """Raise unless a count is at least 1; None is fine."""
    if value is not None and value < 1:
        raise WrongUse(f"{option}: expected at least 1, got {value}")
