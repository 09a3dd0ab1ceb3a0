"""What a training step compares: sampled anchors, sampled regions, and their targets.

Letters: B anchors of all levels, R regions, G true objects, M side of a mask.
"""

from __future__ import annotations

import numpy as np

from minimask import boxes as box_ops
from minimask.models import box_head, mask_head, rpn
from minimask.models.sampling import sample
from minimask.tools.textbook.trace.chapter_anchors import picture_in_training
from minimask.tools.textbook.trace.charts import GREEN, RED, bars, histogram
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
from minimask.tools.textbook.trace.material import Material, most
from minimask.tools.textbook.trace.record import Lesson
from minimask.tools.textbook.trace.steps import ArrayFacts, Picture, Step, Table

PART = "Training: what is compared"
SHOWN = 12  # regions with their masks
DELTAS = ("dx", "dy", "dw", "dh")


def steps(material: Material) -> list[Step]:
    """The targets of a training step; none without true objects."""
    lesson = material.lesson
    if lesson is None:
        return []
    made = [_anchors(material, lesson), _regions(material, lesson), _boxes(material, lesson)]
    if lesson.calls["mask_loss"] and lesson.calls["mask_targets"]:
        made.append(_masks(material, lesson))
    return made


def _anchors(material: Material, lesson: Lesson) -> Step:
    c, (positive, negative) = material.convention, lesson.sampled_anchors
    anchors = np.asarray(lesson.call_of("assign_anchors").arguments["anchors"])
    wanted = np.asarray(lesson.call_of("rpn_loss").arguments["targets"][0])

    def draw() -> list[Picture]:
        image = picture_in_training(material)
        sheet = Sheet(image, 0.6).boxes(anchors[most(negative, 128)], NEGATIVE, width=1)
        sheet.boxes(anchors[positive], POSITIVE, width=1).boxes(lesson.target.boxes, TRUTH)
        caption = "Sampled anchors: positive (green), negative (red); white: the objects."
        return [photo(sheet.pixels, caption), *_delta_charts(wanted)]

    return Step(
        key="rpn-targets",
        part=PART,
        title="Sampled anchors and the targets of the first stage",
        words=("ground truth p* and t*", "training targets of the RPN"),
        paper="Faster R-CNN, section 3.1.3",
        text=(
            f"Of all anchors {c.rpn_batch_size_per_image} are drawn by chance, at most "
            f"{c.rpn_positive_fraction:.0%} of them positive; without that, the many negatives "
            "would drown the few positives. Positive ones are to say the deltas that lead to "
            "their object.",
        ),
        formula=("t*x = (x* − xa) / wa,  t*w = log(w* / wa)",),
        functions=(rpn.sample_anchors, sample, rpn.anchor_targets, box_ops.encode),
        arrays={
            "train/anchors_positive": positive,
            "train/anchors_negative": negative,
            "train/anchor_targets": wanted,
        },
        facts=(
            ("positive anchors, drawn of all", f"{len(positive)} of {(lesson.matches >= 0).sum()}"),
            (
                "negative anchors, drawn of all",
                f"{len(negative)} of {(lesson.matches == -1).sum()}",
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


def _regions(material: Material, lesson: Lesson) -> Step:
    c, regions = material.convention, lesson.regions
    call = lesson.call_of("make_regions")
    candidates, matches = call.arguments["candidates"], call.arguments["matches"]
    count, positives = len(regions.boxes), int(regions.positive.sum())
    unique = len(np.unique(np.round(regions.boxes, 2), axis=0))
    added = len(candidates) - len(lesson.proposals)

    def draw() -> list[Picture]:
        sheet = Sheet(picture_in_training(material), 0.6)
        background = most(np.flatnonzero(~regions.positive), 128)
        sheet.boxes(regions.boxes[background], NEGATIVE, width=1)
        sheet.boxes(regions.boxes[regions.positive], POSITIVE, width=1)
        sheet.boxes(lesson.target.boxes, TRUTH)
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
            f"A proposal stands for the object it overlaps most, if by {c.box_fg_iou_thresh:g} or "
            "more, else for background. Regions of background are not thrown away: the class loss "
            "needs them. "
            + (
                "The true boxes join the proposals, so that there is something to learn from even "
                "while the first stage finds nothing."
                if c.append_gt_boxes
                else "The true boxes do not join them in this model."
            ),
        ),
        formula=(f"region r stands for object g ⇔ IoU(r, g) ≥ {c.box_fg_iou_thresh:g}",),
        functions=(box_head.with_true_boxes, box_head.assign_regions, box_head.sample_regions),
        arrays={
            "train/proposals": lesson.proposals,
            "train/region_matches": matches,
            "train/regions": regions.boxes,
            "train/region_labels": regions.labels,
        },
        facts=(
            ("proposals in training", f"{len(lesson.proposals):,}"),
            ("true boxes added", str(added)),
            ("recall of the proposals", found_share(lesson.proposals, lesson.target.boxes)),
            ("candidates of an object", f"{int((matches >= 0).sum()):,} of {len(matches):,}"),
            ("drawn", f"{count}, different ones: {unique}"),
            ("of an object", f"{positives} ({positives / max(count, 1):.0%})"),
        ),
        seconds=lesson.seconds.get("region sampling"),
        draw=draw,
    )


def _boxes(material: Material, lesson: Lesson) -> Step:
    regions, c = lesson.regions, material.convention
    positive = regions.positive
    boxes, targets = regions.boxes[positive], regions.targets[positive]
    rows = [
        [name, *ArrayFacts.of(name, d).row()]
        for name, d in zip(DELTAS, targets.T, strict=True)
        if len(d)
    ]

    def draw() -> list[Picture]:
        few = most(np.arange(len(boxes)), 40)
        moved = box_ops.decode(targets[few], boxes[few], c.box_weights, c.delta_clamp)
        sheet = Sheet(picture_in_training(material), 0.6).boxes(boxes[few], POSITIVE, width=1)
        sheet.boxes(moved, TRUTH, width=2)
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
        functions=(box_head.make_regions, box_ops.encode),
        arrays={"train/box_targets": targets},
        facts=(("regions with a box to learn", str(len(boxes))),),
        tables=(Table("Targets", ("", "min", "mean", "max", "std"), rows),) if rows else (),
        draw=draw,
    )


def _masks(material: Material, lesson: Lesson) -> Step:
    call, c = lesson.call_of("mask_loss"), material.convention
    regions = call.arguments["regions"][0]
    targets = np.asarray(lesson.call_of("mask_targets").result)
    logits = np.asarray(call.arguments["logits"].data)
    predicted = mask_head.mask_probabilities(logits, regions.labels[regions.positive], c)
    names = [material.class_names[k] for k in regions.labels[regions.positive]]

    def draw() -> list[Picture]:
        count = min(SHOWN, len(targets))
        pairs, titles = [], []
        for i in range(count):
            pairs += [heat(targets[i], 0, 1), heat(predicted[i], 0, 1)]
            titles += [f"{names[i]}: target", "prediction"]
        caption = "Regions with their target and, beside it, what the network said in this step."
        return [exact(tiles(pairs, titles, 4, 112), caption)]

    kind = "the share of each cell that is object" if c.mask_target == "soft" else "0 or 1"
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
                if c.mask_output == "sigmoid"
                else ""
            )
            + (
                f" Of the regions, {len(targets)} were drawn for the mask branch."
                if c.mask_batch_size_per_image is not None
                else ""
            ),
        ),
        functions=(mask_head.mask_targets, mask_head.draw_regions),
        arrays={"train/mask_targets": targets, "train/mask_predictions": predicted},
        facts=(("regions with a mask to learn", str(len(targets))),),
        draw=draw,
    )
