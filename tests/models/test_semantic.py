"""FCN and U-Net: shapes, skips, known answers, gradients, learning, saving."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask import functional as F
from minimask.autograd import Tensor, no_grad
from minimask.data.sample import Target
from minimask.data.shapes import DEFAULT_CLASSES, Shapes
from minimask.models import MODELS, SemanticSegmenter, build
from minimask.models.fcn import FCN, bilinear_filter, upscore
from minimask.models.label_map import IGNORED, paint_label_map
from minimask.models.semantic import drop, pixel_loss
from minimask.models.unet import UNet
from minimask.train.optim import AdamW

SMALL_FCN = {
    "backbone": "resnet",
    "block": "basic",
    "layers": (1, 1, 1, 1),
    "stem_channels": 8,
    "norm": "group",
}
SMALL_FCN |= {"head_channels": (16,), "head_kernel": 3}
CONFIGS = {
    "fcn32s": SMALL_FCN,
    "fcn16s": SMALL_FCN,
    "fcn8s": SMALL_FCN,
    "unet": {"widths": (4, 8, 16), "norm": "group"},
}


def make(name: str, **options) -> SemanticSegmenter:
    return build({"model": name, "classes": list(DEFAULT_CLASSES), **CONFIGS[name], **options})


def noise(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def with_random_scores(model: SemanticSegmenter, seed: int = 0) -> SemanticSegmenter:
    """The scores start at 0: give every parameter that is all 0 something to say."""
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        if not parameter.data.any():
            parameter.data[...] = rng.standard_normal(parameter.shape) * 0.1
    return model


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=4, deadline=None)
@given(height=st.integers(1, 75), width=st.integers(1, 75))
def test_every_size_comes_back(name, height, width):
    model = make(name)
    (found,) = model.predict([noise(height, width)])
    assert found.labels.shape == found.image_size == (height, width)
    assert found.labels.dtype == np.int64
    assert found.probabilities.shape == (5, height, width)
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.labels, found.probabilities.argmax(axis=0))


@pytest.mark.parametrize("name", CONFIGS)
def test_images_of_different_sizes_do_not_disturb_each_other(name):
    """Padding is all that they share: a norm per image, so a larger neighbour changes only it."""
    model = with_random_scores(make(name))
    image = noise(64, 64)
    (alone,) = model.predict([image])
    together = model.predict([image, noise(64, 64, seed=1)])[0]
    np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-5)


def test_what_was_resized_comes_back_at_the_image_size():
    model = make("unet", min_size=40, max_size=60)
    (found,) = model.predict([noise(31, 77)])
    assert found.labels.shape == (31, 77)


@pytest.mark.parametrize("factor", [2, 4, 8, 32])
def test_a_bilinear_transposed_convolution_is_bilinear_resizing_away_from_the_border(factor):
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 7)).astype(np.float32)
    size = (6 * factor, 7 * factor)
    found = upscore(3, factor, learned=False)(Tensor(x)).data
    wanted = F.resize(Tensor(x), size, mode="bilinear").data
    assert found.shape[2:] == size
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-5)


def test_the_bilinear_filter_of_factor_2_is_the_known_one():
    row = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(bilinear_filter(2), np.outer(row, row))


def test_without_its_skips_an_fcn8s_is_an_fcn32s_that_enlarges_in_steps():
    """Skips are 0 at first.  Both have the same weights from the same seed, so the same scores at
    1/32; and a map that is linear in x comes out of x2, x2, x8 as out of x32."""
    coarse, fine = make("fcn32s"), make("fcn8s")
    image = noise(160, 192)
    for model in (coarse, fine):
        weight = model.network.score_fr.weight.data
        weight[...] = np.random.default_rng(1).normal(size=weight.shape)
    stages = [dict(model.stages(image)) for model in (coarse, fine)]
    np.testing.assert_array_equal(stages[0]["score/32"], stages[1]["score/32"])
    assert not stages[1]["score/16"].any() and not stages[1]["score/8"].any()
    net = fine.network
    scores = Tensor(stages[0]["score/32"])
    with no_grad():
        steps = net.upscore(net.upscore_pool4(net.upscore2(scores))).data
        np.testing.assert_allclose(stages[1]["pixels/logits"], steps, atol=1e-5)
        one = coarse.network.upscore(scores).data
        np.testing.assert_allclose(stages[0]["pixels/logits"], one, atol=1e-5)
        ramp = Tensor(np.broadcast_to(np.arange(6, dtype=np.float32), scores.shape).copy())
        both = net.upscore(net.upscore_pool4(net.upscore2(ramp))), coarse.network.upscore(ramp)
    inside = (..., slice(48, -48), slice(48, -48))
    np.testing.assert_allclose(both[0].data[inside], both[1].data[inside], atol=1e-4)


@pytest.mark.parametrize(
    ("skip", "stride", "level"), [("score_pool3", 8, 1), ("score_pool4", 16, 2)]
)
def test_a_skip_is_scored_at_its_own_stride(skip, stride, level):
    """Its weights alone: what comes out is its scores, enlarged by its stride."""
    model = make("fcn8s")
    layer = getattr(model.network, skip)
    layer.weight.data[...] = np.random.default_rng(1).normal(size=layer.weight.shape)
    found = dict(model.stages(noise(160, 192)))
    scores = found[f"score/{stride}"]
    assert scores.shape == (1, 5, 160 // stride, 192 // stride)
    assert found[f"body/{level}"].shape[1:] == (layer.weight.shape[1], *scores.shape[2:])
    assert np.ptp(scores) > 0.1
    block = (
        found["pixels/logits"]
        .reshape(1, 5, scores.shape[2], stride, scores.shape[3], stride)
        .mean(axis=(3, 5))
    )
    inside = block[0, 0, 2:-2, 2:-2].ravel(), scores[0, 0, 2:-2, 2:-2].ravel()
    assert np.corrcoef(*inside)[0, 1] > 0.8


def test_of_vgg_the_pooled_maps_are_scored():
    """Its maps come before pooling: pool3 is the map of stride 4, pooled."""
    body = make("fcn8s").network.body
    net = FCN(body, 5, np.random.default_rng(0), head_channels=(), pooled=True)
    assert net.score_pool3.weight.shape[1] == body.out_channels[0]
    assert net.score_pool4.weight.shape[1] == body.out_channels[1]
    images = Tensor(np.random.default_rng(0).standard_normal((1, 3, 64, 96)).astype(np.float32))
    with no_grad():
        maps, given = net._maps(images), body(images)
        for stride, before in ((8, given[0]), (16, given[1])):
            wanted = before.data.reshape(*before.shape[:2], 64 // stride, 2, 96 // stride, 2)
            np.testing.assert_array_equal(maps[stride].data, wanted.max(axis=(3, 5)))
        assert net(images).shape == (1, 5, 64, 96)


def test_the_papers_fcn_stands_on_vgg():
    """VGG-16's convolutions, and fc6 and fc7 on its pool5."""
    net = build({"model": "fcn8s", "num_classes": 21, "head_channels": [4, 2]}).network
    assert sum(p.size for p in net.body.parameters()) == 14_714_688
    assert [layer.weight.shape for layer in net.head] == [(4, 512, 7, 7), (2, 4, 1, 1)]
    assert net.pooled and net.score_pool3.weight.shape == (21, 256, 1, 1)


def test_the_finest_map_decides_what_is_scored():
    names = {
        name: {n for n, _ in make(name).network.named_children()}
        for name in CONFIGS
        if "fcn" in name
    }
    assert "score_pool4" not in names["fcn32s"] and "score_pool3" not in names["fcn16s"]
    assert {"score_pool4", "score_pool3", "upscore2", "upscore_pool4"} <= names["fcn8s"]


def test_last_filters_stay_and_the_others_learn():
    net = make("fcn8s").network
    assert not net.upscore.weight.requires_grad
    assert net.upscore2.weight.requires_grad and net.upscore_pool4.weight.requires_grad


@pytest.mark.parametrize("name", CONFIGS)
def test_an_untrained_fcn_knows_nothing_and_its_loss_is_ln_of_the_outputs(name):
    sample = Shapes(1, 64)[0]
    losses = (
        make(name).train().losses([sample.image], [sample.target], rng=np.random.default_rng(0))
    )
    assert list(losses) == ["loss_pixels"]
    if name.startswith("fcn"):
        assert float(losses["loss_pixels"]) == pytest.approx(np.log(5), rel=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_those_of_differences(name):
    """The loss along a random direction of all parameters, in double precision."""
    model = with_random_scores(make(name, dropout=0.0)).astype(np.float64).train()
    sample = Shapes(1, 32, seed=4)[0]
    images = np.random.default_rng(0).standard_normal((1, 3, 32, 32))
    truth = paint_label_map(sample.masks, sample.labels, (32, 32))[None]

    def loss() -> Tensor:
        return pixel_loss(model.network(Tensor(images)), truth)

    loss().backward()
    rng = np.random.default_rng(1)
    learned = [p for p in model.parameters() if p.requires_grad]
    directions = [rng.standard_normal(p.shape) for p in learned]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(learned, directions, strict=True))
    step = 1e-6
    values = []
    for sign in (1, -1):
        for p, d in zip(learned, directions, strict=True):
            p.data += sign * step * d
        with no_grad():
            values.append(float(loss()))
        for p, d in zip(learned, directions, strict=True):
            p.data -= sign * step * d
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-3, abs=1e-6)
    assert all(p.grad is not None for p in learned)


@pytest.mark.parametrize("name", ["fcn8s_laptop", "unet_laptop"])
def test_one_image_is_learned_by_heart(name):
    sample = Shapes(1, 64, seed=1)[0]
    small = {"stem_channels": 16, "head_channels": (32,)}
    options = {"widths": (8, 16, 32)} if name.startswith("unet") else small
    model = build({"model": name, "classes": list(DEFAULT_CLASSES), **options})
    optimizer = AdamW(list(model.named_parameters()), 0.01)
    for step in range(60):
        model.train().zero_grad()
        losses = model.losses([sample.image], [sample.target], rng=np.random.default_rng(step))
        losses["loss_pixels"].backward()
        optimizer.step()
    truth = paint_label_map(sample.masks, sample.labels, (64, 64))
    found = model.predict([sample.image])[0].labels
    assert (found == truth).mean() > 0.97
    both = ((found > 0) & (truth > 0)).sum() / ((found > 0) | (truth > 0)).sum()
    assert both > 0.9


def test_padding_counts_for_nothing():
    """What lies beyond an image has no truth: another image's size does not change the loss."""
    model = with_random_scores(make("unet"))
    batch = model.prepare([noise(20, 30), noise(40, 24)])
    target = Target(np.zeros((0, 4), "f4"), np.zeros(0, "i8"), np.zeros((0, 20, 30), bool))
    other = Target(np.zeros((0, 4), "f4"), np.zeros(0, "i8"), np.zeros((0, 40, 24), bool))
    maps = model.label_maps([target, other], batch)
    assert maps.shape == (2, *batch.shape)
    assert (maps[0, :20, :30] == 0).all() and (maps[0, 20:] == IGNORED).all()
    assert (maps[1, :40, :24] == 0).all() and (maps[1, :, 24:] == IGNORED).all()
    logits = np.zeros((2, 5, *batch.shape), np.float32)
    logits[:, 1] = np.where(maps == IGNORED, 50, 0)
    assert float(pixel_loss(Tensor(logits), maps)) == pytest.approx(np.log(5), rel=1e-5)


def test_of_overlapping_objects_the_smaller_wins_then_the_later():
    masks = np.zeros((4, 6, 6), bool)
    masks[0, :2, :2] = True  # small, first
    masks[1] = True  # everything
    masks[2, 3:5, 3:5] = True
    masks[3, 4:6, 3:5] = True  # as large as the one before, and later
    painted = paint_label_map(masks, [0, 1, 2, 3], (6, 6))
    assert (painted[:2, :2] == 1).all()
    assert painted[3, 3] == 3 and painted[4, 3] == 4 and painted[5, 3] == 4
    assert painted[0, 5] == 2
    assert (painted > 0).all()


def test_no_objects_are_background():
    assert (paint_label_map(np.zeros((0, 3, 4), bool), [], (3, 4)) == 0).all()


def test_dropout_keeps_the_mean_and_draws_from_the_generator():
    x = Tensor(np.ones((100, 100), np.float32))
    dropped = drop(x, 0.3, np.random.default_rng(0)).data
    assert set(np.unique(dropped.round(4))) == {0.0, np.float32(1 / 0.7).round(4)}
    assert dropped.mean() == pytest.approx(1, abs=0.03)
    assert drop(x, 0.3, None) is x


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_in_json_makes_the_same_model(name):
    model = make(name, seed=3)
    again = build(json.loads(json.dumps(model.config)))
    for (n, a), (m, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert n == m
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": "unet", "anchor_sizes": [8]}, "unet: no option 'anchor_sizes'"),
        ({"model": "unet", "widths": [8]}, "widths: expected two numbers"),
        ({"model": "unet", "norm": "layer"}, "norm: expected one of"),
        ({"model": "fcn8s", "finest": 4}, "finest: expected 32, 16 or 8, got 4"),
        ({"model": "fcn8s", "dropout": 1.0}, "dropout: expected 0 to less than 1"),
        (
            {"model": "fcn8s", "backbone": "resnet", "layers": [1, 1]},
            "layers: expected four numbers",
        ),
        ({"model": "fcn8s", "fpn_channels": 8}, "fcn8s: no option 'fpn_channels'"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(config, message):
    with pytest.raises(ValueError, match=message):
        build({"classes": ["a"], **config})


def test_targets_without_masks_are_refused():
    target = Target(np.array([[0, 0, 4, 4]], "f4"), np.zeros(1, "i8"))
    with pytest.raises(ValueError, match=r"targets\[0\]: semantic segmentation learns from masks"):
        make("unet").losses([noise(8, 8)], [target], rng=np.random.default_rng(0))


def test_a_body_without_the_needed_stride_is_refused():
    class Short:
        strides, out_channels = (4, 8, 16), (1, 2, 3)

    with pytest.raises(ValueError, match=r"FCN-8s needs a map of stride 32"):
        FCN(Short(), 2, np.random.default_rng(0))


def test_the_papers_unet_has_31_million_weights():
    """Figure 1 with three channels in and two out, counted arrow by arrow."""
    widths = (64, 128, 256, 512, 1024)
    double = sum(9 * a * b + 9 * b * b + 2 * b for a, b in pairwise((3, *widths)))
    double += sum(9 * 2 * b * b + 9 * b * b + 2 * b for b in widths[:-1])
    up = sum(4 * a * b + b for b, a in pairwise(widths))
    net = UNet(2, np.random.default_rng(0))
    assert net.count_parameters() == double + up + 64 * 2 + 2 == 31_031_810
    assert net.stride == 16


def test_all_are_in_the_list():
    assert {"fcn32s", "fcn16s", "fcn8s", "fcn8s_laptop", "unet", "unet_laptop"} <= MODELS.keys()
