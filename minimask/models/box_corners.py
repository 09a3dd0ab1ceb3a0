"""Two ways to name a box by its corners: by the edges of its pixels, or by its first and last one.

"edges": pixel i covers [i, i + 1), and a box of one pixel is 1 wide; so are all boxes outside the
network.  "pixels": matterport's networks compute with (box - [0, 0, 1, 1]) / (side - 1), 0 for the
image's first pixel and 1 for its last one.  To decoding, clipping, overlap and suppression the
division is nothing, but the 1 that is taken off is: the same deltas mean another box, as widths
count one less.  Boxes then stay in pixels here, and are divided only where features are cut out.

Letters: R boxes.
"""

from __future__ import annotations

import numpy as np

from minimask.autograd.arrays import Array, constant

CORNERS = ("edges", "pixels")
LAST = (0.0, 0.0, 1.0, 1.0)  # what the edges after the last pixel have more than its own number


def from_edges(boxes: Array, corners: str) -> Array:
    """Boxes given by their edges as `corners` names them: (R, 4) -> (R, 4)."""
    return boxes if corners == "edges" else boxes - constant(LAST, boxes)


def to_edges(boxes: Array, corners: str) -> Array:
    """The way back: (R, 4) -> (R, 4)."""
    return boxes if corners == "edges" else boxes + constant(LAST, boxes)


def span(length: int, corners: str) -> int:
    """How far the last place of so many pixels is from the first; of one pixel no less than 1."""
    return length if corners == "edges" else max(length - 1, 1)


def normalized(boxes: np.ndarray, corners: str, height: float, width: float) -> np.ndarray:
    """Matterport's coordinates: 0 and 1 are the first and last pixel of the network's input.

    boxes (R, 4) -> (R, 4) float32
    """
    side = np.array([width - 1, height - 1, width - 1, height - 1], np.float32)
    last = np.array(LAST, np.float32) * np.float32(corners == "edges")
    return (boxes - last).astype(np.float32) / np.maximum(side, 1)
