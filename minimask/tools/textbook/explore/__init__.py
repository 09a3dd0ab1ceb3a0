"""RoIPool against RoIAlign, where the difference can be seen: one box over a small feature map.

`panel()` is the explorer for a notebook; `figure` draws a static one, `animation` a GIF, and `page`
writes a page that computes everything in the browser.  What they show comes from
`minimask.kernels`; `bins` says where the kernels read, and `misalignment` and `mask_bound` measure
what that costs.
"""

from __future__ import annotations

from typing import Any

from minimask.tools.textbook.explore.operations import OPERATIONS, Operation, pool
from minimask.tools.textbook.explore.scene import MAPS, STRIDES, Scene

__all__ = ["MAPS", "OPERATIONS", "STRIDES", "Operation", "Scene", "panel", "pool"]


def panel(scene: Scene | None = None) -> Any:
    """Sliders and pictures for a notebook: `from minimask.tools.textbook import explore`.

    Args:
        scene: what is shown first.

    Returns:
        An `ipywidgets.VBox`.

    Raises:
        ImportError: ipywidgets is not installed; says how to get it.
    """
    from minimask.tools.textbook.explore.notebook import build

    return build(scene or Scene())
