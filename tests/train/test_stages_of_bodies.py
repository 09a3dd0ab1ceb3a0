"""Staged fine-tuning and recomputed stages on the bodies that are no ResNet."""

import numpy as np
import pytest

from minimask import models
from minimask.autograd import Tensor
from minimask.data.shapes import Shapes
from minimask.models.bodies import BODIES
from minimask.train import TrainSettings, checkpoint, stages, train
from minimask.train.step import Trainer

SMALL = {"fpn_channels": 16, "box_head_width": 16, "mask_head_channels": (8,), "seed": 1}
SMALL |= {"min_size": 64, "max_size": 64}
NAMES = ("vgg11_bn", "efficientnet_b0", "mobilenet_v3_large", "mobilenet_v3_small")
BLOCKS = ("efficientnet_b0", "mobilenet_v3_small")


def detector(name, **options):
    options = {"width_multiplier": 0.125, "norm": "batch"} | options
    return models.maskrcnn_laptop(["circle", "star"], backbone=name, **SMALL, **options)


@pytest.mark.parametrize("name", NAMES)
def test_each_stage_lets_its_sections_learn(name, tmp_path):
    model = detector(name)
    count = len(model.backbone.body.sections())
    plan = ("heads:1", f"{count}+:1", "all:1")
    how = TrainSettings(steps=3, batch=2, warmup=0, stages=plan, checkpoint_every=1, keep=9)
    data = Shapes(4, 64, seed=0, classes=("circle", "star"))
    train(model, data, how, tmp_path / "run", progress=False)
    step = [checkpoint.load(checkpoint.find(tmp_path / "run", i)).arrays["model"] for i in range(4)]
    ids = {id(p): n for n, p in model.named_parameters()}
    sections = [
        {ids[id(p)] for m in modules for p in m.parameters()}
        for modules in model.backbone.body.sections()
    ]
    assert all(sections)
    for before, learning in enumerate((0, 1, count)):
        changed = {n for n in step[0] if step[before][n].tobytes() != step[before + 1][n].tobytes()}
        assert [bool(names & changed) for names in sections] == [
            i >= count - learning for i in range(count)
        ]


def gradients(name, again):
    """Of all weights, and the statistics that the norms have collected, after a pass forward."""
    body = BODIES[name](np.random.default_rng(0), norm="batch", norm_eps=1e-3, width=0.125)
    body.recompute(again)
    images = np.random.default_rng(1).standard_normal((2, 3, 64, 64), np.float32)
    sum((m * m).sum() for m in body(Tensor(images))).backward()
    given = {n: p.grad for n, p in body.named_parameters() if p.grad is not None}
    return body, given | dict(body.named_buffers())


@pytest.mark.parametrize("name", BLOCKS)
def test_recomputed_stages_change_nothing(name):
    _, plain = gradients(name, 0)
    for count in (2, None):
        body, again = gradients(name, count)
        assert any(m.recomputed for m in body.modules())
        assert plain.keys() == again.keys()
        for key, array in plain.items():
            np.testing.assert_array_equal(array, again[key], err_msg=key)


def test_which_blocks_are_recomputed():
    body = detector("efficientnet_b0").backbone.body
    for count, layers in ((0, ()), (1, "2"), (3, "2345"), (None, "234567")):
        body.recompute(count)
        marked = {n for n, m in body.named_modules() if m.recomputed}
        assert {n.split(".")[0] for n in marked} == set(layers)
        assert all(n.count(".") == 1 for n in marked)  # blocks, no larger and no smaller parts
    large = detector("mobilenet_v3_large").backbone.body
    large.recompute(None)
    marked = {n for n, m in large.named_modules() if m.recomputed}
    assert marked == {str(i) for i in range(2, 17)}


@pytest.mark.parametrize("name", BLOCKS)
def test_c4_has_the_stages_that_are_left(name):
    model = detector(name, features="c4")
    count = len([s for s in model.backbone.body.sections()[1:] if s])
    stages.recompute(model, count)
    stages.recompute(model, "all")
    with pytest.raises(ValueError, match=f"this network has {count} stages after its stem"):
        stages.recompute(model, count + 1)


@pytest.mark.parametrize("again", [1, "all"])
def test_vgg_has_no_blocks(again):
    with pytest.raises(ValueError, match=r"^--checkpoint-stages: stage 1 .* no blocks") as error:
        Trainer(detector("vgg11_bn"), TrainSettings(steps=1, checkpoint_stages=again))
    assert "\n" not in str(error.value)
