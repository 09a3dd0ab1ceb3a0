"""Solutions to chapter 02, each checked: run this file.

The weights are random here: what is computed by hand must equal what the network computes anyway.
"""

from __future__ import annotations

import minimask as mm

mm.runtime.prepare()
import numpy as np

from minimask.data import Shapes
from minimask.tools.testing import assert_close
from minimask.tools.textbook.trace import trace


# ---- 1. A box is kept unless one that is kept already overlaps it too much.
def my_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """(R, 4), (R,) -> the indices of the boxes that are kept, best first."""
    overlap = mm.kernels.box_iou(boxes, boxes)  # (R, R)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not (overlap[i, kept] > threshold).any():
            kept.append(int(i))
    return kept


# ---- 2. The level follows from the side of a square as large as the box.
def levels_of(boxes: np.ndarray) -> np.ndarray:
    """(R, 4) -> (R,) 0 for P2 to 3 for P5."""
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    level = np.floor(4 + np.log2(sides / 224 + 1e-8))
    return np.clip(level, 2, 5).astype(np.int64) - 2


# ---- 3. Pixel i has its center at i + 0.5; cell j of the mask has it (j + 0.5) / 28 into the box.
def stretched(logits: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """(28, 28), x0 y0 x1 y1 -> (H, W): how likely each pixel belongs to the object."""
    mask = np.pad(1 / (1 + np.exp(-logits)), 1)
    x0, y0, x1, y1 = box
    y = (np.arange(height) + 0.5 - y0) / (y1 - y0) * 28 - 0.5 + 1  # 1 for the border
    x = (np.arange(width) + 0.5 - x0) / (x1 - x0) * 28 - 0.5 + 1
    inside = ((y >= 0) & (y <= 29))[:, None] & ((x >= 0) & (x <= 29))
    y, x = y.clip(0, 29), x.clip(0, 29)
    top, left = np.minimum(np.int64(y), 28), np.minimum(np.int64(x), 28)
    down, along = (y - top)[:, None], x - left
    rows = mask[top] * (1 - down) + mask[top + 1] * down
    return (rows[:, left] * (1 - along) + rows[:, left + 1] * along) * inside


def main() -> None:
    """Check every solution."""
    data = Shapes(size=96, seed=5)
    sizes = {"min_size": 96, "max_size": 96, "anchor_sizes": (8, 16, 32, 64, 128)}
    model = mm.models.maskrcnn_laptop(classes=data.classes, **sizes)
    run = trace(model, data[4].image)

    boxes, scores = run.rpn.proposals, run.rpn.scores
    wanted = mm.kernels.nms(boxes, scores, 0.5).tolist()
    assert my_nms(boxes, scores, 0.5) == wanted
    assert len(wanted) < len(boxes)
    print(f"1. {len(wanted)} of {len(boxes)} boxes kept, the same as minimask's")

    large = np.array([[0, 0, side, side] for side in (10, 112, 224, 448, 900)], np.float32)
    assert levels_of(large).tolist() == [0, 1, 2, 3, 3]
    assert np.array_equal(levels_of(boxes), run.rpn.levels)
    print(f"2. levels of {len(boxes)} proposals, the same as the network's")

    assert len(run.out.boxes) > 0
    masks = run.mask.logits.astype(np.float64)
    rows = run.out.labels + (model.convention.background == "first")
    for i, (box, row) in enumerate(zip(run.out.boxes.astype(np.float64), rows, strict=True)):
        ours = stretched(masks[i, row], box, 96, 96).astype(np.float32)
        assert_close(ours, run.out.masks[i, 0], atol=1e-4, rtol=0)
    print(f"3. {len(rows)} masks, the same as the network's")


if __name__ == "__main__":
    main()
