"""From sizes to a one-stage detector: every part is made here, and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minimask.conventions import Convention
from minimask.models.anchors import AnchorGenerator
from minimask.models.architecture import Architecture
from minimask.models.bodies import BODIES
from minimask.models.factory import Family, among, fields_of
from minimask.models.retina_features import RetinaBackbone
from minimask.models.retina_head import ClassificationHead, RegressionHead, RetinaHead
from minimask.models.retinanet import RetinaNet
from minimask.models.two_stage import make_body, make_features


# RetinaNet, section 4: three sizes to a level, a third of an octave apart, in whole pixels
def octave_thirds(sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Of each level's smallest anchor size all three."""
    return tuple(tuple(int(size * 2 ** (third / 3)) for third in range(3)) for size in sizes)


ANCHOR_SIZES = octave_thirds((32, 64, 128, 256, 512))
# option of a factory -> argument of `RetinaNet`
SELECTION = {
    f"box_{name}": name
    for name in (
        "fg_iou_thresh",
        "bg_iou_thresh",
        "score_thresh",
        "nms_thresh",
        "detections_per_img",
    )
} | {
    name: name
    for name in ("topk_candidates", "box_loss", "box_loss_beta", "focal_alpha", "focal_gamma")
}
HEAD = ("head_depth", "head_norm")
SECOND_STAGE = ("rpn_", "box_", "mask_", "keypoint_")  # begins what only two-stage networks have
SIZES = frozenset(
    name
    for name in fields_of(Architecture)
    if not name.startswith(SECOND_STAGE) and name != "features"
)


def assemble(
    classes: Sequence[str],
    c: Convention,
    options: Mapping[str, Any],
    seed: int,
    config: dict[str, Any],
) -> RetinaNet:
    """Make every part of a RetinaNet and put them together.

    Args:
        classes: names.
        c: the conventions of all parts.
        options: of `OPTIONS`.
        seed: of the random weights.
        config: what `build` needs to make this model again.
    """
    sizes: dict[str, Any] = {"anchor_sizes": ANCHOR_SIZES, **among(options, SIZES)}
    a = Architecture(**sizes)
    rng = np.random.default_rng(seed)
    backbone, anchors = _features(a, c, rng, options.get("coarse_levels_from", "p5"))
    tower = {n.removeprefix("head_"): options[n] for n in HEAD if n in options}
    if tower.get("depth", 4) < 0:
        raise ValueError(f"head_depth: expected at least 0, got {tower['depth']}")
    per_cell, channels = anchors.per_cell, backbone.channels
    prior = among(options, ("prior_probability",))
    classification = ClassificationHead(channels, per_cell, len(classes) + 1, rng, **tower, **prior)
    regression = RegressionHead(channels, per_cell, rng, **tower)
    return RetinaNet(
        backbone,
        anchors,
        RetinaHead(classification, regression),
        classes=classes,
        convention=c,
        min_size=a.min_size,
        max_size=a.max_size,
        config=config,
        **{SELECTION[name]: value for name, value in among(options, SELECTION).items()},
    )


def _features(
    a: Architecture, c: Convention, rng: np.random.Generator, source: str
) -> tuple[Any, AnchorGenerator]:
    """A backbone with the pyramid of RetinaNet, and anchors for its maps."""
    if a.backbone != "resnet" and a.backbone not in BODIES:
        return make_features(a, c, rng)  # registered: it comes with its own maps
    body = make_body(a, c, rng)
    body.freeze(a.trainable_layers)
    backbone = RetinaBackbone(body, a.fpn_channels, rng, source)
    sizes = list(a.anchor_sizes)
    if len(sizes) != backbone.levels:
        raise ValueError(
            f"anchor_sizes: RetinaNet has {backbone.levels} levels, one entry (a size or a list "
            f"of sizes) for each, got {len(sizes)}"
        )
    return backbone, AnchorGenerator(sizes, a.aspect_ratios, c)


OPTIONS = SIZES | frozenset(SELECTION) | frozenset(HEAD)
OPTIONS |= {"prior_probability", "coarse_levels_from"}
# what a `Convention` says of second stages and masks
UNREAD = frozenset(
    {
        *("rpn_loss_divisor", "rpn_loss_beta", "rpn_min_size", "proposals_per_level"),
        *("level_rule", "roi_aligned", "sampling_ratio", "background", "append_gt_boxes"),
        *("box_weights", "box_loss_divisor", "box_loss_beta", "box_min_size"),
        *("box_best_iou_min", "best_box_is_taken", "rpn_border", "fill_rois"),
        *("single_map_divisor", "dilate_first_block", "active_classes_only"),
        *("keypoint_loss_divisor", "keypoint_score"),
        *("proposal_limits", "crowds", "moving_targets"),
        *("best_class_only", "mask_target", "mask_target_aligned", "paste"),
    }
)
RETINANET = Family("RetinaNet", OPTIONS, assemble, unread=UNREAD)
