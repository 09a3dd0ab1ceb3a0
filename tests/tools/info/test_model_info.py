"""What `minimask info` counts: published numbers exactly, and the same as a real run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from typer.testing import CliRunner

from minimask import functional as F
from minimask import models
from minimask.autograd import Tensor, ops
from minimask.autograd.hooks import hooked
from minimask.models.bodies import BODIES, Body
from minimask.models.bodies.resnet import ResNet
from minimask.nn import BatchNorm2d, Conv2d, Linear, Module, Sequential
from minimask.tools.cli import make_app
from minimask.tools.info import DryRun, Field, as_json, receptive_field, summarize, table, work
from minimask.tools.info.fields import FieldHook
from minimask.tools.profile.observer import Observer
from minimask.tools.textbook.claims.receptive_field import VGG16, ZF

TINY = {"stem_channels": 8, "fpn_channels": 16, "box_head_width": 32, "layers": (1, 1, 1, 1)}
TINY |= {"mask_head_channels": (16, 16), "mask_predictor_channels": 16}


def tiny(**options):
    return models.mask_rcnn(classes=["a", "b"], **(TINY | options))


# torchvision's documentation: parameters, and `GFLOPS` (multiply-adds) of 800 x 800 pixels, the
# first and third of images in which 0 and 1 objects were found.
PUBLISHED = {
    "maskrcnn_resnet50_fpn": (44_401_393, 134.38, 0),
    "maskrcnn_resnet50_fpn_v2": (46_359_409, 333.577, 100),
    "keypointrcnn_resnet50_fpn": (59_137_258, 137.42, 1),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_and_multiply_adds(name):
    parameters, giga, objects = PUBLISHED[name]
    summary = summarize(models.MODELS[name](), (800, 800), objects=objects)
    assert summary.parameters == parameters
    assert summary.multiply_adds / 1e9 == pytest.approx(giga, abs=0.006)
    assert [m.field.size[0] for m in summary.maps] == [35, 91, 267, 427]
    assert [m.field.stride for m in summary.maps] == [(4, 4), (8, 8), (16, 16), (32, 32)]


def test_published_receptive_fields():
    window = (3, 1, 1)
    assert receptive_field(VGG16) == 196 and receptive_field([*VGG16, window]) == 228
    assert receptive_field(ZF) == 139 and receptive_field([*ZF, window]) == 171


@pytest.mark.parametrize(
    ("layers", "features", "fields"),
    [((3, 4, 6, 3), "c4", [35, 91, 267]), ((3, 4, 23, 3), "c5", [35, 91, 811, 971])],
)
def test_fields_of_residual_networks(layers, features, fields):
    small = TINY | {"layers": layers, "stem_channels": 8, "features": features}
    model = models.mask_rcnn(classes=["a"], **small)
    summary = summarize(model, (128, 128), objects=1, proposals=2)
    assert [m.field.size for m in summary.maps] == [(f, f) for f in fields]
    assert summary.maps[2].rpn_field.size[0] == fields[2] + 2 * 16


def test_fields_are_the_pixels_that_a_gradient_reaches():
    """Windows, strides, dilation and sums of paths, unequal in the two directions."""
    rng = np.random.default_rng(0)
    image = Tensor(np.zeros((1, 2, 61, 61)), requires_grad=True)

    def conv(x, kernel, **options):
        weight = np.abs(rng.normal(size=(2, 2 // options.get("groups", 1), *kernel)))
        return F.conv2d(x, weight, **options)

    with hooked(FieldHook(image.data)) as hook:
        x = conv(image, (3, 5), stride=(2, 1), padding=(1, 2))
        x = x + conv(x, (3, 3), padding=2, dilation=2, groups=2)
        x = conv(x, (1, 3), padding=(0, 1)) * 0.5
    field = hook.of(x.data)
    x[0, 0, x.shape[2] // 2, x.shape[3] // 2].backward()
    reached = np.argwhere((image.grad[0] != 0).any(axis=0))  # with gaps, because of the dilation
    assert field.size == tuple(np.ptp(reached, axis=0) + 1) == (11, 11)
    assert field.stride == (2, 1)
    mean = hook.of(ops.mean(x, axis=(2, 3), keepdims=True).data)
    assert mean is None


def test_maps_of_unknown_field_have_none():
    image = Tensor(np.zeros((1, 2, 8, 8)))
    with hooked(FieldHook(image.data)) as hook:
        doubled = F.resize(image, (16, 16))
        sums = ops.mean(image, axis=(2, 3), keepdims=True)
    assert hook.of(doubled.data) is None and hook.of(sums.data) is None


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_multiply_adds_follow_from_shapes(groups):
    """Grouped, depthwise, dilated, transposed convolutions and linear layers, counted by hand."""
    x, dry, observer = np.zeros((3, 8, 10, 12), np.float32), DryRun(), Observer()
    weight = np.zeros((16, 8 // groups, 3, 3), np.float32)
    with hooked(dry), observer.watch():
        y = F.conv2d(x, weight, stride=2, padding=2, dilation=2, groups=groups)
        up = F.conv_transpose2d(x, np.zeros((8, 4, 2, 2), np.float32), stride=2)
        rows = F.linear(np.zeros((7, 8), np.float32), np.zeros((5, 8), np.float32))
    from minimask.tools.info.summary import multiply_adds

    assert y.shape == (3, 16, 5, 6) and up.shape == (3, 4, 20, 24) and rows.shape == (7, 5)
    counted = [multiply_adds(record) for record in observer.records]
    assert counted == [3 * 16 * 5 * 6 * 8 // groups * 9, 3 * 8 * 10 * 12 * 4 * 4, 7 * 5 * 8]


VARIED = [
    {},
    {"norm": "batch"},
    {"norm": "group", "stem_channels": 32, "fpn_channels": 32},
    {"features": "c4", "mask_predictor_channels": 8},
    {"block": "basic", "mask_head": "mlp", "mask_mlp_widths": (16,)},
    {"trainable_layers": 2},
]


def operations(model, what, *hooks):
    """What ran: name, shapes, which inputs learn, forward or backward."""
    observer = Observer(model)
    with contextlib.ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hooked(hook))
        stack.enter_context(observer.watch())
        what()
    model.zero_grad()
    return [
        (r.call.name, r.call.inputs, r.call.output, r.call.needs, r.place.phase)
        for r in observer.records
        if not r.call.name.endswith("(kernel)")
    ]


@pytest.mark.parametrize("options", VARIED)
def test_a_dry_run_has_the_operations_of_a_real_one(options):
    model = tiny(**options)
    counts = work.Counts(6, 3, 8, 4)
    images = [np.zeros((64, 96, 3), np.uint8)] * 2
    with work.at_size(model, (64, 96)):
        for what in (
            lambda: work.predict(model, images, counts),
            lambda: work.losses(model, images, counts).backward(),
        ):
            real, dry = operations(model, what), operations(model, what, DryRun())
            assert real and real == dry


def test_a_summary_leaves_the_model_as_it_was():
    model = tiny(norm="batch", min_size=(64, 96), max_size=128)
    before, modes = model.state_dict(), [m.training for m in model.modules()]
    summarize(model, (64, 64), train=True)
    summarize(model, train=True)
    after = model.state_dict()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    assert [m.training for m in model.modules()] == modes
    assert (model.min_size, model.max_size) == ((64, 96), 128)
    assert all(p.grad is None for p in model.parameters())


def test_memory_of_what_is_kept_grows_with_images_and_shrinks_with_checkpoints():
    model = tiny(norm="batch")
    one, two = (summarize(model, (128, 128), n, train=True).training for n in (1, 2))
    assert 1.8 < two.kept / one.kept < 2.1
    adamw = summarize(model, (128, 128), train=True, optimizer="adamw").training
    sgd = summarize(model, (128, 128), train=True, optimizer="sgd").training
    assert adamw.states == 2 * sgd.states == 2 * 4 * model.count_parameters()
    model.backbone.body.recompute(None)
    again = summarize(model, (128, 128), train=True).training
    assert again.kept < 0.95 * one.kept and again.peak < one.peak  # most is the heads'
    frozen = tiny(norm="batch", trainable_layers=0)
    assert summarize(frozen, (128, 128), train=True).training.kept < again.kept


def test_memory_kept_is_what_a_real_forward_pass_keeps():
    """The arrays of a real graph, by hand: one convolution, one ReLU, one pooling."""
    x = Tensor(np.zeros((2, 8, 64, 64), np.float32), requires_grad=True)
    weight = Tensor(np.zeros((16, 8, 3, 3), np.float32), requires_grad=True)
    with hooked(DryRun()) as dry:
        y = F.max_pool2d(F.relu(F.conv2d(x, weight, padding=1)), 2)
    maps = 2 * 16 * 64 * 64 * 4
    # the convolution's result (the graph holds its tensor), ReLU's; pooled values and places
    assert dry.memory.live == 2 * maps + 2 * (maps // 4)
    assert y.shape == (2, 16, 32, 32)
    with hooked(dry):
        y.backward(np.ones(y.shape, np.float32))
    assert x.grad.shape == x.shape and weight.grad.shape == weight.shape
    del y
    assert dry.memory.live == 0


class Global(Body):
    """A body with a gate that sees everything, as in squeeze-and-excitation."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.conv = Conv2d(3, 4, 3, stride=2, padding=1, rng=rng)
        self.gate = Conv2d(4, 4, 1, rng=rng)
        self.channels = 4

    def forward(self, images):
        x = self.conv(images)
        return [x * ops.sigmoid(self.gate(ops.mean(x, axis=(2, 3), keepdims=True)))]

    def sections(self):
        return [[self.conv], [self.gate]]


def test_gates_are_not_part_of_a_field():
    body = Global()
    image = Tensor(np.zeros((1, 3, 16, 16), np.float32))
    with hooked(FieldHook(image.data)) as hook:
        (level,) = body(image)
    assert hook.of(level.data) == Field((3, 3), (2, 2))


@pytest.mark.parametrize("name", [n for n in models.MODELS if "laptop" in n or "18" in n])
def test_every_small_network_has_a_summary(name):
    classes = {"num_classes": 2 if "keypoint" in name else 3}
    summary = summarize(models.build({"model": name, **classes}), (64, 64), train=True)
    assert summary.multiply_adds > 0 and summary.training.total > summary.inference.weights
    assert sum(layer.parameters for layer in summary.layers) == summary.parameters
    counted = sum(layer.multiply_adds for layer in summary.layers)
    assert counted == summary.multiply_adds
    assert json.loads(json.dumps(as_json(summary)))["parameters"] == summary.parameters
    assert max(map(len, table(summary).splitlines())) <= 130


class Plain(Module):
    """A model without any part that this package knows."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.net = Sequential(Conv2d(3, 4, 3, rng=rng), Conv2d(4, 2, 1, rng=rng))
        self.config, self.classes = {"model": "plain"}, ("a",)
        self.min_size = self.max_size = None

    def prepare(self, images):
        from minimask.conventions import TORCHVISION
        from minimask.models.transform import make_batch

        return make_batch(images, None, None, TORCHVISION, like=next(iter(self.parameters())).data)

    def predict(self, images, batch_size):
        return self.net(Tensor(self.prepare(images).images))

    def losses(self, images, targets, *, rng):
        return {"loss": self.predict(images, 1).mean()}


def test_models_of_other_kinds_are_simply_run():
    summary = summarize(Plain(), (32, 64), train=True)
    assert summary.multiply_adds == 30 * 62 * (4 * 27 + 8)
    assert summary.maps == () and not summary.counts.proposals
    assert summary.training_multiply_adds == summary.multiply_adds * 2 + 30 * 62 * 8


# torchvision's documentation: parameters and `GFLOPS` of its classifiers, at the size they take
CLASSIFIERS = {
    "resnet50": (25_557_032, 4.089, 224),
    "vgg16": (138_357_544, 15.47, 224),
    "efficientnet_b0": (5_288_548, 0.386, 224),
    "mobilenet_v3_large": (5_483_032, 0.217, 224),
}


class Classifier(Plain):
    """A body and what its paper puts behind it, for the thousand classes of ImageNet."""

    def __init__(self, name, rng):
        self.name, self.config, self.classes = name, {"model": name}, ("a",)
        self.min_size = self.max_size = None
        if name == "resnet50":
            self.body = ResNet((3, 4, 6, 3), rng, norm="batch")
        else:
            norm = "frozen_batch" if name == "vgg16" else "batch"
            self.body = BODIES[name](rng, norm=norm, norm_eps=1e-5, width=1.0)
        self.last = self.norm = None
        if name == "efficientnet_b0":
            self.last, self.norm = Conv2d(320, 1280, 1, bias=False, rng=rng), BatchNorm2d(1280)
        widths = {
            "resnet50": (2048, 1000),
            "vgg16": (512 * 49, 4096, 4096, 1000),
            "efficientnet_b0": (1280, 1000),
            "mobilenet_v3_large": (960, 1280, 1000),
        }[name]
        self.classifier = Sequential(*(Linear(a, b, rng=rng) for a, b in pairwise(widths)))

    def predict(self, images, batch_size):
        last = self.body(Tensor(self.prepare(images).images))[-1]
        if self.last is not None:
            last = self.norm(self.last(last))
        means = last if self.name == "vgg16" else last.mean(axis=(2, 3))
        return self.classifier(means.reshape(len(images), -1))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_published_numbers_of_classifiers(name):
    parameters, giga, side = CLASSIFIERS[name]
    summary = summarize(Classifier(name, np.random.default_rng(0)), (side, side))
    assert summary.parameters == parameters
    assert summary.multiply_adds / 1e9 == pytest.approx(giga, abs=0.0006 if giga < 9 else 0.006)


# The command


def run(*words, code=0):
    result = CliRunner().invoke(make_app(), ["info", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_a_named_network_with_options():
    text = run("maskrcnn_laptop", "stem_channels=8", "num_classes=3", "--size", "64x96", "--train")
    assert "1 x 64 x 96 pixels, 200 proposals and 100 objects" in text
    assert "backbone.body.conv1" in text and "training step: " in text
    found = json.loads(run("fasterrcnn_laptop", "--size", 64, "--batch", 2, "--json"))
    assert found["images"] == 2 and found["size"] == [64, 64]
    assert found["memory_bytes"]["training"] is None
    assert "layer  " not in run("fasterrcnn_laptop", "--size", 64, "--no-layers")


def test_a_file_of_weights(tmp_path):
    from minimask import save_weights

    path = tmp_path / "weights.safetensors"
    save_weights(models.fasterrcnn_laptop(["a"], stem_channels=8), path)
    assert "fasterrcnn_laptop: " in run(path, "--size", 64, "--no-layers")
    assert "options are for a network that is named" in run(path, "norm=batch", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["maskrcnn_laptpo"], "did you mean maskrcnn_laptop?"),
        (["maskrcnn_laptop", "norm"], "expected NAME=VALUE after the network's name, got 'norm'"),
        (["maskrcnn_laptop", "nrom=batch"], "did you mean 'norm'?"),
        (["maskrcnn_laptop", "--size", "8"], "--size: expected at least 32 pixels"),
        (["maskrcnn_laptop", "--batch", "0"], "--batch: expected at least 1"),
        (["maskrcnn_laptop", "--objects", "-1"], "--objects: expected at least 0"),
        (["maskrcnn_laptop", "--proposals", "0"], "--proposals: expected at least 1"),
        (["maskrcnn_laptop", "--optimizer", "adam"], "--optimizer: expected one of adamw, sgd"),
    ],
)
def test_wrong_use(words, said):
    assert said in run(*words, code=2)


def test_help_loads_no_numpy():
    code = (
        "import sys\nfrom minimask.tools.cli import make_app\nmake_app()\n"
        "assert 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
