"""Small data sets in the formats that hold pixels, and what must be read from them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from minimask.data.annotations import Annotations
from minimask.data.formats.pascal_voc import voc_colour
from minimask.data.segmentation import decode

W, H = 48, 40
LAST = 3  # number of the last object of each image
CODES = {"box": "/m/01", "disk": "/m/02"}
CITY = {"box": 26, "disk": 24}
CITY_NAMES = {"box": "car", "disk": "person"}

Objects = list[tuple[str, np.ndarray]]  # class and mask (H, W)


@dataclass
class Made:
    """A data set: where it is, and what it holds.

    Attributes:
        path: of the annotations.
        images: folder; None where they lie beside.
        want: stem of each image -> (class, mask, crowd) of each object.
        files: that may be damaged.
    """

    path: pathlib.Path
    images: pathlib.Path | None
    want: dict[str, list[tuple[str, np.ndarray, bool]]]
    files: list[pathlib.Path] = field(default_factory=list)


def scene(k: int) -> Objects:
    """Objects that do not overlap: with a hole, in two pieces, of one pixel, at the border."""
    y, x = np.mgrid[:H, :W]
    distance = np.hypot(y - 12 - k, x - 14)
    empty = np.zeros((H, W), bool)
    ring = (distance < 9) & (distance > 4)
    pieces, pixel, edge = empty.copy(), empty.copy(), empty.copy()
    pieces[4:9, 28:34] = pieces[14:20, 36:40] = True
    pixel[30 + k, 5] = True
    edge[31:, 30 - k :] = True
    return [("disk", ring), ("box", pieces), ("disk", pixel), ("box", edge)]


def scenes() -> dict[str, Objects]:
    return {f"img_{k}": scene(k) for k in range(3)}


def photo(k: int) -> Image.Image:
    grain = np.random.default_rng(k).integers(0, 255, (H, W, 3), dtype=np.uint8)
    return Image.fromarray(grain)


def save_images(folder: pathlib.Path, name: str = "{}.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, stem in enumerate(scenes()):
        photo(k).save(folder / name.format(stem))


def wanted(one: str | None = None, name: str = "{}") -> dict[str, list]:
    return {
        name.format(stem): [(one or kind, mask, False) for kind, mask in objects]
        for stem, objects in scenes().items()
    }


def numbered(objects: Objects, value: Callable[[int, str], int] = lambda i, _: i + 1) -> np.ndarray:
    labels = np.zeros((H, W), np.int64)
    for i, (kind, mask) in enumerate(objects):
        labels[mask] = value(i, kind)
    return labels


def palette_image(values: np.ndarray) -> Image.Image:
    picture = Image.fromarray(values.astype(np.uint8), "L").convert("L")
    picture.putpalette([v for i in range(256) for v in _bytes(voc_colour(i))])
    return picture


def _bytes(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 255, colour & 255


def colour_image(colours: np.ndarray) -> Image.Image:
    channels = [colours >> 16, colours >> 8 & 255, colours & 255]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def save_labels(path: pathlib.Path, labels: np.ndarray, kind: str) -> None:
    """As one of: u8, u16 (I;16), i32 (I), f32, palette, rgb, npy."""
    if kind == "npy":
        np.save(path, labels.astype(np.uint16))
    elif kind == "palette":
        palette_image(labels).save(path)
    elif kind == "rgb":
        colour_image(labels * 0x1F3A57 % 0xFFFFFF).save(path)
    else:
        types = {"u8": np.uint8, "u16": np.uint16, "i32": np.int32, "f32": np.float32}
        Image.fromarray(labels.astype(types[kind])).save(path)


def label_images(root: pathlib.Path, kind: str = "u16", suffix: str = ".png") -> Made:
    """StarDist: images/ and masks/ of equal names."""
    save_images(root / "images")
    (root / "masks").mkdir()
    for stem, objects in scenes().items():
        save_labels(root / "masks" / f"{stem}{suffix}", numbered(objects), kind)
    return Made(root, None, wanted("object"), sorted((root / "masks").iterdir()))


def cellpose(root: pathlib.Path, ending: str = "_cp_masks.png") -> Made:
    """X.png and X_cp_masks.png in one folder."""
    save_images(root)
    for stem, objects in scenes().items():
        save_labels(root / f"{stem}{ending}", numbered(objects), "u16")
    return Made(root, None, wanted("object"), sorted(root.glob(f"*{ending}")))


def mask_folders(root: pathlib.Path, classes: bool = False) -> Made:
    """ID/images/ID.png and ID/masks/*.png, or ID/masks/CLASS/*.png."""
    for k, (stem, objects) in enumerate(scenes().items()):
        (root / stem / "images").mkdir(parents=True)
        photo(k).save(root / stem / "images" / f"{stem}.png")
        for i, (kind, mask) in enumerate(objects):
            folder = root / stem / "masks" / (kind if classes else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{i}.png")
    return Made(
        root, None, wanted(None if classes else "object"), sorted(root.glob("*/masks/**/*.png"))
    )


def shared_folders(root: pathlib.Path, by: str = "class") -> Made:
    """images/X.png with masks/CLASS/X_0.png, or masks/X/CLASS/0.png."""
    save_images(root / "images")
    for stem, objects in scenes().items():
        for i, (kind, mask) in enumerate(objects):
            folder = root / "masks" / (kind if by == "class" else f"{stem}/{kind}")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / f"{stem}_{i}.png")
    return Made(root, None, wanted(), sorted((root / "masks").rglob("*.png")))


def beside(root: pathlib.Path) -> Made:
    """X.png with X_0_CLASS.png beside it."""
    save_images(root)
    for stem, objects in scenes().items():
        for i, (kind, mask) in enumerate(objects):
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"{stem}_{i}_{kind}.png")
    return Made(root, None, wanted(), sorted(root.glob("*_*_*.png")))


def pascal_voc(root: pathlib.Path, cvat: bool = False) -> Made:
    """Palette files with an edge of 255; or as CVAT exports: colours and labelmap.txt."""
    save_images(root / "JPEGImages", "{}.jpg")
    for name in ("SegmentationObject", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    kinds = ["box", "disk"]
    want = wanted()
    for stem, objects in scenes().items():
        edge = np.zeros((H, W), bool)
        edge[14:20, 39] = True  # the last column of the second object
        for name, value in (
            ("Object", lambda i, _: i + 1),
            ("Class", lambda _, kind: kinds.index(kind) + 1),
        ):
            values = numbered(objects, value)
            values[edge] = 255
            if cvat:
                picture = colour_image(np.vectorize(voc_colour)(values))
            else:
                picture = palette_image(values)
            picture.save(root / f"Segmentation{name}" / f"{stem}.png")
        want[stem] = [(kind, mask & ~edge, crowd) for kind, mask, crowd in want[stem]]
    if cvat:
        (root / "labelmap.txt").write_text(
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\nbox:128,0,0::\ndisk:0,128,0::\n"
        )
    else:
        voc = {"box": "aeroplane", "disk": "bicycle"}
        want = {s: [(voc[kind], m, c) for kind, m, c in objects] for s, objects in want.items()}
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(list(scenes())[:2]))
    files = [*root.glob("Segmentation*/*.png"), root / "ImageSets/Segmentation/train.txt"]
    return Made(root, None, want, sorted([*files, *root.glob("labelmap.txt")]))


def cityscapes(root: pathlib.Path) -> Made:
    """The last object of each image is a group."""
    folder = root / "gtFine" / "train" / "a"
    folder.mkdir(parents=True)
    save_images(root / "leftImg8bit" / "train" / "a", "a_{}_leftImg8bit.png")
    want = {}
    for stem, objects in scenes().items():
        labels = numbered(objects, lambda i, k: CITY[k] if i == LAST else CITY[k] * 1000 + i)
        labels[0, 40:] = 7  # road
        labels[1, 40:] = 29_000  # a caravan, which is not measured
        Image.fromarray(labels.astype(np.uint16)).save(folder / f"a_{stem}_gtFine_instanceIds.png")
        want[f"a_{stem}_leftImg8bit"] = [
            (CITY_NAMES[kind], mask, i == LAST) for i, (kind, mask) in enumerate(objects)
        ]
    return Made(root, None, want, sorted(folder.iterdir()))


def city_polygons(root: pathlib.Path) -> Made:
    """*_polygons.json alone: a rectangle of a car, a pole over it, a group of people."""
    folder = root / "gtFine" / "train" / "a"
    folder.mkdir(parents=True)
    save_images(root / "leftImg8bit" / "train" / "a", "a_{}_leftImg8bit.png")
    car, people = np.zeros((H, W), bool), np.zeros((H, W), bool)
    car[5:21, 5:31] = True
    car[:, 10:13] = False
    people[25:36, 5:16] = True
    objects = [
        {"label": "car", "polygon": [[5, 5], [30, 5], [30, 20], [5, 20]]},
        {"label": "pole", "polygon": [[10, 0], [12, 0], [12, 39], [10, 39]]},
        {"label": "persongroup", "polygon": [[5, 25], [15, 25], [15, 35], [5, 35]]},
    ]
    people[:, 10:13] &= True
    content = {"imgHeight": H, "imgWidth": W, "objects": objects}
    want = {}
    for stem in scenes():
        (folder / f"a_{stem}_gtFine_polygons.json").write_text(json.dumps(content))
        want[f"a_{stem}_leftImg8bit"] = [("car", car, False), ("person", people, True)]
    return Made(root, None, want, sorted(folder.iterdir()))


def open_images(root: pathlib.Path) -> Made:
    """Masks of twice the image's size; the last object of each image is a group."""
    save_images(root / "images", "{}.jpg")
    (root / "masks").mkdir()
    rows = ["MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"]
    boxes = [
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
    ]
    want = {}
    for stem, objects in scenes().items():
        want[stem] = []
        for i, (kind, mask) in enumerate(objects):
            name = f"{stem}_{CODES[kind][3:]}_{i:08x}.png"
            Image.fromarray(mask.repeat(2, 0).repeat(2, 1)).save(root / "masks" / name)
            ys, xs = np.nonzero(mask)
            sides = (xs.min() / W, (xs.max() + 1) / W, ys.min() / H, (ys.max() + 1) / H)
            box = ",".join(f"{side:.6f}" for side in sides)
            group = int(i == LAST)
            rows.append(f"{name},{stem},{CODES[kind]},{i:08x},{box},0.0,")
            boxes.append(f"{stem},xclick,{CODES[kind]},1,{box},0,0,{group}")
            want[stem].append((kind, mask, bool(group)))
    table = root / "train-annotations-object-segmentation.csv"
    table.write_text("\n".join(rows))
    (root / "train-annotations-bbox.csv").write_text("\n".join(boxes))
    (root / "class-descriptions.csv").write_text("/m/01,box\n/m/02,disk\n")
    return Made(table, root / "images", want, [*root.glob("*.csv"), *root.glob("masks/*.png")])


# format -> maker, for the tests of damaged files
MAKERS: dict[str, Callable[[pathlib.Path], Made]] = {
    "label_images": label_images,
    "mask_folders": mask_folders,
    "pascal_voc": pascal_voc,
    "cityscapes": cityscapes,
    "open_images": open_images,
}


def held(found: Annotations) -> dict[str, list[tuple[str, bytes, bool]]]:
    """Stem of each image -> class, mask and crowd flag of each object, in a fixed order."""
    names = {c["id"]: c["name"] for c in found.categories}
    result: dict[str, list] = {}
    for image in found.images:
        result[pathlib.PurePosixPath(image["file_name"]).stem] = sorted(
            (
                names[a["category_id"]],
                np.packbits(decode(a["segmentation"], image["height"], image["width"])).tobytes(),
                bool(a["iscrowd"]),
            )
            for a in found.annotations
            if a["image_id"] == image["id"]
        )
    return result


def packed(want: dict[str, list[tuple[str, np.ndarray, bool]]]) -> dict[str, list]:
    """The same of what a maker says."""
    return {
        stem: sorted((kind, np.packbits(mask).tobytes(), crowd) for kind, mask, crowd in objects)
        for stem, objects in want.items()
    }
