"""torchvision's Faster R-CNN on MobileNetV3, as it was recorded."""

import json

from recorded_systems import read

import minimask as mm


def mobilenet(goldens):
    """torchvision's recorded MobileNetV3: a quarter of the width, few channels of the pyramid."""
    at = goldens / "torchvision"
    meta = json.loads((at / "fasterrcnn_mobilenet_meta.json").read_text())
    recorded = read(at / "fasterrcnn_mobilenet_forward.npz")
    parts = meta["parts"]
    squares = recorded["rpn/anchors"][5:10]  # five sizes of ratio 1/2 before them
    sizes = (squares[:, 2] - squares[:, 0]).tolist()
    model = mm.models.fasterrcnn_mobilenet_v3_large_fpn(
        parts["classes"],
        width_multiplier=0.25,
        norm="batch",
        norm_eps=1e-3,  # the body was made as a classifier is; a detector's norms have 1e-5
        fpn_channels=parts["fpn"],
        anchor_sizes=(sizes,) * 3,
        box_head_width=parts["fc"],
        **meta["sizes"],
    )
    mm.load_weights(model, at / "fasterrcnn_mobilenet.pth")
    return model.eval()
