"""YOLO segmentation: images/X.png, labels/X.txt, data.yaml.

One line per object: number of the class, then a polygon as shares of width and height.  Several
parts and holes become one polygon, whose parts are joined by lines there and back, which hold no
pixel; what is drawn from it is the same mask.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.data.annotated import AnnotatedImages
from minimask.data.formats.pixel_files import follow
from minimask.data.sample import encode_masks
from minimask.data.segmentation import decode, to_run_lengths
from minimask.data.writers.outlines import joined, pixel_rings
from minimask.data.writers.target import Written, class_of, links_or_copies, names_of, put_image

SHORT = "{:.6f}"  # enough for corners of pixels; else all digits


def write(data: AnnotatedImages, folder: pathlib.Path, copy: bool) -> Written:
    """Write all images with their objects; crowd regions have no form and are left out.

    Raises:
        OSError: it cannot be written.
    """
    written = Written(remarks=[links_or_copies(copy)])
    names, kinds = names_of(data), class_of(data)
    number_of = {name: i for i, name in enumerate(data.classes)}
    inexact = 0
    for i, name in follow(enumerate(names), len(names), "images"):
        image = data.images[i]
        put_image(data.folder / image["file_name"], folder / "images" / name, copy)
        lines = []
        for annotation in data.objects(i):
            if annotation["iscrowd"]:
                written.left_out["crowd regions"] += 1
                continue
            kind = kinds[annotation["category_id"]]
            shares, exact = outline(annotation["segmentation"], image["height"], image["width"])
            inexact += not exact
            lines.append(f"{number_of[kind]} {shares}\n")
            written.objects[kind] += 1
        path = folder / "labels" / pathlib.PurePosixPath(name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="ascii")
        written.images += 1
    (folder / "data.yaml").write_text(_yaml(data.classes), encoding="utf-8", errors="replace")
    if inexact:
        written.remarks.append(f"{inexact} outlines are not exactly their masks")
    return written


def outline(segmentation: Any, height: int, width: int) -> tuple[str, bool]:
    """One polygon as shares of the image, and whether its mask is exactly the segmentation's.

    Polygons inside the image keep their points; all others, and masks, get the outline of their
    pixels.
    """
    mask = decode(segmentation, height, width)
    (wanted,) = (runs["counts"] for runs in encode_masks(mask[None]))
    text = ""
    for points in _candidates(segmentation, mask):
        for form in (SHORT, "{!r}"):
            text = _shares(points, height, width, form)
            if _drawn(text, height, width) == wanted:
                return text, True
    return text, False


def _candidates(segmentation: Any, mask: np.ndarray) -> Iterator[np.ndarray]:
    """Outlines, the best first: polygons as they are, then the border of the pixels."""
    if isinstance(segmentation, list):
        parts = [np.reshape(np.asarray(polygon, float), (-1, 2)) for polygon in segmentation]
        points = np.concatenate(parts)
        if (points >= 0).all() and (points <= mask.shape[::-1]).all():
            yield joined(parts)
    yield joined(pixel_rings(mask))


def _shares(points: np.ndarray, height: int, width: int, form: str) -> str:
    shares = points / (width, height)
    return " ".join(form.format(float(value)) for value in shares.ravel())


def _drawn(text: str, height: int, width: int) -> str:
    """Run lengths of the polygon as it is read back."""
    points = np.array(text.split(), float).reshape(-1, 2) * (width, height)
    counts: bytes = to_run_lengths([points.ravel().tolist()], height, width)["counts"]
    return counts.decode("ascii")


def _yaml(classes: tuple[str, ...]) -> str:
    """The description that training on YOLO data takes."""
    names = "".join(f"  {i}: {json.dumps(n, ensure_ascii=False)}\n" for i, n in enumerate(classes))
    val = "val: images  # put images for checking into a folder of their own"
    return f"train: images\n{val}\nnames:\n{names}"
