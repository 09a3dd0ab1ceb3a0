"""The parts hold what they were made with: what is set takes effect, or it cannot be set."""

import dataclasses
import json

import numpy as np
import pytest

import minimask as mm
from minimask import models
from minimask.autograd.hooks import Recorder, hooked
from minimask.conventions import CONVENTIONS, HYPERPARAMETERS, TORCHVISION
from minimask.models import Target

NARROW = {
    "layers": (1, 1, 1, 1),
    "block": "basic",
    "fpn_channels": 8,
    "box_head_width": 8,
    "mask_head_channels": (8,),
    "mask_predictor_channels": 8,
}
NARROW_KEYPOINTS = {"keypoint_head_channels": (8,), "num_keypoints": 2}

# What every system's hyperparameters are unless it says otherwise, and where a model has them
DEFAULTS = {
    "rpn_fg_iou_thresh": 0.7,
    "rpn_bg_iou_thresh": 0.3,
    "rpn_batch_size_per_image": 256,
    "rpn_positive_fraction": 0.5,
    "rpn_pre_nms_top_n_train": 2000,
    "rpn_pre_nms_top_n_test": 1000,
    "rpn_post_nms_top_n_train": 2000,
    "rpn_post_nms_top_n_test": 1000,
    "rpn_nms_thresh": 0.7,
    "rpn_score_thresh": 0.0,
    "roi_op": "align",
    "roi_reduce": "mean",
    "box_fg_iou_thresh": 0.5,
    "box_bg_iou_thresh": 0.5,
    "box_batch_size_per_image": 512,
    "box_positive_fraction": 0.25,
    "box_negatives_per_positive": None,
    "box_score_thresh": 0.05,
    "box_nms_thresh": 0.5,
    "box_detections_per_img": 100,
    "mask_batch_size_per_image": None,
    "mask_output": "sigmoid",
    "mask_on": "detections",
    "keypoint_batch_size_per_image": None,
}
OTHERWISE = {
    "detectron2": {"rpn_post_nms_top_n_train": 1000},
    "detectron2_3x3": {"rpn_post_nms_top_n_train": 1000},
    "detectron2_torchvision": {"rpn_post_nms_top_n_train": 1000},
    "mmdet": {"rpn_post_nms_top_n_train": 1000},
    "mmdet_caffe": {"rpn_post_nms_top_n_train": 1000},
    "matterport": {
        "rpn_pre_nms_top_n_train": 6000,
        "rpn_pre_nms_top_n_test": 6000,
        "box_batch_size_per_image": 200,
        "box_positive_fraction": 0.33,
        "box_negatives_per_positive": 1 / 0.33 - 1,
        "box_score_thresh": 0.7,
        "box_nms_thresh": 0.3,
        "roi_op": "crop",
    },
}
# what old runs were saved with
OLD = OTHERWISE["matterport"] | {"box_negatives_per_positive": 2.0, "roi_op": "align"}


def of_the_parts(model):
    """Every hyperparameter as the part that uses it holds it."""
    rpn, heads = model.rpn, model.roi_heads
    return {
        "rpn_fg_iou_thresh": rpn.matcher.fg_iou_thresh,
        "rpn_bg_iou_thresh": rpn.matcher.bg_iou_thresh,
        "rpn_batch_size_per_image": rpn.sampler.batch_size_per_image,
        "rpn_positive_fraction": rpn.sampler.positive_fraction,
        "rpn_pre_nms_top_n_train": rpn.pre_nms_top_n_train,
        "rpn_pre_nms_top_n_test": rpn.pre_nms_top_n_test,
        "rpn_post_nms_top_n_train": rpn.post_nms_top_n_train,
        "rpn_post_nms_top_n_test": rpn.post_nms_top_n_test,
        "rpn_nms_thresh": rpn.nms_thresh,
        "rpn_score_thresh": rpn.score_thresh,
        "roi_op": heads.pooler.op,
        "roi_reduce": heads.pooler.reduce,
        "box_fg_iou_thresh": heads.matcher.fg_iou_thresh,
        "box_bg_iou_thresh": heads.matcher.bg_iou_thresh,
        "box_batch_size_per_image": heads.sampler.batch_size_per_image,
        "box_positive_fraction": heads.sampler.positive_fraction,
        "box_negatives_per_positive": heads.sampler.negatives_per_positive,
        "box_score_thresh": heads.score_thresh,
        "box_nms_thresh": heads.nms_thresh,
        "box_detections_per_img": heads.detections_per_img,
        "mask_batch_size_per_image": heads.mask_batch_size_per_image,
        "mask_output": heads.mask_output,
        "mask_on": heads.mask_on,
        "keypoint_batch_size_per_image": heads.keypoint_batch_size_per_image,
    }


def laptop(**options):
    return mm.models.maskrcnn_laptop(["a", "b"], box_score_thresh=0.0, **options)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)


# --- options of a factory -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_systems_hyperparameters_are_its_own(name):
    model = mm.models.mask_rcnn(classes=["a"], convention=name, **NARROW)
    assert of_the_parts(model) == DEFAULTS | OTHERWISE.get(name, {})


CHANGED = {
    name: {int: 7, float: 0.4, str: None, type(None): 3}[type(value)]
    for name, value in DEFAULTS.items()
} | {"roi_op": "warp", "roi_reduce": "max", "mask_output": "agnostic", "mask_on": "proposals"}


def test_the_table_leaves_no_option_out():
    assert set(CHANGED) == set(DEFAULTS) == set(HYPERPARAMETERS)
    assert all(CHANGED[name] != value for name, value in DEFAULTS.items())


@pytest.mark.parametrize("name", HYPERPARAMETERS)
@pytest.mark.parametrize("convention", ["torchvision", "matterport"])
def test_every_option_reaches_its_part_alone_and_from_the_file(convention, name):
    value = CHANGED[name]
    others = {}
    if name == "rpn_fg_iou_thresh":
        others = {"rpn_bg_iou_thresh": 0.2}  # must not be above
    elif name == "box_bg_iou_thresh":
        others = {"box_fg_iou_thresh": 0.6}
    elif name == "box_fg_iou_thresh":
        others = {"box_bg_iou_thresh": 0.1}
    make, sizes = mm.models.mask_rcnn, NARROW
    if name.startswith("keypoint_"):
        make, sizes = mm.models.keypoint_rcnn, NARROW | NARROW_KEYPOINTS
    model = make(classes=["a"], convention=convention, **sizes, **{name: value}, **others)
    expected = DEFAULTS | OTHERWISE.get(convention, {}) | {name: value} | others
    assert of_the_parts(model) == expected
    assert of_the_parts(models.build(json.loads(json.dumps(model.config)))) == expected


# A convention as runs were saved with before hyperparameters left it: matterport's, two changed
FLAT = {
    "name": "mine", "channels": "rgb", "pixel_mean": [123.7, 116.8, 103.9],
    "pixel_std": [1.0, 1.0, 1.0], "image_resize": "float", "size_rounding": "nearest",
    "pad_square": True, "pad_with": "black", "size_divisor": 64, "stride_in_1x1": True,
    "norm_eps": 0.001, "stem_pool_padding": "after", "round_anchors": False, "anchor_offset": 0.0,
    "anchor_order": "ratio", "rpn_box_weights": [10.0, 10.0, 5.0, 5.0], "delta_clamp": "none",
    "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "rpn_best_iou_min": 0.0,
    "rpn_batch_size_per_image": 256, "rpn_positive_fraction": 0.5,
    "rpn_loss_divisor": "positives", "rpn_loss_beta": 1.0, "rpn_pre_nms_top_n_train": 6000,
    "rpn_pre_nms_top_n_test": 6000, "rpn_post_nms_top_n_train": 2000,
    "rpn_post_nms_top_n_test": 1000, "rpn_nms_thresh": 0.55, "rpn_min_size": 0.0,
    "proposals_per_level": False, "roi_op": "align", "roi_reduce": "mean",
    "level_rule": "matterport", "roi_aligned": True, "sampling_ratio": 1, "background": "first",
    "append_gt_boxes": False, "box_weights": [10.0, 10.0, 5.0, 5.0], "box_fg_iou_thresh": 0.5,
    "box_bg_iou_thresh": 0.5, "box_batch_size_per_image": 200, "box_positive_fraction": 0.33,
    "box_negatives_per_positive": 2.0, "box_loss_divisor": "positives", "box_loss_beta": 1.0,
    "box_score_thresh": 0.7, "box_nms_thresh": 0.3, "box_detections_per_img": 100,
    "box_min_size": 0.0, "best_class_only": True, "mask_batch_size_per_image": None,
    "mask_target": "hard", "mask_target_aligned": False, "mask_output": "sigmoid",
    "mask_on": "detections", "paste": "matterport",
}  # fmt: skip


def test_an_old_runs_convention_opens_with_every_value_it_had():
    config = {"model": "mask_rcnn", "classes": ["a"], "convention": FLAT, "seed": 0, **NARROW}
    model = models.build(json.loads(json.dumps(config)))
    expected = DEFAULTS | OLD | {"rpn_nms_thresh": 0.55}
    assert of_the_parts(model) == expected
    assert model.roi_heads.pooler.aligned
    choices = dataclasses.asdict(model.convention)
    del choices["hyperparameters"], choices["sizes"]
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in FLAT.items()}
    old = {k: v for k, v in tuples.items() if k not in HYPERPARAMETERS}
    since = {k: v for k, v in dataclasses.asdict(TORCHVISION).items() if k not in old}
    del since["hyperparameters"], since["sizes"]  # choices that did not exist then
    assert choices == {**since, **old}
    again = models.build(json.loads(json.dumps(model.config)))  # as such a run is saved today
    assert of_the_parts(again) == expected and again.convention == model.convention


# --- setting an attribute -----------------------------------------------------------------------


def test_the_convention_of_a_model_cannot_be_exchanged():
    model = laptop()
    other = dataclasses.replace(TORCHVISION, roi_aligned=True)
    with pytest.raises(AttributeError, match=r"build another with convention=.*part's own"):
        model.convention = other
    assert model.convention.name == "exact"


@pytest.mark.parametrize(
    ("part", "name", "message"),
    [
        (
            "",
            "box_score_thresh",
            r"no attribute 'box_score_thresh'.*model\.roi_heads\.score_thresh",
        ),
        ("", "rpn_nms_thresh", r"what you want is model\.rpn\.nms_thresh"),
        ("", "mask_on", r"what you want is model\.roi_heads\.mask_on"),
        ("", "minimum_size", "did you mean 'min_size'"),
        ("rpn", "nms_threshold", "RPN has no attribute 'nms_threshold'.*did you mean 'nms_thresh'"),
        ("roi_heads", "detections_per_image", "did you mean 'detections_per_img'"),
        ("roi_heads", "xyz", r"so setting it would change nothing$"),
    ],
)
def test_what_nothing_would_read_cannot_be_set(part, name, message):
    model = laptop()
    owner = getattr(model, part) if part else model
    with pytest.raises(AttributeError, match=message):
        setattr(owner, name, 1)
    assert not hasattr(owner, name)


def test_the_number_of_proposals_can_be_set():
    model = laptop()
    assert len(dict(model.stages(picture()))["rpn/proposals"]) > 5
    model.rpn.post_nms_top_n_test = 5
    assert len(dict(model.stages(picture()))["rpn/proposals"]) == 5
    assert len(model.propose([picture()])[0]) > 5  # as many as in training
    model.rpn.post_nms_top_n_train = 6
    assert len(model.propose([picture()])[0]) == 6


def test_the_overlap_of_proposals_can_be_set():
    model = laptop()
    counts = []
    for threshold in (0.7, 0.2):
        model.rpn.nms_thresh = threshold
        with hooked(Recorder()) as recorder:
            model.predict([picture()])
        (cuts,) = recorder.values("rpn/filter")
        kept = cuts.kept[cuts.kept >= 0]
        counts.append(len(kept))
        level = np.repeat(np.arange(len(cuts.topk)), [best.shape[1] for best in cuts.topk])[kept]
        overlap = mm.kernels.box_iou(cuts.clipped[0][kept], cuts.clipped[0][kept])
        overlap[level[:, None] != level] = 0
        assert threshold - 0.1 < (overlap - np.eye(len(kept))).max() <= threshold
    assert counts[1] < counts[0]


def test_score_and_number_of_detections_can_be_set():
    model = laptop()
    (all_found,) = model.predict([picture()])
    bound = float(np.median(all_found.scores))
    model.roi_heads.score_thresh = bound
    (found,) = model.predict([picture()])
    assert 0 < len(found) < len(all_found) and found.scores.min() > bound
    model.roi_heads.score_thresh, model.roi_heads.detections_per_img = 0.0, 3
    assert len(model.predict([picture()])[0]) == 3


def test_masks_can_be_put_on_proposals():
    model = laptop()
    assert model.predict([picture()])[0].mask_boxes is None
    model.roi_heads.mask_on = "proposals"
    (found,) = model.predict([picture()])
    assert np.abs(found.mask_boxes - found.boxes).max() > 0.01


def test_another_sampler_draws_what_it_says():
    model = laptop()
    model.rpn.sampler = dataclasses.replace(model.rpn.sampler, batch_size_per_image=10)
    model.roi_heads.sampler = dataclasses.replace(model.roi_heads.sampler, batch_size_per_image=4)
    target = Target(
        np.array([[5, 8, 40, 50]], np.float32), np.array([0]), np.ones((1, 64, 96), bool)
    )
    with mm.autograd.hooks.hooked(mm.autograd.hooks.Recorder()) as recorder:
        model.losses([picture()], [target], rng=np.random.default_rng(0))
    ((positive, negative),) = recorder.values("rpn/sampled")[0]
    assert len(positive) + len(negative) == 10
    assert len(recorder.values("roi/sampled")[0][0].boxes) == 4
