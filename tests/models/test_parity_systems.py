"""The same networks as torchvision's second version, detectron2's and mmdetection's.

ResNeXt, dilated C5, norms in pyramid and heads, heads of convolutions: every stage is fed with its
recorded input, as in test_parity.py, and training steps with the recorded random choices.
"""

import dataclasses

import numpy as np
import pytest
from recorded_systems import LOSSES, Recording

import minimask as mm
from minimask.autograd import Tensor, no_grad
from minimask.models import RecordedSampling, box_head, mask_head
from minimask.models.paste import paste_mask
from minimask.models.roi_pooling import as_rois

STAGE = 1e-4  # relative to the recorded standard deviation
RECORDINGS = {
    "torchvision v2": ("torchvision", "maskrcnn_v2"),
    "detectron2 DC5": ("detectron2", "mask_rcnn_R_50_DC5"),
    "detectron2 4conv1fc": ("detectron2", "mask_rcnn_R_50_FPN_3x_syncbn"),
    "mmdet ResNeXt": ("mmdet", "mask-rcnn_x101-32x4d_fpn"),
}


@pytest.fixture(scope="module", params=RECORDINGS)
def recording(request, goldens):
    system, name = RECORDINGS[request.param]
    return Recording(goldens, system, name, convention=system)


@pytest.fixture(scope="module")
def pyramid(recording):
    return [Tensor(level) for level in recording.pyramid()]


def assert_stage(name, ours, recorded, bound=STAGE):
    ours = ours.data if isinstance(ours, Tensor) else ours
    assert ours.shape == recorded.shape and ours.dtype == np.float32
    error = np.abs(ours.astype(np.float64) - recorded).max() / recorded.std(dtype=np.float64)
    print(f"{name}: {error:.1e} of {bound:.0e}")
    assert error < bound, name


def test_transform(recording):
    batch = recording.model.prepare([recording.forward["image_u8"]])
    assert_stage("transform/image", batch.images, recording.forward["transform/image"])
    assert batch.transforms == [recording.transform()]


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
    noise = recording.meta.get("float32_vs_float64_rel_std", {}).get("body/res5")
    if noise is None:
        pytest.skip("how far float32 is from float64 was not recorded")
    image, theirs = recording.forward["transform/image"], recording.level("body", 3)
    with no_grad():
        ours = recording.model.backbone.body(Tensor(image))[3].data
        exact = in_double(recording).backbone.body(Tensor(image.astype(np.float64)))[3].data
    distance = np.abs(theirs - exact).max() / exact.std()
    assert distance == pytest.approx(noise, rel=1e-3)
    assert_stage("whole body", ours, theirs, 3 * noise)  # two float32 runs


def test_the_first_dilated_block_matters(goldens):
    """torchvision leaves its 3x3 convolution as it was: not detectron2's network."""
    system, name = RECORDINGS["detectron2 DC5"]
    other = dataclasses.replace(mm.conventions.DETECTRON2, dilate_first_block=False)
    recording = Recording(goldens, system, name, convention=other)
    with no_grad():
        ours = recording.model.backbone.body(Tensor(recording.forward["transform/image"]))[3]
    with pytest.raises(AssertionError):
        assert_stage("body/3", ours, recording.level("body", 3), 0.1)


def test_pyramid(recording):
    if recording.level("fpn", 0) is None:
        assert recording.model.backbone.channels == recording.level("body", 3).shape[1]
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
    count = len(recorded["box/pooled"])
    rois = as_rois([recorded["rpn/proposals"][:count]])
    with no_grad():
        pooled = heads.pool_boxes(pyramid, rois, recorded["transform/image"].shape[2])
        features = heads.box_head(Tensor(recorded["box/pooled"]))
        if "box/features" in recorded:
            assert_stage("box/features", features, recorded["box/features"][:count])
            features = Tensor(recorded["box/features"])
        logits, deltas = heads.box_predictor(features)
    assert_stage("box/pooled", pooled, recorded["box/pooled"])
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
    count = len(recorded["mask/pooled"])
    rois = as_rois([recorded["det/boxes"][:count]])
    with no_grad():
        pooled = heads.pool_masks(pyramid, rois, recorded["transform/image"].shape[2])
        features = heads.mask_head(Tensor(recorded["mask/pooled"]))
        logits = heads.mask_predictor(features)
    assert_stage("mask/pooled", pooled, recorded["mask/pooled"])
    if "mask/features" in recorded:
        assert_stage("mask/features", features, recorded["mask/features"])
    assert_stage("mask/logits", logits, recorded["mask/logits"][:count])


def test_pasted_masks(recording):
    recorded, logits = recording.forward, recording.forward["mask/logits"]
    labels = recorded["det/labels"][: len(logits)]
    probs = mask_head.mask_probabilities(logits, labels)
    height, width = recorded["image_u8"].shape[:2]
    how = {"way": recording.model.convention.paste}
    for i, prob in enumerate(probs[: len(recorded.get("out/masks", probs))]):
        pasted = paste_mask(prob, recorded["out/boxes"][i], height, width, **how)
        if "out/masks" in recorded:
            assert_stage(f"out/masks[{i}]", pasted, recorded["out/masks"][i, 0])
        else:
            theirs = np.unpackbits(recorded["out/masks_packed"][i], axis=-1)[:, :width]
            assert theirs.any() and ((pasted >= 0.5) == theirs).all()


def test_prediction(recording):
    """From the photo to the end: the same objects but for near-ties, which may fall either way."""
    recorded = recording.forward
    (ours,) = recording.model.predict([recorded["image_u8"]])
    distance = np.abs(ours.boxes[:, None] - recorded["out/boxes"]).max(axis=2)
    labels = recorded["out/labels"] - recording.first_label()
    distance[ours.labels[:, None] != labels] = np.inf
    assert len(ours) == len(labels)
    assert (distance.min(axis=0) < 0.02).mean() >= 0.9  # pixels


# --- a training step ---------------------------------------------------------------------------


def regions_of(recording):
    """The recorded regions as indices into the proposals with the objects behind them."""
    step = recording.step
    candidates = np.concatenate([step["fwd/rpn/proposals"], step["target/boxes"]])

    def find(boxes):
        distance = np.abs(boxes[:, None] - candidates).max(axis=2)
        assert distance.min(axis=1).max() < 1e-3
        return distance.argmin(axis=1)

    if "roi/positive" in step:
        return find(step["roi/positive"]), find(step["roi/negative"])
    index, background = find(step["roi/proposals"]), len(recording.model.classes)
    is_object = step["roi/labels"] != background
    return index[is_object], index[~is_object]


def with_recorded_maps(patch, recording, backbone):
    """Let every stage of body and pyramid give the recorded map; gradients pass through it.

    In networks this deep the systems' own float32 and float64 gradients are a hundredth apart, as
    ReLUs near 0 fall either way.
    """
    body = backbone.body
    for i, stage in enumerate([body.layer1, body.layer2, body.layer3, body.layer4]):
        if recording.level("body", i) is not None:
            patch.setattr(stage, "forward", replaced(stage.forward, [recording.level("body", i)]))
    if recording.level("fpn", 0) is not None:
        levels = [recording.level("fpn", i) for i in range(5)]
        patch.setattr(backbone.fpn, "forward", replaced(backbone.fpn.forward, levels))


def replaced(forward, values):
    def forward_and_replace(x):
        computed = forward(x)
        for tensor, value in zip(
            computed if isinstance(computed, list) else [computed], values, strict=True
        ):
            tensor.data[...] = value
        return computed

    return forward_and_replace


@pytest.fixture(scope="module")
def training(recording):
    """Losses and gradients with the recorded random choices, maps and mask targets."""
    if recording.step is None:
        pytest.skip("no training step was recorded of this network")
    return run_step(recording, recording.model)


def run_step(recording, model):
    """The recorded step with this model, in the precision of its weights."""
    step, precision = recording.step, next(model.parameters()).dtype
    positive, negative = regions_of(recording)
    samples = RecordedSampling(
        anchors_positive=[step["rpn_sample/positive"]],
        anchors_negative=[step["rpn_sample/negative"]],
        proposals=[step["fwd/rpn/proposals"]],
        regions_positive=[positive],
        regions_negative=[negative],
    )
    image = recording.forward["image_u8"]
    batch = model.prepare([image])
    batch = dataclasses.replace(
        batch, images=recording.forward["transform/image"].astype(precision)
    )
    masks = np.unpackbits(step["roi/mask_targets_packed"], axis=-1)[..., :28].astype(precision)
    masks = masks[np.argsort(positive, kind="stable")]  # regions are put in order here
    model.zero_grad()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "prepare", lambda images, rng=None: batch)
        patch.setattr(mask_head, "mask_targets", lambda *_, **__: masks)
        with_recorded_maps(patch, recording, model.backbone)
        losses = model.losses(
            [image], [recording.target()], rng=np.random.default_rng(0), samples=samples
        )
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return {name: loss.item() for name, loss in losses.items()}, gradients


def test_losses(recording, training):
    losses, _ = training
    theirs = {
        LOSSES.get(k.removeprefix("loss/"), k.removeprefix("loss/")): float(v)
        for k, v in recording.step.items()
        if k.startswith("loss/")
    }
    assert losses.keys() == theirs.keys() and len(losses) == 5
    for name, value in losses.items():
        print(f"{name}: {value / theirs[name] - 1:.1e}")
        assert value == pytest.approx(theirs[name], rel=1e-4), name


def test_gradients(recording, training):
    _, gradients = training
    prefix = "grad_norm/"
    named = {recording.here(k.removeprefix(prefix)): k for k in recording.step if prefix in k}
    assert named.keys() == gradients.keys()
    bounds = dict.fromkeys(gradients, 1e-3)
    if recording.level("body", 0) is None:
        bounds |= noise_of_body(recording, named)
    for name, key in named.items():
        exact = gradients[name].astype(np.float64)
        norm, bound = float(recording.step[key]), bounds[name]
        assert np.sqrt((exact**2).sum()) == pytest.approx(norm, rel=bound), name
        whole = recording.step.get(key.replace(prefix, "grad/"))
        if whole is not None:
            assert np.sqrt(((exact - whole) ** 2).sum()) < bound * norm, name


def noise_of_body(recording, named):
    """How far the recorded gradients of the body are from those in float64: the bound for ours.

    Where only the last map is known ReLUs below it fall either way; of gradients of which only the
    norm was recorded, the middle one of the others' distances.
    """
    _, exact = run_step(recording, in_double(recording))
    found = {}
    for name, key in named.items():
        whole = recording.step.get(key.replace("grad_norm/", "grad/"))
        if name.startswith("backbone.body.") and whole is not None:
            distance = np.sqrt(((exact[name] - whole) ** 2).sum()) / float(recording.step[key])
            found[name] = max(1e-3, distance)
    middle = float(np.median(list(found.values())))
    assert middle < 0.02
    return {name: found.get(name, middle) for name in exact if name.startswith("backbone.body.")}


def test_mask_targets_are_those_of_bitmaps(recording):
    """Where the recording has bitmaps, targets are equal; polygons are another rule."""
    step = recording.step
    if step is None or "target/masks_packed" not in step:
        pytest.skip("no bitmaps of the objects were recorded of this network")
    width = recording.forward["transform/sizes"][0][1]
    masks = np.unpackbits(step["target/masks_packed"], axis=-1)[..., :width]
    convention = recording.model.convention
    how = {"target": convention.mask_target, "aligned": convention.mask_target_aligned}
    ours = mask_head.mask_targets(masks, step["roi/positive"], step["roi/matched"], 28, **how)
    theirs = np.unpackbits(step["roi/mask_targets_packed"], axis=-1)[..., :28]
    np.testing.assert_array_equal(ours, theirs)
