"""The same Keypoint R-CNN as torchvision's and detectron2's: stages, keypoints, a training step.

Each stage is fed with its recorded input, as in test_parity.py.
"""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from keypoint_recordings import KeypointRecording
from recorded_names import LOSSES
from recorded_steps import regions_of, with_recorded_maps
from recorded_systems import assert_stage

from minimask import functional as F
from minimask.autograd import Tensor, no_grad
from minimask.autograd.hooks import Recorder, hooked
from minimask.models import RecordedSampling, keypoint_head
from minimask.models.roi_pooling import as_rois

PIXELS = 0.01  # how far a keypoint may be from the recorded one


@pytest.fixture(scope="module", params=["torchvision", "detectron2"])
def recording(request, goldens):
    return KeypointRecording(goldens, request.param)


@pytest.fixture(scope="module")
def pyramid(recording):
    return [Tensor(recording.level("fpn", i)) for i in range(5)]


def test_keypoint_branch(recording, pyramid):
    recorded, heads = recording.forward, recording.model.roi_heads
    count = len(recorded["keypoint/pooled"])
    rois = as_rois([recorded["det/boxes"][:count]])
    with no_grad():
        pooled = heads.pool_keypoints(pyramid, rois, recorded["transform/image"].shape[2])
        features = heads.keypoint_head(Tensor(recorded["keypoint/pooled"]))
        assert_stage("keypoint/pooled", pooled, recorded["keypoint/pooled"])
        if "keypoint/features" in recorded:
            assert_stage("keypoint/features", features, recorded["keypoint/features"])
            features = Tensor(recorded["keypoint/features"])
        logits = heads.keypoint_predictor(features)
    assert_stage("keypoint/logits", logits, recorded["keypoint/logits"])


def test_keypoints_of_the_recorded_heat_maps(recording):
    recorded, logits = recording.forward, recording.forward["keypoint/logits"]
    boxes = recorded["det/boxes"][: len(logits)]
    how = recording.model.roi_heads.keypoint_score
    found = keypoint_head.find_keypoints(logits, boxes, how)
    places, scores = recording.keypoints()
    assert np.abs(found[:, :, :2] - places).max() < PIXELS
    assert_stage("scores", found[:, :, 2], scores)
    other = {"logit": "probability", "probability": "logit"}[how]
    with pytest.raises(AssertionError):
        assert_stage("scores", keypoint_head.find_keypoints(logits, boxes, other)[:, :, 2], scores)


def test_stages_before_the_keypoints(recording, pyramid):
    """The box branch of a model with two classes; the rest is that of the other recordings."""
    recorded, heads = recording.forward, recording.model.roi_heads
    batch = recording.model.prepare([recorded["image_u8"]])
    assert_stage("transform/image", batch.images, recorded["transform/image"])
    with no_grad():
        objectness, deltas = recording.model.rpn.head(pyramid)
        features = heads.box_head(Tensor(recorded["box/pooled"]))
        logits, box_deltas = heads.box_predictor(Tensor(recorded["box/features"]))
    for i in range(5):
        assert_stage(f"rpn/objectness/{i}", objectness[i], recorded[f"rpn/objectness/{i}"])
        assert_stage(f"rpn/deltas/{i}", deltas[i], recorded[f"rpn/deltas/{i}"])
    assert_stage("box/features", features, recorded["box/features"][: len(features.data)])
    assert_stage("box/cls_logits", logits, recorded["box/cls_logits"])
    assert_stage("box/deltas", box_deltas, recorded["box/deltas"])


def test_prediction_from_the_photo(recording):
    """The same objects with the same keypoints, but for near-ties, which may fall either way."""
    recorded = recording.forward
    (ours,) = recording.model.predict([recorded["image_u8"]])
    assert len(ours) == len(recorded["out/boxes"])
    distance = np.abs(ours.boxes[:, None] - recorded["out/boxes"]).max(axis=2)
    partner = distance.argmin(axis=0)
    found = distance.min(axis=0) < 0.02
    assert found.mean() >= 0.9
    theirs = recorded["out/keypoints"][found][:, :, :2]
    apart = np.abs(ours.keypoints[partner[found]][:, :, :2] - theirs).max(axis=2)
    assert (apart < 0.02).mean() > 0.97


def test_the_keypoints_are_among_the_stages(recording):
    image = recording.forward["image_u8"]
    stages = dict(recording.model.stages(image))
    assert set(recording.model.classes) and not any(n.startswith("mask/") for n in stages)
    recorded = {n for n in recording.forward if n.startswith(("keypoint/", "out/keypoints"))}
    assert recorded - {"out/keypoints_scores"} <= set(stages)
    (found,) = recording.model.predict([image])
    np.testing.assert_array_equal(stages["out/keypoints"], found.keypoints)


# --- a training step ---------------------------------------------------------------------------


def run_step(recording, turned=()):
    """Losses, gradients and what was recorded on the way, with the recorded random choices.

    `turned`: units of the keypoint head, as `near_ties` names them, that fall to the other side.
    """
    step, model = recording.step, recording.model
    if recording.system == "torchvision":
        positive, negative = step["roi_sample/positive"], step["roi_sample/negative"]
    else:
        positive, negative = regions_of(recording)
    samples = RecordedSampling(
        anchors_positive=[step["rpn_sample/positive"]],
        anchors_negative=[step["rpn_sample/negative"]],
        proposals=[step["fwd/rpn/proposals"]],
        regions_positive=[positive],
        regions_negative=[negative],
    )
    image, rng = recording.forward["image_u8"], np.random.default_rng(0)
    batch = model.prepare([image])
    batch = dataclasses.replace(batch, images=recording.forward["transform/image"])
    model.zero_grad()
    with pytest.MonkeyPatch.context() as patch, hooked(Recorder()) as recorder:
        patch.setattr(model, "prepare", lambda images, rng=None: batch)
        if recording.system == "detectron2":  # so deep that float32 runs part
            with_recorded_maps(patch, recording, model.backbone)
        for layer, unit in turned:
            convolution = model.roi_heads.keypoint_head[layer]
            patch.setattr(convolution, "forward", turning(convolution.forward, unit))
        losses = model.losses([image], [recording.target()], rng=rng, samples=samples)
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return {name: loss.item() for name, loss in losses.items()}, gradients, recorder


def turning(forward, unit):
    """The same layer with one unit that is 0 where it was hardly more, or the other way round."""

    def turned(x, **options):
        y = forward(x, **options)
        value = y.data.reshape(-1)[unit]
        y.data.reshape(-1)[unit] = 0 if value > 0 else 1e-12
        return y

    return turned


def near_ties(recording, recorder):
    """Units of the keypoint head so near 0 that float32 may put them on either side, nearest first.

    Each is a layer and an index in its output.  One unit of one RoI that falls to the other side
    moves gradients by a hundredth.
    """
    x = recorder.values("keypoint/pooled")[0].data.astype(np.float64)
    found = []
    with no_grad():
        for i, layer in enumerate(recording.model.roi_heads.keypoint_head):
            weights = [Tensor(p.data.astype(np.float64)) for p in (layer.weight, layer.bias)]
            y = F.conv2d(Tensor(x), *weights, **layer.geometry()).data
            distance = np.abs(y).ravel() / y.std()
            found += [(distance[unit], i, unit) for unit in np.flatnonzero(distance < 2e-5)]
            x = np.maximum(y, 0)
    return [(layer, unit) for _, layer, unit in sorted(found)][:4]


@pytest.fixture(scope="module")
def training(recording):
    return run_step(recording)


def test_losses(recording, training):
    losses, _, _ = training
    theirs = {
        LOSSES.get(k.removeprefix("loss/"), k.removeprefix("loss/")): float(v)
        for k, v in recording.step.items()
        if k.startswith("loss/")
    }
    assert losses.keys() == theirs.keys() and "loss_keypoint" in losses
    for name, value in losses.items():
        print(f"{name}: {value / theirs[name] - 1:.1e}")
        assert value == pytest.approx(theirs[name], rel=1e-4), name


def far_gradients(recording, gradients):
    """The parameters whose gradients are not the recorded ones."""
    prefix, far = "grad_norm/", []
    named = {recording.here(k.removeprefix(prefix)): k for k in recording.step if prefix in k}
    assert named.keys() == gradients.keys()
    for name, key in named.items():
        exact, norm = gradients[name].astype(np.float64), float(recording.step[key])
        if name == "roi_heads.keypoint_predictor.kps_score_lowres.bias":
            # 0 in exact arithmetic, as each map's sums up to 0 (softmax): rounding's remains
            weight = gradients[name.replace("bias", "weight")]
            assert max(norm, np.abs(exact).max()) < 1e-5 * np.abs(weight).max()
            continue
        errors = [np.sqrt((exact**2).sum()) / norm - 1]
        whole = recording.step.get(key.replace(prefix, "grad/"))
        if whole is not None:
            errors.append(np.sqrt(((exact - whole) ** 2).sum()) / norm)
        total = recording.step.get(key.replace(prefix, "grad_sum/"))
        if total is not None:
            errors.append((exact.sum() - float(total)) / max(abs(float(total)), norm))
        if np.abs(errors).max() > 1e-3:
            far.append(name)
    return far


def test_gradients(recording, training):
    """As recorded; units of the keypoint head that are nearly 0 may have fallen either way."""
    _, gradients, recorder = training
    far = far_gradients(recording, gradients)
    ties = near_ties(recording, recorder) if far else []
    for count in range(1, len(ties) + 1):
        for turned in combinations(ties, count):
            if far:
                far = far_gradients(recording, run_step(recording, turned)[1])
    assert far == []


def test_targets(recording, training):
    """Where every keypoint is in its RoI's heat map, as detectron2 recorded it."""
    if recording.system == "torchvision":
        pytest.skip("torchvision's targets were not recorded; its loss and gradients are compared")
    (((learned,),),) = [training[2].values("keypoint/sampled")]
    step = recording.step
    is_object = step["roi/labels"] < len(recording.model.classes)
    distance = np.abs(learned.boxes[:, None] - step["roi/proposals"][is_object]).max(axis=2)
    place = distance.argmin(axis=1)
    assert len(set(place)) == len(step["roi/keypoint_valid"]) and distance.min(axis=1).max() < 1e-3
    np.testing.assert_array_equal(learned.valid, step["roi/keypoint_valid"][place])
    np.testing.assert_array_equal(learned.pixels, step["roi/keypoint_targets"][place])
