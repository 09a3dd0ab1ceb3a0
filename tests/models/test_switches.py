"""The switches of the paper's ablations: each builds, learns, predicts, and does what it says."""

import numpy as np
import pytest

import minimask as mm
from minimask import functional as F
from minimask import models
from minimask.autograd import Tensor, ops
from minimask.data import Shapes
from minimask.kernels.roi_align import roi_align
from minimask.kernels.roi_pool import roi_pool
from minimask.kernels.rois import quantize_rois
from minimask.models import Target, mask_head
from minimask.models.box_head import SampledRoIs
from minimask.models.mask_head import mask_channels
from minimask.models.roi_pooling import RoIPooler, as_rois
from minimask.tools.testing import gradcheck

SMALL = {
    "stem_channels": 8,
    "fpn_channels": 16,
    "box_head_width": 32,
    "mask_head_channels": (16,),
    "mask_predictor_channels": 16,
    "rpn_post_nms_top_n_train": 40,
    "rpn_post_nms_top_n_test": 20,
    "box_batch_size_per_image": 16,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 5,
}
SWITCHES = [
    {"features": "fpn"},
    {"features": "c4"},
    {"features": "c5"},
    {"features": "c4", "block": "bottleneck"},
    {"features": "dc5", "block": "bottleneck"},
    {"block": "bottleneck", "groups": 4, "width_per_group": 16},
    {"features": "c4", "block": "bottleneck", "groups": 2, "width_per_group": 128},
    {"fpn_norm": "batch", "box_head": "conv", "box_head_channels": (8, 8), "rpn_conv_depth": 2},
    {"box_head": "conv", "box_head_channels": (8,), "box_head_norm": "group"},
    {"mask_head_norm": "group"},
    {"roi_op": "pool"},
    {"features": "c5", "roi_op": "pool"},
    {"roi_op": "warp"},
    {"features": "c4", "roi_op": "warp", "roi_reduce": "max"},
    {"roi_reduce": "max"},
    {"mask_output": "softmax"},
    {"mask_output": "agnostic"},
    {"mask_output": "softmax", "background": "last"},
    {"mask_head": "mlp", "mask_mlp_widths": (32, 24)},
    {"mask_on": "proposals"},
]


def small(**options):
    return mm.models.maskrcnn_laptop(["a", "b"], **{**SMALL, **options})


def lesson(size=64, count=2):
    shapes = Shapes(size=size, seed=3, classes=("circle", "square"))
    samples = [shapes[i] for i in range(count)]
    return [(s.image, s.target) for s in samples]


@pytest.mark.parametrize("options", SWITCHES, ids=lambda o: "-".join(map(str, o.values())))
def test_every_switch_learns_in_every_part_and_predicts(options):
    model = small(**options)
    images, targets = zip(*lesson(), strict=True)
    losses = model.losses(images, targets, rng=np.random.default_rng(0))
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    found = model.predict([images[0]])[0]
    assert len(found) > 0
    assert found.masks.shape == (len(found), 64, 64)
    names = [name for name, _ in model.stages(images[0])]
    assert "mask/logits" in names and "out/masks" in names
    again = models.build(model.config)
    assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(("features", "stride"), [("c4", 16), ("c5", 32)])
def test_one_level_has_its_stride_and_all_anchors(features, stride):
    model = small(features=features)
    (level,) = model.backbone(Tensor(np.zeros((1, 3, 128, 96), np.float32)))
    assert level.shape[2:] == (128 // stride, 96 // stride)
    assert model.rpn.anchor_generator.per_cell == 5 * 3


def test_c4_shares_its_last_stage_between_classes_and_masks():
    model = small(features="c4")
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names))
    assert not [n for n in names if n.startswith("roi_heads.mask_head")]
    images, targets = zip(*lesson(), strict=True)
    losses = model.losses(images, targets, rng=np.random.default_rng(0))
    shared = dict(model.named_parameters())["roi_heads.box_head.res5.0.conv2.weight"]
    losses["loss_mask"].backward()
    assert np.abs(shared.grad).max() > 0
    stages = dict(model.stages(images[0]))
    assert stages["mask/pooled"].shape[2:] == (14, 14)
    assert stages["mask/features"].shape[2:] == (7, 7)
    assert stages["mask/logits"].shape[2:] == (14, 14)


@pytest.mark.parametrize("op", ["pool", "warp", "align"])
def test_regions_of_a_pyramid_stay_in_place(op):
    rng = np.random.default_rng(0)
    pyramid = [rng.standard_normal((2, 3, 256 >> i, 256 >> i)) for i in range(2, 6)]
    boxes = np.array([[0, 0, 250, 240], [9, 9, 30, 40], [0, 5, 120, 130], [3, 3, 230, 250]], "f4")
    rois = as_rois([boxes[:2], boxes[2:]])
    pooler = RoIPooler(op, "max", aligned=True)
    together = pooler([Tensor(p) for p in pyramid], rois, 7, 256).data
    for i in range(len(rois)):
        alone = pooler([Tensor(p) for p in pyramid], rois[i : i + 1], 7, 256).data
        np.testing.assert_array_equal(together[i], alone[0])


def random_rois(rng, count, size):
    corner = rng.uniform(-4, size, (count, 2))
    return np.concatenate(
        [np.zeros((count, 1)), corner, corner + rng.uniform(0, size, (count, 2))], axis=1
    )


@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("aligned", [False, True])
def test_the_largest_sample_is_the_kernels(ratio, aligned):
    rng = np.random.default_rng(1)
    features, rois = rng.standard_normal((1, 2, 12, 15)), random_rois(rng, 40, 60)
    options = {"spatial_scale": 0.25, "sampling_ratio": ratio, "aligned": aligned}
    ours = F.roi_align(features, rois, (3, 5), reduce="max", **options).data
    kernel = roi_align(features, rois, (3, 5), reduce="max", **options)
    np.testing.assert_allclose(ours, kernel, atol=1e-12)
    gradcheck(lambda x: F.roi_align(x, rois[:4], 2, reduce="max", **options), features)


def test_the_largest_sample_needs_a_number_of_samples():
    with pytest.raises(ValueError, match="sampling_ratio of at least 1"):
        F.roi_align(np.zeros((1, 1, 4, 4)), np.zeros((1, 5)), 2, reduce="max")
    with pytest.raises(ValueError, match="reduce must be"):
        F.roi_align(np.zeros((1, 1, 4, 4)), np.zeros((1, 5)), 2, reduce="sum")


def test_warped_regions_are_those_of_roi_pool():
    # one bin over the whole region: RoIPool's maximum is the largest cell of the same region
    rng = np.random.default_rng(2)
    features, rois = rng.standard_normal((1, 1, 40, 40)), random_rois(rng, 60, 30)
    regions = quantize_rois(rois, 0.5)
    np.testing.assert_array_equal(regions[:, 1:], np.round(regions[:, 1:]))
    pooled, _ = roi_pool(features, rois, 1, spatial_scale=0.5)
    for region, value in zip(regions.astype(int), pooled[:, 0, 0, 0], strict=True):
        x0, y0, x1, y1 = np.clip(region[1:], 0, 40)
        inside = features[0, 0, y0:y1, x0:x1]
        assert value == (inside.max() if inside.size else 0)
    by_hand = roi_align(features, regions, 3, sampling_ratio=2)
    warped = F.roi_warp(features, rois, 3, spatial_scale=0.5, sampling_ratio=2).data
    np.testing.assert_array_equal(warped, by_hand)


def test_a_region_that_is_not_finite_stays_so_and_gives_zero():
    rois = np.array([[0, np.nan, 1, 2, 3], [0, 1, 1, np.inf, 3]])
    assert not np.isfinite(quantize_rois(rois, 0.5)[:, 1:]).all(axis=1).any()
    assert not F.roi_warp(np.ones((1, 1, 8, 8)), rois, 2, sampling_ratio=2).data.any()


def positives(labels):
    boxes = np.tile(np.array([[0, 0, 8, 8]], np.float32), (len(labels), 1))
    here = np.ones(len(labels), bool)
    return SampledRoIs(boxes, np.asarray(labels), np.zeros(len(labels), int), boxes, here)


@pytest.mark.parametrize("background", ["first", "last"])
def test_softmax_masks_compete_with_background_and_each_other(background):
    how = {"output": "softmax", "background": background}
    assert mask_channels(3, **how) == 3
    masks = np.zeros((1, 8, 8), np.uint8)
    masks[:, :, :4] = 1  # the left half
    own, outside = (2, 0) if background == "first" else (1, 2)
    logits = np.random.default_rng(0).standard_normal((1, 3, 4, 4))
    log_probs = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    target = mask_head.mask_targets(masks, np.array([[0, 0, 8, 8]]), np.zeros(1, int), 4)
    by_hand = -np.mean(target * log_probs[:, own] + (1 - target) * log_probs[:, outside])
    loss = mask_head.mask_loss(Tensor(logits), [positives([own])], [masks], **how)
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    gradcheck(lambda x: mask_head.mask_loss(x, [positives([own])], [masks], **how), logits)
    x = Tensor(logits, requires_grad=True)
    mask_head.mask_loss(x, [positives([own])], [masks], **how).backward()
    assert np.abs(x.grad).min() > 0  # every class's channel learns: they compete
    probs = mask_head.mask_probabilities(logits, np.array([own]), "softmax")
    share = np.exp(log_probs)
    rival = np.delete(share, own, axis=1).max(axis=1)
    np.testing.assert_allclose(probs, share[:, own] / (share[:, own] + rival), rtol=1e-6)
    np.testing.assert_array_equal(probs > 0.5, share.argmax(axis=1) == own)


def test_agnostic_masks_have_one_channel_for_all_classes():
    assert mask_channels(91, "agnostic", "first") == mask_channels(91, "agnostic", "last") == 1
    masks = np.ones((1, 8, 8), np.uint8)
    logits = np.zeros((2, 1, 4, 4))
    loss = mask_head.mask_loss(Tensor(logits), [positives([1, 2])], [masks], output="agnostic")
    assert loss.item() == pytest.approx(np.log(2))
    probs = mask_head.mask_probabilities(logits, np.array([2, 1]), "agnostic")
    np.testing.assert_allclose(probs, 0.5)


def test_masks_on_proposals_lie_in_the_proposals():
    model = small(mask_on="proposals")
    (image, _), *_ = lesson()
    found = model.predict([image])[0]
    assert np.abs(found.mask_boxes - found.boxes).max() > 0.1
    stages = dict(model.stages(image))
    nearest = np.abs(stages["rpn/proposals"][None] - found.mask_boxes[:, None]).max(axis=2)
    assert nearest.min(axis=1).max() < 1e-3  # each is one of the proposals
    np.testing.assert_array_equal(stages["out/masks"][:, 0], found.soft_masks)
    assert len(found.keep([1, 0]).mask_boxes) == 2
    assert small().predict([image])[0].mask_boxes is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "c3"}, "features: expected one of fpn, c4, c5"),
        ({"mask_head": "rnn"}, "mask_head: expected one of fcn, mlp"),
        ({"mask_head": "mlp", "features": "c4"}, "leave mask_head out"),
        ({"mask_head": "mlp", "mask_mlp_widths": ()}, "at least one width"),
        ({"roi_op": "cut"}, "roi_op: expected one of align, warp, pool, crop"),
        ({"mask_output": "tanh"}, "mask_output: expected one of"),
        ({"mask_on": "anchors"}, "mask_on: expected one of"),
    ],
)
def test_wrong_switches_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_the_parts_of_the_losses_are_those_of_the_whole():
    # alternating training learns the stages apart: with the same draws the same numbers
    model = small()
    images, targets = zip(*lesson(), strict=True)
    model.eval()  # statistics of batch norm stay, so that both passes see the same features
    whole = model.losses(images, targets, rng=np.random.default_rng(0))
    first = model.proposal_losses(images, targets, rng=np.random.default_rng(0))
    assert list(first) == ["loss_objectness", "loss_rpn_box_reg"]
    for name, loss in first.items():
        assert loss.item() == whole[name].item()
    proposals = model.propose(images)
    assert [p.shape[1] for p in proposals] == [4, 4]
    second = model.region_losses(images, targets, proposals, rng=np.random.default_rng(0))
    assert list(first) + list(second) == list(whole)
    ops.sum(second["loss_mask"]).backward()
    untouched = [
        n for n, p in model.named_parameters() if n.startswith("rpn") and p.grad is not None
    ]
    assert untouched == []


def test_proposals_are_learned_without_masks_and_regions_are_not():
    model = small()
    (image, target), *_ = lesson()
    boxes_only = Target(target.boxes, target.labels)
    rng = np.random.default_rng(0)
    assert len(model.proposal_losses([image], [boxes_only], rng=rng)) == 2
    with pytest.raises(ValueError, match=r"targets\[0\]: Mask R-CNN learns from masks"):
        model.region_losses([image], [boxes_only], model.propose([image]), rng=rng)


def test_proposals_come_back_in_the_pixels_of_the_image():
    model = small(min_size=128, max_size=256)
    (image, target), *_ = lesson(size=64)
    (proposals,) = model.propose([image])
    assert proposals.max() <= 64
    with pytest.raises(ValueError, match="of 0 images, but there are 1"):
        model.region_losses([image], [target], [], rng=np.random.default_rng(0))
