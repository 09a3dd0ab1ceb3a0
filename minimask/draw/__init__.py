"""Pictures: what the model sees beside what is there, and how training went.

Images go in and come out as (H, W, 3) uint8 arrays; `save_image` writes one.  Curves are written
to PNG files.  Nothing here touches matplotlib's global state, but that fonts are
added to its list which were installed after it was made.
"""

from __future__ import annotations

from minimask.draw.colors import PALETTE
from minimask.draw.curves import ap_curves, loss_curves, pr_curves
from minimask.draw.overlay import draw_detections, draw_target, overlay
from minimask.draw.sheets import compare, contact_sheet, cutouts, save_image

__all__ = [
    "PALETTE",
    "ap_curves",
    "compare",
    "contact_sheet",
    "cutouts",
    "draw_detections",
    "draw_target",
    "loss_curves",
    "overlay",
    "pr_curves",
    "save_image",
]
