"""Pictures: what the model sees beside what is there, and how training went.

Images go in and come out as (H, W, 3) uint8 arrays; `save_image` writes one.  Curves are written
to PNG files.  Nothing here touches matplotlib's global state, but that fonts are
added to its list which were installed after it was made.
"""

from __future__ import annotations

from minimask.draw.colors import PALETTE
from minimask.draw.curves import ap_curves, iou_curves, loss_curves, pr_curves
from minimask.draw.label_maps import draw_labels, label_overlay, regions
from minimask.draw.overlay import draw_detections, draw_target, overlay
from minimask.draw.sheets import check_format, compare, contact_sheet, cutouts, save_image

__all__ = [
    "PALETTE",
    "ap_curves",
    "check_format",
    "compare",
    "contact_sheet",
    "cutouts",
    "draw_detections",
    "draw_labels",
    "draw_target",
    "iou_curves",
    "label_overlay",
    "loss_curves",
    "overlay",
    "pr_curves",
    "regions",
    "save_image",
]
