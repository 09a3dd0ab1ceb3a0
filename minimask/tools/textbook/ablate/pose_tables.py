"""The paper's tables on people's keypoints (Mask R-CNN, section 5), on generated stick figures."""

from __future__ import annotations

from minimask.tools.textbook.ablate.networks import FPN, JOINTS, POOL
from minimask.tools.textbook.ablate.tables import Question, Row, Table, keypoints

WITH_KEYPOINTS = "keypointrcnn_laptop"
ONLY_BOXES = {"box_AP": 52.5}
ROI_POOL = keypoints(59.8, 86.2, 66.7)
ROI_ALIGN = keypoints(64.2, 86.6, 69.7)  # also table 5's "keypoint-only"

TABLE_5 = Table(
    "5",
    "boxes, masks and keypoints of people together",
    rows=(
        Row("boxes", "Faster R-CNN", {}, ONLY_BOXES, model="fasterrcnn_laptop"),
        Row("masks", "Mask R-CNN", {}, {"box_AP": 53.6, "mask_AP": 45.8}),
        Row(
            "keypoints",
            "Keypoint R-CNN",
            JOINTS,
            {"box_AP": 50.7} | ROI_ALIGN,
            model=WITH_KEYPOINTS,
        ),
        Row(
            "both",
            "masks and keypoints",
            JOINTS,
            {"box_AP": 52.0, "mask_AP": 45.1, "keypoints_AP": 64.7},
            model="maskkeypointrcnn_laptop",
        ),
    ),
    questions=(
        Question("masks", "boxes", "box_AP", 1.1, source="table 5"),
        Question("keypoints", "boxes", "box_AP", -1.8, source="table 5"),
        Question("both", "masks", "mask_AP", -0.7, source="table 5"),
        Question("both", "keypoints", "keypoints_AP", 0.5, source="table 5"),
    ),
    options=FPN,
    data={"kind": "sticks"},
    note="The paper's images are COCO's with people, its network ResNet-50-FPN.",
)

TABLE_6 = Table(
    "6",
    "RoIPool or RoIAlign for keypoints",
    rows=(
        Row(
            "pool", "RoIPool", {**JOINTS, **POOL}, keypoints(59.8, 86.2, 66.7), model=WITH_KEYPOINTS
        ),
        Row("align", "RoIAlign", JOINTS, ROI_ALIGN, model=WITH_KEYPOINTS),
    ),
    questions=(
        Question("align", "pool", "keypoints_AP", 4.4, source="table 6"),
        Question("align", "pool", "keypoints_AP75", 3.0, source="table 6"),
    ),
    options=FPN,
    data={"kind": "sticks"},
    note="RoIAlign's row is that of table 5.",
)
