"""The small networks, images and listeners that checks share.

Letters: H W height and width in pixels, R regions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.autograd import Context, Tensor
from minimask.autograd.hooks import Hook, hooked
from minimask.conventions import EXACT, HYPERPARAMETERS
from minimask.data.sample import Sample, boxes_of_masks
from minimask.data.shapes import Shapes
from minimask.data.sticks import Sticks
from minimask.models import Detections, mask_rcnn, maskkeypointrcnn_laptop, maskrcnn_laptop
from minimask.models.keypoint_rcnn import MaskKeypointRCNN
from minimask.models.mask_rcnn import MaskRCNN
from minimask.tools.profile.costs import Call, cost_of

CLASSES = ("circle", "square", "triangle", "star")

# Every part of the real network, each as narrow as it can be: a step takes milliseconds.
NARROW: dict[str, Any] = {
    "block": "bottleneck",
    "layers": (1, 1, 1, 1),
    "expansion": 1,
    "width_per_group": 16,
    "norm": "group",
    "fpn_channels": 16,
    "box_head_width": 32,
    "mask_head_channels": (16, 16),
    "mask_predictor_channels": 16,
    "rpn_pre_nms_top_n_train": 200,
    "rpn_post_nms_top_n_train": 100,
    "rpn_pre_nms_top_n_test": 200,
    "rpn_post_nms_top_n_test": 60,
    "box_detections_per_img": 20,
    "box_score_thresh": 0.01,  # random weights are sure of nothing
}


def small_network(**options: Any) -> MaskRCNN:
    """A Mask R-CNN of four shapes with random weights; options replace those of `NARROW`."""
    return maskrcnn_laptop(CLASSES, **{**NARROW, **options})


def pose_network(**options: Any) -> MaskKeypointRCNN:
    """As `small_network`, of one class, a person, with a branch for its keypoints."""
    narrow = {**NARROW, "keypoint_head_channels": (16, 16)}
    network: MaskKeypointRCNN = maskkeypointrcnn_laptop(["person"], **{**narrow, **options})
    return network


def network_of(system: str) -> MaskRCNN:
    """As narrow, but with every choice, threshold and count of a system: "paper", "matterport"."""
    widths = {name: value for name, value in NARROW.items() if name not in HYPERPARAMETERS}
    network: MaskRCNN = mask_rcnn(classes=CLASSES, convention=system, **widths)
    return network


def scene(index: int = 0, size: int = 96) -> Sample:
    """A generated image with three or four objects."""
    return Shapes(seed=3, size=size, objects=(3, 4))[index]


def stick_figure(size: int = 96) -> Sample:
    """A generated image of one person with its keypoints."""
    return Sticks(seed=3, size=size, figures=(1, 1), boards=0)[0]


def total(losses: dict[str, Tensor], *names: str) -> Tensor:
    """The sum of some losses, or of all."""
    first, *others = [losses[name] for name in (names or tuple(losses))]
    for other in others:
        first = first + other
    return first


def gradient_size(module: Any) -> float:
    """The largest absolute value in the gradients of a module's parameters; 0 without any."""
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    return max((float(np.abs(g).max()) for g in grads), default=0.0)


def clear_gradients(module: Any) -> None:
    """Forget the gradients of an earlier pass."""
    for parameter in module.parameters():
        parameter.grad = None


@dataclass(frozen=True)
class Heard:
    """One operation: its name, input arrays, output array, options, and the modules around it."""

    name: str
    inputs: list[Any]
    output: Any
    options: dict[str, Any]
    inside: tuple[str, ...]

    @property
    def flop(self) -> float:
        """Two for every multiply-add of it, by `minimask.tools.profile.costs`."""
        shapes = tuple(tuple(a.shape) for a in self.inputs)
        call = Call(self.name, shapes, tuple(self.output.shape), self.options, ())
        return cost_of(call).forward(call)


class Listener(Hook):
    """Hears which operations and modules run, and what they are given (see autograd/hooks.py).

    Attributes:
        calls: the operations, in order.
        modules: how often each module ran, by its class's name.
    """

    def __init__(self) -> None:
        self.calls: list[Heard] = []
        self.modules: Counter[str] = Counter()
        self._inside: list[str] = []

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Listen inside the block."""
        with hooked(self):
            yield

    def rois(self) -> dict[int, np.ndarray]:
        """The regions (R, 5) last pooled from the pyramid, by the side of the pooled square."""
        return {
            int(call.options["output_size"]): call.inputs[0]
            for call in self.calls
            if call.name == "RoIAlignLevels"
        }

    def flop(self, module: str = "") -> float:
        """Of all operations, or of those inside modules of that class.

        Raises:
            ValueError: no such module has run: its work would be 0 without a word.
        """
        if module and module not in self.modules:
            raise ValueError(f"no {module} has run, only {', '.join(sorted(self.modules))}")
        return sum(c.flop for c in self.calls if not module or module in c.inside)

    def forward(self, ctx: Context, arrays: list[Any], options: dict[str, Any]) -> Any:
        """Run an operation and note it."""
        output = super().forward(ctx, arrays, options)
        inputs = [a for a in arrays if a is not None]  # optional ones may be left out
        self.calls.append(Heard(ctx.fn.__name__, inputs, output, options, tuple(self._inside)))
        return output

    def enter(self, stage: str | None, module: Any = None) -> None:
        """Count a module."""
        name = stage or type(module).__name__
        self._inside.append(name)
        if module is not None:
            self.modules[name] += 1
        super().enter(stage, module)

    def leave(self) -> None:
        """What was entered last has ended."""
        self._inside.pop()
        super().leave()


def disk(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """(H, W) bool: the pixels whose centers lie in a circle, all in pixels."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.hypot(columns - x, rows - y) <= radius


def bent_road(size: int = 96) -> np.ndarray:
    """(size, size) bool: a road seen from above that comes from below and turns to the right."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    distance = np.hypot(columns - size, rows - size)
    return np.abs(distance - 0.72 * size) <= 0.09 * size


def tight_box(mask: np.ndarray) -> np.ndarray:
    """(4,) the box of one mask (H, W)."""
    return boxes_of_masks(mask[None])[0]


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks (H, W) bool: intersection over union, 0 to 1."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 0.0


def ramp(height: int, width: int, axis: str = "x") -> np.ndarray:
    """(1, 1, H, W) float64: the value of each cell is the x (or y) of its center, in cells."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (columns if axis == "x" else rows)[None, None].astype(np.float64)


def rois_of(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    """Boxes of the first image as RoIs: (R, 5) float64."""
    return np.array([(0.0, *box) for box in boxes])


def three_objects() -> tuple[np.ndarray, Detections]:
    """A gray image of 480 x 640 pixels, and three detections in it with scores 0.9, 0.75, 0.3."""
    image = np.full((480, 640, 3), 120, np.uint8)
    grid = disk(28, 28, 14, 14, 13).astype(np.float32)
    boxes = np.array([[40, 60, 200, 260], [300, 100, 460, 240], [420, 280, 620, 460]], np.float32)
    scores = np.array([0.9, 0.75, 0.3], np.float32)
    names = ("car", "bicycle")
    found = Detections(
        boxes, np.array([0, 1, 0]), scores, np.stack([grid] * 3), (480, 640), names, EXACT.paste
    )
    return image, found
