"""RetinaNet (Lin et al. 2017): one stage, which judges every anchor of every level for good.

Letters: N images, A anchors per cell, B anchors of all levels of an image, K classes as the network
counts them (its class 0 is never learned), R objects, H W height and width of a feature map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask import boxes as box_ops
from minimask.autograd import Tensor
from minimask.autograd.arrays import Array, array_module, sigmoid
from minimask.autograd.hooks import record, stage
from minimask.conventions import Convention, check_choice
from minimask.data.sample import Target
from minimask.kernels.nms import batched_nms
from minimask.models.anchor_matching import match_anchors
from minimask.models.anchors import AnchorGenerator, Anchors
from minimask.models.backbone import Backbone, check_backbone
from minimask.models.detections import Instances
from minimask.models.detector import Detector
from minimask.models.matcher import Matcher, RecordedSampling
from minimask.models.retina_head import BOX_LOSSES, RetinaHead, box_loss, focal_loss
from minimask.models.rpn import flatten_level, flatten_levels
from minimask.models.transform import Batch, ImageTransform
from minimask.nn import Module
from minimask.system.device import download, upload

FIRST_LABEL = 1  # the network's index of label 0


@dataclass(frozen=True)
class AnchorCandidates:
    """What an image's detections are chosen from, as `record("det/candidates", ...)` hands it out.

    A candidate (there are E) is a pair of anchor and class above the score threshold, and among the
    best of its level.
    """

    probabilities: np.ndarray  # (B, K - 1) of every anchor and class
    anchor: np.ndarray  # (E,) counted over all levels
    labels: np.ndarray  # (E,)
    scores: np.ndarray  # (E,)
    boxes: np.ndarray  # (E, 4) after regression, clipped
    kept: np.ndarray  # indices of the candidates that survive NMS, best first, before the limit


class RetinaNet(Detector):
    """RetinaNet: feature pyramid, and two heads that say of every anchor what it is and where."""

    background_class = None  # classes do not compete, so none of them stands for nothing

    def __init__(
        self,
        backbone: Module,
        anchor_generator: AnchorGenerator,
        head: RetinaHead,
        *,
        classes: Sequence[str],
        convention: Convention,
        fg_iou_thresh: float = 0.5,  # RetinaNet, section 4: anchors
        bg_iou_thresh: float = 0.4,
        score_thresh: float = 0.05,  # section 4.1: inference
        nms_thresh: float = 0.5,
        detections_per_img: int = 300,  # torchvision's
        topk_candidates: int = 1000,  # section 4.1: of each level
        box_loss: str = "l1",  # see `retina_head.box_loss`
        box_loss_beta: float = 1.0,
        focal_alpha: float = 0.25,  # section 5.1
        focal_gamma: float = 2.0,
        **shared: Any,
    ):
        """Put the parts together; `minimask.models.build` and its relatives make them.

        Args:
            backbone: images to feature maps, see `minimask.models.backbone`.
            anchor_generator: of all maps.
            head: feature maps to class scores and boxes.
            classes: names of the classes.
            convention: whose choices to follow.
            fg_iou_thresh: an anchor that overlaps an object by this stands for it.
            bg_iou_thresh: one that overlaps none by this stands for nothing.
            score_thresh: of candidates.
            nms_thresh: candidates that overlap a better one of their class more than this go.
            detections_per_img: how many are left at most.
            topk_candidates: of each level that go into suppression.
            box_loss: what the boxes learn from: "l1", "smooth_l1" or "giou".
            box_loss_beta: smooth L1 is quadratic below this.
            focal_alpha: weight of objects in the class loss.
            focal_gamma: how fast it fades for what is right already.
            **shared: `min_size`, `max_size`, `config`, see `Detector`.
        """
        check_choice("box_loss", box_loss, BOX_LOSSES)
        if not isinstance(backbone, Backbone):
            check_backbone(backbone, maps=len(anchor_generator.cells))
        super().__init__(backbone, classes=classes, convention=convention, **shared)
        self.anchor_generator, self.head = anchor_generator, head
        self.matcher = Matcher(fg_iou_thresh, bg_iou_thresh, convention.rpn_best_iou_min)
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img, self.topk_candidates = detections_per_img, topk_candidates
        self.box_weights, self.delta_clamp = convention.rpn_box_weights, convention.delta_clamp
        self.box_loss, self.box_loss_beta = box_loss, box_loss_beta
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.seal()

    def where_else(self, name: str) -> str:
        """Options of the factory have "box_" before what is of the selection."""
        inner = name.removeprefix("box_")
        return f"; what you want is model.{inner}" if hasattr(self, inner) else ""

    def forward(
        self,
        batch: Batch,
        targets: Sequence[Target] | None = None,
        rng: np.random.Generator | None = None,
        samples: RecordedSampling | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Of each image its objects; with targets, loss_classifier and loss_box_reg instead.

        Nothing is drawn: every anchor is learned from.
        """
        pyramid = self.backbone(Tensor(batch.images))
        logits, deltas = self.head(pyramid)
        for i, (level_logits, level_deltas) in enumerate(zip(logits, deltas, strict=True)):
            record(f"head/cls_logits/{i}", level_logits)
            record(f"head/bbox_reg/{i}", level_deltas)
        shapes = [level.shape[2:] for level in pyramid]
        anchors = self.anchor_generator(shapes, batch.shape, like=pyramid[0].data)
        record("head/anchors", anchors.on_cpu)
        if targets is not None:
            return [], self.anchor_losses(logits, deltas, anchors, targets)
        return self.detect(logits, deltas, anchors, batch.transforms), {}

    def anchor_losses(
        self,
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Anchors,
        targets: Sequence[Target],
    ) -> dict[str, Tensor]:
        """loss_classifier and loss_box_reg of all anchors."""
        with stage("anchors, matching"):
            matches = match_anchors(self.matcher, anchors.flat, [t.boxes for t in targets])
        record("head/matches", matches)
        labels = [np.asarray(t.labels, np.int64) + FIRST_LABEL for t in targets]
        classification = focal_loss(
            flatten_levels(logits, logits[0].shape[1] // self.anchor_generator.per_cell),
            matches,
            labels,
            alpha=self.focal_alpha,
            gamma=self.focal_gamma,
        )
        box_reg = box_loss(
            flatten_levels(deltas, 4),
            anchors.on_cpu,
            matches,
            [t.boxes for t in targets],
            kind=self.box_loss,
            beta=self.box_loss_beta,
            box_weights=self.box_weights,
        )
        return {"loss_classifier": classification, "loss_box_reg": box_reg}

    @stage("box results")
    def detect(
        self,
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        anchors: Anchors,
        transforms: Sequence[ImageTransform],
    ) -> list[Instances]:
        """The best candidates of each level, moved, clipped, and without duplicates."""
        found, candidates = [], []
        starts = np.cumsum([0, *(len(level) for level in anchors.levels)])
        for n, transform in enumerate(transforms):
            parts = [
                self.best_of_level(level.data[n], level_deltas.data[n])
                for level, level_deltas in zip(logits, deltas, strict=True)
            ]
            anchor = np.concatenate([p[0] + s for p, s in zip(parts, starts[:-1], strict=True)])
            labels, scores, moves = (np.concatenate([p[i] for p in parts]) for i in (1, 2, 3))
            origins = anchors.on_cpu[anchor]
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dropped
                boxes = box_ops.decode(moves, origins, self.box_weights, self.delta_clamp)
            boxes = transform.clip(boxes)
            finite = np.flatnonzero(np.isfinite(boxes).all(axis=1))
            kept = batched_nms(boxes[finite], scores[finite], labels[finite], self.nms_thresh)
            kept = finite[kept]
            candidates.append((anchor, labels, scores, boxes, kept))
            k = kept[: self.detections_per_img]
            found.append(Instances(boxes[k], labels[k], scores[k], origins[k]))
        record(
            "det/candidates",
            lambda: [
                AnchorCandidates(self.probabilities(logits, n), *c)
                for n, c in enumerate(candidates)
            ],
        )
        for name in ("boxes", "labels", "scores"):
            record(f"det/{name}", [getattr(instances, name) for instances in found])
        return found

    def best_of_level(
        self, logits: Array, deltas: Array
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The candidates of one level of one image: at most `topk_candidates`, on the CPU.

        Args:
            logits: (A K, H, W).
            deltas: (4 A, H, W).

        Returns:
            Of each candidate its anchor in the level, its label, its score and its deltas.
        """
        xp = array_module(logits)
        a, (_, h, w) = self.anchor_generator.per_cell, logits.shape
        known = logits.reshape(a, -1, h, w)[:, FIRST_LABEL:]
        above = known > lowest_logit(self.score_thresh)  # without a sigmoid of all
        at = download(xp.flatnonzero(above), "candidates")
        scores = download(sigmoid(known[above]), "scores")
        above_thresh = scores > self.score_thresh
        at, scores = at[above_thresh], scores[above_thresh]
        cell, label, y, x = np.unravel_index(at, known.shape)
        anchor = (y * w + x) * a + cell
        best = best_first(scores, anchor * known.shape[1] + label, self.topk_candidates)
        anchor, label, cell, y, x = (part[best] for part in (anchor, label, cell, y, x))
        index = (upload(part, deltas, "candidates") for part in (cell, y, x))
        c, i, j = index
        moves = deltas.reshape(a, 4, h, w)[c, :, i, j]
        return anchor, label.astype(np.int64), scores[best], download(moves, "deltas")

    def probabilities(self, logits: Sequence[Tensor], image: int) -> np.ndarray:
        """Of every anchor of one image and every class: (B, K - 1)."""
        per_cell = self.anchor_generator.per_cell
        levels = [
            sigmoid(flatten_level(level.data[image : image + 1], level.shape[1] // per_cell))
            for level in logits
        ]
        return np.concatenate([download(p[0, :, FIRST_LABEL:], "probabilities") for p in levels])

    def stages(self, image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every array a prediction computes on the way, by name, in that order.

        transform/image, body/0 .. 3 (C2 .. C5), fpn/0 .. 4 (P3 .. P7), head/cls_logits/i and
        head/bbox_reg/i per level, head/anchors, det/boxes, det/labels, det/scores (in the network's
        input), and out/..., the same in the image.
        """
        return super().stages(image)


def lowest_logit(probability: float) -> float:
    """A logit surely below all whose sigmoid is above `probability`, rounding included."""
    if probability <= 0:
        return -math.inf
    if probability >= 1:
        return math.inf
    return math.log(probability / (1 - probability)) - 1e-3


def best_first(scores: np.ndarray, order: np.ndarray, limit: int) -> np.ndarray:
    """Indices of the `limit` largest scores, largest first; in a tie the lower `order` comes first.

    scores (E,), order (E,) -> (limit or fewer,) int64
    """
    index = np.arange(len(scores))
    if len(scores) > limit:  # all above the last one that is in, and those equal to it
        least = scores[np.argpartition(-scores, limit - 1)[limit - 1]]
        index = np.flatnonzero(scores >= least)
    return index[np.lexsort((order[index], -scores[index]))][:limit]
