"""Keypoint R-CNN as a whole: options, training, predictions, and what does not fit."""

import json

import numpy as np
import pytest

import minimask as mm
from minimask.autograd.hooks import Recorder, hooked
from minimask.data.skeleton import COCO_PERSON, Skeleton
from minimask.models import Target
from minimask.models.detections import Instances
from minimask.models.transform import ImageTransform

TINY = {
    "stem_channels": 8,
    "fpn_channels": 16,
    "box_head_width": 16,
    "keypoint_head_channels": (16, 8),
    "box_score_thresh": 0.0,
    "box_detections_per_img": 6,
}
TINY_MASKS = {"mask_head_channels": (8,), "mask_predictor_channels": 8}
FACE = Skeleton.named(["nose", "left_eye", "right_eye", "chin"], [(0, 1), (0, 2)])


def model_of(**options):
    options = {"skeleton": FACE} | options
    return mm.models.keypointrcnn_laptop(["face"], **TINY, **options)


def picture(height=64, width=80):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def objects(keypoints=True, masks=False, count=2, visible=2):
    boxes = np.array([[4, 6, 40, 50], [38, 10, 76, 60]], np.float32)[:count]
    places = np.linspace(0.1, 0.8, 4)[None, :, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
    seen = np.full((count, 4, 1), visible)
    points = np.concatenate([boxes[:, None, :2] + places, seen], axis=2).astype(np.float32)
    drawn = np.ones((count, 64, 80), np.uint8) if masks else None
    return Target(boxes, np.zeros(count, np.int64), drawn, points if keypoints else None)


def near(boxes, count=6):
    """Proposals of which all are positive."""
    moved = np.repeat(boxes, count, axis=0)
    return (moved + np.random.default_rng(2).uniform(-2, 2, moved.shape)).astype(np.float32)


def rng():
    return np.random.default_rng(1)


# --- options ------------------------------------------------------------------------------------


def test_the_skeleton_is_part_of_the_configuration_and_of_the_model_made_from_it():
    model = model_of()
    assert model.skeleton == FACE and model.roi_heads.num_keypoints == 4
    assert model.config["skeleton"] == FACE.as_dict()
    again = mm.models.build(json.loads(json.dumps(model.config)))
    assert again.skeleton == FACE and again.config == model.config
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    assert shapes == {name: array.shape for name, array in again.state_dict().items()}


@pytest.mark.parametrize(
    ("options", "skeleton"),
    [
        ({"skeleton": None}, COCO_PERSON),
        ({"skeleton": "coco_person"}, COCO_PERSON),
        ({"skeleton": "coco_person", "num_keypoints": 17}, COCO_PERSON),
        ({"skeleton": FACE.as_dict()}, FACE),
        ({"skeleton": None, "num_keypoints": 3}, Skeleton.named(["1", "2", "3"])),
    ],
)
def test_ways_to_say_the_skeleton(options, skeleton):
    model = model_of(**options)
    assert model.skeleton == skeleton
    assert "num_keypoints" not in model.config
    weight = model.roi_heads.keypoint_predictor.kps_score_lowres.weight
    assert weight.shape == (8, len(skeleton), 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skeleton": "dog"}, "skeleton: expected a Skeleton, .* coco_person, got 'dog'"),
        ({"skeleton": {"names": ["a", "a"]}}, "skeleton: keypoints: expected different names"),
        ({"skeleton": {"name": ["a"]}}, "skeleton: expected a Skeleton"),
        ({"num_keypoints": 5}, "num_keypoints is 5, but the skeleton has 4 keypoints"),
        ({"skeleton": None, "num_keypoints": 0}, "num_keypoints: expected a number from 1, got 0"),
        ({"skeleton": None, "num_keypoints": "4"}, "num_keypoints: expected a number from 1"),
        ({"keypoint_score": "best"}, "keypoint_score: expected one of logit, probability"),
        ({"keypoint_loss_divisor": "all"}, "keypoint_loss_divisor: expected one of visible"),
    ],
)
def test_a_skeleton_that_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        model_of(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["skeleton", "num_keypoints", "keypoint_score"])
def test_models_without_keypoints_say_which_have_the_option(option):
    for make in (mm.models.maskrcnn_laptop, mm.models.fasterrcnn_laptop):
        with pytest.raises(ValueError, match=f"no option '{option}', which keypoint_rcnn has$"):
            make(["face"], **{option: 4})
        assert make(["face"], stem_channels=8).skeleton is None


def test_names_shapes_and_their_number_are_torchvisions():
    model = mm.models.keypointrcnn_resnet50_fpn()
    assert model.classes == ("person",)
    shapes = {n: a.shape for n, a in model.state_dict().items() if n.startswith("roi_heads.")}
    head = "roi_heads.keypoint_head."
    assert shapes[f"{head}0.weight"] == (512, 256, 3, 3)
    assert [shapes[f"{head}{i}.weight"] for i in range(2, 16, 2)] == [(512, 512, 3, 3)] * 7
    predictor = "roi_heads.keypoint_predictor.kps_score_lowres"
    assert shapes[f"{predictor}.weight"] == (512, 17, 4, 4)
    assert shapes[f"{predictor}.bias"] == (17,)
    assert shapes["roi_heads.box_predictor.cls_score.weight"] == (2, 1024)
    assert len(shapes) == 8 + 18
    norms = (".bn", "downsample.1")  # which are frozen, and not counted in what is published
    sizes = {n: p.size for n, p in model.named_parameters() if not any(x in n for x in norms)}
    assert sum(sizes.values()) == 59_137_258


# --- prediction ---------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["fpn", "c4", "c5", "dc5"])
def test_every_detection_has_its_keypoints(features):
    block = "bottleneck" if features == "dc5" else "basic"  # which are what is dilated
    model = model_of(features=features, block=block)
    both = model.predict([picture(), picture(40, 32)], batch_size=2)
    for found, (height, width) in zip(both, [(64, 80), (40, 32)], strict=True):
        assert len(found) == 6
        assert found.keypoints.shape == (6, 4, 3) and found.keypoints.dtype == np.float32
        assert found.keypoint_names == FACE.names and found.skeleton == FACE
        places, boxes = found.keypoints[:, :, :2], found.boxes[:, None]
        assert (places >= boxes[:, :, :2] - 1e-3).all() and (places <= boxes[:, :, 2:] + 1).all()
        assert ((found.keypoints[:, :, 2] > 0) & (found.keypoints[:, :, 2] <= 1)).all()
        assert "; 4 keypoints each)" in repr(found)
        assert (width, height) == found.image_size[::-1]


def test_detections_are_kept_with_their_keypoints():
    (found,) = model_of().predict([picture()])
    some = found.keep([4, 1])
    np.testing.assert_array_equal(some.keypoints, found.keypoints[[4, 1]])
    assert some.skeleton == FACE and found.keep(2).keypoints.shape == (1, 4, 3)


def test_no_detections_have_no_keypoints():
    model = model_of()
    model.roi_heads.score_thresh = 1.1
    (found,) = model.predict([picture()])
    assert len(found) == 0 and found.keypoints.shape == (0, 4, 3)
    assert found.to_coco(1) == []


def test_one_image_of_two_without_detections():
    model = model_of()
    batch = model.prepare([picture(), picture()])
    boxes = objects().boxes
    with mm.no_grad():
        pyramid = model.backbone(mm.Tensor(batch.images))
        both = [Instances(boxes, np.zeros(2, np.int64), np.ones(2, np.float32), boxes)] * 2
        (first, _), one = (
            model.roi_heads.locate(pyramid, found, batch)
            for found in (both, [both[0], Instances.empty()])
        )
    assert [found.keypoints.shape for found in one] == [(2, 4, 3), (0, 4, 3)]
    np.testing.assert_allclose(one[0].keypoints, first.keypoints, rtol=1e-5)


def test_detections_of_other_models_have_none_and_say_so():
    (found,) = mm.models.maskrcnn_laptop(["a"], stem_channels=8).predict([picture()])
    assert found.keypoints is None and "keypoints" not in repr(found)
    with pytest.raises(ValueError, match="no keypoints: the model has no keypoint head"):
        _ = found.keypoint_names


def test_keypoints_come_back_to_the_image_as_given():
    model = model_of(min_size=128, max_size=256)
    with hooked(Recorder()) as recorder:
        (found,) = model.predict([picture()])
    (logits,) = recorder.values("keypoint/logits")
    (boxes,), transform = recorder.values("det/boxes")[0], ImageTransform((64, 80), (128, 160))
    from minimask.models.keypoint_head import find_keypoints

    expected = find_keypoints(logits.data, boxes, "probability")
    np.testing.assert_allclose(found.keypoints[:, :, :2], expected[:, :, :2] / 2, rtol=1e-6)
    np.testing.assert_array_equal(found.keypoints[:, :, 2], expected[:, :, 2])
    back = transform.keypoints_to_network(found.keypoints)
    np.testing.assert_allclose(back, expected, rtol=1e-6)


@pytest.mark.parametrize("op", ["align", "pool", "warp"])
def test_the_layer_that_cuts_regions_serves_keypoints_too(op):
    """Mask R-CNN, table 6."""
    stages = dict(model_of(roi_op=op).stages(picture()))
    assert stages["keypoint/pooled"].shape == (6, 16, 14, 14)
    assert stages["keypoint/features"].shape == (6, 8, 14, 14)
    assert stages["keypoint/logits"].shape == (6, 4, 56, 56)
    assert stages["out/keypoints"].shape == (6, 4, 3)
    aligned = dict(model_of().stages(picture()))
    assert (op == "align") == np.array_equal(aligned["keypoint/pooled"], stages["keypoint/pooled"])


# --- training -----------------------------------------------------------------------------------


def test_masks_and_keypoints_together_learn_from_the_same_regions():
    """Mask R-CNN, table 5."""
    model = mm.models.maskkeypointrcnn_laptop(
        ["face"], skeleton=FACE, **TINY, **TINY_MASKS,
        mask_batch_size_per_image=None, keypoint_batch_size_per_image=None,
    )  # fmt: skip
    with hooked(Recorder()) as recorder:
        target = objects(masks=True)
        losses = model.region_losses([picture()], [target], [near(target.boxes)], rng=rng())
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_keypoint"}
    names = ("mask/sampled", "keypoint/sampled")
    (masks,), (keypoints,) = (recorder.values(name)[0] for name in names)
    assert len(keypoints.boxes) == 14  # those near the objects, and theirs
    np.testing.assert_array_equal(keypoints.boxes, masks.boxes[masks.positive])
    (found,) = model.predict([picture()])
    assert found.mask_probs.shape == (6, 28, 28) and found.keypoints.shape == (6, 4, 3)


def test_the_same_model_without_masks_has_the_same_other_losses():
    both = mm.models.maskkeypointrcnn_laptop(["face"], skeleton=FACE, **TINY, **TINY_MASKS)
    one = model_of()
    state = {n: a for n, a in both.state_dict().items() if ".mask_" not in n}
    one.load_state_dict(state)
    options = {"keypoint_batch_size_per_image": None, "mask_batch_size_per_image": None}
    for model in (both, one):
        for name, value in options.items():
            setattr(model.roi_heads, name, value)
    target = objects(masks=True)
    ours, theirs = (m.losses([picture()], [target], rng=rng()) for m in (one, both))
    assert set(theirs) - set(ours) == {"loss_mask"}
    assert {k: v.item() for k, v in ours.items()} == {k: theirs[k].item() for k in ours}


@pytest.mark.parametrize("target", [objects(count=0), objects(visible=0)])
def test_images_without_keypoints_add_nothing(target):
    model = model_of()
    losses = model.losses([picture()], [target], rng=rng())
    assert losses["loss_keypoint"].item() == 0
    sum(losses.values()).backward()
    parameters = dict(model.named_parameters())
    for name in ("keypoint_head.0.weight", "keypoint_predictor.kps_score_lowres.weight"):
        assert not parameters[f"roi_heads.{name}"].grad.any()
    together = model.losses([picture()] * 2, [objects(), target], rng=rng())
    assert together["loss_keypoint"].item() > 1


def test_the_divisor_of_a_batch_lets_few_keypoints_weigh_less():
    losses, learned = {}, 0
    for divisor in ("visible", "batch_size"):
        model = model_of(keypoint_loss_divisor=divisor)
        with hooked(Recorder()) as recorder:
            found = model.losses([picture()] * 2, [objects(), objects(count=1)], rng=rng())
        losses[divisor] = found["loss_keypoint"].item()
        (sampled,) = recorder.values("keypoint/sampled")
        learned = sum(one.valid.sum() for one in sampled)
    heads = model.roi_heads.sampler
    usual = 2 * heads.batch_size_per_image * heads.positive_fraction * 4
    ratio = losses["batch_size"] / losses["visible"]
    assert ratio == pytest.approx(learned / usual, rel=1e-5)


def test_no_more_regions_are_learned_from_than_asked_for():
    model = model_of(keypoint_batch_size_per_image=3)
    with hooked(Recorder()) as recorder:
        boxes = near(objects().boxes)
        model.region_losses([picture()], [objects()], [boxes], rng=rng())
    ((sampled,),) = recorder.values("keypoint/sampled")
    assert len(sampled.boxes) == 3 and sampled.valid.any(axis=1).all()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (objects(keypoints=False), r"targets\[1\]: Keypoint R-CNN learns from keypoints, but"),
        (
            Target(objects().boxes, objects().labels, None, objects().keypoints[:, :3]),
            r"targets\[1\]\.keypoints: expected 4 for each object, as the model finds, got 3",
        ),
        (
            Target(objects().boxes, objects().labels, None, objects().keypoints[:1]),
            r"targets\[1\]\.keypoints: expected shape \(2, P, 3\)",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(target, message):
    model = model_of()
    with pytest.raises(ValueError, match=message) as caught:
        model.losses([picture()] * 2, [objects(), target], rng=rng())
    assert "\n" not in str(caught.value)
    if target.keypoints is None or target.keypoints.shape[1] == 3:
        model.proposal_losses([picture()] * 2, [objects(), target], rng=rng())  # need none


def test_a_few_steps_lower_the_loss_and_the_weights_come_back(tmp_path):
    model, image, target = model_of(), picture(), objects()
    found = []
    for _ in range(6):
        losses = model.region_losses([image], [target], [near(target.boxes, 2)], rng=rng())
        found.append(losses["loss_keypoint"].item())
        model.zero_grad()
        losses["loss_keypoint"].backward()
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.data -= np.float32(0.02) * np.clip(parameter.grad, -1, 1)
    assert found[-1] < found[0] - 0.5
    mm.save_weights(model, tmp_path / "model.safetensors")
    again = mm.models.build(model.config)
    mm.load_weights(again, tmp_path / "model.safetensors")
    (ours,), (theirs,) = model.predict([image]), again.predict([image])
    np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)
