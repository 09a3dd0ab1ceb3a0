"""The region proposal network (Ren et al. 2015): where might there be an object?

The first stage whole: its head, what each anchor is to learn, the losses; `proposals.py` filters.

Letters: N images, A anchors per cell, B anchors of all levels of an image, R proposals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimask import boxes as box_ops
from minimask import functional as F
from minimask.autograd import Tensor, ops, zero_like
from minimask.autograd.arrays import Array, array_module
from minimask.autograd.hooks import record, stage
from minimask.conventions import TORCHVISION, Convention
from minimask.data.sample import Target
from minimask.models.anchor_matching import anchors_inside, match_anchors
from minimask.models.anchors import AnchorGenerator, Anchors
from minimask.models.box_corners import to_edges
from minimask.models.conv_layer import ConvLayer
from minimask.models.initialization import conv, small_normal
from minimask.models.matcher import BalancedSampler, Matcher, RecordedSampling, spare_crowds
from minimask.models.moving_targets import Origins
from minimask.models.proposals import Four, filter_proposals
from minimask.models.sealed import Sealed
from minimask.models.transform import Batch, ImageTransform
from minimask.nn import Module, Sequential
from minimask.system.device import upload

# Of every level objectness logits (N, A, H, W) and deltas (N, 4 A, H, W); the anchors
RPNOutput = tuple[list[Tensor], list[Tensor], Anchors]


class RPNHead(Module):
    """One small network that slides over every level of the pyramid."""

    def __init__(
        self,
        channels: int,
        anchors_per_cell: int,
        rng: np.random.Generator,
        *,
        depth: int = 1,
        width: int | None = None,  # channels of its own convolutions; None: the pyramid's
    ):
        a, width = anchors_per_cell, channels if width is None else width
        self.conv = Sequential(
            *(
                ConvLayer(before, width, 3, rng, draw=small_normal)
                for before in (channels, *[width] * (depth - 1))
            )
        )
        self.cls_logits = conv(width, a, 1, rng, draw=small_normal)
        self.bbox_pred = conv(width, 4 * a, 1, rng, draw=small_normal)

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level: objectness logits (N, A, H, W) and box deltas (N, 4 A, H, W)."""
        hidden = [self.conv(level) for level in pyramid]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


class RPN(Sealed):
    """The first stage: judge every anchor, keep the best that do not overlap."""

    def __init__(
        self,
        head: RPNHead,
        anchor_generator: AnchorGenerator,
        convention: Convention = TORCHVISION,
        *,
        fg_iou_thresh: float = 0.7,  # Faster R-CNN, section 3.1.2
        bg_iou_thresh: float = 0.3,
        batch_size_per_image: int = 256,  # section 3.1.3: anchors learned from
        positive_fraction: float = 0.5,
        pre_nms_top_n_train: int = 2000,  # of each level
        pre_nms_top_n_test: int = 1000,
        nms_thresh: float = 0.7,  # section 3.3
        score_thresh: float = 0.0,  # proposals must be as probable
        post_nms_top_n_train: int = 2000,  # of an image; Faster R-CNN, section 3.3
        post_nms_top_n_test: int = 1000,  # Mask R-CNN, section 3.1
    ):
        """Options of a factory are these names with `rpn_` before them."""
        self.head = head
        self.anchor_generator = anchor_generator
        taken = convention.best_box_is_taken
        self.matcher = Matcher(fg_iou_thresh, bg_iou_thresh, convention.rpn_best_iou_min, taken)
        self.border = convention.rpn_border
        self.sampler = BalancedSampler(batch_size_per_image, positive_fraction)
        self.pre_nms_top_n_train, self.pre_nms_top_n_test = pre_nms_top_n_train, pre_nms_top_n_test
        self.nms_thresh, self.score_thresh = nms_thresh, score_thresh
        self.post_nms_top_n_train = post_nms_top_n_train
        self.post_nms_top_n_test = post_nms_top_n_test
        self.min_size = convention.rpn_min_size
        self.box_weights = convention.rpn_box_weights
        self.delta_clamp = convention.delta_clamp
        self.per_level = convention.proposals_per_level
        self.corners, self.crowds = convention.box_corners, convention.crowds
        self.moving_targets = convention.moving_targets
        self.loss_divisor, self.loss_beta = convention.rpn_loss_divisor, convention.rpn_loss_beta
        self.seal()

    def forward(
        self,
        pyramid: Sequence[Tensor],
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
        *,
        training: bool = False,
    ) -> tuple[list[np.ndarray], dict[str, Tensor]]:
        """Judge every anchor; with targets, also say how wrong the judgements are.

        Args:
            pyramid: the feature maps, finest first.
            batch: the images they were computed from.
            targets: of each image the ground truth, in the network's input.
            rng: draws the anchors to learn from.
            samples: recorded draws instead.
            training: whether to keep as many proposals as in training; with targets it does.

        Returns:
            Of each image the proposals (R, 4) in the network's input, best first, on the CPU; and
            with targets loss_objectness and loss_rpn_box_reg.
        """
        return self.decide(self.judge(pyramid, batch), batch, targets, rng, samples, training)

    def decide(
        self,
        rpn_output: RPNOutput,
        batch: Batch,
        targets: Sequence[Target] | None,
        rng: np.random.Generator | None,
        samples: RecordedSampling | None,
        training: bool = False,
    ) -> tuple[list[np.ndarray], dict[str, Tensor]]:
        """What `forward` gives, from what `judge` gave."""
        objectness, deltas, anchors = rpn_output
        losses = {}
        if targets is not None:
            losses = self.losses(objectness, deltas, anchors, targets, batch, rng, samples)
        if samples is not None:
            return list(samples.proposals), losses
        training = training or targets is not None
        found = self.propose(objectness, deltas, anchors.levels, batch.transforms, training)
        return [boxes for boxes, _ in found], losses

    def judge(self, pyramid: Sequence[Tensor], batch: Batch) -> RPNOutput:
        """Of every level objectness logits (N, A, H, W) and deltas (N, 4 A, H, W); the anchors."""
        objectness, deltas = self.head(pyramid)
        for i, (level_logits, level_deltas) in enumerate(zip(objectness, deltas, strict=True)):
            record(f"rpn/objectness/{i}", level_logits)
            record(f"rpn/deltas/{i}", level_deltas)
        shapes = [level.shape[2:] for level in pyramid]
        anchors = self.anchor_generator(shapes, batch.shape, like=pyramid[0].data)
        record("rpn/anchors", anchors.on_cpu)
        return objectness, deltas, anchors

    def origins(self, rpn_output: RPNOutput, batch: Batch) -> list[Origins]:
        """Of each image what its proposals come from, for gradients that follow them."""
        _, deltas, anchors = rpn_output
        flat = flatten_levels(deltas, 4)
        how = self.box_weights, self.delta_clamp
        return [Origins(flat[n], anchors.on_cpu, t, *how) for n, t in enumerate(batch.transforms)]

    def losses(
        self,
        objectness: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Anchors,
        targets: Sequence[Target],
        batch: Batch,
        rng: np.random.Generator | None,
        samples: RecordedSampling | None = None,
    ) -> dict[str, Tensor]:
        """loss_objectness and loss_rpn_box_reg of sampled anchors.

        Anchors are compared with objects by their edges, also where all else counts pixels.
        """
        edges = anchors.edges
        gt_boxes = [to_edges(t.boxes, self.corners) for t in targets]
        asked = None
        if self.border is not None:
            asked = [anchors_inside(anchors.on_cpu, t, self.border) for t in batch.transforms]
        matches = self.match(anchors.flat if self.corners == "edges" else edges, gt_boxes, asked)
        if self.crowds == "ignored":
            matches = [
                m if t.crowds is None else spare_crowds(m, edges, to_edges(t.crowds, self.corners))
                for m, t in zip(matches, targets, strict=True)
            ]
        if samples is not None:
            sampled = list(zip(samples.anchors_positive, samples.anchors_negative, strict=True))
        else:
            assert rng is not None
            with stage("anchors, matching"):
                sampled = [self.sampler(m, rng) for m in matches]
        target_deltas = [
            anchor_targets(edges, positive, m, boxes, self.box_weights)
            for (positive, _), m, boxes in zip(sampled, matches, gt_boxes, strict=True)
        ]
        record("rpn/matches", matches)
        record("rpn/sampled", sampled)
        record("rpn/target_deltas", target_deltas)
        classification, box_reg = rpn_loss(
            flatten_levels(objectness, 1).reshape((len(targets), -1)),
            flatten_levels(deltas, 4),
            sampled,
            target_deltas,
            divisor=self.loss_divisor,
            beta=self.loss_beta,
            batch_size_per_image=self.sampler.batch_size_per_image,
        )
        return {"loss_objectness": classification, "loss_rpn_box_reg": box_reg}

    @stage("anchors, matching")
    def match(
        self,
        anchors: Array,
        gt_boxes: Sequence[np.ndarray],
        asked: Sequence[np.ndarray] | None = None,
    ) -> list[np.ndarray]:
        """The object of each anchor (B,) in each image, on the CPU, where chance decides."""
        return match_anchors(self.matcher, anchors, gt_boxes, asked)

    @stage("proposals")
    def propose(
        self,
        objectness: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Sequence[Array],
        transforms: Sequence[ImageTransform],
        training: bool = False,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each image the proposals (R, 4) and their scores (R,), best first, on the CPU.

        The levels and their anchors are where the network is.  No gradient flows through the
        coordinates (Faster R-CNN: approximate joint training).
        """
        logits = [flatten_level(level.data, 1)[:, :, 0] for level in objectness]
        flat_deltas = [flatten_level(level.data, 4) for level in deltas]
        anchors = list(anchors)
        if not self.per_level:
            xp = array_module(*anchors)
            logits, flat_deltas = [xp.concatenate(logits, 1)], [xp.concatenate(flat_deltas, 1)]
            anchors = [xp.concatenate(anchors)]
        found = filter_proposals(
            logits,
            flat_deltas,
            anchors,
            transforms,
            pre_nms_top_n=self.pre_nms_top_n_train if training else self.pre_nms_top_n_test,
            post_nms_top_n=self.post_nms_top_n_train if training else self.post_nms_top_n_test,
            nms_thresh=self.nms_thresh,
            score_thresh=self.score_thresh,
            min_size=self.min_size,
            box_weights=self.box_weights,
            delta_clamp=self.delta_clamp,
        )
        record("rpn/proposals", [boxes for boxes, _ in found])
        record("rpn/scores", [scores for _, scores in found])
        return found


def flatten_level(level: Array, values: int) -> Array:
    """(N, A * values, H, W) -> (N, H * W * A, values): the order of the anchors."""
    n, channels, h, w = level.shape
    level = level.reshape(n, channels // values, values, h, w)
    return level.transpose(0, 3, 4, 1, 2).reshape(n, -1, values)


@stage("RPN loss")
def flatten_levels(levels: Sequence[Tensor], values: int) -> Tensor:
    """All levels in one, with gradients: several (N, A * values, H, W) -> (N, B, values)."""
    flat = []
    for level in levels:
        n, channels, h, w = level.shape
        split = ops.reshape(level, (n, channels // values, values, h, w))
        flat.append(ops.reshape(ops.transpose(split, (0, 3, 4, 1, 2)), (n, -1, values)))
    return ops.concatenate(flat, axis=1)


@stage("anchors, matching")
def anchor_targets(
    anchors: np.ndarray,
    positive: np.ndarray,
    matches: np.ndarray,
    gt_boxes: np.ndarray,
    box_weights: Four = (1.0, 1.0, 1.0, 1.0),
) -> np.ndarray:
    """Regression targets: the deltas (positives, 4) from an image's positive anchors to objects.

    `anchors` (B, 4), `positive` their indices, `matches` (B,) the object of each among `gt_boxes`.
    """
    matched = gt_boxes[matches[positive]].astype(anchors.dtype)
    return box_ops.encode(matched, anchors[positive], box_weights).astype(np.float32, copy=False)


@stage("RPN loss")
def rpn_loss(
    objectness: Tensor,
    deltas: Tensor,
    sampled: Sequence[tuple[np.ndarray, np.ndarray]],
    target_deltas: Sequence[np.ndarray],
    *,
    divisor: str = "sampled",
    beta: float = 1 / 9,
    batch_size_per_image: int = 256,
) -> tuple[Tensor, Tensor]:
    """How wrong objectness and deltas of the sampled anchors are (Faster R-CNN, eq. 1).

    Args:
        objectness: (N, B) logits.
        deltas: (N, B, 4).
        sampled: per image the indices of the positive and negative anchors.
        target_deltas: per image the regression targets of its positive anchors, (positives, 4).
        divisor: what the sums are divided by, see `Convention.rpn_loss_divisor`.
        beta: smooth L1 is quadratic below this; 0 is L1.
        batch_size_per_image: the divisor of an image where that is "batch_size".

    Returns:
        Two scalars: binary cross-entropy, near ln 2 before training, and smooth L1.
    """
    positive, negative = (_with_image(which) for which in zip(*sampled, strict=True))
    index = np.concatenate([positive, negative], axis=1)  # (2, sampled): image, anchor
    count, positives = index.shape[1], positive.shape[1]
    if count == 0:
        return zero_like(objectness), zero_like(objectness)
    box_divisor = class_divisor = float(count)
    if divisor == "batch_size":
        box_divisor = class_divisor = float(batch_size_per_image * len(sampled))
    elif divisor == "positives":
        box_divisor = 4.0 * max(positives, 1)
    xp = array_module(objectness.data)
    image, anchor = upload(index, objectness.data, "sampled anchors")
    targets = upload(np.concatenate(target_deltas), objectness.data, "anchor targets")
    labels = (xp.arange(count) < positives).astype(objectness.dtype)
    pred_logits = objectness[image, anchor]
    pred_deltas = deltas[image[:positives], anchor[:positives]]
    return (
        F.binary_cross_entropy_with_logits(pred_logits, labels, reduction="sum") / class_divisor,
        F.smooth_l1(pred_deltas, targets, beta=beta) / box_divisor,
    )


def _with_image(per_image: Sequence[np.ndarray]) -> np.ndarray:
    """Indices of several images as pairs (image, index): (2, all of them)."""
    image_of = np.repeat(np.arange(len(per_image)), [len(index) for index in per_image])
    return np.stack([image_of, np.concatenate(per_image).astype(np.int64)])
