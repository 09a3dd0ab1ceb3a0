"""Objects drawn over their image: tinted masks with crisp outlines, boxes, readable labels."""

# R objects   H, W height and width of the image   K classes

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.draw import colors as palettes
from minimask.draw.canvas import open_canvas, pixels_of, points
from minimask.draw.colors import Color
from minimask.draw.fonts import announce
from minimask.draw.labels import write_labels
from minimask.draw.outlines import crops_of_masks, mask_paths
from minimask.draw.skeletons import SCORE, draw_skeleton

if TYPE_CHECKING:
    from minimask.data.sample import Sample, Target
    from minimask.data.skeleton import Skeleton
    from minimask.models.detections import Detections

SMALL = 512  # images with a longer side below this are enlarged for drawing
CROWDED = 40  # with more objects than this, labels and boxes hide what they name


@dataclasses.dataclass(frozen=True)
class Objects:
    """What is drawn: boxes (R, 4), a class index and a text for each, cropped masks or None.

    Keypoints (R, P, 3), of which those with a third number above `least` are drawn.
    """

    boxes: np.ndarray
    labels: np.ndarray
    texts: list[str]
    crops: list[tuple[np.ndarray, tuple[int, int]]] | None
    one_class: bool
    keypoints: np.ndarray | None = None
    skeleton: Skeleton | None = None
    least: float = 0.0
    visibility: bool = False


def overlay(
    image: np.ndarray,
    detections: Detections,
    *,
    min_score: float = 0.0,
    alpha: float = 0.35,
    labels: bool | None = None,
    boxes: bool | None = None,
    color_by: str | None = None,
    colors: Sequence[Color] | None = None,
    size: int = SMALL,
    min_keypoint_score: float = SCORE,
) -> np.ndarray:
    """Draw detections over their image.

    Args:
        image: (H, W, 3) uint8 RGB; grey (H, W) and RGBA are taken too.
        detections: what was found in it.
        min_score: weaker detections are left out.
        alpha: how strongly masks are tinted, 0 (outlines only) to 1 (opaque).
        labels: write class and score; None: unless there are more than 40 objects.
        boxes: draw boxes; None: unless there are masks and more than 40 objects.
        color_by: "class" or "instance"; None: by instance where the model has but one class.
        colors: RGB 0 to 255 of each class (or in turn); default: a colorblind-safe palette.
        size: an image whose longer side is smaller is enlarged, by a whole factor, to at least it.
        min_keypoint_score: keypoints of no higher score are left out, with their limbs.

    Returns:
        (H * factor, W * factor, 3) uint8, factor 1 unless the image is small.

    Raises:
        ValueError: image and detections do not belong together.
    """
    image = as_rgb(image)
    if tuple(detections.image_size) != image.shape[:2]:
        raise ValueError(
            f"image: these detections are of an image of {detections.image_size} (height, width), "
            f"got {image.shape[:2]}; draw over the image that was given to `predict`"
        )
    kept = detections.keep(detections.scores >= min_score)
    named = len(kept.classes) > 1
    announce(kept.classes if named else ())
    texts = [
        f"{name} {score:.2f}" if named else f"{score:.2f}"
        for name, score in zip(kept.names, kept.scores, strict=True)
    ]
    crops = None
    if kept.mask_probs is not None:
        crops = [kept.soft_crop(i) for i in range(len(kept))]
    objects = Objects(
        kept.boxes,
        kept.labels,
        texts,
        crops,
        not named,
        kept.keypoints,
        kept.skeleton,
        min_keypoint_score,
    )
    return _draw(image, objects, alpha, labels, boxes, color_by, colors, size)


draw_detections = overlay


def draw_target(
    image: np.ndarray,
    target: Target | Sample,
    classes: Sequence[str],
    *,
    alpha: float = 0.35,
    labels: bool | None = None,
    boxes: bool | None = None,
    color_by: str | None = None,
    colors: Sequence[Color] | None = None,
    size: int = SMALL,
    skeleton: Skeleton | None = None,
) -> np.ndarray:
    """Draw the annotated objects of an image, in the colors and the size of `overlay`.

    Args:
        image: (H, W, 3) uint8 RGB; grey (H, W) and RGBA are taken too.
        target: boxes, labels, masks and keypoints; a `Sample` is taken too.
        classes: the K names.
        alpha: as in `overlay`, like all that follow.
        labels: write the class name.
        boxes: draw boxes.
        color_by: "class" or "instance".
        colors: of each class.
        size: least longer side of the picture.
        skeleton: of the keypoints; default: the sample's own.
    """
    image = as_rgb(image)
    if target.masks is not None and tuple(target.masks.shape[1:]) != image.shape[:2]:
        raise ValueError(
            f"target.masks: expected the image's size {image.shape[:2]} (height, width), "
            f"got {target.masks.shape[1:]}"
        )
    crops = None if target.masks is None else crops_of_masks(target.masks)
    named = len(classes) > 1
    announce(classes if named else ())
    texts = [classes[label] if named else "" for label in target.labels]
    crowd = getattr(target, "crowd", ())
    texts = [
        f"{text} (crowd)".strip() if i < len(crowd) and crowd[i] else text
        for i, text in enumerate(texts)
    ]
    skeleton = skeleton or getattr(target, "skeleton", None)
    keypoints = getattr(target, "keypoints", None)
    objects = Objects(
        *(target.boxes, target.labels, texts, crops, not named, keypoints, skeleton),
        visibility=True,
    )
    return _draw(image, objects, alpha, labels, boxes, color_by, colors, size)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """An image as (H, W, 3) uint8: grey is repeated, transparency dropped.

    Raises:
        ValueError: another shape or dtype.
    """
    image = np.asarray(image)
    if image.dtype == np.uint8 and image.ndim == 2:
        return np.repeat(image[:, :, None], 3, 2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(
            f"image: expected (H, W, 3) uint8, got shape {image.shape} of {image.dtype}; "
            "float images in 0 ... 1 need (image * 255).astype(np.uint8)"
        )
    return image[:, :, :3]


def enlarged(image: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """A small image made larger by a whole factor, so that lines and text have room; the factor."""
    from PIL import Image

    height, width = image.shape[:2]
    factor = max(1, -(-size // max(height, width)))
    if factor == 1:
        return np.ascontiguousarray(image), 1
    larger = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width * factor, height * factor), Image.Resampling.BICUBIC
    )
    return np.asarray(larger), factor


def _draw(
    image: np.ndarray,
    objects: Objects,
    alpha: float,
    labels: bool | None,
    boxes: bool | None,
    color_by: str | None,
    colors: Sequence[Color] | None,
    size: int,
) -> np.ndarray:
    if color_by not in (None, "class", "instance"):
        raise ValueError(f"color_by: expected 'class' or 'instance', got {color_by!r}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected 0 to 1, got {alpha}")
    by_instance = objects.one_class if color_by is None else color_by == "instance"
    if by_instance:
        chosen = palettes.of_neighbors(objects.boxes, colors)
    else:
        chosen = palettes.of_classes(objects.labels, colors)
    picture, factor = enlarged(image, size)
    canvas, axes = open_canvas(picture, image.shape[:2])
    unit = max(1.0, max(picture.shape[:2]) / 1200)  # lines grow with large pictures
    # large objects first, so that small ones stay visible on top of them
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    order = np.argsort(-sides.prod(axis=1), kind="stable")
    crowded = len(order) > CROWDED
    with_boxes = boxes if boxes is not None else (objects.crops is None or not crowded)
    for i in order:
        _draw_object(axes, objects, i, chosen[i], alpha, with_boxes, unit)
    if objects.keypoints is not None:
        for i in order:
            draw_skeleton(
                axes,
                objects.keypoints[i],
                objects.skeleton,
                least=objects.least,
                visibility=objects.visibility,
                size=factor * float(sides[i].max()),
                unit=unit,
            )
    if labels or (labels is None and not crowded):
        ranked = order[::-1]
        write_labels(
            canvas,
            axes,
            [objects.texts[i] for i in ranked],
            objects.boxes[ranked],
            [chosen[i] for i in ranked],
            unit,
            force=bool(labels),
        )
    return pixels_of(canvas)


def _draw_object(
    axes: Any, objects: Objects, i: int, color: Color, alpha: float, boxes: bool, unit: float
) -> None:
    from matplotlib.patches import PathPatch, Rectangle

    # add_artist, not add_patch: that would measure every curve to adapt the axes, which are fixed
    rgb = palettes.fraction(color)
    paths = [] if objects.crops is None else list(mask_paths(*objects.crops[i]))
    for path in paths:
        axes.add_artist(PathPatch(path, facecolor=(*rgb, alpha), edgecolor="none"))
        # a dark line under the bright one keeps the edge visible on any ground
        for width, edge in ((3.0, (0, 0, 0, 0.45)), (1.6, (*rgb, 1.0))):
            width = points(width * unit)
            axes.add_artist(PathPatch(path, fill=False, edgecolor=edge, linewidth=width))
    if boxes:
        x0, y0, x1, y1 = objects.boxes[i]
        thin = points((0.8 if paths else 1.8) * unit)
        axes.add_artist(
            Rectangle(
                (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=(*rgb, 0.85), linewidth=thin
            )
        )
