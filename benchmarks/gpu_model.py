"""Mask R-CNN with ResNet-50-FPN on one GPU: a training step and inference, beside torchvision.

    python benchmarks/gpu_model.py [--batch 2] [--height 800 --width 1333] [--rounds 7]

Both sides run in this process, in turns, on the same images, from random weights: batch norm
frozen, the first two stages not trained, 91 classes, everything else as torchvision has it.
torchvision runs twice: in plain float32, and with the tensor cores' TF32, which is what it does
unless told otherwise.  Times are from before the call to after a wait for the GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

CLASSES, OBJECTS = 91, 8
Step = Callable[[], Any]


def make_data(batch: int, height: int, width: int) -> tuple[list[Any], list[dict[str, Any]]]:
    """Images of noise, and objects with elliptic masks."""
    import numpy as np

    rng = np.random.default_rng(0)
    images, targets = [], []
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    for _ in range(batch):
        images.append(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        size = rng.uniform(0.05, 0.4, (OBJECTS, 2)) * [width, height]
        corner = rng.uniform(0, 1, (OBJECTS, 2)) * ([width, height] - size)
        boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
        center, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        masks = [
            ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
            for (cx, cy), (rx, ry) in zip(center, radius, strict=True)
        ]
        labels = rng.integers(0, CLASSES - 1, OBJECTS)
        targets.append({"boxes": boxes, "labels": labels, "masks": np.stack(masks)})
    return images, targets


def calm(buffers: dict[str, Any]) -> None:
    """Switch every residual branch off, as nothing normalizes what random weights add up to.

    Without this the features grow from block to block and most proposals leave the image.  For the
    same reason the learning rate is 0: every step does the same work.
    """
    for name, buffer in buffers.items():
        if name.endswith("bn3.weight"):
            buffer[...] = 0


def minimask_side(
    images: list[Any], targets: list[dict[str, Any]], device: str
) -> tuple[Step, Step]:
    """A training step and a prediction of all images."""
    import numpy as np

    from minimask import models
    from minimask.train.optim import SGD, sum_of_squares

    model = models.maskrcnn_resnet50_fpn(CLASSES, norm="frozen_batch", trainable_layers=3)
    calm(dict(model.named_buffers()))
    model.to(device)
    optimizer = SGD(list(model.named_parameters()), 0.0, 0.9, 1e-4)
    known = [models.Target(t["boxes"], t["labels"], t["masks"]) for t in targets]
    rng = np.random.default_rng(0)

    def step() -> Any:
        model.train()
        optimizer.zero_grad()
        first, *others = model.losses(images, known, rng=rng).values()
        total = sum(others, start=first)
        total.backward()
        sum_of_squares(optimizer.parameters)
        optimizer.step()
        return float(total.item())

    return step, lambda: model.predict(images, batch_size=len(images))


def torchvision_side(
    images: list[Any], targets: list[dict[str, Any]], device: str
) -> tuple[Step, Step]:
    """The same in torchvision."""
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, trainable_layers=3, norm_layer=FrozenBatchNorm2d
    )
    model = MaskRCNN(backbone, num_classes=CLASSES).to(device)
    calm(dict(model.named_buffers()))
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, 0.0, 0.9, weight_decay=1e-4)

    def pixels() -> list[Any]:  # from the host, as minimask's images come
        return [torch.from_numpy(im).to(device).permute(2, 0, 1) / 255 for im in images]

    def known() -> list[dict[str, Any]]:
        return [
            {
                "boxes": torch.from_numpy(t["boxes"]).to(device),
                "labels": torch.from_numpy(t["labels"]).to(device) + 1,
                "masks": torch.from_numpy(t["masks"].astype("uint8")).to(device),
            }
            for t in targets
        ]

    def step() -> Any:
        model.train()
        optimizer.zero_grad()
        total = sum(model(pixels(), known()).values())
        total.backward()
        optimizer.step()
        return float(total)

    def predict() -> Any:
        model.eval()
        with torch.no_grad():
            return [{k: v.cpu() for k, v in found.items()} for found in model(pixels())]

    return step, predict


def parity(device: str = "cuda") -> dict[str, tuple[float, float]]:
    """Every loss of one small training step, and the gradient's length: on the CPU, on a device.

    The second stage learns on the true boxes alone: were there proposals, a rounding could exchange
    two of them, and other regions would be drawn.
    """
    import numpy as np

    from minimask import models
    from minimask.train.optim import grad_norm

    images, targets = make_data(2, 64, 96)
    known = [models.Target(t["boxes"], t["labels"], t["masks"]) for t in targets]
    sides: list[dict[str, float]] = []
    for where in ("cpu", device):
        model = models.maskrcnn_resnet50_fpn(
            CLASSES,
            layers=(1, 1, 1, 1),
            fpn_channels=32,
            box_head_width=64,
            mask_head_channels=(32,),
            norm="batch",
            anchor_sizes=(8, 16, 32, 48, 64),
            min_size=64,
            rpn_post_nms_top_n_train=0,
        ).to(where)
        losses = model.train().losses(images, known, rng=np.random.default_rng(0))
        first, *others = losses.values()
        sum(others, start=first).backward()
        numbers = {name: float(loss.item()) for name, loss in losses.items()}
        sides.append({**numbers, "gradient": grad_norm(model.named_parameters())})
    return {name: (sides[0][name], sides[1][name]) for name in sides[0]}


def measure(steps: dict[str, Step], rounds: int, wait: Callable[[], Any]) -> dict[str, list[float]]:
    """Seconds of every side's calls, in turns, after two calls each to warm up."""
    for step in steps.values():
        step(), step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            wait()
            start = time.perf_counter()
            step()
            wait()
            times[name].append(time.perf_counter() - start)
    return times


def with_tf32(step: Step, allowed: bool) -> Step:
    """The torch step with tensor cores in TF32 allowed or not."""
    import torch

    def run() -> Any:
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed
        return step()

    return run


def compare(
    batch: int, height: int, width: int, rounds: int, device: str = "cuda"
) -> dict[str, Any]:
    """Medians in ms of each side, training and inference, and how often the CPU waits."""
    from minimask.system.device import count_transfers

    images, targets = make_data(batch, height, width)
    mine = minimask_side(images, targets, device)
    sides = {"minimask": mine}
    waits: list[Callable[[], Any]] = []
    if device != "cpu":
        import cupy

        waits.append(cupy.cuda.Device().synchronize)
    try:
        theirs = torchvision_side(images, targets, device)
        sides["torchvision, float32"] = tuple(with_tf32(s, False) for s in theirs)
        sides["torchvision, TF32"] = tuple(with_tf32(s, True) for s in theirs)
        if device != "cpu":
            import torch

            waits.append(torch.cuda.synchronize)
    except ImportError as error:
        print(f"torchvision is not measured: {error}")
    found: dict[str, Any] = {"batch": batch, "height": height, "width": width}
    for i, what in enumerate(("training step", "inference")):
        steps = {name: side[i] for name, side in sides.items()}
        times = measure(steps, rounds, lambda: [wait() for wait in waits])
        found[what] = {name: statistics.median(t) * 1e3 for name, t in times.items()}
        with count_transfers() as counted:
            mine[i]()
        found[f"{what}: transfers"] = str(counted)
    return found


def markdown(found: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [
        f"ResNet-50-FPN Mask R-CNN, {found['batch']} images of {found['height']} x "
        f"{found['width']}, medians in ms:",
        "",
        "| what | side | ms | ratio |",
        "|---|---|---:|---:|",
    ]
    for what in ("training step", "inference"):
        own = found[what]["minimask"]
        lines += [
            f"| {what} | {name} | {ms:.1f} | {ms / own:.2f} |" for name, ms in found[what].items()
        ]
    lines += ["", "Ratio: how many times as long as minimask."]
    lines += [f"{what}: {found[f'{what}: transfers']}" for what in ("training step", "inference")]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--width", type=int, default=1333)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", help="write the result here")
    given = parser.parse_args()
    found = compare(given.batch, given.height, given.width, given.rounds, given.device)
    print(markdown(found))
    if given.json:
        with open(given.json, "w") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
