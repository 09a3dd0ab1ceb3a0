"""The same networks as torchvision's second version, detectron2's and mmdetection's.

Pyramids, C4, dilated C5, ResNeXt, norms in pyramid and heads, heads of convolutions: every stage is
fed with its recorded input, as in test_parity.py.
"""

import numpy as np
import pytest
from recorded_systems import RECORDINGS, STAGE, Recording, assert_stage, in_double

from minimask.autograd import Tensor, no_grad
from minimask.models import box_head, mask_head
from minimask.models.paste import paste_mask
from minimask.models.roi_pooling import as_rois


@pytest.fixture(scope="module", params=RECORDINGS)
def recording(request, goldens):
    return Recording(goldens, request.param)


@pytest.fixture(scope="module")
def pyramid(recording):
    return [Tensor(level) for level in recording.pyramid()]


def test_transform(recording):
    batch = recording.model.prepare([recording.forward["image_u8"]])
    assert_stage("transform/image", batch.images, recording.forward["transform/image"])
    assert batch.transforms == [recording.transform()]


def test_body(recording):
    body = recording.model.backbone.body
    image = recording.forward["transform/image"]
    if recording.level("body", 0) is None:
        pytest.skip("only the last map was recorded: see the next test")
    with no_grad():
        assert_stage("body/0", body(Tensor(image))[0], recording.level("body", 0))
        for i, layer in enumerate([body.layer2, body.layer3, body.layer4], 1):
            output = layer(Tensor(recording.level("body", i - 1)))
            assert_stage(f"body/{i}", output, recording.level("body", i))


def test_whole_body(recording):
    """All stages at once, where the system's own float32 and float64 runs are farther apart.

    How far is in the recording's description; our float64 run is as far from their float32 run.
    """
    last = len(recording.model.backbone.body.strides) - 1
    noises = recording.meta.get("float32_vs_float64_rel_std", {})
    noise = noises.get(f"body/res{last + 2}")
    image, theirs = recording.forward["transform/image"], recording.level("body", last)
    with no_grad():
        ours = recording.model.backbone.body(Tensor(image))[last].data
        exact = (
            in_double(recording.model).backbone.body(Tensor(image.astype(np.float64)))[last].data
        )
    distance = np.abs(theirs - exact).max() / exact.std()
    if noise is not None:
        assert distance == pytest.approx(noise, rel=1e-3)
    else:  # it was not recorded: theirs is about as far from exact as ours is
        noise = max(STAGE, np.abs(ours - exact).max() / exact.std())
        assert distance < 3 * noise
    assert_stage("whole body", ours, theirs, 3 * noise)  # two float32 runs


def test_the_first_dilated_block_matters(goldens):
    """torchvision leaves its 3x3 convolution as it was: not detectron2's network."""
    recording = Recording(goldens, "detectron2 DC5", dilate_first_block=False)
    with no_grad():
        ours = recording.model.backbone.body(Tensor(recording.forward["transform/image"]))[3]
    with pytest.raises(AssertionError):
        assert_stage("body/3", ours, recording.level("body", 3), 0.1)


def test_pyramid(recording):
    if recording.level("fpn", 0) is None:
        (only,) = recording.pyramid()
        assert recording.model.backbone.channels == only.shape[1]
        return
    with no_grad():
        maps = [Tensor(recording.level("body", i)) for i in range(4)]
        levels = recording.model.backbone.fpn(maps)
    for i, level in enumerate(levels):
        assert_stage(f"fpn/{i}", level, recording.level("fpn", i))


def test_proposal_network(recording, pyramid):
    with no_grad():
        objectness, deltas = recording.model.rpn.head(pyramid)
    for i in range(len(pyramid)):
        for name, level in (("objectness", objectness[i]), ("deltas", deltas[i])):
            assert_stage(f"rpn/{name}/{i}", level, recording.forward[f"rpn/{name}/{i}"])


def anchors_of(recording):
    shapes = [level.shape[2:] for level in recording.pyramid()]
    image = recording.forward["transform/image"]
    return recording.model.rpn.anchor_generator(shapes, image.shape[2:]).levels


def test_anchors(recording):
    recorded = recording.forward["rpn/anchors"]
    np.testing.assert_allclose(np.concatenate(anchors_of(recording)), recorded, rtol=0, atol=1e-5)


def test_proposals(recording):
    recorded, count = recording.forward, len(recording.pyramid())
    objectness = [Tensor(recorded[f"rpn/objectness/{i}"]) for i in range(count)]
    deltas = [Tensor(recorded[f"rpn/deltas/{i}"]) for i in range(count)]
    ((boxes, scores),) = recording.model.rpn.propose(
        objectness, deltas, anchors_of(recording), [recording.transform()]
    )
    theirs = recorded["rpn/proposals"]
    distance = np.abs(boxes[:, None] - theirs).max(axis=2)
    partner = distance.argmin(axis=0)  # ours for each of theirs
    assert len(set(partner)) == len(theirs)
    assert_stage("rpn/proposals", boxes[partner], theirs)
    expected = recorded["rpn/scores"]
    if recording.system == "detectron2":  # it records logits
        expected = 1 / (1 + np.exp(-expected))
    assert_stage("rpn/scores", scores[partner], expected)


def test_box_branch(recording, pyramid):
    recorded, heads = recording.forward, recording.model.roi_heads
    count = len(recorded.get("box/pooled", recorded["rpn/proposals"]))
    rois = as_rois([recorded["rpn/proposals"][:count]])
    with no_grad():
        pooled = heads.pool_boxes(pyramid, rois, recorded["transform/image"].shape[2])
        if "box/pooled" in recorded:
            assert_stage("box/pooled", pooled, recorded["box/pooled"])
            pooled = Tensor(recorded["box/pooled"])
        features = heads.box_head(pooled)
        if "box/features" in recorded:
            assert_stage("box/features", features, recorded["box/features"][:count])
            features = Tensor(recorded["box/features"])
        logits, deltas = heads.box_predictor(features)
    assert_stage("box/cls_logits", logits, recorded["box/cls_logits"][: len(logits.data)])
    assert_stage("box/deltas", deltas, recorded["box/deltas"][: len(deltas.data)])


def test_detections(recording):
    recorded, heads = recording.forward, recording.model.roi_heads
    (found,) = box_head.postprocess_detections(
        recorded["box/cls_logits"],
        recorded["box/deltas"],
        [recorded["rpn/proposals"]],
        [recording.transform()],
        score_thresh=heads.score_thresh,
        nms_thresh=heads.nms_thresh,
        detections_per_img=heads.detections_per_img,
        min_size=heads.min_size,
        background=heads.background,
        box_weights=heads.box_weights,
        delta_clamp=heads.delta_clamp,
    )
    np.testing.assert_array_equal(found.labels, recorded["det/labels"] - recording.first_label())
    assert_stage("det/boxes", found.boxes, recorded["det/boxes"])
    assert_stage("det/scores", found.scores, recorded["det/scores"])
    assert_stage("out/boxes", recording.transform().to_image(found.boxes), recorded["out/boxes"])


def test_mask_branch(recording, pyramid):
    recorded, heads = recording.forward, recording.model.roi_heads
    count = len(recorded.get("mask/pooled", recorded["mask/logits"]))
    rois = as_rois([recorded["det/boxes"][:count]])
    with no_grad():
        pooled = heads.pool_masks(pyramid, rois, recorded["transform/image"].shape[2])
        if "mask/pooled" in recorded:
            assert_stage("mask/pooled", pooled, recorded["mask/pooled"])
            pooled = Tensor(recorded["mask/pooled"])
        features = heads.mask_head(pooled)
        logits = heads.mask_predictor(features)
    if "mask/features" in recorded:
        assert_stage("mask/features", features, recorded["mask/features"])
    assert_stage("mask/logits", logits, recorded["mask/logits"][:count])


def test_pasted_masks(recording):
    recorded, logits = recording.forward, recording.forward["mask/logits"]
    labels = recorded["det/labels"][: len(logits)]
    probs = mask_head.mask_probabilities(logits, labels)
    height, width = recorded["image_u8"].shape[:2]
    how = {"way": recording.model.convention.paste}
    drawn = 0
    for i, prob in enumerate(probs[: len(recorded.get("out/masks", probs))]):
        pasted = paste_mask(prob, recorded["out/boxes"][i], height, width, **how)
        if "out/masks" in recorded:
            assert_stage(f"out/masks[{i}]", pasted, recorded["out/masks"][i, 0])
        else:
            theirs = np.unpackbits(recorded["out/masks_packed"][i], axis=-1)[:, :width]
            np.testing.assert_array_equal(pasted >= 0.5, theirs)
            drawn += theirs.sum()
    assert drawn or "out/masks" in recorded
