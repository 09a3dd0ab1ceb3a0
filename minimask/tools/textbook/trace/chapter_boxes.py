"""The box head: a class for every proposal, its box refined, and what is left of them.

Letters: R regions, K classes with background, E candidates above the score threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask.boxes import decode
from minimask.draw.colors import PALETTE, Color
from minimask.kernels import batched_nms
from minimask.models import box_head
from minimask.tools.textbook.trace.charts import bars
from minimask.tools.textbook.trace.context import TraceContext, most
from minimask.tools.textbook.trace.decisions import CUT_OFF, Outcome, refined
from minimask.tools.textbook.trace.drawing import Sheet, photo
from minimask.tools.textbook.trace.steps import Picture, Step, Table

PART = "Second stage: what is it, and where exactly?"
DRAWN = 200  # proposals in a crowded picture
BACKGROUND: Color = (120, 120, 120)
EXAMPLES = 5  # boxes before and after
ROWS = 60  # of a long table


def steps(context: TraceContext) -> list[Step]:
    """The steps of the box head; none without proposals."""
    outcome = context.outcome
    if outcome is None:
        return []
    makers = (_scores, _refinement, _threshold, _suppression, _final)
    return [make(context, outcome) for make in makers]


def color_of(label: int) -> Color:
    """The color of a class, as in `minimask.draw`."""
    return PALETTE[label % len(PALETTE)]


def _label(network_class: int, outcome: Outcome) -> int:
    """The class counted without background; -1 for background."""
    if network_class == outcome.background:
        return -1
    return network_class - (1 if outcome.background == 0 else 0)


def _scores(context: TraceContext, outcome: Outcome) -> Step:
    region, probabilities = context.roi, outcome.probabilities
    predicted = outcome.predicted
    counts = np.bincount(predicted, minlength=probabilities.shape[1])
    names = context.class_names

    def draw() -> list[Picture]:
        order = np.argsort(-probabilities[region], kind="stable")[:12]
        chart = bars(
            [names[i] for i in order],
            probabilities[region][order].tolist(),
            f"Class probabilities of region {region}.",
        )
        boxes = context.arrays["rpn/proposals"]
        drawn = most(np.arange(len(boxes)), DRAWN)
        labels = [_label(int(k), outcome) for k in predicted[drawn]]
        order_drawn = np.argsort(np.array(labels) >= 0, kind="stable")
        colors = [BACKGROUND if labels[i] < 0 else color_of(labels[i]) for i in order_drawn]
        sheet = Sheet(context.shown, 0.6).boxes(boxes[drawn[order_drawn]], colors, width=1)
        caption = f"{len(drawn)} proposals in the color of their most probable class; gray: none."
        return [chart, photo(sheet.pixels, caption)]

    rows = [[names[k], f"{counts[k]:,}"] for k in np.argsort(-counts) if counts[k]]
    return Step(
        key="class-scores",
        part=PART,
        title="Class scores of every proposal",
        words=("classification head", "object class", "softmax over K + 1 classes"),
        paper="Fast R-CNN, section 2.1; FPN, section 4.2",
        text=(
            "A head of a few layers, with a pyramid two fully connected ones, reads the pooled "
            "features and gives one number for each class, background among them. Here classes "
            "compete: the probabilities of a region sum to 1.",
        ),
        formula=("p_k = exp(s_k) / Σ_j exp(s_j)",),
        functions=(
            type(context.model.roi_heads.box_head).forward,
            type(context.model.roi_heads.box_predictor).forward,
            box_head.postprocess_detections,
        ),
        arrays=context.pick("box/features", "box/cls_logits"),
        facts=(
            ("regions", f"{len(predicted):,}"),
            ("most probably background", f"{int((predicted == outcome.background).sum()):,}"),
        ),
        tables=(Table("Most probable class", ("class", "regions"), rows[:ROWS], len(rows) > 8),),
        seconds=context.prediction.spent("box/features") + context.prediction.spent("box/cls"),
        draw=draw,
    )


def _refinement(context: TraceContext, outcome: Outcome) -> Step:
    boxes, deltas = context.arrays["rpn/proposals"], context.arrays["box/deltas"]
    examples = outcome.rois[outcome.kept][:EXAMPLES]
    rows = outcome.labels[outcome.kept][:EXAMPLES] + (1 if outcome.background == 0 else 0)
    if len(examples) == 0:
        examples, rows = np.arange(min(EXAMPLES, len(boxes))), outcome.predicted[:EXAMPLES]
        per_class = deltas.shape[1] // 4
        rows = np.minimum(rows, per_class - 1)
    refined_boxes = refined(deltas[examples], boxes[examples], rows, context.model.roi_heads)

    def draw() -> list[Picture]:
        sheet = Sheet(context.shown, 0.6).boxes(boxes[examples], BACKGROUND, width=1)
        colors = [PALETTE[i % len(PALETTE)] for i in range(len(examples))]
        sheet.boxes(refined_boxes, colors, [f"{r}" for r in examples])
        caption = "Proposals (gray) and the same after the refinement of their class (colored)."
        return [photo(sheet.pixels, caption)]

    each = deltas.reshape(len(deltas), -1, 4)[examples, rows]
    table = [
        [str(r), context.class_names[k], *(f"{v:+.2f}" for v in delta)]
        for r, k, delta in zip(examples, rows, each, strict=True)
    ]
    weights = ", ".join(f"{w:g}" for w in context.model.roi_heads.box_weights)
    return Step(
        key="box-refinement",
        part=PART,
        title="Box refinement, by class",
        words=("bounding box regression head", "bounding box offset"),
        paper="Fast R-CNN, section 2.1; R-CNN, appendix C",
        text=(
            "The same four numbers as in the first stage, but for each class its own four: what "
            f"is a good box may depend on what is in it. They come multiplied by {weights}, which "
            "makes errors of the second stage, smaller than those of the first, count as much.",
        ),
        formula=("x = xp + (dx / w1) · wp,  w = wp · exp(dw / w3)",),
        functions=(box_head.BoxPredictor.forward, decode),
        arrays=context.pick("box/deltas"),
        facts=(("numbers for each region", f"{deltas.shape[1]} = 4 × {deltas.shape[1] // 4}"),),
        tables=(Table("Examples", ("region", "class", "dx", "dy", "dw", "dh"), table),),
        seconds=context.prediction.spent("box/deltas"),
        draw=draw,
    )


def _threshold(context: TraceContext, outcome: Outcome) -> Step:
    heads, regions = context.model.roi_heads, len(outcome.probabilities)
    pairs = regions * (outcome.probabilities.shape[1] - 1)
    candidates = len(outcome.rois)

    def draw() -> list[Picture]:
        best = np.argsort(outcome.scores, kind="stable")[-DRAWN:]
        colors = [color_of(int(k)) for k in outcome.labels[best]]
        sheet = Sheet(context.shown, 0.6).boxes(outcome.boxes[best], colors, width=1)
        return [photo(sheet.pixels, f"{len(best)} candidates, refined, in their class's color.")]

    some = len(np.unique(outcome.rois))
    return Step(
        key="score-threshold",
        part=PART,
        title="Background and low scores dropped",
        words=("score threshold", "low scores dropped"),
        paper="Fast R-CNN, section 3",
        text=(
            "A region may yield a candidate for each class that is probable enough: with a low "
            "threshold one region often yields several. Background yields nothing. Boxes without "
            "area are dropped as well.",
        ),
        formula=(f"candidates = {{(r, k): p_rk > {heads.score_thresh:.3g}}}",),
        functions=(box_head.postprocess_detections,),
        arrays={
            "candidates/regions": outcome.rois,
            "candidates/labels": outcome.labels,
            "candidates/scores": outcome.scores,
            "candidates/boxes": outcome.boxes,
        },
        facts=(
            ("regions", f"{regions:,}"),
            ("pairs of region and class", f"{pairs:,}"),
            (f"with a score above {heads.score_thresh:.3g}", f"{candidates + outcome.small:,}"),
            ("of these too small", str(outcome.small)),
            ("regions with a candidate", f"{some:,}"),
        ),
        draw=draw,
    )


def _suppression(context: TraceContext, outcome: Outcome) -> Step:
    heads = context.model.roi_heads
    by_class = _class_rows(context, outcome)
    suppressors = np.unique(outcome.suppressed_by[outcome.suppressed_by >= 0])
    log: list[list[Any]] = []
    for i in suppressors[np.argsort(-outcome.scores[suppressors], kind="stable")]:
        victims = np.flatnonzero(outcome.suppressed_by == i)
        victims = victims[np.argsort(-outcome.scores[victims], kind="stable")]
        listed = ", ".join(f"{outcome.rois[j]} ({outcome.scores[j]:.2f})" for j in victims[:8])
        more = f" and {len(victims) - 8} more" if len(victims) > 8 else ""
        name = context.name(int(outcome.labels[i]))
        log.append([name, f"{outcome.rois[i]} ({outcome.scores[i]:.2f})", listed + more])

    def draw() -> list[Picture]:
        lost = np.flatnonzero(outcome.suppressed_by >= 0)[:DRAWN]
        sheet = Sheet(context.shown, 0.6).boxes(outcome.boxes[lost], BACKGROUND, width=1)
        kept = outcome.kept[::-1]
        sheet.boxes(outcome.boxes[kept], [color_of(int(k)) for k in outcome.labels[kept]])
        return [photo(sheet.pixels, "Suppressed boxes (gray) and those that stay (colored).")]

    return Step(
        key="class-nms",
        part=PART,
        title="Non-maximum suppression, class by class",
        words=("non-maximum suppression (NMS)",),
        paper="Fast R-CNN, section 3; Mask R-CNN, section 3.1",
        text=(
            f"Of boxes of one class that overlap by more than {heads.nms_thresh:g}, the best stays "
            "and takes the others out. Boxes of different classes never suppress each other. At "
            f"most {heads.detections_per_img} stay.",
        ),
        functions=(batched_nms,),
        arrays={"candidates/suppressed_by": outcome.suppressed_by, "candidates/kept": outcome.kept},
        facts=(
            ("candidates", f"{len(outcome.rois):,}"),
            ("suppressed", f"{int((outcome.suppressed_by >= 0).sum()):,}"),
            ("beyond the limit", str(int((outcome.suppressed_by == CUT_OFF).sum()))),
            ("kept", str(len(outcome.kept))),
        ),
        tables=(
            Table("By class", ("class", "candidates", "kept"), by_class, len(by_class) > 10),
            Table(
                "Who suppresses whom: regions with their scores",
                ("class", "kept", "suppressed"),
                log[:ROWS],
                folded=True,
            ),
        ),
        draw=draw,
    )


def _class_rows(context: TraceContext, outcome: Outcome) -> list[list[str]]:
    count = len(context.classes)
    before = np.bincount(outcome.labels, minlength=count)
    after = np.bincount(outcome.labels[outcome.kept], minlength=count)
    order = [k for k in np.argsort(-before, kind="stable") if before[k]]
    return [[context.name(int(k)), f"{before[k]:,}", f"{after[k]:,}"] for k in order]


def _final(context: TraceContext, outcome: Outcome) -> Step:
    boxes, labels = context.arrays["det/boxes"], context.arrays["det/labels"]
    scores = context.arrays["det/scores"]
    rows = [
        [context.name(int(k)), f"{s:.3f}", ", ".join(f"{v:.1f}" for v in box)]
        for k, s, box in zip(labels, scores, boxes, strict=True)
    ]

    def draw() -> list[Picture]:
        texts = [f"{context.name(int(k))} {s:.2f}" for k, s in zip(labels, scores, strict=True)]
        colors = [color_of(int(k)) for k in labels]
        few = len(labels) <= 40
        sheet = Sheet(context.shown).boxes(boxes[::-1], colors[::-1], texts[::-1] * few)
        return [photo(sheet.pixels, f"{len(boxes)} objects: class, score, box.")]

    return Step(
        key="final-boxes",
        part=PART,
        title="The final boxes",
        words=("class label and bounding box", "detected objects"),
        paper="Mask R-CNN, section 3.1",
        text=("What the box head has to say, in pixels of the network's input, best first.",),
        functions=(box_head.postprocess_detections,),
        arrays=context.pick("det/"),
        facts=(("objects", str(len(boxes))),),
        tables=(
            Table("Objects", ("class", "score", "x0, y0, x1, y1"), rows[:ROWS], len(rows) > 8),
        ),
        seconds=context.prediction.spent("det/"),
        draw=draw,
    )
