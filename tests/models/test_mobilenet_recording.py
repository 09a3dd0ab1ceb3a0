"""Faster R-CNN on MobileNetV3-Large as torchvision computes it, stage after stage."""

import json

import numpy as np
import pytest
from recorded_mobilenet import mobilenet
from recorded_systems import read

from minimask.autograd import Tensor, no_grad
from minimask.models import box_head
from minimask.models.roi_pooling import RoIPooler, as_rois
from minimask.weights import read_weights

STAGE = 1e-4  # relative to the recorded standard deviation


def assert_stage(name, ours, recorded, bound=STAGE):
    ours = ours.data if isinstance(ours, Tensor) else ours
    assert ours.shape == recorded.shape and ours.dtype == np.float32
    error = np.abs(ours.astype(np.float64) - recorded).max() / recorded.std(dtype=np.float64)
    print(f"{name}: {error:.1e} of {bound:.0e}")
    assert error < bound, name


@pytest.fixture(scope="module")
def meta(goldens):
    return json.loads((goldens / "torchvision" / "fasterrcnn_mobilenet_meta.json").read_text())


@pytest.fixture(scope="module")
def recorded(goldens):
    return read(goldens / "torchvision" / "fasterrcnn_mobilenet_forward.npz")


@pytest.fixture(scope="module")
def model(goldens):
    return mobilenet(goldens)


@pytest.fixture(scope="module")
def pyramid(recorded):
    return [Tensor(recorded[f"fpn/{name}"]) for name in ("0", "1", "pool")]


@pytest.fixture(scope="module")
def transforms(model, recorded):
    return model.prepare([recorded["image_u8"]]).transforms


def anchors_of(model, recorded):
    shapes = [recorded[f"rpn/objectness/{i}"].shape[2:] for i in range(3)]
    return model.rpn.anchor_generator(shapes, recorded["transform/image"].shape[2:]).levels


def test_names_and_shapes_are_those_of_the_file(model, goldens):
    file = read_weights(goldens / "torchvision" / "fasterrcnn_mobilenet.pth")
    own = {name: array.shape for name, array in model.state_dict().items()}
    assert own == {name: array.shape for name, array in file.items()}


def test_transform(model, recorded):
    batch = model.prepare([recorded["image_u8"]])
    assert_stage("transform/image", batch.images, recorded["transform/image"])
    assert [t.resized for t in batch.transforms] == [tuple(recorded["transform/sizes"][0])]


def test_body(model, recorded):
    body = model.backbone.body
    assert body.strides == [32, 32]
    with no_grad():
        first, _ = body(Tensor(recorded["transform/image"]))
        last = Tensor(recorded["body/0"])
        for i in (14, 15, 16):
            last = body.step(i, last)
    assert_stage("body/0", first, recorded["body/0"])
    assert_stage("body/1", last, recorded["body/1"])


def test_pyramid(model, recorded, pyramid):
    with no_grad():
        levels = model.backbone.fpn([Tensor(recorded[f"body/{i}"]) for i in range(2)])
    for i, (level, expected) in enumerate(zip(levels, pyramid, strict=True)):
        assert_stage(f"fpn {i}", level, expected.data)


def test_proposal_network(model, recorded, pyramid):
    with no_grad():
        objectness, deltas = model.rpn.head(pyramid)
    for i in range(3):
        assert_stage(f"objectness {i}", objectness[i], recorded[f"rpn/objectness/{i}"])
        assert_stage(f"deltas {i}", deltas[i], recorded[f"rpn/deltas/{i}"])
    anchors = np.concatenate(anchors_of(model, recorded))
    np.testing.assert_array_equal(anchors, recorded["rpn/anchors"])


def test_proposals(model, recorded, transforms):
    objectness = [Tensor(recorded[f"rpn/objectness/{i}"]) for i in range(3)]
    deltas = [Tensor(recorded[f"rpn/deltas/{i}"]) for i in range(3)]
    anchors = anchors_of(model, recorded)
    ((boxes, scores),) = model.rpn.propose(objectness, deltas, anchors, transforms)
    assert_stage("rpn/scores", scores, recorded["rpn/scores"])
    theirs = recorded["rpn/proposals"]
    partner = np.abs(boxes[:, None] - theirs).max(axis=2).argmin(axis=0)
    assert len(set(partner)) == len(theirs) == len(boxes)
    assert_stage("rpn/proposals", boxes[partner], theirs)
    moved = np.flatnonzero(partner != np.arange(len(theirs)))
    assert np.abs(scores[partner] - recorded["rpn/scores"])[moved].max(initial=0) < 1e-6


def test_box_branch(model, recorded, pyramid):
    heads = model.roi_heads
    count = len(recorded["box/pooled"])
    rois = as_rois([recorded["rpn/proposals"][:count]])
    height = recorded["transform/image"].shape[2]
    with no_grad():
        pooled = heads.pool_boxes(pyramid, rois, height)
        features = heads.box_head(Tensor(recorded["box/pooled"]))
        logits, deltas = heads.box_predictor(Tensor(recorded["box/features"]))
    assert_stage("box/pooled", pooled, recorded["box/pooled"])
    assert_stage("box/features", features, recorded["box/features"][:count])
    assert_stage("box/cls_logits", logits, recorded["box/cls_logits"])
    assert_stage("box/deltas", deltas, recorded["box/deltas"])


def test_regions_are_cut_from_maps_not_from_the_pooled_level(recorded, pyramid):
    """Both maps have stride 32, so that all come from the first, however large they are."""
    large = np.array([[0, 0, 0, 190, 127]], np.float32)
    shape = recorded["transform/image"].shape[2]
    ours = RoIPooler(levels=2)(pyramid, large, 7, shape)
    alone = RoIPooler()(pyramid[:1], large, 7, shape)
    np.testing.assert_array_equal(ours.data, alone.data)


def test_detections(model, recorded, transforms):
    (found,) = box_head.postprocess_detections(
        recorded["box/cls_logits"],
        recorded["box/deltas"],
        [recorded["rpn/proposals"]],
        transforms,
        detections_per_img=model.roi_heads.detections_per_img,
    )
    np.testing.assert_array_equal(found.labels, recorded["det/labels"] - 1)
    assert_stage("det/boxes", found.boxes, recorded["det/boxes"])
    assert_stage("det/scores", found.scores, recorded["det/scores"])
    assert_stage("out/boxes", transforms[0].to_image(found.boxes), recorded["out/boxes"])


def test_prediction_matches_one_to_one(model, recorded):
    (ours,) = model.predict([recorded["image_u8"]])
    assert len(ours) == len(recorded["out/boxes"])
    distance = np.abs(ours.boxes[:, None] - recorded["out/boxes"]).max(axis=2)
    distance[ours.labels[:, None] != recorded["out/labels"] - 1] = np.inf
    partner = distance.argmin(axis=0)
    assert len(set(partner)) == len(partner)
    assert distance.min(axis=0).max() < 0.01  # pixels
    assert np.abs(ours.scores[partner] - recorded["out/scores"]).max() < 1e-4


def test_proposals_must_be_as_probable_as_asked(model, recorded, transforms):
    objectness = [Tensor(recorded[f"rpn/objectness/{i}"]) for i in range(3)]
    deltas = [Tensor(recorded[f"rpn/deltas/{i}"]) for i in range(3)]
    anchors = anchors_of(model, recorded)
    before = model.rpn.score_thresh
    middle = float(np.median(recorded["rpn/scores"]))
    try:
        model.rpn.score_thresh = middle
        ((_, scores),) = model.rpn.propose(objectness, deltas, anchors, transforms)
    finally:
        model.rpn.score_thresh = before
    assert 0.05 == before < middle <= scores.min()
    assert len(scores) == (recorded["rpn/scores"] >= middle).sum()
