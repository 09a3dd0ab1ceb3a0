"""Semantic segmentation: one network, a class for every pixel, for prediction and training.

FCN (`fcn.py`) and U-Net (`unet.py`) are two such networks; what surrounds them is the same.

Letters: N images, H W of the padded input, K classes, R pixels that count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, no_grad, ops
from minimask.autograd.hooks import Recorder, hooked, record, stage
from minimask.conventions import Convention
from minimask.data.sample import Target, check_target
from minimask.kernels.dispatch import unchecked
from minimask.models.faster_rcnn import arrays_of
from minimask.models.label_map import IGNORED, LabelMap, paint_label_map
from minimask.models.sealed import Sealed
from minimask.models.transform import Batch, ImageTransform, input_size, make_batch, resize_target
from minimask.nn import Module
from minimask.system.device import download, upload


class PixelNetwork(Module):
    """Images to class scores of every pixel.

    Attributes:
        stride: height and width of the input are multiples of it, in pixels.
    """

    stride: int

    def forward(self, images: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """(N, 3, H, W) -> logits (N, K + 1, H, W); `rng` draws what training leaves out."""
        raise NotImplementedError


class SemanticSegmenter(Sealed):
    """A class for every pixel, learned with the cross-entropy of each (Long et al. 2015)."""

    task = "semantic"  # what training, evaluation and pictures go by
    needs = ("masks",)  # of targets, besides boxes and labels

    def __init__(
        self,
        network: PixelNetwork,
        *,
        classes: Sequence[str],
        convention: Convention,
        min_size: int | Sequence[int] | None = None,
        max_size: int | None = None,
        config: dict[str, Any] | None = None,
    ):
        """Put it together; `minimask.models.build` and its relatives make the parts.

        Args:
            network: images to logits.
            classes: names of the K classes, without background.
            convention: how images are prepared.
            min_size: images are resized so that their short side has this many pixels; of several
                sizes training draws one, and prediction takes the last; None keeps the size.
            max_size: limit of the long side after resizing; None for none.
            config: what `minimask.models.build` needs to make this model again.
        """
        self.network = network
        self.classes = tuple(classes)
        # images are padded to what the network halves without a rest, and the result is cut back
        self._convention = dataclasses.replace(convention, size_divisor=network.stride)
        self.min_size = min_size
        self.max_size = max_size
        self.config = dict(config or {})
        self.seal()

    @property
    def convention(self) -> Convention:
        """How images are prepared; read-only."""
        return self._convention

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The names of what predictions find: all classes."""
        return self.classes

    def forward(self, batch: Batch, rng: np.random.Generator | None = None) -> Tensor:
        """Logits (N, K + 1, H, W) of the padded images."""
        logits: Tensor = self.network(Tensor(batch.images), rng)
        record("pixels/logits", logits)
        return logits

    def predict(self, images: Sequence[np.ndarray], *, batch_size: int = 4) -> list[LabelMap]:
        """Give every pixel of images of any sizes a class.

        Args:
            images: uint8 arrays (H, W, 3) RGB; gray (H, W) and RGBA are converted.
            batch_size: how many go through the network at once.

        Returns:
            For each image its `LabelMap`.  The model's mode is left as it was.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise TypeError("images: expected a list of images; for a single one: [image]")
        was_training = self.training
        self.eval()
        try:
            with no_grad(), unchecked():
                return [
                    label_map
                    for start in range(0, len(images), batch_size)
                    for label_map in self._predict(images[start : start + batch_size])
                ]
        finally:
            self.train(was_training)

    def _predict(self, images: Sequence[np.ndarray]) -> list[LabelMap]:
        batch = self.prepare(images)
        probabilities = F.softmax(self.forward(batch), axis=1)
        return [
            self.to_image(probabilities[i : i + 1], transform)
            for i, transform in enumerate(batch.transforms)
        ]

    @stage("label map")
    def to_image(self, probabilities: Tensor, transform: ImageTransform) -> LabelMap:
        """Probabilities (1, K + 1, H, W) of the padded input as the label map of its image."""
        (y, x), (h, w) = transform.offset, transform.resized
        content = probabilities[:, :, y : y + h, x : x + w]
        if transform.original != transform.resized:
            content = F.resize(content, transform.original, mode="bilinear")
        array = download(content.data, "probabilities")[0]
        found = LabelMap(array.argmax(axis=0).astype(np.int64), array, self.classes)
        record("out/probabilities", found.probabilities)
        record("out/labels", found.labels)
        return found

    @stage("image transform")
    def prepare(
        self, images: Sequence[np.ndarray], rng: np.random.Generator | None = None
    ) -> Batch:
        """Images as the network takes them; with `rng`, at one of the training sizes."""
        size = input_size(self.min_size, rng)
        like = next(self.parameters()).data
        batch = make_batch(images, size, self.max_size, self.convention, like=like)
        record("transform/image", batch.images)
        return batch

    def losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """What training minimizes.

        Args:
            images: uint8 arrays (H, W, 3) of any sizes.
            targets: the objects of each image, with masks; none at all is fine.
            rng: draws the size, and what dropout leaves out.

        Returns:
            loss_pixels: the mean cross-entropy of all pixels of the images, one number.

        Raises:
            ValueError: targets that do not fit the images or the model, or have no masks.
        """
        self.check_targets(images, targets)
        with unchecked():
            batch = self.prepare(images, rng)
            truth = self.label_maps(targets, batch)
            record("transform/targets", truth)
            with stage("pixel loss"):
                return {"loss_pixels": pixel_loss(self.forward(batch, rng), truth)}

    def check_targets(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> None:
        """Whether training can learn from these targets.

        Raises:
            ValueError: they do not fit the images or the model; names which and why.
        """
        if len(images) != len(targets):
            raise ValueError(f"losses: {len(images)} images, but {len(targets)} targets")
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            check_target(target, image, len(self.classes), f"targets[{i}]")
            if target.masks is None:
                raise ValueError(
                    f"targets[{i}]: semantic segmentation learns from masks, but these are None"
                )

    def label_maps(self, targets: Sequence[Target], batch: Batch) -> np.ndarray:
        """The class of every pixel of the padded batch: (N, H, W) int64, `IGNORED` in padding.

        Objects that overlap: see `paint_label_map`.
        """
        maps = np.full((len(targets), *batch.shape), IGNORED, np.int64)
        for place, target, transform in zip(maps, targets, batch.transforms, strict=True):
            (y, x), (h, w) = transform.offset, transform.resized
            content = ImageTransform(transform.original, transform.resized)
            resized = resize_target(target, content, (h, w))
            place[y : y + h, x : x + w] = paint_label_map(resized.masks, resized.labels, (h, w))
        return maps

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every array a prediction computes on the way, by name, in that order.

        transform/image; of FCN body/i, score/STRIDE and fused/STRIDE; of U-Net down/i and up/i;
        pixels/logits, out/probabilities, out/labels.
        """
        with hooked(Recorder()) as recorder:
            self.predict([image])
        yield from arrays_of(recorder)


def pixel_loss(logits: Tensor, truth: np.ndarray) -> Tensor:
    """The mean cross-entropy of the pixels that are not `IGNORED`.

    Args:
        logits: (N, K + 1, H, W).
        truth: (N, H, W) int64, 0 .. K or `IGNORED`.
    """
    rows = ops.reshape(ops.transpose(logits, (0, 2, 3, 1)), (truth.size, logits.shape[1]))
    labels, counts = truth.ravel(), truth.ravel() != IGNORED
    if not counts.all():
        (index,) = np.nonzero(counts)
        labels = labels[index]
        rows = rows[upload(index, logits.data, "pixels that count")]
    return F.cross_entropy(rows, upload(labels, logits.data, "label map"))


def drop(x: Tensor, share: float, rng: np.random.Generator | None) -> Tensor:
    """Dropout: in training a share of the values becomes 0, the others grow to keep the mean.

    Args:
        x: any shape.
        share: 0 to less than 1.
        rng: draws which; None: none, as in prediction.
    """
    if rng is None or share == 0:
        return x
    keep = rng.random(x.shape, np.float32) >= share
    scale = keep.astype(x.dtype) / x.dtype.type(1 - share)
    return x * upload(scale, x.data, "dropout")
