"""Mask R-CNN, its ancestors and a rival, one file per box of the papers' figures.

    import minimask as mm
    model = mm.models.maskrcnn_laptop(["cell", "nucleus"])     # small: trains on two cores
    model = mm.models.maskrcnn_resnet50_fpn()                  # torchvision's network
    detections = model.predict([image])
    model = mm.models.unet_laptop(classes=["cell"])            # or fcn8s_laptop: semantic
    label_maps = model.predict([image])

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
from minimask.models.keypoint_rcnn import KeypointRCNN, MaskKeypointRCNN
from minimask.models.label_map import LabelMap
from minimask.models.mask_rcnn import MaskRCNN
from minimask.models.matcher import RecordedSampling
from minimask.models.presets import (
    LAPTOP,
    faster_rcnn,
    fasterrcnn_efficientnet_b0_fpn,
    fasterrcnn_efficientnet_b3_fpn,
    fasterrcnn_laptop,
    fasterrcnn_mobilenet_v3_large_320_fpn,
    fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnet18_fpn,
    fasterrcnn_resnet34_fpn,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    fasterrcnn_resnet101_fpn,
    fasterrcnn_resnet152_fpn,
    fasterrcnn_resnext50_32x4d_fpn,
    fasterrcnn_resnext101_32x4d_fpn,
    fasterrcnn_resnext101_32x8d_fpn,
    fasterrcnn_resnext101_64x4d_fpn,
    fasterrcnn_vgg16,
    fasterrcnn_vgg16_fpn,
    fasterrcnn_wide_resnet50_2_fpn,
    fasterrcnn_wide_resnet101_2_fpn,
    keypoint_rcnn,
    keypointrcnn_laptop,
    keypointrcnn_resnet50_fpn,
    mask_keypoint_rcnn,
    mask_rcnn,
    maskkeypointrcnn_laptop,
    maskkeypointrcnn_resnet50_fpn,
    maskrcnn_efficientnet_b0_fpn,
    maskrcnn_efficientnet_b3_fpn,
    maskrcnn_laptop,
    maskrcnn_mobilenet_v3_large_fpn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet34_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn_v2,
    maskrcnn_resnet101_fpn,
    maskrcnn_resnet152_fpn,
    maskrcnn_resnext50_32x4d_fpn,
    maskrcnn_resnext101_32x4d_fpn,
    maskrcnn_resnext101_32x8d_fpn,
    maskrcnn_resnext101_64x4d_fpn,
    maskrcnn_vgg16_fpn,
    maskrcnn_wide_resnet50_2_fpn,
    maskrcnn_wide_resnet101_2_fpn,
)
from minimask.models.proposal_network import ProposalNetwork
from minimask.models.rcnn import RCNN
from minimask.models.retinanet import RetinaNet
from minimask.models.rival_presets import (
    fastrcnn_laptop,
    fastrcnn_resnet50_fpn,
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
from minimask.models.semantic import SemanticSegmenter
from minimask.models.semantic_presets import (
    fcn8s,
    fcn8s_laptop,
    fcn16s,
    fcn32s,
    unet,
    unet_laptop,
)

__all__ = [
    "LAPTOP",
    "MODELS",
    "Architecture",
    "Detections",
    "FasterRCNN",
    "KeypointRCNN",
    "MaskKeypointRCNN",
    "MaskRCNN",
    "RecordedSampling",
]
__all__ += ["Samples", "Target", "build", "faster_rcnn", "mask_rcnn", "register_backbone"]
__all__ += ["fasterrcnn_laptop", "maskrcnn_laptop"]
__all__ += [
    "fasterrcnn_resnet18_fpn",
    "fasterrcnn_resnet34_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_resnet101_fpn",
    "fasterrcnn_resnet152_fpn",
    "fasterrcnn_resnext50_32x4d_fpn",
    "fasterrcnn_resnext101_32x4d_fpn",
    "fasterrcnn_resnext101_32x8d_fpn",
    "fasterrcnn_resnext101_64x4d_fpn",
    "fasterrcnn_wide_resnet50_2_fpn",
    "fasterrcnn_wide_resnet101_2_fpn",
    "maskrcnn_resnet18_fpn",
    "maskrcnn_resnet34_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet101_fpn",
    "maskrcnn_resnet152_fpn",
    "maskrcnn_resnext50_32x4d_fpn",
    "maskrcnn_resnext101_32x4d_fpn",
    "maskrcnn_resnext101_32x8d_fpn",
    "maskrcnn_resnext101_64x4d_fpn",
    "maskrcnn_wide_resnet50_2_fpn",
    "maskrcnn_wide_resnet101_2_fpn",
]
__all__ += ["fasterrcnn_efficientnet_b0_fpn", "fasterrcnn_efficientnet_b3_fpn"]
__all__ += ["fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_fpn"]
__all__ += ["fasterrcnn_vgg16", "fasterrcnn_vgg16_fpn"]
__all__ += ["maskrcnn_efficientnet_b0_fpn", "maskrcnn_efficientnet_b3_fpn"]
__all__ += ["maskrcnn_mobilenet_v3_large_fpn", "maskrcnn_vgg16_fpn"]
__all__ += ["keypoint_rcnn", "keypointrcnn_laptop", "keypointrcnn_resnet50_fpn"]
__all__ += ["mask_keypoint_rcnn", "maskkeypointrcnn_laptop", "maskkeypointrcnn_resnet50_fpn"]
__all__ += ["LabelMap", "SemanticSegmenter", "fcn8s", "fcn8s_laptop", "fcn16s", "fcn32s"]
__all__ += ["unet", "unet_laptop"]
__all__ += ["RCNN", "Detector", "FastRCNN", "GridProposer", "ProposalNetwork", "RetinaNet"]
__all__ += ["read_proposals", "retinanet", "retinanet_laptop", "retinanet_resnet18_fpn"]
__all__ += ["retinanet_resnet34_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"]
__all__ += ["fastrcnn_laptop", "fastrcnn_resnet50_fpn", "retinanet_resnet101_fpn"]
__all__ += ["rcnn_laptop", "rcnn_resnet50", "rpn_laptop", "rpn_resnet50_fpn"]

Samples = RecordedSampling  # its name before
