"""Whole models: names and shapes, building from a config, empty cases, odd images."""

import dataclasses
import json
import math

import numpy as np
import pytest

import minimask as mm
from minimask.conventions import CONVENTIONS
from minimask.models import MODELS, Target, build
from minimask.models.architecture import OF_RESNETS
from minimask.models.bodies import WITHOUT_NORMS
from minimask.models.factory import takes

CLASSES = ["square", "disk", "star"]


def picture(seed=0, size=(64, 96)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def target(boxes, size=(64, 96)):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    masks = np.zeros((len(boxes), *size), bool)
    for mask, box in zip(masks, boxes.astype(int), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = True
    return Target(boxes, np.arange(len(boxes)) % 3, masks)


SOME = [[5, 8, 40, 50], [50, 20, 90, 60], [30, 2, 60, 20]]


@pytest.fixture(scope="module")
def laptop():
    return mm.models.maskrcnn_laptop(CLASSES)


# --- names, shapes, configuration ---------------------------------------------------------------


def test_state_dict_is_that_of_torchvisions_resnet50():
    """Counts of entries and parameters, and the shapes of the parts, as torchvision has them."""
    trained = mm.models.maskrcnn_resnet50_fpn(norm="batch")
    state = {name: array.shape for name, array in trained.state_dict().items()}
    assert len(state) == 360
    assert sum(name.endswith("num_batches_tracked") for name in state) == 53
    assert trained.count_parameters() == 44_454_513
    frozen = mm.models.maskrcnn_resnet50_fpn()
    assert frozen.count_parameters() == 44_401_393
    assert len(frozen.state_dict()) == 307
    assert set(frozen.state_dict()) < set(state)
    expected = {
        "backbone.body.conv1.weight": (64, 3, 7, 7),
        "backbone.body.layer3.5.conv2.weight": (256, 256, 3, 3),
        "backbone.body.layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "backbone.body.layer4.0.downsample.1.running_var": (2048,),
        "backbone.fpn.inner_blocks.3.0.weight": (256, 2048, 1, 1),
        "backbone.fpn.layer_blocks.0.0.bias": (256,),
        "rpn.head.conv.0.0.weight": (256, 256, 3, 3),
        "rpn.head.cls_logits.weight": (3, 256, 1, 1),
        "rpn.head.bbox_pred.bias": (12,),
        "roi_heads.box_head.fc6.weight": (1024, 12544),
        "roi_heads.box_predictor.cls_score.weight": (91, 1024),
        "roi_heads.box_predictor.bbox_pred.weight": (364, 1024),
        "roi_heads.mask_head.3.0.weight": (256, 256, 3, 3),
        "roi_heads.mask_predictor.conv5_mask.weight": (256, 256, 2, 2),
        "roi_heads.mask_predictor.mask_fcn_logits.weight": (91, 256, 1, 1),
    }
    assert expected.items() <= state.items()
    assert frozen.classes[0] == "person" and frozen.classes[89] == "toothbrush"


@pytest.mark.parametrize(
    ("name", "blocks", "channels"),
    [("resnet18", 8, 512), ("resnet34", 16, 512), ("resnet101", 33, 2048)],
)
def test_depths(name, blocks, channels):
    model = getattr(mm.models, f"fasterrcnn_{name}_fpn")(2, fpn_channels=8, box_head_width=8)
    names = model.state_dict()
    assert sum(n.endswith("conv2.weight") for n in names) == blocks
    assert model.backbone.body.out_channels[-1] == channels
    assert not any("mask" in n for n in names)


def test_detectron_like_classes_have_no_rows_for_background():
    model = mm.models.maskrcnn_laptop(CLASSES, convention="detectron2")
    shapes = {n: a.shape for n, a in model.state_dict().items() if "predictor" in n}
    assert shapes["roi_heads.box_predictor.cls_score.bias"] == (4,)
    assert shapes["roi_heads.box_predictor.bbox_pred.bias"] == (12,)
    assert shapes["roi_heads.mask_predictor.mask_fcn_logits.bias"] == (3,)


def test_stride_in_the_first_or_second_convolution():
    for convention, strides in (("torchvision", (1, 2)), ("detectron2", (2, 1))):
        model = mm.models.faster_rcnn(2, layers=(1, 1, 1, 1), convention=convention)
        block = getattr(model.backbone.body.layer2, "0")
        assert (block.conv1.stride, block.conv2.stride) == strides


def test_group_norm_and_frozen_layers():
    model = mm.models.maskrcnn_laptop(CLASSES, norm="group", trainable_layers=3)
    assert not any("running" in name for name in model.state_dict())
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert {n.split(".")[2] for n in frozen} == {"conv1", "bn1", "layer1"}
    losses = model.losses([picture()], [target(SOME)], rng=np.random.default_rng(0))
    sum(losses.values()).backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in model.named_parameters()} - frozen


# of every family what its networks have; the rest of them is small
SMALL = {
    **{"layers": (1, 1, 1, 1), "fpn_channels": 8, "box_head_width": 8, "mask_head_channels": (8,)},
    **{"mask_predictor_channels": 8, "head_depth": 1, "keypoint_head_channels": (8,)},
    **{"dropout": 0.25, "norm": "batch", "trainable_layers": 2, "box_score_thresh": 0.2},
    **{"min_size": 64},
}


@pytest.mark.parametrize("name", MODELS)
def test_config_rebuilds_the_same_model(name):
    body = MODELS[name].defaults.get("backbone", "resnet")
    not_of_body = OF_RESNETS if body != "resnet" else ()
    not_of_body = (*not_of_body, *(("norm",) if body in WITHOUT_NORMS else ()))
    options = {k: v for k, v in SMALL.items() if takes(name, k) and k not in not_of_body}
    assert options.keys() >= {"min_size"}
    model = MODELS[name](classes=CLASSES, seed=3, **options)
    again = build(json.loads(json.dumps(model.config)))
    assert again.config == model.config and again.config["seed"] == 3
    assert set(options) <= set(again.config)
    assert again.convention == model.convention
    if "box_score_thresh" in options:
        assert again.selection.score_thresh == 0.2
    assert again.classes == tuple(CLASSES) and again.min_size == 64
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all((ours[n] == theirs[n]).all() for n in ours)
    learning = [[p.requires_grad for p in m.parameters()] for m in (model, again)]
    assert learning[0] == learning[1]


def test_a_changed_convention_is_written_out_in_full():
    own = dataclasses.replace(CONVENTIONS["mmdet"], name="mine", roi_aligned=False)
    model = mm.models.maskrcnn_laptop(CLASSES, convention=own)
    again = build(json.loads(json.dumps(model.config)))
    assert again.convention == model.convention
    assert not again.convention.roi_aligned and again.convention.background == "last"


def test_seeds_decide_the_weights():
    a, b, c = (mm.models.maskrcnn_laptop(CLASSES, seed=s).state_dict() for s in (1, 1, 2))
    name = "roi_heads.box_head.fc6.weight"
    assert (a[name] == b[name]).all() and not (a[name] == c[name]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["a"], "num_classes": 5}, "num_classes is 5, but 1 classes and background"),
        ({"classes": ["a", "a"]}, "a occur more than once"),
        ({"classes": "cat"}, "expected a list of names"),
        ({"classes": []}, "expected a list of names"),
        ({"num_classes": 1}, "counts background"),
        ({"num_classes": 2, "box_score_tresh": 0.1}, "did you mean 'box_score_thresh'"),
        ({"num_classes": 2, "norm": "layer"}, "norm: expected one of batch"),
        ({"num_classes": 2, "layers": (1, 1)}, "layers: expected four numbers"),
        ({"num_classes": 2, "convention": "keras"}, "'keras' is none of"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mm.models.mask_rcnn(**arguments)


def test_unknown_model():
    with pytest.raises(ValueError, match="model 'yolo' is none of mask_rcnn"):
        build({"model": "yolo", "classes": ["a"]})


# --- losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [mm.models.maskrcnn_laptop, mm.models.maskrcnn_resnet18_fpn])
def test_initial_losses_are_those_of_knowing_nothing(make):
    values = []
    for seed in range(2):
        model = make(
            classes=CLASSES,
            seed=seed,
            norm="batch",
            min_size=None,
            anchor_sizes=(8, 16, 32, 64, 128),
        )
        losses = model.losses(
            [picture(seed), picture(9)],
            [target(SOME), target(SOME[:1])],
            rng=np.random.default_rng(0),
        )
        values.append({name: loss.item() for name, loss in losses.items()})
    mean = {name: np.mean([v[name] for v in values]) for name in values[0]}
    assert mean["loss_objectness"] == pytest.approx(math.log(2), rel=0.05)
    assert mean["loss_classifier"] == pytest.approx(math.log(len(CLASSES) + 1), rel=0.3)
    assert mean["loss_mask"] == pytest.approx(math.log(2), rel=0.05)


def test_initial_class_loss_of_91_classes():
    model = mm.models.maskrcnn_resnet18_fpn(norm="batch", min_size=None, mask_head_channels=(8,))
    losses = model.losses([picture()], [target(SOME)], rng=np.random.default_rng(0))
    assert losses["loss_classifier"].item() == pytest.approx(math.log(91), rel=0.25)


def test_losses_repeat_with_the_generator(laptop):
    a, b, c = (
        {
            name: loss.item()
            for name, loss in laptop.eval()
            .losses([picture()], [target(SOME)], rng=np.random.default_rng(seed))
            .items()
        }
        for seed in (1, 1, 2)
    )
    assert a == b != c


@pytest.mark.parametrize(
    "boxes",
    [[[], []], [SOME, []], [[], SOME]],
    ids=["none at all", "none in the second", "none in the first"],
)
def test_images_without_objects(laptop, boxes):
    laptop.train().zero_grad()
    losses = laptop.losses(
        [picture(0), picture(1)], [target(b) for b in boxes], rng=np.random.default_rng(0)
    )
    assert len(losses) == 5
    assert all(loss.shape == () and np.isfinite(loss.item()) for loss in losses.values())
    sum(losses.values()).backward()
    nothing = not any(boxes)
    assert (losses["loss_mask"].item() == 0) == nothing
    assert (losses["loss_box_reg"].item() == 0) == nothing
    gradient = laptop.roi_heads.mask_predictor.mask_fcn_logits.weight.grad
    assert (gradient is None or not gradient.any()) == nothing
    assert laptop.backbone.body.conv1.weight.grad.any()


def test_no_proposals_and_no_objects(laptop, monkeypatch):
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    monkeypatch.setattr(laptop.rpn, "propose", lambda *_, **__: [nothing])
    losses = laptop.train().losses([picture()], [target([])], rng=np.random.default_rng(0))
    sum(losses.values()).backward()
    assert losses["loss_classifier"].item() == 0
    (found,) = laptop.predict([picture()])
    assert len(found) == 0 and found.masks.shape == (0, 64, 96)
    stages = dict(laptop.stages(picture()))
    assert stages["out/masks"].shape == (0, 1, 64, 96)


def test_a_small_step_down_the_gradient_lowers_the_loss(monkeypatch):
    """The slope of the five losses together, along their gradient, is its length."""
    model = mm.models.maskrcnn_laptop(CLASSES, norm="group", seed=1)
    images, targets = [picture()], [target(SOME)]
    boxes = np.array([[4, 9, 41, 48], [0, 0, 20, 30], [33, 3, 62, 22]], np.float32)
    monkeypatch.setattr(  # coordinates are no variables: the same proposals at every step
        model.rpn, "propose", lambda *_, **__: [(boxes, np.ones(3, np.float32))]
    )
    first = model.losses(images, targets, rng=np.random.default_rng(0))
    sum(first.values()).backward()
    parameters = [p for p in model.parameters() if p.grad is not None]
    length = sum(float((p.grad.astype(np.float64) ** 2).sum()) for p in parameters)
    before = sum(loss.item() for loss in first.values())
    step = 1e-3 * before / length  # should lower the loss by a thousandth
    for p in parameters:
        p.data -= np.float32(step) * p.grad
    second = model.losses(images, targets, rng=np.random.default_rng(0))
    drop = before - sum(loss.item() for loss in second.values())
    assert drop == pytest.approx(1e-3 * before, rel=0.2)


def test_targets_are_checked(laptop):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="1 images, but 2 targets"):
        laptop.losses([picture()], [target(SOME), target(SOME)], rng=rng)
    without = dataclasses.replace(target(SOME), masks=None)
    with pytest.raises(ValueError, match=r"targets\[0\]: Mask R-CNN learns from masks"):
        laptop.losses([picture()], [without], rng=rng)
    boxes_only = mm.models.faster_rcnn(
        classes=CLASSES, layers=(1, 1, 1, 1), fpn_channels=8, box_head_width=8, min_size=None
    )
    losses = boxes_only.losses([picture()], [without], rng=rng)
    assert len(losses) == 4


def test_several_training_sizes(laptop, monkeypatch):
    monkeypatch.setattr(laptop, "min_size", [64, 96, 128])
    shapes = {laptop.prepare([picture()], np.random.default_rng(s)).shape for s in range(20)}
    assert shapes == {(64, 96), (96, 160), (128, 192)}
    assert laptop.prepare([picture()]).shape == (128, 192)


# --- prediction -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_learns_and_predicts(name):
    model = mm.models.maskrcnn_laptop(CLASSES, convention=name, box_score_thresh=0.0, max_size=128)
    losses = model.losses([picture()], [target(SOME)], rng=np.random.default_rng(0))
    sum(losses.values()).backward()
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    (found,) = model.predict([picture()])
    assert len(found) > 0 and found.masks.shape == (len(found), 64, 96)
    assert set(found.labels) <= {0, 1, 2}
    assert found.boxes.min() >= 0 and (found.boxes <= [96, 64, 96, 64]).all()
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 3), (5, 300), (200, 4, 4), (33, 65, 1)])
def test_odd_images(shape):
    model = mm.models.maskrcnn_laptop(CLASSES, box_score_thresh=0.0, min_size=64, max_size=256)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (found,) = model.predict([image])
    assert found.image_size == shape[:2]
    assert found.masks.shape == (len(found), *shape[:2])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_model_finds_nothing_and_does_not_crash(bad):
    model = mm.models.maskrcnn_laptop(CLASSES, box_score_thresh=0.0)
    for name in ("rpn.head.bbox_pred.weight", "roi_heads.box_predictor.cls_score.bias"):
        dict(model.named_parameters())[name].data[...] = bad
        (found,) = model.predict([picture()])
        assert len(found) == 0, name
        model = mm.models.maskrcnn_laptop(CLASSES, box_score_thresh=0.0)


def test_prediction_leaves_the_model_as_it_was(laptop):
    before = laptop.train().state_dict()
    laptop.predict([picture()])
    after = laptop.state_dict()
    assert laptop.training and all((before[n] == after[n]).all() for n in before)
    laptop.eval().predict([picture()])
    assert not laptop.training


def test_batches_do_not_change_the_result():
    model = mm.models.maskrcnn_laptop(CLASSES, box_score_thresh=0.0, norm="group")
    images = [picture(seed) for seed in range(3)]
    together = model.predict(images, batch_size=3)
    for image, found in zip(images, together, strict=True):
        (alone,) = model.predict([image])
        np.testing.assert_allclose(alone.scores, found.scores, atol=1e-5)
        np.testing.assert_array_equal(alone.labels, found.labels)
    assert model.predict([]) == []


def test_a_single_image_is_refused_with_the_way_out(laptop):
    with pytest.raises(TypeError, match=r"for a single one: \[image\]"):
        laptop.predict(picture())


def test_import_is_light():
    """Building models must not compile kernels: numba and friends wait for their first use."""
    import subprocess
    import sys

    code = (
        "import sys, minimask as mm; mm.models.maskrcnn_laptop(['a']);"
        "print(sorted({'numba', 'scipy', 'matplotlib', 'PIL', 'pycocotools'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_between_two_stages_the_caller_can_record_gradients(laptop):
    from minimask.autograd import Tensor

    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    for _, _ in laptop.stages(picture()):
        assert (x * 2).requires_grad


def test_frozen_stages_learn_nothing_and_collect_nothing():
    from minimask.data.shapes import Shapes
    from minimask.train.settings import TrainSettings
    from minimask.train.step import Trainer

    model = mm.models.maskrcnn_laptop(
        ["circle"], trainable_layers=3, stem_channels=8, fpn_channels=8, box_head_width=8,
        mask_head_channels=(8,), mask_predictor_channels=8,
    )  # fmt: skip
    trainer = Trainer(model, TrainSettings(steps=2, warmup=0, lr=0.1))
    frozen = ("backbone.body.conv1.", "backbone.body.bn1.", "backbone.body.layer1.")
    assert not [name for name in trainer.optimizer.state_dict() if any(f in name for f in frozen)]
    before = model.state_dict()
    trainer.advance([[Shapes(1, 64, classes=["circle"])[0]]])
    changed = {n for n, a in model.state_dict().items() if not np.array_equal(a, before[n])}
    assert not [name for name in changed if name.startswith(frozen)]
    assert {
        "backbone.body.layer2.0.bn1.running_mean",
        "backbone.body.layer2.0.conv1.weight",
    } <= changed
    assert all(p.grad is None for n, p in model.named_parameters() if n.startswith(frozen))
