"""How far classical segmentation gets on the generated shapes.

    python benchmarks/threshold_baseline.py

Background color from the image's border, Otsu's threshold on the distance from it, morphological
cleaning, connected components, and a class for each from its area, its convex hull and the circle
around it.  Scored with COCO's mask AP, like a network; a second line ignores the class.
"""

from __future__ import annotations

import argparse
import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from minimask.data.sample import encode_masks
from minimask.data.shapes import Shapes

SMALLEST = 30  # pixels; smaller components are noise

# area / hull area and hull area / area of the circle around it, of each perfect shape
PERFECT = {
    "circle": (1.0, 1.0),
    "square": (1.0, 0.637),
    "triangle": (1.0, 0.413),
    "star": (0.618, 0.757),
}


def otsu(values: np.ndarray) -> float:
    """The threshold that separates two groups with the least variance inside them."""
    counts, edges = np.histogram(values, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centers[np.nanargmax(between[:-1])])


def components(image: np.ndarray) -> list[np.ndarray]:
    """Connected regions whose color is not the background's, as (H, W) bool masks."""
    smooth = ndimage.gaussian_filter(image.astype(np.float64), (1, 1, 0))
    border = np.concatenate([smooth[0], smooth[-1], smooth[:, 0], smooth[:, -1]])
    distance = np.linalg.norm(smooth - np.median(border, axis=0), axis=2)
    foreground = distance > otsu(distance)
    foreground = ndimage.binary_closing(ndimage.binary_opening(foreground), iterations=2)
    labels, count = ndimage.label(ndimage.binary_fill_holes(foreground))
    masks = [labels == i for i in range(1, count + 1)]
    return [mask for mask in masks if mask.sum() >= SMALLEST]


def classify(mask: np.ndarray, classes: tuple[str, ...]) -> tuple[int, float]:
    """Label of the closest perfect shape, and how close it is, in (0, 1]."""
    pixels = np.argwhere(mask)
    middles = np.concatenate([pixels + step for step in ((0.5, 0), (0.5, 1), (0, 0.5), (1, 0.5))])
    try:
        hull = ConvexHull(middles)  # of the pixels' sides: close to the outline on average
    except QhullError:  # all in one line
        return 0, 0.01
    center = pixels.mean(axis=0) + 0.5
    radius = np.linalg.norm(middles[hull.vertices] - center, axis=1).max()
    area = float(mask.sum())
    seen = np.array([min(area / hull.volume, 1), hull.volume / (np.pi * radius**2)])
    errors = [float(np.abs(seen - PERFECT[name]).sum()) for name in classes]
    return int(np.argmin(errors)), float(np.exp(-3 * min(errors)))


def mask_ap(truth: dict, results: list[dict], *, use_classes: bool) -> tuple[float, float]:
    """COCO's mask AP and AP50."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = truth
        ground_truth.createIndex()
        evaluation = COCOeval(
            ground_truth, ground_truth.loadRes([dict(r) for r in results]), "segm"
        )
        evaluation.params.useCats = int(use_classes)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def main() -> None:
    """Run the baseline and print its AP."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the generated images")
    parser.add_argument(
        "--easy", action="store_true", help="plain paint, no noise, one object per image"
    )
    arguments = parser.parse_args()
    options = {"texture": 0.0, "noise": 0.0, "objects": (1, 1)} if arguments.easy else {}
    shapes = Shapes(arguments.images, seed=arguments.seed, **options)
    results = []
    for i in range(len(shapes)):
        sample = shapes[i]
        masks = components(sample.image)
        for mask, runs in zip(masks, encode_masks(np.array(masks)) if masks else [], strict=True):
            label, score = classify(mask, shapes.classes)
            category = shapes.category_ids[label]
            results.append(
                {
                    "image_id": sample.image_id,
                    "category_id": category,
                    "segmentation": runs,
                    "score": score,
                }
            )
    print(f"{len(shapes)} images, {len(results)} components")
    for name, use_classes in (("with classes", True), ("masks alone", False)):
        ap, ap50 = mask_ap(shapes.coco(), results, use_classes=use_classes)
        print(f"{name:13} mask AP {ap:.3f}  AP50 {ap50:.3f}")


if __name__ == "__main__":
    main()
