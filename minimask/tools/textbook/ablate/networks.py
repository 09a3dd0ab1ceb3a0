"""The small networks of the rows, as options of a factory."""

from __future__ import annotations

from typing import Any

# Half of ResNet's channels: a cell takes less than a minute on one core.
NARROW: dict[str, Any] = {
    "stem_channels": 32,
    "mask_head_channels": [64, 64],
    "box_batch_size_per_image": 64,
    "rpn_post_nms_top_n_train": 100,
    "rpn_post_nms_top_n_test": 50,
}
FPN = {**NARROW, "features": "fpn"}
C5 = {**NARROW, "features": "c5", "anchor_sizes": [24, 32, 48, 64]}
# The last stage runs on every region, so there are fewer regions and half the channels again.
C4 = {
    **C5,
    "features": "c4",
    "stem_channels": 16,
    "box_batch_size_per_image": 32,
    "rpn_post_nms_top_n_test": 30,
}
DEEPER = {"layers": [2, 2, 2, 2]}
POOL = {"roi_op": "pool"}
WARP = {"roi_op": "warp"}
JOINTS = {"keypoint_head_channels": [64, 64, 64, 64]}
