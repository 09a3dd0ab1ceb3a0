"""From proposals of any size to features of one size: the level, the grid, the pooled values.

Letters: R regions, C channels, P pooled size, S samples a bin along one axis.
"""

from __future__ import annotations

import numpy as np

from minimask.draw.colors import PALETTE
from minimask.kernels.roi_align import roi_align
from minimask.kernels.roi_align.geometry import Axis, axes
from minimask.models.roi_heads import RoIHeads
from minimask.models.roi_pooling import RoIPooler, pyramid_levels
from minimask.tools.textbook.trace.charts import bars
from minimask.tools.textbook.trace.context import TraceContext, most
from minimask.tools.textbook.trace.drawing import TRUTH, Sheet, exact, heat, photo, tiles
from minimask.tools.textbook.trace.steps import Picture, Step

PART = "Features of a region"
SHOWN = 8  # channels of a region
OPERATIONS = {"align": "RoIAlign", "warp": "RoIWarp", "pool": "RoIPool"}


def steps(context: TraceContext) -> list[Step]:
    """The steps between the proposals and the box head; none without proposals."""
    if len(context.arrays["rpn/proposals"]) == 0:
        return []
    steps_of = [_levels(context)] if len(context.strides) > 1 else []
    if context.model.roi_heads.pooler.op == "align":
        steps_of.append(_grid(context))
    if "box/pooled" in context.arrays:
        steps_of.append(_pooled(context))
    return steps_of


def _levels(context: TraceContext) -> Step:
    boxes, names = context.arrays["rpn/proposals"], context.pooled_names
    levels = context.level_of(boxes)
    counts = np.bincount(levels, minlength=len(names))

    def draw() -> list[Picture]:
        drawn = most(np.arange(len(boxes)), 120)
        colors = [PALETTE[level % len(PALETTE)] for level in levels[drawn]]
        hues = ["#" + bytes(PALETTE[i % len(PALETTE)]).hex() for i in range(len(names))]
        sheet = Sheet(context.shown, 0.6).boxes(boxes[drawn], colors, width=1)
        texts = [f"{count:,}" for count in counts]
        return [
            bars(names, counts.tolist(), "Proposals by level.", texts=texts, colors=hues),
            photo(sheet.pixels, "Proposals in the colors of their levels."),
        ]

    return Step(
        key="levels",
        part=PART,
        title="The level each proposal is cut from",
        words=("feature map of the region", "feature pyramid network (FPN)"),
        paper="FPN, section 4.2, equation 1",
        text=(
            "Large regions are cut from coarse levels, small ones from fine levels, so that every "
            "region is some cells wide. Below the finest level and above the coarsest one the "
            f"nearest is taken. Systems round differently; this model follows the rule "
            f"“{context.model.roi_heads.pooler.level_rule}”.",
        ),
        formula=("k = ⌊4 + log2(√(w · h) / 224)⌋",),
        functions=(pyramid_levels,),
        arrays={"rpn/levels": levels},
        facts=tuple((name, f"{n:,} proposals") for name, n in zip(names, counts, strict=True)),
        draw=draw,
    )


def grid_of(box: np.ndarray, size: int, stride: int, pooler: RoIPooler) -> tuple[Axis, Axis]:
    """The rows and columns of bins of a region (4,), in cells of its level's map."""
    boxes = np.ascontiguousarray(box[None], np.float32)
    return axes(boxes, (size, size), 1 / stride, pooler.sampling_ratio, pooler.aligned)


def positions(axis: Axis, size: int) -> np.ndarray:
    """(P S,) where the samples of the one region lie along an axis, in cells."""
    n = int(axis.samples[0])
    steps = np.arange(size)[:, None] + (np.arange(n) + 0.5) / max(n, 1)
    return (axis.start[0] + steps * axis.size[0]).ravel()


def _grid(context: TraceContext) -> Step:
    region, size = context.roi, _pooled_size(context)
    box = context.arrays["rpn/proposals"][region]
    level = int(context.level_of(box[None])[0])
    stride, name = context.strides[level], context.level_names[level]
    rows, columns = grid_of(box, size, stride, context.model.roi_heads.pooler)
    y, x = positions(rows, size), positions(columns, size)
    samples = (int(rows.samples[0]), int(columns.samples[0]))
    shift = 0.5 if context.model.roi_heads.pooler.aligned else 0.0
    half = (
        "Half a cell is taken off the box first, as values sit at the centers of cells."
        if shift
        else "This model takes no half cell off the box, so the points lie half a cell beside "
        "where they should be, which the picture shows."
    )

    def draw() -> list[Picture]:
        on_image = Sheet(context.shown, 0.7).boxes(box[None], PALETTE[1])
        # cell i covers i to i + 1 strides, and its value sits in the middle
        image_y, image_x = np.meshgrid((y + 0.5) * stride, (x + 0.5) * stride, indexing="ij")
        on_image.points(image_x.ravel(), image_y.ravel(), PALETTE[3], 1.5)
        return [
            photo(on_image.pixels, f"Region {region} and its sample points on the image."),
            _over_cells(context, level, rows, columns, size),
        ]

    start = f"x {columns.start[0]:.2f}, y {rows.start[0]:.2f}"
    return Step(
        key="roi-align",
        part=PART,
        title="RoIAlign: the grid and the sample points of one region",
        words=("RoIAlign", "bilinear interpolation at four points of each bin"),
        paper="Mask R-CNN, section 3, figure 3",
        text=(
            f"Region {region} is divided into {size} × {size} bins, none of which is rounded. In "
            f"each, {samples[0]} × {samples[1]} points are read by bilinear interpolation between "
            f"the four nearest cells, and averaged: the mean, not the maximum. {half}",
        ),
        formula=(
            f"start = box / {stride} − {shift:g},  bin = side / {stride} / {size}",
            "sample = start + (p + (i + ½) / S) · bin",
            "value = mean over samples of Σ cells · max(0, 1 − |Δx|) · max(0, 1 − |Δy|)",
        ),
        functions=(RoIPooler.__call__, roi_align, axes),
        arrays={"roi/sample_y": y, "roi/sample_x": x},
        facts=(
            ("region", f"proposal {region}: " + ", ".join(f"{v:.1f}" for v in box)),
            ("level", f"{name}, a cell is {stride} pixels"),
            ("first bin begins at cell", start),
            ("bin", f"{columns.size[0]:.3f} × {rows.size[0]:.3f} cells (width × height)"),
            ("samples a bin", f"{samples[0]} × {samples[1]}"),
        ),
        draw=draw,
    )


def _pooled_size(context: TraceContext) -> int:
    pooled = context.arrays.get("box/pooled")
    return 7 if pooled is None else pooled.shape[2]


def _over_cells(context: TraceContext, level: int, rows: Axis, columns: Axis, size: int) -> Picture:
    """The grid over the cells of the level around the region, drawn large."""
    strength = np.sqrt((context.prediction.pyramid[level][0] ** 2).mean(axis=0))
    ends = []
    for axis, length in ((rows, strength.shape[0]), (columns, strength.shape[1])):
        low = int(np.clip(np.floor(axis.start[0]) - 1, 0, length - 1))
        high = int(np.clip(np.ceil(axis.start[0] + size * axis.size[0]) + 2, low + 1, length))
        ends.append((low, high))
    (top, bottom), (left, right) = ends
    cells = Sheet(heat(strength[top:bottom, left:right]))
    # cell i is drawn from i to i + 1, so its center, where its value sits, is i + 0.5
    y0, x0 = rows.start[0] - top + 0.5, columns.start[0] - left + 0.5
    for k in range(size + 1):
        y, x = y0 + k * rows.size[0], x0 + k * columns.size[0]
        reach = np.array([0, size])
        cells.lines(x0 + reach * columns.size[0], np.array([y, y]), TRUTH, 1)
        cells.lines(np.array([x, x]), y0 + reach * rows.size[0], TRUTH, 1)
    grid_y, grid_x = np.meshgrid(
        positions(rows, size) - top + 0.5, positions(columns, size) - left + 0.5, indexing="ij"
    )
    cells.points(grid_x.ravel(), grid_y.ravel(), PALETTE[5], 2.5)
    caption = (
        f"The same over the cells of {context.level_names[level]} (strength of their features): "
        "white the bins, red the sample points."
    )
    return exact(cells.pixels, caption)


def _pooled(context: TraceContext) -> Step:
    pooled, region = context.arrays["box/pooled"], context.roi
    one = pooled[region]
    order = np.argsort(-np.nan_to_num(one.std(axis=(1, 2))), kind="stable")[:SHOWN]
    operation = OPERATIONS.get(context.model.roi_heads.pooler.op, context.model.roi_heads.pooler.op)
    size = f"{pooled.shape[2]} × {pooled.shape[3]}"

    def draw() -> list[Picture]:
        maps = [heat(one[i]) for i in order]
        titles = [f"channel {i}" for i in order]
        caption = f"Region {region}: the {len(order)} of {len(one)} channels that vary most."
        return [exact(tiles(maps, titles, 4, 112), caption)]

    return Step(
        key="box-pooled",
        part=PART,
        title=f"Pooled features, {size}",
        words=("fixed size feature map", "input of fixed size for the fully connected layers"),
        paper="Fast R-CNN, section 2.1; Mask R-CNN, figure 4",
        text=(
            f"{operation} gives features of one size for every region, whatever its own. Fully "
            "connected layers need that. Where the region was wide, a cell stands for more pixels.",
        ),
        functions=(RoIHeads.pool_boxes,),
        arrays=context.pick("box/pooled"),
        facts=(
            ("regions", f"{len(pooled):,}"),
            ("numbers for each", f"{pooled[0].size:,} = {pooled.shape[1]} × {size}"),
            ("operation", operation),
        ),
        seconds=context.prediction.spent("box/pooled"),
        draw=draw,
    )
