"""COCO instance annotations: one JSON file, in every spelling whose meaning is plain."""

from __future__ import annotations

import pathlib

from minimask.data.annotations import Annotations
from minimask.data.coco import read_json


class Coco:
    """`images`, `annotations` and `categories` in one JSON object; LVIS too."""

    def recognises(self, path: pathlib.Path) -> bool:
        """Whether it is a JSON file with `images`."""
        if not path.is_file() or path.suffix.lower() != ".json":
            return False
        try:
            return isinstance(read_json(path).get("images"), list)
        except ValueError:
            return False

    def read(self, path: pathlib.Path, images: pathlib.Path | None) -> Annotations:
        """See `Format.read`."""
        content = read_json(path)
        folder = images or path.parent
        return Annotations(
            path, "coco", content["images"], content["annotations"], content["categories"], folder
        )
