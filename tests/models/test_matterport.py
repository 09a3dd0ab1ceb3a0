"""The same networks as matterport's code: every stage fed with its recorded input, a training step.

Its boxes are normalized and begin with y; `Matterport.inner` says them as the network here does.
"""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("h5py")
from recorded_matterport import EPS, Matterport, channels_first, layout, norm_of, place_of, rows

import minimask as mm
from minimask.autograd import Tensor, no_grad
from minimask.autograd.hooks import Recorder, hooked
from minimask.models import RecordedSampling, box_head, mask_head
from minimask.models.matcher import BACKGROUND
from minimask.models.mini_masks import mini_masks
from minimask.models.paste import paste_mask
from minimask.models.roi_pooling import as_rois
from minimask.models.transform import resize_target

STAGE = 1e-4  # relative to the recorded standard deviation
NAMES = ("mask_rcnn_resnet50", "mask_rcnn_resnet101")


@pytest.fixture(scope="module", params=NAMES)
def recording(request, goldens):
    return Matterport(goldens, request.param)


@pytest.fixture(scope="module")
def pyramid(recording):
    return [Tensor(level) for level in recording.pyramid()]


def error(ours, recorded):
    """The largest difference in standard deviations of what was recorded."""
    ours = ours.data if isinstance(ours, Tensor) else ours
    assert ours.shape == recorded.shape
    spread = recorded.std(dtype=np.float64) or 1.0
    return np.abs(ours.astype(np.float64) - recorded).max() / spread


def assert_stage(name, ours, recorded, bound=STAGE):
    found = error(ours, recorded)
    print(f"{name}: {found:.1e} of {bound:.0e}")
    assert found < bound, name


def in_our_order(anchors):
    """Values of all anchors, (B, ...): of a cell's three the tall one comes last here."""
    return anchors.reshape(-1, 3, *anchors.shape[1:])[:, ::-1].reshape(anchors.shape)


def by_level(values, pyramid):
    """Values of all anchors (B, V) as the head here gives them: per level (1, 3 V, H, W)."""
    levels, at = [], 0
    for level in pyramid:
        h, w = level.shape[2:]
        part = in_our_order(values)[at : (at := at + 3 * h * w)]
        levels.append(channels_first(part.reshape(1, h, w, -1)))
    assert at == len(values)
    return levels


# --- a prediction ------------------------------------------------------------------------------


def test_the_networks_input_is_the_same_to_the_bit(recording):
    batch = recording.model.prepare([recording.forward["image_u8"]])
    theirs = channels_first(recording.forward["transform/image"])
    np.testing.assert_array_equal(batch.images, theirs)
    assert batch.transforms == [recording.transform()]


def test_body(recording):
    body, recorded = recording.model.backbone.body, recording.forward
    with no_grad():
        image = Tensor(channels_first(recorded["transform/image"]))
        assert_stage("body/0", body(image)[0], channels_first(recorded["body/0"]))
        for i, layer in enumerate([body.layer2, body.layer3, body.layer4], 1):
            output = layer(Tensor(channels_first(recorded[f"body/{i - 1}"])))
            assert_stage(f"body/{i}", output, channels_first(recorded[f"body/{i}"]))


def test_pyramid(recording, pyramid):
    with no_grad():
        maps = [Tensor(channels_first(recording.forward[f"body/{i}"])) for i in range(4)]
        levels = recording.model.backbone.fpn(maps)
    for i, (level, recorded) in enumerate(zip(levels, pyramid, strict=True)):
        assert_stage(f"fpn/{i}", level, recorded.data)


def judged(recording, pyramid):
    """What was recorded of every anchor, as the head here gives it."""
    logits = recording.forward["rpn/class_logits"][0]
    objectness = by_level((logits[:, 1] - logits[:, 0])[:, None], pyramid)
    deltas = by_level(recording.forward["rpn/bbox"][0][:, [1, 0, 3, 2]], pyramid)
    return objectness, deltas


def test_proposal_network(recording, pyramid):
    with no_grad():
        ours = recording.model.rpn.head(pyramid)
    for name, levels, theirs in zip(
        ("objectness", "deltas"), ours, judged(recording, pyramid), strict=True
    ):
        for i, (level, recorded) in enumerate(zip(levels, theirs, strict=True)):
            assert_stage(f"rpn/{name}/{i}", level, recorded)


def anchors_of(recording, pyramid):
    shapes = [level.shape[2:] for level in pyramid]
    return recording.model.rpn.anchor_generator(shapes, (recording.side, recording.side))


def test_anchors(recording, pyramid):
    theirs = recording.inner(in_our_order(recording.forward["rpn/anchors_normalized"]))
    ours = anchors_of(recording, pyramid).flat
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-5)


def test_proposals(recording, pyramid):
    """All of them in the same places, those without area too."""
    levels = [[Tensor(level) for level in kind] for kind in judged(recording, pyramid)]
    anchors = anchors_of(recording, pyramid).levels
    ((boxes, scores),) = recording.model.rpn.propose(*levels, anchors, [recording.transform()])
    theirs = recording.inner(recording.forward["rpn/rois"][0])
    assert_stage("rpn/proposals", boxes, theirs[: len(boxes)])
    assert not theirs[len(boxes) :].any()  # filled up with zeros
    probabilities = np.sort(recording.forward["rpn/class"][0][:, 1])[::-1]
    assert scores[0] == pytest.approx(probabilities[0], abs=1e-6)


def test_box_branch(recording, pyramid):
    recorded, heads = recording.forward, recording.model.roi_heads
    theirs = channels_first(recorded["box/pooled"][0])
    count = len(theirs)
    rois = as_rois([recording.inner(recorded["rpn/rois"][0])])
    with no_grad():
        pooled = heads.pool_boxes(pyramid, rois, recording.side)
        logits, deltas = heads.box_predictor(heads.box_head(Tensor(theirs)))
        whole = heads.box_predictor(heads.box_head(pooled))
    assert_stage("box/pooled", pooled.data[:count], theirs)
    theirs = recorded["box/cls_logits"][0], recorded["box/deltas"][0][..., [1, 0, 3, 2]]
    for name, ours, all_ours, recorded in zip(
        ("box/cls_logits", "box/deltas"), (logits, deltas), whole, theirs, strict=True
    ):
        recorded = recorded.reshape(len(recorded), -1)
        assert_stage(name, ours, recorded[:count])
        assert_stage(f"{name} of all", all_ours, recorded)


def detections_of(recording):
    """The recorded detections: boxes as here, labels, scores."""
    found = recording.forward["det/detections"][0]
    found = found[found[:, 4] > 0]
    return recording.inner(found[:, :4]), found[:, 4].astype(np.int64) - 1, found[:, 5]


def postprocessed(recording, **changed):
    recorded, heads = recording.forward, recording.model.roi_heads
    logits = recorded["box/cls_logits"][0]
    deltas = recorded["box/deltas"][0][..., [1, 0, 3, 2]].reshape(len(logits), -1)
    names = ("score_thresh", "nms_thresh", "detections_per_img", "min_size", "background")
    names += ("best_class_only", "box_weights", "delta_clamp")
    how = {name: getattr(heads, name) for name in names} | changed
    proposals = recording.inner(recorded["rpn/rois"][0])
    where = [recording.transform()]
    (found,) = box_head.postprocess_detections(logits, deltas, [proposals], where, **how)
    return found


def test_detections(recording):
    boxes, labels, scores = detections_of(recording)
    found = postprocessed(recording)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.boxes, boxes, rtol=0, atol=1e-3)  # pixels
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-6)


def test_the_photos_boxes_are_the_same_whole_pixels(recording):
    boxes, labels, scores = detections_of(recording)
    found = mm.models.detections.Instances(boxes, labels, scores, boxes)
    ours = recording.model.to_image(found, recording.transform())
    np.testing.assert_array_equal(ours.boxes, recording.forward["out/rois"][:, [1, 0, 3, 2]])
    np.testing.assert_array_equal(ours.labels, recording.forward["out/class_ids"] - 1)
    np.testing.assert_array_equal(ours.scores, recording.forward["out/scores"])


def test_mask_branch(recording, pyramid):
    recorded, heads = recording.forward, recording.model.roi_heads
    theirs = recorded["mask/pooled"][0]
    rois = as_rois([recording.inner(recorded["det/detections"][0, : len(theirs), :4])])
    with no_grad():
        pooled = heads.pool_masks(pyramid, rois, recording.side)
        logits = heads.mask_predictor(heads.mask_head(Tensor(channels_first(theirs))))
    assert_stage("mask/pooled", pooled, channels_first(theirs))
    probabilities = channels_first(recorded["mask/probabilities"][0, : len(theirs)])
    ours = 1 / (1 + np.exp(-logits.data))
    assert_stage("mask/probabilities", ours, probabilities)


def test_pasted_masks(recording):
    recorded = recording.forward
    boxes, labels, scores = detections_of(recording)
    instances = mm.models.detections.Instances(boxes, labels, scores, boxes)
    whole = recording.transform().to_image(boxes)
    kept = np.flatnonzero((np.around(whole)[:, 2:] > np.around(whole)[:, :2]).all(axis=1))
    assert len(kept) == len(recorded["out/rois"]) and len(instances.boxes)
    height, width = recorded["image_u8"].shape[:2]
    probabilities, ways = recorded["mask/probabilities"][0], recording.model.convention.paste
    for place, i in enumerate(kept):
        if i < len(probabilities):
            grid = probabilities[i, :, :, labels[i] + 1]
            box = recorded["out/rois"][place][[1, 0, 3, 2]].astype(np.float32)
            pasted = paste_mask(grid, box, height, width, ways) >= 0.5
            theirs = np.unpackbits(recorded["out/masks_packed"][place], axis=-1)[:, :width]
            np.testing.assert_array_equal(pasted, theirs)


def in_double(recording):
    """The same network with every number in float64."""
    model = mm.models.build(recording.model.config)
    model.load_state_dict(recording.model.state_dict())
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                value.data = value.data.astype(np.float64)
            elif isinstance(value, np.ndarray) and value.dtype == np.float32:
                setattr(module, name, value.astype(np.float64))
    return model.eval()


def test_prediction(recording):
    """From the photo to the end: the same objects, in order.

    Scores of two float32 runs are as far apart as each of them is from float64; a box's side that
    is half a pixel from two whole ones may be rounded to either.
    """
    recorded = recording.forward
    (ours,) = recording.model.predict([recorded["image_u8"]])
    np.testing.assert_array_equal(ours.labels, recorded["out/class_ids"] - 1)
    away = np.abs(ours.boxes - recorded["out/rois"][:, [1, 0, 3, 2]])
    print("sides of boxes that differ:", (away > 0).sum(), "of", away.size)
    assert away.max() <= 1 and (away > 0).mean() < 0.02
    np.testing.assert_allclose(ours.scores, recorded["out/scores"], rtol=0, atol=5e-4)
    width = recorded["image_u8"].shape[1]
    theirs = np.unpackbits(recorded["out/masks_packed"], axis=-1)[..., :width].astype(bool)
    both, either = (ours.masks & theirs).sum(), (ours.masks | theirs).sum()
    print("IoU of all masks:", both / either)
    assert both / either > 0.97
