"""A quick look at annotated images before training: is there something to learn from?

`check.py` reads every image and takes its time; this reads their heads only, so that training
begins at once and yet does not stop after an hour at an image that is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from minimask.data.annotated import AnnotatedImages
from minimask.data.check import nothing_to_learn
from minimask.data.findings import Finding, errors_first
from minimask.data.image_files import image_size

SMALL = 8  # pixels: objects whose boxes are smaller cannot be found in the network's input


def look(dataset: AnnotatedImages, threads: int = 4) -> list[Finding]:
    """What a user should know before the first step, errors first.

    Args:
        dataset: whose annotations have passed the gate.
        threads: that read the heads of images.
    """
    return errors_first([*_objects(dataset), *_images(dataset, threads)])


def _objects(dataset: AnnotatedImages) -> Iterator[Finding]:
    source = str(dataset.path)
    yield from (note for note in dataset.notes if note.severity == "warning")
    objects = [dataset.objects(i) for i in range(len(dataset))]
    single = [[a for a in of_image if not a["iscrowd"]] for of_image in objects]
    crowds = sum(map(len, objects)) - sum(map(len, single))
    if not any(single):
        yield nothing_to_learn(dataset.found, crowds)
        return
    if crowds > sum(map(len, single)):
        message = f"{crowds} of {sum(map(len, objects))} annotations are crowds, not trained on"
        yield Finding("warning", source, None, message, "export single objects with iscrowd 0")
    empty = sum(not of_image for of_image in single)
    if empty > len(dataset) / 2:
        message = f"{empty} of {len(dataset)} images have no object: learned as background"
        yield Finding("warning", source, None, message, "leave them out if they are not annotated")
    used = Counter(a["category_id"] for of_image in single for a in of_image)
    unused = [
        name
        for label, name in enumerate(dataset.classes)
        if not any(used[i] for i in dataset.ids_of(label))
    ]
    if unused:
        listed = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        message = f"{len(unused)} of {len(dataset.classes)} classes have no object: {listed}"
        yield Finding("warning", source, None, message, "name those to learn with --classes")


def _images(dataset: AnnotatedImages, threads: int) -> Iterator[Finding]:
    """Images that cannot be opened, or are not of the size that was annotated."""

    def head(i: int) -> Finding | None:
        entry, path = dataset.images[i], dataset.describe(i)
        try:
            height, width = image_size(path)
        except (OSError, ValueError) as error:
            message = str(error).removeprefix(f"{path}: ")
            return Finding("error", path, None, message, "put the right file there, or remove it")
        if (height, width) == (entry["height"], entry["width"]):
            return None
        says = f"{entry['width']} x {entry['height']}"
        message = f"{width} x {height} pixels (after EXIF rotation), but annotated as {says}"
        return Finding("error", path, None, message, "annotations and image must belong together")

    with ThreadPoolExecutor(threads) as pool:
        yield from (finding for finding in pool.map(head, range(len(dataset))) if finding)
