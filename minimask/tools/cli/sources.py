"""What `evaluate`, `predict` and `data` share: models from runs or files, checks of options."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.data import registry
from minimask.tools.cli import WrongUse
from minimask.tools.cli.conventions import check_convention, check_fit, under

if TYPE_CHECKING:
    from minimask.data.sample import Dataset
    from minimask.train.settings import RunSettings
    from minimask.weights import Source


LOOKED_AT = 8  # images of a data set before training
WHITE = (
    "Of images of more than 8 bits: the value shown as white, e.g. 4095 for a camera of 12 bits; "
    "auto: of each image the value that 99.9 % of its pixels do not exceed."
)
PAGE = "Of image files with several pages or frames: which one, from 1."
RUNS = "as in training, else 65535"

WhiteOption = Annotated[
    str | None, typer.Option("--white", metavar="VALUE|auto", help=WHITE, show_default=RUNS)
]
PageOption = Annotated[
    int | None, typer.Option("--page", help=PAGE, show_default="as in training, else the first")
]


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


def open_model(
    path: Path, architecture: str | None = None, convention: str | None = None
) -> Opened:
    """The model of a run, a checkpoint, or a file of weights.

    Args:
        path: the folder of a run or checkpoint, or a file.
        architecture: name of the network, for files of which it cannot be recognised.
        convention: name of the one to use instead of the model's own.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not the weights of a model, or of another one.
    """
    if not path.exists():
        from minimask.data.images import missing_file

        raise FileNotFoundError(missing_file(path, "run or weights"))
    check_convention(convention)
    from minimask.models import MODELS
    from minimask.train.run import final_weights, open_run

    if architecture is not None and architecture not in MODELS:
        known = ", ".join(MODELS)
        raise WrongUse(f"--model: expected one of {known}, got {architecture!r}")
    if path.is_file() and (architecture is not None or not final_weights(path)):
        return Opened(_open_file(path, architecture, convention), str(path))
    if architecture is not None:
        raise WrongUse(f"--model is for files of weights; {path} says which network it has")
    run = open_run(path, lambda config, shapes: _build(path, config, shapes, convention))
    folder = next(p for p in (path, *path.parents) if (p / "settings.json").is_file())
    return Opened(run.model, str(run.weights), run.settings, folder, run.step)


def _open_file(path: Path, architecture: str | None, convention: str | None) -> Any:
    """The model of a file, with its classes counted from it.

    Args:
        path: of the weights.
        architecture: name of the network; None: as the file says, or as its names and shapes show.
        convention: as for `open_model`.
    """
    from minimask.weights import load_weights, read_source
    from minimask.weights.anatomy import anatomy

    source = read_source(path)
    say_left_out(source)
    config = source.config
    if architecture is not None:
        config = {"model": architecture, "num_classes": anatomy(source.shapes).outputs or 91}
        if source.classes is not None:
            config |= {"classes": list(source.classes), "num_classes": None}
        if source.system not in ("minimask", "torchvision"):
            config["convention"] = source.convention
    elif config is None:
        raise ValueError(
            f"{path}: {source.words}; a network that you know is named with --model, for example "
            "--model maskrcnn_resnet50_fpn"
        )
    elif source.words:
        typer.echo(f"{path}: {source.words}", err=True)
    model = _build(path, config, source.shapes, convention)
    load_weights(model, source)
    model.eval()
    return model


def say_left_out(source: Source) -> None:
    """Say on stderr what a file of weights has besides weights, which was not read."""
    for remark in source.remarks:
        typer.echo(f"{source.path}: {remark}", err=True)


def _build(
    path: Path,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    convention: str | None,
) -> Any:
    """The model of a config under the convention that is asked for, fit for weights of `shapes`."""
    from minimask.models.bounded import build_for

    try:
        model = build_for(under(config, convention), shapes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    check_fit(path, model, shapes, convention)
    return model


def is_semantic(model: Any) -> bool:
    """Whether a model gives label maps, not objects."""
    return getattr(model, "task", None) == "semantic"


def refuse_options(opened: Opened, given: Mapping[str, Any]) -> None:
    """Raise if an option is given that only means something for objects, not for label maps.

    Args:
        opened: a semantic segmenter.
        given: option to its value; None or False: not given.
    """
    for option, value in given.items():
        if value is not None and value is not False:
            name = opened.model.config.get("model", "this network")
            raise WrongUse(
                f"{option} is for objects, and {opened.source} is a semantic segmenter ({name}), "
                "which labels pixels: leave it out"
            )


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


def reading(
    white: str | None, page: int | None, settings: RunSettings | None = None
) -> dict[str, Any]:
    """How image files are read: `white` and `page` as given, else those that the run trained with.

    Raises:
        WrongUse: a value that cannot be.
    """
    is_positive(page, "--page")
    before = {} if settings is None else settings.data.reading()
    given = {"white": white_value(white), "page": page}
    return before | {name: value for name, value in given.items() if value is not None}


def white_value(text: str | None) -> int | str | None:
    """The value of --white: a number, "auto", or None where it is not given."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise WrongUse(f"--white: expected a whole number such as 4095, or auto, got {text!r}")
    return int(text)


@contextlib.contextmanager
def remarks_said() -> Iterator[None]:
    """Say on stderr what readers remark on images in the block: once each, with their number."""
    from minimask.data import remarks

    with remarks.collected() as said:
        try:
            yield
        finally:
            for line in said.lines():
                typer.echo(f"minimask: {line}", err=True)


def look_at_images(dataset: Any) -> None:
    """Read a few images of a data set, and say what they are if not what is usual."""
    from minimask.data import read_image

    if not hasattr(dataset, "white"):  # generated, or read in a way of its own
        return
    count = len(dataset)
    with remarks_said():
        for i in sorted({k * count // LOOKED_AT for k in range(LOOKED_AT)} if count else ()):
            # what cannot be read is an error when its turn comes
            with contextlib.suppress(OSError, ValueError, MemoryError):
                page = getattr(dataset, "page", None)
                read_image(dataset.describe(i), white=dataset.white, page=page)


def is_positive(value: int | None, option: str) -> None:
    """Raise unless a count is at least 1; None is fine."""
    if value is not None and value < 1:
        raise WrongUse(f"{option}: expected at least 1, got {value}")
