"""Old and new ways to segment the same generated images: thresholds to Mask R-CNN.

    python benchmarks/segmentation.py                       # prints; under 12 minutes on two cores
    python benchmarks/segmentation.py --out benchmarks/results/2026-11-28-segmentation.md

FCN-8s, U-Net and Mask R-CNN, the small networks of each kind, learn for the same number of steps
from the same images; methods before networks learn nothing.  Two sets of images: "shapes", a few
textured objects of four classes, and "cells", gray disks that touch.  All are then given held-out
images.

Measured, as means over the images: foreground IoU (object or not, pixel by pixel), objects found
beside objects there are, and F1 of objects at mask IoU 0.5, where an object of a method that labels
pixels is a connected part of a class.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from minimask.system import runtime

runtime.prepare()

import numpy as np  # noqa: E402

from minimask import classical  # noqa: E402
from minimask.data.sample import Sample, boxes_of_masks  # noqa: E402
from minimask.data.shapes import Shapes  # noqa: E402
from minimask.models import build  # noqa: E402
from minimask.models.label_map import paint_label_map  # noqa: E402
from minimask.tools.cli.segment import instances  # noqa: E402
from minimask.train import TrainSettings, train  # noqa: E402

SIDE = 96  # pixels
NETWORKS = ("fcn8s_laptop", "unet_laptop", "maskrcnn_laptop")
ANCHORS = (8, 16, 24, 32, 64)
SCENES = ("shapes", "cells")
SMALLEST = 20  # pixels of an object


@dataclass
class Found:
    """What one method said about one image: (H, W) class numbers, numbered objects, seconds."""

    classes: np.ndarray
    objects: np.ndarray
    seconds: float


Method = Callable[[np.ndarray], Found]


class Cells:
    """Gray disks of one brightness that touch: what tells them apart is their outline alone."""

    classes, category_ids = ("cell",), (1,)

    def __init__(self, seed: int, count: int | None = None) -> None:
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("these cells have no end")
        return self.count

    def describe(self, index: int) -> str:
        return f"cells {index} of seed {self.seed}"

    def __getitem__(self, index: int) -> Sample:
        if self.count is not None and index >= self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
        masks: list[np.ndarray] = []
        taken = np.zeros((SIDE, SIDE), bool)
        for tries in range(60):
            x, y = rng.uniform(8, SIDE - 8, 2)
            radius = rng.uniform(7, 12)
            mask = np.hypot(columns - x, rows - y) <= radius
            near = np.hypot(columns - x, rows - y) <= radius + 1.5
            touches = not masks or (near & taken).any()
            if (mask & taken).sum() <= 0.1 * mask.sum() and (touches or tries % 4 == 0):
                masks.append(mask & ~taken)
                taken |= mask
            if len(masks) == 9:
                break
        ground, cell = rng.uniform(30, 90), rng.uniform(130, 220)
        gray = np.where(taken, cell, ground) + 10 * rng.standard_normal(taken.shape)
        image = np.clip(gray, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
        labels = np.zeros(len(masks), np.int64)
        return Sample(
            image, boxes_of_masks(np.stack(masks)), labels, np.stack(masks), image_id=index
        )


def scenes(name: str, seed: int, count: int | None = None) -> Any:
    return Cells(seed, count) if name == "cells" else Shapes(count, SIDE, seed)


def learn(name: str, data: Any, steps: int) -> tuple[Any, float]:
    """A network that has seen `steps` batches of eight, and the seconds it took."""
    config: dict[str, Any] = {"model": name, "classes": list(data.classes)}
    if name.startswith("maskrcnn"):
        config |= {"anchor_sizes": ANCHORS}
    model = build(config)
    settings = TrainSettings(
        steps=steps, batch=8, lr=2e-3, warmup=steps // 10, checkpoint_every=steps
    )
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        summary = train(model, data, settings, out, progress=False)
    return model.eval(), summary["seconds"]


def by_network(model: Any) -> Method:
    def run(image: np.ndarray) -> Found:
        began = time.perf_counter()
        (found,) = model.predict([image])
        seconds = time.perf_counter() - began
        if getattr(model, "task", None) == "semantic":
            objects = classical.number_regions(found.labels, SMALLEST)
            return Found(found.labels, objects, seconds)
        kept = found.keep(found.scores >= 0.5)
        order = np.argsort(kept.scores, kind="stable")
        labels = np.zeros(image.shape[:2], np.int64)
        for i in order:  # the best on top
            labels[kept.mask(int(i))] = kept.labels[i] + 1
        return Found(labels, instances(kept, SMALLEST), seconds)

    return run


def by_hand(name: str, groups: int) -> Method:
    def run(image: np.ndarray) -> Found:
        options = classical.Options(groups=groups, smallest=SMALLEST)
        found = classical.segment(image, name, options)
        return Found(found.classes, found.regions, found.seconds)

    return run


def f1(true: np.ndarray, objects: np.ndarray) -> float:
    """F1 of objects at IoU 0.5: masks (R, H, W) bool against numbered objects (H, W)."""
    count = int(objects.max(initial=0))
    matched = 0
    for mask in true:
        inside = np.bincount(objects[mask], minlength=count + 1)[1:]
        areas = np.bincount(objects.ravel(), minlength=count + 1)[1:]
        union = mask.sum() + areas - inside
        matched += bool((inside > 0.5 * union).any())  # above one half it can be but one
    total = len(true) + count
    return 2 * matched / total if total else 1.0


def measure(method: Method, data: Any) -> dict[str, float]:
    """Means over the images."""
    rows = []
    for sample in (data[i] for i in range(len(data))):
        found = method(sample.image)
        truth = paint_label_map(sample.masks, sample.labels, sample.image.shape[:2])
        both = ((truth > 0) & (found.classes > 0)).sum()
        either = ((truth > 0) | (found.classes > 0)).sum()
        rows.append(
            {
                "iou": float(both / either) if either else 1.0,
                "right": float((truth == found.classes).mean()),
                "there": float(len(sample)),
                "found": float(found.objects.max(initial=0)),
                "f1": f1(np.asarray(sample.masks, bool), found.objects),
                "ms": 1000 * found.seconds,
            }
        )
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    means["ms"] = float(np.median([row["ms"] for row in rows]))
    return means


def run_scene(name: str, steps: int, count: int) -> Iterator[tuple[str, dict[str, float]]]:
    held_out = scenes(name, 2**31, count)
    groups = 2 if name == "cells" else 4  # of k-means
    for method in classical.METHODS:
        yield method, measure(by_hand(method, groups), held_out)
    for network in NETWORKS:
        model, seconds = learn(network, scenes(name, 0), steps)
        method = by_network(model)
        method(held_out[0].image)  # the first call compiles
        yield network, measure(method, held_out) | {"training": seconds}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    head = "| method | training | ms per image |"
    rule = "|---|---:|---:|"
    for name, methods in results.items():
        there = next(iter(methods.values()))["there"]
        head += f" {name}: foreground IoU | objects found (of {there:.1f}) | F1 |"
        rule += "---:|---:|---:|"
    lines = [head, rule]
    names = next(iter(results.values()))
    for method in names:
        first = [scene[method] for scene in results.values()]
        training = [f"{m['training']:.0f} s" for m in first if "training" in m]
        cells = [method, " / ".join(training) or "-", f"{np.mean([m['ms'] for m in first]):.1f}"]
        for m in first:
            cells += [f"{m['iou']:.3f}", f"{m['found']:.1f}", f"{m['f1']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(results: dict[str, dict[str, dict[str, float]]], words: str, steps: int) -> str:
    return (
        f"# Old and new ways to segment\n\n    {words}\n\n"
        f"{SIDE} x {SIDE} pixels, {steps} steps of 8 generated images for each network, from "
        "random weights; means over held-out images, milliseconds are medians. What is measured "
        "stands at the top of `benchmarks/segmentation.py`.\n\n" + table(results) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=600, help="of each network")
    parser.add_argument("--images", type=int, default=40, help="held-out images of each set")
    parser.add_argument("--out", type=pathlib.Path, help="Markdown file; default: print only")
    options = parser.parse_args()
    if options.out is not None and options.out.exists():
        parser.error(f"{options.out} exists already: choose another name")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in SCENES:
        results[name] = {}
        for method, found in run_scene(name, options.steps, options.images):
            results[name][method] = found
            shown = ", ".join(f"{key} {value:.3f}" for key, value in found.items())
            print(f"{name}, {method}: {shown}", flush=True)
    words = "python " + " ".join(sys.argv)
    text = page(results, words, options.steps)
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
