"""Mask R-CNN, its ancestors and a rival, one file per box of the papers' figures.

    import minimask as mm
    model = mm.models.maskrcnn_laptop(["cell", "nucleus"])     # small: trains on two cores
    model = mm.models.maskrcnn_resnet50_fpn()                  # torchvision's network
    detections = model.predict([image])

`model.config` is a dict that fits in a JSON file, and `build(model.config)` makes the model again.
"""

from __future__ import annotations

from minimask.data.sample import Target
from minimask.models.architecture import Architecture
from minimask.models.backbone import register_backbone
from minimask.models.detections import Detections
from minimask.models.detector import Detector
from minimask.models.factory import MODELS, build
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.matcher import RecordedSampling
from minimask.models.presets import (
    LAPTOP,
    faster_rcnn,
    fasterrcnn_laptop,
    fasterrcnn_resnet18_fpn,
    fasterrcnn_resnet34_fpn,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet101_fpn,
    mask_rcnn,
    maskrcnn_laptop,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet34_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet101_fpn,
    retinanet,
    retinanet_laptop,
    retinanet_resnet18_fpn,
    retinanet_resnet34_fpn,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
    retinanet_resnet101_fpn,
)
from minimask.models.retinanet import RetinaNet

__all__ = [
    "LAPTOP",
    "MODELS",
    "Architecture",
    "Detections",
    "FasterRCNN",
    "MaskRCNN",
    "RecordedSampling",
]
__all__ += ["Samples", "Target", "build", "faster_rcnn", "mask_rcnn", "register_backbone"]
__all__ += ["fasterrcnn_laptop", "fasterrcnn_resnet18_fpn", "fasterrcnn_resnet34_fpn"]
__all__ += ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet101_fpn", "maskrcnn_laptop"]
__all__ += ["maskrcnn_resnet18_fpn", "maskrcnn_resnet34_fpn", "maskrcnn_resnet50_fpn"]
__all__ += ["maskrcnn_resnet101_fpn", "Detector", "RetinaNet", "retinanet", "retinanet_laptop"]
__all__ += ["retinanet_resnet18_fpn", "retinanet_resnet34_fpn", "retinanet_resnet50_fpn"]
__all__ += ["retinanet_resnet50_fpn_v2", "retinanet_resnet101_fpn"]

Samples = RecordedSampling  # its name before
