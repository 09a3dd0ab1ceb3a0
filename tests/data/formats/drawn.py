"""The same objects for the tests of every polygon format, and their masks as COCO has them."""

from __future__ import annotations

import json
import warnings

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from minimask.data.annotated import open_annotations
from minimask.data.formats import read_annotations

DISK = [30.4, 12.3, 38.7, 16.1, 41.2, 25.5, 36.6, 33.8, 27.9, 34.2, 22.3, 26.7, 24.1, 17.4]
# name of the image: height, width, objects (class, polygon)
SCENE = {
    "a.png": (60, 80, [("box", [2, 3, 20, 3, 20, 17, 2, 17]), ("disk", DISK)]),
    "b.png": (48, 64, [("disk", [v + 5 for v in DISK]), ("box", [40, 1, 64, 1, 64, 30, 40, 30])]),
    "c.png": (32, 32, []),
}


def save_images(folder, names=tuple(SCENE)):
    """Pictures of the right sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        height, width, _ = SCENE[name]
        Image.fromarray(np.full((height, width, 3), 60 + i, np.uint8)).save(folder / name)
    return folder


def write(path, content):
    """JSON, or text as it is; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def points(polygon):
    return np.reshape(polygon, (-1, 2)).tolist()


def raster(polygons, height, width):
    """(H, W) bool, by pycocotools and nothing of minimask's."""
    with warnings.catch_warnings():  # pycocotools 2.0 is not quite made for NumPy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        return rle.decode(rle.merge(rle.frPyObjects(polygons, height, width))).astype(bool)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def assert_same_as_coco(path, images=None, scene=SCENE):
    """Every image, class and mask is that of the scene; returns the data set."""
    data = open_annotations(path, images)
    assert [image["file_name"].rpartition("/")[2] for image in data.images] == list(scene)
    for sample, (height, width, objects) in zip(data, scene.values(), strict=True):
        assert sample.masks.shape == (len(objects), height, width)
        assert [data.classes[label] for label in sample.labels] == [name for name, _ in objects]
        for mask, (_, polygon) in zip(sample.masks, objects, strict=True):
            assert np.array_equal(mask, raster([polygon], height, width))
    return data


def only_mask(path, images=None):
    """The mask of a set of one object."""
    data = open_annotations(path, images)
    (mask,) = [mask for sample in data for mask in sample.masks]
    return mask


def findings(path, images=None):
    """Severities and messages of a reader."""
    return [(n.severity, f"{n.file}: {n.message}") for n in read_annotations(path, images).notes]


def one_finding(path, images=None, severity="error"):
    """The only message of that severity."""
    (message,) = [text for kind, text in findings(path, images) if kind == severity]
    return message


def exact_ellipse(height, width, cx, cy, rx, ry, degrees=0.0):
    """Pixels whose centre lies inside; degrees clockwise."""
    y, x = np.mgrid[:height, :width] + 0.5
    t = np.radians(degrees)
    u = (x - cx) * np.cos(t) + (y - cy) * np.sin(t)
    v = (y - cy) * np.cos(t) - (x - cx) * np.sin(t)
    return (u / rx) ** 2 + (v / ry) ** 2 <= 1


def brush(mask):
    """A mask in Label Studio's code: written here by runs of equal bytes, as its brush does."""
    values = np.repeat(mask.ravel() * np.uint8(255), 4)
    edges = np.flatnonzero(np.diff(values)) + 1
    bits = f"{values.size:032b}{7:05b}{3:04b}{7:04b}{15:04b}{15:04b}"
    for run in np.split(values, edges):
        for start in range(0, len(run), 1 << 16):
            part = run[start : start + (1 << 16)]
            if len(part) <= 3:  # one by one
                bits += f"0{0:02b}{len(part) - 1:04b}" + "".join(f"{v:08b}" for v in part)
            else:
                bits += f"1{2:02b}{len(part) - 1:016b}{part[0]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
