"""What `growth.py` measures: six curves, and for each of their points a call to time.

Letters: N images in a call, R regions of one image, S side of a square image in pixels.
"""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Call = Callable[[], Any]
OURS, PEER = "minimask", "torchvision"
SHAPES = ("circle", "square", "triangle")
CLOSE = 0.95  # overlap of boxes above which one goes: enough stay for every number of regions


@dataclass(frozen=True)
class Curve:
    """Images per second against one quantity.

    `slope` is that of the speed on two logarithmic axes if the cost is proportional to `reference`:
    -2 for pixels, if the quantity is the image's side.  `title`: what, a colon, of what.
    """

    name: str
    title: str
    axis: str
    points: tuple[int, ...]
    quick: tuple[int, ...]
    slope: int
    reference: str
    make: Callable[[int], Call]
    batch: int | None = None  # images in a call; None: as many as the quantity says

    def images(self, x: int) -> int:
        """N of a point."""
        return self.batch or x


def images_per_second(point: dict[str, Any]) -> float:
    """Of the median call."""
    return point["images"] / statistics.median(point["seconds"])


def count(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'' if threads == 1 else 's'}"


# ---- training


def _train(model: Any, count: int, side: int) -> Call:
    """Forward, backward and an update on generated images."""
    import numpy as np

    from minimask.data import Shapes
    from minimask.train import SGD

    samples = [Shapes(count, side, seed=0, classes=SHAPES)[i] for i in range(count)]
    images = [sample.image for sample in samples]
    targets = [sample.target for sample in samples]
    model.train()
    # too slow a rate to change the weights, and with them the number of regions, while timing
    optimizer = SGD(list(model.named_parameters()), 1e-6, 0.9, 1e-4)
    rng = np.random.default_rng(0)

    def step() -> None:
        optimizer.zero_grad()
        first, *others = model.losses(images, targets, rng=rng).values()
        sum(others, start=first).backward()
        optimizer.step()

    return step


def _laptop(**options: Any) -> Any:
    from minimask import models

    return models.maskrcnn_laptop(SHAPES, **options)


def train_size(x: int) -> Call:
    """The laptop model as shipped."""
    return _train(_laptop(), 4, x)


def train_regions(x: int) -> Call:
    """R regions learn class and box; 8 of them learn masks, as in the preset."""
    model = _laptop(
        box_batch_size_per_image=x,
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=1000,
        rpn_nms_thresh=CLOSE,
    )
    return _train(model, 4, 128)


def train_batch(x: int) -> Call:
    """The laptop model as shipped."""
    return _train(_laptop(), x, 128)


# ---- inference


def _predict(model: Any, images: list[np.ndarray]) -> Call:
    """Detections with their masks drawn at full size."""
    return lambda: [d.soft_masks for d in model.predict(images, batch_size=len(images))]


def smooth_image(side: int) -> np.ndarray:
    """Squares of 32 pixels in random colors: (S, S, 3) uint8, S a multiple of 32."""
    import numpy as np

    cells = np.random.default_rng(3).uniform(0, 255, (side // 32, side // 32, 3))
    return np.kron(cells, np.ones((32, 32, 1))).astype(np.uint8)


def infer_size(x: int) -> Call:
    """ResNet-50 with random weights, of which every image gets 100 detections."""
    return _predict(_resnet50(), [smooth_image(x)])


def _resnet50() -> Any:
    from minimask import models

    return models.maskrcnn_resnet50_fpn(91, norm="batch", min_size=None, max_size=None)


def infer_regions(x: int) -> Call:
    """R proposals are classified, and R detections get a mask."""
    model = _laptop(
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=x,
        rpn_nms_thresh=CLOSE,
        box_detections_per_img=x,
        box_score_thresh=0.0,
        box_nms_thresh=CLOSE,
    )
    return _predict(model, [smooth_image(256)])


def infer_batch(x: int) -> Call:
    """The laptop model as shipped, whose random weights find 100 objects in every image."""
    return _predict(_laptop(), [smooth_image(128)] * x)


# ---- torchvision, for the size of the image


def write_weights(path: pathlib.Path) -> None:
    """The random weights of `infer_size`, for the peer."""
    import numpy as np

    np.savez(path, **_resnet50().state_dict())


def peer_infer_size(x: int, weights: pathlib.Path) -> Call:
    """The ResNet-50-FPN Mask R-CNN of torchvision with the same weights and image.

    Raises:
        ValueError: the weights are not for this network.
    """
    import numpy as np
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=x, max_size=x)
    with np.load(weights) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")]
    if wrong or unexpected:
        raise ValueError(f"{weights}: lacks {wrong}, has {unexpected} too much")
    model.eval()
    images = [torch.from_numpy(smooth_image(x)).permute(2, 0, 1) / 255]

    def predict() -> Any:
        with torch.inference_mode():
            return model(images)

    return predict


SIDE, REGIONS, BATCH = "side of the image, pixels", "regions per image", "images in a batch"
SMALL, SIZES, COUNTS = "laptop model, 128 x 128", (128, 192, 256, 384, 512), (1, 2, 4, 8, 16)
CURVES = (
    Curve(
        "training, image size",
        "Training against image size: laptop model, batches of 4",
        SIDE,
        SIZES,
        (128, 256),
        -2,
        "pixels",
        train_size,
        4,
    ),
    Curve(
        "training, regions",
        f"Training against regions: {SMALL}, batches of 4",
        f"{REGIONS} (8 of them with masks)",
        (16, 32, 64, 128, 256, 512),
        (32, 256),
        -1,
        "regions",
        train_regions,
        4,
    ),
    Curve(
        "training, batch",
        f"Training against batch: {SMALL}",
        BATCH,
        COUNTS,
        (1, 4),
        0,
        "images",
        train_batch,
    ),
    Curve(
        "inference, image size",
        "Inference against image size: ResNet-50-FPN, single images",
        SIDE,
        (320, 448, 640, 800, 1088),
        (320, 640),
        -2,
        "pixels",
        infer_size,
        1,
    ),
    Curve(
        "inference, regions",
        "Inference against regions: laptop model, 256 x 256",
        f"{REGIONS} (all with masks)",
        (16, 32, 64, 128, 256, 512),
        (32, 256),
        -1,
        "regions",
        infer_regions,
        1,
    ),
    Curve(
        "inference, batch",
        f"Inference against batch: {SMALL}",
        BATCH,
        COUNTS,
        (1, 4),
        0,
        "images",
        infer_batch,
    ),
)
PEER_CURVE = "inference, image size"
