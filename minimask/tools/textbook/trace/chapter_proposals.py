"""The region proposal network: scores, deltas, and the funnel from anchors to proposals.

Letters: A anchors per cell, B anchors of all levels, R boxes, H W cells of a level.
"""

from __future__ import annotations

import numpy as np

from minimask.autograd.arrays import sigmoid
from minimask.boxes import clip, decode
from minimask.draw.colors import PALETTE
from minimask.kernels import batched_nms
from minimask.models.proposals import filter_proposals, topk
from minimask.models.rpn import RPN, RPNHead
from minimask.tools.textbook.trace.chapter_anchors import PART
from minimask.tools.textbook.trace.charts import bars, histogram, scatter
from minimask.tools.textbook.trace.context import TraceContext
from minimask.tools.textbook.trace.drawing import POSITIVE, TRUTH, Sheet, exact, heat, photo, tiles
from minimask.tools.textbook.trace.funnel import all_anchors, found_share
from minimask.tools.textbook.trace.steps import ArrayFacts, Picture, Step, Table

BEST = 100  # anchors shown
PAIRS = 50  # boxes shown before and after they are moved
DELTAS = ("dx", "dy", "dw", "dh")


def score_step(context: TraceContext) -> Step:
    """How sure the network is of an object, at every anchor."""
    first, _ = all_anchors(context.prediction)
    maps = [sigmoid(a[0]).max(axis=0) for a in context.prediction.levels("rpn/objectness/")]
    order = np.argsort(-np.nan_to_num(first.scores, nan=-1), kind="stable")[:BEST]

    def draw() -> list[Picture]:
        colors = [PALETTE[i % len(PALETTE)] for i in first.levels[order]]
        best = Sheet(context.shown, 0.6).boxes(first.boxes[order[::-1]], colors[::-1], width=1)
        heats = [heat(m, 0, 1) for m in maps]
        caption = "Largest score of each cell's anchors, by level: dark 0, yellow 1."
        return [
            exact(tiles(heats, context.level_names, 5, 170), caption),
            photo(best.pixels, f"The {len(order)} best-scored anchors, in the colors of levels."),
            histogram(
                first.scores,
                "Scores of all anchors; heights are logarithmic.",
                limits=(0, 1),
                logarithmic=True,
            ),
        ]

    above = int((first.scores > 0.5).sum())
    return Step(
        key="rpn-scores",
        part=PART,
        title="Scores: is there an object?",
        words=("region proposal network (RPN)", "cls layer", "probability of an object p"),
        paper="Faster R-CNN, section 3.1",
        text=(
            "A small network slides over every level and gives each anchor one number. Any object "
            "counts here, whatever its class. One score an anchor and a sigmoid say the same as "
            "two scores, for object and background, and a softmax.",
        ),
        formula=("p = 1 / (1 + exp(−logit))",),
        functions=(RPNHead.forward,),
        arrays=context.pick("rpn/objectness/"),
        facts=(
            ("anchors judged", f"{len(first.scores):,}"),
            ("with a score above 0.5", f"{above:,}"),
            ("best score", f"{first.scores[order[0]]:.3f}"),
        ),
        seconds=context.prediction.spent("rpn/objectness/"),
        draw=draw,
    )


def delta_step(context: TraceContext) -> Step:
    """How the network would move every anchor."""
    first, deltas = all_anchors(context.prediction)
    best = context.proposal_filter[1].anchors
    rows = [
        [name, *ArrayFacts.of(name, d).row()]
        for name, d in zip(DELTAS, deltas[best].T, strict=True)
    ]

    def draw() -> list[Picture]:
        return [
            histogram(d, f"{name} at the {len(best):,} anchors that pass the first cut.", width=214)
            for name, d in zip(DELTAS, deltas[best].T, strict=True)
        ]

    return Step(
        key="rpn-deltas",
        part=PART,
        title="Deltas: where exactly?",
        words=("reg layer, 4k outputs", "bounding-box regression offsets t"),
        paper="Faster R-CNN, section 3.1.2, equation 2",
        text=(
            "Four numbers an anchor: shifts of its center in units of its size, and logarithms of "
            "the growth of its width and height. Here their order is x before y and width before "
            "height. Systems that put y first label such histograms dy, dx, dh, dw; mixing the two "
            "up is an old mistake.",
        ),
        formula=(
            "x = xa + dx · wa,  y = ya + dy · ha",
            "w = wa · exp(dw),  h = ha · exp(dh)",
        ),
        functions=(RPNHead.forward, decode),
        arrays=context.pick("rpn/deltas/"),
        facts=(("deltas", f"4 × {len(first.boxes):,}"),),
        tables=(Table("At the anchors that pass", ("", "min", "mean", "max", "std"), rows),),
        draw=draw,
    )


def funnel_step(context: TraceContext) -> Step:
    """What is left after every cut, and how many ground-truth objects are still found."""
    cuts, rpn, gt = context.proposal_filter, context.model.rpn, context.gt
    header: list[str] = ["after this cut", "boxes"]
    if gt is not None:
        header.append("recall at IoU 0.5")
    rows = []
    for cut in cuts:
        row = [cut.name, f"{len(cut.boxes):,}"]
        if gt is not None:
            row.append(found_share(cut.boxes, gt.boxes))
        rows.append(row)
    by_level = [
        [cut.name, *(f"{int((cut.levels == i).sum()):,}" for i in range(len(context.strides)))]
        for cut in cuts
    ]

    def draw() -> list[Picture]:
        return _funnel_pictures(context)

    return Step(
        key="rpn-funnel",
        part=PART,
        title="The funnel: from all anchors to the proposals",
        words=("non-maximum suppression (NMS)", "top-N proposals"),
        paper="Faster R-CNN, section 3.3; FPN, section 5.1",
        text=(
            "The best of each level are moved, cut off at the image's border, and thinned out: of "
            f"boxes that overlap by more than {rpn.nms_thresh:g} the better-scored one stays. "
            "The best that remain are the proposals. Recall is the share of ground-truth objects "
            "that at least one box overlaps by half; what a cut loses is lost for good.",
        ),
        formula=(f"keep b unless a better-scored a is kept and IoU(a, b) > {rpn.nms_thresh:g}",),
        functions=(RPN.propose, filter_proposals, topk, clip, batched_nms),
        facts=(
            ("best of each level", f"{rpn.pre_nms_top_n_test:,} at most"),
            ("proposals", f"{rpn.post_nms_top_n_test:,} at most"),
        ),
        tables=(
            Table("What is left", header, rows),
            Table("By level", ("after this cut", *context.level_names), by_level, folded=True),
        ),
        seconds=context.prediction.spent("rpn/proposals"),
        draw=draw,
    )


def _funnel_pictures(context: TraceContext) -> list[Picture]:
    cuts = context.proposal_filter
    names = [cut.name for cut in cuts if cut is not cuts[2] and cut is not cuts[3]]
    counts = [len(cut.boxes) for cut in cuts if cut is not cuts[2] and cut is not cuts[3]]
    order = np.argsort(-np.nan_to_num(cuts[1].scores, nan=-1), kind="stable")[:PAIRS]
    before, decoded, clipped = (cuts[i].boxes[order] for i in (1, 2, 3))
    texts = [f"{count:,}" for count in counts]
    chart = bars(names, counts, "Boxes left; logarithmic.", texts=texts, logarithmic=True)
    first = Sheet(context.shown, 0.6).boxes(before, PALETTE[0], width=1)
    second = Sheet(context.shown, 0.6).boxes(before, (110, 120, 130), width=1)
    third = Sheet(context.shown, 0.6).boxes(clipped, PALETTE[1], width=1)
    survivors = cuts[5].boxes[:PAIRS]
    fourth = Sheet(context.shown, 0.6).boxes(survivors[::-1], POSITIVE, width=1)
    return [
        chart,
        photo(first.pixels, f"The {len(order)} best-scored anchors."),
        photo(
            second.boxes(decoded, PALETTE[1], width=1).pixels, "The same, moved by their deltas."
        ),
        photo(third.pixels, "The same, clipped at the image's border."),
        photo(fourth.pixels, f"The {len(survivors)} best after non-maximum suppression."),
    ]


def proposal_step(context: TraceContext) -> Step:
    """The proposals, which are all that the second stage sees of the image."""
    boxes, scores = context.arrays["rpn/proposals"], context.arrays["rpn/scores"]
    gt = context.gt
    facts = [("proposals", f"{len(boxes):,}")]
    if len(boxes):
        sides = boxes[:, 2:] - boxes[:, :2]
        facts.append(("median width × height", " × ".join(f"{v:.0f}" for v in np.median(sides, 0))))
        facts.append(("scores", f"{scores.min():.3f} to {scores.max():.3f}"))
    if gt is not None:
        facts.append(("ground-truth objects found (IoU 0.5)", found_share(boxes, gt.boxes)))

    def draw() -> list[Picture]:
        shown = boxes[: 2 * BEST]
        sheet = Sheet(context.shown, 0.6).boxes(shown[::-1], PALETTE[0], width=1)
        if gt is not None:
            sheet.boxes(gt.boxes, TRUTH)
        caption = f"The {len(shown)} best-scored proposals" + "; white: the objects." * bool(gt)
        size = context.prediction.batch.shape
        few = boxes[:400]
        return [
            photo(sheet.pixels, caption),
            scatter(few[:, 0], few[:, 1], "Upper left corners.", size),
            scatter(few[:, 2], few[:, 3], "Lower right corners.", size),
        ]

    return Step(
        key="rpn-proposals",
        part=PART,
        title="The proposals",
        words=("regions of interest (RoI)", "candidate boxes", "region proposals"),
        paper="Faster R-CNN, section 3; Mask R-CNN, section 3",
        text=(
            "The end of the first stage. No gradient flows back through the coordinates of these "
            "boxes: joint training is approximate in this.",
        ),
        functions=(RPN.forward,),
        arrays={**context.pick("rpn/proposals"), **context.pick("rpn/scores")},
        facts=tuple(facts),
        seconds=context.prediction.spent("rpn/"),
        draw=draw,
    )
