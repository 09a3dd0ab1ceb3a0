"""The first part of a trace: the image as the network takes it, its weights, its feature maps.

Letters: C channels, H W height and width of a feature map.
"""

from __future__ import annotations

import re

import numpy as np

from minimask.models.transform import make_batch, resized_size
from minimask.tools.textbook.trace.charts import histogram
from minimask.tools.textbook.trace.context import TraceContext, level_names
from minimask.tools.textbook.trace.drawing import WHITE, Sheet, exact, gray, heat, photo, tiles
from minimask.tools.textbook.trace.steps import ArrayFacts, Picture, Step, Table

INPUT, FEATURES = "The image", "Shared features"
CHANNELS = 6  # shown of each feature map
DEAD = 1e-8  # a weight whose values all lie this close together does nothing
OVERFLOW = 1000.0  # larger weights are a sign of training gone wrong


def steps(context: TraceContext) -> list[Step]:
    """The steps up to the feature maps that both stages share."""
    steps_of = [_input(context), _weights(context), _body(context)]
    pyramid = _pyramid(context)
    return [*steps_of, pyramid] if pyramid is not None else steps_of


def _input(context: TraceContext) -> Step:
    batch, c = context.prediction.batch, context.model.convention
    frame = batch.transforms[0]
    (height, width), (new_height, new_width) = frame.original, frame.resized

    def draw() -> list[Picture]:
        y, x = frame.offset
        window = np.array([[x, y, x + new_width, y + new_height]], np.float32)
        padded = Sheet(context.shown).boxes(window, WHITE, ["image"] if batch.shape else [], 2)
        channels = [gray((a - a.min()) / max(np.ptp(a), 1e-9)) for a in batch.images[0]]
        names = list(c.channels.upper())
        return [
            photo(Sheet(context.image).pixels, "The image as given."),
            photo(padded.pixels, "Resized, and padded to the input's size; framed: the image."),
            photo(tiles(channels, names, 3, 220), "The three normalized channels, each by itself."),
        ]

    return Step(
        key="input",
        part=INPUT,
        title="The input, resized, normalized and padded",
        words=("input image", "image"),
        paper="Mask R-CNN, section 3.1; FPN, section 5",
        text=(
            "The shorter side is brought to a fixed length unless the longer side then gets too "
            "long. Normalized pixels have about mean 0 and deviation 1. Zeros fill the input up to "
            f"a multiple of {c.size_divisor} pixels, so that every level of the pyramid has whole "
            "cells.",
        ),
        formula=("x' = (x − mean) / std, for every channel",),
        functions=(resized_size, make_batch),
        arrays=context.pick("transform/"),
        facts=(
            ("size as given", f"{height} × {width} pixels (height × width)"),
            ("resized", f"{new_height} × {new_width}, factor {new_height / height:.4g}"),
            ("padded", f"{batch.shape[0]} × {batch.shape[1]}"),
            ("mean", ", ".join(f"{v:.2f}" for v in c.pixel_mean)),
            ("std", ", ".join(f"{v:.2f}" for v in c.pixel_std)),
        ),
        seconds=context.prediction.spent("transform/"),
        draw=draw,
    )


def _weights(context: TraceContext) -> Step:
    parameters = [(n, np.asarray(p.data)) for n, p in context.model.named_parameters()]
    header = ("name", "shape", "min", "mean", "max", "std", "flag")
    rows = [
        [
            name,
            " × ".join(map(str, weight.shape)),
            *ArrayFacts.of(name, weight).row(),
            _flag(name, weight),
        ]
        for name, weight in parameters
    ]
    flagged = [row for row in rows if row[-1]]
    total = sum(weight.size for _, weight in parameters)

    def draw() -> list[Picture]:
        return [
            histogram(np.concatenate(group), f"Weights of {name}.", width=214, logarithmic=True)
            for name, group in _groups(parameters).items()
        ]

    return Step(
        key="weights",
        part=INPUT,
        title="The weights",
        words=("weights", "pre-trained weights"),
        paper="",
        text=(
            "Everything the network has learned. A weight whose values are all alike may be dead, "
            "very large ones may be about to overflow: both are flagged. Biases and offsets that "
            "are all 0 are as they began. Heights of the histograms are logarithmic.",
        ),
        facts=(
            ("parameters", f"{total:,}"),
            ("arrays of them", str(len(parameters))),
            ("flagged", str(len(flagged))),
        ),
        tables=(
            *([Table("Flagged", header, flagged)] if flagged else []),
            Table("All weights", header, rows, folded=True),
        ),
        draw=draw,
    )


def _flag(name: str, weight: np.ndarray) -> str:
    """What looks wrong with a weight, or nothing."""
    if not np.isfinite(weight).all():
        return "not finite"
    if np.abs(weight).max(initial=0) > OVERFLOW:
        return "overflow?"
    # norms begin with all their factors 1 and offsets 0, biases with 0
    begins_equal = weight.ndim == 1
    if not begins_equal and weight.size > 1 and np.ptp(weight) < DEAD:
        return "dead?"
    return ""


def _groups(parameters: list[tuple[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """The values of the matrices and filters of each part of the network."""
    groups: dict[str, list[np.ndarray]] = {}
    for name, weight in parameters:
        if weight.ndim > 1:
            groups.setdefault(part_of(name), []).append(weight.ravel())
    return groups


def part_of(name: str) -> str:
    """The part of the network a parameter belongs to, e.g. "body.layer1" or "rpn.head"."""
    name = re.sub(r"^(backbone|roi_heads)\.", "", name)
    parts = name.split(".")
    if parts[0] == "body":
        return "body.stem" if parts[1] in ("conv1", "bn1") else ".".join(parts[:2])
    return ".".join(parts[:2]) if parts[0] == "rpn" else parts[0]


def _body(context: TraceContext) -> Step:
    maps = context.prediction.levels("body/")
    height = context.prediction.batch.shape[0]
    names = level_names("C", [height / a.shape[2] for a in maps])
    body = getattr(context.model.backbone, "body", context.model.backbone)
    paper = getattr(body, "paper", "")

    def draw() -> list[Picture]:
        return [_channels(a[0], f"{name}: ") for name, a in zip(names, maps, strict=True)]

    return Step(
        key="body",
        part=FEATURES,
        title=f"Feature maps of the backbone, {names[0]} to {names[-1]}",
        words=(
            f"backbone ({type(body).__name__})",
            "deep convolutional network",
            "encoder",
            "FCN features",
        ),
        paper="; ".join(filter(None, (paper, "Mask R-CNN, section 3"))),
        text=(
            "The convolutions go over the whole image once. Each stage halves height and width and "
            "knows more of what is there and less of where. Shown are the channels that vary most, "
            "each in its own colors from its smallest value (dark) to its largest (yellow).",
        ),
        formula=tuple(filter(None, (getattr(body, "formula", ""),))),
        functions=(type(body).forward,),
        arrays=context.pick("body/"),
        facts=tuple(
            (
                name,
                f"{a.shape[1]} channels of {a.shape[2]} × {a.shape[3]}, 1/{height // a.shape[2]}",
            )
            for name, a in zip(names, maps, strict=True)
        ),
        seconds=context.prediction.spent("body/"),
        draw=draw,
    )


def _pyramid(context: TraceContext) -> Step | None:
    maps = context.prediction.pyramid
    if len(maps) < 2:
        return None
    names = context.level_names

    def draw() -> list[Picture]:
        norms = [heat(np.sqrt((a[0] ** 2).mean(axis=0))) for a in maps]
        caption = "How strongly each cell of each level responds: root mean square of its channels."
        return [
            exact(tiles(norms, names, 5, 170), caption),
            *(_channels(a[0], f"{name}: ") for name, a in zip(names, maps, strict=True)),
        ]

    return Step(
        key="fpn",
        part=FEATURES,
        title=f"The feature pyramid, {names[0]} to {names[-1]}",
        words=("feature pyramid network (FPN)", "feature maps"),
        paper="FPN, section 3, figure 3",
        text=(
            "From the coarsest map down, each level is enlarged to the next one's size and added "
            "to it, so that fine maps know what the coarse ones know. All levels have as many "
            "channels. The last one is every other cell of the one before, and serves only the "
            "proposals.",
        ),
        formula=(
            "M5 = conv1×1(C5)",
            "Mk = conv1×1(Ck) + enlarge(Mk+1)",
            "Pk = conv3×3(Mk)",
            "P6 = P5 at every other cell",
        ),
        functions=(type(context.model.backbone.fpn).forward,),
        arrays=context.pick("fpn/"),
        facts=tuple(
            (name, f"{a.shape[2]} × {a.shape[3]} cells, one for {stride} × {stride} pixels")
            for name, a, stride in zip(names, maps, context.strides, strict=True)
        ),
        seconds=context.prediction.spent("fpn/"),
        draw=draw,
    )


def _channels(maps: np.ndarray, name: str) -> Picture:
    """The channels (C, H, W) of a map that vary most."""
    spread = np.nan_to_num(maps.std(axis=(1, 2)))
    order = np.argsort(-spread, kind="stable")[:CHANNELS]
    titles = [f"channel {i}" for i in order]
    caption = f"{name}the {len(order)} channels of {len(maps)} that vary most."
    return exact(tiles([heat(maps[i]) for i in order], titles, 6, 140), caption)
