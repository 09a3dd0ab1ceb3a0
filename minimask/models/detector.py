"""What every detector is, whatever its stages: images in, objects or losses out.

A kind of detector adds `forward`, and `selection` if its decisions are not its own.

Letters: N images, R objects, H W of the padded input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.autograd.hooks import Recorder, hooked, record, stage
from minimask.conventions import Convention
from minimask.data.sample import Target, check_target
from minimask.data.skeleton import Skeleton
from minimask.kernels.dispatch import unchecked
from minimask.models.detections import Detections, Instances
from minimask.models.matcher import RecordedSampling
from minimask.models.sealed import Sealed
from minimask.models.transform import Batch, ImageTransform, input_size, make_batch, resize_target
from minimask.nn import Module
from minimask.system.device import download


class Detector(Sealed):
    """A network that finds objects in images; what all kinds of them share.

    Attributes:
        classes: names, without background.
        config: what `minimask.models.build` needs to make the model again.
        class_agnostic: whether it finds objects without saying of which class.
    """

    class_agnostic = False

    def __init__(
        self,
        backbone: Module,
        *,
        classes: Sequence[str],
        convention: Convention,
        min_size: int | Sequence[int] | None = 800,  # FPN, section 5
        max_size: int | None = 1333,
        config: dict[str, Any] | None = None,
        skeleton: Skeleton | None = None,
    ):
        """Kinds of detectors add their parts and end with `self.seal()`.

        Args:
            backbone: images to feature maps, see `minimask.models.backbone`.
            classes: names of the classes, without background.
            convention: how images are prepared and masks are pasted; what else it says, the parts
                took when they were made.
            min_size: images are resized so that their short side has this many pixels; of several
                sizes training draws one, and prediction takes the last; None keeps the size.
            max_size: limit of the long side after resizing; None for none.
            config: what `minimask.models.build` needs to make this model again.
            skeleton: what the keypoints are that it finds, if it finds any.
        """
        self.backbone = backbone
        self.classes = tuple(classes)
        self._convention = convention
        self.min_size = min_size
        self.max_size = max_size
        self.skeleton = skeleton
        self.config = dict(config or {})

    @property
    def convention(self) -> Convention:
        """The choices the model was built with.  They are read-only: parts hold copies."""
        return self._convention

    @convention.setter
    def convention(self, value: Convention) -> None:
        raise AttributeError(
            "model.convention cannot be changed, as the parts took their values from it when the "
            "model was built: build another with convention=..., or set the part's own attribute, "
            f"e.g. {self.example}"
        )

    example = "model.min_size = 800"  # of an attribute that can be set

    @property
    def selection(self) -> Any:
        """The part that decides what counts as an object.

        It has `score_thresh`, `nms_thresh`, `detections_per_img` and `background_class`, the
        network's index of background; None: it has none.
        """
        return self

    @property
    def title(self) -> str:
        """The kind of detector, as messages call it."""
        return type(self).__name__

    def forward(
        self,
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Of each image its objects; with targets (in the network's input), the losses instead."""
        raise NotImplementedError

    def predict(self, images: Sequence[np.ndarray], *, batch_size: int = 4) -> list[Detections]:
        """Find the objects in images of any sizes.

        Args:
            images: uint8 arrays (H, W, 3) RGB; gray (H, W) and RGBA are converted.
            batch_size: how many go through the network at once.

        Returns:
            For each image its `Detections`, best first. The model's mode is left as it was.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise TypeError("images: expected a list of images; for a single one: [image]")
        was_training = self.training
        self.eval()
        try:
            with no_grad():
                return [
                    detections
                    for start in range(0, len(images), batch_size)
                    for detections in self._predict(images[start : start + batch_size])
                ]
        finally:
            self.train(was_training)

    def _predict(self, images: Sequence[np.ndarray]) -> list[Detections]:
        batch = self.prepare(images)
        with unchecked():
            instances, _ = self.forward(batch)
        return [self.to_image(f, t) for f, t in zip(instances, batch.transforms, strict=True)]

    @stage("box results")
    def to_image(self, instances: Instances, transform: ImageTransform) -> Detections:
        """Objects in the network's input as detections in the image as given."""
        keypoints = instances.keypoints
        detections = Detections(
            boxes=transform.to_image(instances.boxes),
            mask_boxes=self.mask_boxes(instances, transform),
            labels=instances.labels,
            scores=instances.scores,
            mask_probs=instances.mask_probs,
            keypoints=None if keypoints is None else transform.keypoints_to_image(keypoints),
            skeleton=self.skeleton,
            image_size=transform.original,
            classes=self.found_classes,
            paste=self.convention.paste,
        )
        if self.convention.detection_boxes == "whole":
            detections = in_whole_pixels(detections)
        for name in ("boxes", "labels", "scores"):
            record(f"out/{name}", getattr(detections, name))
        if instances.mask_probs is not None:
            record("out/masks", lambda: detections.soft_masks[:, None])
        if detections.keypoints is not None:
            record("out/keypoints", detections.keypoints)
        return detections

    @property
    def found_classes(self) -> tuple[str, ...]:
        """The names that the labels of detections count."""
        return self.classes

    def mask_boxes(self, instances: Instances, transform: ImageTransform) -> np.ndarray | None:
        """Where in the image each mask lies, if not in the object's box."""
        return None

    @stage("image transform")
    def prepare(
        self, images: Sequence[np.ndarray], rng: np.random.Generator | None = None
    ) -> Batch:
        """Images as the network takes them; with `rng`, at one of the training sizes."""
        size = input_size(self.min_size, rng)
        like = next(self.parameters()).data
        batch = make_batch(images, size, self.max_size, self.convention, like=like)
        record("transform/batch", batch)
        record("transform/image", batch.images)
        return batch

    def losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        rng: np.random.Generator,
        samples: RecordedSampling | None = None,
    ) -> dict[str, Tensor]:
        """What training minimizes the sum of.

        Args:
            images: uint8 arrays (H, W, 3) of any sizes.
            targets: the objects of each image; none at all is fine.
            rng: draws what to learn from, where a detector learns from samples.
            samples: recorded draws, to repeat a step exactly; then `rng` is not used for them.

        Returns:
            Scalars by name, loss_...
        """
        self.check_targets(images, targets)
        with unchecked():
            batch, targets = self.prepare_training(images, targets, rng)
            return self.forward(batch, targets, rng, samples)[1]

    def prepare_training(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], rng: np.random.Generator
    ) -> tuple[Batch, list[Target]]:
        """Images and targets as the network takes them."""
        batch = self.prepare(images, rng)
        resized = [
            resize_target(target, transform, batch.shape, self.convention)
            for target, transform in zip(targets, batch.transforms, strict=True)
        ]
        record("transform/targets", resized)
        return batch, resized

    def check_targets(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], *, heads: bool = True
    ) -> None:
        """Whether training can learn from these targets; `heads`: also what only heads ask for.

        Raises:
            ValueError: they do not fit the images or the model; names which and why.
        """
        if len(images) != len(targets):
            raise ValueError(f"losses: {len(images)} images, but {len(targets)} targets")
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            check_target(target, image, len(self.classes), f"targets[{i}]")
            if heads:
                self.check_heads(target, f"targets[{i}]")

    @property
    def needs(self) -> tuple[str, ...]:
        """What the losses ask of targets besides boxes and labels: names of `Target`'s fields."""
        return ()

    def check_heads(self, target: Target, name: str) -> None:
        """Whether a target has what the losses ask for besides boxes and labels.

        Raises:
            ValueError: it does not; `name` is for the message.
        """

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every array a prediction computes on the way, by name, in that order.

        They are what the model says with `record`; of decisions it also records objects, which
        are left out here (`det/candidates` and the like).
        """
        with hooked(Recorder()) as recorder:
            self.predict([image])
        yield from arrays_of(recorder)


def in_whole_pixels(detections: Detections) -> Detections:
    """Detections with boxes rounded to whole pixels, without those that are then empty."""
    boxes = np.around(detections.boxes)
    rounded = replace(detections, boxes=boxes)
    large = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return rounded if large.all() else rounded.keep(large)


def arrays_of(recorder: Recorder) -> Iterator[tuple[str, np.ndarray]]:
    """What a recorded pass over one image computed, without the decisions that are no arrays."""
    for name, value in recorder.entries:
        value = value[0] if isinstance(value, list) else value  # of each image: there is one
        value = value.data if isinstance(value, Tensor) else value
        if hasattr(value, "dtype"):
            yield name, download(value, name)
