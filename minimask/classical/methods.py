"""The methods by name: an image in; the class of every pixel and numbered regions out.

Letters: H W height and width in pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minimask.classical.clusters import color_and_position
from minimask.classical.edges import canny, edges
from minimask.classical.extra import need
from minimask.classical.regions import number_regions, object_side
from minimask.classical.thresholds import otsu, smaller_peak

LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
SMALLEST = 20  # pixels; smaller parts are specks


@dataclass(frozen=True)
class Options:
    """What the methods can be told.

    Attributes:
        level: of "threshold": the gray value, 0 to 255.
        groups: of "kmeans".
        position: of "kmeans": weight of the place beside the color.
        share: of "edges": least slope as a share of the steepest.
        sigma: of "canny": smoothing in pixels.
        smallest: regions of fewer pixels are left out.
        seed: of what is drawn.
    """

    level: float = 128
    groups: int = 3
    position: float = 0.3
    share: float = 0.3
    sigma: float = 2.0
    smallest: int = SMALLEST
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a method found in an image.

    Attributes:
        method: its name.
        classes: (H, W) int64, 0: background; regions of one class are not told apart.
        regions: (H, W) int64, 0, or the number of the region, from 1.
        seconds: what it took.
    """

    method: str
    classes: np.ndarray
    regions: np.ndarray
    seconds: float

    @property
    def count(self) -> int:
        """How many regions there are."""
        return int(self.regions.max(initial=0))


def gray_of(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) uint8: how bright the pixels look."""
    gray = np.rint(image[..., :3] @ LUMINANCE) if image.ndim == 3 else image
    return gray.astype(np.uint8)


def threshold(image: np.ndarray, options: Options) -> np.ndarray:
    """One gray value for all images, given by the user."""
    return object_side(gray_of(image) > options.level)


def otsu_threshold(image: np.ndarray, options: Options) -> np.ndarray:
    """One gray value for each image, by Otsu's method."""
    gray = gray_of(image)
    return object_side(gray > otsu(gray))


def histogram(image: np.ndarray, options: Options) -> np.ndarray:
    """The smaller of the histogram's two peaks."""
    return smaller_peak(gray_of(image))


def kmeans(image: np.ndarray, options: Options) -> np.ndarray:
    """Groups of color and place; that with most of the image's border is background.

    The others are classes 1, 2, ...
    """
    rng = np.random.default_rng(options.seed)
    group = color_and_position(image, options.groups, rng, options.position)
    border = np.concatenate([group[0], group[-1], group[1:-1, 0], group[1:-1, -1]])
    ground = np.bincount(border, minlength=options.groups).argmax()
    return np.where(group == ground, 0, group + (group < ground))


def sobel_edges(image: np.ndarray, options: Options) -> np.ndarray:
    """What Sobel's edges enclose."""
    ndimage = need("scipy.ndimage", "filling contours")
    filled = ndimage.binary_fill_holes(edges(gray_of(image).astype(float), options.share))
    # an edge is seen from both sides, one pixel of it outside the object; lines vanish too
    found: np.ndarray = ndimage.binary_erosion(filled)
    return found


def canny_edges(image: np.ndarray, options: Options) -> np.ndarray:
    """What Canny's edges enclose, small gaps closed."""
    edge = canny(gray_of(image), options.sigma)
    ndimage = need("scipy.ndimage", "filling contours")
    around = np.ones((3, 3), bool)
    closed = np.pad(edge, 1)  # closing eats what lies at the border
    closed = ndimage.binary_closing(closed, around)[1:-1, 1:-1]
    found: np.ndarray = ndimage.binary_opening(ndimage.binary_fill_holes(closed), around)
    return found  # lines that enclose nothing are gone


METHODS: dict[str, Callable[[np.ndarray, Options], np.ndarray]] = {
    "threshold": threshold,
    "otsu": otsu_threshold,
    "histogram": histogram,
    "kmeans": kmeans,
    "edges": sobel_edges,
    "canny": canny_edges,
}


def check_installed(method: str) -> None:
    """Raise an ImportError, which says how to install it, if a method's library is not there."""
    need("scipy.ndimage", "numbering regions")
    if method == "canny":
        need("skimage.feature", method)


def segment(image: np.ndarray, method: str, options: Options | None = None) -> Segmentation:
    """Segment an image by one of `METHODS`.

    Args:
        image: (H, W, 3) uint8 RGB, or (H, W) gray.
        method: its name.
        options: default: `Options()`.

    Raises:
        ValueError: no such method.
        ImportError: it needs a library that is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    options = options or Options()
    check_installed(method)  # imports take longer than what is measured here
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    began = time.perf_counter()
    classes = METHODS[method](image, options).astype(np.int64)
    seconds = time.perf_counter() - began
    return Segmentation(method, classes, number_regions(classes, options.smallest), seconds)
