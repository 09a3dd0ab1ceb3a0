"""The boxes of the figure: which part of the network each module belongs to, and their order.

What is no module has its name where it is written: `@stage("proposals")`, see autograd/hooks.py.
"""

from __future__ import annotations

REST = "rest"  # what belongs to no box: sums of losses, lists, calls
BETWEEN = "between operations"  # Python, and NumPy outside of operations
OWN = "the profile itself"

# Module paths as in a state dict, of a ResNet; other bodies name their stages
# themselves.  A module that is not listed belongs to the one that calls it.
STAGE_OF_MODULE = {
    "backbone.body": "backbone stem",
    "backbone.body.layer1": "backbone layer1",
    "backbone.body.layer2": "backbone layer2",
    "backbone.body.layer3": "backbone layer3",
    "backbone.body.layer4": "backbone layer4",
    "backbone.fpn": "FPN",
    "rpn.head": "RPN head",
    "head.classification_head": "class head",
    "head.regression_head": "regression head",
    "roi_heads.box_head": "box head",
    "roi_heads.box_predictor": "box head",
    "roi_heads.mask_head": "mask head",
    "roi_heads.mask_predictor": "mask head",
    "roi_heads.keypoint_head": "keypoint head",
    "roi_heads.keypoint_predictor": "keypoint head",
}

# From the image to the result; others are shown after these.
ORDER = (
    "image transform",
    "backbone stem",
    "backbone layer1",
    "backbone layer2",
    "backbone layer3",
    "backbone layer4",
    "backbone layer5",
    "FPN",
    "RPN head",
    "class head",
    "regression head",
    "anchors, matching",
    "RPN loss",
    "proposals",
    "RoI sampling",
    "RoI pooling, box",
    "box head",
    "class loss",
    "box loss",
    "box results",
    "RoI pooling, mask",
    "mask head",
    "mask loss",
    "mask results",
    "RoI pooling, keypoint",
    "keypoint head",
    "keypoint loss",
    "keypoint results",
    "backward",
    "optimizer",
    REST,
)


def sorted_stages(stages: set[str]) -> list[str]:
    """The stages from the image to the result."""
    return [s for s in ORDER if s in stages] + sorted(stages - set(ORDER))
