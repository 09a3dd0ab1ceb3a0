"""RetinaNet alone: its parts by hand, what it refuses, and that it learns, is saved and traced."""

import json
import math

import numpy as np
import pytest

import minimask as mm
from minimask.autograd import Tensor
from minimask.data import Shapes
from minimask.models import RetinaNet, Target, retina_head
from minimask.models.one_stage import ANCHOR_SIZES
from minimask.models.retinanet import best_first
from minimask.tools.profile.work import find_something
from minimask.tools.textbook.trace import trace
from minimask.train.loop import train
from minimask.train.run import open_run
from minimask.train.settings import TrainSettings

CLASSES = ("disk", "box", "cross")
TINY = {"stem_channels": 8, "fpn_channels": 16, "head_depth": 1}


def tiny(**options):
    return mm.models.retinanet_laptop(list(CLASSES), **TINY, **options)


@pytest.fixture(scope="module")
def sample():
    return Shapes(1, (96, 128), seed=3)[0]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("retinanet_resnet50_fpn", 34_014_999), ("retinanet_resnet50_fpn_v2", 38_198_935)],
)
def test_as_many_parameters_as_published(name, parameters):
    model = getattr(mm.models, name)()
    assert sum(p.data.size for p in model.parameters()) == parameters


def test_before_training_an_object_is_as_likely_as_was_asked_for(sample):
    for prior in (0.01, 0.2):
        model = tiny(prior_probability=prior, head_norm=None)
        stages = dict(model.stages(sample.image))
        scores = 1 / (1 + np.exp(-stages["head/cls_logits/0"]))
        assert scores.mean() == pytest.approx(prior, rel=0.1)


def test_anchors_are_three_sizes_and_three_shapes_on_five_levels(sample):
    assert ANCHOR_SIZES[0] == (32, 40, 50) and ANCHOR_SIZES[-1] == (512, 645, 812)
    model = tiny()
    stages = dict(model.stages(sample.image))
    cells = [stages[f"fpn/{i}"].shape[2:] for i in range(5)]
    assert cells == [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]
    assert len(stages["head/anchors"]) == 9 * sum(h * w for h, w in cells)


def test_class_loss_by_hand():
    """Of two images: one anchor for an object, one ignored, one for nothing; and nothing at all."""
    logits = np.random.default_rng(0).normal(0, 2, (2, 3, 4))
    matches = [np.array([1, -2, -1]), np.array([-1, -1, -1])]
    labels = [np.array([3, 2]), np.zeros(0, np.int64)]

    def each(logit, yes):
        p = 1 / (1 + math.exp(-logit))
        return -0.25 * (1 - p) ** 2 * math.log(p) if yes else -0.75 * p**2 * math.log(1 - p)

    wanted = sum(each(logits[0, 0, k], k == 2) + each(logits[0, 2, k], False) for k in range(4))
    wanted += sum(each(x, False) for x in logits[1].ravel())
    found = retina_head.focal_loss(Tensor(logits), matches, labels)
    assert found.item() == pytest.approx(wanted / 2)


@pytest.mark.parametrize("kind", retina_head.BOX_LOSSES)
def test_box_loss_is_the_mean_over_an_images_objects_and_over_images(kind):
    rng = np.random.default_rng(1)
    deltas = rng.normal(0, 0.2, (2, 4, 4)).astype(np.float32)
    corner = rng.uniform(0, 50, (4, 2))
    anchors = np.concatenate([corner, corner + rng.uniform(10, 30, (4, 2))], 1).astype(np.float32)
    gt = [anchors[:2] + 3, anchors[2:3] - 2]
    matches = [np.array([0, 1, -1, 0]), np.array([-2, -1, 0, -1])]

    def loss(matches, gt):
        return retina_head.box_loss(Tensor(deltas), anchors, matches, gt, kind=kind).item()

    none = np.full(4, -1)
    first, second = loss([matches[0], none], gt), loss([none, matches[1]], gt)
    assert loss(matches, gt) == pytest.approx(first + second, rel=1e-5)
    alone = [loss([np.where(np.arange(4) == i, matches[0], -1), none], gt) for i in (0, 1, 3)]
    assert first == pytest.approx(np.mean(alone), rel=1e-5)
    assert loss([none, none], gt) == 0


def test_boxes_where_the_network_means_them_cost_nothing():
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 50, (6, 2))
    anchors = np.concatenate([corner, corner + rng.uniform(10, 30, (6, 2))], 1).astype(np.float32)
    gt = anchors + rng.uniform(-3, 3, anchors.shape).astype(np.float32)
    deltas = Tensor(mm.boxes.encode(gt, anchors)[None])
    for kind in retina_head.BOX_LOSSES:
        loss = retina_head.box_loss(deltas, anchors, [np.arange(6)], [gt], kind=kind)
        assert loss.item() == pytest.approx(0, abs=1e-5)
    weights = (10.0, 10.0, 5.0, 5.0)
    moved = retina_head.decoded(Tensor(mm.boxes.encode(gt, anchors, weights)), anchors, weights)
    np.testing.assert_allclose(moved.data, gt, rtol=1e-5, atol=1e-4)


def test_candidates_of_a_level_are_the_best_above_the_threshold():
    model = tiny(box_score_thresh=0.3, topk_candidates=7)
    a, k, h, w = model.anchor_generator.per_cell, 4, 3, 5
    rng = np.random.default_rng(4)
    logits = rng.normal(-1, 2, (a, k, h, w)).astype(np.float32)
    logits[:, 0] = 50  # the class that is none
    logits[0, 1, 0, 0] = np.nan
    deltas = rng.normal(size=(a, 4, h, w)).astype(np.float32)
    anchor, labels, scores, moves = model.best_of_level(
        logits.reshape(-1, h, w), deltas.reshape(-1, h, w)
    )
    all_scores = 1 / (1 + np.exp(-logits[:, 1:].astype(np.float64)))
    best = np.sort(np.nan_to_num(all_scores).ravel())[::-1][:7]
    np.testing.assert_allclose(scores, best, rtol=1e-5)
    for i in range(7):
        cell, (y, x) = anchor[i] % a, divmod(anchor[i] // a, w)
        assert all_scores[cell, labels[i], y, x] == pytest.approx(scores[i], rel=1e-5)
        np.testing.assert_array_equal(moves[i], deltas[cell, :, y, x])


def test_in_a_tie_the_first_anchor_and_class_come_first():
    scores = np.array([0.5, 0.9, 0.5, 0.5, 0.1])
    order = np.array([7, 8, 3, 5, 1])
    assert best_first(scores, order, 3).tolist() == [1, 2, 3]
    assert best_first(scores, order, 9).tolist() == [1, 2, 3, 0, 4]


def test_nothing_is_above_a_threshold_of_one_and_all_above_minus_one(sample):
    model = tiny(box_score_thresh=1.0)
    assert len(model.predict([sample.image])[0]) == 0
    model.score_thresh = -1.0
    assert len(model.predict([sample.image])[0]) == model.detections_per_img


def test_an_image_without_objects_and_without_ends_of_learning(sample):
    model = tiny()
    nothing = Target(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    losses = model.losses([sample.image], [nothing], rng=np.random.default_rng(0))
    assert losses["loss_box_reg"].item() == 0
    sum(losses.values()).backward()
    assert all(np.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_head": "mlp"}, "retinanet_laptop: no option 'mask_head'"),
        ({"features": "c4"}, "no option 'features'"),
        ({"rpn_nms_thresh": 0.5}, "no option 'rpn_nms_thresh', which mask_rcnn has"),
        ({"background": "last"}, "no option 'background'"),
        ({"anchor_sizes": (8, 16)}, "anchor_sizes: RetinaNet has 5 levels"),
        ({"head_norm": "batch"}, "head_norm: expected one of group, got 'batch'"),
        ({"box_loss": "ciou"}, "box_loss: expected one of l1, smooth_l1, giou, got 'ciou'"),
        ({"coarse_levels_from": "p4"}, "coarse_levels_from: expected one of p5, c5"),
        ({"prior_probability": 1}, "prior_probability: expected more than 0 and less than 1"),
        ({"head_depth": -1}, "head_depth: expected at least 0"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        mm.models.retinanet_laptop(["a"], **options)


def test_attributes_have_their_names():
    with pytest.raises(AttributeError, match=r"what you want is model\.nms_thresh"):
        tiny().box_nms_thresh = 0.3
    with pytest.raises(AttributeError, match="RetinaNet has no attribute 'nms_tresh'"):
        tiny().nms_tresh = 0.3


def test_trained_saved_opened_and_the_same(tmp_path):
    data = Shapes(8, (64, 64), seed=5)
    model = mm.models.retinanet_laptop(list(data.classes), **TINY)
    settings = TrainSettings(steps=10, batch=2, warmup=2, lr=3e-3, pictures=1, threads=1)
    train(model, data, settings, tmp_path / "run", val=data, progress=False)
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    opened = open_run(tmp_path / "run").model
    assert isinstance(opened, RetinaNet)
    assert json.loads(json.dumps(opened.config)) == model.config
    opened.score_thresh = model.score_thresh = 0.0
    (a,), (b,) = (m.predict([data[0].image]) for m in (model, opened))
    np.testing.assert_array_equal(a.boxes, b.boxes)
    assert a.mask_probs is None


def test_the_profile_finds_a_threshold_with_objects(sample):
    model = tiny()
    assert len(model.predict([sample.image])[0]) == 0
    find_something(model, sample.image)
    assert len(model.predict([sample.image])[0]) > 50


def test_a_trace_says_that_it_is_about_two_stages(sample):
    with pytest.raises(ValueError, match="two stages of Faster and Mask R-CNN, and RetinaNet has"):
        trace(tiny(), sample.image)


def test_anchors_of_the_command_are_the_smallest_of_each_level():
    from minimask.train.settings import ModelSettings

    config = ModelSettings(model="retinanet_laptop", anchors=(8, 16, 32, 64, 128)).config(("a",), 0)
    assert config["anchor_sizes"][:2] == ((8, 10, 12), (16, 20, 25))
    assert mm.models.build(config).anchor_generator.per_cell == 9
    other = ModelSettings(model="fasterrcnn_laptop", anchors=(8, 16, 32, 64, 128)).config(("a",), 0)
    assert other["anchor_sizes"] == (8, 16, 32, 64, 128)
