"""A recorded training step, repeated: its random choices, its maps."""

import dataclasses

import numpy as np
import pytest

from minimask.autograd.hooks import Recorder, hooked
from minimask.models import RecordedSampling
from minimask.models.anchor_matching import anchors_inside


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


def sampled_anchors(recording):
    """Indices of the recorded positive and negative anchors among all."""
    drawn = [recording.step[f"rpn_sample/{kind}"] for kind in ("positive", "negative")]
    border = recording.model.convention.rpn_border
    if border is None:
        return drawn
    anchors = recording.forward["rpn/anchors"]  # the system counts those inside alone
    inside = anchors_inside(anchors, recording.transform(), border)
    return [inside[index] for index in drawn]


def recorded_samples(recording):
    """All random choices of the step."""
    anchors, regions = sampled_anchors(recording), regions_of(recording)
    return RecordedSampling(
        anchors_positive=[anchors[0]],
        anchors_negative=[anchors[1]],
        proposals=[recording.step["fwd/rpn/proposals"]],
        regions_positive=[regions[0]],
        regions_negative=[regions[1]],
    )


def recorded_mask_targets(recording):
    """(positives, M, M): what the system asked of its masks, in the order of `regions_of`."""
    packed = recording.step["roi/mask_targets_packed"]
    return np.unpackbits(packed, axis=-1)[..., : packed.shape[1]]


def with_recorded_maps(patch, recording, backbone):
    """Let every stage of body and pyramid give the recorded map; gradients pass through it.

    In networks this deep the systems' own float32 and float64 gradients are a hundredth apart, as
    ReLUs near 0 fall either way.
    """
    body = backbone.body
    for i in range(len(body.strides)):
        stage = getattr(body, f"layer{i + 1}")
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


def run_step(recording, model):
    """Losses, gradients and stages of the step with this model, in the precision of its weights."""
    precision = next(model.parameters()).dtype
    image = recording.forward["image_u8"]
    batch = model.prepare([image])
    batch = dataclasses.replace(
        batch, images=recording.forward["transform/image"].astype(precision)
    )
    model.zero_grad()
    with pytest.MonkeyPatch.context() as patch, hooked(Recorder()) as recorder:
        patch.setattr(model, "prepare", lambda images, rng=None: batch)
        with_recorded_maps(patch, recording, model.backbone)
        losses = model.losses(
            [image],
            [recording.target()],
            rng=np.random.default_rng(0),
            samples=recorded_samples(recording),
        )
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return {name: loss.item() for name, loss in losses.items()}, gradients, recorder
