"""Claims 1 to 7: the tasks, and segmentation without networks."""

# N images   C channels   H, W height and width   K classes

from __future__ import annotations

import numpy as np

from minimask import classical
from minimask.tools.textbook.claims.ledger import IMPRECISE, RIGHT, Chapter, Evidence
from minimask.tools.textbook.claims.scenes import (
    disk,
    mask_iou,
    scene,
    tight_box,
)

CHAPTER = Chapter("The tasks, and segmentation without networks")


def touching_disks(size: int = 64) -> np.ndarray:
    """(2, size, size) bool: two disks of one class side by side, without a common pixel."""
    left = disk(size, size, 0.31 * size, 0.5 * size, 0.2 * size)
    right = disk(size, size, 0.69 * size, 0.5 * size, 0.2 * size)
    return np.stack([left, right & ~left])


def bright_disk(
    rng: np.random.Generator, radius: float, noise: float = 12.0, size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """A bright disk on a dark ground with noise: gray (size, size) float, and the true mask."""
    mask = disk(size, size, size / 2, size / 2, radius)
    gray = np.where(mask, 180.0, 70.0) + noise * rng.standard_normal(mask.shape)
    return gray, mask


@CHAPTER.claim(
    1,
    by="S0 S1 S2 S3 S4",
    says="Segmentation divides an image into parts; semantic segmentation gives each pixel a "
    "class, instance segmentation also tells objects of one class apart.",
    verdict=RIGHT,
    correction="Right. From instances one can compute the class map, but not the other way "
    "round: of two touching objects the class map makes one. To say that all people become one "
    "instance is a picture; a class map has no instances at all.",
)
def instances_are_more_than_classes(evidence: Evidence) -> None:
    """Project instances to a class map and look whether they can be found again in it."""
    instances = touching_disks()
    class_map = np.logical_or.reduce(instances)
    parts = classical.components(class_map)
    evidence.show("objects", len(instances))
    evidence.equal("connected parts of their class map", len(parts), 1)
    evidence.quote()
    other = [class_map & (np.arange(64)[:, None] < 32), class_map & (np.arange(64)[:, None] >= 32)]
    evidence.true("other instances have the same map", (np.any(other, axis=0) == class_map).all())
    evidence.at_most("IoU of these with the first", mask_iou(instances[0], other[0]), 0.5)


@CHAPTER.claim(
    2,
    by="S0 S4",
    says="Object detection gives boxes only; it is image classification carried further.",
    verdict=IMPRECISE,
    correction="It is classification and localization: an object that moves keeps its class and "
    "changes its box. And a box is a rough outline: the share of it that is object depends on "
    "the shape.",
    section="Mask R-CNN, section 1",
)
def a_box_is_not_the_object(evidence: Evidence) -> None:
    """Measure how much of its box each generated object fills, and move one."""
    filled: dict[int, list[float]] = {}
    for index in range(8):
        sample = scene(index)
        for mask, box, label in zip(sample.masks, sample.boxes, sample.labels, strict=True):
            share = mask.sum() / np.prod(box[2:] - box[:2])
            filled.setdefault(int(label), []).append(float(share))
    names = ("circle", "square", "triangle", "star")
    for label, shares in sorted(filled.items()):
        evidence.show(f"share of its box, {names[label]}", float(np.mean(shares)))
    whole = disk(200, 200, 100, 100, 90)
    share = float(whole.sum() / np.prod(np.diff(tight_box(whole).reshape(2, 2), axis=0)))
    evidence.equal("share of its box, whole disk", share, float(np.pi / 4), within=0.005)
    shift = tight_box(np.roll(whole, 7, axis=1)) - tight_box(whole)
    evidence.equal("box of the disk moved by 7 pixels", tuple(shift.tolist()), (7.0, 0.0, 7.0, 0.0))


@CHAPTER.claim(
    3,
    by="S0",
    says="Thresholding: one gray value parts foreground from background.",
    verdict=RIGHT,
    correction="Right, where the two differ in brightness. Otsu's method finds the value.",
)
def one_threshold(evidence: Evidence) -> None:
    """Otsu's threshold on a disk of gray 180 on a ground of 70."""
    gray, mask = bright_disk(np.random.default_rng(0), 16)
    threshold = classical.otsu(gray)
    evidence.at_least("threshold", threshold, 90, "of 255")
    evidence.at_most("threshold", threshold, 160, "of 255")
    evidence.at_least("IoU with the true disk", mask_iou(gray > threshold, mask), 0.98)
    evidence.quote()


@CHAPTER.claim(
    4,
    by="S0",
    says="K-means gathers pixels into K groups of similar ones, round after round.",
    verdict=RIGHT,
    correction="Right; K is chosen by the user, and every round lowers the sum of squared "
    "distances or leaves it.",
)
def k_means_gathers(evidence: Evidence) -> None:
    """Three colors with noise, three groups."""
    rng = np.random.default_rng(1)
    truth = np.zeros((48, 48), np.int64)
    truth[disk(48, 48, 14, 14, 9)] = 1
    truth[30:42, 26:44] = 2
    colors = np.array([(40, 60, 90), (200, 80, 60), (90, 190, 80)], float)
    image = colors[truth] + 15 * rng.standard_normal((48, 48, 3))
    group, inertia = classical.k_means(image.reshape(-1, 3), 3, rng)
    found = group.reshape(48, 48)
    evidence.equal("groups", len(np.unique(found)), 3)
    evidence.show("inertia of the rounds", [round(value) for value in inertia])
    evidence.true("it never rises", all(np.diff(inertia) <= 0))
    for k, name in enumerate(("ground", "disk", "rectangle")):
        best = max(mask_iou(found == g, truth == k) for g in range(3))
        evidence.at_least(f"IoU of the best group, {name}", best, 0.97)


@CHAPTER.claim(
    5,
    by="S0",
    says="In the histogram the large peak is the background and a smaller one the object.",
    verdict=IMPRECISE,
    correction="Only if the background is uniform and covers more than the object; a large "
    "object turns the rule around.",
)
def the_larger_peak(evidence: Evidence) -> None:
    """The rule on a small and on a large disk."""
    rng = np.random.default_rng(2)
    small, small_mask = bright_disk(rng, 14)
    large, large_mask = bright_disk(rng, 29)
    evidence.show("share of the image, small object", float(small_mask.mean()))
    evidence.at_least(
        "IoU with the small object", mask_iou(classical.smaller_peak(small), small_mask), 0.97
    )
    evidence.show("share of the image, large object", float(large_mask.mean()))
    evidence.at_most(
        "IoU with the large object", mask_iou(classical.smaller_peak(large), large_mask), 0.05
    )
    evidence.quote()


@CHAPTER.claim(
    6,
    by="S0 S2",
    says="Edge detection finds sharp changes of brightness and joins them to curves.",
    verdict=RIGHT,
    correction="Right. Only a closed curve bounds a segment, which noise and weak edges prevent.",
)
def edges_become_curves(evidence: Evidence) -> None:
    """Sobel's edges of a disk: where they lie, and what they enclose."""
    gray, mask = bright_disk(np.random.default_rng(3), 18, noise=4.0)
    edge = classical.edges(gray, 0.4)
    rows, columns = np.nonzero(edge)
    away = np.abs(np.hypot(rows - 31.5, columns - 31.5) - 18)
    evidence.at_most("farthest edge pixel from the true circle", float(away.max()), 1.6, "pixels")
    inside = classical.enclosed(edge)
    evidence.at_least("IoU of what the curve encloses", mask_iou(inside, mask), 0.85)
    evidence.quote()
    edge[:, 31:33] = False  # the curve with a gap
    evidence.equal(
        "pixels enclosed once it has a gap", int((classical.enclosed(edge) & ~edge).sum()), 0
    )


@CHAPTER.claim(
    7,
    by="S2",
    says="Before networks images were segmented by regions, by edges and by clustering.",
    verdict=RIGHT,
    correction="Right: each of them works on plain objects. Texture defeats all; that is what "
    "learned features are for.",
)
def methods_side_by_side(evidence: Evidence) -> None:
    """Four methods on one plain and one textured disk."""
    rng = np.random.default_rng(4)
    plain, mask = bright_disk(rng, 18, noise=4.0)
    stripes = 70 * np.sign(np.sin(np.arange(64) * 0.9))[None]
    scores = {"plain": _scores(plain, mask), "textured": _scores(plain + stripes, mask)}
    for kind, found in scores.items():
        for method, iou in found.items():
            evidence.show(f"IoU, {kind}, {method}", iou)
    evidence.at_least("worst method on the plain disk", min(scores["plain"].values()), 0.85)
    evidence.at_most("best method on the textured disk", max(scores["textured"].values()), 0.8)


def _scores(gray: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """IoU of the disk with what each method finds, group or complement."""
    group, _ = classical.k_means(gray.reshape(-1, 1), 2, np.random.default_rng(0))
    start = np.zeros_like(mask)
    start[32, 32] = True
    found = {
        "threshold": gray > classical.otsu(gray),
        "k-means": group.reshape(gray.shape) == 1,
        "region growing": classical.grow(start, np.abs(gray - gray[32, 32]) < 40),
        "edges": classical.enclosed(classical.edges(gray, 0.4)),
    }
    return {name: max(mask_iou(m, mask), mask_iou(~m, mask)) for name, m in found.items()}
