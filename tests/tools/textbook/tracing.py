"""Small models and images that a trace is made of in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from minimask import models
from minimask.data.shapes import Shapes
from minimask.models import Target

SIDE = 96
SMALL: dict[str, Any] = {
    "block": "basic",
    "layers": [1, 1, 1, 1],
    "stem_channels": 8,
    "norm": "batch",
    "fpn_channels": 8,
    "anchor_sizes": [8, 16, 32, 48, 64],
    "box_head_width": 16,
    "mask_head_channels": [8],
    "mask_predictor_channels": 8,
    "min_size": None,
    "rpn_pre_nms_top_n_test": 60,
    "rpn_post_nms_top_n_test": 40,
    "rpn_pre_nms_top_n_train": 60,
    "rpn_post_nms_top_n_train": 40,
    "box_detections_per_img": 7,
    "box_score_thresh": 0.05,
}
CLASSES = Shapes(1).classes


def small(name: str = "mask_rcnn", **options: Any) -> Any:
    """An untrained network whose losses are not all alike: its biases are drawn too."""
    model = models.build({"model": name, "classes": list(CLASSES), **SMALL, **options})
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        if parameter.data.ndim == 1:
            noise = rng.normal(0, 0.2, parameter.data.shape)
            parameter.data[...] += noise.astype(np.float32)
    model.eval()
    return model


def subject(seed: int = 5, size: Any = SIDE) -> tuple[np.ndarray, Target]:
    """A generated image and its objects."""
    sample = Shapes(None, size, seed)[0]
    return sample.image, sample.target
