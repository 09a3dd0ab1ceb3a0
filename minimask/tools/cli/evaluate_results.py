"""Finished detections measured, and what `minimask evaluate` prints and writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from minimask.evaluate import Results, SemanticResults


def _truth(annotations: Path, images: Path | None) -> Any:
    """The ground truth in COCO's form, to be checked; of other formats as their reader gives it.

    Raises:
        ValueError: something could not be read.
    """
    from minimask.data.formats import read_annotations, recognise
    from minimask.data.json_files import read_json
    from minimask.data.soundness import raise_errors

    if recognise(annotations) in (None, "coco"):
        return read_json(annotations)
    found = read_annotations(annotations, images)
    raise_errors([f for f in found.notes if f.severity == "error"], annotations)
    return {
        "images": found.images,
        "annotations": found.annotations,
        "categories": found.categories,
    }


def measure(
    detections: Path, annotations: Path, images: Path | None, max_detections: int | None
) -> Results:
    """Compare detections with annotations of any format."""
    from minimask.evaluate import evaluate_detections
    from minimask.evaluate.results_file import parse_results

    return evaluate_detections(
        _truth(annotations, images),
        parse_results(detections),
        max_detections=max_detections or 100,
        names=(str(annotations), str(detections)),
    )


def _finish_label_maps(found: SemanticResults, folder: Path | None) -> None:
    """Print the table of pixel IoU, write the files, say where they are."""
    import json

    from minimask.system.files import write_whole

    typer.echo(f"{found.images} images")
    typer.echo(found.table())
    if found.explanation:
        typer.echo(found.explanation)
    if found.seconds_per_image is not None:
        typer.echo(f"{found.seconds_per_image * 1000:.0f} ms per image")
    if folder is not None:
        text = json.dumps(found.to_json(), indent=2) + "\n"
        write_whole(folder / "metrics.json", text.encode())
        also = "; pictures: " + str(folder / "pictures") if (folder / "pictures").is_dir() else ""
        typer.echo(f"metrics: {folder / 'metrics.json'}{also}")


def finish(found: Results | SemanticResults, folder: Path | None, results: Path | None) -> None:
    """Print the table, write the files, say where they are."""
    import json

    from minimask import draw
    from minimask.evaluate import SemanticResults, write_results
    from minimask.system.files import write_whole

    if isinstance(found, SemanticResults):
        return _finish_label_maps(found, folder)
    typer.echo(f"{found.images} images, {found.objects} objects, {found.detections} detections")
    typer.echo(found.table())
    for sentence in (*found.notes, found.explanation):
        if sentence:
            typer.echo(sentence)
    if found.seconds_per_image is not None:
        typer.echo(f"{found.seconds_per_image * 1000:.0f} ms per image")
    if results is not None:
        write_results(results, found.coco_results)
        typer.echo(f"detections: {results}")
    if folder is not None:
        text = json.dumps(found.to_json(), indent=2) + "\n"
        write_whole(folder / "metrics.json", text.encode())
        draw.pr_curves(found, folder / "pr.png")
        also = "; pictures: " + str(folder / "pictures") if (folder / "pictures").is_dir() else ""
        typer.echo(f"metrics: {folder / 'metrics.json'}; curves: {folder / 'pr.png'}{also}")
