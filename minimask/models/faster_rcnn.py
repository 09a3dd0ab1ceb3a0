"""Faster R-CNN: backbone, first stage, second stage, in this order, for prediction and training.

Mask R-CNN is the same network with a mask head among its `roi_heads`.

Letters: N images, R objects or RoIs, H W of the padded input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.autograd.hooks import Recorder, hooked, record, stage
from minimask.conventions import Convention
from minimask.data.sample import Target, check_target
from minimask.data.skeleton import Skeleton
from minimask.kernels.dispatch import unchecked
from minimask.models.backbone import Backbone, check_backbone
from minimask.models.detections import Detections, Instances
from minimask.models.matcher import RecordedSampling
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN
from minimask.models.sealed import Sealed
from minimask.models.transform import Batch, ImageTransform, make_batch, resize_target
from minimask.nn import Module
from minimask.system.device import download


class FasterRCNN(Sealed):
    """Faster R-CNN (Ren et al. 2015), usually with a feature pyramid (Lin et al. 2017)."""

    def __init__(
        self,
        backbone: Module,
        rpn: RPN,
        roi_heads: RoIHeads,
        *,
        classes: Sequence[str],
        convention: Convention,
        min_size: int | Sequence[int] | None = 800,  # FPN, section 5
        max_size: int | None = 1333,
        config: dict[str, Any] | None = None,
        skeleton: Skeleton | None = None,
    ):
        """Put the parts together; `minimask.models.build` and its relatives make them.

        Args:
            backbone: images to feature maps, see `minimask.models.backbone`.
            rpn: feature maps to proposals.
            roi_heads: proposals to objects.
            classes: names of the classes, without background.
            convention: how images are prepared and masks are pasted; what else it says, the parts
                took when they were made.
            min_size: images are resized so that their short side has this many pixels; of several
                sizes training draws one, and prediction takes the last; None keeps the size.
            max_size: limit of the long side after resizing; None for none.
            config: what `minimask.models.build` needs to make this model again.
            skeleton: what the keypoints are that the `roi_heads` find, if they find any.
        """
        if not isinstance(backbone, Backbone):
            check_backbone(backbone, maps=len(rpn.anchor_generator.cells))
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.classes = tuple(classes)
        self._convention = convention
        self.min_size = min_size
        self.max_size = max_size
        self.skeleton = skeleton
        self.config = dict(config or {})
        self.seal()

    @property
    def convention(self) -> Convention:
        """The choices the model was built with.  They are read-only: parts hold copies."""
        return self._convention

    @convention.setter
    def convention(self, value: Convention) -> None:
        raise AttributeError(
            "model.convention cannot be changed, as the parts took their values from it when the "
            "model was built: build another with convention=..., or set the part's own attribute, "
            "e.g. model.roi_heads.score_thresh = 0.5"
        )

    def where_else(self, name: str) -> str:
        """Options of the factory belong to a part: `rpn_nms_thresh` is `model.rpn.nms_thresh`."""
        for part, prefixes in (("rpn", ("rpn_",)), ("roi_heads", ("box_", ""))):
            for prefix in prefixes:
                inner = name.removeprefix(prefix)
                if name.startswith(prefix) and hasattr(getattr(self, part), inner):
                    return f"; what you want is model.{part}.{inner}"
        return ""

    def forward(
        self,
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Of each image its objects; with targets (in the network's input), the losses instead."""
        pyramid = self.backbone(Tensor(batch.images))
        proposals, rpn_losses = self.rpn(pyramid, batch, targets, rng, samples)
        instances, roi_losses = self.roi_heads(pyramid, proposals, batch, targets, rng, samples)
        return instances, rpn_losses | roi_losses

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
        elsewhere, found = self.roi_heads.mask_on == "proposals", instances.keypoints
        detections = Detections(
            boxes=transform.to_image(instances.boxes),
            mask_boxes=transform.to_image(instances.proposals) if elsewhere else None,
            labels=instances.labels,
            scores=instances.scores,
            mask_probs=instances.mask_probs,
            keypoints=transform.keypoints_to_image(found) if found is not None else None,
            skeleton=self.skeleton,
            image_size=transform.original,
            classes=self.classes,
            paste=self.convention.paste,
        )
        for name in ("boxes", "labels", "scores"):
            record(f"out/{name}", getattr(detections, name))
        if instances.mask_probs is not None:
            record("out/masks", lambda: detections.soft_masks[:, None])
        if detections.keypoints is not None:
            record("out/keypoints", detections.keypoints)
        return detections

    @stage("image transform")
    def prepare(
        self, images: Sequence[np.ndarray], rng: np.random.Generator | None = None
    ) -> Batch:
        """Images as the network takes them; with `rng`, at one of the training sizes."""
        size = self.min_size
        if isinstance(size, Sequence):
            size = size[-1] if rng is None else int(rng.choice(np.asarray(size)))
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
            rng: draws the anchors and RoIs to learn from.
            samples: recorded draws, to repeat a step exactly; then `rng` is not used for them.

        Returns:
            Scalars: loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg; of Mask
            R-CNN, whose targets need masks, also loss_mask; with keypoints also loss_keypoint.
        """
        self.check_targets(images, targets)
        with unchecked():
            batch, targets = self._prepare_training(images, targets, rng)
            return self.forward(batch, targets, rng, samples)[1]

    def _prepare_training(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], rng: np.random.Generator
    ) -> tuple[Batch, list[Target]]:
        """Images and targets as the network takes them."""
        batch = self.prepare(images, rng)
        resized = [
            resize_target(target, transform, batch.shape)
            for target, transform in zip(targets, batch.transforms, strict=True)
        ]
        record("transform/targets", resized)
        return batch, resized

    def check_targets(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], *, heads: bool = True
    ) -> None:
        """Whether training can learn from these targets; `heads`: also those of the second stage.

        Raises:
            ValueError: they do not fit the images or the model; names which and why.
        """
        if len(images) != len(targets):
            raise ValueError(f"losses: {len(images)} images, but {len(targets)} targets")
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            check_target(target, image, len(self.classes), f"targets[{i}]")
            if heads:
                self.roi_heads.check_target(target, f"targets[{i}]")

    def proposal_losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """The losses of the first stage alone, for training in turns (Faster R-CNN, section 3.2).

        Arguments as for `losses`; returns loss_objectness and loss_rpn_box_reg.
        """
        self.check_targets(images, targets, heads=False)
        with unchecked():
            batch, targets = self._prepare_training(images, targets, rng)
            return self.rpn(self.backbone(Tensor(batch.images)), batch, targets, rng)[1]

    def region_losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        proposals: Sequence[np.ndarray],
        *,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """The losses of the second stage alone, on proposals from elsewhere.

        Args:
            images: as for `losses`.
            targets: as for `losses`.
            proposals: for each image (R, 4) in its pixels, as `propose` gives them.
            rng: draws the RoIs to learn from.

        Returns:
            loss_classifier and loss_box_reg, loss_mask and loss_keypoint of what the model has.
        """
        self.check_targets(images, targets)
        if len(proposals) != len(images):
            raise ValueError(f"proposals: of {len(proposals)} images, but there are {len(images)}")
        with unchecked():
            batch, targets = self._prepare_training(images, targets, rng)
            pyramid = self.backbone(Tensor(batch.images))
            resized = [t.to_network(p) for t, p in zip(batch.transforms, proposals, strict=True)]
            return self.roi_heads(pyramid, resized, batch, targets, rng)[1]

    def propose(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The proposals of each image, (R, 4) in its pixels, as many as in training."""
        with no_grad(), unchecked():
            batch = self.prepare(images)
            proposals, _ = self.rpn(self.backbone(Tensor(batch.images)), batch, training=True)
        return [t.to_image(p) for t, p in zip(batch.transforms, proposals, strict=True)]

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every array a prediction computes on the way, by name, in that order.

        Names are those of the figure's boxes: transform/image, body/0 .. 3 (C2 .. C5), fpn/0 .. 3
        and fpn/pool (P2 .. P6; without a pyramid one map, neck), rpn/objectness/i and
        rpn/deltas/i per level, rpn/anchors, rpn/proposals, rpn/scores, box/pooled, box/features,
        box/cls_logits, box/deltas, det/boxes, det/labels, det/scores (in the network's input),
        and out/..., the same in the image.
        Mask R-CNN adds mask/pooled, mask/features, mask/logits and out/masks, (R, 1, H, W) soft;
        a keypoint head the same of keypoint/..., and out/keypoints, (R, P, 3) with scores.

        They are what the model says with `record`; of decisions it also records objects, which
        are left out here (`rpn/filter`, `det/candidates`).
        """
        with hooked(Recorder()) as recorder:
            self.predict([image])
        yield from arrays_of(recorder)


def arrays_of(recorder: Recorder) -> Iterator[tuple[str, np.ndarray]]:
    """What a recorded pass over one image computed, without the decisions that are no arrays."""
    for name, value in recorder.entries:
        value = value[0] if isinstance(value, list) else value  # of each image: there is one
        value = value.data if isinstance(value, Tensor) else value
        if hasattr(value, "dtype"):
            yield name, download(value, name)
