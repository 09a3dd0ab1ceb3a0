"""Which of two lists of detections are the same objects, and how far apart they are.

Letters: A, B the detections of the first and of the second list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minimask.kernels import box_iou
from minimask.models.detections import Detections

SAME = 0.5  # IoU of boxes from which on two detections may be one object
MOST_MASKS = 50  # pairs whose masks are compared


@dataclass(frozen=True)
class Change:
    """What two predictions of one image have in common.

    Attributes:
        before: detections of the first that count.
        after: detections of the second that count.
        pairs: (P, 2) indices of detections that are one object, by falling score of the first.
        lost: indices of the first's detections without a partner.
        new: indices of the second's detections without a partner.
        relabelled: pairs of another class.
        box: the largest difference of a coordinate among the pairs, pixels; 0 without pairs.
        score: the largest difference of scores.
        mask_iou: the smallest overlap of a pair's masks; None: no pairs, or no masks.
        worst: the pair that differs most, an index into `pairs`; None: no pairs.
        points: the largest shift of a keypoint in pixels, and the largest difference of a
            keypoint's score; None: no pairs, or no keypoints.
    """

    before: int
    after: int
    pairs: np.ndarray
    lost: np.ndarray
    new: np.ndarray
    relabelled: int
    box: float
    score: float
    mask_iou: float | None
    worst: int | None
    points: tuple[float, float] | None = None

    @property
    def matched(self) -> int:
        """Objects that both found."""
        return len(self.pairs)

    @property
    def nothing(self) -> bool:
        """Whether the two are equal to the last bit."""
        same = self.matched == self.before == self.after and not self.relabelled
        still = self.mask_iou in (None, 1.0) and self.points in (None, (0.0, 0.0))
        return same and self.box == self.score == 0 and still

    def in_words(self) -> str:
        """Such as "5 of 5 found again, boxes within 0.42 px, scores 0.013, masks IoU 0.96"."""
        if self.nothing:
            return f"all {self.before} the same to the last bit"
        text = f"{self.matched} of {self.before} found again"
        if self.matched:
            text += f", boxes within {self.box:.2g} px" if self.box else ", boxes the same"
            text += f", scores within {self.score:.2g}" if self.score else ", scores the same"
            if self.mask_iou is not None:
                text += f", {masks_in_words(self.mask_iou)}"
            if self.points is not None and any(self.points):
                shift = self.points[0]
                text += f", keypoints within {shift:.2g} px" if shift else ", keypoints the same"
                text += f", their scores within {self.points[1]:.2g}"
        if self.relabelled:
            text += f", {self.relabelled} called otherwise"
        return text + (f", {len(self.new)} more" if len(self.new) else "")


def masks_in_words(iou: float) -> str:
    """How well masks agree, of the pair that agrees least."""
    return "masks the same" if iou == 1 else f"masks overlap by {_share(iou)} (IoU) or more"


def _share(iou: float) -> str:
    """An overlap near 1 with as many digits as show that it is not 1."""
    return f"{iou:.3f}" if iou < 0.999 or iou == 1 else f"{iou:.5f}"


def compare_detections(a: Detections, b: Detections, min_score: float = 0.0) -> Change:
    """Pair the detections of two predictions of one image, best first, each at most once.

    A detection takes the one that overlaps it most, of its own class if there is one, whatever that
    one's score; only those of at least `min_score` count as found, lost or new.
    """
    strong = np.flatnonzero(a.scores >= min_score)
    pairs = _pair(a, b, strong)
    taken = {int(j) for _, j in pairs}
    lost = np.array([i for i in strong if i not in set(pairs[:, 0].tolist())], np.int64)
    new = np.array(
        [j for j in np.flatnonzero(b.scores >= min_score) if int(j) not in taken], np.int64
    )
    i, j = pairs[:, 0], pairs[:, 1]
    boxes = np.abs(a.boxes[i] - b.boxes[j]).max(axis=1) if len(pairs) else np.zeros(0)
    scores = np.abs(a.scores[i] - b.scores[j])
    ious = _mask_ious(a, b, pairs)
    return Change(
        before=len(strong),
        after=int((b.scores >= min_score).sum()),
        pairs=pairs,
        lost=lost,
        new=new,
        relabelled=int((_names(a)[i] != _names(b)[j]).sum()),
        box=float(boxes.max(initial=0.0)),
        score=float(scores.max(initial=0.0)),
        mask_iou=None if ious is None or not len(ious) else float(ious.min()),
        worst=_worst(boxes, scores, ious),
        points=_points(a, b, pairs),
    )


def _names(found: Detections) -> np.ndarray:
    return np.array(found.names, dtype=object)


def _pair(a: Detections, b: Detections, strong: np.ndarray) -> np.ndarray:
    if not len(strong) or not len(b):
        return np.zeros((0, 2), np.int64)
    overlap = box_iou(
        np.ascontiguousarray(a.boxes[strong], np.float32), np.ascontiguousarray(b.boxes, np.float32)
    )
    same = _names(a)[strong][:, None] == _names(b)[None]
    rank = np.where(overlap >= SAME, overlap + same, -1.0)
    pairs = []
    for row in np.argsort(-a.scores[strong], kind="stable"):
        column = int(rank[row].argmax())
        if rank[row, column] >= 0:
            pairs.append((int(strong[row]), column))
            rank[:, column] = -1.0
    return np.array(pairs, np.int64).reshape(-1, 2)


def _mask_ious(a: Detections, b: Detections, pairs: np.ndarray) -> np.ndarray | None:
    if a.mask_probs is None or b.mask_probs is None:
        return None
    found = []
    for i, j in pairs[:MOST_MASKS]:
        one, other = a.mask(int(i)), b.mask(int(j))
        union = np.count_nonzero(one | other)
        found.append(np.count_nonzero(one & other) / union if union else 1.0)
    return np.array(found)


def _points(a: Detections, b: Detections, pairs: np.ndarray) -> tuple[float, float] | None:
    if a.keypoints is None or b.keypoints is None or not len(pairs):
        return None
    apart = np.abs(a.keypoints[pairs[:, 0]] - b.keypoints[pairs[:, 1]])
    return float(apart[..., :2].max()), float(apart[..., 2].max())


def _worst(boxes: np.ndarray, scores: np.ndarray, ious: np.ndarray | None) -> int | None:
    """Where there is most to see: the box that moved most, else the mask, else the score."""
    if not len(boxes):
        return None
    if boxes.max() > 0:
        return int(boxes.argmax())
    if ious is not None and ious.min() < 1:
        return int(ious.argmin())
    return int(scores.argmax())
