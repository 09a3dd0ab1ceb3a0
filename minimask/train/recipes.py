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
    # Generated people and their joints, the small network, less than ten minutes on two cores.
    # Eight objects of an image are enough to learn from.
    "sticks": {
        "data": "sticks",
        "shapes_size": 128,
        "data_options": ("behind=0", "figures=[1,2]"),  # faces tell left from right
        "model": "keypointrcnn_laptop",
        "min_size": (128,),
        "max_size": 128,
        "anchors": (8, 16, 32, 64, 128),
        "options": ("keypoint_batch_size_per_image=8", "box_batch_size_per_image=64"),
        "steps": 1000,
        "batch": 8,
        "lr": 2e-3,
        "warmup": 40,
        "eval_every": 250,
        "val_limit": 30,
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
