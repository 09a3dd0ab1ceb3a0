"""Keypoints and skeletons as COCO files write them, checked before anything is done with them.

In `annotations`: `keypoints`, x0 y0 v0 x1 y1 v1 ... of all P keypoints of the category, v 0 (not
labeled), 1 (hidden) or 2 (visible), and `num_keypoints`, how many are labeled.  In `categories`:
`keypoints`, their names; `skeleton`, pairs of their numbers from 1 that are joined by a line; and,
which the official files lack, perhaps `sigmas`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minimask.data.formats.coco_spelling import UNCLEAR, entries, number, whole
from minimask.data.segmentation import FAR
from minimask.data.skeleton import Skeleton
from minimask.data.spellings import from_numpy, is_nothing, shown

NO_NAMES = 'names no keypoints: list their names under "keypoints" of the category'


def plain_keypoints(value: Any) -> list[float] | None:
    """The flat list of numbers that keypoints are, also from pairs, text or NumPy; None: unclear.

    Args:
        value: of `keypoints`, which is there.
    """
    value = from_numpy(value)
    if not isinstance(value, list):
        return None
    if any(isinstance(v, list) for v in value):  # [[x, y, v], ...]
        if not all(isinstance(v, list) and len(v) == 3 for v in value):
            return None
        value = [v for point in value for v in point]
    numbers = [number(v) for v in value]
    return None if UNCLEAR in numbers else numbers  # type: ignore[return-value]


def keypoints_problem(
    flat: list[float] | None, count: int | None, height: int, width: int
) -> str | None:
    """What is wrong with keypoints as `plain_keypoints` reads them, or None.

    Args:
        flat: the numbers.
        count: P; None: any number.
        height: of the image.
        width: the same.
    """
    if flat is None:
        return "expected a list of finite numbers, x, y and visibility of each keypoint"
    if len(flat) % 3 or (count is not None and len(flat) != 3 * count):
        expected = "three for each keypoint"
        if count is not None:
            expected = f"{3 * count}, x, y and visibility of {count} keypoints"
        return f"{len(flat)} numbers; expected {expected}"
    for i in range(0, len(flat), 3):
        x, y, v = flat[i : i + 3]
        if v not in (0, 1, 2):
            return (
                f"visibility {v:g} of keypoint {i // 3 + 1}; expected 0 (not labeled), 1 (hidden) "
                "or 2 (visible)"
            )
        far = not (-FAR * width <= x <= (FAR + 1) * width)
        if v and (far or not (-FAR * height <= y <= (FAR + 1) * height)):
            return (
                f"keypoint {i // 3 + 1} at ({x:g}, {y:g}) lies far outside the image of "
                f"{width} x {height} pixels"
            )
    return None


def labeled(flat: list[float]) -> int:
    """How many of the keypoints are labeled."""
    return sum(v > 0 for v in flat[2::3])


def count_problem(flat: list[float], said: Any) -> str | None:
    """Whether `num_keypoints` says another number than there is, or None."""
    if said is None or whole(from_numpy(said)) == labeled(flat):
        return None
    return f"{shown(said)}, but {labeled(flat)} keypoints are labeled, which counts"


def outside(flat: list[float], height: int, width: int) -> int:
    """How many labeled keypoints lie outside the image, by more than a pixel."""
    return sum(
        v > 0 and not (-1 <= x <= width + 1 and -1 <= y <= height + 1)
        for x, y, v in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    )


def skeleton_of_category(category: dict[str, Any]) -> Skeleton | None:
    """The keypoints that a category names; None: it names none.

    Raises:
        ValueError: what it says makes no skeleton: a phrase that starts with the key.
    """
    names = from_numpy(category.get("keypoints"))
    if is_nothing(names):
        return None
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"keypoints: expected a list of names, got {shown(names)}")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"keypoints: {twice!r} is there twice; expected different names")
    sigmas = from_numpy(category.get("sigmas"))
    if is_nothing(sigmas):
        sigmas = None
    elif not isinstance(sigmas, list) or not all(
        isinstance(s, int | float) and 0 < s < 1e3 for s in sigmas
    ):
        raise ValueError(f"sigmas: expected {len(names)} numbers above 0, got {shown(sigmas)}")
    elif len(sigmas) != len(names):
        raise ValueError(f"sigmas: {len(sigmas)} numbers for {len(names)} keypoints")
    limbs = _limbs(from_numpy(category.get("skeleton")), len(names))
    return Skeleton.named(names, limbs, sigmas=sigmas)


def _limbs(pairs: Any, count: int) -> list[tuple[int, int]]:
    """Pairs of indices from 0, of COCO's, which count from 1."""
    if is_nothing(pairs):
        return []
    limbs = []
    for i, pair in enumerate(entries(pairs) or [pairs]):
        ends = [whole(end) for end in pair] if isinstance(pair, list) else []
        if len(ends) != 2 or not all(type(end) is int and 1 <= end <= count for end in ends):
            raise ValueError(
                f"skeleton[{i}]: expected two numbers of keypoints, 1 to {count}, got {shown(pair)}"
            )
        limbs.append((ends[0] - 1, ends[1] - 1))
    return limbs


def category_entry(skeleton: Skeleton | None) -> dict[str, Any]:
    """What a category says of its keypoints; nothing without any."""
    if skeleton is None:
        return {}
    limbs = [[a + 1, b + 1] for a, b in skeleton.limbs]
    entry: dict[str, Any] = {"keypoints": list(skeleton.names), "skeleton": limbs}
    if skeleton.sigmas != Skeleton.named(skeleton.names).sigmas:
        entry["sigmas"] = list(skeleton.sigmas)
    return entry


def common_skeleton(categories: Iterable[dict[str, Any]]) -> Skeleton | None:
    """The one skeleton of categories whose entries are sound; None where none has keypoints.

    Raises:
        ValueError: two have different ones; the message names both.
    """
    found: tuple[str, Skeleton] | None = None
    for category in categories:
        skeleton = skeleton_of_category(category)
        if skeleton is None:
            continue
        if found is not None and found[1].problem(skeleton):
            (name, other), own = found, category["name"]
            raise ValueError(
                f"the classes {name!r} and {own!r} have different keypoints, {len(other)} "
                f"({other.names[0]}, ...) and {len(skeleton)} ({skeleton.names[0]}, ...): keep one "
                "of them with --classes"
            )
        found = found or (category["name"], skeleton)
    return None if found is None else found[1]


def extent(flat: Sequence[float]) -> list[float]:
    """The box x y width height around keypoints, as pycocotools measures a detection's size."""
    x, y = flat[::3], flat[1::3]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
