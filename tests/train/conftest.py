"""A model and data small enough that a whole run takes milliseconds."""

from __future__ import annotations

import numpy as np
import pytest

from minimask.autograd import Tensor, ops
from minimask.data.sample import Sample
from minimask.nn import Module

LOSSES = (
    "loss_objectness",
    "loss_rpn_box_reg",
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
)


class Tiny(Module):
    """Learns to say the mean of an image through 12 weights; noise plays the sampling's part."""

    def __init__(self, seed: int = 0, width: int = 4, **config: object) -> None:
        rng = np.random.default_rng(seed)
        self.weight = Tensor(rng.standard_normal((width, 3)).astype("f4"), requires_grad=True)
        self.bias = Tensor(np.zeros(width, "f4"), requires_grad=True)
        self.register_buffer("seen", np.zeros((), np.int64))
        self.classes = ("thing",)
        self.config = {"model": "tiny", "seed": seed, "width": width, **config}

    def losses(self, images, targets, *, rng):
        assert self.training
        self.seen += len(images)
        colors = np.stack([i.reshape(-1, 3).mean(0) for i in images]).astype("f4") / 255
        wanted = np.float32(rng.normal(scale=0.1)) + colors.mean(1, keepdims=True)
        error = ops.matmul(Tensor(colors), self.weight.T) + self.bias - Tensor(wanted)
        return {name: (error * error).mean() * (i + 1) for i, name in enumerate(LOSSES)}

    def predict(self, images, **options):
        from minimask.models.detections import Detections

        return [
            Detections(
                np.array([[2, 2, 9, 9]], "f4"),
                np.zeros(1, "i8"),
                np.array([0.9], "f4"),
                np.ones((1, 28, 28), "f4"),
                image.shape[:2],
                self.classes,
            )
            for image in images
        ]


class Noise:
    """Noise images with one object in the same place."""

    def __init__(self, count: int | None = 10, seed: int = 0, size: int = 16) -> None:
        self.count, self.seed, self.size = count, seed, size
        self.classes, self.category_ids = ("thing",), (1,)

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("no end")
        return self.count

    def describe(self, index: int) -> str:
        return f"noise {index}"

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        image = rng.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
        masks = np.zeros((1, self.size, self.size), bool)
        masks[:, 2:9, 2:9] = True
        boxes = np.array([[2, 2, 9, 9]], "f4")
        return Sample(image, boxes, np.zeros(1, "i8"), masks, image_id=index)

    def coco(self):
        from minimask.data.sample import coco_ground_truth

        return coco_ground_truth([self[i] for i in range(len(self))], self.classes, (1,))


@pytest.fixture
def tiny():
    return Tiny


@pytest.fixture
def noise():
    return Noise
