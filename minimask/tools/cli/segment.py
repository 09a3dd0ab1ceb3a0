"""`minimask segment`: several methods on the same images, side by side on one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.conventions import ConventionOption
from minimask.tools.cli.outputs import files_of, keep_existing, refuse_overwriting
from minimask.tools.cli.sources import (
    PageOption,
    WhiteOption,
    is_positive,
    open_model,
    reading,
    remarks_said,
)

if TYPE_CHECKING:
    import numpy as np

    from minimask.classical import Options, Segmentation

CLASSICAL = ("threshold", "otsu", "histogram", "kmeans", "edges", "canny")
LEARNED = ("fcn32s", "fcn16s", "fcn8s", "unet", "maskrcnn")
ALL = "all"
CLASSICAL_AND_LEARNED = f"{', '.join(CLASSICAL)}; with --weights {', '.join(LEARNED)}"

EPILOG = """
[bold]The methods[/bold]

threshold: one gray value, --level. otsu: the value that parts the pixels best. histogram: the
smaller of the histogram's two peaks. kmeans: --groups of pixels alike in color and place. edges:
what Sobel's edges enclose. canny: the same with Canny's. Which side of a threshold is the object?
That with less of the image's border.

fcn32s, fcn16s, fcn8s, unet: a class for every pixel. maskrcnn: objects. They need --weights, once
for each: a run's folder, a checkpoint, or a file.

[bold]The picture[/bold] has a row for each image. Every region has its color: a connected part of a
class, so that touching objects are one; of maskrcnn, an object.

[bold]Examples[/bold]

minimask segment photo.jpg --method all --out methods.png

minimask segment a.png b.png --method otsu,kmeans --groups 4 --out methods.png

minimask segment cells.png --method otsu,unet,maskrcnn --weights runs/unet --weights runs/mask
--out methods.png
"""


def segment(
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The picture, e.g. methods.png.")],
    method: Annotated[
        list[str],
        typer.Option(help=f"all, or with commas: {CLASSICAL_AND_LEARNED}."),
    ] = [ALL],  # noqa: B006  (typer reads it, nobody writes it)
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run, checkpoint or file of a learned method; may be repeated.",
            show_default=False,
        ),
    ] = None,
    convention: ConventionOption = None,
    level: Annotated[float, typer.Option(help="Of threshold: 0 to 255.")] = 128,
    groups: Annotated[int, typer.Option(help="Of kmeans.")] = 3,
    smallest: Annotated[int, typer.Option(help="Pixels of the smallest region that counts.")] = 20,
    score: Annotated[float, typer.Option(help="Of maskrcnn: weaker ones are left out.")] = 0.5,
    white: WhiteOption = None,
    page: PageOption = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:1 for the second GPU.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use.", show_default="all")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
) -> None:
    """Segment images by several methods, old and new, and show them side by side."""
    names = chosen(method, weights or [])
    if convention is not None and not weights:
        raise WrongUse("--convention is of learned methods: add --weights")
    _check_numbers(level, groups, smallest, score, threads)
    runtime.use_threads(threads)
    read = reading(white, page)
    given = [Path(file) for run in weights or [] for file in (run, *files_of(run))]
    refuse_overwriting((out,), (*images, *given))
    keep_existing((out,), force)
    import numpy as np

    from minimask import classical, draw
    from minimask.data import read_image
    from minimask.system.device import find

    find(device)
    draw.check_format(out)
    models = open_learned(names, weights or [], device, convention)
    _leave_out_what_is_not_installed(names, asked=ALL not in _words(method))
    options = classical.Options(level=level, groups=groups, smallest=smallest)
    pictures: list[Any] = []
    titles: list[str] = []
    with remarks_said():
        loaded = [(path, read_image(path, **read)) for path in images]
    for path, image in loaded:
        gray = classical.gray_of(image)  # so that the only colors are those of the regions
        pictures.append(draw.regions(image, np.zeros(gray.shape, int)))
        titles.append(path.name)
        for name in names:
            found = run_method(name, image, options, models, score)
            pictures.append(draw.regions(gray, found.regions))
            titles.append(title(found))
            typer.echo(f"{path}: {titles[-1]}")
    sheet = draw.contact_sheet(pictures, titles, columns=_columns(len(names) + 1, len(images)))
    draw.save_image(out, sheet)
    typer.echo(f"side by side: {out}")


def _leave_out_what_is_not_installed(names: list[str], asked: bool) -> None:
    """Methods without their library: of "all" left out with a word, else an ImportError."""
    from minimask import classical

    for name in [n for n in names if n in CLASSICAL]:
        try:
            classical.check_installed(name)
        except ImportError as error:
            if asked or names == [name]:
                raise
            names.remove(name)
            typer.echo(f"left out: {error}", err=True)


def _words(method: list[str]) -> list[str]:
    return [word.strip() for text in method for word in text.split(",") if word.strip()]


def _columns(count: int, images: int) -> int:
    """Pictures in a row: all of one image, but of a single image about as many as rows."""
    return count if images > 1 or count <= 4 else -(-count // 2)


def chosen(method: list[str], weights: list[Path]) -> list[str]:
    """The names of the methods, each once, in the order given.

    Raises:
        WrongUse: one is not known, or needs weights and none are given.
    """
    words = _words(method)
    if not words:
        raise WrongUse(f"--method: expected one or more of {', '.join((*CLASSICAL, *LEARNED))}")
    names: list[str] = []
    for word in words:
        if word == ALL:
            names += [*CLASSICAL, *((ALL,) if weights else ())]
        elif word not in (*CLASSICAL, *LEARNED):
            raise WrongUse(
                f"--method: expected {ALL} or some of {', '.join((*CLASSICAL, *LEARNED))}, got "
                f"{word!r}"
            )
        else:
            names.append(word)
    if not weights:
        for name in names:
            if name in LEARNED:
                raise WrongUse(
                    f"--method {name} is learned: add --weights RUN, a run of minimask train "
                    f"--model {name if name != 'maskrcnn' else 'maskrcnn_laptop'}, or a file"
                )
    return list(dict.fromkeys(names))


def _check_numbers(
    level: float, groups: int, smallest: int, score: float, threads: int | None
) -> None:
    if not 0 <= level <= 255:
        raise WrongUse(f"--level: expected 0 to 255, got {level:g}")
    if not 2 <= groups <= 64:
        raise WrongUse(f"--groups: expected 2 to 64, got {groups}")
    if not 0 <= score <= 1:
        raise WrongUse(f"--score: expected 0 to 1, got {score}")
    is_positive(smallest, "--smallest")
    is_positive(threads, "--threads")


def open_learned(
    names: list[str], weights: list[Path], device: str, convention: str | None = None
) -> dict[str, Any]:
    """The models by the name of their method; "all" in `names` is replaced by those there are.

    Raises:
        WrongUse: a method without its weights, weights that no method asked for.
        ValueError: weights of a network that has no masks.
    """
    models: dict[str, Any] = {}
    for path in weights:
        opened = open_model(path, convention=convention)
        name = method_of(opened.model, str(path))
        if name in models:
            raise WrongUse(f"--weights {path}: there are other weights for {name} already")
        if ALL in names and name not in names:
            names.insert(names.index(ALL), name)
        if name not in names:
            raise WrongUse(f"--weights {path} are for {name}: add --method {name}")
        models[name] = opened.model.to(device)
    if ALL in names:
        names.remove(ALL)
    for name in names:
        if name in LEARNED and name not in models:
            raise WrongUse(f"--method {name}: none of --weights are of such a network")
    return models


def method_of(model: Any, source: str) -> str:
    """Which learned method a model is.

    Raises:
        ValueError: none: it gives no masks.
    """
    own = str(model.config.get("model", ""))
    for name in LEARNED:
        if own.startswith(name):
            return name
    if getattr(getattr(model, "roi_heads", None), "mask_head", None) is not None:
        return "maskrcnn"
    raise ValueError(
        f"{source}: {own or 'this network'} gives no masks; segment shows {', '.join(LEARNED)}"
    )


def run_method(
    name: str, image: np.ndarray, options: Options, models: dict[str, Any], score: float
) -> Segmentation:
    """One method on one image; of learned ones the time is the prediction's."""
    import time

    from minimask import classical

    if name in CLASSICAL:
        return classical.segment(image, name, options)
    model = models[name]
    began = time.perf_counter()
    (found,) = model.predict([image])
    seconds = time.perf_counter() - began
    if name == "maskrcnn":
        regions = instances(found.keep(found.scores >= score), options.smallest)
        return classical.Segmentation(name, (regions > 0).astype(int), regions, seconds)
    regions = classical.number_regions(found.labels, options.smallest)
    return classical.Segmentation(name, found.labels, regions, seconds)


def instances(found: Any, smallest: int) -> np.ndarray:
    """Detections as numbered regions (H, W): the better ones over the others."""
    import numpy as np

    numbers = np.zeros(found.image_size, np.int64)
    for i in reversed(range(len(found))):
        numbers[found.mask(i)] = i + 1
    counts = np.bincount(numbers.ravel(), minlength=len(found) + 1)
    kept = counts >= smallest
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[numbers]


def title(found: Segmentation) -> str:
    """Such as "otsu: 4 regions, 3 ms"."""
    what = "object" if found.method == "maskrcnn" else "region"
    many = "" if found.count == 1 else "s"
    milliseconds = found.seconds * 1000
    took = f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"
    return f"{found.method}: {found.count} {what}{many}, {took} ms"
