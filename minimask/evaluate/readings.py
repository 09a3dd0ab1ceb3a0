"""Other readings of boxes and masks: what detections would be if their writer meant them so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minimask.data.segmentation import decode
from minimask.evaluate.overlap import MASKS, Scene, best, box_ious, fits_better

Size = tuple[int, int]  # height, width
Box = list[float]

BOXES: dict[str, tuple[Callable[[Box, Size], Box], str]] = {
    "corners": (
        lambda b, size: [b[0], b[1], b[2] - b[0], b[3] - b[1]],
        "The detections' boxes are corners (x0, y0, x1, y1), COCO results need "
        "(x, y, width, height): read as corners they fit the objects.",
    ),
    "center": (
        lambda b, size: [b[0] - b[2] / 2, b[1] - b[3] / 2, b[2], b[3]],
        "The detections' boxes are (center x, center y, width, height), COCO results need the "
        "upper left corner: read as centers they fit the objects.",
    ),
    "fraction": (
        lambda b, size: [b[0] * size[1], b[1] * size[0], b[2] * size[1], b[3] * size[0]],
        "The detections' boxes are fractions of the image, COCO results need pixels: multiplied "
        "by width and height they fit the objects.",
    ),
    "fraction corners": (
        lambda b, size: [
            b[0] * size[1],
            b[1] * size[0],
            (b[2] - b[0]) * size[1],
            (b[3] - b[1]) * size[0],
        ],
        "The detections' boxes are corners as fractions of the image, COCO results need "
        "(x, y, width, height) in pixels: read so they fit the objects.",
    ),
    "swapped": (
        lambda b, size: [b[1], b[0], b[3], b[2]],
        "x and y are swapped in the detections' boxes: read as (y, x, height, width) they fit "
        "the objects.",
    ),
    "swapped corners": (
        lambda b, size: [b[1], b[0], b[3] - b[1], b[2] - b[0]],
        "The detections' boxes are corners with y before x (y0, x0, y1, x1), COCO results need "
        "(x, y, width, height): read so they fit the objects.",
    ),
    "upside down": (
        lambda b, size: [b[0], size[0] - b[1] - b[3], b[2], b[3]],
        "The detections' boxes are upside down: with y counted from the image's lower edge they "
        "fit the objects.",
    ),
}


@dataclasses.dataclass(frozen=True)
class Mask:
    """A detection's mask, decoded, with what its image and box say."""

    pixels: np.ndarray  # as large as its run lengths say
    size: Size  # of the image
    box: Box | None  # if the detection has its own


def _transposed(mask: Mask) -> np.ndarray:
    return mask.pixels.T


def _rows(mask: Mask) -> np.ndarray:
    """Counted along the rows, while COCO counts down the columns."""
    height, width = mask.pixels.shape
    return mask.pixels.ravel(order="F").reshape(height, width)


def _cropped(mask: Mask) -> np.ndarray:
    """Drawn from the image's corner while it belongs into its box."""
    if mask.box is None:
        return mask.pixels
    return moved(mask.pixels, round(mask.box[0]), round(mask.box[1]))


def _resized(mask: Mask) -> np.ndarray:
    height, width = mask.pixels.shape
    rows = np.arange(mask.size[0]) * height // mask.size[0]
    columns = np.arange(mask.size[1]) * width // mask.size[1]
    return mask.pixels[np.ix_(rows, columns)]


SHAPES: dict[str, tuple[Callable[[Mask], np.ndarray], str]] = {
    "transposed": (_transposed, "x and y are swapped in the masks: transposed they fit"),
    "rows": (
        _rows,
        "the masks' runs are counted along the rows, COCO counts down the columns: read along "
        "the rows they fit",
    ),
    "upside down": (lambda m: m.pixels[::-1], "the masks are upside down: turned over they fit"),
    "mirrored": (
        lambda m: m.pixels[:, ::-1],
        "the masks are mirrored, left for right: turned back they fit",
    ),
    "turned": (
        lambda m: m.pixels[::-1, ::-1],
        "the masks are turned by 180 degrees: turned back they fit",
    ),
    "inverted": (
        lambda m: 1 - m.pixels,
        "the masks are inverted, 1 where there is nothing: the other way round they fit",
    ),
    "cropped": (
        _cropped,
        "the masks are cut-outs placed in the image's corner: moved into their boxes they fit",
    ),
    "resized": (
        _resized,
        "the masks are drawn at another size than the image's: stretched to it they fit",
    ),
}


def moved(pixels: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """A mask moved right and down; what leaves the image is lost."""
    result = np.zeros_like(pixels)
    height, width = pixels.shape
    x0, x1, y0, y1 = max(dx, 0), min(width, width + dx), max(dy, 0), min(height, height + dy)
    if x0 < x1 and y0 < y1:
        result[y0:y1, x0:x1] = pixels[y0 - dy : y1 - dy, x0 - dx : x1 - dx]
    return result


def box_hint(scenes: list[Scene]) -> str | None:
    """What the boxes are, if another reading or a shift makes them fit plainly better."""
    scenes = [
        dataclasses.replace(s, detections=[r for r in s.detections if r["given"]]) for s in scenes
    ]
    now = best(map(box_ious, scenes))
    if not len(now):
        return None
    for convert, sentence in BOXES.values():
        if fits_better(now, best(box_ious(s, _boxes(s, convert)) for s in scenes)):
            return sentence
    dx, dy = _shift(scenes, "bbox")

    def back(b: Box, size: Size) -> Box:
        return [b[0] - dx, b[1] - dy, b[2], b[3]]

    if fits_better(now, best(box_ious(s, _boxes(s, back)) for s in scenes), fitted=True):
        return f"The detections' boxes are shifted {_way(dx, dy)}: moved back they fit the objects."
    return None


def _boxes(scene: Scene, convert: Callable[[Box, Size], Box]) -> list[Box]:
    changed = [convert(r["bbox"], scene.size) for r in scene.detections]
    return [[b[0], b[1], max(b[2], 0.0), max(b[3], 0.0)] for b in changed]


def mask_hint(scenes: list[Scene]) -> str | None:
    """What the masks are, if another reading or a shift makes them fit plainly better."""
    looked = list(_with_masks(scenes))
    now = best(_mask_ious(s, None) for s in looked)
    if not len(now) or not fits_better(now, np.ones_like(now)):
        return None  # nothing to gain
    for change, sentence in SHAPES.values():
        if fits_better(now, best(_mask_ious(s, change) for s in looked)):
            return f"{sentence[0].upper()}{sentence[1:]} the objects."
    dx, dy = (round(v) for v in _shift(looked, "rle"))
    if (dx, dy) != (0, 0) and fits_better(
        now, best(_mask_ious(s, lambda m: moved(m.pixels, -dx, -dy)) for s in looked), fitted=True
    ):
        return f"The masks are shifted {_way(dx, dy)}: moved back they fit the objects."
    return None


def _with_masks(scenes: list[Scene]) -> Iterator[Scene]:
    """Scenes of objects and detections that have masks, as many as the effort allows."""
    left = MASKS
    for scene in scenes:
        objects = [a for a in scene.objects if a["rle"] is not None]
        found = [r for r in scene.detections if r["rle"] is not None][: 2 * len(objects) + 3]
        left -= int(len(found) * max(1, scene.size[0] * scene.size[1] / 4e5))
        if objects and found and (left >= 0 or scene is scenes[0]):
            yield dataclasses.replace(scene, objects=objects, detections=found)


def _mask_ious(scene: Scene, change: Callable[[Mask], np.ndarray] | None) -> np.ndarray:
    """(G, R) IoU of masks, the detections' changed first; 0 where the sizes differ."""
    from pycocotools import mask as rle_tools

    found = [r["rle"] for r in scene.detections]
    if change is not None:
        found = []
        for result in scene.detections:
            pixels = decode(result["rle"], *result["rle"]["size"]).astype(np.uint8)
            box = result["bbox"] if result["given"] else None
            changed = change(Mask(pixels, scene.size, box))
            found.append(rle_tools.encode(np.asfortranarray(changed, np.uint8)))
    there = [a["rle"] for a in scene.objects]
    ious = np.asarray(rle_tools.iou(found, there, [0] * len(there)), float)
    return np.clip(np.nan_to_num(ious), 0, 1).T


def _shift(scenes: list[Scene], key: str) -> tuple[float, float]:
    """Median way from each object to the detection of most similar place and size."""
    ways = []
    for scene in scenes:
        found, there = (_boxes_of(entries, key) for entries in (scene.detections, scene.objects))
        if len(found) and len(there):
            far = np.abs(there[:, None] - found[None]).sum(axis=-1)
            ways.append(found[far.argmin(axis=1), :2] - there[:, :2])
    if not ways:
        return 0.0, 0.0
    dx, dy = np.median(np.concatenate(ways), axis=0)
    return float(dx), float(dy)


def _boxes_of(entries: list[dict[str, Any]], key: str) -> np.ndarray:
    if key == "bbox":
        return np.array([e["bbox"] for e in entries], float).reshape(-1, 4)
    from pycocotools import mask as rle_tools

    return np.array([rle_tools.toBbox(e["rle"]) for e in entries], float).reshape(-1, 4)


def _way(dx: float, dy: float) -> str:
    return f"by about {dx:+.0f} pixels in x and {dy:+.0f} in y"
