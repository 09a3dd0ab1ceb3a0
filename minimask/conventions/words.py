"""What every field of a convention is, in one sentence, and where the systems' choices are written.

Which system chooses what is not repeated here: `who_chooses` reads it from the conventions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from minimask.conventions.choices import Convention
from minimask.conventions.systems import CONVENTIONS


@dataclass(frozen=True)
class FieldWords:
    """Attributes:
    sentence: what the field decides, for a reader who has not met it.
    source: papers, or the other systems' files, in which the choices are made.
    """  # noqa: D205

    sentence: str
    source: str


_TORCHVISION = "torchvision: models/detection/"
_DETECTRON2 = "detectron2: detectron2/"
_MMDET = "mmdetection: mmdet/"
_MATTERPORT = "Mask_RCNN: mrcnn/"

FIELD_WORDS: dict[str, FieldWords] = {
    "hyperparameters": FieldWords(
        "Thresholds, counts and batch sizes that the system's own configurations set otherwise.",
        f"{_DETECTRON2}config/defaults.py; mmdetection: configs/_base_/models; "
        f"{_MATTERPORT}config.py",
    ),
    "sizes": FieldWords(
        "Sizes of the network that the system's own configurations set otherwise.",
        f"{_MATTERPORT}model.py: rpn_graph; {_MATTERPORT}config.py",
    ),
    "channels": FieldWords(
        "The order in which the network sees the colors: red first, or blue first as OpenCV reads.",
        f"{_DETECTRON2}config/defaults.py: INPUT.FORMAT; mmdetection: bgr_to_rgb",
    ),
    "pixel_mean": FieldWords(
        "What is subtracted from each color before the network sees it.",
        f"{_TORCHVISION}transform.py; {_DETECTRON2}config/defaults.py; {_MATTERPORT}config.py",
    ),
    "pixel_std": FieldWords(
        "What each color is divided by after the mean was subtracted.",
        f"{_TORCHVISION}transform.py; {_DETECTRON2}config/defaults.py",
    ),
    "image_resize": FieldWords(
        "How pixels are mixed when an image is resized: with or without averaging, as floats or as "
        "bytes.",
        f"{_TORCHVISION}transform.py; detectron2: ResizeTransform (Pillow); mmcv: imresize "
        f"(OpenCV); {_MATTERPORT}utils.py: resize (scikit-image)",
    ),
    "size_rounding": FieldWords(
        "How height and width become whole numbers after resizing.",
        f"{_TORCHVISION}transform.py; {_DETECTRON2}data/transforms; {_MATTERPORT}utils.py",
    ),
    "pad_square": FieldWords(
        "Whether an image is centered in a square instead of lying in the upper left corner.",
        f"{_MATTERPORT}utils.py: resize_image",
    ),
    "pad_with": FieldWords(
        "Whether the border around an image is zero for the network, or black for the eye.",
        f"{_TORCHVISION}transform.py: batch_images; {_MATTERPORT}model.py: mold_inputs",
    ),
    "size_divisor": FieldWords(
        "Images get a border until their sides are multiples of this, so that halving comes out.",
        f"{_TORCHVISION}transform.py; {_DETECTRON2}modeling/backbone/fpn.py; {_MATTERPORT}model.py",
    ),
    "single_map_divisor": FieldWords(
        "The same for networks without a pyramid, which need no border in some systems.",
        f"{_DETECTRON2}modeling/backbone/backbone.py: size_divisibility",
    ),
    "stride_in_1x1": FieldWords(
        "Which convolution of a bottleneck halves the map: the first 1x1 or the 3x3.",
        f"ResNet, figure 5; {_DETECTRON2}config/defaults.py: STRIDE_IN_1X1; mmdetection: style",
    ),
    "norm_eps": FieldWords(
        "What is added to a variance before the norm divides by its root.",
        f"{_TORCHVISION}_utils.py: overwrite_eps; Keras: BatchNormalization",
    ),
    "stem_pool_padding": FieldWords(
        "On which sides the first pooling looks beyond the map.",
        f"{_MATTERPORT}model.py: resnet_graph (TensorFlow's SAME)",
    ),
    "dilate_first_block": FieldWords(
        "Whether, where the last stage is dilated, its first block is too.",
        "Deformable ConvNets, section 3.1; torchvision: models/resnet.py: _make_layer; "
        f"{_DETECTRON2}modeling/backbone/resnet.py",
    ),
    "box_corners": FieldWords(
        "Whether boxes end at the edges of their last pixels or at those pixels, so that "
        "widths count one less.",
        f"{_MATTERPORT}utils.py: norm_boxes",
    ),
    "proposal_limits": FieldWords(
        "Whether proposals are cut off at the image or at the border around it.",
        f"{_TORCHVISION}rpn.py; {_MATTERPORT}model.py: ProposalLayer",
    ),
    "target_boxes": FieldWords(
        "Whether training learns the boxes it was given or those around the resized masks.",
        f"{_MATTERPORT}utils.py: extract_bboxes",
    ),
    "mask_resize": FieldWords(
        "Which pixels a mask keeps when it is resized: of equal cells, or between its corners.",
        f"{_TORCHVISION}transform.py; {_MATTERPORT}utils.py: resize_mask (SciPy's zoom)",
    ),
    "detection_boxes": FieldWords(
        "Whether the boxes of detections are exact or rounded to whole pixels of the image.",
        f"{_MATTERPORT}model.py: unmold_detections",
    ),
    "crowds": FieldWords(
        "Whether boxes on a crowd of objects may be learned as background.",
        f"{_MATTERPORT}model.py: build_rpn_targets, detection_targets_graph",
    ),
    "round_anchors": FieldWords(
        "Whether the corners of anchors are rounded to whole pixels.",
        f"{_TORCHVISION}anchor_utils.py; {_DETECTRON2}modeling/anchor_generator.py",
    ),
    "map_strides": FieldWords(
        "Whether the distance of anchors is measured on the image at hand or fixed by the network.",
        f"{_TORCHVISION}anchor_utils.py; {_DETECTRON2}modeling/anchor_generator.py",
    ),
    "anchor_offset": FieldWords(
        "How far the first anchor's center is from the corner of its cell, in strides.",
        f"{_DETECTRON2}config/defaults.py: ANCHOR_GENERATOR.OFFSET; mmdetection: center_offset",
    ),
    "anchor_order": FieldWords(
        "Whether the anchors of a cell are sorted by their shapes or by their sizes.",
        f"{_TORCHVISION}anchor_utils.py; {_DETECTRON2}modeling/anchor_generator.py",
    ),
    "rpn_box_weights": FieldWords(
        "What the four numbers that move an anchor are multiplied by before they are learned.",
        f"{_TORCHVISION}rpn.py; {_MATTERPORT}config.py: RPN_BBOX_STD_DEV",
    ),
    "delta_clamp": FieldWords(
        "Whether a box may grow or shrink without limit in one correction.",
        f"{_TORCHVISION}_utils.py: BoxCoder; {_MMDET}models/task_modules/coders/"
        "delta_xywh_bbox_coder.py",
    ),
    "rpn_border": FieldWords(
        "How many pixels an anchor may reach out of the image and still be learned from.",
        "Faster R-CNN, section 3.3; mmdetection: allowed_border",
    ),
    "rpn_best_iou_min": FieldWords(
        "How much the best anchor of an object must overlap it to stand for it.",
        "Faster R-CNN, section 3.1.2; mmdetection: min_pos_iou",
    ),
    "best_box_is_taken": FieldWords(
        "Whether the box that fits an object best stands for it even where it overlaps another "
        "object more.",
        f"{_TORCHVISION}_utils.py: Matcher; {_MMDET}models/task_modules/assigners/"
        "max_iou_assigner.py",
    ),
    "rpn_loss_divisor": FieldWords(
        "What the losses of the anchors are divided by.",
        f"{_TORCHVISION}rpn.py: compute_loss; {_DETECTRON2}modeling/proposal_generator/rpn.py; "
        f"{_MATTERPORT}model.py: rpn_bbox_loss_graph",
    ),
    "rpn_loss_beta": FieldWords(
        "Below which error the box loss of anchors is quadratic; above it is linear.",
        f"Fast R-CNN, equation 3; {_TORCHVISION}rpn.py; {_DETECTRON2}config/defaults.py: "
        "SMOOTH_L1_BETA",
    ),
    "rpn_min_size": FieldWords(
        "How short the side of a proposal may be, in pixels.",
        f"{_TORCHVISION}rpn.py; {_DETECTRON2}modeling/proposal_generator/proposal_utils.py",
    ),
    "proposals_per_level": FieldWords(
        "Whether proposals compete on each level of the pyramid or all with each other.",
        f"{_TORCHVISION}rpn.py: filter_proposals; {_MATTERPORT}model.py: ProposalLayer",
    ),
    "level_rule": FieldWords(
        "From which level of the pyramid a region of some size takes its features.",
        "FPN, equation 1; torchvision: ops/poolers.py; detectron2: modeling/poolers.py; "
        f"{_MATTERPORT}model.py: PyramidROIAlign",
    ),
    "roi_aligned": FieldWords(
        "Whether features of a region are sampled half a cell to the left and above, where they "
        "belong.",
        "torchvision: ops/roi_align.py; detectron2: layers/roi_align.py (ROIAlignV2)",
    ),
    "sampling_ratio": FieldWords(
        "How many samples are averaged on each axis of a bin.",
        "Mask R-CNN, section 3; torchvision: ops/roi_align.py; detectron2: POOLER_SAMPLING_RATIO",
    ),
    "background": FieldWords(
        "Whether the network's first or last class is the background.",
        f"{_DETECTRON2}checkpoint/c2_model_loading.py; {_TORCHVISION}roi_heads.py",
    ),
    "append_gt_boxes": FieldWords(
        "Whether the true boxes are learned from as if they had been proposed.",
        f"{_TORCHVISION}roi_heads.py: add_gt_proposals; {_MATTERPORT}model.py: "
        "detection_targets_graph",
    ),
    "box_best_iou_min": FieldWords(
        "How much the best proposal of an object must overlap it to stand for it in any case.",
        "mmdetection: match_low_quality and min_pos_iou of rcnn",
    ),
    "box_weights": FieldWords(
        "What the four numbers that correct a proposal are multiplied by before they are learned.",
        f"{_TORCHVISION}roi_heads.py; mmdetection: target_stds",
    ),
    "box_loss_divisor": FieldWords(
        "What the box loss of regions is divided by.",
        f"{_TORCHVISION}roi_heads.py: fastrcnn_loss; {_MATTERPORT}model.py: mrcnn_bbox_loss_graph",
    ),
    "box_loss_beta": FieldWords(
        "Below which error the box loss of regions is quadratic; above it is linear.",
        f"Fast R-CNN, equation 3; {_TORCHVISION}roi_heads.py; {_DETECTRON2}config/defaults.py",
    ),
    "box_min_size": FieldWords(
        "How short the side of a detection may be, in pixels.",
        f"{_TORCHVISION}roi_heads.py: postprocess_detections",
    ),
    "fill_rois": FieldWords(
        "Whether regions without a box are added as background until their number is reached.",
        f"{_MATTERPORT}model.py: detection_targets_graph",
    ),
    "moving_targets": FieldWords(
        "Whether the box loss of the second stage also pulls at the proposals themselves.",
        f"{_MATTERPORT}model.py: detection_targets_graph (without stop_gradient)",
    ),
    "active_classes_only": FieldWords(
        "Whether regions taken for a class that the data lacks are left out of the class loss.",
        f"{_MATTERPORT}model.py: mrcnn_class_loss_graph",
    ),
    "best_class_only": FieldWords(
        "Whether a region can be an object of several classes or only of its most probable one.",
        f"{_TORCHVISION}roi_heads.py: postprocess_detections; {_MATTERPORT}model.py: "
        "refine_detections_graph",
    ),
    "mask_target": FieldWords(
        "What a predicted mask is compared with: shares of cells, whole cells, or polygons drawn "
        "anew.",
        f"Mask R-CNN, section 3; {_TORCHVISION}roi_heads.py: project_masks_on_boxes; "
        f"{_DETECTRON2}structures/masks.py; {_MATTERPORT}utils.py: minimize_mask",
    ),
    "mask_target_aligned": FieldWords(
        "Whether the target of a mask is cut out without the shift by half a pixel.",
        f"{_TORCHVISION}roi_heads.py; {_DETECTRON2}structures/masks.py; {_MMDET}structures/mask",
    ),
    "paste": FieldWords(
        "How the predicted mask of 28 x 28 cells is laid over the image.",
        f"{_TORCHVISION}roi_heads.py: paste_masks_in_image; {_DETECTRON2}layers/mask_ops.py; "
        f"{_MATTERPORT}utils.py: unmold_mask",
    ),
    "keypoint_loss_divisor": FieldWords(
        "What the loss of keypoints is divided by.",
        f"{_TORCHVISION}roi_heads.py: keypointrcnn_loss; {_DETECTRON2}modeling/roi_heads/"
        "keypoint_head.py",
    ),
    "keypoint_score": FieldWords(
        "Whether a keypoint's score is the height of its heat map's peak or the peak's share.",
        f"{_TORCHVISION}roi_heads.py: heatmaps_to_keypoints; {_DETECTRON2}structures/keypoints.py",
    ),
}


def who_chooses(field: str) -> dict[str, Any]:
    """The value of a field in every convention, by the convention's name."""
    return {name: getattr(convention, field) for name, convention in CONVENTIONS.items()}


def described() -> list[str]:
    """Every field of a convention but its name, in the order of their declaration."""
    return [f.name for f in dataclasses.fields(Convention) if f.name != "name"]
