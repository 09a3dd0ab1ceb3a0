"""labelme: one JSON file per image beside it; polygons as they are, run lengths as masks.

Several polygons of one object share a `group_id`.  labelme 5.3 and later know shapes that are
masks, which keep holes and single pixels.
"""

from __future__ import annotations

import base64
import io
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from minimask.data.annotated import AnnotatedImages
from minimask.data.formats.pixel_files import follow
from minimask.data.segmentation import decode
from minimask.data.writers.target import Written, class_of, links_or_copies, names_of, put_image

VERSION = "5.4.1"  # the form that is written


def write(data: AnnotatedImages, folder: pathlib.Path, copy: bool) -> Written:
    """Write all images with their objects; crowd regions have no form and are left out.

    Raises:
        OSError: it cannot be written.
    """
    written = Written(remarks=[links_or_copies(copy)])
    names, kinds = names_of(data), class_of(data)
    for i, name in follow(enumerate(names), len(names), "images"):
        image = data.images[i]
        put_image(data.folder / image["file_name"], folder / name, copy)
        shapes: list[dict[str, Any]] = []
        for number, annotation in enumerate(data.objects(i), 1):
            if annotation["iscrowd"]:
                written.left_out["crowd regions"] += 1
                continue
            kind = kinds[annotation["category_id"]]
            shapes += _shapes(annotation["segmentation"], kind, number, image)
            written.objects[kind] += 1
        content = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": pathlib.PurePosixPath(name).name,
            "imageData": None,
            "imageHeight": image["height"],
            "imageWidth": image["width"],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        path = folder / pathlib.PurePosixPath(name).with_suffix(".json")
        path.write_text(text, encoding="utf-8", errors="replace")
        written.images += 1
    return written


def _shapes(segmentation: Any, name: str, number: int, image: dict[str, Any]) -> list[Any]:
    """The shapes of one object."""
    shape: dict[str, Any] = {
        "label": name,
        "group_id": None,
        "description": "",
        "flags": {},
        "mask": None,
    }
    if isinstance(segmentation, list):
        group = number if len(segmentation) > 1 else None
        return [
            shape
            | {
                "group_id": group,
                "shape_type": "polygon",
                "points": np.reshape(polygon, (-1, 2)).tolist(),
            }
            for polygon in segmentation
        ]
    mask = decode(segmentation, image["height"], image["width"])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y0, y1, x0, x1 = (int(v) for v in (rows[0], rows[-1], columns[0], columns[-1]))
    file = io.BytesIO()
    Image.fromarray(mask[y0 : y1 + 1, x0 : x1 + 1]).save(file, "PNG")
    return [
        shape
        | {
            "shape_type": "mask",
            "points": [[x0, y0], [x1, y1]],  # first and last pixel
            "mask": base64.b64encode(file.getvalue()).decode("ascii"),
        }
    ]
