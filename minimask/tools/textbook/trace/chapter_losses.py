"""The losses of a training step taken apart, and the gradients they send to every parameter."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor
from minimask.draw.colors import PALETTE
from minimask.models import box_head, keypoint_head, mask_head, rpn
from minimask.tools.textbook.trace.chapter_anchors import picture_in_training
from minimask.tools.textbook.trace.chapter_features import part_of
from minimask.tools.textbook.trace.charts import ORANGE, bars, histogram
from minimask.tools.textbook.trace.context import TraceContext, megabytes
from minimask.tools.textbook.trace.drawing import TRUTH, Sheet, photo
from minimask.tools.textbook.trace.record import TrainingStep
from minimask.tools.textbook.trace.steps import Picture, Step, Table
from minimask.tools.textbook.trace.terms import Parts, take_apart

PART, BACKWARD = "Training: the losses", "Training: the gradients"
TOP = 8  # terms listed

# name: title, words, paper, text, formula, functions
Said = tuple[str, tuple[str, ...], str, str, tuple[str, ...], tuple[Callable[..., Any], ...]]
_SAID: dict[str, Said] = {
    "loss_objectness": (
        "Loss of the scores: object or not",
        ("L_cls(p, p*)", "cross entropy of the RPN"),
        "Faster R-CNN, section 3.1.2, equation 1",
        "How surprised the network is by which of the sampled anchors are positive. Near ln 2 = "
        "0.693 before training. Both terms of the formula carry a minus sign.",
        ("L = −Σ [p* log p + (1 − p*) log(1 − p)] / N",),
        (rpn.rpn_loss, F.binary_cross_entropy_with_logits),
    ),
    "loss_rpn_box_reg": (
        "Loss of the anchors' deltas",
        ("L_box(t, t*)", "smooth L1"),
        "Faster R-CNN, section 3.1.2, equation 1; Fast R-CNN, equation 3",
        "Only positive anchors have a place to go to; the sum is nevertheless divided by all "
        "sampled ones in most systems. The differences are t − t*.",
        ("L = Σ p* smooth(t − t*) / N", "smooth(d) = d² / 2β if |d| < β, else |d| − β/2"),
        (rpn.rpn_loss, F.smooth_l1),
    ),
    "loss_classifier": (
        "Loss of the classes",
        ("L_cls", "classification loss"),
        "Fast R-CNN, section 2.3, equation 1",
        "How surprised the network is by the class of the sampled regions, background among "
        "them. Near the logarithm of the number of classes before training.",
        ("L = −Σ log p_true / N",),
        (box_head.box_loss, F.cross_entropy),
    ),
    "loss_box_reg": (
        "Loss of the refined boxes",
        ("L_box", "bounding box regression loss"),
        "Fast R-CNN, section 2.3, equations 1 to 3",
        "Only the four numbers of the true class of regions with an object count.",
        ("L = Σ [u ≥ 1] smooth(t_u − t*) / N",),
        (box_head.box_loss, F.smooth_l1),
    ),
    "loss_mask": (
        "Loss of the masks",
        ("L_mask", "average pixel-wise binary cross-entropy"),
        "Mask R-CNN, section 3",
        "Only the mask of the true class counts: the gradient of all others is exactly 0. Near "
        "ln 2 before training.",
        ("L = −Σ [m* log m + (1 − m*) log(1 − m)] / (regions · M²)",),
        (mask_head.mask_loss, F.binary_cross_entropy_with_logits),
    ),
    "loss_keypoint": (
        "Loss of the keypoints",
        ("L_keypoint", "one-hot mask", "an m²-way softmax output"),
        "Mask R-CNN, section 5",
        "Each keypoint is one of the 56 × 56 pixels of its heat map. Only those count that are "
        "labeled and lie inside their region. Near ln 56² = 8.05 before training.",
        ("L = −Σ log p_true / N",),
        (keypoint_head.keypoint_loss, F.cross_entropy),
    ),
}


# by `mask_output`, where it is not a sigmoid for each class: text, formula
_MASK_SAID: dict[str, tuple[str, tuple[str, ...]]] = {
    "softmax": (
        "Classes compete at every cell: inside the object the true class is to win, outside "
        "background. Near the logarithm of the number of classes before training.",
        ("L = −Σ [m* log p_true + (1 − m*) log p_background] / (regions · M²)",),
    ),
    "agnostic": (
        "One mask for all classes is learned. Near ln 2 before training.",
        _SAID["loss_mask"][4],
    ),
}


def steps(context: TraceContext) -> list[Step]:
    """A step for each loss, their sum, and the gradients; none without ground-truth objects."""
    training = context.training
    if training is None:
        return []
    parts = take_apart(training, context.model)
    steps_of = [_loss(context, part) for part in parts]
    return [*steps_of, _total(training, parts), _gradients(training)]


def _loss(context: TraceContext, parts: Parts) -> Step:
    title, words, paper, text, formula, functions = _SAID[parts.name]
    if parts.name == "loss_mask":
        text, formula = _MASK_SAID.get(context.model.roi_heads.mask_output, (text, formula))
    order = np.argsort(-parts.shares, kind="stable")[:TOP]
    total = max(parts.numerator, 1e-300)
    rows = [
        [
            "object" if parts.positive[i] else "background",
            ", ".join(f"{v:.0f}" for v in parts.owners[i]),
            f"{parts.shares[i]:.4g}",
            f"{parts.shares[i] / total:.1%}",
        ]
        for i in order
    ]
    facts = [
        ("sum of the terms", f"{parts.numerator:.6g} ({parts.terms:,} terms)"),
        ("divided by", parts.divided_by),
        ("gives", f"{parts.quotient:.7g}"),
        ("the model says", f"{parts.value:.7g}"),
    ]
    for name, mask in (("objects", parts.positive), ("background", ~parts.positive)):
        if mask.any() and not mask.all():
            share = parts.shares[mask].sum() / total
            facts.append((f"share of the {name}", f"{share:.1%} from {int(mask.sum())}"))
    header = ("stands for", "x0, y0, x1, y1", "terms", "share")
    return Step(
        key=parts.name.replace("_", "-"),
        part=PART,
        title=title,
        words=words,
        paper=paper,
        text=(text,),
        formula=formula,
        functions=functions,
        arrays={
            f"train/{parts.name}_terms": parts.shares,
            f"train/{parts.name}_owners": parts.owners,
        },
        facts=tuple(facts),
        tables=(Table("The largest contributions", header, rows),) if rows else (),
        draw=functools.partial(_loss_pictures, context, parts, order),
    )


def _loss_pictures(context: TraceContext, parts: Parts, order: np.ndarray) -> list[Picture]:
    if len(parts.shares) == 0:
        return []
    sheet = Sheet(picture_in_training(context), 0.6)
    texts = [f"{share:.2g}" if share < 10 else f"{share:.0f}" for share in parts.shares[order]]
    assert context.training is not None
    sheet.boxes(context.training.target.boxes, TRUTH, width=1)
    sheet.boxes(parts.owners[order][::-1], PALETTE[1], texts[::-1])
    return [
        histogram(
            parts.shares, "Terms of each; heights are logarithmic.", logarithmic=True, width=300
        ),
        photo(sheet.pixels, "Whose terms are the largest; white: the objects."),
    ]


def _total(training: TrainingStep, parts: list[Parts]) -> Step:
    names, values = list(training.losses), list(training.losses.values())
    apart = {part.name: part.quotient for part in parts}
    rows = [
        [
            name,
            f"{value:.6f}",
            f"{apart.get(name, 0.0):.6f}",
            f"{value / max(sum(values), 1e-12):.1%}",
        ]
        for name, value in training.losses.items()
    ]

    def draw() -> list[Picture]:
        texts = [f"{value:.4f}" for value in values]
        short = [name.removeprefix("loss_") for name in names]
        return [bars(short, values, "The losses.", texts=texts)]

    return Step(
        key="loss",
        part=PART,
        title=f"The sum of the {len(names)} losses",
        words=("L = L_cls + λ L_box + γ L_mask", "multi-task loss"),
        paper="Mask R-CNN, section 3",
        text=("What training makes smaller. All weights are 1, as in the paper.",),
        formula=("L = " + " + ".join(names),),
        facts=(("sum", f"{sum(values):.6f}"),),
        tables=(Table("Losses", ("loss", "the model's", "put together", "share"), rows),),
        draw=draw,
    )


def _gradients(training: TrainingStep) -> Step:
    groups: dict[str, float] = {}
    for name, length in training.gradients.items():
        if length is not None:
            groups[part_of(name)] = groups.get(part_of(name), 0.0) + length**2
    lengths = {name: math.sqrt(square) for name, square in groups.items()}
    rows = [
        [name, "none" if length is None else f"{length:.4g}"]
        for name, length in training.gradients.items()
    ]
    frozen = [name for name, length in training.gradients.items() if length is None]
    zero = [name for name, length in training.gradients.items() if length == 0]
    whole = math.sqrt(sum(groups.values()))

    def draw() -> list[Picture]:
        chart = bars(
            list(lengths),
            list(lengths.values()),
            "Length of the gradient by part; logarithmic.",
            colors=[ORANGE] * len(lengths),
            logarithmic=True,
        )
        return [chart]

    return Step(
        key="gradients",
        part=BACKWARD,
        title="The gradient that reaches every parameter",
        words=("backpropagation", "shared layers"),
        paper="Faster R-CNN, section 3.2",
        text=(
            "One backward pass through all losses at once: the shared layers learn from every "
            "branch. Parameters without a gradient do not learn in this step.",
        ),
        formula=("‖∂L / ∂w‖ = √Σ (∂L / ∂w_i)²",),
        functions=(Tensor.backward,),
        facts=(
            ("length of the whole gradient", f"{whole:.5g}"),
            ("parameters with a gradient", f"{len(rows) - len(frozen)} of {len(rows)}"),
            ("with a gradient of exactly 0", str(len(zero))),
            ("memory of what the backward pass begins with", megabytes(training.kept)),
        ),
        tables=(Table("All parameters", ("name", "length"), rows, folded=True),),
        seconds=training.seconds.get("backward"),
        draw=draw,
    )
