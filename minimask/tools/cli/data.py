"""`minimask data`: is the data what it should be?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.data import registry
from minimask.data.augmentations import AUGMENTATIONS
from minimask.tools.cli import WrongUse, convert
from minimask.tools.cli.outputs import keep_existing, refuse_overwriting, refuse_pictures
from minimask.tools.cli.sources import (
    PageOption,
    WhiteOption,
    check_data,
    is_positive,
    open_dataset,
    reading,
    remarks_said,
)

if TYPE_CHECKING:
    import numpy as np

    from minimask.data.advice import Advice
    from minimask.data.findings import Finding
    from minimask.data.sample import Dataset

# what differs between two findings of one kind: numbers and quoted names
SPECIFIC = r"\d+|'[^']*'"

DRAWS = 2  # changed forms of a sample that `show --augment` draws
DATA = (
    "The format of the annotations, where it is not to be recognised, or shapes or "
    "sticks (generated images)."
)
ANNOTATIONS = "File or folder of annotations, of any format that is known."
IMAGES = "Folder of the images [dim](default: as the annotations say, or beside them)[/dim]."

app = typer.Typer(
    help="Check annotations before training, and look at samples.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

CHECK_EPILOG = """
Finds images that are missing, unreadable or of another size than the file says, boxes outside
the image or written as corners, masks that are empty or of the wrong size, ids used twice,
categories that nobody uses. The exit code is 1 if training would fail or learn something wrong.

[bold]Examples[/bold]

minimask data check train.json --images train/

minimask data check --data folder --images stage1_train/
"""

SHOW_EPILOG = """
[bold]Examples[/bold]

minimask data show train.json --images train/ --out samples.png

minimask data show train.json --images train/ --random 7 --count 20

minimask data show --data folder --images stage1_train/ --classes nucleus

minimask data show --data shapes

minimask data show train.json --images train/ --augment copypaste,flip,rotate
"""


@app.command("check", epilog=CHECK_EPILOG)
def check(
    annotations: Annotated[
        Path | None, typer.Argument(help=ANNOTATIONS, show_default=False)
    ] = None,
    images: Annotated[Path | None, typer.Option(help=IMAGES, show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help=DATA)] = None,
    white: WhiteOption = None,
    page: PageOption = None,
    most: Annotated[int, typer.Option(help="Findings of one kind to print; 0: all.")] = 10,
) -> None:
    """Look for mistakes in annotations and images; says for each what to do."""
    name = _name(data, annotations, images)
    files = {"annotations": annotations, "images": images}
    check_data(name, files)
    given = {key: path for key, path in files.items() if path}
    found, contents, advice = _findings(name, given, reading(white, page))
    kinds: Counter[str] = Counter()
    for finding in found:
        kind = f"{finding.severity} {re.sub(SPECIFIC, '', finding.advice)}"
        kinds[kind] += 1
        if not most or kinds[kind] <= most:
            typer.echo(str(finding))
    hidden = sum(max(0, number - most) for number in kinds.values()) if most else 0
    if hidden:
        typer.echo(f"... and {hidden} more of the same kinds: --most 0 shows all")
    counts: Counter[str] = Counter(finding.severity for finding in found)
    typer.echo(f"{contents}\n{_verdict(counts)}" if contents else _verdict(counts))
    if counts["error"]:
        raise typer.Exit(1)
    if advice is not None:
        from minimask.tools.cli.advice import sentences

        typer.echo(sentences(advice, given))


def _findings(
    name: str, files: dict[str, Path], read: dict[str, Any]
) -> tuple[list[Finding], str, Advice | None]:
    """What is wrong with a data set, how much there is of everything, and how to train on it."""
    entry = registry.find(name)
    if entry.generated:
        raise WrongUse(f"--data {name}: generated images need no check")
    if entry.format is not None:
        from tqdm import tqdm

        from minimask.data.check import check_files

        source = files.get("annotations") or files["images"]
        with tqdm(desc="checking", unit="image", leave=False, delay=2) as bar:

            def progress(done: int, count: int) -> None:
                bar.total = count
                bar.update(done - bar.n)

            checked = check_files(
                source, files.get("images"), entry.format or None, progress=progress, **read
            )
        return checked.findings, checked.contents, checked.advice
    if entry.check is not None:
        return *entry.check(**files, **read), None
    from minimask.data.check_images import check_images

    return *check_images(entry.open(**files, **entry.takes(read))), None


def _verdict(counts: Counter[str]) -> str:
    if not counts:
        return "no problems found"
    return ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items()
    )


@app.command("show", epilog=SHOW_EPILOG)
def show(
    annotations: Annotated[
        Path | None, typer.Argument(help=ANNOTATIONS, show_default=False)
    ] = None,
    images: Annotated[Path | None, typer.Option(help=IMAGES, show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help=DATA)] = None,
    classes: Annotated[str | None, typer.Option(help="Names of classes, with commas.")] = None,
    white: WhiteOption = None,
    page: PageOption = None,
    size: Annotated[int, typer.Option(help="Side of generated images in pixels.")] = 128,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("samples.png"),
    count: Annotated[int, typer.Option(help="Of images.")] = 6,
    random: Annotated[
        int | None,
        typer.Option(help="Choose at random with this seed.", show_default="the first ones"),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Random changes, as `train --augment` makes them: each sample is drawn as it is "
            f"and changed twice. With commas: {', '.join(AUGMENTATIONS)}.",
            show_default="none",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing picture.")] = False,
) -> None:
    """Draw samples on one sheet: each as it is, and with its masks, boxes and class names."""
    changes = _changes(augment)
    is_positive(count, "--count")
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise WrongUse(f"--out: expected a name that ends in .png or .jpg, got {out}")
    keep_existing((out,), force)
    name = _name(data, annotations, images)
    offered = {"count": count, "size": size, "seed": random or 0, **reading(white, page)}
    files = {"annotations": annotations, "images": images}
    dataset = open_dataset(name, files, classes, offered)
    refuse_overwriting((out,), (annotations, images))
    if out.exists() and not registry.find(name).generated:
        refuse_pictures((out,), (Path(dataset.describe(i)) for i in range(len(dataset))))
    from minimask import draw

    chosen = _choose(len(dataset), count, random)
    with remarks_said():
        rows = [row for i in chosen for row in _drawn(dataset, i, changes, random or 0)]
    sheet = draw.contact_sheet(
        [picture for picture, _ in rows],
        [title for _, title in rows],
        columns=1 + DRAWS if changes else 2,
    )
    draw.save_image(out, sheet)
    typer.echo(f"{len(chosen)} images with {', '.join(dataset.classes[:8])}: {out}")


def _drawn(
    dataset: Dataset, i: int, changes: list[str], seed: int
) -> Iterator[tuple[np.ndarray, str]]:
    """Pictures of one image with titles: plain and drawn over, or drawn over and changed."""
    import numpy as np

    from minimask import draw
    from minimask.data.augmentations import augmentation
    from minimask.data.transforms import bind
    from minimask.draw.overlay import SMALL, enlarged

    sample = dataset[i]
    objects = draw.draw_target(sample.image, sample, dataset.classes)
    title = f"{sample.name}: {len(sample)}"
    transform = augmentation(changes)
    if transform is None:
        yield np.hstack([enlarged(sample.image, SMALL)[0], objects]), title
        return
    yield objects, title
    transform = bind(transform, dataset)
    for turn in range(DRAWS):
        changed = transform(sample, np.random.default_rng([seed, i, turn])).contiguous()
        picture = draw.draw_target(changed.image, changed, dataset.classes)
        yield picture, f"{', '.join(changes)}: {len(changed)}"


def _changes(augment: str | None) -> list[str]:
    """The names of --augment; WrongUse where one is unknown."""
    names = [word.strip() for word in (augment or "").split(",") if word.strip()]
    names = [] if names == ["none"] else names
    for name in names:
        if name not in AUGMENTATIONS:
            listed = ", ".join(AUGMENTATIONS)
            raise WrongUse(f"--augment: expected one of {listed}, got {name!r}")
    return names


app.command("convert", epilog=convert.EPILOG)(convert.convert)


def _name(data: str | None, annotations: Path | None, images: Path | None) -> str:
    """The data set that the options are about."""
    if data is None and annotations is None and images is None:
        raise WrongUse("name the annotations, or --data shapes for generated images")
    return data or "files"


def _choose(total: int, count: int, random: int | None) -> list[int]:
    import numpy as np

    count = min(count, total)
    if random is None:
        return list(range(count))
    return sorted(np.random.default_rng(random).choice(total, count, replace=False).tolist())
