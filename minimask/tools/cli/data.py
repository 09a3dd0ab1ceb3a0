"""`minimask data`: is the data what it should be?"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.data import registry
from minimask.tools.cli import WrongUse
from minimask.tools.cli.sources import check_data, is_positive, keep_existing, open_dataset

if TYPE_CHECKING:
    from minimask.data.advice import Advice
    from minimask.data.findings import Finding

# what differs between two findings of one kind: numbers and quoted names
SPECIFIC = r"\d+|'[^']*'"

DATA = (
    "The format of the annotations, where it is not to be recognised, or shapes (generated images)."
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
"""


@app.command("check", epilog=CHECK_EPILOG)
def check(
    annotations: Annotated[
        Path | None, typer.Argument(help=ANNOTATIONS, show_default=False)
    ] = None,
    images: Annotated[Path | None, typer.Option(help=IMAGES, show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help=DATA)] = None,
    most: Annotated[int, typer.Option(help="Findings of one kind to print; 0: all.")] = 10,
) -> None:
    """Look for mistakes in annotations and images; says for each what to do."""
    name = _name(data, annotations, images)
    files = {"annotations": annotations, "images": images}
    check_data(name, files)
    given = {key: path for key, path in files.items() if path}
    found, contents, advice = _findings(name, given)
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


def _findings(name: str, files: dict[str, Path]) -> tuple[list[Finding], str, Advice | None]:
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
                source, files.get("images"), entry.format or None, progress=progress
            )
        return checked.findings, checked.contents, checked.advice
    if entry.check is not None:
        return *entry.check(**files), None
    from minimask.data.check_images import check_images

    return *check_images(entry.open(**files)), None


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
    size: Annotated[int, typer.Option(help="Side of generated images in pixels.")] = 128,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("samples.png"),
    count: Annotated[int, typer.Option(help="Of images.")] = 6,
    random: Annotated[
        int | None,
        typer.Option(help="Choose at random with this seed.", show_default="the first ones"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing picture.")] = False,
) -> None:
    """Draw samples on one sheet: each as it is, and with its masks, boxes and class names."""
    is_positive(count, "--count")
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise WrongUse(f"--out: expected a name that ends in .png or .jpg, got {out}")
    keep_existing((out,), force)
    name = _name(data, annotations, images)
    offered = {"count": count, "size": size, "seed": random or 0}
    files = {"annotations": annotations, "images": images}
    dataset = open_dataset(name, files, classes, offered)
    import numpy as np

    from minimask import draw
    from minimask.draw.overlay import SMALL, enlarged

    pictures, titles = [], []
    for i in _choose(len(dataset), count, random):
        sample = dataset[i]
        plain, _ = enlarged(sample.image, SMALL)
        pictures.append(np.hstack([plain, draw.draw_target(sample.image, sample, dataset.classes)]))
        titles.append(f"{sample.name}: {len(sample)}")
    draw.save_image(out, draw.contact_sheet(pictures, titles, columns=2))
    typer.echo(f"{len(pictures)} images with {', '.join(dataset.classes[:8])}: {out}")


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
