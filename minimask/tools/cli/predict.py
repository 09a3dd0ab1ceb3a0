"""`minimask predict`: images in; pictures, JSON and cut-outs out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.sources import is_folder, is_positive, keep_existing, open_model

if TYPE_CHECKING:
    import numpy as np

    from minimask.models.detections import Detections

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".pgm")

EPILOG = """
[bold]What is in --out[/bold]

NAME.png for each image: the objects drawn over it.

predictions.json: for each image its file, size and objects: class, score, box (x0 y0 x1 y1 in
pixels), area in pixels, mask (run-length code as in COCO files).

cutouts/NAME-00-CLASS.png with --cutouts: each object by itself, transparent around it.

[bold]Examples[/bold]

minimask predict photo.jpg --weights runs/mine --out found

minimask predict photos/ --weights runs/mine --out found --score 0.7 --cutouts

Images that cannot be read are named and left out; the exit code is then 1.
"""


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="Image files, and folders of them.", show_default=False)
    ],
    weights: Annotated[
        Path, typer.Option(help="Folder of a run, one of its checkpoints, or a file of weights.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for everything found.")],
    score: Annotated[float, typer.Option(help="Weaker detections are left out.")] = 0.5,
    cutouts: Annotated[
        bool, typer.Option("--cutouts", help="Also save each object by itself.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(help="Write all detections, weak ones too, as COCO results JSON."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="COCO JSON whose image and category ids --results takes "
            "[dim](default: numbered from 1)[/dim]."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Network of a file of weights, e.g. maskrcnn_resnet50_fpn "
            "[dim](default: recognised)[/dim].",
            show_default=False,
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the objects over the images.")
    ] = True,
    batch: Annotated[int, typer.Option(help="Images at once.")] = 4,
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:1 for the second GPU.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Processor cores to use.", show_default="all")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into --out although it is not empty.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Find the objects in images."""
    if not 0 <= score <= 1:
        raise WrongUse(f"--score: expected 0 to 1, got {score}")
    if annotations is not None and results is None:
        raise WrongUse("--annotations gives --results its ids: add --results FILE")
    is_positive(batch, "--batch")
    is_positive(threads, "--threads")
    runtime.use_threads(threads)
    from minimask.system.device import find

    files = find_images(images)
    is_folder(out, "--out")
    keep_existing((out, results), force)
    find(device)
    opened = open_model(weights, model)
    opened.model.to(device)
    ids = Ids(files, opened.model.classes, annotations)
    writer = Writer(out, score, pictures, cutouts, ids)
    try:
        failed = _run(opened.model, files, writer, batch, not quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {len(writer.entries)} of {len(files)} images; what was drawn of them "
            f"is in {out}, JSON files were not written"
        ) from None
    writer.finish(results)
    if failed:
        typer.echo(f"minimask: {len(failed)} of {len(files)} images failed, see above", err=True)
        raise typer.Exit(1)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the image files in the folders named, in order, each once.

    Raises:
        FileNotFoundError: nothing of that name.
        ValueError: a folder without images.
    """
    from minimask.data.images import missing_file

    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(
                entry
                for entry in path.iterdir()
                if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
            )
            if not inside:
                raise ValueError(f"{path}: no images in this folder (looked for *.png, *.jpg, ...)")
            files.update(dict.fromkeys(inside))
        elif path.exists():
            files[path] = None
        else:
            raise FileNotFoundError(missing_file(path))
    return list(files)


def _run(model: Any, files: list[Path], writer: Writer, batch: int, progress: bool) -> list[Path]:
    """Read, predict and write a batch at a time; returns the files that could not be read."""
    from tqdm import tqdm

    failed: list[Path] = []
    with tqdm(total=len(files), desc="predicting", unit="image", disable=not progress) as bar:
        for start in range(0, len(files), batch):
            group = files[start : start + batch]
            readable = list(_read(group, failed, bar))
            found = model.predict([image for _, image in readable])
            for (path, image), detections in zip(readable, found, strict=True):
                writer.add(path, image, detections)
            bar.update(len(group))
    return failed


def _read(files: list[Path], failed: list[Path], bar: Any) -> Iterator[tuple[Path, np.ndarray]]:
    from minimask.data import read_image

    for path in files:
        try:
            yield path, read_image(path)
        except (OSError, ValueError) as error:
            failed.append(path)
            bar.write(f"minimask: {_sentence(path, error)}; left out")


def _sentence(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror}"
    return str(error)


class Ids:
    """The image and category ids that COCO results carry.

    Raises:
        ValueError: an image or class that the annotations do not have.
    """

    def __init__(self, files: list[Path], classes: Sequence[str], source: Path | None) -> None:
        self.images = {path: i + 1 for i, path in enumerate(files)}
        self.categories = list(range(1, len(classes) + 1))
        if source is None:
            return
        from minimask.data.coco import read_json

        content = read_json(source)
        by_name = {Path(image["file_name"]).name: image["id"] for image in content["images"]}
        category = {entry["name"]: entry["id"] for entry in content["categories"]}
        strangers = [str(path) for path in files if path.name not in by_name]
        unknown = [name for name in classes if name not in category]
        if strangers:
            raise ValueError(f"{source}: lists no image of the name {strangers[0]!r}")
        if unknown:
            raise ValueError(
                f"{source}: has no category {unknown[0]!r}, which the model knows; it has "
                f"{', '.join(map(repr, list(category)[:8]))}"
            )
        self.images = {path: by_name[path.name] for path in files}
        self.categories = [category[name] for name in classes]


class Writer:
    """Writes what was found in each image, every file whole or not at all."""

    def __init__(self, out: Path, score: float, pictures: bool, cutouts: bool, ids: Ids) -> None:
        self.out, self.score, self.pictures, self.cutouts = out, score, pictures, cutouts
        self.ids = ids
        self.entries: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.names: set[str] = set()

    def add(self, path: Path, image: np.ndarray, detections: Detections) -> None:
        """Draw one image's objects, save them, and remember them for the JSON files."""
        from minimask import draw

        number = self.ids.images[path]
        coco = detections.to_coco(number, self.ids.categories)
        self.results += coco
        name = self._free_name(path.stem)
        indices = [i for i in range(len(detections)) if detections.scores[i] >= self.score]
        kept = detections.keep(indices)
        height, width = detections.image_size
        self.entries.append(
            {
                "file": str(path),
                "name": name,
                "image_id": number,
                "width": width,
                "height": height,
                "objects": [
                    _entry(kept, i, coco[j].get("segmentation")) for i, j in enumerate(indices)
                ],
            }
        )
        if self.pictures:
            draw.save_image(self.out / f"{name}.png", draw.overlay(image, kept))
        if self.cutouts:
            for i, piece in enumerate(draw.cutouts(image, kept)):
                if piece.size:
                    file = f"{name}-{i:02d}-{_file_name(kept.names[i])}.png"
                    draw.save_image(self.out / "cutouts" / file, piece)

    def _free_name(self, stem: str) -> str:
        """The image's name without suffix; numbered where another image has it already."""
        name, number = stem, 2
        while name.lower() in self.names:
            name, number = f"{stem}-{number}", number + 1
        self.names.add(name.lower())
        return name

    def finish(self, results: Path | None) -> None:
        """Write the JSON files and say what was found."""
        from minimask.evaluate import write_results
        from minimask.system.files import write_whole

        if self.entries:
            target = self.out / "predictions.json"
            lines = ",\n".join(json.dumps(entry) for entry in self.entries)  # one per image
            write_whole(target, f"[\n{lines}\n]\n".encode())
            objects = sum(len(entry["objects"]) for entry in self.entries)
            typer.echo(
                f"{objects} objects of score {self.score:g} or more in {len(self.entries)} "
                f"images; see {target}"
            )
        if results is not None and self.entries:
            write_results(results, self.results)
            typer.echo(f"all {len(self.results)} detections as COCO results: {results}")


def _entry(detections: Detections, i: int, segmentation: Any) -> dict[str, Any]:
    """One object as JSON."""
    entry: dict[str, Any] = {
        "class": detections.names[i],
        "score": round(float(detections.scores[i]), 4),
        "box": [round(float(value), 2) for value in detections.boxes[i]],
    }
    if segmentation is not None:
        from pycocotools import mask as rle_tools

        entry |= {"area": int(rle_tools.area(segmentation)), "mask": segmentation}
    return entry


def _file_name(text: str) -> str:
    """A class name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)[:40]
