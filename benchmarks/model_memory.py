"""Is the memory that `minimask info` says the memory that a process takes?

    python benchmarks/model_memory.py --out benchmarks/results/DATE-model-memory

Every case runs in a process of its own: packages are imported and kernels compiled with a small
network first, and what the process has then is the baseline.  The network is built, does its work
twice (the optimizer has its states after the first step), and the greatest resident memory above
the baseline is compared with the estimate, which another process makes from shapes.

Training steps are those of `minimask train` on generated images; how many regions held an object
in them is counted and given to the estimate, which otherwise takes the most there can be.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

# name: (network, options, height and width, images, training step)
CASES = {
    "laptop, train, 4 x 256": ("maskrcnn_laptop", {}, (256, 256), 4, True),
    "laptop, train, 8 x 256": ("maskrcnn_laptop", {}, (256, 256), 8, True),
    "ResNet-18-FPN, train": ("maskrcnn_resnet18_fpn", {"norm": "batch"}, (384, 512), 2, True),
    "ResNet-50-FPN, train": ("maskrcnn_resnet50_fpn", {}, (512, 512), 1, True),
    "ResNet-50-FPN, norms learn": ("maskrcnn_resnet50_fpn", {"norm": "batch"}, (384, 512), 1, True),
    "ResNet-50-FPN, layers frozen": (
        "maskrcnn_resnet50_fpn",
        {"trainable_layers": 2},
        (512, 512),
        2,
        True,
    ),
    "Faster R-CNN v2, train": ("fasterrcnn_resnet50_fpn_v2", {}, (384, 384), 1, True),
    "ResNet-50-FPN, predict": ("maskrcnn_resnet50_fpn", {}, (800, 800), 1, False),
    "ResNet-50-FPN v2, predict": ("maskrcnn_resnet50_fpn_v2", {}, (480, 640), 1, False),
    "keypoints, predict": ("keypointrcnn_resnet50_fpn", {}, (480, 640), 2, False),
}
CLASSES = ["circle", "square", "triangle", "star"]


def resident() -> int:
    """Bytes of memory that the process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def forget_peak() -> None:
    """Begin anew to note the most memory that the process had."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def build(name: str, options: dict):
    """A network of the classes of generated images; keypoints have their own."""
    from minimask import models

    classes = {} if name.startswith("keypoint") else {"classes": CLASSES}
    return models.build({"model": name, **classes, **options})


def measured(name: str, options: dict, size: tuple[int, int], count: int, train: bool) -> dict:
    """Bytes above the baseline, and how many regions of an image held an object."""
    import numpy as np

    from minimask.autograd.hooks import Recorder, hooked
    from minimask.tools.info import work
    from minimask.tools.profile.machine import peak_memory
    from minimask.tools.profile.work import generated
    from minimask.train.settings import TrainSettings
    from minimask.train.step import Trainer

    def run(network, size, count):
        positives = []
        with work.at_size(network, size):
            if not train:
                images = [np.zeros((*size, 3), np.uint8)] * count
                for _ in range(2):
                    work.predict(network, images, work.counts_of(network))
                return 0
            trainer = Trainer(network, TrainSettings(steps=2, batch=count, warmup=0))
            for i in range(2):
                samples = generated(size, 2 * count, len(CLASSES))[i * count : (i + 1) * count]
                with hooked(Recorder()) as recorder:
                    trainer.advance([samples])
                positives += [
                    int(s.positive.sum())
                    for sampled in recorder.values("mask/sampled") or recorder.values("roi/sampled")
                    for s in sampled
                ]
                recorder.entries.clear()
        return max(positives)

    small = {"stem_channels": 16, "fpn_channels": 32, "box_head_width": 32}
    run(build(name, {**options, **small}), (96, 96), 1)
    forget_peak()
    baseline = resident()
    network = build(name, options)
    found = run(network, size, count)
    return {"measured": peak_memory() - baseline, "positives": found, "baseline": baseline}


def estimated(
    name: str, options: dict, size: tuple[int, int], count: int, train: bool, positives: int
) -> dict:
    """What `minimask info` says, with so many positive regions and with the most there can be."""
    from minimask.tools.info import summarize

    network = build(name, options)
    found = {}
    for key, regions in (("estimate", positives), ("most", None)):
        summary = summarize(network, size, count, train=train, positives=regions)
        found[key] = (summary.training if train else summary.inference).total
    return found


def process(what: str, case: str, *more: object) -> dict:
    """One side of one case, in a process of its own."""
    command = [sys.executable, __file__, what, case, *map(str, more)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{case}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(rows: list[dict]) -> str:
    """The table of the results page."""
    lines = [
        "# Memory that `minimask info` says, and memory that a process takes",
        "",
        f"`python benchmarks/model_memory.py`, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}. In MB, above what the process has after imports and",
        "compiled kernels; the estimate is for as many regions with an object as there were,",
        '"at most" for as many as the network samples.',
        "",
        "| case | images | measured | estimate | ratio | at most |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = f"{row['measured'] / 1e6:.0f} | {row['estimate'] / 1e6:.0f}"
        ratio = row["estimate"] / row["measured"]
        lines.append(
            f"| {row['case']} | {row['images']} | {numbers} | {ratio:.3f} | "
            f"{row['most'] / 1e6:.0f} |"
        )
    worst = max(abs(row["estimate"] / row["measured"] - 1) for row in rows)
    return "\n".join([*lines, "", f"Furthest off: {100 * worst:.1f} % (asked: 10 %).", ""])


def main() -> None:
    """Run all cases, or one side of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", nargs="?", choices=("measure", "estimate"))
    parser.add_argument("case", nargs="?")
    parser.add_argument("positives", nargs="?", type=int, default=0)
    parser.add_argument("--only", help="part of a case's name")
    parser.add_argument("--out", type=pathlib.Path, help="results, without .md and .json")
    given = parser.parse_args()
    if given.side == "measure":
        print(json.dumps(measured(*CASES[given.case])))
        return
    if given.side == "estimate":
        print(json.dumps(estimated(*CASES[given.case], given.positives)))
        return
    rows = []
    for case, (_, _, size, count, _) in CASES.items():
        if given.only and given.only not in case:
            continue
        row = process("measure", case)
        row |= process("estimate", case, row["positives"])
        rows.append({"case": case, "images": f"{count} x {size[0]} x {size[1]}", **row})
        print(case, f"{row['estimate'] / row['measured']:.3f}", row, file=sys.stderr, flush=True)
    print(report(rows))
    if given.out:
        given.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
        given.out.with_suffix(".md").write_text(report(rows))


if __name__ == "__main__":
    main()
