"""The models by name: nothing but sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minimask.models.ancestors import FAST_RCNN, PROPOSALS, R_CNN
from minimask.models.factory import preset
from minimask.models.fast_rcnn import FastRCNN
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.one_stage import RETINANET
from minimask.models.proposal_network import ProposalNetwork
from minimask.models.rcnn import RCNN
from minimask.models.retinanet import RetinaNet
from minimask.models.two_stage import FASTER_RCNN, MASK_RCNN

_DEPTHS: dict[int, dict[str, Any]] = {
    18: {"block": "basic", "layers": (2, 2, 2, 2)},
    34: {"block": "basic", "layers": (3, 4, 6, 3)},
    50: {"block": "bottleneck", "layers": (3, 4, 6, 3)},
    101: {"block": "bottleneck", "layers": (3, 4, 23, 3)},
}

mask_rcnn = preset("mask_rcnn", MASK_RCNN)
faster_rcnn = preset("faster_rcnn", FASTER_RCNN)
maskrcnn_resnet18_fpn = preset("maskrcnn_resnet18_fpn", MASK_RCNN, **_DEPTHS[18])
maskrcnn_resnet34_fpn = preset("maskrcnn_resnet34_fpn", MASK_RCNN, **_DEPTHS[34])
maskrcnn_resnet50_fpn = preset("maskrcnn_resnet50_fpn", MASK_RCNN, **_DEPTHS[50])
maskrcnn_resnet101_fpn = preset("maskrcnn_resnet101_fpn", MASK_RCNN, **_DEPTHS[101])
fasterrcnn_resnet18_fpn = preset("fasterrcnn_resnet18_fpn", FASTER_RCNN, **_DEPTHS[18])
fasterrcnn_resnet34_fpn = preset("fasterrcnn_resnet34_fpn", FASTER_RCNN, **_DEPTHS[34])
fasterrcnn_resnet50_fpn = preset("fasterrcnn_resnet50_fpn", FASTER_RCNN, **_DEPTHS[50])
fasterrcnn_resnet101_fpn = preset("fasterrcnn_resnet101_fpn", FASTER_RCNN, **_DEPTHS[101])
rpn_resnet50_fpn = preset("rpn_resnet50_fpn", PROPOSALS, **_DEPTHS[50])
fastrcnn_resnet50_fpn = preset("fastrcnn_resnet50_fpn", FAST_RCNN, **_DEPTHS[50])
rcnn_resnet50 = preset("rcnn_resnet50", R_CNN, crop_size=224, **_DEPTHS[50])
retinanet = preset("retinanet", RETINANET)
retinanet_resnet18_fpn = preset("retinanet_resnet18_fpn", RETINANET, **_DEPTHS[18])
retinanet_resnet34_fpn = preset("retinanet_resnet34_fpn", RETINANET, **_DEPTHS[34])
retinanet_resnet50_fpn = preset("retinanet_resnet50_fpn", RETINANET, **_DEPTHS[50])
retinanet_resnet101_fpn = preset("retinanet_resnet101_fpn", RETINANET, **_DEPTHS[101])
# torchvision's second version: norms in the heads, boxes learned by their overlap, P6 from C5
retinanet_resnet50_fpn_v2 = preset(
    "retinanet_resnet50_fpn_v2",
    RETINANET,
    norm="batch",
    head_norm="group",
    box_loss="giou",
    coarse_levels_from="c5",
    **_DEPTHS[50],
)

LAPTOP: dict[str, Any] = {
    "block": "basic",
    "layers": (1, 1, 1, 1),
    "norm": "batch",
    "fpn_channels": 64,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "box_head_width": 256,
    "mask_head_channels": (64, 64, 64, 64),
    "mask_predictor_channels": 64,
    "min_size": None,
    "max_size": 1024,
    "rpn_pre_nms_top_n_train": 500,
    "rpn_post_nms_top_n_train": 200,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_test": 200,
    # Half of many regions are positives: from random weights the classes are what takes longest to
    # learn.  The mask branch costs more than all else, and learns as fast from a few of them.
    "box_batch_size_per_image": 128,
    "box_positive_fraction": 0.5,
    "mask_batch_size_per_image": 8,
}

_laptop: dict[str, Any] = {"convention": "exact", "default_classes": None, **LAPTOP}
_maskrcnn_laptop = preset("maskrcnn_laptop", MASK_RCNN, **_laptop)
_fasterrcnn_laptop = preset("fasterrcnn_laptop", FASTER_RCNN, **_laptop)


def _of_laptop(*without: str) -> dict[str, Any]:
    """The laptop's sizes but for those of parts that a model has not."""
    return {name: v for name, v in _laptop.items() if not name.startswith(without)}


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


def maskrcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> MaskRCNN:
    """A small Mask R-CNN that trains from random weights on two cores in minutes.

    Its convention is "exact", torchvision's with half pixels put right, which small objects gain
    from; images are used at their own size up to 1024 pixels unless `min_size` and `max_size` say
    otherwise.

    Args:
        classes: names of the classes, without background.
        num_classes: instead of `classes`: their number, background included.
        **options: convention, seed, and what else `mask_rcnn` takes.
    """
    return _maskrcnn_laptop(num_classes, classes=classes, **options)


def fasterrcnn_laptop(
    classes: Sequence[str] | None = None, *, num_classes: int | None = None, **options: Any
) -> FasterRCNN:
    """`maskrcnn_laptop` without its mask branch; arguments as there."""
    return _fasterrcnn_laptop(num_classes, classes=classes, **options)


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
