"""What people call networks and the classes that published ones know."""

from __future__ import annotations

from minimask.weights.anatomy import DEPTHS, Anatomy, Body

FAMILIES = {
    "mask_rcnn": "Mask R-CNN",
    "faster_rcnn": "Faster R-CNN",
    "keypoint_rcnn": "Keypoint R-CNN",
    "mask_keypoint_rcnn": "Mask R-CNN with keypoints",
    "fast_rcnn": "Fast R-CNN",
    "rpn": "RPN",
    "retinanet": "RetinaNet",
}
MAPS = {"fpn": "FPN", "c4": "C4", "c5": "C5", "dc5": "DC5"}
NORMS = {"group": "group norm", "batch": "batch norm", "frozen_batch": "batch norm"}

CITYSCAPES = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
PASCAL_VOC = tuple(
    """aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike
    person pottedplant sheep sofa train tvmonitor""".split()
)
LVIS_COUNTS = (1230, 1203)  # versions 0.5 and 1.0


def title_of(seen: Anatomy) -> str:
    """Such as "Mask R-CNN R50-FPN", with what is not usual in its heads."""
    assert seen.body is not None and seen.kind is not None and seen.features is not None
    title = f"{FAMILIES[seen.kind]} {body_title(seen.body)}-{MAPS[seen.features]}"
    depth = len(seen.heads.get("box_head_channels", ()))
    if depth:
        title += f" with {depth} convolutions in the box head"
    norm = seen.heads.get("box_head_norm")
    if norm is not None:
        title += f" and {NORMS[norm]}"
    return title


def body_title(body: Body) -> str:
    """R50, X101-32x8d, or the blocks of each stage."""
    depth = DEPTHS.get((body.block, (*body.layers[:3], body.layers[3] or 3)))
    if depth is None:
        return "-".join(map(str, body.layers))
    return (
        f"R{depth}" if body.groups == 1 else f"X{depth}-{body.groups}x{body.width // body.groups}d"
    )


def classes_of(count: int) -> tuple[tuple[str, ...] | None, str]:
    """The names of so many classes (without background), and whose they are.

    Of other data sets of that many classes these are the wrong names, so whose they are is said.
    """
    if count == 80:
        from minimask.models.coco_classes import COCO_91

        return tuple(name for name in COCO_91 if name != "N/A"), "COCO"
    known = {len(CITYSCAPES): (CITYSCAPES, "Cityscapes"), len(PASCAL_VOC): (PASCAL_VOC, "VOC")}
    if count in known:
        return known[count]
    return None, "LVIS" if count in LVIS_COUNTS else ""
