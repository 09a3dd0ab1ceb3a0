"""What the systems' own configurations set for one kind of network, besides their convention.

Data, not code: each entry says the convention and the options of a factory with which weights of
such a network give what its system gives, and where that is written.  Sizes that the weights
themselves show (channels, blocks, classes) are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SystemConfig:
    """How a system uses one kind of network.

    Attributes:
        convention: its name in `CONVENTIONS`.
        source: the configuration files that say so.
        options: of a factory: hyperparameters, sizes, and fields of the convention that differ.
    """

    convention: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """The same as a part of what `build` takes."""
        return {"convention": self.convention, **self.options}


# the stem and the first stage stay as they are: FREEZE_AT 2, frozen_stages 1
_FROZEN: dict[str, Any] = {"trainable_layers": 3}
# of one map there are more anchors to choose from than of a level
_ONE_MAP: dict[str, Any] = {
    **_FROZEN,
    "rpn_pre_nms_top_n_train": 12000,
    "rpn_post_nms_top_n_train": 2000,
    "rpn_pre_nms_top_n_test": 6000,
    "rpn_post_nms_top_n_test": 1000,
}
# mmdetection leaves anchors out at the border, and lets boxes be best for nothing
_MMDET_ONE_MAP: dict[str, Any] = {
    **_ONE_MAP,
    "norm": "frozen_batch",
    "rpn_border": 0,
    "box_best_iou_min": None,
}
_CAFFE: dict[str, Any] = {**_FROZEN, "norm": "frozen_batch"}  # requires_grad=False
_DETECTRON2_FPN = "detectron2: configs/Base-RCNN-FPN.yaml"
_LVIS: dict[str, Any] = {"box_score_thresh": 0.0001, "box_detections_per_img": 300}

SYSTEM_CONFIGS: dict[str, SystemConfig] = {
    "detectron2/fpn": SystemConfig("detectron2", _DETECTRON2_FPN, _FROZEN),
    "detectron2/c4": SystemConfig(
        "detectron2",
        "detectron2: configs/Base-RCNN-C4.yaml, detectron2/config/defaults.py",
        _ONE_MAP,
    ),
    "detectron2/dc5": SystemConfig(
        "detectron2", "detectron2: configs/Base-RCNN-DilatedC5.yaml, defaults.py", _ONE_MAP
    ),
    "detectron2/x101": SystemConfig(
        "detectron2_3x3",
        "detectron2: configs/COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml",
        _FROZEN,
    ),
    "detectron2/keypoint": SystemConfig(
        "detectron2",
        "detectron2: configs/COCO-Keypoints/Base-Keypoint-RCNN-FPN.yaml",
        {**_FROZEN, "box_loss_beta": 0.5, "rpn_post_nms_top_n_train": 1500},
    ),
    "detectron2/keypoint-x101": SystemConfig(
        "detectron2_3x3",
        "detectron2: configs/COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x.yaml",
        {**_FROZEN, "box_loss_beta": 0.5, "rpn_post_nms_top_n_train": 1500},
    ),
    "detectron2/gn": SystemConfig(
        "detectron2",
        "detectron2: configs/Misc/mask_rcnn_R_50_FPN_3x_gn.yaml",
        {**_FROZEN, "stride_in_1x1": False},
    ),
    "detectron2/scratch-gn": SystemConfig(
        "detectron2",
        "detectron2: configs/Misc/scratch_mask_rcnn_R_50_FPN_3x_gn.yaml",
        {"stride_in_1x1": False},  # everything learns: FREEZE_AT 0
    ),
    "detectron2/4conv1fc": SystemConfig(
        "detectron2", "detectron2: configs/Misc/mask_rcnn_R_50_FPN_3x_syncbn.yaml", _FROZEN
    ),
    "detectron2/lsj": SystemConfig(
        "detectron2",
        "detectron2: configs/new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py",
        {"rpn_conv_depth": 2},  # everything learns: freeze_at 0
    ),
    "detectron2/cityscapes": SystemConfig(
        "detectron2",
        "detectron2: configs/Cityscapes/mask_rcnn_R_50_FPN.yaml",
        {**_FROZEN, "min_size": (800, 832, 864, 896, 928, 960, 992, 1024), "max_size": 2048},
    ),
    "detectron2/lvis": SystemConfig(
        "detectron2",
        "detectron2: configs/LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
        {**_FROZEN, **_LVIS},
    ),
    "detectron2/lvis-x101": SystemConfig(
        "detectron2_3x3",
        "detectron2: configs/LVISv0.5-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x.yaml",
        {**_FROZEN, **_LVIS},
    ),
    "mmdet/fpn": SystemConfig(
        "mmdet", "mmdetection 3: configs/_base_/models/mask-rcnn_r50_fpn.py", _FROZEN
    ),
    "mmdet/fpn-poly": SystemConfig(
        "mmdet",
        "mmdetection 3: configs/common/ms-poly_3x_coco-instance.py (poly2mask=False)",
        {**_FROZEN, "mask_target": "polygon"},
    ),
    "mmdet/fpn-boxes": SystemConfig(
        "mmdet",
        "mmdetection 3: configs/_base_/models/faster-rcnn_r50_fpn.py",
        {**_FROZEN, "box_best_iou_min": None},
    ),
    "mmdet/caffe-fpn": SystemConfig(
        "mmdet_caffe",
        "mmdetection 3: configs/mask_rcnn/mask-rcnn_r50-caffe_fpn_1x_coco.py",
        _CAFFE,
    ),
    "mmdet/caffe-fpn-poly": SystemConfig(
        "mmdet_caffe",
        "mmdetection 3: configs/mask_rcnn/mask-rcnn_r50-caffe_fpn_ms-poly-1x_coco.py",
        {**_CAFFE, "mask_target": "polygon"},
    ),
    "mmdet/caffe-fpn-boxes": SystemConfig(
        "mmdet_caffe",
        "mmdetection 3: configs/faster_rcnn/faster-rcnn_r50-caffe_fpn_1x_coco.py",
        {**_CAFFE, "box_best_iou_min": None},
    ),
    "mmdet/caffe-c4": SystemConfig(
        "mmdet_caffe",
        "mmdetection 3: configs/_base_/models/mask-rcnn_r50-caffe-c4.py",
        _MMDET_ONE_MAP,
    ),
    "mmdet/caffe-dc5": SystemConfig(
        "mmdet_caffe",
        "mmdetection 3: configs/_base_/models/faster-rcnn_r50-caffe-dc5.py",
        _MMDET_ONE_MAP,
    ),
}
