"""Networks that are no R-CNN, or one that minimask has not: known by a name that only they use."""

from __future__ import annotations

import re
from collections.abc import Collection

# the first that fits counts: what is built upon another network stands before it
NETWORKS: tuple[tuple[str, str], ...] = (
    (r"^(sam\.)?image_encoder\.", "Segment Anything"),
    (r"(^|\.)(sem_seg_head\.predictor\.query_|panoptic_head\.|mask_features\.)", "a Mask2Former"),
    (r"(^|\.)(query_embed|query_embedding|class_embed|input_proj)\.", "a DETR"),
    (r"^roi_heads\.mask_head\.(point_head|coarse_head)\.|^roi_head\.point_head\.", "PointRend"),
    (r"^roi_head\.mask_iou_head\.|mask_?iou_head", "Mask Scoring R-CNN"),
    (r"^sem_seg_head\.|^semantic_head\.", "a Panoptic FPN"),
    (r"^roi_head\.semantic_head\.|^roi_head\.mask_head\.\d\.conv_res", "a Hybrid Task Cascade"),
    (r"^roi_heads\.box_head\.\d\.fc1\.|^roi_heads\.box_predictor\.\d\.", "a Cascade R-CNN"),
    (r"^roi_head\.bbox_head\.\d\.", "a Cascade R-CNN"),
    (r"\.conv2_offset\.|\.conv_offset\.|\.offset_conv\.", "an R-CNN of deformable convolutions"),
    (r"^backbone\.((bottom_up|body)\.)?s\d\.b\d+\.|trunk_output\.block", "an R-CNN on a RegNet"),
    (
        r"^backbone\.((bottom_up|body)\.)?(layers|stages)\.\d\.blocks\.|patch_embed",
        "a Swin Transformer",
    ),
    (
        r"^backbone\.(body\.)?(stages|downsample_layers)\.\d\.\d\.(dwconv|depthwise_conv)",
        "a ConvNeXt",
    ),
    (r"^backbone\.(body\.)?stage\d\.\d\.branches\.", "an R-CNN on an HRNet"),
    (r"^backbone\.(body\.)?layer\d\.\d\.convs\.\d", "an R-CNN on a Res2Net"),
    (r"bbox_ctrness|conv_centerness|^head\.ctrness\.", "an FCOS"),
    (r"^bbox_head\.retina_(cls|reg)\.|^head\.cls_score\.", "a RetinaNet"),
    (r"^head\.classification_head\.module_list\.", "an SSD"),
    (r"^bbox_head\.(cls|reg)_convs\.\d+\.(0\.)?(weight|bias)$|^neck\.extra_layers\.", "an SSD"),
    (r"^(model\.)?\d+\.(conv|cv\d|m\.\d)|^(model\.)?\d+\.m\.\d+\.weight|darknet", "a YOLO"),
    (r"^(bbox_head\.convs_pred|bbox_head\.multi_level_)", "a YOLO"),
    (r"^(keypoint_head|bbox_head)\.(heatmap_head|tl_heat|hm)\.", "a CenterNet or CornerNet"),
    (r"^bbox_head\.|^mask_head\.", "a one-stage detector of mmdetection"),
    (r"^classifier\.0\.convs\.|^classifier\.low_classifier", "a DeepLab or LR-ASPP"),
    (r"^classifier\.4\.(weight|bias)$", "an FCN"),
    (r"^decode_head\.", "a segmenter of mmsegmentation"),
    (
        r"^(text_model|vision_model|transformer\.h|encoder\.layer|model\.layers)\.\d*",
        "a transformer",
    ),
)
_COMPILED = [(re.compile(pattern), title) for pattern, title in NETWORKS]


def title_of(names: Collection[str]) -> str | None:
    """What network these names are of, such as "a Cascade R-CNN"; None: none of those known."""
    for pattern, title in _COMPILED:
        if any(pattern.search(name) for name in names):
            return title
    return None
