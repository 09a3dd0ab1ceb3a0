"""Named settings that are known to work; whatever is given on the command line comes on top."""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    # Generated images, the small network, two to three minutes on two cores: `make demo`.
    "demo": {
        "data": "shapes",
        "shapes_size": 128,
        "model": "maskrcnn_laptop",
        "min_size": (128,),
        "max_size": 128,
        "anchors": (8, 16, 32, 64, 128),
        "steps": 450,
        "batch": 8,
        "lr": 1.5e-3,
        "warmup": 40,
        "eval_every": 225,
        "val_limit": 20,
    },
    # Cell nuclei under the microscope, ten minutes on two cores.  Nuclei have no upright
    # orientation, so flips and transposition make eight images of one; there are many per image
    # and they are small.  Say where the images are with --annotations, --images, --val-...
    "nuclei": {
        "data": "files",
        "model": "maskrcnn_laptop",
        "min_size": (256, 320, 384),
        "max_size": 512,
        "anchors": (8, 16, 32, 64, 128),
        "detections": 200,
        "options": (  # a hundred nuclei in one image need more proposals and more masks
            "rpn_pre_nms_top_n_train=1000",
            "rpn_post_nms_top_n_train=500",
            "rpn_pre_nms_top_n_test=1000",
            "rpn_post_nms_top_n_test=600",
            "mask_batch_size_per_image=16",
        ),
        "steps": 780,
        "batch": 4,
        "warmup": 100,
        "augment": ("flip", "vflip", "transpose", "photometric"),
        "eval_every": 390,
        "val_limit": 10,
    },
    # Generated people and their joints, the small network, ten minutes on two cores.  Heat maps of
    # joints take four times the steps that masks of shapes take; eight objects of an image are
    # enough of them.
    "sticks": {
        "data": "sticks",
        "shapes_size": 128,
        "model": "keypointrcnn_laptop",
        "min_size": (128,),
        "max_size": 128,
        "anchors": (8, 16, 32, 64, 128),
        "options": ("keypoint_batch_size_per_image=8", "box_batch_size_per_image=64"),
        "steps": 1500,
        "batch": 8,
        "lr": 1.5e-3,
        "warmup": 40,
        "eval_every": 500,
        "val_limit": 20,
    },
    # From weights (--weights, --backbone-weights) to one's own classes, a few minutes on two cores.
    # The stem and the first stage see edges and colors, which are the same everywhere; the rest
    # moves at half the usual rate, which networks of many classes survive.
    "finetune": {
        "data": "files",
        "steps": 300,
        "batch": 8,
        "lr": 5e-4,
        "warmup": 20,
        "trainable_layers": 3,
        "augment": ("flip", "scale", "photometric"),
        "eval_every": 100,
        "val_limit": 40,
    },
}
