"""The detectors before Faster R-CNN, its first stage alone, and a rival, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minimask.models.ancestors import FAST_RCNN, PROPOSALS, R_CNN
from minimask.models.factory import preset
from minimask.models.fast_rcnn import FastRCNN
from minimask.models.one_stage import RETINANET
from minimask.models.presets import LAPTOP_DEFAULTS, RESNET18, RESNET34, RESNET50, RESNET101
from minimask.models.proposal_network import ProposalNetwork
from minimask.models.rcnn import RCNN
from minimask.models.retinanet import RetinaNet

rpn_resnet50_fpn = preset("rpn_resnet50_fpn", PROPOSALS, **RESNET50)
fastrcnn_resnet50_fpn = preset("fastrcnn_resnet50_fpn", FAST_RCNN, **RESNET50)
rcnn_resnet50 = preset("rcnn_resnet50", R_CNN, crop_size=224, **RESNET50)
retinanet = preset("retinanet", RETINANET)
retinanet_resnet18_fpn = preset("retinanet_resnet18_fpn", RETINANET, **RESNET18)
retinanet_resnet34_fpn = preset("retinanet_resnet34_fpn", RETINANET, **RESNET34)
retinanet_resnet50_fpn = preset("retinanet_resnet50_fpn", RETINANET, **RESNET50)
retinanet_resnet101_fpn = preset("retinanet_resnet101_fpn", RETINANET, **RESNET101)
# torchvision's second version: norms in the heads, boxes learned by their overlap, P6 from C5
retinanet_resnet50_fpn_v2 = preset(
    "retinanet_resnet50_fpn_v2",
    RETINANET,
    norm="batch",
    head_norm="group",
    box_loss="giou",
    coarse_levels_from="c5",
    **RESNET50,
)


def _of_laptop(*without: str) -> dict[str, Any]:
    """The laptop's sizes but for those of parts that a model has not."""
    return {name: v for name, v in LAPTOP_DEFAULTS.items() if not name.startswith(without)}


_rpn_laptop = preset("rpn_laptop", PROPOSALS, **_of_laptop("box_", "mask_"))
_fastrcnn_laptop = preset("fastrcnn_laptop", FAST_RCNN, **_of_laptop("rpn_", "mask_", "anchor_"))
# Every crop is an image of its own: the network is a sixteenth of the others', on fewer regions.
_rcnn_laptop = preset(
    "rcnn_laptop",
    R_CNN,
    **_of_laptop("rpn_", "mask_", "anchor_", "box_head_", "fpn_", "box_batch_"),
    stem_channels=16,
    crop_size=64,
    crop_context=4,
    grid_limit=1000,
    box_batch_size_per_image=32,
)
# The finest level has stride 8, and half as many convolutions as usual stand before each answer.
_retinanet_laptop = preset(
    "retinanet_laptop",
    RETINANET,
    convention="exact",
    default_classes=None,
    block="basic",
    layers=(1, 1, 1, 1),
    norm="batch",
    fpn_channels=64,
    anchor_sizes=((12, 15, 19), (24, 30, 38), (48, 60, 76), (96, 121, 152), (192, 242, 305)),
    head_depth=2,
    head_norm="group",
    min_size=None,
    max_size=1024,
)


def retinanet_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> RetinaNet:
    """A small RetinaNet that trains on two cores as `maskrcnn_laptop` does; arguments as there."""
    return _retinanet_laptop(num_classes, classes=classes, **options)


def rpn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> ProposalNetwork:
    """The first stage of `maskrcnn_laptop` alone; arguments as there."""
    return _rpn_laptop(num_classes, classes=classes, **options)


def fastrcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> FastRCNN:
    """The second stage of `fasterrcnn_laptop` on given regions; arguments as there."""
    return _fastrcnn_laptop(num_classes, classes=classes, **options)


def rcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> RCNN:
    """A small R-CNN on crops of 64 x 64 pixels; arguments as for `maskrcnn_laptop`."""
    return _rcnn_laptop(num_classes, classes=classes, **options)
