"""The paper's ablations, and what else the textbook claims about training, as tables to be run."""

from __future__ import annotations

import difflib

from minimask.tools.textbook.ablate.networks import C4, C5, DEEPER, FPN, POOL, WARP
from minimask.tools.textbook.ablate.pose_tables import TABLE_5, TABLE_6
from minimask.tools.textbook.ablate.tables import WITHOUT_MASKS, Question, Row, Table, boxes, masks

RESNET_50_C4 = masks(30.3, 51.2, 31.5)
RESNET_50_FPN = masks(33.6, 55.2, 35.3)

TABLE_2A = Table(
    "2a",
    "backbone: the pyramid and deeper networks",
    rows=(
        Row("c4", "C4, one block a stage", C4, RESNET_50_C4),
        Row("c4-deep", "C4, two blocks a stage", {**C4, **DEEPER}, masks(32.7, 54.2, 34.3)),
        Row("c5", "C5, one block a stage", C5, masks(30.9, 51.8, 32.1) | boxes(34.0, 55.3, 36.4)),
        Row("fpn", "FPN, one block a stage", FPN, RESNET_50_FPN),
        Row("fpn-deep", "FPN, two blocks a stage", {**FPN, **DEEPER}, masks(35.4, 57.3, 37.5)),
    ),
    questions=(
        Question("fpn", "c4", "mask_AP", 3.3, source="table 2a"),
        Question("c4-deep", "c4", "mask_AP", 2.4, source="table 2a"),
        Question("fpn-deep", "fpn", "mask_AP", 1.8, source="table 2a"),
    ),
    note=(
        "The paper's depths are ResNet-50 and ResNet-101; one and two blocks a stage stand for "
        "them. Here C4 has half the channels of C5 and FPN, as its last stage runs on every "
        "region, so the rows differ in more than the level. C5's numbers are from table 2d."
    ),
)

TABLE_2B = Table(
    "2b",
    "sigmoid or softmax masks",
    rows=(
        Row(
            "softmax",
            "softmax: classes compete",
            {"mask_output": "softmax"},
            masks(24.8, 44.1, 25.1),
        ),
        Row("sigmoid", "sigmoid: a mask per class", {}, RESNET_50_C4),
        Row("agnostic", "one mask for all classes", {"mask_output": "agnostic"}, {"mask_AP": 29.7}),
    ),
    questions=(
        Question("sigmoid", "softmax", "mask_AP", 5.5, source="table 2b"),
        Question("agnostic", "sigmoid", "mask_AP", -0.6, source="section 4.2"),
    ),
    options=C4,
)

TABLE_2C = Table(
    "2c",
    "RoIPool, RoIWarp, RoIAlign at stride 16",
    rows=(
        Row("pool-max", "RoIPool, max", POOL, masks(26.9, 48.8, 26.4)),
        Row("warp-max", "RoIWarp, max", {**WARP, "roi_reduce": "max"}, masks(27.2, 49.2, 27.1)),
        Row("warp-mean", "RoIWarp, mean", WARP, masks(27.1, 48.9, 27.1)),
        Row("align-max", "RoIAlign, max", {"roi_reduce": "max"}, masks(30.2, 51.0, 31.8)),
        Row("align-mean", "RoIAlign, mean", {}, RESNET_50_C4),
    ),
    questions=(
        Question("align-mean", "pool-max", "mask_AP", 3.4, source="table 2c"),
        Question("align-mean", "warp-mean", "mask_AP", 3.2, source="table 2c"),
        Question("align-max", "warp-max", "mask_AP", 3.0, source="table 2c"),
        Question("warp-max", "pool-max", "mask_AP", source="table 2c has +0.3, no more than noise"),
    ),
    options=C4,
)

TABLE_2D = Table(
    "2d",
    "RoIPool or RoIAlign where strides are large",
    rows=(
        Row(
            "c5-pool",
            "stride 32, RoIPool",
            {**C5, **POOL},
            masks(23.6, 46.5, 21.6) | boxes(28.2, 52.7, 26.9),
        ),
        Row(
            "c5-align",
            "stride 32, RoIAlign",
            C5,
            masks(30.9, 51.8, 32.1) | boxes(34.0, 55.3, 36.4),
        ),
        Row("c4-pool", "stride 16, RoIPool", {**C4, **POOL}, masks(26.9, 48.8, 26.4)),
        Row("c4-align", "stride 16, RoIAlign", C4, RESNET_50_C4),
    ),
    questions=(
        Question("c5-align", "c5-pool", "mask_AP", 7.3, source="table 2d"),
        Question("c5-align", "c5-pool", "mask_AP75", 10.5, source="table 2d"),
        Question("c5-align", "c5-pool", "box_AP", 5.8, source="table 2d"),
        Question("c4-align", "c4-pool", "mask_AP", 3.4, source="table 2c"),
        Question("c4-align", "c4-pool", "mask_AP75", 5.1, source="table 2c"),
    ),
    note="The rows at stride 16 are those of table 2c.",
)

TABLE_2E = Table(
    "2e",
    "fully connected or convolutional mask head",
    rows=(
        Row(
            "mlp-2",
            "MLP, 2 layers of 256",
            {"mask_head": "mlp", "mask_mlp_widths": [256, 256]},
            masks(31.5, 53.7, 32.8),
        ),
        Row(
            "mlp-3",
            "MLP, 3 layers of 256",
            {"mask_head": "mlp", "mask_mlp_widths": [256, 256, 256]},
            masks(31.5, 54.0, 32.6),
        ),
        Row("fcn", "FCN, 2 convolutions", {}, RESNET_50_FPN),
    ),
    questions=(
        Question("fcn", "mlp-2", "mask_AP", 2.1, source="table 2e"),
        Question("fcn", "mlp-3", "mask_AP", 2.1, source="table 2e"),
    ),
    options=FPN,
    note="The paper's MLP has layers of 1024 and its FCN four convolutions of 256 channels.",
)

TABLE_2D_FPN = Table(
    "2d-fpn",
    "RoIPool or RoIAlign on the pyramid",
    rows=(
        Row("fpn-pool", "FPN, RoIPool", POOL),
        Row("fpn-align", "FPN, RoIAlign", {}, RESNET_50_FPN),
    ),
    questions=(
        Question("fpn-align", "fpn-pool", "mask_AP", 1.5, source="section 4.2"),
        Question("fpn-align", "fpn-pool", "box_AP", 0.5, source="section 4.2"),
    ),
    options=FPN,
    note="Strides are 4 to 32 here, so half a cell is less than at stride 32 alone.",
)

BRANCH = Table(
    "branch",
    "does learning masks help boxes?",
    rows=(
        Row("boxes", "Faster R-CNN with RoIAlign", {}, {"box_AP": 37.3}, model=WITHOUT_MASKS),
        Row("masks", "Mask R-CNN", {}, boxes(38.2, 60.3, 41.7)),
    ),
    questions=(Question("masks", "boxes", "box_AP", 0.9, source="table 3, ResNet-101-FPN"),),
    options=FPN,
    note="Same initial weights, images and sampled anchors; only the mask branch is missing.",
)

STAGES = "appendix B, against stages without shared features"
LONGER = "four steps have four times the updates here, of networks far from trained out"
JOINT = Table(
    "joint",
    "joint or alternating training",
    rows=(
        Row("joint", "joint"),
        Row(
            "four-half",
            "four steps, each half as long",
            schedule="four-step",
            train={"steps": 200, "warmup": 20},
        ),
        Row("four-full", "four steps, each as long", schedule="four-step"),
    ),
    questions=(
        Question("joint", "four-half", "mask_AP", expected=1, source=STAGES),
        Question("joint", "four-full", "mask_AP", source=LONGER),
        Question("joint", "four-full", "box_AP", source=LONGER),
    ),
    options=FPN,
    note=(
        "The four steps of the slides (Faster R-CNN, section 3.2): proposals; detector with a "
        "backbone of its own; proposals on the detector's backbone, now frozen; detector's heads "
        "on the same. In the last row each step has as many updates as joint training in all. "
        "The Mask R-CNN paper's own stages share no features, so its gain from joint training is "
        "only a hint; Faster R-CNN (version 2) finds joint training about as good."
    ),
)

SIZE = Table(
    "size",
    "number of training images",
    rows=(
        Row("25", "25 images", data={"count": 25}),
        Row("100", "100 images", data={"count": 100}),
        Row("400", "400 images", data={"count": 400}),
        Row("endless", "never the same image twice"),
    ),
    questions=(
        Question("100", "25", "mask_AP", expected=1, source="more data, fewer errors"),
        Question("400", "100", "mask_AP", expected=1, source="more data, fewer errors"),
        Question("endless", "400", "mask_AP", expected=1, source="more data, fewer errors"),
    ),
    options=FPN,
    note="Equally many updates in every row, without augmentation; few images are seen often.",
)

PROPOSALS = Table(
    "proposals",
    "masks on proposals or on detections",
    rows=(
        Row("proposals", "mask in the proposal's box", masks_on="proposals"),
        Row("detections", "mask in the refined box", masks_on="detections"),
    ),
    questions=(
        Question("detections", "proposals", "mask_AP", expected=1, source="section 3.1"),
        Question("detections", "proposals", "mask_AP75", expected=1, source="section 3.1"),
    ),
    options=FPN,
    evaluations=("detections", "proposals"),
    note="The same trained weights in both rows, evaluated twice; only masks can differ.",
)

TABLES = {
    table.key: table
    for table in (
        TABLE_2A,
        TABLE_2B,
        TABLE_2C,
        TABLE_2D,
        TABLE_2D_FPN,
        TABLE_2E,
        TABLE_5,
        TABLE_6,
        BRANCH,
        JOINT,
        SIZE,
        PROPOSALS,
    )
}


def get_table(key: str) -> Table:
    """The table of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if key not in TABLES:
        close = difflib.get_close_matches(key, TABLES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"table: expected one of {', '.join(TABLES)}, got {key!r}{hint}")
    return TABLES[key]
