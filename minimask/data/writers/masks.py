"""Mask folders: ID/images/NAME with ID/masks/CLASS/00001.png, white on black.

One file per object keeps objects that overlap.  `*_crowd.png` are regions of many objects,
`classes.txt` lists the classes in their order.
"""

from __future__ import annotations

import pathlib
import re

import numpy as np
from PIL import Image

from minimask.data.annotated import AnnotatedImages
from minimask.data.formats.mask_folders import CLASSES, CROWD
from minimask.data.formats.pixel_files import follow
from minimask.data.segmentation import decode
from minimask.data.writers.target import Written, class_of, links_or_copies, names_of, put_image

UNFIT = re.compile(r'[\\/:*?"<>|%\x00-\x1f\x7f]|^\.|[. ]$|^ ')  # for the name of a folder


def write(data: AnnotatedImages, folder: pathlib.Path, copy: bool) -> Written:
    """Write all images with their objects.

    Raises:
        OSError: it cannot be written.
    """
    written = Written(remarks=[links_or_copies(copy)])
    names, kinds = names_of(data), class_of(data)
    for i, name in follow(enumerate(names), len(names), "images"):
        image = data.images[i]
        whole = pathlib.PurePosixPath(name)
        place = folder / str(whole.with_suffix("")).replace("/", "__")
        put_image(data.folder / image["file_name"], place / "images" / whole.name, copy)
        (place / "masks").mkdir()
        for number, annotation in enumerate(data.objects(i), 1):
            kind = kinds[annotation["category_id"]]
            below = place / "masks" / folder_name(kind)
            below.mkdir(exist_ok=True)
            mask = decode(annotation["segmentation"], image["height"], image["width"])
            ending = CROWD if annotation["iscrowd"] else ""
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(below / f"{number:05d}{ending}.png")
            written.objects[kind] += 1
        written.images += 1
    text = "".join(f"{folder_name(name)}\n" for name in data.classes)
    (folder / CLASSES).write_text(text, encoding="utf-8")
    return written


def folder_name(name: str) -> str:
    """The name of a class as one of a folder: what no system allows is written with %."""
    return UNFIT.sub(lambda found: "".join(f"%{b:02X}" for b in found[0].encode()), name) or "%20"
