"""A jointed figure in a random pose: where its keypoints are, and the parts it is drawn from.

Lengths are shares of the figure's height, angles are measured at the joints; the pose is flat, as
a shadow on a wall, so keypoints are exact wherever the figure is put.

Letters: P = 17 keypoints, those of COCO's person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minimask.data.skeleton import COCO_PERSON

TRUNK, NECK, HEAD = 0.30, 0.045, 0.07  # length, length, radius
UPPER_ARM, FOREARM, THIGH, SHIN = 0.17, 0.155, 0.24, 0.235
SHOULDERS, HIPS = 0.105, 0.06  # half the widths
ARM_REACH = (-10.0, 150.0)  # degrees from hanging down, outward
LEG_REACH = (-8.0, 45.0)
AT = {name: i for i, name in enumerate(COCO_PERSON.names)}
FACE = tuple(AT[name] for name in ("nose", "left_eye", "right_eye"))


@dataclass(frozen=True)
class Part:
    """A piece of the figure: a round-ended stick, a disc, or a trunk with rounded corners.

    Attributes:
        corners: (1, 2), (2, 2) or (4, 2): center, ends, or corners in turn.
        radius: around them.
        paint: which of the figure's colors it has.
    """

    corners: np.ndarray
    radius: float
    paint: str


@dataclass(frozen=True)
class Pose:
    """A figure of height about 1, its hips at 0, 0; y points down.

    Attributes:
        points: (P, 2) float64.
        from_behind: whether its face is on the other side.
        parts: back to front.
    """

    points: np.ndarray
    from_behind: bool
    parts: tuple[Part, ...]


def random_pose(rng: np.random.Generator, behind: float, lean: float) -> Pose:
    """A figure that stands, walks or waves.

    Args:
        rng: draws it.
        behind: probability that it is seen from behind.
        lean: degrees that the trunk is off the vertical, at most.
    """
    from_behind = bool(rng.random() < behind)
    up = _turned(np.array([0.0, -1.0]), rng.uniform(-lean, lean))
    across = np.array([-up[1], up[0]]) * rng.uniform(0.75, 1)  # to the right in the image
    points = np.zeros((len(COCO_PERSON), 2))
    neck = TRUNK * up
    # seen from the front, a figure's left is on the right in the image
    for side, sign in (("left", -1 if from_behind else 1), ("right", 1 if from_behind else -1)):
        out = sign * across
        start = neck + SHOULDERS * out
        _chain(points, start, up, out, side, ("shoulder", "elbow", "wrist"), rng)
        _chain(points, HIPS * out, up, out, side, ("hip", "knee", "ankle"), rng)
    _head(points, neck, up, across * (-1 if from_behind else 1), rng)
    return Pose(points, from_behind, tuple(_parts(points, neck, up, from_behind)))


def _chain(
    points: np.ndarray,
    start: np.ndarray,
    up: np.ndarray,
    out: np.ndarray,
    side: str,
    names: Sequence[str],
    rng: np.random.Generator,
) -> None:
    """Three joints of an arm or a leg, each at a random angle to the one before."""
    arm = names[0] == "shoulder"
    lengths = (UPPER_ARM, FOREARM) if arm else (THIGH, SHIN)
    angle = rng.uniform(*(ARM_REACH if arm else LEG_REACH))
    bent = angle + (rng.uniform(-70, 100) if arm else rng.uniform(-45, 8))
    outward = out / np.hypot(*out)
    place = start
    for name, length, degrees in zip(names, (0.0, *lengths), (0.0, angle, bent), strict=True):
        turn = np.deg2rad(degrees)
        place = place + length * (-up * np.cos(turn) + outward * np.sin(turn))
        points[AT[f"{side}_{name}"]] = place


def _head(
    points: np.ndarray, neck: np.ndarray, up: np.ndarray, left: np.ndarray, rng: np.random.Generator
) -> None:
    """Nose, eyes and ears; the head is tilted, and looks a little to one side."""
    tilt = rng.uniform(-15, 15)
    top, left = _turned(up, tilt), _turned(left, tilt)
    center = neck + (NECK + HEAD) * top
    look = rng.uniform(-0.015, 0.015) * left
    points[AT["nose"]] = center - 0.012 * top + look
    for side, sign in (("left", 1), ("right", -1)):
        points[AT[f"{side}_eye"]] = center + 0.018 * top + sign * 0.028 * left + look
        points[AT[f"{side}_ear"]] = center + sign * HEAD * left / np.hypot(*left)


def _parts(points: np.ndarray, neck: np.ndarray, up: np.ndarray, from_behind: bool) -> list[Part]:
    def at(*names: str) -> np.ndarray:
        return points[[AT[name] for name in names]]

    parts = []
    for side in ("left", "right"):
        hip, knee, ankle = (f"{side}_{joint}" for joint in ("hip", "knee", "ankle"))
        parts += [
            Part(at(ankle), 0.04, "shoes"),
            Part(at(knee, ankle), 0.034, "trousers"),
            Part(at(hip, knee), 0.045, "trousers"),
        ]
    ears = at("left_ear", "right_ear")
    center = ears.mean(axis=0)
    parts += [
        Part(np.stack([neck, center]), 0.03, "skin"),
        Part(at("left_shoulder", "right_shoulder", "right_hip", "left_hip"), 0.045, "shirt"),
        Part(ears[:1], 0.018, "skin"),
        Part(ears[1:], 0.018, "skin"),
        Part(center[None], HEAD, "hair" if from_behind else "skin"),
    ]
    if not from_behind:
        crown = center + 0.035 * up
        parts.append(Part(crown[None] + 0.012 * up, HEAD - 0.02, "hair"))
        parts += [Part(points[[i]], 0.014, "eyes") for i in FACE[1:]]
        parts.append(Part(points[[FACE[0]]], 0.013, "nose"))
    for side in ("left", "right"):
        shoulder, elbow, wrist = (f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist"))
        parts += [
            Part(at(shoulder, elbow), 0.036, "shirt"),
            Part(at(elbow, wrist), 0.028, "skin"),
            Part(at(wrist), 0.036, "skin"),
        ]
    return parts


def _turned(direction: np.ndarray, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin], [sin, cos]]) @ direction


def field_of(corners: np.ndarray, radius: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The signed distance to a part, as `shapes_drawing` wants it: negative inside.

    Args:
        corners: as `Part.corners`, in pixels.
        radius: the same.
    """
    if len(corners) > 2:
        return _convex(corners.astype(np.float32), np.float32(radius))
    start, way = corners[0].astype(np.float32), (corners[-1] - corners[0]).astype(np.float32)
    wide, length = np.float32(radius), np.float32(np.hypot(*way))

    def disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = x - start[0], y - start[1]
        return np.sqrt(x * x + y * y) - wide

    if not length:
        return disc
    cos, sin = way / length

    def stick(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = x - start[0], y - start[1]
        along, across = cos * x + sin * y, cos * y - sin * x
        beyond = along - np.minimum(np.maximum(along, 0), length)
        return np.sqrt(beyond * beyond + across * across) - wide

    return stick


def _convex(corners: np.ndarray, radius: np.float32) -> Callable[..., np.ndarray]:
    """A convex polygon whose edges are moved outward by `radius`."""
    center = corners.mean(axis=0)
    edges = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.array([b[1] - a[1], a[0] - b[0]], np.float32)
        normal /= max(float(np.hypot(*normal)), 1e-6)
        if normal @ (center - a) > 0:
            normal = -normal
        edges.append((normal[0], normal[1], normal @ a + radius))

    def trunk(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        inside = [nx * x + ny * y - offset for nx, ny, offset in edges]
        return np.maximum.reduce(inside)

    return trunk
