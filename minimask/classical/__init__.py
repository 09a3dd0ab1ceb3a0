"""Segmentation as it was before networks: thresholds, histograms, clusters, edges.

    from minimask import classical
    found = classical.segment(image, "otsu")          # image: (H, W, 3) uint8
    found.regions, found.count                        # numbered connected parts

What the course explains is written out here in NumPy: Otsu's threshold, the histogram's valley,
Lloyd's k-means, Sobel's slopes, region growing.  Canny's edges come from scikit-image and the
numbering of parts from SciPy: `pip install 'minimask[classical]'`.
"""

from __future__ import annotations

from minimask.classical.clusters import color_and_position, k_means
from minimask.classical.edges import edges, sobel
from minimask.classical.methods import (
    METHODS,
    Options,
    Segmentation,
    check_installed,
    gray_of,
    segment,
)
from minimask.classical.regions import components, enclosed, grow, number_regions, object_side
from minimask.classical.thresholds import between_class_variance, otsu, smaller_peak, valley

__all__ = [
    "METHODS",
    "Options",
    "Segmentation",
    "between_class_variance",
    "check_installed",
    "color_and_position",
    "components",
    "edges",
    "enclosed",
    "gray_of",
    "grow",
    "k_means",
    "number_regions",
    "object_side",
    "otsu",
    "segment",
    "smaller_peak",
    "sobel",
    "valley",
]
