"""The keypoint head: where in its box is each keypoint of an object (Mask R-CNN, section 5)?

A keypoint is one pixel of a heat map of its own, and the pixels of a map compete.

Letters: R RoIs, C channels, P keypoints of an object, S = 56 side of a heat map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.autograd.arrays import Array
from minimask.autograd.hooks import record, stage
from minimask.models.heat_maps import find_peaks, peak_probabilities
from minimask.models.initialization import conv, conv_transpose
from minimask.nn import Module, ModuleList
from minimask.system.device import download, upload

POOLED_SIZE = 14  # as for masks
HEAT_MAP_SIZE = 56  # section 5: "a relatively high resolution output is required"


class KeypointHead(ModuleList):
    """3x3 convolutions that keep the 14 x 14 layout, eight of 512 channels in the paper.

    A ReLU follows each in the same pass; other systems count it as a layer, so the parameters are
    those of layers 0, 2, 4 ...
    """

    def __init__(self, in_channels: int, channels: Sequence[int], rng: np.random.Generator):
        sizes = pairwise([in_channels, *channels])
        layers = [conv(before, after, 3, rng) for before, after in sizes]
        for i, layer in enumerate(layers):
            setattr(self, str(2 * i), layer)

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C_in, 14, 14) -> (R, C, 14, 14)."""
        for layer in self:
            pooled = layer(pooled, relu=True)
        return pooled


class KeypointPredictor(Module):
    """One heat map per keypoint, four times as fine: half of that learned, half interpolated."""

    def __init__(self, in_channels: int, num_keypoints: int, rng: np.random.Generator):
        self.kps_score_lowres = conv_transpose(
            in_channels, num_keypoints, 4, rng, stride=2, padding=1
        )

    def forward(self, features: Tensor) -> Tensor:
        """(R, C, 14, 14) -> logits (R, P, S, S)."""
        maps = self.kps_score_lowres(features)
        height, width = maps.shape[2:]
        return F.resize(maps, (2 * height, 2 * width), mode="bilinear")


@dataclass(frozen=True)
class KeypointTargets:
    """What the heat maps of some RoIs of an image should show."""

    boxes: np.ndarray  # (R, 4) the RoIs, float32
    pixels: np.ndarray  # (R, P) int64: row * S + column of the pixel that holds the keypoint
    valid: np.ndarray  # (R, P) bool: labeled, and inside the RoI; where not, pixels are 0

    def keep(self, index: np.ndarray) -> KeypointTargets:
        """Some of the RoIs."""
        return KeypointTargets(self.boxes[index], self.pixels[index], self.valid[index])


def keypoint_targets(
    keypoints: np.ndarray, boxes: np.ndarray, size: int = HEAT_MAP_SIZE
) -> KeypointTargets:
    """Which pixel of its heat map each keypoint is in.

    A pixel covers [i, i + 1) of the box divided by S; the box's far border belongs to the last.

    Args:
        keypoints: (R, P, 3) of each RoI's object: x, y, visibility; all above 0 are learned.
        boxes: (R, 4) the RoIs.
        size: S.
    """
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):  # an RoI without width holds none
        sides = far - corner
        cells = (keypoints[:, :, :2] - corner) * (np.float32(size) / sides)
        cells = np.floor(cells)  # (R, P, 2): column, row
    cells = np.where(keypoints[:, :, :2] == far, size - 1, cells)
    sound = (sides > 0) & np.isfinite(sides)
    inside = ((cells >= 0) & (cells < size) & sound).all(axis=2)
    valid = inside & (keypoints[:, :, 2] > 0)
    columns, rows = np.where(valid[:, :, None], cells, 0).astype(np.int64).transpose(2, 0, 1)
    return KeypointTargets(boxes, rows * size + columns, valid)


@stage("keypoint loss")
def keypoint_loss(
    logits: Tensor, targets: Sequence[KeypointTargets], divisor: int | None = None
) -> Tensor:
    """How little probability the heat maps give to the right pixels.

    Args:
        logits: (R, P, S, S), the RoIs of all images after each other.
        targets: per image.
        divisor: of the sum over keypoints; None: how many there are.

    Returns:
        A scalar: cross-entropy over the pixels of a map, near ln(S * S) before training; 0, with
        gradients of 0, without keypoints.
    """
    like = logits.data
    valid = np.concatenate([t.valid for t in targets]).ravel()
    pixels = np.concatenate([t.pixels for t in targets]).ravel()[valid]
    record("keypoint/targets", pixels)
    maps = ops.reshape(logits, (len(valid), logits.shape[2] * logits.shape[3]))
    labeled = maps[upload(np.flatnonzero(valid), like, "keypoints")]
    loss = F.cross_entropy(labeled, upload(pixels, like, "keypoints"))
    return loss if divisor is None else loss * (len(pixels) / divisor)


@stage("keypoint results")
def find_keypoints(logits: Array, boxes: np.ndarray, score: str = "logit") -> np.ndarray:
    """The place where each heat map, enlarged to its box, is highest; on the CPU.

    Args:
        logits: (R, P, S, S) from the predictor.
        boxes: (R, 4) what the maps lie in, in pixels.
        score: "logit": the map's height there; "probability": its share in the sum of the
            exponentials of the map.

    Returns:
        (R, P, 3) float32: x, y and score; NaN where a map has no numbers.
    """
    maps = download(logits, "heat maps")
    keypoints = find_peaks(maps, boxes)
    if score == "probability":
        keypoints[:, :, 2] = peak_probabilities(maps, keypoints[:, :, 2])
    return keypoints
