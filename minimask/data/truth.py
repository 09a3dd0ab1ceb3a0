"""A ground truth of any origin, checked before a metric or C code sees it.

What is plain is read (`formats.coco_spelling`), everything else is one sentence with its place.
Crowds, boxes without masks and unused categories are sound; ids may be text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minimask.data.formats.coco_spelling import LARGEST, entries
from minimask.data.keypoint_values import (
    category_entry,
    keypoints_problem,
    plain_keypoints,
    skeleton_of_category,
)
from minimask.data.packed_masks import sound_masks
from minimask.data.segmentation import FAR, segmentation_problem
from minimask.data.skeleton import Skeleton
from minimask.data.spellings import (
    Id,
    Ids,
    is_nothing,
    plain_box,
    plain_flag,
    plain_id,
    plain_number,
    plain_pixels,
    plain_segmentation,
    same,
    shown,
)

PARTS = ("images", "annotations", "categories")


def check_ground_truth(content: Any, name: str = "ground_truth") -> dict[str, Any]:
    """A COCO dictionary in which every value is sound; the input stays as it is.

    Args:
        content: a COCO dictionary with `images` (id, height, width), `annotations` (image_id,
            category_id, and `bbox` or `segmentation`) and `categories` (id, perhaps name).
        name: where it comes from, for messages: the file.

    Returns:
        The same three lists.  Images have id, height and width; categories id and a name that no
        other has, and where they have them `keypoints`, `skeleton` and `sigmas`; annotations
        `place` (their index in the given list), image_id and category_id as the lists write them,
        iscrowd 0 or 1, and where they have them `bbox` (x y width height in pixels, with an area),
        `segmentation` (checked polygons or run lengths), `area` and `keypoints` (3 P numbers).

    Raises:
        ValueError: something is wrong; the message has name, place (`annotations[3].bbox`) and
            reason.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected a COCO dictionary, got {type(content).__name__}")
    lists: dict[str, Any] = {}
    for part in PARTS:
        lists[part] = entries(
            list(given) if isinstance(given := content.get(part), tuple) else given
        )
        if lists[part] is None:
            raise ValueError(
                f"{name}: expected a COCO dictionary with a list under {part!r}, "
                f"got the keys {sorted(map(str, content))[:8]}"
            )
    return _Check(name).all(lists)


class _Check:
    def __init__(self, name: str) -> None:
        self.name = name
        self.skeletons: dict[Id, Skeleton | None] = {}

    def error(self, where: str, problem: str) -> ValueError:
        return ValueError(f"{self.name}: {where}: {problem}")

    def all(self, content: dict[str, list[Any]]) -> dict[str, Any]:
        images = self._unique("images", content["images"], self._image)
        categories = self._unique("categories", content["categories"], self._category)
        self.images, self.categories = (
            Ids(entry["id"] for entry in entries) for entries in (images, categories)
        )
        self.sizes = [(image["height"], image["width"]) for image in images]
        given = content["annotations"]
        self.sound = sound_masks(given)
        annotations = [self._annotation(i, given[i]) for i in _without_repeats(given)]
        _tell_apart(categories)
        return {"images": images, "annotations": annotations, "categories": categories}

    def _unique(self, part: str, entries: Any, read: Any) -> list[dict[str, Any]]:
        """The entries, each id once; the very same entry again is passed over."""
        found: dict[Id, dict[str, Any]] = {}
        for i, entry in enumerate(entries):
            where = f"{part}[{i}]"
            if not isinstance(entry, dict):
                raise self.error(where, f"expected an object, got {shown(entry)}")
            clean = read(where, entry)
            if found.setdefault(clean["id"], clean) != clean:
                problem = f"{shown(clean['id'])} is there twice, with different content"
                raise self.error(f"{where}.id", problem)
        return list(found.values())

    def _id(self, where: str, entry: dict[str, Any], key: str) -> Id:
        value = plain_id(entry.get(key))
        if value is None:
            got = shown(entry[key]) if key in entry else "nothing"
            raise self.error(f"{where}.{key}", f"expected a whole number or text, got {got}")
        return value

    def _image(self, where: str, image: dict[str, Any]) -> dict[str, Any]:
        clean: dict[str, Any] = {"id": self._id(where, image, "id")}
        for key in ("height", "width"):
            value = plain_pixels(image.get(key))
            if value is None:
                got = shown(image[key]) if key in image else "nothing"
                raise self.error(f"{where}.{key}", f"expected 1 to {LARGEST} pixels, got {got}")
            clean[key] = value
        return clean

    def _category(self, where: str, category: dict[str, Any]) -> dict[str, Any]:
        number = self._id(where, category, "id")
        name = category.get("name", f"category {number}")
        if not isinstance(name, str | int):
            raise self.error(f"{where}.name", f"expected text, got {shown(name)}")
        clean: dict[str, Any] = {"id": number, "name": str(name)}
        try:
            self.skeletons[number] = skeleton_of_category(category)
        except ValueError as error:
            raise ValueError(f"{self.name}: {where}.{error}") from None
        return clean | category_entry(self.skeletons[number])

    def _annotation(self, i: int, annotation: Any) -> dict[str, Any]:
        where = f"annotations[{i}]"
        if not isinstance(annotation, dict):
            raise self.error(where, f"expected an object, got {shown(annotation)}")
        clean: dict[str, Any] = {"place": i}
        for key, ids, noun in (
            ("image_id", self.images, "image"),
            ("category_id", self.categories, "category"),
        ):
            value = self._id(where, annotation, key)
            number = ids.find(value)
            if number is None:
                raise self.error(f"{where}.{key}", f"no {noun} has the id {shown(value)}")
            clean[key] = ids.values[number - 1]
            if noun == "image":
                height, width = self.sizes[number - 1]
        crowd = plain_flag(annotation.get("iscrowd"))
        if crowd is None:
            problem = f"expected 0 or 1, got {shown(annotation['iscrowd'])}"
            raise self.error(f"{where}.iscrowd", problem)
        clean["iscrowd"] = crowd
        mask: Any = annotation.get("segmentation")
        if not (self.sound[i] and mask["size"] == [height, width]):
            mask = self._segmentation(where, mask, height, width)
        if mask is not None:
            clean["segmentation"] = mask
        self._measures(where, annotation, clean, height, width)
        if not is_nothing(points := annotation.get("keypoints")):
            flat, skeleton = plain_keypoints(points), self.skeletons[clean["category_id"]]
            count = None if skeleton is None else len(skeleton)
            wrong = keypoints_problem(flat, count, height, width)
            if wrong:
                raise self.error(f"{where}.keypoints", wrong)
            clean["keypoints"] = flat
        return clean

    def _segmentation(self, where: str, value: Any, height: int, width: int) -> Any:
        if is_nothing(value):
            return None
        if not isinstance(value, dict) and segmentation_problem(value, height, width) is None:
            return value
        plain = plain_segmentation(value)
        if plain is None:
            return None
        problem = segmentation_problem(plain, height, width)
        if problem is not None:
            raise ValueError(f"{self.name}: {where}.segmentation{problem}")
        return plain

    def _measures(
        self, where: str, annotation: dict[str, Any], clean: dict[str, Any], height: int, width: int
    ) -> None:
        """Box and area, if they say something."""
        given = annotation.get("bbox")
        if not is_nothing(given):
            box = plain_box(given)
            problem = box_problem(box, height, width)
            if box is None or problem:
                raise self.error(f"{where}.bbox", f"{problem}, got {shown(given)}")
            if box[2] and box[3]:
                clean["bbox"] = box
        if "bbox" not in clean and "segmentation" not in clean:
            problem = "has neither a mask nor a box with an area, so no object is there"
            raise self.error(where, problem)
        area = annotation.get("area")
        if area is None:
            return
        number = plain_number(area)
        problem = area_problem(number, height, width)
        if number is None or problem:
            raise self.error(f"{where}.area", f"{problem}, got {shown(area)}")
        if number:
            clean["area"] = float(number)


def _without_repeats(annotations: Any) -> Iterator[int]:
    """Indices of all annotations but those that say the same again, id included.

    Ids may start again, as in files that were put together: nothing refers to them.
    """
    first: dict[Any, int] = {}
    for i, annotation in enumerate(annotations):
        number = plain_id(annotation.get("id")) if isinstance(annotation, dict) else None
        if number is None or first.setdefault(number, i) == i:
            yield i
        elif not same(annotations[first[number]], annotation):
            yield i


def box_problem(box: list[float] | None, height: int, width: int) -> str | None:
    """What is wrong with x y width height as `plain_box` reads them, or None."""
    if box is None:
        return "expected [x, y, width, height], four finite numbers"
    if box[2] < 0 or box[3] < 0:
        return "expected [x, y, width, height], neither size negative"
    for start, size, pixels in ((box[0], box[2], width), (box[1], box[3], height)):
        if start < -FAR * pixels or start + size > (FAR + 1) * pixels:
            return f"expected a box in the image of {width} x {height} pixels"
    return None


def area_problem(area: float | None, height: int, width: int) -> str | None:
    """What is wrong with an area as `plain_number` reads it, or None.

    COCO's metric leaves objects beyond its largest size out without a word.
    """
    if area is None or not 0 <= area <= 2 * height * width:
        return f"expected a number, the object's pixels, 0 to {height * width}"
    return None


def _tell_apart(categories: list[dict[str, Any]]) -> None:
    """Give categories of one name their ids too, as a table has a row for each name."""
    names = [category["name"] for category in categories]
    for category in categories:
        if names.count(category["name"]) > 1:
            category["name"] += f" (id {category['id']})"
