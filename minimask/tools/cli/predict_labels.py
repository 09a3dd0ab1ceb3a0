"""What `minimask predict` writes for semantic segmenters: label maps."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from minimask.tools.cli.image_list import Ids

if TYPE_CHECKING:
    import numpy as np

    from minimask.models.label_map import LabelMap


class LabelWriter:
    """Writes the class of every pixel of each image, every file whole or not at all."""

    def __init__(self, out: Path, pictures: bool, ids: Ids, names: dict[Path, str]) -> None:
        self.out, self.pictures = out, pictures
        self.ids, self.names = ids, names
        self.entries: list[dict[str, Any]] = []

    def add(self, path: Path, image: np.ndarray, found: LabelMap) -> None:
        """Draw one image's label map, save it, and remember its counts for the JSON file."""
        from minimask import draw
        from minimask.system.files import write_whole

        name = self.names[path]
        height, width = found.image_size
        self.entries.append(
            {
                "file": str(path),
                "name": name,
                "image_id": self.ids.images[path],
                "width": width,
                "height": height,
                "pixels": found.pixels(),
            }
        )
        write_whole(self.out / f"{name}-labels.png", label_png(found.labels))
        if self.pictures:
            draw.save_image(self.out / f"{name}.png", draw.label_overlay(image, found))

    def finish(self, results: Path | None) -> None:
        """Write the JSON file and say what was found."""
        from minimask.system.files import write_whole

        if not self.entries:
            return
        target = self.out / "predictions.json"
        lines = ",\n".join(json.dumps(entry) for entry in self.entries)  # one per image
        write_whole(target, f"[\n{lines}\n]\n".encode())
        size = sum(entry["width"] * entry["height"] for entry in self.entries)
        pixels = sum(sum(entry["pixels"].values()) for entry in self.entries)
        typer.echo(
            f"{pixels / size:.1%} of the pixels of {len(self.entries)} images are of a class; "
            f"see {target}"
        )


def label_png(labels: np.ndarray) -> bytes:
    """A label map (H, W) as a gray PNG file whose values are the labels; 16 bits above 255."""
    import numpy as np
    from PIL import Image

    kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
    content = io.BytesIO()
    Image.fromarray(labels.astype(kind)).save(content, "PNG")
    return content.getvalue()
