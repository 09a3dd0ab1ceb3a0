"""The gate that annotations of every format pass before anything is done with them.

C code (pycocotools) trusts what it is given: behind this gate every mask is sound, every object
has pixels, and what was left out has been counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from minimask.data.annotations import Annotations
from minimask.data.findings import Finding
from minimask.data.image_files import image_size
from minimask.data.segmentation import rectangle, segmentation_problem, tight_box

REMOVE = "correct or remove the annotation"
NO_MASKS = (
    "no annotation has a mask: boxes only. Train a detector of boxes (--model fasterrcnn_laptop), "
    "or draw masks"
)


@dataclass(frozen=True)
class Sound:
    """What passed the gate.

    Attributes:
        annotations: with sound masks only (or boxes, where they suffice).
        kept: which of the annotations that were given these are.
        boxes: of each: x0, y0, x1, y1 around its pixels.
        errors: what must be mended first; broken annotations are left out of `annotations`.
        left_out: warnings about objects that hold nothing to learn from.
    """

    annotations: Annotations
    kept: list[int]
    boxes: list[tuple[float, float, float, float]]
    errors: list[Finding]
    left_out: list[Finding]


def examine(found: Annotations, *, boxes_only: bool = False) -> Sound:
    """Look at every object's mask, or box.

    Args:
        found: from a reader.
        boxes_only: an object without a mask may have a box instead.
    """
    images = {image["id"]: image for image in found.images}
    kept: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    errors = [finding for finding in found.notes if finding.severity == "error"]
    unmasked: list[int] = []
    empty: list[int] = []
    other_size: dict[Any, bool] = {}  # images that are not as large as annotated, which is said
    for i, annotation in enumerate(found.annotations):
        image = images[annotation["image_id"]]
        height, width = image["height"], image["width"]
        mask = annotation["segmentation"]
        if mask is None and boxes_only and annotation.get("bbox"):
            mask = [rectangle(annotation["bbox"])]
        if mask is None:
            unmasked.append(i)
        elif problem := segmentation_problem(mask, height, width):
            if problem.startswith(".size"):
                if image["id"] not in other_size:
                    wrong = list(_other_size(found, image))
                    other_size[image["id"]] = bool(wrong)
                    errors += wrong
                if other_size[image["id"]]:
                    continue
            file, place = found.place(i)
            message = f"{place}.segmentation{problem} ({image['file_name']})"
            errors.append(Finding("error", file, annotation["id"], message, REMOVE))
        else:
            box = tight_box(mask, height, width)
            if box[0] == box[2]:
                empty.append(i)
                continue
            kept.append(i)
            boxes.append(box)
    left_out = list(_left_out(found, unmasked, empty, boxes_only))
    if unmasked and len(unmasked) == len(found.annotations) and not boxes_only:
        errors.append(Finding("error", str(found.source), None, NO_MASKS, "see above"))
        left_out = []
    sound = replace(
        found,
        annotations=[found.annotations[i] for i in kept],
        places=[found.places[i] if i < len(found.places) else i for i in kept],
    )
    return Sound(sound, kept, boxes, errors, left_out)


def _other_size(found: Annotations, image: dict[str, Any]) -> Iterator[Finding]:
    """The cause of masks of another size, if it is the image's entry."""
    if found.folder is None:
        return
    path = found.folder / image["file_name"]
    try:
        height, width = image_size(path)
    except (OSError, ValueError):
        return
    if (height, width) != (image["height"], image["width"]):
        says = f"{image['width']} x {image['height']}"
        message = f"{width} x {height} pixels (after EXIF rotation), but annotated as {says}"
        yield Finding("error", str(path), None, message, "give the image its own size")


def _left_out(
    found: Annotations, unmasked: list[int], empty: list[int], boxes_only: bool
) -> Iterator[Finding]:
    """One warning for each reason."""
    what = "mask and no box" if boxes_only else "mask"
    for numbers, reason, advice in (
        (unmasked, f"have no {what}", "draw them: what is not annotated is learned as background"),
        (empty, "cover no pixel of their image", "remove or redraw them"),
    ):
        if not numbers:
            continue
        file, place = found.place(numbers[0])
        annotation = found.annotations[numbers[0]]
        message = (
            f"{len(numbers)} of {len(found.annotations)} annotations {reason} and are left out; "
            f"the first: {place} (id {annotation['id']})"
        )
        yield Finding(
            "warning", file, annotation["id"] if len(numbers) == 1 else None, message, advice
        )


def raise_errors(errors: list[Finding], source: object) -> None:
    """Raise the first error, with the number of others.

    Raises:
        ValueError: names the file, the place and the reason; FileNotFoundError where a file that
            is needed is not there.
    """
    if not errors:
        return
    first = errors[0]
    more = f"; {len(errors) - 1} more errors" if len(errors) > 1 else ""
    text = f"{first.file}: {first.message}{more} (`minimask data check` lists all findings)"
    raise (FileNotFoundError if "no such file" in first.message else ValueError)(text)
