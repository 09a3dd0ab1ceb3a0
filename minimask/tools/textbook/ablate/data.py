"""The images of a table: generated ones, or a folder of one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minimask.data.sample import Dataset

ANNOTATIONS, IMAGES = "instances.json", "images"
PARTS = ("train", "val")
# Own images are resized so that the shorter side has 256 pixels, the longer at most 384; there
# may be a hundred objects in one, which need more proposals than the few generated ones.
OWN_IMAGES: dict[str, Any] = {
    "min_size": 256,
    "max_size": 384,
    "rpn_pre_nms_top_n_train": 1000,
    "rpn_post_nms_top_n_train": 400,
    "rpn_pre_nms_top_n_test": 1000,
    "rpn_post_nms_top_n_test": 300,
    "box_detections_per_img": 200,
}
OWN_ANCHORS = [12, 24, 48, 96]  # of a single map; a pyramid keeps its own

# Objects of one to three cells of the coarsest map (stride 32): there a rounding error of half a
# cell is a good part of the object, as it is for most objects of COCO at 800 pixels.
GENERATED: dict[str, Any] = {
    "size": 128,
    "classes": ["circle", "square", "triangle"],
    "objects": [1, 3],
    "object_size": [0.25, 0.6],
    "count": None,  # never the same image twice
    "val_count": 100,
}
# One or two people, so large that heat maps of 56 cells are finer than pixels and those of a
# pooled region coarser: there the layer that pools decides (Mask R-CNN, table 6).
GENERATED_PEOPLE: dict[str, Any] = {
    "size": 128,
    "figures": [1, 2],
    "figure_size": [0.5, 0.95],
    "count": None,
    "val_count": 100,
}
OF_KIND = {"shapes": GENERATED, "sticks": GENERATED_PEOPLE}


def describe(folder: Path | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The data as part of a cell's settings: other images, other cells.

    Args:
        folder: with train/instances.json, train/images, val/...; None: generated images.
        changes: of the generated images, "kind" ("shapes" or "sticks") among them; of one's own
            only "count" is used.

    Raises:
        FileNotFoundError: a part of the folder is missing.
    """
    if folder is None:
        kind = changes.get("kind", "shapes")
        return {"kind": kind, **OF_KIND[kind], **changes}
    hashes = {}
    for part in PARTS:
        for needed in (folder / part / ANNOTATIONS, folder / part / IMAGES):
            if not needed.exists():
                raise FileNotFoundError(
                    f"--data {folder}: there is no {needed}; expected {ANNOTATIONS} (COCO) and "
                    f"the folder {IMAGES} in each of {' and '.join(PARTS)}"
                )
        content = (folder / part / ANNOTATIONS).read_bytes()
        hashes[part] = hashlib.sha256(content).hexdigest()
    return {"kind": "coco", **hashes, "count": changes.get("count")}


def open_data(
    settings: Mapping[str, Any], folder: Path | None, seed: int
) -> tuple[Dataset, Dataset]:
    """Training and validation images of a cell.

    Generated training images depend on the seed, those for validation are the same for all.
    """
    if settings["kind"] == "coco":
        assert folder is not None
        train, val = (_coco(folder / part) for part in PARTS)
        count = settings["count"]
        return (train if count is None else Some(train, count, seed)), val
    from minimask.data.registry import VALIDATION_SEED

    make = _generator(settings["kind"])
    options = {k: settings[k] for k in settings.keys() - {"kind", "count", "val_count"}}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    val = make(settings["val_count"], seed=VALIDATION_SEED, **options)
    return make(settings["count"], seed=seed, **options), val


def _generator(kind: str) -> Callable[..., Dataset]:
    from minimask.data.shapes import Shapes
    from minimask.data.sticks import Sticks

    return Sticks if kind == "sticks" else Shapes


def in_words(settings: Mapping[str, Any]) -> str:
    """The images of a cell as a report names them."""
    if settings["kind"] == "coco":
        return "own images"
    people = settings["kind"] == "sticks"
    least, most = settings["figures" if people else "objects"]
    share = settings["figure_size" if people else "object_size"]
    small, large = (round(s * settings["size"]) for s in share)
    what = "stick figures" if people else "objects"
    names = "" if people else f" ({', '.join(settings['classes'])})"
    return (
        f"generated images of {settings['size']} x {settings['size']} pixels with {least} to "
        f"{most} {what} of {small} to {large} pixels{names}; {settings['val_count']} others to "
        "measure on"
    )


def _coco(folder: Path) -> Dataset:
    from minimask.data.coco import CocoDataset

    return CocoDataset(folder / ANNOTATIONS, folder / IMAGES)


class Some:
    """So many images of a data set, drawn by `seed`."""

    def __init__(self, dataset: Dataset, count: int, seed: int) -> None:
        import numpy as np

        from minimask.data.sample import skeleton_of

        self.dataset = dataset
        self.classes, self.category_ids = dataset.classes, dataset.category_ids
        self.skeleton = skeleton_of(dataset)
        drawn = np.random.default_rng(seed).permutation(len(dataset))[:count]
        self.indices = [int(i) for i in drawn]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def describe(self, index: int) -> str:
        """Name of an item for messages."""
        return self.dataset.describe(self.indices[index])

    def coco(self) -> dict[str, Any]:
        """Annotations of the whole set: nobody evaluates on a part of it."""
        return self.dataset.coco()
