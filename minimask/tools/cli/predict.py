"""`minimask predict`: images in; pictures, JSON and cut-outs out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minimask.system import runtime
from minimask.tools.cli import WrongUse
from minimask.tools.cli.image_list import Ids, ImageList, find_images
from minimask.tools.cli.predict_labels import LabelWriter
from minimask.tools.cli.regions import FILE_HELP, use_proposals
from minimask.tools.cli.sources import (
    PageOption,
    WhiteOption,
    files_of,
    is_folder,
    is_positive,
    is_semantic,
    keep_existing,
    open_model,
    reading,
    refuse_options,
    refuse_pictures,
    remarks_said,
)

if TYPE_CHECKING:
    import numpy as np

    from minimask.models.detections import Detections

Predict = Callable[[list[tuple[Path, "np.ndarray"]]], Any]  # files and images to what is there
SCORE = 0.5  # of the weakest detection, unless --score says another
KEYPOINT_SCORE = 0.05  # as `draw.overlay`; not imported for --help

EPILOG = """
[bold]What is in --out[/bold]

NAME.png for each image: the objects drawn over it.

predictions.json: for each image its file, size and objects: class, score, box (x0 y0 x1 y1 in
pixels), area in pixels, mask (run-length code as in COCO files), keypoints (x, y, score by name).

cutouts/NAME-00-CLASS.png with --cutouts: each object by itself, transparent around it.

Of a semantic segmenter (FCN, U-Net) NAME.png shows the class of every pixel, NAME-labels.png holds
it as a number (0 background, 1 the first class), and predictions.json counts pixels.

[bold]Examples[/bold]

minimask predict photo.jpg --weights runs/mine --out found

minimask predict photos/ --weights runs/mine --out found --score 0.7 --cutouts

minimask predict plates/ --weights runs/mine --out found --recursive --white 4095

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
    score: Annotated[
        float | None,
        typer.Option(help="Weaker detections are left out.", show_default=str(SCORE)),
    ] = None,
    keypoint_score: Annotated[
        float | None,
        typer.Option(help="Keypoints of no higher score are not drawn.", show_default="0.05"),
    ] = None,
    cutouts: Annotated[
        bool, typer.Option("--cutouts", help="Also save each object by itself.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(help="Write all detections, weak ones too, as COCO results JSON."),
    ] = None,
    proposals: Annotated[Path | None, typer.Option(help=FILE_HELP, show_default=False)] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Annotations whose image and category ids --results takes, and by which a file of "
            "--proposals names images; a list of images and "
            "categories will do "
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
    recursive: Annotated[
        bool,
        typer.Option("--recursive", help="Also the images in folders in folders; --out is alike."),
    ] = False,
    white: WhiteOption = None,
    page: PageOption = None,
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
    if score is not None and not 0 <= score <= 1:
        raise WrongUse(f"--score: expected 0 to 1, got {score}")
    if annotations is not None and results is None and proposals is None:
        raise WrongUse("--annotations gives --results its ids: add --results FILE")
    is_positive(batch, "--batch")
    is_positive(threads, "--threads")
    runtime.use_threads(threads)
    from minimask.system.device import find

    reading(white, page)  # before anything slow
    is_folder(out, "--out")
    found = find_images(images, recursive, without=out)
    files = list(found.names)
    names = output_names(found.names)
    _refuse(out, names, results, (annotations, proposals, *files_of(weights), *files))
    keep_existing((out, results), force)
    find(device)
    opened = open_model(weights, model)
    if is_semantic(opened.model):
        given = {"--score": score, "--cutouts": cutouts, "--results": results}
        given["--keypoint-score"] = keypoint_score
        refuse_options(opened, given)
    opened.model.to(device)
    own = None if opened.settings is None else opened.settings.model.proposals
    regions = use_proposals(opened.model, proposals, own, device)
    ids = _ids(opened.model, files, annotations)
    _say(found, ids)
    writer: Writer | LabelWriter
    if is_semantic(opened.model):
        writer = LabelWriter(out, pictures, ids, names)
    else:
        least = SCORE if score is None else score
        writer = Writer(out, least, pictures, cutouts, ids, names, results is not None)
        writer.keypoint_score = _keypoint_score(opened.model, keypoint_score)
    read = reading(white, page, opened.settings)
    try:
        with remarks_said():
            predict_of = _predictor(opened.model, regions, ids)
            failed = _run(predict_of, files, writer, batch, read, not quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {len(writer.entries)} of {len(files)} images; what was drawn of them "
            f"is in {out}, JSON files were not written"
        ) from None
    writer.finish(results)
    if failed:
        typer.echo(f"minimask: {len(failed)} of {len(files)} images failed, see above", err=True)
        raise typer.Exit(1)


def _ids(model: Any, files: list[Path], annotations: Path | None) -> Ids:
    """What images and classes are called in results; of proposals the class is an object."""
    if not getattr(model, "class_agnostic", False):
        return Ids(files, model.found_classes, annotations)
    ids = Ids(files, (), annotations)
    ids.categories = [1]
    return ids


def _predictor(model: Any, regions: Any, ids: Ids) -> Predict:
    """What finds the objects of files and their images, in the regions of a file if there are."""
    if regions is None:
        return lambda some: model.predict([image for _, image in some])
    from minimask.models.given_proposals import regions_of

    def in_regions(some: list[tuple[Path, np.ndarray]]) -> Any:
        named = [(ids.images[path], str(path)) for path, _ in some]
        return model.predict([image for _, image in some], regions_of(regions, named))

    return in_regions


def _keypoint_score(model: Any, score: float | None) -> float:
    """The score above which keypoints are drawn."""
    if score is None:
        return KEYPOINT_SCORE
    if getattr(model, "skeleton", None) is None:
        raise WrongUse("--keypoint-score: this model finds no keypoints")
    return score


def output_names(files: dict[Path, Path]) -> dict[Path, str]:
    """For each image the name of its picture without suffix, numbered where another has it."""
    taken: set[str] = set()
    names = {}
    for path, below in files.items():
        stem = below.with_suffix("").as_posix()
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names[path] = name
    return names


def _refuse(
    out: Path, names: dict[Path, str], results: Path | None, inputs: tuple[Path | None, ...]
) -> None:
    """Raise if something would be written onto what is read, with --force too."""
    written = [out / f"{name}.png" for name in names.values()]
    written += [out / f"{name}-labels.png" for name in names.values()]
    written += [out / "predictions.json"] + ([] if results is None else [results])
    refuse_pictures(written, [path for path in inputs if path is not None])
    if out.is_dir():  # names of cut-outs are not known yet
        pieces = (out / "cutouts").resolve()
        for path in names:
            if pieces in path.resolve().parents:
                raise ValueError(f"{path} lies where cut-outs are written: choose another --out")


def _say(found: ImageList, ids: Ids) -> None:
    """What was passed over, and what was taken for the same with a doubt."""
    if passed := found.passed_over():
        typer.echo(f"minimask: {passed}", err=True)
    if ids.by_name_alone:
        others = len(ids.by_name_alone) - 1
        more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
        typer.echo(
            f"minimask: {ids.by_name_alone[0]}{more}: known in {ids.source} by the file's name "
            "alone, the folders there are others",
            err=True,
        )


def _run(
    predict: Predict,
    files: list[Path],
    writer: Any,
    batch: int,
    read: dict[str, Any],
    progress: bool,
) -> list[Path]:
    """Read, predict and write a batch at a time; returns the files that could not be done."""
    from tqdm import tqdm

    failed: list[Path] = []
    with tqdm(total=len(files), desc="predicting", unit="image", disable=not progress) as bar:
        for start in range(0, len(files), batch):
            group = files[start : start + batch]
            readable = list(_read(group, read, failed, bar))
            for some in _that_fit(predict, readable, failed, bar):
                for (path, image), detections in some:
                    writer.add(path, image, detections)
            bar.update(len(group))
    return failed


def _read(
    files: list[Path], read: dict[str, Any], failed: list[Path], bar: Any
) -> Iterator[tuple[Path, np.ndarray]]:
    from minimask.data import read_image

    for path in files:
        try:
            yield path, read_image(path, **read)
        except Exception as error:  # whatever is wrong with one must not stop the others
            failed.append(path)
            bar.write(f"minimask: {_sentence(path, error)}; left out", file=sys.stderr)


def _that_fit(
    predict: Predict, images: list[tuple[Path, np.ndarray]], failed: list[Path], bar: Any
) -> Iterator[Any]:
    """Images with what was found in them: all at once, or one by one if that needs less memory."""
    try:
        yield list(zip(images, predict(images), strict=True))
    except MemoryError as error:
        if len(images) > 1:
            for alone in images:
                yield from _that_fit(predict, [alone], failed, bar)
            return
        ((path, _),) = images
        failed.append(path)
        bar.write(
            f"minimask: {path}: not enough memory ({error}); cut it into tiles, or save it "
            "smaller; left out",
            file=sys.stderr,
        )


def _sentence(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path}: {error.strerror}"
    text = str(error) or type(error).__name__
    return text if str(path) in text else f"{path}: {text}"


class Writer:
    """Writes what was found in each image, every file whole or not at all."""

    def __init__(
        self,
        out: Path,
        score: float,
        pictures: bool,
        cutouts: bool,
        ids: Ids,
        names: dict[Path, str],
        all: bool,
    ) -> None:
        self.out, self.score, self.pictures, self.cutouts = out, score, pictures, cutouts
        self.ids = ids
        self.entries: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.names, self.all = names, all
        self.keypoint_score = KEYPOINT_SCORE

    def add(self, path: Path, image: np.ndarray, detections: Detections) -> None:
        """Draw one image's objects, save them, and remember them for the JSON files."""
        from minimask import draw

        number = self.ids.images[path]
        name = self.names[path]
        indices = [i for i in range(len(detections)) if detections.scores[i] >= self.score]
        kept = detections.keep(indices)
        coco = kept.to_coco(number, self.ids.categories)
        if self.all:  # masks of a large image take time: only where they are asked for
            self.results += detections.to_coco(number, self.ids.categories)
        height, width = detections.image_size
        self.entries.append(
            {
                "file": str(path),
                "name": name,
                "image_id": number,
                "width": width,
                "height": height,
                "objects": [_entry(kept, i, coco[i].get("segmentation")) for i in range(len(kept))],
            }
        )
        if self.pictures:
            draw.save_image(self.out / f"{name}.png", self._drawn(image, kept))
        if self.cutouts:
            for i, piece in enumerate(draw.cutouts(image, kept)):
                if piece.size:
                    file = f"{name}-{i:02d}-{_file_name(kept.names[i])}.png"
                    draw.save_image(self.out / "cutouts" / file, piece)

    def _drawn(self, image: np.ndarray, kept: Detections) -> np.ndarray:
        from minimask import draw

        return draw.overlay(image, kept, min_keypoint_score=self.keypoint_score)

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
    if detections.keypoints is not None:
        points = [[round(float(v), 3) for v in point] for point in detections.keypoints[i]]
        skeleton = detections.skeleton
        names = [str(k + 1) for k in range(len(points))] if skeleton is None else skeleton.names
        entry["keypoints"] = dict(zip(names, points, strict=True))
    return entry


def _file_name(text: str) -> str:
    """A class name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)[:40]
