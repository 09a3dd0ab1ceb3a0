"""What `minimask predict` writes of each image: a picture, cut-outs, an entry in the JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from minimask.tools.cli.image_list import Ids

if TYPE_CHECKING:
    import numpy as np

    from minimask.models.detections import Detections

KEYPOINT_SCORE = 0.05  # as `draw.overlay`; not imported for --help


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
