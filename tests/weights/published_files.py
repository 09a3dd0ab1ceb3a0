"""The published files of four systems, and what `read_source` must say of each.

`python tests/weights/published_files.py` prints the table of docs/weights.md.
"""

from __future__ import annotations

import pathlib
from functools import partial
from typing import Any

from published import Published, detectron2, matterport, mmdet
from published_torchvision import caffe2, classifier, detectron2_body, retinanet, torchvision

FAIR_STD = (57.375, 57.12, 58.395)
LATE: dict[str, Any] = {"stride_in_1x1": False}
LVIS = {"box_score_thresh": 0.0001, "box_detections_per_img": 300}
FEW_CLASSES = {"ms-1x_coco-person": 1, "ms-1x_coco-person-bicycle-car": 3}
FAMILIES = {"mask_rcnn": "Mask R-CNN", "faster_rcnn": "Faster R-CNN", "rpn": "RPN"}


def _detectron2(name: str, title: str, convention: str = "detectron2", **given: Any) -> Published:
    classes, options = given.pop("classes", 80), given.pop("options", {})
    make = partial(detectron2, classes=classes, **given)
    return Published("detectron2", name, make, title, classes, convention, options)


def _refused(name: str, refused: str, *signs: str, rpn: bool = True) -> Published:
    def make() -> dict[str, Any]:
        return detectron2(mask=False, rpn=rpn) | dict.fromkeys(signs, (1,))

    return Published("detectron2", name, make, refused=refused)


def _zoo() -> list[Published]:
    """The 64 of detectron2's model_zoo.py."""
    files = []
    for family, folder, mask in (
        ("faster_rcnn", "COCO-Detection", False),
        ("mask_rcnn", "COCO-InstanceSegmentation", True),
    ):
        for depth, features, times in (
            *((50, f, t) for t in ("1x", "3x") for f in ("C4", "DC5", "FPN")),
            *((101, f, "3x") for f in ("C4", "DC5", "FPN")),
        ):
            name = f"{folder}/{family}_R_{depth}_{features}_{times}"
            title = f"{FAMILIES[family]} R{depth}-{features}"
            options = {} if features == "FPN" else {"rpn_pre_nms_top_n_test": 6000}
            given = {"depth": depth, "features": features.lower(), "mask": mask}
            files.append(_detectron2(name, title, options=options, **given))
        files.append(_x101(f"{folder}/{family}_X_101_32x8d_FPN_3x", FAMILIES[family], mask=mask))
    files += [
        _refused(
            f"COCO-Detection/retinanet_R_{d}_FPN_{t}",
            "a RetinaNet",
            "head.cls_score.weight",
            rpn=False,
        )
        for d, t in ((50, "1x"), (50, "3x"), (101, "3x"))
    ]
    files += [
        _detectron2(
            "COCO-Detection/rpn_R_50_C4_1x",
            "RPN R50-C4",
            features="c4",
            mask=False,
            heads=False,
            classes=1,
        ),
        _detectron2(
            "COCO-Detection/rpn_R_50_FPN_1x", "RPN R50-FPN", mask=False, heads=False, classes=1
        ),
        _detectron2(
            "COCO-Detection/fast_rcnn_R_50_FPN_1x", "Fast R-CNN R50-FPN", mask=False, rpn=False
        ),
    ]
    for depth in (50, 101):
        for epochs in (100, 200, 400):
            files.append(_lsj(f"new_baselines/mask_rcnn_R_{depth}_FPN_{epochs}ep_LSJ", depth))
    for kind in "xy":
        for epochs in (100, 200, 400):
            name = f"new_baselines/mask_rcnn_regnet{kind}_4gf_dds_FPN_{epochs}ep_LSJ"
            files.append(_refused(name, "RegNet", "backbone.bottom_up.s1.b1.a.weight"))
    for depth, times in ((50, "1x"), (50, "3x"), (101, "3x")):
        name = f"COCO-Keypoints/keypoint_rcnn_R_{depth}_FPN_{times}"
        files.append(_keypoints(name, depth))
    files.append(
        _x101(
            "COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x",
            "Keypoint R-CNN",
            mask=False,
            keypoints=True,
            classes=1,
        )
    )
    files += [
        _refused(
            f"COCO-PanopticSegmentation/panoptic_fpn_{n}",
            "a Panoptic FPN",
            "sem_seg_head.p2.0.weight",
        )
        for n in ("R_50_1x", "R_50_3x", "R_101_3x")
    ]
    files += _other_data_sets() + _misc()
    for name, title, given in (
        ("faster_rcnn_R_50_FPN_noaug_1x", "Faster R-CNN R50-FPN", {"mask": False}),
        ("mask_rcnn_R_50_FPN_noaug_1x", "Mask R-CNN R50-FPN", {}),
        (
            "keypoint_rcnn_R_50_FPN_1x",
            "Keypoint R-CNN R50-FPN",
            {"mask": False, "keypoints": True, "classes": 1},
        ),
    ):
        files.append(_detectron2(f"Detectron1-Comparisons/{name}", title, **given))
    return files


def _x101(name: str, family: str, **given: Any) -> Published:
    given = {"depth": 101, "groups": 32, "base": 8, "std": FAIR_STD, **given}
    return _detectron2(name, f"{family} X101-32x8d-FPN", "detectron2_3x3", **given)


def _keypoints(name: str, depth: int) -> Published:
    given = {"depth": depth, "mask": False, "keypoints": True, "classes": 1}
    return _detectron2(name, f"Keypoint R-CNN R{depth}-FPN", **given)


def _lsj(name: str, depth: int) -> Published:
    title = f"Mask R-CNN R{depth}-FPN with 4 convolutions in the box head and batch norm"
    given = {"depth": depth, "kind": "batch", "box_convs": 4, "rpn_convs": 2, "buffers": False}
    return _detectron2(name, title, **given)


def _other_data_sets() -> list[Published]:
    there = "LVISv0.5-InstanceSegmentation/mask_rcnn"
    lvis = {"classes": 1230, "options": LVIS}
    return [
        _detectron2(f"{there}_R_50_FPN_1x", "Mask R-CNN R50-FPN", **lvis),
        _detectron2(f"{there}_R_101_FPN_1x", "Mask R-CNN R101-FPN", depth=101, **lvis),
        _x101(f"{there}_X_101_32x8d_FPN_1x", "Mask R-CNN", **lvis),
        _detectron2(
            "Cityscapes/mask_rcnn_R_50_FPN",
            "Mask R-CNN R50-FPN",
            classes=8,
            options={"max_size": 2048},
        ),
        _detectron2(
            "PascalVOC-Detection/faster_rcnn_R_50_C4",
            "Faster R-CNN R50-C4",
            features="c4",
            mask=False,
            classes=20,
        ),
    ]


def _misc() -> list[Published]:
    files = [
        _refused(
            f"Misc/mask_rcnn_R_50_FPN_{t}_dconv_c3-c5",
            "deformable",
            "backbone.bottom_up.res3.0.conv2_offset.weight",
        )
        for t in ("1x", "3x")
    ]
    cascade = "roi_heads.box_head.0.fc1.weight"
    files += [
        _refused(f"Misc/cascade_mask_rcnn_R_50_FPN_{t}", "Cascade", cascade) for t in ("1x", "3x")
    ]
    for name, kind in (
        ("mask_rcnn_R_50_FPN_3x_syncbn", "batch"),
        ("mask_rcnn_R_50_FPN_3x_gn", "group"),
        ("scratch_mask_rcnn_R_50_FPN_3x_gn", "group"),
        ("scratch_mask_rcnn_R_50_FPN_9x_gn", "group"),
        ("scratch_mask_rcnn_R_50_FPN_9x_syncbn", "batch"),
    ):
        title = f"Mask R-CNN R50-FPN with 4 convolutions in the box head and {kind} norm"
        given = {"kind": kind, "box_convs": 4, "buffers": "9x_s" not in name, "options": LATE}
        files.append(_detectron2(f"Misc/{name}", title, **given))
    return [
        *files,
        _refused(
            "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x",
            "Panoptic",
            cascade,
            "sem_seg_head.p2.0.weight",
        ),
        _refused("Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv", "Cascade", cascade),
    ]


def _mmdet(family: str, body: str, features: str, rest: str) -> Published:
    """One of mmdetection's, by the parts of its name."""
    caffe, resnext = body.endswith("-caffe"), body.startswith("x101")
    depth = 101 if "101" in body else 50
    given: dict[str, Any] = {"depth": depth, "caffe": caffe, "features": features}
    title = f"{FAMILIES[family]} R{depth}-{features.upper()}"
    options: dict[str, Any] = {}
    if resnext:
        groups, base = map(int, body.removeprefix("x101-").rstrip("d").split("x"))
        given |= {"groups": groups, "base": base}
        title = f"{FAMILIES[family]} X101-{groups}x{base}d-FPN"
        if base == 8:
            given["caffe"], options = True, {"channels": "bgr", "pixel_std": list(FAIR_STD)}
    given["mask"], given["heads"] = family == "mask_rcnn", family != "rpn"
    join = "_" if features == "fpn" else "-"
    name = f"{family.replace('_', '-')}_{body}{join}{features}_{rest}"
    convention = "mmdet_caffe" if caffe else "mmdet"
    classes = 80 if family != "rpn" else 1
    if rest in FEW_CLASSES:
        given["classes"] = classes = FEW_CLASSES[rest]
    return Published("mmdet", name, partial(mmdet, **given), title, classes, convention, options)


def _metafiles() -> list[Published]:
    """The 57 of mmdetection's mask_rcnn, faster_rcnn and rpn."""
    lists = {
        "mask_rcnn": {
            "r50-caffe": ("1x_coco", "ms-poly-2x_coco", "ms-poly-3x_coco"),
            "r50": ("1x_coco", "2x_coco", "ms-poly-3x_coco"),
            "r101-caffe": ("1x_coco", "ms-poly-3x_coco"),
            "r101": ("1x_coco", "2x_coco", "ms-poly-3x_coco"),
            "x101-32x4d": ("1x_coco", "2x_coco", "ms-poly-3x_coco"),
            "x101-64x4d": ("1x_coco", "2x_coco", "ms-poly-3x_coco"),
            "x101-32x8d": ("1x_coco", "ms-poly-1x_coco", "ms-poly-3x_coco"),
        },
        "faster_rcnn": {
            "r50-caffe": ("1x_coco", "ms-2x_coco", "ms-3x_coco", *FEW_CLASSES),
            "r50": (
                *("1x_coco", "2x_coco", "ms-3x_coco"),
                *("iou_1x_coco", "giou_1x_coco", "bounded-iou_1x_coco", "tnr-pretrain_1x_coco"),
            ),
            "r101-caffe": ("1x_coco", "ms-3x_coco"),
            "r101": ("1x_coco", "2x_coco", "ms-3x_coco"),
            "x101-32x4d": ("1x_coco", "2x_coco", "ms-3x_coco"),
            "x101-64x4d": ("1x_coco", "2x_coco", "ms-3x_coco"),
            "x101-32x8d": ("ms-3x_coco",),
        },
        "rpn": {
            "r50-caffe": ("1x_coco",),
            "r50": ("1x_coco", "2x_coco"),
            "r101-caffe": ("1x_coco",),
            "x101-32x4d": ("1x_coco", "2x_coco"),
            "x101-64x4d": ("1x_coco", "2x_coco"),
        },
    }
    files = [
        _mmdet(family, body, "fpn", rest)
        for family, bodies in lists.items()
        for body, names in bodies.items()
        for rest in names
    ]
    files += [_mmdet(f, "r50-caffe", "c4", "1x_coco") for f in ("mask_rcnn", "faster_rcnn")]
    dc5 = ("1x_coco", "ms-1x_coco", "ms-3x_coco")
    return files + [_mmdet("faster_rcnn", "r50-caffe", "dc5", rest) for rest in dc5]


def _torchvision(name: str, model: str, make: Any, **options: Any) -> Published:
    return Published(
        "torchvision", name, make, model, options.pop("classes", 90), "torchvision", options
    )


FIRST = {"norm_eps": 0.0}
KEYPOINTS = {"mask": False, "keypoints": True, "classes": 2}
TORCHVISION = [
    _torchvision(
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e",
        "maskrcnn_resnet50_fpn",
        partial(torchvision, old=True),
        **FIRST,
    ),
    _torchvision(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019",
        "maskrcnn_resnet50_fpn_v2",
        partial(torchvision, v2=True),
    ),
    _torchvision(
        "fasterrcnn_resnet50_fpn_coco-258fb6c6",
        "fasterrcnn_resnet50_fpn",
        partial(torchvision, mask=False, old=True),
        **FIRST,
    ),
    _torchvision(
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a",
        "fasterrcnn_resnet50_fpn_v2",
        partial(torchvision, mask=False, v2=True),
    ),
    _torchvision(
        "keypointrcnn_resnet50_fpn_coco-fc266e95",
        "keypointrcnn_resnet50_fpn",
        partial(torchvision, old=True, **KEYPOINTS),
        classes=1,
        **FIRST,
    ),
    _torchvision(
        "keypointrcnn_resnet50_fpn_coco-9f466800",
        "keypointrcnn_resnet50_fpn",
        partial(torchvision, old=True, **KEYPOINTS),
        classes=1,
    ),
    _torchvision(
        "retinanet_resnet50_fpn_coco-eeacb38b", "retinanet_resnet50_fpn", retinanet, **FIRST
    ),
    _torchvision(
        "retinanet_resnet50_fpn_v2_coco-5905b1c5",
        "retinanet_resnet50_fpn_v2",
        partial(retinanet, v2=True),
    ),
]
MATTERPORT = [
    Published("matterport", "mask_rcnn_coco", matterport, "Mask R-CNN R101-FPN", 80, "matterport"),
    Published(
        "matterport",
        "mask_rcnn_balloon",
        partial(matterport, classes=1),
        "Mask R-CNN R101-FPN",
        1,
        "matterport",
    ),
]
DETECTRON2, MMDET = _zoo(), _metafiles()
FILES = [*TORCHVISION, *DETECTRON2, *MMDET, *MATTERPORT]
# bodies of ImageNet: name, arrays, and the name of the body in a model's options
BODIES = [
    Published("caffe2", "MSRA/R-50", caffe2, "ResNet-50", 0, "detectron2"),
    Published("caffe2", "MSRA/R-101", partial(caffe2, 101), "ResNet-101", 0, "detectron2"),
    Published(
        "caffe2",
        "FAIR/X-101-32x8d",
        partial(caffe2, 101, 32, 8),
        "ResNeXt-101-32x8d",
        0,
        "detectron2_3x3",
    ),
    Published(
        "detectron2", "torchvision/R-50", detectron2_body, "ResNet-50", 0, "detectron2_torchvision"
    ),
    Published("torchvision", "resnet50-0676ba61", classifier, "ResNet-50", 0, "torchvision"),
    Published(
        "torchvision",
        "resnext101_32x8d-8ba56ff5",
        partial(classifier, 101, 32, 8),
        "ResNeXt-101-32x8d",
        0,
        "torchvision",
    ),
]


def table() -> list[str]:
    """The lines of the table in docs/weights.md."""
    from minimask.weights.source import from_arrays

    lines = ["| system | file | recognised as | runs |", "|---|---|---|---|"]
    for file in [*FILES, *BODIES]:
        found = from_arrays(pathlib.Path(f"{file.name}.pth"), file.arrays())
        runs = "yes" if found.config else "as a backbone" if file in BODIES else "no"
        lines.append(f"| {file.system} | {file.name} | {found.words} | {runs} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
