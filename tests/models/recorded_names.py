"""What other systems call the parameters of the recorded networks, and their losses."""

import re

# What a name is called here; `res2` is `layer1`, and counting begins at 0.
DETECTRON2 = [
    (r"^backbone\.(bottom_up\.)?stem\.conv1\.norm\.", "backbone.body.bn1."),
    (r"^backbone\.(bottom_up\.)?stem\.conv1\.", "backbone.body.conv1."),
    (
        r"^backbone\.(?:bottom_up\.)?res(\d)\.(\d+)\.",
        lambda m: f"backbone.body.layer{int(m[1]) - 1}.{m[2]}.",
    ),
    (r"^roi_heads\.res5\.", "roi_heads.box_head.res5."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"^(backbone\.body.*|.*\.res5\.\d)\.conv(\d)\.norm\.", r"\1.bn\2."),
    (
        r"^backbone\.fpn_(lateral|output)(\d)\.(norm\.)?",
        lambda m: (
            f"backbone.fpn.{'inner' if m[1] == 'lateral' else 'layer'}_blocks."
            f"{int(m[2]) - 2}.{int(m[3] is not None)}."
        ),
    ),
    (r"^proposal_generator\.rpn_head\.conv\.", "rpn.head.conv.0.0."),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "rpn.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "rpn.head.bbox_pred."),
    (
        r"^(roi_heads\.(?:box|mask)_head\.)(?:conv|mask_fcn)(\d)\.(norm\.)?",
        lambda m: f"{m[1]}{int(m[2]) - 1}.{int(m[3] is not None)}.",
    ),
    (
        r"^roi_heads\.keypoint_head\.conv_fcn(\d)\.",
        lambda m: f"roi_heads.keypoint_head.{2 * int(m[1]) - 2}.",
    ),
    (
        r"^roi_heads\.keypoint_head\.score_lowres\.",
        "roi_heads.keypoint_predictor.kps_score_lowres.",
    ),
    (r"^roi_heads\.mask_head\.deconv\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"^roi_heads\.mask_head\.predictor\.", "roi_heads.mask_predictor.mask_fcn_logits."),
]
DETECTRON2_MLP = [
    (r"^roi_heads\.box_head\.fc(\d)\.", lambda m: f"roi_heads.box_head.fc{int(m[1]) + 5}.")
]
DETECTRON2_CONV = [(r"^roi_heads\.box_head\.fc1\.", "roi_heads.box_head.5.")]  # after four
MMDET = [
    (r"^backbone\.", "backbone.body."),
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"^neck\.fpn_convs\.(\d)\.conv\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"^rpn_head\.rpn_conv\.", "rpn.head.conv.0.0."),
    (r"^rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
    (r"^rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
    (r"^roi_head\.shared_head\.layer4\.", "roi_heads.box_head.res5."),
    (r"^roi_head\.bbox_head\.fc_cls\.", "roi_heads.box_predictor.cls_score."),
    (r"^roi_head\.bbox_head\.fc_reg\.", "roi_heads.box_predictor.bbox_pred."),
    (
        r"^roi_head\.bbox_head\.shared_fcs\.(\d)\.",
        lambda m: f"roi_heads.box_head.fc{int(m[1]) + 6}.",
    ),
    (r"^roi_head\.mask_head\.convs\.(\d)\.conv\.", r"roi_heads.mask_head.\1.0."),
    (r"^roi_head\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"^roi_head\.mask_head\.conv_logits\.", "roi_heads.mask_predictor.mask_fcn_logits."),
]
NO_WEIGHTS = re.compile(r"^pixel_(mean|std)$|anchor_generator\.cell_anchors\.")
LOSSES = {
    "loss_rpn_cls": "loss_objectness",
    "loss_rpn_loc": "loss_rpn_box_reg",
    "loss_rpn_bbox": "loss_rpn_box_reg",
    "loss_cls": "loss_classifier",
    "loss_bbox": "loss_box_reg",
}
