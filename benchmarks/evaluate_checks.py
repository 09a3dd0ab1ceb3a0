"""How much of an evaluation's time the checks of truth and results take, on data of COCO's size.

    python benchmarks/evaluate_checks.py [--images 5000] [--objects 36000] [--extra 4]

Polygons of about 50 points in 80 classes; detections are the objects, moved a little, and `extra`
false ones for each; their masks are run lengths.  pycocotools' own script runs beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from typing import Any

import numpy as np

HEIGHT, WIDTH = 480, 640


def polygon(rng: np.random.Generator) -> list[float]:
    """An ellipse with a wavy outline, 50 points."""
    angles = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    radius = 1 + 0.15 * np.sin(5 * angles + rng.uniform(0, 6))
    a, b = rng.lognormal(3.3, 0.7, 2).clip(3, 150)
    x = rng.uniform(a, WIDTH - a) + 0.8 * a * radius * np.cos(angles)
    y = rng.uniform(b, HEIGHT - b) + 0.8 * b * radius * np.sin(angles)
    return np.stack([x, y], axis=1).ravel().round(2).tolist()


def box_of(points: list[float]) -> list[float]:
    x, y = points[::2], points[1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def make(images: int, objects: int, extra: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and results."""
    from pycocotools import mask as rle_tools

    rng = np.random.default_rng(0)
    truth: dict[str, Any] = {
        "images": [{"id": 7 * i + 3, "height": HEIGHT, "width": WIDTH} for i in range(images)],
        "annotations": [],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(80)],
    }
    results = []
    for i in range(objects):
        points = polygon(rng)
        place = {
            "image_id": 7 * int(rng.integers(images)) + 3,
            "category_id": int(rng.integers(80)) + 1,
        }
        area = float(rle_tools.area(rle_tools.frPyObjects([points], HEIGHT, WIDTH))[0])
        entry = {"id": i + 1, "bbox": box_of(points), "segmentation": [points], "area": area}
        truth["annotations"].append({**place, **entry, "iscrowd": 0})
        for j in range(1 + extra):
            moved = (np.array(points) + rng.normal(0, 2 if j == 0 else 60)).tolist()
            (code,) = rle_tools.frPyObjects([moved], HEIGHT, WIDTH)
            mask = {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode()}
            score = float(rng.beta(4, 2) if j == 0 else rng.beta(1, 4))
            results.append({**place, "bbox": box_of(moved), "segmentation": mask, "score": score})
    return truth, results


def official(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """AP by pycocotools' own script."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    scores = {}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, **truth}
        coco.createIndex()
        for kind in ("bbox", "segm"):
            entries = [{k: v for k, v in r.items() if k != "bbox"} for r in results]
            scorer = COCOeval(coco, coco.loadRes(results if kind == "bbox" else entries), kind)
            scorer.evaluate()
            scorer.accumulate()
            scorer.summarize()
            scores[kind] = float(scorer.stats[0])
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("images", 5000), ("objects", 36000), ("extra", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    truth, results = make(options.images, options.objects, options.extra)
    from minimask.data.truth import check_ground_truth
    from minimask.evaluate import evaluate_detections
    from minimask.evaluate.check import check_results

    began = time.perf_counter()
    check_ground_truth(truth)
    truth_s = time.perf_counter() - began
    check_results(results)
    results_s = time.perf_counter() - began - truth_s
    began = time.perf_counter()
    ours = evaluate_detections(truth, results)
    ours_s = time.perf_counter() - began
    began = time.perf_counter()
    theirs = official(truth, results)
    theirs_s = time.perf_counter() - began
    assert ours.mask is not None and abs(ours.box["AP"] - theirs["bbox"]) < 1e-9
    print(f"{len(truth['annotations'])} objects, {len(results)} detections")
    print(f"check of the truth {truth_s:.2f} s, of the results {results_s:.2f} s")
    print(f"evaluate_detections {ours_s:.1f} s: {ours.box['AP']:.6f} {ours.mask['AP']:.6f}")
    print(f"pycocotools alone {theirs_s:.1f} s: {theirs['bbox']:.6f} {theirs['segm']:.6f}")
    print(ours.notes, ours.explanation)


if __name__ == "__main__":
    main()
