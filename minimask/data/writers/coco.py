"""COCO instances: one JSON file; polygons and run lengths stay as they are."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from minimask.data.annotated import AnnotatedImages
from minimask.data.segmentation import to_run_lengths
from minimask.data.writers.target import Written, class_of
from minimask.system.files import write_whole


def write(data: AnnotatedImages, path: pathlib.Path) -> Written:
    """Write `images`, `annotations` and `categories`; file names start from `data.folder`.

    Raises:
        OSError: it cannot be written.
    """
    written = Written(images=len(data))
    id_of = dict(zip(data.classes, data.category_ids, strict=True))
    names = class_of(data)
    annotations = []
    for i, image in enumerate(data.images):
        for annotation in data.objects(i):
            name = names[annotation["category_id"]]
            entry = _complete(annotation, image["height"], image["width"])
            annotations.append(entry | {"category_id": id_of[name]})
            written.objects[name] += 1
    points = {
        c["name"]: {key: c[key] for key in ("keypoints", "skeleton", "sigmas") if key in c}
        for c in data.found.categories
    }
    categories = [{"id": i, "name": name, **points.get(name, {})} for name, i in id_of.items()]
    content = {
        "info": {"description": f"converted from {data.path} by minimask data convert"},
        "images": data.images,
        "annotations": annotations,
        "categories": categories,
    }
    write_whole(path, json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
    written.remarks.append(f"the images stay in {data.folder}")
    return written


def _complete(annotation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """The annotation with area and box, as many readers want them."""
    from pycocotools import mask as rle

    if annotation["segmentation"] is None:  # a box only
        return annotation | {"segmentation": []}
    runs = to_run_lengths(annotation["segmentation"], height, width)
    result = dict(annotation)
    if result.get("area") is None:
        result["area"] = int(rle.area(runs))
    if not result.get("bbox"):
        result["bbox"] = rle.toBbox(runs).tolist()
    return result
