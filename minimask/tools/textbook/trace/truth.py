"""The ground truth of one image file: from a COCO file, or from a folder with a mask for each.

Letters: R objects, H W height and width of the image.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimask.data import AnnotatedImages, read_image
from minimask.data.formats.coco import read_coco
from minimask.data.images import missing_file, read_mask
from minimask.data.sample import Sample, Target, boxes_of_masks
from minimask.models.transform import ImageTransform, resize_target


def gt_objects(
    source: str | pathlib.Path, image: str | pathlib.Path, classes: Sequence[str] | None
) -> tuple[Target, list[str]]:
    """What is annotated in an image, as a model of these classes is to know it.

    Args:
        source: COCO JSON that lists an image of this name, or a folder of mask files, one an
            object, for models of one class.
        image: the image file.
        classes: the model's; None: labels are as the file counts its classes.

    Returns:
        The objects, and the names of annotated classes that the model does not have: their
        objects, and crowds, are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the image is not in it, or the two do not fit.
    """
    source, image = pathlib.Path(source), pathlib.Path(image)
    if source.is_dir():
        return _from_masks(source, image, classes), []
    if not source.exists():
        raise FileNotFoundError(missing_file(source, "annotations"))
    found = read_coco(source)
    named = [i for i in found.images if pathlib.PurePosixPath(i["file_name"]).name == image.name]
    if not named:
        raise ValueError(f"{source}: lists no image of the name {image.name!r}")
    if len(named) > 1:
        raise ValueError(f"{source}: lists several images of the name {image.name!r}")
    mine = [i for i, a in enumerate(found.annotations) if a["image_id"] == named[0]["id"]]
    alone = replace(
        found,
        images=[named[0] | {"file_name": image.name}],  # wherever the file's own folders are
        annotations=[found.annotations[i] for i in mine],
        places=[found.places[i] for i in mine],
        folder=image.parent,
    )
    data = AnnotatedImages(alone)
    return _known(data[0], data.classes, classes or data.classes, source)


def resize_both(
    image: np.ndarray, target: Target | None, height: int, width: int
) -> tuple[np.ndarray, Target | None]:
    """An image (H, W, 3) and its objects at another height and width."""
    from PIL import Image

    if target is not None:
        transform = ImageTransform(image.shape[:2], (height, width))
        target = resize_target(target, transform, (height, width))
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small), target


def _known(
    sample: Sample, names: Sequence[str], classes: Sequence[str], source: pathlib.Path
) -> tuple[Target, list[str]]:
    """The objects of classes that the model has, with its labels."""
    own = [names[label] for label in sample.labels]
    known = np.array([name in classes for name in own], bool)
    strange = list(dict.fromkeys(name for name in own if name not in classes))
    if strange and not known.any():
        has = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        raise ValueError(
            f"{source}: the objects of this image are of the classes {', '.join(strange)}, none of "
            f"which the model has; it has {has}"
        )
    kept = sample.keep(known & ~sample.crowd)
    labels = np.array([classes.index(names[label]) for label in kept.labels], np.int64)
    return Target(kept.boxes, labels, kept.masks), strange


def _from_masks(folder: pathlib.Path, image: pathlib.Path, classes: Sequence[str] | None) -> Target:
    """One object for each mask file of a folder."""
    if classes is not None and len(classes) != 1:
        raise ValueError(
            f"{folder}: mask files do not say their class, and the model has {len(classes)}; "
            "give a COCO file"
        )
    files = sorted(folder.glob("[!.]*.*"))
    if not files:
        raise ValueError(f"{folder}: no mask files in this folder")
    size = read_image(image).shape[:2]
    masks = []
    for file in files:
        mask = read_mask(file)
        if mask.shape != size:
            raise ValueError(
                f"{file}: {mask.shape[1]} x {mask.shape[0]} pixels, but {image} has "
                f"{size[1]} x {size[0]}; a mask must be as large as its image"
            )
        if mask.any():
            masks.append(mask)
    stacked = np.stack(masks) if masks else np.zeros((0, *size), bool)
    return Target(boxes_of_masks(stacked), np.zeros(len(stacked), np.int64), stacked)
