"""Claims 61, 65, 66, 71 and 73: what is done with the results."""

# R objects   H, W height and width in pixels

from __future__ import annotations

from itertools import pairwise

import numpy as np

from minimask import classical
from minimask.draw import overlay
from minimask.models.paste import paste_mask
from minimask.tools.textbook.claims.ledger import (
    IMPRECISE,
    RIGHT,
    Chapter,
    Evidence,
)
from minimask.tools.textbook.claims.scenes import (
    Listener,
    bent_road,
    disk,
    mask_iou,
    scene,
    small_network,
    three_objects,
    tight_box,
)

CHAPTER = Chapter("Using the results")


@CHAPTER.claim(
    61,
    by="S2",
    says="Working on the segments instead of the whole image saves computation.",
    verdict=IMPRECISE,
    correction="Only in what comes after. To find the segments the whole image has to be looked "
    "at.",
)
def segments_save_later_work(evidence: Evidence) -> None:
    """Pixels inside objects, and the work of the backbone with many and with no objects."""
    sample = scene()
    share = float(sample.masks.any(axis=0).mean())
    evidence.at_most("share of pixels that belong to objects", share, 0.6)
    flop = []
    for image in (sample.image, np.full_like(sample.image, 128)):
        heard = Listener()
        with heard.listen():
            small_network().predict([image])
        flop.append(heard.flop("FPNBackbone"))
    evidence.show("backbone on an image with objects", flop[0] / 1e6, "MFLOP")
    evidence.equal("backbone on an empty image, in shares of that", flop[1] / flop[0], 1.0)
    evidence.quote()


def moving_disks(frames: int = 6) -> list[np.ndarray]:
    """Masks (2, 64, 64) of two disks that move toward each other and pass."""
    return [
        np.stack([disk(64, 64, 12 + 6 * t, 24, 9), disk(64, 64, 52 - 6 * t, 42, 9)])
        for t in range(frames)
    ]


@CHAPTER.claim(
    65,
    by="S0 S1 S2",
    says="It serves medicine (counting cells), driving, shops (counting goods), surveillance "
    "(tracking), robots, and editing (removing backgrounds).",
    verdict=RIGHT,
    correction="Right: counting, tracking and cutting out are a few lines once there are "
    "instance masks.",
)
def lines_after_the_masks(evidence: Evidence) -> None:
    """Count touching cells, follow two objects by the overlap of masks, and cut one out."""
    cells = np.stack([disk(64, 64, 14 + 12 * i, 32, 7) for i in range(4)])
    evidence.show("touching cells, counted as instances", len(cells))
    blobs = classical.components(np.logical_or.reduce(cells))
    evidence.equal("the same as connected regions of one class map", len(blobs), 1)
    evidence.quote()
    masks = moving_disks()
    followed = [
        [int(np.argmax([mask_iou(a, b) for b in after])) for a in before]
        for before, after in pairwise(masks)
    ]
    evidence.equal("two disks followed through 6 images", followed, [[0, 1]] * 5)
    sample = scene()
    cut = sample.image * sample.masks[0][:, :, None]
    outside = int(cut[~sample.masks[0]].sum())
    evidence.equal("brightness left outside an object cut out", outside, 0)
    evidence.true("inside nothing changed", (cut == sample.image)[sample.masks[0]].all())


@CHAPTER.claim(
    66,
    by="S2",
    says="For a car a box around a bend in the road is useless; it needs the road's shape.",
    verdict=RIGHT,
    correction="Right.",
)
def a_bend_in_a_box(evidence: Evidence) -> None:
    """How much of the box of a bent road is road."""
    road = bent_road()
    x0, y0, x1, y1 = tight_box(road).astype(int)
    box = np.zeros_like(road)
    box[y0:y1, x0:x1] = True
    evidence.at_most("IoU of road and box", mask_iou(road, box), 0.4)
    straight = np.zeros_like(road)
    straight[:, 40:56] = True
    x0, y0, x1, y1 = tight_box(straight).astype(int)
    evidence.equal("share of its box, straight road", float(straight[y0:y1, x0:x1].mean()), 1.0)


@CHAPTER.claim(
    71,
    by="S1",
    says="For each object there come a class, a box and a binary mask inside the box.",
    verdict=IMPRECISE,
    correction="The mask is one of probabilities until a threshold is taken, and where it is "
    "pasted as torchvision does it may leave the box by a pixel.",
    section="Mask R-CNN, section 3.1",
)
def masks_leave_their_boxes(evidence: Evidence) -> None:
    """A full mask pasted into boxes with fractions of pixels."""
    full, rng = np.ones((28, 28), np.float32), np.random.default_rng(0)
    outside, farthest, between = 0, 0.0, 0
    for _ in range(50):
        x0, y0 = rng.uniform(5, 30, 2)
        box = np.array([x0, y0, x0 + rng.uniform(8, 40), y0 + rng.uniform(8, 40)])
        soft = paste_mask(full, box, 80, 80, "torchvision")
        rows, columns = np.nonzero(soft >= 0.5)
        beyond = np.max(
            [
                box[0] - columns - 0.5,
                columns + 0.5 - box[2],
                box[1] - rows - 0.5,
                rows + 0.5 - box[3],
            ],
            axis=0,
        )
        outside += int((beyond > 0).sum())
        farthest = max(farthest, float(beyond.max()))
        between += int(((soft > 0) & (soft < 1)).sum())
    evidence.at_least("pixels with their center outside the box, 50 boxes", outside, 1)
    evidence.at_most("farthest of these", farthest, 1.0, "pixels")
    evidence.at_least("pixels between 0 and 1 before the threshold", between, 1)


@CHAPTER.claim(
    73,
    by="S1 S2",
    says="The examples' loops: keep what scores above 0.7, color each object, mix by half, write "
    "the number into the title; or multiply the image by each mask in turn.",
    verdict=RIGHT,
    correction="Right as recipes; with minimask each is a line.",
)
def the_loops(evidence: Evidence) -> None:
    """Both recipes on three detections."""
    image, found = three_objects()
    sure = found.keep(found.scores > 0.7)
    evidence.equal("number for the title", len(sure), 2)
    drawn = overlay(image, sure, alpha=0.5, labels=False, boxes=False, size=1)
    changed = (drawn != image).any(axis=2)
    covered = sure.masks.any(axis=0)
    evidence.at_least("share of the masks that is colored", float(changed[covered].mean()), 0.97)
    evidence.quote()
    evidence.at_most("share of the rest that is", float(changed[~covered].mean()), 0.01)
    pieces = [image * mask[:, :, None] for mask in found.masks]
    sum_of_pieces = np.sum(pieces, axis=0)
    together = found.masks.any(axis=0)
    evidence.true("the pieces add up to the objects", (sum_of_pieces == image)[together].all())
