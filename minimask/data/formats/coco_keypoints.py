"""The keypoints of a COCO file read entry by entry, with findings on all that has no plain meaning.

A wrong value is an error, as a broken mask is.  Keypoints that nobody can name are left out with a
warning: the masks beside them can still be learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from minimask.data import keypoint_values as values
from minimask.data.formats.coco_spelling import same_id
from minimask.data.skeleton import Skeleton
from minimask.data.spellings import is_nothing, shown

ADVICE = "correct it or leave keypoints out"
Note = Callable[..., None]  # severity, message, advice, annotation


class Keypoints:
    """What the categories of a file name, and the keypoints of its annotations.

    Args:
        note: called for every finding.
    """

    def __init__(self, note: Note) -> None:
        self.note = note
        self.skeletons: dict[str, Skeleton | None] = {}
        self.broken: set[str] = set()  # categories about which an error was said
        self.unnamed: dict[str, tuple[str, str]] = {}  # category -> its name, first place
        self.count: Counter[str] = Counter()  # annotations of each of those

    def category(self, where: str, entry: dict[str, Any]) -> dict[str, Any]:
        """The entry of a category, without keypoints that make no skeleton."""
        key = same_id(entry["id"])
        try:
            self.skeletons[key] = values.skeleton_of_category(entry)
        except ValueError as error:
            self.note("error", f"{where}.{error}")
            self.broken.add(key)
            return {k: v for k, v in entry.items() if k not in ("keypoints", "skeleton", "sigmas")}
        return entry

    def annotation(
        self, where: str, entry: dict[str, Any], category: dict[str, Any], size: tuple[int, int]
    ) -> dict[str, Any] | Literal[False]:
        """`keypoints` and `num_keypoints` of an annotation, or neither; False with an error.

        Args:
            where: the place of the annotation.
            entry: of the annotation.
            category: the entry of its category.
            size: height and width of the image.
        """
        given = entry.get("keypoints")
        key = same_id(category["id"])
        if is_nothing(given) or key in self.broken:
            return {}
        flat, skeleton = values.plain_keypoints(given), self.skeletons.get(key)
        count = None if skeleton is None else len(skeleton)
        if skeleton is None and (flat is None or not values.labeled(flat)):
            return {}
        problem = values.keypoints_problem(flat, count, *size)
        if problem or flat is None:
            got = f", got {shown(given)}" if flat is None else ""
            message = f"{where}.keypoints: {problem}{got}"
            self.note("error", message, ADVICE, entry.get("id"))
            return False
        if skeleton is None:
            self.count[key] += 1
            self.unnamed.setdefault(key, (category["name"], where))
            return {}
        self._doubts(where, entry, flat, size)
        return {"keypoints": flat, "num_keypoints": values.labeled(flat)}

    def _doubts(
        self, where: str, entry: dict[str, Any], flat: list[float], size: tuple[int, int]
    ) -> None:
        mine = entry.get("id")
        if problem := values.count_problem(flat, entry.get("num_keypoints")):
            message = f"{where}.num_keypoints: {problem}"
            self.note("warning", message, "correct it or leave num_keypoints out", mine)
        if away := values.outside(flat, *size):
            message = (
                f"{where}.keypoints: {away} labeled keypoint{'s lie' if away > 1 else ' lies'} "
                f"outside the image of {size[1]} x {size[0]} pixels"
            )
            self.note("warning", message, "give keypoints that are not in the image v 0", mine)

    def done(self, categories: list[dict[str, Any]]) -> None:
        """Say what is left out, and what the categories have not in common."""
        for key, (name, where) in self.unnamed.items():
            message = (
                f"{where}.keypoints: the category {name!r} {values.NO_NAMES}; the keypoints of "
                f"{self.count[key]} annotations are left out"
            )
            self.note("warning", message, "name them, to learn and measure keypoints")
        try:
            values.common_skeleton(categories)
        except ValueError as error:
            advice = "nothing for masks; keypoints are learned of one kind only"
            self.note("warning", f"categories: {error}", advice)
