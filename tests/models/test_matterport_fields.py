"""What Matterport's convention does otherwise than the others, choice by choice, by hand."""

import dataclasses

import numpy as np
import pytest

import minimask as mm
from minimask import boxes as box_ops
from minimask.autograd import Tensor
from minimask.conventions import MATTERPORT, TORCHVISION
from minimask.data import Sample
from minimask.models import Target, box_head
from minimask.models.anchors import AnchorGenerator
from minimask.models.box_corners import from_edges, normalized, to_edges
from minimask.models.crop_and_resize import crop_levels, crop_masks
from minimask.models.matcher import BACKGROUND, IGNORED, BalancedSampler, spare_crowds
from minimask.models.mini_masks import mini_mask_targets, mini_masks
from minimask.models.moving_targets import Origins, moving_deltas
from minimask.models.proposals import filter_proposals
from minimask.models.roi_pooling import RoIPooler
from minimask.models.scikit_image import resize_bytes, resize_floats
from minimask.models.transform import (
    ImageTransform,
    make_batch,
    nearest_pixels,
    resize_target,
    resized_size,
)
from minimask.tools.testing import gradcheck

BOX = np.array([[2, 3, 7, 9]], np.float32)


def with_field(**fields):
    return dataclasses.replace(TORCHVISION, **fields)


# --- the image ---------------------------------------------------------------------------------


def test_what_is_outside_is_black_and_fractions_are_cut_off():
    row = np.array([[100, 201]], np.uint8)
    # the new pixels lie at -1/4, 1/4, 3/4, 5/4
    np.testing.assert_allclose(resize_floats(row, 1, 4)[0], [75, 125.25, 175.75, 150.75])
    image = np.repeat(row[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(resize_bytes(image, 1, 4)[0, :, 0], [75, 125, 175, 150])
    np.testing.assert_array_equal(resize_bytes(image, 1, 2), image)


def test_scikit_image_itself():
    transform = pytest.importorskip("skimage.transform")
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for size in ((64, 92), (20, 31)):
        how = {"order": 1, "mode": "constant", "preserve_range": True, "anti_aliasing": False}
        theirs = transform.resize(image, size, **how).astype(np.uint8)
        np.testing.assert_array_equal(resize_bytes(image, *size), theirs)


def test_halves_go_to_even_numbers_and_the_limit_is_looked_at_after_rounding():
    even, nearest = with_field(size_rounding="even"), with_field(size_rounding="nearest")
    assert resized_size(10, 45, 5, None, nearest) == (5, 23)  # 22.5
    assert resized_size(10, 45, 5, None, even) == (5, 22)
    assert resized_size(100, 123, 150, 184, nearest)[0] == 150
    # 184.5 is 184 after rounding, which is no more than the limit: the factor stays 1.5
    assert resized_size(1000, 123, 1500, 1501, even)[0] <= 1501
    assert resized_size(200, 246, 150, 184, even) == (150, 184)


# --- boxes -------------------------------------------------------------------------------------


def test_a_box_is_named_by_its_first_and_last_pixel():
    np.testing.assert_array_equal(from_edges(BOX, "pixels"), [[2, 3, 6, 8]])
    np.testing.assert_array_equal(to_edges(from_edges(BOX, "pixels"), "pixels"), BOX)
    assert from_edges(BOX, "edges") is BOX
    whole = np.array([[0, 0, 20, 11]], np.float32)
    for corners in ("edges", "pixels"):
        boxes = from_edges(whole, corners)
        np.testing.assert_array_equal(normalized(boxes, corners, 11, 20), [[0, 0, 1, 1]])


def test_the_same_deltas_mean_another_box():
    deltas = np.array([[0.5, 0, 0, 0]], np.float32)
    by_edges = box_ops.decode(deltas, BOX)
    by_pixels = to_edges(box_ops.decode(deltas, from_edges(BOX, "pixels")), "pixels")
    np.testing.assert_allclose(by_pixels - by_edges, [[-0.5, 0, -0.5, 0]])


def test_anchors_and_transforms_name_boxes_as_the_convention_says():
    for corners in ("edges", "pixels"):
        generator = AnchorGenerator([16], (1.0,), with_field(box_corners=corners))
        anchors = generator([(4, 4)], (64, 64))
        expected = from_edges(np.array([[-8, -8, 8, 8]], np.float32), corners)
        np.testing.assert_array_equal(anchors.flat[:1], expected)
        np.testing.assert_array_equal(anchors.edges[:1], [[-8, -8, 8, 8]])
        assert (anchors.edges is anchors.on_cpu) == (corners == "edges")
    image = np.zeros((20, 30, 3), np.uint8)
    (where,) = make_batch([image], 40, 64, with_field(box_corners="pixels")).transforms
    assert where.corners == "pixels"
    inner = where.to_network(np.array([[0, 0, 30, 20]], np.float32))
    np.testing.assert_allclose(inner, [[0, 0, where.resized[1] - 1, where.resized[0] - 1]])
    np.testing.assert_allclose(where.to_image(inner), [[0, 0, 30, 20]], rtol=1e-6)
    np.testing.assert_allclose(where.clip(inner * 3 - 20), inner)


def test_proposals_may_lie_in_the_padding():
    image = np.zeros((20, 40, 3), np.uint8)
    for limits, expected in (("image", [[0, 10, 40, 30]]), ("input", [[0, 0, 64, 64]])):
        c = with_field(pad_square=True, proposal_limits=limits, size_divisor=64)
        (where,) = make_batch([image], None, 40, c).transforms
        far = np.array([[-9, -9, 99, 99]], np.float32)
        shifted = np.array(expected, np.float32)
        if limits == "image":
            y, x = where.offset
            shifted = np.array([[x, y, x + 40, y + 20]], np.float32)
        np.testing.assert_array_equal(where.clip_proposals(far), shifted)
        np.testing.assert_array_equal(where.clip(far)[0, 2] - where.clip(far)[0, 0], 40)


def test_boxes_of_the_resized_masks():
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[0, 1:3, 1:2] = 1
    masks[1, 3, 3] = 1
    target = Target(np.array([[1, 1, 2, 3], [3, 3, 4, 4]], np.float32), np.array([0, 1]), masks)
    where = ImageTransform((4, 4), (3, 3))
    given = resize_target(target, where, (3, 3))
    assert len(given.boxes) == 2 and given.boxes[0, 2] == 1.5
    found = resize_target(target, where, (3, 3), with_field(target_boxes="masks"))
    # of the last pixel nothing is left: rows 0, 1, 2 are shown
    np.testing.assert_array_equal(found.boxes, [[1, 1, 2, 3]])
    np.testing.assert_array_equal(found.labels, [0])
    by_pixels = dataclasses.replace(where, corners="pixels")
    found = resize_target(target, by_pixels, (3, 3), with_field(target_boxes="masks"))
    np.testing.assert_array_equal(found.boxes, [[1, 1, 1, 2]])


def test_masks_are_resized_by_cells_or_by_corners():
    np.testing.assert_array_equal(nearest_pixels(4, 7, "cells"), [0, 0, 1, 1, 2, 2, 3])
    np.testing.assert_array_equal(nearest_pixels(4, 7, "corners"), [0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(nearest_pixels(5, 3, "corners"), [0, 2, 4])
    assert nearest_pixels(5, 1, "corners") == [0]
    mask = np.zeros((1, 5, 5), np.uint8)
    mask[0, 4, 4] = 1
    target = Target(np.array([[4, 4, 5, 5]], np.float32), np.array([0]), mask)
    where = ImageTransform((5, 5), (3, 3))
    cells, corners = (
        resize_target(target, where, (3, 3), with_field(mask_resize=way)).masks.sum()
        for way in ("cells", "corners")
    )
    assert (cells, corners) == (0, 1)


def test_detections_in_whole_pixels():
    boxes = np.array([[1.4, 1.6, 5.5, 6.2], [2.1, 2.1, 2.4, 9.0]], np.float32)
    instances = mm.models.detections.Instances(
        boxes, np.array([0, 1]), np.array([0.9, 0.8], np.float32), boxes
    )
    where = ImageTransform((10, 10), (10, 10))
    found = {}
    for way in ("exact", "whole"):
        model = mm.models.fasterrcnn_laptop(["a", "b"], stem_channels=8, detection_boxes=way)
        found[way] = model.to_image(instances, where)
    np.testing.assert_array_equal(found["exact"].boxes, boxes)
    np.testing.assert_array_equal(found["whole"].boxes, [[1, 2, 6, 6]])
    np.testing.assert_array_equal(found["whole"].labels, [0])


# --- what is learned from ----------------------------------------------------------------------


def test_what_touches_a_crowd_is_no_background():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [9, 9, 19, 19]], np.float32)
    matches = np.array([BACKGROUND, BACKGROUND, 0])
    crowds = np.array([[5, 5, 12, 12]], np.float32)
    np.testing.assert_array_equal(spare_crowds(matches, boxes, crowds), [IGNORED, BACKGROUND, 0])
    np.testing.assert_array_equal(spare_crowds(matches, boxes, crowds[:0]), matches)


@pytest.mark.parametrize("way", ["background", "ignored"])
def test_a_samples_crowds_reach_both_stages(way):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    masks = np.zeros((2, 64, 64), bool)
    masks[0, 10:30, 10:30] = masks[1] = True
    boxes = np.array([[10, 10, 30, 30], [0, 0, 64, 64]], np.float32)
    sample = Sample(image, boxes, np.array([0, 0]), masks, np.array([False, True]))
    target = sample.target
    np.testing.assert_array_equal(target.crowds, boxes[1:])
    model = mm.models.fasterrcnn_laptop(["a"], stem_channels=8, crowds=way)
    with mm.autograd.hooks.hooked(mm.autograd.hooks.Recorder()) as recorder:
        model.losses([image], [target], rng=np.random.default_rng(0))
    ((_, negative),) = recorder.values("rpn/sampled")[0]
    (rois,) = recorder.values("roi/sampled")[0]
    assert (len(negative) > 0) == (way == "background")
    assert rois.positive.all() == (way == "ignored")


def test_boxes_without_area_may_stay():
    logits, deltas = np.array([[2.0, 1.0]], np.float32), np.zeros((1, 2, 4), np.float32)
    anchors = np.array([[-9, 2, -5, 6], [2, 2, 6, 6]], np.float32)
    how = {"pre_nms_top_n": 5, "post_nms_top_n": 5}
    where = [ImageTransform((10, 10), (10, 10))]
    for min_size, count in ((0.0, 1), (None, 2)):
        ((boxes, _),) = filter_proposals(
            [logits], [deltas], [anchors], where, min_size=min_size, **how
        )
        assert len(boxes) == count
    detected = {
        min_size: box_head.postprocess_detections(
            np.array([[0.0, 5.0]], np.float32),
            np.zeros((1, 8), np.float32),
            [anchors[:1]],
            where,
            min_size=min_size,
        )[0]
        for min_size in (0.0, None)
    }
    assert [len(found.boxes) for found in detected.values()] == [0, 1]


def sampled(count, positive):
    boxes = np.tile(BOX, (count, 1))
    labels = np.where(np.arange(count) < positive, 1, 0)
    deltas = np.full((count, 4), 0.5, np.float32)
    return box_head.SampledRoIs(boxes, labels, labels * 0, deltas, labels > 0)


def test_regions_are_filled_up_and_count_as_background():
    rois = sampled(3, 1).filled(8, 0)
    assert len(rois.boxes) == len(rois.labels) == 8 and rois.positive.sum() == 1
    assert not rois.boxes[3:].any() and not rois.labels[3:].any()
    assert len(sampled(3, 1).filled(2, 0).boxes) == 3
    model = mm.models.fasterrcnn_laptop(["a"], stem_channels=8, fill_rois=True)
    image = np.zeros((64, 64, 3), np.uint8)
    target = Target(np.array([[8, 8, 40, 40]], np.float32), np.array([0]))
    with mm.autograd.hooks.hooked(mm.autograd.hooks.Recorder()) as recorder:
        model.roi_heads.sampler = BalancedSampler(512, 0.25)
        model.losses([image], [target], rng=np.random.default_rng(0))
    assert len(recorder.values("box/cls_logits")[0].data) == 512


def test_as_many_negatives_as_theirs():
    """int(positives / 0.33) - positives in float32."""
    ratio = MATTERPORT.hyperparameters["box_negatives_per_positive"]
    for positives in range(1, 67):
        theirs = int(np.float32(1 / 0.33) * np.float32(positives)) - positives
        matches = np.repeat([0, BACKGROUND], [positives, 400])
        _, negative = BalancedSampler(200, 0.33, ratio)(matches, np.random.default_rng(0))
        assert len(negative) == theirs


def test_regions_taken_for_a_class_that_data_lacks_are_left_out():
    logits = np.array([[1, 0, 3], [0, 4, 1], [2, 1, 0]], np.float32)
    active = box_head.active_classes(["a", "N/A"], "first")
    np.testing.assert_array_equal(active, [True, True, False])
    deltas = Tensor(np.zeros((3, 12), np.float32))
    rois = [sampled(3, 0)]
    some, box = box_head.box_loss(Tensor(logits), deltas, rois, active=active)
    kept, _ = box_head.box_loss(Tensor(logits[1:]), deltas[1:], [sampled(2, 0)])
    every, same = box_head.box_loss(Tensor(logits), deltas, rois)
    assert some.item() == pytest.approx(kept.item()) and some.item() != every.item()
    assert box.item() == same.item()
    model = mm.models.fasterrcnn_laptop(["a", "N/A"], stem_channels=8, active_classes_only=True)
    np.testing.assert_array_equal(model.roi_heads.active_classes, active)
    assert mm.models.fasterrcnn_laptop(["a"], stem_channels=8).roi_heads.active_classes is None


# --- features of regions -----------------------------------------------------------------------


def test_samples_lie_on_the_sides_and_outside_is_zero():
    ramp = np.arange(5, dtype=np.float32) * 10 + np.arange(4, dtype=np.float32)[:, None]
    level = Tensor(ramp[None, None])
    rois = np.array(
        [[0, 0, 0, 1, 1], [0, 0.5, 0, 0.75, 1 / 3], [0, 0.5, 0, 1.5, 1], [0, 0.5, 0, 1.1, 1]],
        np.float32,
    )
    cut = crop_levels([level], rois, np.zeros(4, int), 3).data[:, 0]
    np.testing.assert_allclose(cut[0], [[0, 20, 40], [1.5, 21.5, 41.5], [3, 23, 43]], rtol=1e-6)
    np.testing.assert_allclose(cut[1], [[20, 25, 30], [20.5, 25.5, 30.5], [21, 26, 31]], rtol=1e-6)
    np.testing.assert_allclose(cut[2, 0], [20, 40, 0], rtol=1e-6)
    # 0.4 of a cell beyond the last center is outside, too
    np.testing.assert_allclose(cut[3, 0], [20, 32, 0], rtol=1e-6)
    masks = crop_masks(np.repeat(ramp[None], 4, axis=0), rois[:, [1, 2, 3, 4]], 3)
    np.testing.assert_allclose(masks, cut, rtol=1e-5)


def test_the_gradient_of_crops():
    rng = np.random.default_rng(0)
    rois = np.array([[0, 0.1, 0.2, 0.7, 0.9], [1, 0.4, 0, 1.3, 0.5], [0, 0, 0, 0, 0]], np.float32)
    levels = np.array([0, 1, 0])
    fine, coarse = rng.standard_normal((2, 2, 6, 7)), rng.standard_normal((2, 2, 3, 4))
    gradcheck(lambda a, b: crop_levels([a, b], rois, levels, 3), fine, coarse)


def test_the_pooler_crops_and_chooses_levels_by_shares_of_the_input():
    pyramid = [
        Tensor(np.random.default_rng(i).standard_normal((1, 1, s, s)))
        for i, s in enumerate((16, 8))
    ]
    whole = np.array([[0, 0, 0, 64, 64]], np.float32)
    by_edges = RoIPooler("crop", level_rule="matterport")(pyramid, whole, 7, 64)
    inner = np.concatenate([whole[:, :1], from_edges(whole[:, 1:], "pixels")], axis=1)
    by_pixels = RoIPooler("crop", level_rule="matterport", corners="pixels")(pyramid, inner, 7, 64)
    np.testing.assert_array_equal(by_edges.data, by_pixels.data)
    np.testing.assert_allclose(
        by_edges.data[0, 0, [0, -1], [0, -1]], pyramid[0].data[0, 0, [0, -1], [0, -1]], rtol=1e-6
    )
    # 158.39 pixels are half of 224 after rounding: a share of the input is a bit more of it
    side = 224 / 2**0.5
    at = np.array([[0, 0, 0, side, side]], np.float32)
    sized = RoIPooler(corners="pixels")._sized(at[:, 1:] - [0, 0, 1, 1], 512, 512)
    assert sized[0, 2] == pytest.approx((side - 1) * 512 / 511, rel=1e-6)


def test_mini_masks_and_their_targets():
    mask = np.zeros((1, 200, 200), np.uint8)
    mask[0, 20:132, 40:152] = 1  # 112 x 112: the square halves it
    mask[0, 20:76, 40:96] = 0
    box = np.array([[40, 20, 152, 132]], np.float32)
    small = mini_masks(mask, box)
    expected = np.ones((56, 56), bool)
    expected[:28, :28] = False
    np.testing.assert_array_equal(small[0], expected)
    target = mini_mask_targets(mask, box, np.array([0]), 28)
    assert target.shape == (1, 28, 28) and set(np.unique(target)) == {0, 1}
    # 27 steps of 55 / 27 in float32 are a bit more than 55: the last row and column are outside
    np.testing.assert_array_equal(target[0, :27, :27], expected[:54:2, :54:2])
    far = mini_mask_targets(mask, box + 112, np.array([0]), 28)
    assert not far[0, 1:, 1:].any()


# --- targets that move -------------------------------------------------------------------------


def test_moving_targets_are_the_targets_and_have_a_gradient():
    rng = np.random.default_rng(0)
    anchors = np.array([[10, 10, 40, 30], [20, 5, 50, 45], [30, 30, 60, 60]], np.float32)
    deltas = rng.standard_normal((3, 4)) * 0.3
    where = ImageTransform((64, 64), (64, 64))
    weights = (10.0, 10.0, 5.0, 5.0)
    proposals = where.clip_proposals(box_ops.decode(deltas, anchors, weights, "none"))[[2, 0]]
    objects = np.array([[28, 25, 61, 55], [8, 12, 38, 33]], np.float32)

    def moving(values):
        origins = Origins(values, anchors, where, weights, "none")
        return moving_deltas(objects, origins.moving(proposals), weights)

    expected = box_ops.encode(objects, proposals.astype(np.float32), weights)
    np.testing.assert_allclose(moving(Tensor(deltas)).data, expected, rtol=1e-4, atol=1e-5)
    gradcheck(moving, deltas)


def test_the_box_loss_reaches_the_first_stage():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    target = Target(np.array([[8, 8, 40, 40]], np.float32), np.array([0]))
    found = {}
    for moving in (False, True):
        model = mm.models.fasterrcnn_laptop(["a"], stem_channels=8, moving_targets=moving)
        model.roi_heads.matcher = dataclasses.replace(
            model.roi_heads.matcher, fg_iou_thresh=0.2, bg_iou_thresh=0.2
        )
        losses = model.losses([image], [target], rng=np.random.default_rng(0))
        losses["loss_box_reg"].backward()
        gradient = model.rpn.head.bbox_pred.weight.grad
        found[moving] = losses["loss_box_reg"].item(), gradient
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-4)
    assert found[False][1] is None and np.abs(found[True][1]).max() > 0


# --- the network -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet101_fpn"])
def test_the_convention_builds_its_network(name):
    model = mm.models.build({"model": name, "num_classes": 81, "convention": "matterport"})
    assert model.rpn.head.conv[0][0].weight.shape == (512, 256, 3, 3)
    assert model.rpn.head.bbox_pred.weight.shape == (12, 512, 1, 1)
    assert model.backbone.channels == 256 and model.roi_heads.box_head.fc7.weight.shape[0] == 1024
    assert (model.min_size, model.max_size) == (800, 1024)
    assert model.roi_heads.pooler.op == "crop"


def test_the_first_stages_width_is_an_option():
    model = mm.models.fasterrcnn_laptop(["a"], stem_channels=8, rpn_channels=24, rpn_conv_depth=2)
    shapes = [layer[0].weight.shape[:2] for layer in model.rpn.head.conv]
    assert shapes == [(24, 64), (24, 24)]
    with pytest.raises(ValueError, match="rpn_channels: expected a number from 1 up, got 0"):
        mm.models.fasterrcnn_laptop(["a"], rpn_channels=0)


@pytest.mark.parametrize(
    "name",
    [
        *("maskrcnn_laptop", "keypointrcnn_laptop", "fastrcnn_laptop", "rcnn_laptop"),
        *("rpn_laptop", "retinanet_laptop", "unet_laptop"),
    ],
)
def test_every_kind_of_model_takes_the_convention(name):
    sizes = {"max_size": 64} | ({} if "unet" in name else {"stem_channels": 8})
    sizes |= {"num_keypoints": 3, "keypoint_head_channels": (8,)} if "keypoint" in name else {}
    model = getattr(mm.models, name)(classes=["a"], convention="matterport", **sizes)
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    masks = np.zeros((1, 40, 64), np.uint8)
    masks[0, 8:30, 8:40] = 1
    keypoints = np.full((1, 3, 3), 20, np.float32)
    keypoints[..., 2] = 2
    target = Target(np.array([[8, 8, 40, 30]], np.float32), np.array([0]), masks, keypoints)
    losses = model.losses([image], [target], rng=np.random.default_rng(0))
    sum(losses.values()).backward()
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    (found,) = model.predict([image])
    assert found is not None
