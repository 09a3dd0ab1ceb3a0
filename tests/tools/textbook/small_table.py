"""A table whose cells take a moment; run as a program it is `minimask ablate` with that table."""

from __future__ import annotations

from minimask.tools.textbook.ablate.tables import Question, Row, Table

NETWORK = {
    "features": "c5",
    "stem_channels": 8,
    "fpn_channels": 8,
    "box_head_width": 16,
    "mask_head_channels": [8],
    "mask_predictor_channels": 8,
    "anchor_sizes": [16, 32],
    "box_batch_size_per_image": 16,
    "rpn_post_nms_top_n_train": 20,
    "rpn_post_nms_top_n_test": 10,
    "box_detections_per_img": 5,
}
IMAGES = {"size": 48, "objects": [1, 1], "classes": ["circle", "star"], "val_count": 2}
SMALL = Table(
    "small",
    "a table for tests",
    rows=(
        Row("pool", "RoIPool", {"roi_op": "pool"}, {"mask_AP": 23.6}),
        Row("align", "RoIAlign", {}, {"mask_AP": 30.9}),
    ),
    questions=(Question("align", "pool", "mask_AP", 7.3, source="table 2d"),),
    options=NETWORK,
    train={"steps": 4, "batch": 2, "warmup": 1},
    data=IMAGES,
)
OTHERS = Table(
    "others",
    "four steps, and masks elsewhere",
    rows=(
        Row("four", "four steps", schedule="four-step", train={"steps": 2}),
        Row("elsewhere", "masks on proposals", masks_on="proposals"),
        Row("usual", "masks on detections"),
        Row("few", "few images", data={"count": 2}),
    ),
    questions=(),
    options=NETWORK,
    train={"steps": 4, "batch": 2, "warmup": 1},
    data=IMAGES,
    evaluations=("detections", "proposals"),
)


def register() -> None:
    """Let `minimask ablate` know both tables."""
    from minimask.tools.textbook.ablate import paper_tables

    paper_tables.TABLES.update({SMALL.key: SMALL, OTHERS.key: OTHERS})


if __name__ == "__main__":
    from minimask.tools.cli import main

    register()
    main()
