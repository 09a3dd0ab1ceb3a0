"""The operations side by side, each a call of `minimask.kernels`.

* RoIPool (Fast R-CNN, section 2.1): box and bins rounded to whole cells, the largest value.
* RoIWarp (Mask R-CNN, section 3 and Table 2c): the box rounded, the bins sampled between cells.
* RoIAlign (Mask R-CNN, section 3): nothing rounded; `aligned` says whether cell i's value sits at
  its center i + 0.5, or at i, as in the first implementations.

Letters: H W height and width of the feature map, P pooled size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.kernels import roi_align, roi_align_backward, roi_pool, roi_pool_backward
from minimask.kernels.checks import check_shape
from minimask.kernels.rois import quantize_rois
from minimask.tools.textbook.explore.scene import Scene


@dataclass(frozen=True)
class Operation:
    """One way to pool.

    Attributes:
        kind: "pool", "warp" or "align".
        name: for people.
        aligned: of RoIAlign; RoIWarp is always aligned.
        color: of its bins and lines; Okabe and Ito's, on white.
    """

    kind: str
    name: str
    aligned: bool = True
    color: str = "#0072b2"

    def region(self, scene: Scene) -> tuple[np.ndarray, float]:
        """The (1, 5) RoI that is pooled, and cells per unit of it: RoIWarp's is in whole cells."""
        if self.kind == "warp":
            return quantize_rois(scene.rois(), scene.scale), 1.0
        return scene.rois(), scene.scale


ROI_POOL = Operation("pool", "RoIPool", color="#d55e00")
ROI_WARP = Operation("warp", "RoIWarp", color="#008a64")
ROI_ALIGN_SHIFTED = Operation("align", "RoIAlign, aligned=False", aligned=False, color="#a0488a")
ROI_ALIGN = Operation("align", "RoIAlign", color="#0072b2")
OPERATIONS = (ROI_POOL, ROI_WARP, ROI_ALIGN_SHIFTED, ROI_ALIGN)


@dataclass(frozen=True)
class Pooled:
    """What an operation makes of a scene.

    Attributes:
        values: (P, P), the pooled features.
        gradient: (H, W), what comes back to each cell.
    """

    values: np.ndarray
    gradient: np.ndarray


def pool(
    scene: Scene, operation: Operation, map: str | None = None, grad: np.ndarray | None = None
) -> Pooled:
    """Pool the scene's box from its map, or from the one named.

    Samples of a bin are averaged, which is the paper's default; RoIPool takes the largest cell.

    Args:
        scene: the box, the map, P and the samples of a bin.
        operation: which way to pool.
        map: one of `scene.MAPS`; default: the scene's.
        grad: (P, P), what comes back to the bins; default: 1 to each.
    """
    features = scene.features(map)
    rois, scale = operation.region(scene)
    back = np.ones((scene.size, scene.size)) if grad is None else grad
    back = back[None, None]
    if operation.kind == "pool":
        values, argmax = roi_pool(features, rois, scene.size, spatial_scale=scale)
        gradient = roi_pool_backward(back, rois, argmax, check_shape(features.shape))
    else:
        options: dict[str, Any] = {
            "spatial_scale": scale,
            "sampling_ratio": scene.ratio,
            "aligned": operation.aligned,
        }
        values = roi_align(features, rois, scene.size, **options)
        gradient = roi_align_backward(back, rois, check_shape(features.shape), **options)
    return Pooled(values[0, 0], gradient[0, 0])
