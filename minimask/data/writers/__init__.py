"""Data sets written in other formats: what `minimask data convert` can make.

Each format has a file here with a function `write(data, folder or file, copy)`.
"""

from __future__ import annotations

import importlib
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minimask.data.annotated import AnnotatedImages
    from minimask.data.writers.target import Written

WRITERS = ("coco", "labelme", "yolo", "masks")


def convert(
    data: AnnotatedImages,
    out: pathlib.Path,
    to: str = "coco",
    *,
    copy: bool = False,
    force: bool = False,
) -> Written:
    """Write a data set in another format; it appears whole or not at all.

    Masks stay exactly what they are.  What a format has no form for is left out and counted.

    Args:
        data: what to write.
        out: a file for "coco", else a folder, which is made.
        to: one of `WRITERS`.
        copy: copy the images into the folder; default: links to them.
        force: replace a file, or a folder that this function wrote.

    Raises:
        ValueError: no such format; `out` is in use, or lies around what is read.
        OSError: it cannot be written.
    """
    if to not in WRITERS:
        raise ValueError(f"--to: expected one of {', '.join(WRITERS)}, got {to!r}")
    from minimask.data.writers import target

    writer = importlib.import_module(f"{__name__}.{to}")
    target.check(data, out, to, copy=copy, force=force)
    if to == "coco":
        return writer.write(data, out)
    with target.new_folder(out) as folder:
        written: Written = writer.write(data, folder, copy)
        if data.skeleton is not None:
            written.remarks.append(f"{to} has no form for keypoints: they are left out")
        target.sign(folder, data, to, written)
    return written
