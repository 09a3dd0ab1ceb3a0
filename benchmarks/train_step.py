"""One training step of the same network in minimask and in torchvision, side by side.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --peer-python OTHER_ENVIRONMENT/bin/python

Mask R-CNN with ResNet-18-FPN, 128 x 128 images, batches of 4, 64 regions per image for the heads,
anchors of 8 to 128 pixels, 4 classes with background, batch norm trained, SGD with momentum:
forward, backward and update, on the same images.  Each side runs in its own process, in turns, so
that a machine that slows down slows down both.  torchvision runs twice: as it comes, and with
malloc told to keep freed memory, which the command `minimask` does for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

SIZE, BATCH, REGIONS, CLASSES = 128, 4, 64, 4
ANCHORS = (8, 16, 32, 64, 128)
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
SIDES = ("minimask", "torchvision", "torchvision, memory kept")


def make_images(path: pathlib.Path) -> None:
    """Four generated images with their objects, for both sides."""
    import numpy as np

    from minimask.data import Shapes

    shapes = Shapes(BATCH, SIZE, seed=0, classes=("circle", "square", "triangle"))
    content: dict[str, Any] = {}
    for i in range(BATCH):
        sample = shapes[i]
        for name in ("image", "boxes", "labels", "masks"):
            content[f"{name}{i}"] = getattr(sample, name)
    np.savez(path, **content)


def minimask_step(data: Any) -> Callable[[], float]:
    """A function that does one step and returns the loss."""
    import numpy as np

    from minimask import models
    from minimask.train import SGD

    model = models.maskrcnn_resnet18_fpn(
        CLASSES,
        norm="batch",
        anchor_sizes=ANCHORS,
        min_size=SIZE,
        max_size=SIZE,
        box_batch_size_per_image=REGIONS,
    ).train()
    optimizer = SGD(list(model.named_parameters()), 0.005, 0.9, 1e-4)
    images = [data[f"image{i}"] for i in range(BATCH)]
    targets = [
        models.Target(data[f"boxes{i}"], data[f"labels{i}"], data[f"masks{i}"])
        for i in range(BATCH)
    ]
    rng = np.random.default_rng(0)

    def step() -> float:
        optimizer.zero_grad()
        first, *others = model.losses(images, targets, rng=rng).values()
        total = sum(others, start=first)
        total.backward()
        optimizer.step()
        return float(total.item())

    return step


def torchvision_step(data: Any) -> Callable[[], float]:
    """The same in torchvision."""
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    torch.set_num_threads(cores())
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        trainable_layers=5,
        norm_layer=torch.nn.BatchNorm2d,
    )
    model = MaskRCNN(
        backbone,
        num_classes=CLASSES,
        min_size=SIZE,
        max_size=SIZE,
        rpn_anchor_generator=AnchorGenerator(
            tuple((side,) for side in ANCHORS), ((0.5, 1.0, 2.0),) * len(ANCHORS)
        ),
        box_batch_size_per_image=REGIONS,
    ).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.005, 0.9, weight_decay=1e-4)
    pixels = [torch.from_numpy(data[f"image{i}"]).permute(2, 0, 1) / 255 for i in range(BATCH)]
    targets = [
        {
            "boxes": torch.from_numpy(data[f"boxes{i}"]),
            "labels": torch.from_numpy(data[f"labels{i}"]) + 1,
            "masks": torch.from_numpy(data[f"masks{i}"].astype("uint8")),
        }
        for i in range(BATCH)
    ]

    def step() -> float:
        optimizer.zero_grad()
        total = sum(model(pixels, targets).values())
        total.backward()
        optimizer.step()
        return float(total)

    return step


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(side: str, images: pathlib.Path, warm_up: int, steps: int) -> None:
    """Run one side in this process; prints its times as JSON."""
    if side == "minimask":
        from minimask import runtime

        runtime.prepare()
    import numpy as np

    data = dict(np.load(images))
    step = minimask_step(data) if side == "minimask" else torchvision_step(data)
    first = time.perf_counter()
    for _ in range(warm_up):
        step()
    warm = time.perf_counter() - first
    seconds = []
    others = busy_elsewhere()
    for _ in range(steps):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
    spent = [now - before for now, before in zip(busy_elsewhere(), others, strict=True)]
    foreign = spent[0] / spent[1] if spent[1] else 0.0
    print(json.dumps({"seconds": seconds, "warm_up": warm, "loss": loss, "foreign": foreign}))


def busy_elsewhere() -> tuple[float, float]:
    """Processor seconds of all other processes since the machine started, and the time now."""
    now = time.perf_counter()
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _wait, irq, soft = map(int, file.readline().split()[1:8])
    except (OSError, ValueError):
        return 0.0, now
    own = os.times()
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + soft) / ticks - own.user - own.system, now


def start(python: str, side: str, images: pathlib.Path, options: argparse.Namespace) -> Any:
    """One turn of one side; None, with the reason printed, where it cannot run."""
    words = [python, __file__, "--work", side, "--images", str(images)]
    words += ["--warm-up", str(options.warm_up), "--steps", str(options.steps)]
    extra = KEEP_MEMORY if side.endswith("kept") else {}
    done = subprocess.run(words, env={**os.environ, **extra}, capture_output=True, text=True)
    if done.returncode:
        print(f"{side} does not run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def report(times: dict[str, list[float]], foreign: dict[str, float]) -> str:
    """A table in Markdown: medians, spread, and how minimask compares."""
    lines = [
        f"One training step, {BATCH} images of {SIZE} x {SIZE}, {cores()} cores:",
        "",
        "| side | median ms | min to max ms | images/s | cores busy elsewhere |",
        "|---|---:|---:|---:|---:|",
    ]
    medians = {side: statistics.median(seconds) for side, seconds in times.items()}
    for side, seconds in times.items():
        lines.append(
            f"| {side} | {medians[side] * 1e3:.0f} | {min(seconds) * 1e3:.0f} to "
            f"{max(seconds) * 1e3:.0f} | {BATCH / medians[side]:.1f} | {foreign[side]:.2f} |"
        )
    lines.append("")
    for side in SIDES[1:]:
        if side in medians and "minimask" in medians:
            ratio = medians["minimask"] / medians[side]
            best = min(times["minimask"]) / min(times[side])
            lines.append(
                f"minimask takes {ratio:.2f} times as long as {side} (fastest steps: {best:.2f})"
            )
    if max(foreign.values()) > 0.2:
        lines.append("Other programs were busy on this machine: measure again when it is quiet.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable, help="where torchvision is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="measured per round")
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--save", type=pathlib.Path, help="write all times as JSON")
    parser.add_argument("--work", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.images, options.warm_up, options.steps)
        return
    times: dict[str, list[float]] = {}
    foreign: dict[str, float] = {}
    absent: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        images = pathlib.Path(folder) / "images.npz"
        make_images(images)
        for _ in range(options.rounds):
            for side in SIDES:
                if side in absent:
                    continue
                python = sys.executable if side == "minimask" else options.peer_python
                turn = start(python, side, images, options)
                if turn is None:
                    absent.add(side)
                    continue
                times.setdefault(side, []).extend(turn["seconds"])
                foreign[side] = max(foreign.get(side, 0.0), turn["foreign"])
    print(report(times, foreign))
    if "torchvision" not in times:
        print(
            "torchvision was not measured: torch and torchvision are not installed in "
            f"{options.peer_python}; name an environment that has both with --peer-python"
        )
    if options.save:
        options.save.write_text(json.dumps({"seconds": times, "foreign": foreign}, indent=2))


if __name__ == "__main__":
    main()
