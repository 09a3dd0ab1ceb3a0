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
from minimask.models.fast_rcnn import FastRCNN
from minimask.models.faster_rcnn import FasterRCNN
from minimask.models.given_proposals import GridProposer, read_proposals
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
    fastrcnn_laptop,
    fastrcnn_resnet50_fpn,
    mask_rcnn,
    maskrcnn_laptop,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet34_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet101_fpn,
    rcnn_laptop,
    rcnn_resnet50,
    retinanet,
    retinanet_laptop,
    retinanet_resnet18_fpn,
    retinanet_resnet34_fpn,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
    retinanet_resnet101_fpn,
    rpn_laptop,
    rpn_resnet50_fpn,
)
from minimask.models.proposal_network import ProposalNetwork
from minimask.models.rcnn import RCNN
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
__all__ += ["Detector", "RetinaNet", "maskrcnn_resnet101_fpn", "retinanet", "retinanet_laptop"]
__all__ += ["retinanet_resnet18_fpn", "retinanet_resnet34_fpn", "retinanet_resnet50_fpn"]
__all__ += ["retinanet_resnet50_fpn_v2", "retinanet_resnet101_fpn"]
__all__ += ["RCNN", "FastRCNN", "GridProposer", "ProposalNetwork", "fastrcnn_laptop"]
__all__ += ["fastrcnn_resnet50_fpn", "rcnn_laptop", "rcnn_resnet50", "read_proposals"]
__all__ += ["rpn_laptop", "rpn_resnet50_fpn"]

Samples = RecordedSampling  # its name before
