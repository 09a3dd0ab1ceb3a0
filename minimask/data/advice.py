"""Settings for training on a data set, computed from its images and objects.

Letters: R objects, N images.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from minimask.data.soundness import Sound

PASSES = 60  # over all images, where these are a few hundred
LEAST_PASSES = 12  # over a hundred thousand, as published models were trained
LEVELS = 5  # of the feature pyramid, one anchor size each
FINEST = 16  # pixels: objects of this size still have 4 x 4 positions on the finest level
LARGEST_SIDE = 1024  # of the network's input: more takes a CPU minutes per step
FEW_IMAGES = 1000
BATCHES = ((256, 8), (512, 4), (LARGEST_SIDE, 2))  # images per step up to that side


@dataclass(frozen=True)
class Advice:
    """What to train with.

    Attributes:
        about: what was measured, in a sentence.
        size: longer side of the network's input in pixels (--size).
        anchors: pixels, one size per level.
        detections: kept per image; None: the default of 100 is enough.
        batch: images per step.
        steps: for about 60 passes over a few hundred images, fewer over many.
        augment: names of random changes.
        model: the network, where the usual one does not fit.
    """

    about: str
    size: int
    anchors: tuple[int, ...]
    detections: int | None
    batch: int
    steps: int
    augment: tuple[str, ...]
    model: str | None = None

    def options(self) -> list[str]:
        """The words of the command line that say this."""
        words = ["--size", str(self.size), "--anchors", ",".join(map(str, self.anchors))]
        if self.detections is not None:
            words += ["--detections", str(self.detections)]
        words += ["--batch", str(self.batch), "--steps", str(self.steps)]
        return [*words, "--augment", ",".join(self.augment)]


def advise(sound: Sound) -> Advice | None:
    """Settings for these annotations; None where there is nothing to learn from.

    Args:
        sound: what `soundness.examine` let pass.
    """
    found = sound.annotations
    images = {image["id"]: image for image in found.images}
    sizes, relative = [], []
    per_image: Counter[object] = Counter()
    for annotation, (x0, y0, x1, y1) in zip(found.annotations, sound.boxes, strict=True):
        if annotation["iscrowd"]:
            continue
        image = images[annotation["image_id"]]
        per_image[annotation["image_id"]] += 1
        side = math.sqrt((x1 - x0) * (y1 - y0))  # of a square as large as the box
        sizes.append(side)
        relative.append(side / max(image["height"], image["width"]))
    if not sizes:
        return None
    long_side = float(np.median([max(i["height"], i["width"]) for i in found.images]))
    size = _input_size(np.array(relative), long_side)
    most = max(per_image.values())
    batch = next(count for side, count in BATCHES if size <= side)
    count = len(found.images)
    passes = max(LEAST_PASSES, PASSES * min(1.0, math.sqrt(FEW_IMAGES / count)))
    low, middle, high = np.percentile(sizes, (10, 50, 90))
    about = (
        f"objects: half are smaller than {middle:.0f} pixels, a tenth smaller than {low:.0f}, a "
        f"tenth larger than {high:.0f}; images: {long_side:.0f} pixels on the longer side, up to "
        f"{most} objects"
    )
    return Advice(
        about,
        size,
        _anchors(np.array(relative) * size),
        math.ceil(1.5 * most / 50) * 50 if most > 100 / 1.5 else None,
        min(batch, count),
        max(200, math.ceil(passes * count / batch)),
        ("flip", "scale", "photometric") if count <= FEW_IMAGES else ("flip",),
    )


def _input_size(relative: np.ndarray, long_side: float) -> int:
    """Side at which all but the smallest tenth of the objects can be told apart.

    Args:
        relative: (R,) sizes of objects, in shares of their image's longer side.
        long_side: of the images, in pixels; enlarging them shows nothing new.
    """
    side = FINEST / max(float(np.percentile(relative, 10)), 1e-4)
    size = min(max(side, 256), long_side, LARGEST_SIDE)
    return max(64, math.ceil(size / 32) * 32)


def _anchors(sides: np.ndarray) -> tuple[int, ...]:
    """Sizes from the small to the large objects, in equal ratios.

    Args:
        sides: (R,) sizes of objects in the network's input, in pixels.
    """
    low, high = np.percentile(sides, (5, 95))
    low = max(4.0, float(low))
    high = max(float(high), 4 * low)  # a level's size still means something for larger objects
    anchors = np.geomspace(low, high, LEVELS).round().astype(int)
    for i in range(1, LEVELS):
        anchors[i] = max(anchors[i], anchors[i - 1] + 1)
    return tuple(int(a) for a in anchors)
