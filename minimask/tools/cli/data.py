"""`minimask data`: is the data what it should be?"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimask.tools.cli import WrongUse
from minimask.tools.cli.sources import is_positive, keep_existing

if TYPE_CHECKING:
    from minimask.data.sample import Dataset

# what differs between two findings of one kind: numbers and quoted names
SPECIFIC = r"\d+|'[^']*'"

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

[bold]Example[/bold]

minimask data check train.json --images train/
"""

SHOW_EPILOG = """
[bold]Examples[/bold]

minimask data show train.json --images train/ --out samples.png

minimask data show train.json --images train/ --random 7 --count 20

minimask data show --data shapes
"""


@app.command("check", epilog=CHECK_EPILOG)
def check(
    annotations: Annotated[Path, typer.Argument(help="COCO instance JSON.", show_default=False)],
    images: Annotated[Path, typer.Option(help="Folder of its images.")],
    most: Annotated[int, typer.Option(help="Findings of one kind to print; 0: all.")] = 10,
) -> None:
    """Look for mistakes in annotations and images; says for each what to do."""
    from minimask.data import find_problems

    found = find_problems(annotations, images)
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
    typer.echo(_contents(annotations) + _verdict(counts))
    if counts["error"]:
        raise typer.Exit(1)


def _contents(annotations: Path) -> str:
    """How much there is of everything, if the file can be read at all."""
    from minimask.data.coco import read_json

    try:
        content = read_json(annotations)
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        counts = Counter(names[entry["category_id"]] for entry in content["annotations"])
        used = {entry["image_id"] for entry in content["annotations"]}
        empty = sum(image["id"] not in used for image in content["images"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common(12))
    return (
        f"{len(content['images'])} images ({empty} without objects), "
        f"{len(content['annotations'])} objects: {classes or 'none'}"
        f"{', ...' if len(counts) > 12 else ''}\n"
    )


def _verdict(counts: Counter[str]) -> str:
    if not counts:
        return "no problems found"
    return ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items()
    )


@app.command("show", epilog=SHOW_EPILOG)
def show(
    annotations: Annotated[
        Path | None, typer.Argument(help="COCO instance JSON.", show_default=False)
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of its images.")] = None,
    data: Annotated[str | None, typer.Option(help="shapes: generated images.")] = None,
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
    dataset = _dataset(annotations, images, data, size, count, random)
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


def _dataset(
    annotations: Path | None,
    images: Path | None,
    data: str | None,
    size: int,
    count: int,
    random: int | None,
) -> Dataset:
    if data not in (None, "shapes"):
        raise WrongUse(f"--data: expected shapes, got {data!r}")
    if (data is None) == (annotations is None):
        raise WrongUse("name the annotations, or --data shapes for generated images")
    if data == "shapes":
        from minimask.data import Shapes

        return Shapes(count, size, seed=random or 0)
    if images is None:
        raise WrongUse("--images FOLDER is needed: the folder of the images")
    from minimask.data import CocoDataset

    assert annotations is not None
    dataset = CocoDataset(annotations, images)
    if not len(dataset):
        raise ValueError(f"{annotations}: lists no images")
    return dataset


def _choose(total: int, count: int, random: int | None) -> list[int]:
    import numpy as np

    count = min(count, total)
    if random is None:
        return list(range(count))
    return sorted(np.random.default_rng(random).choice(total, count, replace=False).tolist())
