"""The same networks as matterport's code: every stage fed with its recorded input, a training step.

Its boxes are normalized and begin with y; `Matterport.inner` says them as the network here does.
"""

import numpy as np
import pytest

pytest.importorskip("h5py")
from recorded_matterport import EPS, Matterport, channels_first, layout, norm_of, place_of, rows

import minimask as mm
from minimask.autograd import Tensor, no_grad
from minimask.autograd.hooks import Recorder, hooked
from minimask.models import RecordedSampling, box_head
from minimask.models.box_corners import to_edges
from minimask.models.matcher import BACKGROUND
from minimask.models.mini_masks import mini_masks
from minimask.models.paste import paste_mask
from minimask.models.roi_pooling import as_rois
from minimask.models.transform import resize_target

STAGE = 1e-4  # relative to the recorded standard deviation
NAMES = ("mask_rcnn_resnet50", "mask_rcnn_resnet101")


@pytest.fixture(scope="module", params=NAMES)
def recording(request, goldens):
    if not (goldens / "matterport" / f"{request.param}_meta.json").exists():
        pytest.skip("needs matterport's recordings (MINIMASK_GOLDENS)")
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


def rpn_output(recording, pyramid):
    """What was recorded of every anchor, as the head here gives it."""
    logits = recording.forward["rpn/class_logits"][0]
    objectness = by_level((logits[:, 1] - logits[:, 0])[:, None], pyramid)
    deltas = by_level(recording.forward["rpn/bbox"][0][:, [1, 0, 3, 2]], pyramid)
    return objectness, deltas


def test_proposal_network(recording, pyramid):
    with no_grad():
        ours = recording.model.rpn.head(pyramid)
    for name, levels, theirs in zip(
        ("objectness", "deltas"), ours, rpn_output(recording, pyramid), strict=True
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
    levels = [[Tensor(level) for level in kind] for kind in rpn_output(recording, pyramid)]
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


def test_prediction(recording):
    """From the photo to the end: the same objects, in order.

    The scores of two float32 runs of these networks are 2e-4 apart, as far as each is from float64.
    That much decides two things that theirs leaves to rounding: which whole pixel a side goes to
    that lies half between two, and whether the last row of samples in a box that touches the lower
    or right border is still inside the map, or 0.
    """
    recorded = recording.forward
    with hooked(Recorder()) as recorder:
        (ours,) = recording.model.predict([recorded["image_u8"]])
    ((inner,),) = recorder.values("det/boxes")
    boxes, _, _ = detections_of(recording)
    np.testing.assert_array_equal(ours.labels, recorded["out/class_ids"] - 1)
    assert np.abs(inner - boxes).max() < 0.01  # pixels of the network's input
    np.testing.assert_allclose(ours.scores, recorded["out/scores"], rtol=0, atol=5e-4)
    floats = recording.transform().to_image(boxes)
    undecided = np.abs(floats % 1 - 0.5) < 0.02
    theirs = recorded["out/rois"][:, [1, 0, 3, 2]]
    np.testing.assert_array_equal(ours.boxes[~undecided], theirs[~undecided])
    width = recorded["image_u8"].shape[1]
    masks = np.unpackbits(recorded["out/masks_packed"], axis=-1)[..., :width].astype(bool)
    both, either = ((f(ours.masks, masks)).sum((1, 2)) for f in (np.logical_and, np.logical_or))
    iou = np.where(either, both / np.maximum(either, 1), 1)
    at_border = (boxes[:, 2:] >= recording.side - 1 - 1e-3).any(axis=1)
    decided = ~(undecided.any(axis=1) | at_border)
    print("IoU of masks:", np.sort(iou)[:4], "decided", decided.sum(), "of", len(iou))
    assert decided.sum() >= len(iou) - 6 and iou[decided].min() > 0.998


# --- a training step ---------------------------------------------------------------------------


def test_boxes_and_mini_masks_of_the_objects(recording):
    step = recording.step
    convention = recording.model.convention
    square = (recording.side, recording.side)
    target = resize_target(recording.target(), recording.transform(), square, convention)
    boxes = step["target/boxes"][:, [1, 0, 3, 2]]
    np.testing.assert_array_equal(to_edges(target.boxes, "pixels"), boxes)
    small = mini_masks(target.masks, boxes)
    theirs = np.unpackbits(step["target/mini_masks_packed"], axis=-1)[..., : len(boxes)]
    np.testing.assert_array_equal(small, theirs.transpose(2, 0, 1))


def find(boxes, among):
    """The place of each box."""
    distance = np.abs(boxes[:, None] - among).max(axis=2)
    assert distance.min(axis=1).max() == 0
    return distance.argmin(axis=1)


def samples_of(recording):
    """The recorded random choices."""
    step = recording.step
    match = in_our_order(step["rpn/match"])
    labels, rois = step["roi/class_ids"][0], step["roi/rois"][0]
    positive, negative = labels > 0, (labels == 0) & rois.any(axis=1)
    proposals = step["fwd/rois"][0]
    return RecordedSampling(
        anchors_positive=[np.flatnonzero(match == 1)],
        anchors_negative=[np.flatnonzero(match == -1)],
        proposals=[recording.inner(proposals)],
        regions_positive=[find(rois[positive], proposals)],
        regions_negative=[find(rois[negative], proposals)],
    )


def maps_of(recording, name, count):
    return [channels_first(recording.forward[f"{name}{i}"]) for i in range(count)]


def with_recorded_maps(patch, recording):
    """Let every stage of body and pyramid give the recorded map; gradients pass through it.

    Returns the pyramids that will have been computed.
    """
    pyramids = []
    backbone = recording.model.backbone
    stages = [getattr(backbone.body, f"layer{i}") for i in range(1, 5)]
    for stage, value in zip(stages, maps_of(recording, "body/", 4), strict=True):
        patch.setattr(stage, "forward", replaced(stage.forward, [value]))
    forward = replaced(backbone.fpn.forward, recording.pyramid())

    def forward_and_keep(maps):
        pyramids.append(forward(maps))
        return pyramids[-1]

    patch.setattr(backbone.fpn, "forward", forward_and_keep)
    return pyramids


def replaced(forward, values):
    def forward_and_replace(x):
        computed = forward(x)
        tensors = computed if isinstance(computed, list) else [computed]
        for tensor, value in zip(tensors, values, strict=True):
            tensor.data[...] = value
        return computed

    return forward_and_replace


@pytest.fixture(scope="module")
def training(recording):
    """Losses, gradients and what was recorded on the way, with the recorded random choices."""
    return run_step(recording)


def run_step(recording, lost=0.0):
    """The recorded step; `lost` is taken from the gradient of the finest map's first cell."""
    model, image = recording.model, recording.forward["image_u8"]
    model.zero_grad()
    with pytest.MonkeyPatch.context() as patch, hooked(Recorder()) as recorder:
        pyramids = with_recorded_maps(patch, recording)
        losses = model.losses(
            [image],
            [recording.target()],
            rng=np.random.default_rng(0),
            samples=samples_of(recording),
        )
        (pyramid,) = pyramids
        (sum(losses.values()) - (pyramid[0][0, :, 0, 0] * lost).sum()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return {name: loss.item() for name, loss in losses.items()}, gradients, recorder


def test_anchors_are_matched_and_moved_alike(recording, training):
    (matches,) = training[2].values("rpn/matches")[0]
    match, count = in_our_order(recording.step["rpn/match"]), recording.step["rpn/match"] == 1
    assert (matches[match == 1] >= 0).all() and (matches[match == -1] == BACKGROUND).all()
    (ours,) = training[2].values("rpn/target_deltas")[0]
    theirs = recording.step["rpn/bbox"][: count.sum()][:, [1, 0, 3, 2]]
    # theirs come in the order of their anchors
    order = np.argsort(in_our_order(np.arange(len(match)))[match == 1])
    assert_stage("rpn/target_deltas", ours[order], theirs)


def test_regions_have_the_same_targets(recording, training):
    (ours,), step = training[2].values("roi/sampled")[0], recording.step
    positive = step["roi/class_ids"][0] > 0
    count, place = positive.sum(), np.argsort(samples_of(recording).regions_positive[0])
    assert len(ours.boxes) == len(positive) and ours.positive.sum() == count
    np.testing.assert_array_equal(
        ours.labels[ours.positive], step["roi/class_ids"][0][positive][place]
    )
    deltas = step["roi/deltas"][0][positive][place][:, [1, 0, 3, 2]]
    assert_stage("roi/deltas", ours.target_deltas[ours.positive], deltas)
    theirs = np.unpackbits(step["roi/masks_packed"], axis=-1)[0, :count, :, :28][place]
    np.testing.assert_array_equal(training[2].values("mask/targets")[0], theirs)


LOSSES = {
    "rpn_class_loss": "loss_objectness",
    "rpn_bbox_loss": "loss_rpn_box_reg",
    "mrcnn_class_loss": "loss_classifier",
    "mrcnn_bbox_loss": "loss_box_reg",
    "mrcnn_mask_loss": "loss_mask",
}


def test_losses(recording, training):
    losses = training[0]
    assert losses.keys() == set(LOSSES.values())
    for theirs, ours in LOSSES.items():
        value = float(recording.step[f"loss/{theirs}"])
        print(f"{ours}: {losses[ours] / value - 1:.1e}")
        assert losses[ours] == pytest.approx(value, rel=1e-4), ours


FIRST_LEVEL = "grad/fpn_p2_1/bias"


def unfolded(recording, name, gradients):
    """The gradients of a layer's own arrays, by the chain rule where a norm went into it here."""
    weight, bias = (gradients.get(f"{place_of(name)}.{kind}") for kind in ("weight", "bias"))
    norm, kernel = norm_of(name), recording.arrays[f"{name}/kernel"]
    if norm is None or place_of(name).startswith("backbone."):
        return {f"{name}/kernel": weight, f"{name}/bias": bias}
    gamma, mean, variance = (
        recording.arrays[f"{norm}/{n}"] for n in ("gamma", "moving_mean", "moving_variance")
    )
    root = np.sqrt(variance + EPS)
    flat = (weight * layout(name, kernel)).reshape(len(weight), -1).sum(axis=1)
    along = bias * (recording.arrays[f"{name}/bias"] - mean)
    factor = (gamma / root).reshape(-1, *[1] * (weight.ndim - 1))
    return {
        f"{name}/kernel": weight * factor,
        f"{name}/bias": bias * gamma / root,
        f"{norm}/gamma": (flat + along) / root,
        f"{norm}/beta": bias,
    }


def test_gradients(recording, training):
    """All of them, once what theirs lost is known.

    TensorFlow's threads add the gradients of crops without waiting for one another.  The boxes
    that regions are filled up with all lie on the first cell of the finest map, so that sums are
    lost there, in another run others.  What was lost is read off that level's bias, where it is all
    that differs; it must explain all other gradients.
    """
    ours, theirs = training[1]["backbone.fpn.layer_blocks.0.0.bias"], recording.step[FIRST_LEVEL]
    _, gradients, _ = run_step(recording, ours - theirs)
    print(f"lost of the finest level: {np.linalg.norm(ours - theirs) / np.linalg.norm(ours):.1e}")
    step, compared = recording.step, 0
    for layer in [n.split("/")[0] for n in recording.arrays if n.endswith("/kernel")]:
        for name, ours in unfolded(recording, layer, gradients).items():
            key = name.replace("/", "_1/")
            if ours is None or f"grad_norm/{key}" not in step:
                continue
            norm, whole = float(step[f"grad_norm/{key}"]), step.get(f"grad/{key}")
            if layer == "rpn_class_raw":  # theirs has two logits: of object and background
                norm /= np.sqrt(2)
                whole = None if whole is None else whole / 2
            exact = ours.astype(np.float64)
            assert np.sqrt((exact**2).sum()) == pytest.approx(norm, rel=1e-3), name
            compared += 1
            if whole is not None:
                theirs = layout(layer, whole) if name.endswith("kernel") else whole
                theirs = rows(layer, theirs) if name.endswith("bias") else theirs
                assert np.sqrt(((exact - theirs) ** 2).sum()) < 1e-3 * norm, name
    print("gradients compared:", compared)
    assert compared > 60
