"""Staged fine-tuning and recomputed stages: what learns when, and that resuming changes nothing."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from minimask import models
from minimask.autograd import Tensor
from minimask.data.shapes import Shapes
from minimask.models.bodies import Body
from minimask.nn import BatchNorm2d, Conv2d, Module, Sequential, conv_norm
from minimask.train import checkpoint, stage_plan, stages
from minimask.train.folder import FolderInUse
from minimask.train.four_step import four_step
from minimask.train.loop import train
from minimask.train.settings import RunSettings, TrainSettings
from minimask.train.step import Trainer, learning_rate

PLAN = ("heads:3", "3+:4:0.5", "all:3:0.1")


class Block(Module):
    def __init__(self, rng):
        self.conv = Conv2d(4, 4, 3, padding=1, bias=False, rng=rng)
        self.norm = BatchNorm2d(4)

    def forward(self, x):
        return conv_norm(self.conv, self.norm, x, residual=x, relu=True)


class ThreeSections(Body):
    """A stem and two stages."""

    def __init__(self, rng):
        self.stem, self.norm = Conv2d(3, 4, 3, padding=1, bias=False, rng=rng), BatchNorm2d(4)
        self.two, self.three = Sequential(Block(rng), Block(rng)), Sequential(Block(rng))

    def forward(self, images):
        second = self.two(conv_norm(self.stem, self.norm, images, relu=True))
        return [second, self.three(second)]

    def sections(self):
        return [[self.stem, self.norm], [self.two], [self.three]]


class Small(Module):
    """A body, a head that says the mean color, and the interface of a detector."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.body, self.head = ThreeSections(rng), Conv2d(4, 3, 1, rng=rng)
        self.classes, self.config = ("thing",), {"model": "small", "seed": seed}

    def losses(self, images, targets, *, rng):
        pixels = np.stack([i.transpose(2, 0, 1) for i in images]).astype("f4") / 255
        second, third = self.body(Tensor(pixels))
        error = self.head(third + second) - pixels.mean((2, 3), keepdims=True)
        noise = np.float32(rng.normal(scale=0.1))
        return {"loss_objectness": (error * error).mean() + (error * noise).mean()}


def settings(**changes):
    return TrainSettings(
        **{"steps": 10, "batch": 2, "warmup": 0, "checkpoint_every": 1, "keep": 20, "lr": 0.01}
        | {"stages": PLAN, "threads": 1}
        | changes
    )


@pytest.fixture
def run(noise, tmp_path):
    def go(name, model=None, resume=False, **changes):
        model, how = model or Small(), settings(**changes)
        train(model, noise(), how, tmp_path / name, resume=resume, progress=False)
        return tmp_path / name

    return go


def arrays(out, step):
    return checkpoint.load(checkpoint.find(out, step)).arrays["model"]


def changed(out, first, last):
    """Which sections' arrays, statistics included, differ between two steps."""
    a, b = arrays(out, first), arrays(out, last)
    parts = {"stem": ("body.stem", "body.norm"), "two": ("body.two",), "three": ("body.three",)}
    parts["heads"] = ("head",)
    return {
        part
        for part, prefixes in parts.items()
        if any(a[n].tobytes() != b[n].tobytes() for n in a if n.startswith(prefixes))
    }


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_each_stage_changes_its_parts_and_no_others(run, optimizer):
    out = run("a", optimizer=optimizer)
    assert changed(out, 0, 3) == {"heads"}
    assert changed(out, 3, 7) == {"heads", "three"}
    assert changed(out, 7, 10) == {"heads", "three", "two", "stem"}


def test_frozen_norms_use_the_statistics_they_have(run):
    model = Small()
    run("a", model, steps=3, stages=("heads:3",))
    assert model.body.two[0].norm.fixed and not model.body.two[0].norm.measures
    assert int(model.body.two[0].norm.num_batches_tracked) == 0


def test_the_last_stage_leaves_everything_learning(run):
    model = Small()
    run("a", model)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m.fixed for m in model.modules() if isinstance(m, BatchNorm2d))


@pytest.mark.parametrize(
    ("stop", "changes"),
    [(2, {"optimizer": "sgd"}), (3, {}), (5, {"ema": 0.9, "accumulate": 2}), (6, {}), (9, {})],
)
def test_resuming_inside_or_between_stages_changes_nothing(run, monkeypatch, changes, stop):
    whole = run("whole", **changes)
    advance = Trainer.advance

    def stopping(self, batches):
        if self.step == stop:
            raise RuntimeError("power cut")
        return advance(self, batches)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Trainer, "advance", stopping)
        run("parts", **changes)
    fresh = Small()
    for parameter in fresh.parameters():  # nothing but the checkpoint may matter
        parameter.data[...] = np.nan
    parts = run("parts", fresh, resume=True, **changes)
    for name in ("model.safetensors", "checkpoints/step-000010/optimizer.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_the_log_and_the_screen_say_which_stage(run, noise, tmp_path, capsys):
    train(Small(), noise(), settings(), tmp_path / "a", progress=True)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage")]
    assert said == [
        "stage 1 of 3 (heads), steps 1 to 3: the heads alone learn (0.00 million weights)",
        "stage 2 of 3 (3+), steps 4 to 7: the heads and the body's stages 3 to 3 learn "
        "(0.00 million weights), learning rate x 0.5",
        "stage 3 of 3 (all), steps 8 to 10: everything learns (0.00 million weights), "
        "learning rate x 0.1",
    ]
    with open(tmp_path / "a" / "log.csv", newline="") as file:
        names = [row["stage"] for row in csv.DictReader(file)]
    assert names == ["heads"] * 3 + ["3+"] * 4 + ["all"] * 3
    with open(run("b", stages=()) / "log.csv", newline="") as file:
        assert "stage" not in next(csv.DictReader(file))


def test_factors_multiply_the_schedule():
    plain = settings(stages=(), schedule="constant")
    rates = [
        learning_rate(settings(schedule="constant"), i) / learning_rate(plain, i) for i in range(10)
    ]
    np.testing.assert_allclose(rates, [1] * 3 + [0.5] * 4 + [0.1] * 3)


def test_adams_averages_of_what_begins_late_are_corrected_as_at_the_start(noise):
    """The first step of a weight under AdamW is as long as the rate, whenever it comes."""
    model = Small()
    trainer = Trainer(model, settings(schedule="constant", weight_decay=0.0, clip=0.0))
    samples = [noise()[0], noise()[1]]
    weight = model.body.two[0].conv.weight
    for step in range(8):
        before = weight.data.copy()
        trainer.advance([samples])
        moved = np.abs(weight.data - before)
        assert (moved.max() == 0) == (step < 7)
    np.testing.assert_allclose(np.median(moved), 0.01 * 0.1, rtol=0.01)


def test_a_section_that_is_frozen_again_has_missed_those_steps(noise):
    model = Small()
    plan = ("all:2", "heads:3", "3+:1", "all:4")
    trainer = Trainer(model, settings(stages=plan))
    for _ in range(7):
        trainer.advance([[noise()[0], noise()[1]]])
    missed = trainer.optimizer.missed
    assert missed["body.stem.weight"] == 4 and missed["body.three.0.conv.weight"] == 3
    assert "head.weight" not in missed


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("heads:3", "all:3"), r"--stages has 3 \+ 3 = 6 steps, but --steps is 10"),
        (("heads:3",), r"--stages has 3 steps, but --steps is 10"),
        (("head:10",), r"expected WHAT:STEPS .* got 'head:10'"),
        (("heads:0", "all:10"), r"got 'heads:0'"),
        (("heads:5", "all:5:x"), r"got 'all:5:x'"),
        (("heads",), r"got 'heads'"),
        (("0+:10",), r"got '0\+:10'"),
    ],
)
def test_stages_that_make_no_sense(texts, said):
    with pytest.raises(ValueError, match=said):
        settings(stages=texts)


def test_stages_that_the_model_does_not_have_leave_no_folder(run, tmp_path, tiny, noise):
    said = r"--stages: 4\+ begins with stage 4, but this network's body has 3"
    with pytest.raises(ValueError, match=said):
        run("a", stages=("4+:10",))
    with pytest.raises(ValueError, match="--stages: is about the stages of a network's body"):
        train(tiny(), noise(), settings(), tmp_path / "b", progress=False)
    with pytest.raises(
        ValueError, match=r"--checkpoint-stages: this network has 2 stages .* not 3"
    ):
        run("c", stages=(), checkpoint_stages=3)
    with pytest.raises(ValueError, match="--checkpoint-stages: is about the stages of a network's"):
        how = settings(stages=(), checkpoint_stages="all")
        train(tiny(), noise(), how, tmp_path / "d", progress=False)
    assert not list(tmp_path.iterdir())


def test_stages_exclude_other_ways_to_freeze(noise, tmp_path):
    with pytest.raises(ValueError, match=r"--stages .* excludes --trainable-layers"):
        RunSettings.of({"data": "shapes", "steps": 5, "stages": ["all:5"], "trainable_layers": 2})
    with pytest.raises(ValueError, match="stages: each of the four steps freezes"):
        four_step(Small(), noise(), settings(), tmp_path / "a")


def test_a_staged_run_is_trained_on_with_a_longer_plan(run):
    out = run("a")
    with pytest.raises(FolderInUse, match=r"--stages: heads:3,3\+:4:0\.5,all:3:0\.1 there"):
        run("a", resume=True, steps=12, stages=("heads:4", "3+:3:0.5", "all:5:0.1"))
    run("a", resume=True, steps=12, stages=("heads:3", "3+:4:0.5", "all:3:0.1", "heads:2"))
    assert changed(out, 10, 12) == {"heads"}


def test_plans_agree_until_they_part():
    a, b = ("heads:3", "all:3"), ("heads:3", "all:2", "4+:9")
    assert stage_plan.agree_until(a, b, 5) and not stage_plan.agree_until(a, b, 6)
    assert stage_plan.agree_until(a, ("heads:5",), 3)
    assert not stage_plan.agree_until(a, ("heads:5",), 4)
    assert not stage_plan.agree_until(a, ("heads:3:0.5", "all:3"), 1)
    assert stage_plan.agree_until((), ("heads:3",), 0)
    assert not stage_plan.agree_until((), ("heads:3",), 1)


# Stages that the backward pass computes again


def laptop():
    return models.maskrcnn_laptop(["circle", "star"], stem_channels=8, fpn_channels=16, seed=1)


def test_a_run_with_recomputed_stages_gives_the_same_weights(tmp_path):
    data = Shapes(4, 64, seed=0, classes=("circle", "star"))
    for name, stages_again in (("plain", 0), ("again", "all")):
        how = TrainSettings(steps=2, batch=1, warmup=0, checkpoint_stages=stages_again)
        train(laptop(), data, how, tmp_path / name, progress=False)
    plain, again = (tmp_path / n / "model.safetensors" for n in ("plain", "again"))
    assert plain.read_bytes() == again.read_bytes()


def test_which_parts_are_recomputed():
    model = models.mask_rcnn(classes=["a"], layers=(1, 2, 1, 1), stem_channels=8, fpn_channels=16)
    body = model.backbone.body
    blocks = {"layer1.0": 1, "layer2.0": 2, "layer2.1": 2, "layer3.0": 3, "layer4.0": 4}
    for count in (0, 2, "all", 1):
        stages.recompute(model, count)
        wanted = {name for name, stage in blocks.items() if count == "all" or stage <= count}
        assert {name for name, m in body.named_modules() if m.recomputed} == wanted
    stages.check(model, (), "all")
    assert {name for name, m in body.named_modules() if m.recomputed} == {"layer1.0"}
    c4 = models.faster_rcnn(classes=["a"], features="c4", layers=(1, 1, 1, 1), stem_channels=8)
    with pytest.raises(ValueError, match="this network has 3 stages after its stem, not 4"):
        stages.recompute(c4, 4)
    stages.recompute(c4, "all")


def test_a_stage_without_blocks_is_refused():
    class Flat(ThreeSections):
        def sections(self):
            return [[self.stem], [self.norm], [self.three]]

    with pytest.raises(ValueError, match="stage 1 of this network has no blocks"):
        Flat(np.random.default_rng(0)).recompute(1)
