"""What a training step compares: sampled anchors, sampled regions, and their targets.

Letters: B anchors of all levels, R regions, G ground-truth objects, M side of a mask.
"""

from __future__ import annotations

import numpy as np

from minimask import boxes as box_ops
from minimask.models import mask_head, rpn
from minimask.models.matcher import BalancedSampler
from minimask.models.roi_heads import RoIHeads
from minimask.tools.textbook.trace.chapter_anchors import picture_in_training
from minimask.tools.textbook.trace.charts import GREEN, RED, bars, histogram
from minimask.tools.textbook.trace.context import TraceContext, most
from minimask.tools.textbook.trace.drawing import (
    NEGATIVE,
    POSITIVE,
    TRUTH,
    Sheet,
    exact,
    heat,
    photo,
    tiles,
)
from minimask.tools.textbook.trace.funnel import found_share
from minimask.tools.textbook.trace.record import TrainingStep
from minimask.tools.textbook.trace.steps import ArrayFacts, Picture, Step, Table

PART = "Training: what is compared"
SHOWN = 12  # regions with their masks
DELTAS = ("dx", "dy", "dw", "dh")


def steps(context: TraceContext) -> list[Step]:
    """The targets of a training step; none without ground-truth objects."""
    training = context.training
    if training is None:
        return []
    compared = [_anchors(context, training), _rois(context, training), _boxes(context, training)]
    if training.mask_targets is not None:
        compared.append(_masks(context, training))
    return compared


def _anchors(context: TraceContext, training: TrainingStep) -> Step:
    sampler, (positive, negative) = context.model.rpn.sampler, training.sampled_anchors
    anchors, target_deltas = training.anchors, training.anchor_targets

    def draw() -> list[Picture]:
        image = picture_in_training(context)
        sheet = Sheet(image, 0.6).boxes(anchors[most(negative, 128)], NEGATIVE, width=1)
        sheet.boxes(anchors[positive], POSITIVE, width=1).boxes(training.target.boxes, TRUTH)
        caption = "Sampled anchors: positive (green), negative (red); white: the objects."
        return [photo(sheet.pixels, caption), *_delta_charts(target_deltas)]

    return Step(
        key="rpn-targets",
        part=PART,
        title="Sampled anchors and the targets of the first stage",
        words=("ground truth p* and t*", "training targets of the RPN"),
        paper="Faster R-CNN, section 3.1.3",
        text=(
            f"Of all anchors {sampler.batch_size_per_image} are drawn by chance, at most "
            f"{sampler.positive_fraction:.0%} of them positive; without that, the many negatives "
            "would drown the few positives. Positive ones are to say the deltas that lead to "
            "their object.",
        ),
        formula=("t*x = (x* − xa) / wa,  t*w = log(w* / wa)",),
        functions=(BalancedSampler.__call__, rpn.anchor_targets, box_ops.encode),
        arrays={
            "train/anchors_positive": positive,
            "train/anchors_negative": negative,
            "train/anchor_targets": target_deltas,
        },
        facts=(
            (
                "positive anchors, drawn of all",
                f"{len(positive)} of {(training.matches >= 0).sum()}",
            ),
            (
                "negative anchors, drawn of all",
                f"{len(negative)} of {(training.matches == -1).sum()}",
            ),
        ),
        draw=draw,
    )


def _delta_charts(targets: np.ndarray) -> list[Picture]:
    if len(targets) == 0:
        return []
    return [
        histogram(values, f"Targets {name}.", bins=20, width=200)
        for name, values in zip(DELTAS, targets.T, strict=True)
    ]


def _rois(context: TraceContext, training: TrainingStep) -> Step:
    heads, rois = context.model.roi_heads, training.sampled_rois
    iou = heads.matcher.fg_iou_thresh
    candidates, matches = training.roi_candidates
    count, positives = len(rois.boxes), int(rois.positive.sum())
    unique = len(np.unique(np.round(rois.boxes, 2), axis=0))
    added = len(candidates) - len(training.proposals)

    def draw() -> list[Picture]:
        sheet = Sheet(picture_in_training(context), 0.6)
        background = most(np.flatnonzero(~rois.positive), 128)
        sheet.boxes(rois.boxes[background], NEGATIVE, width=1)
        sheet.boxes(rois.boxes[rois.positive], POSITIVE, width=1)
        sheet.boxes(training.target.boxes, TRUTH)
        values = [positives, count - positives]
        chart = bars(["object", "background"], values, "Sampled regions.", colors=[GREEN, RED])
        caption = "Sampled regions: of an object (green), of background (red); white: the objects."
        return [chart, photo(sheet.pixels, caption)]

    return Step(
        key="sampled-regions",
        part=PART,
        title="Candidate regions, and those the second stage learns from",
        words=("positive and negative RoIs", "IoU of at least 0.5", "regions of interest"),
        paper="Mask R-CNN, section 3.1; Fast R-CNN, section 2.3",
        text=(
            f"A proposal stands for the object it overlaps most, if by {iou:g} or "
            "more, else for background. Regions of background are not thrown away: the class loss "
            "needs them. "
            + (
                "The ground-truth boxes join the proposals, so that there is something to learn "
                "from even while the first stage finds nothing."
                if heads.append_gt_boxes
                else "The ground-truth boxes do not join them in this model."
            ),
        ),
        formula=(f"region r stands for object g ⇔ IoU(r, g) ≥ {iou:g}",),
        functions=(RoIHeads.sample,),
        arrays={
            "train/proposals": training.proposals,
            "train/region_matches": matches,
            "train/regions": rois.boxes,
            "train/region_labels": rois.labels,
        },
        facts=(
            ("proposals in training", f"{len(training.proposals):,}"),
            ("ground-truth boxes added", str(added)),
            ("recall of the proposals", found_share(training.proposals, training.target.boxes)),
            ("candidates of an object", f"{int((matches >= 0).sum()):,} of {len(matches):,}"),
            ("drawn", f"{count}, different ones: {unique}"),
            ("of an object", f"{positives} ({positives / max(count, 1):.0%})"),
        ),
        seconds=training.seconds.get("RoI sampling"),
        draw=draw,
    )


def _boxes(context: TraceContext, training: TrainingStep) -> Step:
    rois, heads = training.sampled_rois, context.model.roi_heads
    boxes, targets = rois.boxes[rois.positive], rois.target_deltas[rois.positive]
    rows = [
        [name, *ArrayFacts.of(name, d).row()]
        for name, d in zip(DELTAS, targets.T, strict=True)
        if len(d)
    ]

    def draw() -> list[Picture]:
        few = most(np.arange(len(boxes)), 40)
        refined = box_ops.decode(targets[few], boxes[few], heads.box_weights, heads.delta_clamp)
        sheet = Sheet(picture_in_training(context), 0.6).boxes(boxes[few], POSITIVE, width=1)
        sheet.boxes(refined, TRUTH, width=2)
        caption = f"{len(few)} regions of an object (green) and where their targets lead (white)."
        return [photo(sheet.pixels, caption), *_delta_charts(targets)]

    return Step(
        key="box-targets",
        part=PART,
        title="Box targets of the second stage",
        words=("true bounding-box regression offsets t*",),
        paper="Fast R-CNN, section 2.3; R-CNN, appendix C",
        text=(
            "Only regions of an object have a box to learn. Their targets are multiplied by the "
            "weights so that they vary by about 1, as a loss likes it.",
        ),
        formula=("t* = weights · ((x* − xr) / wr, (y* − yr) / hr, log(w* / wr), log(h* / hr))",),
        functions=(RoIHeads.build_targets, box_ops.encode),
        arrays={"train/box_targets": targets},
        facts=(("regions with a box to learn", str(len(boxes))),),
        tables=(Table("Targets", ("", "min", "mean", "max", "std"), rows),) if rows else (),
        draw=draw,
    )


def _masks(context: TraceContext, training: TrainingStep) -> Step:
    heads, rois, targets = context.model.roi_heads, training.mask_rois, training.mask_targets
    assert targets is not None
    labels = rois.labels[rois.positive]
    predicted = mask_head.mask_probabilities(training.mask_logits, labels, heads.mask_output)
    names = [context.class_names[k] for k in labels]

    def draw() -> list[Picture]:
        count = min(SHOWN, len(targets))
        pairs, titles = [], []
        for i in range(count):
            pairs += [heat(targets[i], 0, 1), heat(predicted[i], 0, 1)]
            titles += [f"{names[i]}: target", "prediction"]
        caption = "Regions with their target and, beside it, what the network said in this step."
        return [exact(tiles(pairs, titles, 4, 112), caption)]

    kind = "the share of each cell that is object" if heads.mask_target == "soft" else "0 or 1"
    return Step(
        key="mask-targets",
        part=PART,
        title="Mask targets beside the predicted masks",
        words=("ground truth mask", "binary mask of m × m"),
        paper="Mask R-CNN, section 3.1",
        text=(
            "The target is the intersection of a region and the mask of its object, cut out by "
            f"the region: {kind}. Only regions of an object have one."
            + (
                " The masks of the other classes are not compared with anything."
                if heads.mask_output == "sigmoid"
                else ""
            )
            + (
                f" Of the regions, {len(targets)} were drawn for the mask branch."
                if heads.mask_batch_size_per_image is not None
                else ""
            ),
        ),
        functions=(mask_head.mask_targets, mask_head.subsample_positives),
        arrays={"train/mask_targets": targets, "train/mask_predictions": predicted},
        facts=(("regions with a mask to learn", str(len(targets))),),
        draw=draw,
    )
