"""What `cpu.py` compares: operations and whole models, their sizes, goals and floors.

Nothing of either side is imported here.  `cpu_minimask.py` and `cpu_torch.py` each have one
function per `kind`, and make the same inputs from the same seeds with the functions below.

Letters: N images, C channels, K filters, H W height and width, R regions, P pooled size.
"""

from __future__ import annotations

import math
import pathlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Case:
    """One line of the table; `RATIOS` has its goal and floor, or those of its group."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    backward: bool = False
    group: str = ""
    model: bool = False  # whole models get processes of their own, so that memory can be compared
    differs: str = ""  # why results are not the same on purpose; printed, and then no failure

    @property
    def in_group(self) -> str:
        """The group, or the line itself."""
        return self.group or self.name


def _both(
    name: str, kind: str, options: dict[str, Any], group: str = "", differs: str = ""
) -> list[Case]:
    """A forward line, and one of forward and backward."""
    forward, both = (
        f"{group}, {what}" if group else "" for what in ("forward", "forward + backward")
    )
    return [
        Case(f"{name}, forward", kind, options, group=forward, differs=differs),
        Case(f"{name}, forward + backward", kind, options, True, group=both, differs=differs),
    ]


ROI_MAP = (1, 256, 200, 304)  # P2 of an 800 x 1216 image
BIG = (2, 256, 100, 152)
ANCHORS = 268_569  # of an 800 x 1344 image

CONV_3X3 = (  # x, filters: layers of ResNet, of the pyramid, of the mask head
    ((1, 64, 128, 128), 64),
    ((2, 128, 64, 64), 128),
    ((1, 256, 64, 64), 256),
    ((1, 256, 128, 128), 256),
    ((1, 512, 32, 32), 512),
    ((256, 256, 14, 14), 256),
)
CONV_OTHER = (  # x, filters, window, stride
    ((1, 256, 64, 64), 64, 1, 1),
    ((1, 64, 64, 64), 256, 1, 1),
    ((1, 1024, 16, 16), 2048, 1, 2),
    ((1, 3, 256, 256), 64, 7, 2),
)
CONV_GROUPED = (  # x, groups, stride: ResNeXt-50 32x4d at 800 x 1216, one of 32x8d and of 64x4d
    ((1, 128, 200, 304), 32, 1),
    ((1, 256, 200, 304), 32, 2),
    ((1, 256, 100, 152), 32, 1),
    ((1, 512, 100, 152), 32, 2),
    ((1, 512, 50, 76), 32, 1),
    ((1, 1024, 50, 76), 32, 2),
    ((1, 1024, 25, 38), 32, 1),
    ((1, 1024, 50, 76), 32, 1),
    ((1, 2048, 25, 38), 32, 1),
    ((1, 1024, 50, 76), 64, 1),
)
CONV_DEPTHWISE = (  # x, window, stride: EfficientNet, MobileNetV3, at 224 x 224 and 800 x 1216
    ((1, 32, 112, 112), 3, 1),
    ((1, 96, 112, 112), 3, 2),
    ((1, 144, 56, 56), 5, 2),
    ((1, 240, 28, 28), 5, 1),
    ((1, 480, 14, 14), 3, 1),
    ((1, 672, 14, 14), 5, 2),
    ((1, 1152, 7, 7), 5, 1),
    ((1, 32, 400, 608), 3, 1),
    ((1, 96, 400, 608), 3, 2),
    ((1, 144, 200, 304), 3, 1),
    ((1, 144, 200, 304), 5, 2),
    ((1, 240, 100, 152), 5, 1),
    ((1, 672, 50, 76), 5, 1),
    ((1, 1152, 25, 38), 5, 1),
)
CONV_STRIDED = (((1, 128, 100, 136), 128), ((1, 256, 50, 68), 256), ((4, 64, 32, 32), 128))


def _convolutions() -> list[Case]:
    cases = []
    for x, filters in CONV_3X3:
        options = {"x": x, "filters": filters, "window": 3, "stride": 1, "padding": 1}
        cases += _both(f"conv2d 3x3 {x} -> {filters}", "conv2d", options, "conv2d 3x3")
    for x, filters, window, stride in CONV_OTHER:
        what = f"conv2d {window}x{window}" + (f"/{stride}" if stride > 1 else "")
        options = {"x": x, "filters": filters, "window": window, "stride": stride}
        options["padding"] = window // 2
        cases += _both(f"{what} {x} -> {filters}", "conv2d", options, "conv2d 1x1, 7x7/2, 2x2 up")
    options = {"x": (64, 256, 14, 14), "filters": 256}
    cases += _both(
        "conv_transpose2d 2x2/2 (64, 256, 14, 14) -> 256",
        "conv_transpose2d",
        options,
        "conv2d 1x1, 7x7/2, 2x2 up",
    )
    for x, filters in CONV_STRIDED:
        options = {"x": x, "filters": filters, "window": 3, "stride": 2, "padding": 1}
        cases += _both(f"conv2d 3x3/2 {x} -> {filters}", "conv2d", options, "conv2d 3x3/2")
    return cases


def _grouped() -> list[Case]:
    cases = []
    for x, groups, stride in CONV_GROUPED:
        options = {"x": x, "filters": x[1], "window": 3, "stride": stride, "padding": 1}
        what = "conv2d 3x3" + (f"/{stride}" if stride > 1 else "")
        name = f"{what} {x}, {groups} groups"
        cases += _both(name, "conv2d", {**options, "groups": groups}, "conv2d, groups")
    for x, window, stride in CONV_DEPTHWISE:
        options = {"x": x, "filters": x[1], "window": window, "stride": stride}
        options |= {"padding": window // 2, "groups": x[1]}
        what = f"depthwise {window}x{window}" + (f"/{stride}" if stride > 1 else "")
        cases += _both(f"conv2d {what} {x}", "conv2d", options, "conv2d, depthwise")
    return cases


def _regions() -> list[Case]:
    cases = []
    differs = (
        "torchvision divides in float32, which adds a row or column of cells to 63 (7x7) or 70 "
        "(14x14) of 25088 bins, where 57, 62 or 114 cells are divided; here bins are exact"
    )
    for op, count, size, extra in (
        ("roi_align", 512, 7, {"sampling_ratio": 2, "aligned": False}),
        ("roi_align", 128, 14, {"sampling_ratio": 2, "aligned": False}),
        ("roi_pool", 512, 7, {}),
        ("roi_pool", 128, 14, {}),
    ):
        options = {"features": ROI_MAP, "count": count, "size": size, "scale": 0.25, **extra}
        name, reason = (
            f"{op} {count} RoIs x 256 x {size}x{size}",
            differs if op == "roi_pool" else "",
        )
        cases += _both(name, op, options, differs=reason)
    return cases


def _others() -> list[Case]:
    cases = [Case(f"nms {n} boxes", "nms", {"count": n, "threshold": 0.7}) for n in NMS_SIZES]
    cases += [
        Case("box_iou 268569 x 20", "box_iou", {"a": ANCHORS, "b": 20}),
        Case("anchor matching 268569 x 20", "matching", {"a": ANCHORS, "b": 20}),
        Case("max_pool2d 3x3/2, forward + backward", "max_pool2d", {"x": BIG}, True),
        Case("nearest x2 upsampling, forward", "nearest", {"x": BIG}),
        Case("nearest x2 upsampling, forward + backward", "nearest", {"x": BIG}, True),
        Case("linear 512 x 12544 -> 1024, forward", "linear", {"x": (512, 12544), "out": 1024}),
        Case(
            "linear 512 x 12544 -> 1024, forward + backward",
            "linear",
            {"x": (512, 12544), "out": 1024},
            True,
        ),
        Case("batch norm, trained, forward + backward", "batch_norm", {"x": BIG}, True),
    ]
    return cases


NMS_SIZES = (1000, 5000, 20000)

MODELS = [
    Case("ResNet-18-FPN step, 4 x 128 x 128", "resnet18_step", model=True),
    Case("laptop preset step, 8 x 128 x 128", "laptop_step", {"all_masks": True}, model=True),
    Case(
        "laptop preset step as shipped, 8 masks an image",
        "laptop_step",
        {"all_masks": False},
        model=True,
    ),
    Case("ResNet-50-FPN inference, 800 x 1088", "resnet50_inference", model=True),
    Case("ResNet-50-FPN step, 800 x 1088", "resnet50_step", model=True),
    Case(
        "Mask R-CNN v2 inference, 800 x 1088",
        "inference",
        {"model": "maskrcnn_resnet50_fpn_v2"},
        model=True,
    ),
    Case(
        "ResNeXt-101-32x8d-FPN inference, 800 x 1088",
        "inference",
        {"model": "maskrcnn_resnext101_32x8d_fpn"},
        model=True,
    ),
]

# (goal, floor) of a line, or of a group's geometric mean.  The goal is the ratio to reach against
# the peer as installed; below the floor, against whichever of its settings is faster, the benchmark
# fails.  Floors lie well under what was measured: a machine may favor either side by a third.
RATIOS: dict[str, tuple[float | None, float | None]] = {
    "roi_align 512 RoIs x 256 x 7x7, forward": (6, 15),
    "roi_align 512 RoIs x 256 x 7x7, forward + backward": (8, 18),
    "roi_pool 512 RoIs x 256 x 7x7, forward": (4, 12),
    "roi_pool 512 RoIs x 256 x 7x7, forward + backward": (4, 7),
    "nms 1000 boxes": (2, 3),
    "nms 5000 boxes": (4, 9),
    "nms 20000 boxes": (6, 15),
    "box_iou 268569 x 20": (3, 8),
    "anchor matching 268569 x 20": (3, 9),
    "max_pool2d 3x3/2, forward + backward": (2, 2),
    "nearest x2 upsampling, forward": (2, 1.3),
    "conv2d 3x3, forward": (1.0, 1.7),
    "conv2d 3x3, forward + backward": (1.0, 1.6),
    "conv2d, groups, forward": (1.0, 0.8),
    "conv2d, groups, forward + backward": (1.0, 0.8),
    "conv2d, depthwise, forward": (1.0, 0.7),
    "conv2d, depthwise, forward + backward": (1.0, 0.8),
    "conv2d 1x1, 7x7/2, 2x2 up, forward": (0.9, 0.8),
    "conv2d 1x1, 7x7/2, 2x2 up, forward + backward": (0.9, 0.8),
    "ResNet-18-FPN step, 4 x 128 x 128": (1.5, 1.4),
    "laptop preset step, 8 x 128 x 128": (1.3, 1.6),
    "ResNet-50-FPN inference, 800 x 1088": (1.2, 1.4),
    "ResNet-50-FPN step, 800 x 1088": (1.2, 1.25),
    "Mask R-CNN v2 inference, 800 x 1088": (1.0, 1.0),
    "ResNeXt-101-32x8d-FPN inference, 800 x 1088": (1.0, 1.0),
    # no goal, only a floor
    "nearest x2 upsampling, forward + backward": (None, 1.4),
    "linear 512 x 12544 -> 1024, forward": (None, 0.8),
    "linear 512 x 12544 -> 1024, forward + backward": (None, 0.8),
    "batch norm, trained, forward + backward": (None, 1.4),
    "conv2d 3x3/2, forward": (None, 0.65),
    "conv2d 3x3/2, forward + backward": (None, 0.75),
    "laptop preset step as shipped, 8 masks an image": (None, 1.6),
}

CASES = [*_regions(), *_others(), *_convolutions(), *_grouped(), *MODELS]


# ---- inputs, the same on both sides


@dataclass(frozen=True)
class Files:
    """What whole models read: images, and weights that the first peer writes."""

    images: pathlib.Path
    weights: pathlib.Path


def write_images(path: pathlib.Path, count: int = 8, size: int = 128) -> None:
    """Generated images with their objects, for both sides."""
    import numpy as np

    from minimask.data import Shapes

    shapes = Shapes(count, size, seed=0, classes=("circle", "square", "triangle"))
    content: dict[str, Any] = {}
    for i in range(count):
        sample = shapes[i]
        for name in ("image", "boxes", "labels", "masks"):
            content[f"{name}{i}"] = getattr(sample, name)
    np.savez(path, **content)


def generated(path: pathlib.Path, count: int) -> list[tuple[np.ndarray, ...]]:
    """Image uint8 (H, W, 3), boxes, labels from 0, masks of the first `count` images."""
    import numpy as np

    with np.load(path) as data:
        names = ("image", "boxes", "labels", "masks")
        return [tuple(data[f"{name}{i}"] for name in names) for i in range(count)]


def large_image() -> tuple[np.ndarray, ...]:
    """Smooth noise of 800 x 1088 with five objects: image uint8, boxes, labels from 1, masks."""
    import numpy as np

    rng = np.random.default_rng(3)
    image = np.kron(rng.uniform(0, 255, (25, 34, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    first = rng.uniform(0, 1, (5, 2)) * (700, 500)
    boxes = np.concatenate([first, first + rng.uniform(60, 300, (5, 2))], 1).astype(np.float32)
    masks = np.zeros((5, 800, 1088), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = 1
    return image, boxes, np.arange(1, 6), masks


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Normally distributed numbers, float32."""
    import numpy as np

    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def rois(count: int, height: int, width: int) -> np.ndarray:
    """Regions of 32 to 400 pixels inside one image: (R, 5) float32."""
    import numpy as np

    rng = np.random.default_rng(1)
    size = np.exp(rng.uniform(math.log(32), math.log(400), (count, 2)))
    first = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - size)
    return np.concatenate([np.zeros((count, 1)), first, first + size], 1).astype(np.float32)


def objects(count: int) -> np.ndarray:
    """Objects of 32 to 400 pixels inside an 800 x 1344 image: (count, 4) float32."""
    import numpy as np

    return np.ascontiguousarray(rois(count, 800, 1344)[:, 1:])


def boxes(count: int, clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes around some centers, as a proposal network gives them, and their scores."""
    import numpy as np

    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, clusters, count)
    center = rng.uniform(0, 1000, (clusters, 2))[chosen] + rng.normal(0, 4, (count, 2))
    size = np.exp(rng.normal(math.log(60), 0.4, (clusters, 2)))[chosen]
    size = size * np.exp(rng.normal(0, 0.1, (count, 2)))
    found = np.concatenate([center - size / 2, center + size / 2], 1).astype(np.float32)
    return found, rng.permutation(count).astype(np.float32) / count


def anchors(count: int) -> np.ndarray:
    """As many anchors as an 800 x 1344 image has, on a grid: (count, 4) float32."""
    import numpy as np

    stride, sides = 4, (32, 64)
    found = []
    for side in sides:
        y, x = np.mgrid[0:800:stride, 0:1344:stride].reshape(2, -1)
        for ratio in (0.5, 1.0, 2.0):
            h, w = side * math.sqrt(ratio), side / math.sqrt(ratio)
            found.append(np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1))
    return np.concatenate(found)[:count].astype(np.float32)
