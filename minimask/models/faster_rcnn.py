"""Faster R-CNN with a feature pyramid: boxes and classes, and what Mask R-CNN builds on.

Letters: N images, R regions of all images, K classes with background, H W of the padded input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.autograd.arrays import array_module
from minimask.autograd.hooks import stage
from minimask.conventions import Convention
from minimask.kernels.dispatch import unchecked
from minimask.models import box_head, learning
from minimask.models.box_head import BoxBranch, Found
from minimask.models.detections import Detections, Target
from minimask.models.fpn import Backbone, OneLevel
from minimask.models.learning import Lesson
from minimask.models.roi_pooling import as_rois, pool_regions
from minimask.models.rpn import RPN
from minimask.models.sampling import Samples
from minimask.models.trace import trace
from minimask.models.transform import Batch, Frame, check_target, make_batch
from minimask.nn import Module
from minimask.system.device import download

POOLED_LEVELS = 4  # P6 serves the proposals only (FPN, section 4.2)


class FasterRCNN(Module):
    """Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017)."""

    def __init__(
        self,
        backbone: Backbone | OneLevel,
        rpn: RPN,
        roi_heads: BoxBranch,
        *,
        classes: Sequence[str],
        convention: Convention,
        min_size: int | Sequence[int] | None = 800,  # FPN, section 5
        max_size: int | None = 1333,
        config: dict[str, Any] | None = None,
    ):
        """Put the parts together; `minimask.models.build` and its relatives make them.

        Args:
            backbone: images to pyramid.
            rpn: pyramid to proposals.
            roi_heads: regions to objects.
            classes: names of the classes, without background.
            convention: every choice the papers leave open.
            min_size: images are resized so that their short side has this many pixels; of several
                sizes training draws one, and prediction takes the last; None keeps the size.
            max_size: limit of the long side after resizing; None for none.
            config: what `minimask.models.build` needs to make this model again.
        """
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.classes = tuple(classes)
        self.convention = convention
        self.min_size = min_size
        self.max_size = max_size
        self.config = dict(config or {})

    def forward(self, images: Tensor, frames: Sequence[Frame]) -> list[Found]:
        """(N, 3, H, W) -> for each image its objects, in pixels of the network's input."""
        pyramid = self.backbone(images)
        proposals = self.rpn(pyramid, frames, images.shape[2:])
        return self.find_objects(pyramid, proposals, frames, images.shape[2])

    def find_objects(
        self,
        pyramid: Sequence[Tensor],
        proposals: Sequence[np.ndarray],
        frames: Sequence[Frame],
        image_height: int,
    ) -> list[Found]:
        """The second stage: classify each proposal and correct its box."""
        rois = as_rois(proposals)
        if len(rois) == 0:
            return [box_head.nothing_found()] * len(frames)
        logits, deltas = self.roi_heads.box_predictor(
            self.roi_heads.box_head(self.pool_boxes(pyramid, rois, image_height))
        )
        said = download(
            array_module(logits.data).concatenate([logits.data, deltas.data], 1), "boxes"
        )
        logits_of, deltas_of = np.split(said, [logits.shape[1]], axis=1)
        return box_head.find_objects(logits_of, deltas_of, proposals, frames, self.convention)

    @stage("RoI pooling, box")
    def pool_boxes(self, pyramid: Sequence[Tensor], rois: np.ndarray, image_height: int) -> Tensor:
        """Features of each region for the box head: (R, 5) -> (R, C, 7, 7)."""
        levels = pyramid[:POOLED_LEVELS]
        return pool_regions(levels, rois, self.roi_heads.pooled_size, image_height, self.convention)

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
            found = self.forward(Tensor(batch.images), batch.frames)
        return [self.to_image(f, frame) for f, frame in zip(found, batch.frames, strict=True)]

    @stage("box results")
    def to_image(self, found: Found, frame: Frame) -> Detections:
        """Objects in the network's input as detections in the image as given."""
        elsewhere = self.convention.mask_on == "proposals"
        return Detections(
            boxes=frame.to_image(found.boxes),
            mask_boxes=frame.to_image(found.proposals) if elsewhere else None,
            labels=found.labels,
            scores=found.scores,
            mask_probs=found.masks,
            image_size=frame.original,
            classes=self.classes,
            paste=self.convention.paste,
        )

    @stage("image transform")
    def prepare(
        self, images: Sequence[np.ndarray], rng: np.random.Generator | None = None
    ) -> Batch:
        """Images as the network takes them; with `rng`, at one of the training sizes."""
        size = self.min_size
        if isinstance(size, Sequence):
            size = size[-1] if rng is None else int(rng.choice(np.asarray(size)))
        like = next(self.parameters()).data
        return make_batch(images, size, self.max_size, self.convention, like=like)

    def losses(
        self,
        images: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        rng: np.random.Generator,
        samples: Samples | None = None,
    ) -> dict[str, Tensor]:
        """What training minimizes the sum of.

        Args:
            images: uint8 arrays (H, W, 3) of any sizes.
            targets: the objects of each image; none at all is fine.
            rng: draws the anchors and regions to learn from.
            samples: recorded draws, to repeat a step exactly; then `rng` is not used for them.

        Returns:
            Scalars: loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg; of Mask
            R-CNN, whose targets need masks, also loss_mask.
        """
        self.check_targets(images, targets)
        with unchecked():
            return self._losses(learning.begin(self, images, targets, rng), rng, samples)

    def _losses(
        self, lesson: Lesson, rng: np.random.Generator, samples: Samples | None
    ) -> dict[str, Tensor]:
        losses, proposals = learning.first_stage(self, lesson, rng, samples)
        return losses | self._region_losses(lesson, proposals, rng, samples)

    def _region_losses(
        self,
        lesson: Lesson,
        proposals: Sequence[np.ndarray],
        rng: np.random.Generator,
        samples: Samples | None = None,
    ) -> dict[str, Tensor]:
        return learning.second_stage(self, lesson, proposals, rng, samples)[0]

    def check_targets(self, images: Sequence[np.ndarray], targets: Sequence[Target]) -> None:
        """Whether training can learn from these targets.

        Raises:
            ValueError: they do not fit the images or the model; names which and why.
        """
        if len(images) != len(targets):
            raise ValueError(f"losses: {len(images)} images, but {len(targets)} targets")
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            check_target(target, image, len(self.classes), f"targets[{i}]")

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
        FasterRCNN.check_targets(self, images, targets)  # proposals are learned without masks
        with unchecked():
            lesson = learning.begin(self, images, targets, rng)
            return learning.first_stage(self, lesson, rng)[0]

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
            rng: draws the regions to learn from.

        Returns:
            loss_classifier and loss_box_reg, of Mask R-CNN also loss_mask.
        """
        self.check_targets(images, targets)
        if len(proposals) != len(images):
            raise ValueError(f"proposals: of {len(proposals)} images, but there are {len(images)}")
        with unchecked():
            lesson = learning.begin(self, images, targets, rng)
            frames = lesson.batch.frames
            there = [f.to_network(p) for f, p in zip(frames, proposals, strict=True)]
            return self._region_losses(lesson, there, rng)

    def propose(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The proposals of each image, (R, 4) in its pixels, as many as in training."""
        with no_grad(), unchecked():
            batch = self.prepare(images)
            pyramid = self.backbone(Tensor(batch.images))
            objectness, deltas = self.rpn.head(pyramid)
            shapes = [level.shape[2:] for level in pyramid]
            anchors = self.rpn.anchors(shapes, batch.shape, like=pyramid[0].data)
            made = self.rpn.propose(objectness, deltas, anchors, batch.frames, training=True)
        return [f.to_image(boxes) for f, (boxes, _) in zip(batch.frames, made, strict=True)]

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every intermediate of a prediction, by name, in the order it is computed.

        Names are those of the figure's boxes: transform/image, body/0 .. 3 (C2 .. C5), fpn/0 .. 3
        and fpn/pool (P2 .. P6; without a pyramid one map, neck), rpn/objectness/i and
        rpn/deltas/i per level, rpn/anchors, rpn/proposals, rpn/scores, box/pooled, box/features,
        box/cls_logits, box/deltas, det/boxes, det/labels, det/scores (in the network's input),
        and out/..., the same in the image.
        Mask R-CNN adds mask/pooled, mask/features, mask/logits and out/masks, (R, 1, H, W) soft.
        """
        was_training = self.training
        self.eval()
        steps = trace(self, image)
        try:
            while True:
                with no_grad():  # left before each yield: the caller's code records as it likes
                    step = next(steps, None)
                if step is None:
                    return
                yield step[0], download(step[1], step[0])
        finally:
            self.train(was_training)
