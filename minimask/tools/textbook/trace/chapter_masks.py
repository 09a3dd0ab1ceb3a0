"""The mask head, its masks drawn into the image, and the result beside the ground truth.

Letters: R objects found, K mask channels, M side of a predicted mask, G ground-truth objects.
"""

from __future__ import annotations

import numpy as np

from minimask.autograd.arrays import sigmoid
from minimask.data.sample import Target
from minimask.draw import draw_target, overlay
from minimask.kernels import box_iou
from minimask.models import mask_head
from minimask.models.detections import Detections
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.paste import THRESHOLD, paste_mask
from minimask.tools.textbook.trace.charts import matrix
from minimask.tools.textbook.trace.context import TraceContext
from minimask.tools.textbook.trace.drawing import MOST, Sheet, exact, gray, heat, photo, tiles
from minimask.tools.textbook.trace.steps import Picture, Step, Table

PART, RESULT = "Third branch: the masks", "The result"
SHOWN = 12  # objects, or channels
MATCH = 0.5  # IoU from which a detection counts as right


# by `mask_output`
_SAID = {
    "sigmoid": "The head gives {channels} masks for every object; only that of the class the box "
    "head chose is used. A sigmoid at each cell makes probabilities. The other masks are whatever "
    "they are: without competition between classes nothing has taught them to be empty.",
    "softmax": "The head gives {channels} masks for every object, which compete: a cell belongs to "
    "the class with the largest logit. That of the class the box head chose is used, against its "
    "strongest rival.",
    "agnostic": "The head gives one mask for every object, whatever its class. A sigmoid at each "
    "cell makes probabilities.",
}
_FORMULA = {
    False: "m_ij = 1 / (1 + exp(−logit_kij)),  k: the predicted class",
    True: "m_ij = 1 / (1 + exp(max_c logit_cij − logit_kij)),  c ≠ k,  k: the predicted class",
}


def steps(context: TraceContext) -> list[Step]:
    """The steps of the mask head, if there is one and something was found, and the result."""
    steps_of = []
    if "mask/logits" in context.arrays:
        if "mask/pooled" in context.arrays:
            steps_of.append(_pooled(context))
        steps_of += [_logits(context), _pasted(context)]
    return [*steps_of, _result(context)]


def _names(detections: Detections) -> list[str]:
    return [f"{n} {s:.2f}" for n, s in zip(detections.names, detections.scores, strict=True)]


def _pooled(context: TraceContext) -> Step:
    pooled = context.arrays["mask/pooled"]
    one, size = pooled[0], f"{pooled.shape[2]} × {pooled.shape[3]}"
    order = np.argsort(-np.nan_to_num(one.std(axis=(1, 2))), kind="stable")[:8]

    def draw() -> list[Picture]:
        titles = [f"channel {i}" for i in order]
        caption = f"The best object: {len(order)} of its {len(one)} channels."
        return [exact(tiles([heat(one[i]) for i in order], titles, 4, 112), caption)]

    return Step(
        key="mask-pooled",
        part=PART,
        title=f"Pooled features for the masks, {size}",
        words=("RoIAlign", "fixed size feature map"),
        paper="Mask R-CNN, sections 3 and 3.1, figure 4",
        text=(
            "The image's objects are known by now, and only their boxes are looked at again, more "
            "finely than for the class. In training the branches run side by side; in a prediction "
            "the masks come last, which is faster and better, as the boxes are better.",
        ),
        functions=(type(context.model.roi_heads).pool_masks,),
        arrays=context.pick("mask/pooled"),
        facts=(("objects", str(len(pooled))), ("numbers for each", f"{one.size:,}")),
        seconds=context.prediction.spent("mask/pooled"),
        draw=draw,
    )


def _logits(context: TraceContext) -> Step:
    logits, found = context.arrays["mask/logits"], context.prediction.detections
    channels, side = logits.shape[1], logits.shape[2]
    competing = context.model.roi_heads.mask_output == "softmax"
    names = context.class_names if channels == len(context.class_names) else context.classes
    own = np.minimum(found.labels + context.model.roi_heads.first_label, channels - 1)

    def draw() -> list[Picture]:
        count = min(SHOWN, len(found))
        assert found.mask_probs is not None
        masks = [heat(found.mask_probs[i], 0, 1) for i in range(count)]
        caption = f"{side} × {side} masks of the predicted class, probabilities 0 (dark) to 1."
        pictures = [exact(tiles(masks, _names(found)[:count], 4, 112), caption)]
        if channels > 1:
            pictures.append(_all_channels(logits[0], list(names), int(own[0])))
        return pictures

    return Step(
        key="mask-logits",
        part=PART,
        title=f"Mask logits, {side} × {side}, of the predicted class and of the others",
        words=("mask head: a fully convolutional network (FCN)", "K binary masks of m × m"),
        paper="Mask R-CNN, section 3, figure 4",
        text=(_SAID[context.model.roi_heads.mask_output].format(channels=channels),),
        formula=(_FORMULA[competing],),
        functions=(
            type(context.model.roi_heads.mask_head),
            type(context.model.roi_heads.mask_predictor),
            mask_head.mask_probabilities,
        ),
        arrays=context.pick("mask/features", "mask/logits"),
        facts=(("objects", str(len(logits))), ("mask channels", str(channels))),
        seconds=context.prediction.spent("mask/features") + context.prediction.spent("mask/log"),
        draw=draw,
    )


def _all_channels(logits: np.ndarray, names: list[str], own: int) -> Picture:
    """The masks (K, M, M) of an object in the channels of all classes, its own first."""
    strongest = np.argsort(-logits.mean(axis=(1, 2)), kind="stable")
    order = [own, *(int(k) for k in strongest if k != own)][:SHOWN]
    titles = [names[k] + (" (used)" if k == own else "") for k in order]
    caption = "The best object's masks in the channels of its own and of other classes (sigmoid)."
    return exact(tiles([heat(sigmoid(logits[k]), 0, 1) for k in order], titles, 4, 112), caption)


def _pasted(context: TraceContext) -> Step:
    found = context.prediction.detections
    soft, hard = found.soft_masks[:SHOWN], found.masks[:SHOWN]
    best = found.boxes[0] if len(found) else None

    def draw() -> list[Picture]:
        pictures = []
        if best is not None:
            first = Sheet(heat(soft[0], 0, 1)).boxes(best[None], (255, 255, 255))
            second = Sheet(gray(hard[0].astype(float))).boxes(best[None], (230, 159, 0))
            caption = "The best object's mask drawn into the image: probabilities, with its box."
            pictures = [photo(first.pixels, caption)]
            pictures.append(exact(second.pixels, f"The same, at least {THRESHOLD:g}: the mask."))
        return pictures

    rows = [
        [name, f"{mask.sum():,}", f"{mask.sum() / max(area, 1):.2f}"]
        for name, mask, area in zip(_names(found), hard, _areas(found.boxes), strict=False)
    ]
    return Step(
        key="mask-pasted",
        part=PART,
        title="Masks drawn into the image, and thresholded",
        words=("low-resolution mask, scaled up", "binary mask", "pixel-accurate mask"),
        paper="Mask R-CNN, section 3.1",
        text=(
            f"Each mask is stretched over its box by bilinear interpolation, and a pixel belongs "
            f"to the object from {THRESHOLD:g} on. Where exactly a cell lies in the box is a "
            f"matter of taste; this model does it as “{found.paste}” does.",
        ),
        formula=(f"pixel belongs to the object ⇔ m(x, y) ≥ {THRESHOLD:g}",),
        functions=(paste_mask,),
        arrays=context.pick("out/masks"),
        facts=(("objects", str(len(found))),),
        tables=(Table("Masks", ("object", "pixels", "share of its box"), rows, len(rows) > 8),),
        seconds=context.prediction.spent("out/masks"),
        draw=draw,
    )


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)


def _result(context: TraceContext) -> Step:
    found, target = context.prediction.detections, context.target
    tables: tuple[Table, ...] = ()
    facts = [
        ("objects found", str(len(found))),
        ("above 0.5", str(int((found.scores > 0.5).sum()))),
    ]
    overlaps = None
    if target is not None:
        overlaps = box_iou(found.boxes, np.ascontiguousarray(target.boxes, np.float32))
        verdicts = verdict(found, target, overlaps)
        if found.mask_probs is not None and target.masks is not None:
            verdicts = [_with_mask_iou(v, i, found, target) for i, v in enumerate(verdicts)]
        rows = [[n, v] for n, v in zip(_names(found), verdicts, strict=True)]
        tables = (Table("Right or wrong, by boxes", ("object", "verdict"), rows, len(rows) > 10),)
        facts.append(("ground-truth objects", str(len(target.boxes))))
        facts.append(("right", str(sum(v.startswith("right") for v in verdicts))))

    def draw() -> list[Picture]:
        strong = 0.5 if (found.scores > 0.5).any() else 0.0
        drawn = overlay(context.image, found.keep(slice(0, 40)), min_score=strong)
        caption = "What the model finds" + (f" with a score of {strong:g} or more." * bool(strong))
        pictures = [_fitting(drawn, caption.rstrip(".") + ".")]
        if target is not None:
            true = draw_target(context.image, target, context.classes)
            pictures.append(_fitting(true, "What is there: the ground truth."))
        if overlaps is not None and overlaps.size:
            pictures.append(_iou_chart(context, found, overlaps))
        return pictures

    return Step(
        key="result",
        part=RESULT,
        title="The result" + (" beside the ground truth" if target is not None else ""),
        words=("instance segmentation", "class label, bounding box and pixel-wise mask"),
        paper="Mask R-CNN, figure 2",
        text=(
            "Boxes are back in pixels of the image as given.",
            f"A detection is right if it overlaps an object of its class by {MATCH:g} or more that "
            "no better-scored detection has taken.",
        )[: 1 if target is None else 2],
        functions=(FasterRCNN.predict, FasterRCNN.to_image),
        arrays=context.pick("out/boxes", "out/labels", "out/scores"),
        facts=tuple(facts),
        tables=tables,
        seconds=context.prediction.total,
        draw=draw,
    )


def _with_mask_iou(lines: str, i: int, found: Detections, target: Target) -> str:
    """The verdict on detection `i`, and if it is right how well its mask fits."""
    if not lines.startswith("right") or target.masks is None:
        return lines
    mask, true = found.mask(i), target.masks[int(lines.split()[2].rstrip(","))].astype(bool)
    return f"{lines}, mask IoU {(mask & true).sum() / max((mask | true).sum(), 1):.2f}"


def _fitting(pixels: np.ndarray, caption: str) -> Picture:
    """A finished picture, reduced if it is larger than those of the other steps."""
    return photo(Sheet(pixels).pixels if max(pixels.shape[:2]) > MOST else pixels, caption)


def _iou_chart(context: TraceContext, found: Detections, overlaps: np.ndarray) -> Picture:
    rows, columns = min(len(found), 15), min(overlaps.shape[1], 10)
    assert context.target is not None
    names = [f"{i}: {context.name(int(k))}" for i, k in enumerate(context.target.labels)]
    values = overlaps[:rows, :columns]
    caption = f"IoU of the boxes of the {rows} best detections with the true ones."
    return matrix(values, _names(found)[:rows], names[:columns], caption)


def verdict(found: Detections, target: Target, overlaps: np.ndarray) -> list[str]:
    """What each detection is, best first: right, of a wrong class, a double, or nothing.

    Args:
        found: R detections.
        target: G ground-truth objects.
        overlaps: (R, G) IoU.
    """
    taken: set[int] = set()
    lines = []
    for i, label in enumerate(found.labels):
        close = [int(g) for g in np.argsort(-overlaps[i], kind="stable") if overlaps[i, g] >= MATCH]
        same = [g for g in close if target.labels[g] == label]
        free = [g for g in same if g not in taken]
        if free:
            taken.add(free[0])
            lines.append(f"right: object {free[0]}, IoU {overlaps[i, free[0]]:.2f}")
        elif same:
            lines.append(f"double: object {same[0]} has been found already")
        elif close:
            lines.append(f"wrong class: object {close[0]}, IoU {overlaps[i, close[0]]:.2f}")
        else:
            best = overlaps[i].max(initial=0)
            lines.append(f"nothing there: best IoU {best:.2f}")
    return lines
