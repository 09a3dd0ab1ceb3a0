"""Images on which choices matter that make no difference on most others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minimask.data.keypoints import spread_keypoints
from minimask.data.masks import ObjectMasks
from minimask.data.registry import VALIDATION_SEED
from minimask.data.sample import Target, boxes_of_masks
from minimask.data.shapes import DEFAULT_CLASSES, Shapes

LARGEST = 1.17  # sides of an image by the network's input, so that it has to be resized
WIDEST = 640  # pixels: drawing takes time
SCENE = 3  # which generated image
LIMIT = 112.0  # pixels: half of the 224 that regions on level 4 have (FPN, equation 1)
LAST_DIGITS = 16
CROWD = 6  # objects
ASPECT = 2.4  # width by height of a wide image
INPUT = 128  # pixels: shorter side of a stand-in's input


def image_size(model: Any) -> tuple[int, int]:
    """Height and width of an image that the network must resize, round and pad.

    Of the sides after resizing one ends in a fraction of more than a half, and the padding differs
    between multiples of 32 and 64.
    """
    sizes = model.min_size
    shortest = sizes if isinstance(sizes, int) else (sizes or [128])[-1]
    longest = model.max_size or 2 * shortest
    width = min(round(min(shortest * 1.6, longest) * LARGEST), WIDEST)
    for height in range(round(0.64 * width), round(0.72 * width)):
        scale = min(shortest / height, longest / width)
        resized = height * scale
        if (resized % 1 > 0.5 and (-resized // 32) % 2) or resized == shortest:
            return height, width
    return round(0.68 * width), width


def friendly(model: Any) -> tuple[np.ndarray, Target | None]:
    """A generated image, and its objects if the network knows their classes."""
    sample = Shapes(None, image_size(model), VALIDATION_SEED, objects=(4, 5))[SCENE]
    if tuple(model.classes) != tuple(DEFAULT_CLASSES):
        return sample.image, None
    return sample.image, _target(model, sample.boxes, sample.labels, sample.masks)


def crowded(model: Any) -> tuple[np.ndarray, Target]:
    """The difficult scene with its last objects in a crowd: regions that are no single objects."""
    image, target = difficult(model)
    single = _target(
        model, target.boxes[:-CROWD], target.labels[:-CROWD], np.asarray(target.masks)[:-CROWD]
    )
    return image, dataclasses.replace(single, crowds=target.boxes[-CROWD:])


def wide(model: Any) -> tuple[np.ndarray, Target]:
    """The same objects in an image so wide that its long side is limited."""
    _, width = image_size(model)
    return difficult(model, (round(width / ASPECT), width))


def difficult(model: Any, size: tuple[int, int] | None = None) -> tuple[np.ndarray, Target]:
    """Objects that overlap, touch the border, are tiny or very thin: where choices matter."""
    height, width = size or image_size(model)
    drawn = Shapes(
        None,
        (height, width),
        VALIDATION_SEED,
        objects=(12, 14),
        object_size=(0.06, 0.45),
        min_visible=0.1,
    )[SCENE]
    image, masks = drawn.image.copy(), list(np.asarray(drawn.masks, bool))
    for (y0, y1), (x0, x1), color in (
        ((0.05, 0.95), (0.0, 0.025), (240, 200, 40)),  # a thin one at the border
        ((0.52, 0.54), (0.3, 1.0), (40, 220, 120)),
        ((0.2, 0.7), (0.4, 0.75), (200, 60, 60)),  # two that overlap by most of their area
        ((0.2, 0.7), (0.46, 0.81), (60, 60, 200)),
    ):
        mask = np.zeros((height, width), bool)
        rows = slice(round(y0 * height), max(round(y1 * height), round(y0 * height) + 2))
        mask[rows, round(x0 * width) : max(round(x1 * width), round(x0 * width) + 2)] = True
        image[mask] = (image[mask] // 2 + np.array(color, np.uint8) // 2).astype(np.uint8)
        masks.append(mask)
    stacked = np.stack(masks)
    known = [k for k, name in enumerate(model.classes) if name != "N/A"]
    labels = np.resize(known, len(stacked))
    return image, _target(model, boxes_of_masks(stacked), labels, stacked)


def _target(model: Any, boxes: Any, labels: Any, masks: Any) -> Target:
    target = Target(boxes, np.asarray(labels, np.int64) % len(model.classes), masks)
    if getattr(model, "skeleton", None) is not None:
        target.keypoints = spread_keypoints(target.boxes, len(model.skeleton))
    return target


def outlined(model: Any) -> tuple[np.ndarray, Target]:
    """Stars whose outlines are known, not only their pixels."""
    from PIL import Image, ImageDraw

    height, width = image_size(model)
    image = np.full((height, width, 3), 90, np.uint8)
    crops, outlines = [], []
    for k, color in enumerate(((240, 200, 40), (40, 220, 120), (200, 60, 60), (60, 60, 200))):
        turn = np.arange(10) * np.pi / 5 + 0.4 * k
        reach = np.where(np.arange(10) % 2, 0.09, 0.22) * width
        x = (0.25 + 0.5 * (k % 2)) * width + reach * np.cos(turn)
        y = (0.3 + 0.4 * (k // 2)) * height + 0.6 * reach * np.sin(turn)
        drawn = Image.new("1", (width, height))
        ImageDraw.Draw(drawn).polygon(list(zip(x, y, strict=True)), fill=1)
        crops.append(np.asarray(drawn))
        outlines.append((np.stack([x, y], axis=1),))
        image[crops[-1]] = color
    masks = ObjectMasks(crops, [(0, 0)] * len(crops), height, width, outlines)
    return image, _target(model, masks.boxes(), np.arange(len(crops)), masks)


def half_a_pixel(model: Any) -> tuple[np.ndarray, Target]:
    """The difficult scene in an image that a stand-in shrinks to 100.5 x 160 pixels."""
    return difficult(model, (201, 320))


def at_limits(model: Any) -> tuple[np.ndarray, Target]:
    """Objects whose sides lie a last digit below the limit between two levels of the pyramid.

    The image is as large as the input of a stand-in: nothing is resized.
    """
    side = INPUT
    image = Shapes(None, side, VALIDATION_SEED)[SCENE].image
    ulp = float(np.spacing(np.float32(LIMIT / 2)))
    sides = LIMIT - ulp * np.arange(0, LAST_DIGITS)
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1).astype(np.float32)
    masks = np.zeros((len(boxes), side, side), bool)
    masks[:, : int(LIMIT), : int(LIMIT)] = True
    return image, _target(model, boxes, np.arange(len(boxes)), masks)
