"""Bodies beside torchvision's, with the same random weights: features, gradients, statistics.

Whole networks in float64, where rounding hides nothing; layer by layer in float32.
"""

import numpy as np
import pytest

from minimask import functional as F
from minimask.autograd import Tensor, no_grad
from minimask.models.bodies import BODIES
from minimask.nn import Conv2d

torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")

torch.set_num_threads(1)  # small layers: several threads would mostly wait for one another
EPS = 1e-3
FEATURES, GRADIENTS = 1e-4, 1e-3  # relative to the spread, to the norm
EXACT = 1e-8  # of whole networks in float64


def theirs(name, width, dilated):
    """torchvision's `features` of this name, width and dilation, without stochastic depth."""
    models = torchvision.models
    norm = lambda channels: torch.nn.BatchNorm2d(channels, eps=EPS)  # noqa: E731
    if name.startswith("vgg"):
        network = getattr(models, name)().features
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = EPS
        return network
    if name.startswith("mobilenet"):
        table, last = models.mobilenetv3._mobilenet_v3_conf(name, width_mult=width, dilated=dilated)
        return models.MobileNetV3(table, last, norm_layer=norm).features
    scale = BODIES_SCALES[name]
    table, last = models.efficientnet._efficientnet_conf(
        name, width_mult=scale[0] * width, depth_mult=scale[1]
    )
    network = models.EfficientNet(
        table, dropout=0.0, stochastic_depth_prob=0.0, norm_layer=norm, last_channel=last
    )
    return network.features[:-1]  # the last one is of the classifier


BODIES_SCALES = {
    "efficientnet_b0": (1.0, 1.0),
    "efficientnet_b1": (1.0, 1.1),
    "efficientnet_b2": (1.1, 1.2),
    "efficientnet_b3": (1.2, 1.4),
}


class HardSigmoid(torch.nn.Module):
    """torch's own has a gradient of float32's 1/6 for float64 too: 3e-8 too large."""

    def forward(self, x):
        return torch.nn.functional.relu6(x + 3) / 6


def with_exact_gates(network):
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Hardsigmoid):
                setattr(module, name, HardSigmoid())
    return network


def test_the_gradient_of_hard_sigmoid_is_exact_in_float64():
    x = Tensor(np.array([-4.0, -1.0, 2.0, 5.0]), requires_grad=True)
    F.hard_sigmoid(x).sum().backward()
    np.testing.assert_allclose(x.grad, [0, 1 / 6, 1 / 6, 0], rtol=1e-15)


def randomize(network, seed):
    """Weights and statistics that differ in every channel, and keep the size of the signals."""
    generator = torch.Generator().manual_seed(seed)
    network.double().train()
    for module in network.modules():
        if hasattr(module, "inplace"):  # else a layer's input is gone, which is compared too
            module.inplace = False
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean of all batches, here of one
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
        network(torch.randn(2, 3, 64, 64, generator=generator, dtype=torch.float64))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.1
                module.running_var *= 1.1
    return network


def as_dtype(body, dtype):
    """The body with parameters and buffers of another float type."""
    for module in body.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                setattr(module, name, Tensor(value.data.astype(dtype), requires_grad=True))
        for name in vars(module).get("_buffers", ()):
            if getattr(module, name).dtype.kind == "f":
                setattr(module, name, getattr(module, name).astype(dtype))
    return body


def pair(name, width=1.0, dilated=False, dtype=np.float64):
    """torchvision's network, and ours with its weights."""
    network = with_exact_gates(theirs(name, width, dilated))
    randomize(network, seed=len(name))
    has_norms = name != "vgg16" or name.endswith("_bn")
    options = {"dilated": True} if dilated else {}
    norm = "batch" if has_norms else "frozen_batch"
    rng = np.random.default_rng(1)
    body = BODIES[name](rng, norm=norm, norm_eps=EPS, width=width, **options)
    state = {n: a.numpy() for n, a in network.state_dict().items()}
    as_dtype(body, dtype).load_state_dict(state)  # every name, every shape
    return network, body


CASES = [
    ("vgg16", 1.0, False),
    ("vgg16_bn", 1.0, False),
    ("efficientnet_b0", 0.5, False),
    ("efficientnet_b1", 0.35, False),
    ("efficientnet_b2", 0.25, False),
    ("efficientnet_b3", 0.2, False),
    ("mobilenet_v3_large", 1.0, False),
    ("mobilenet_v3_large", 0.5, True),
    ("mobilenet_v3_small", 1.4, False),
    ("mobilenet_v3_small", 0.35, True),
]


def distance(ours, recorded):
    difference = np.abs(np.asarray(ours, np.float64) - recorded).max()
    return difference / recorded.std()


TRAINED = ("vgg16_bn", "efficientnet_b0", "mobilenet_v3_large")


@pytest.mark.parametrize(
    ("name", "width", "dilated", "training"),
    [(*case, False) for case in CASES]
    + [(*case, True) for case in CASES if case[0] in TRAINED and not case[2]],
)
def test_whole_network_and_every_gradient(name, width, dilated, training):
    network, body = pair(name, width, dilated)
    network.train(training), body.train(training)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 3, 43, 34))  # no multiple of 32
    x = torch.from_numpy(images).requires_grad_()
    numbers = body._maps
    ours_in = Tensor(images, requires_grad=True)
    maps = body(ours_in)
    value, expected, ours = x, 0, 0
    for i, layer in enumerate(network):
        value = layer(value)
        if i in numbers:
            mine = maps[numbers.index(i)]
            assert mine.shape == tuple(value.shape)
            assert distance(mine.data, value.detach().numpy()) < EXACT, i
            weights = rng.standard_normal(value.shape)
            expected = expected + (value * torch.from_numpy(weights)).sum()
            ours = ours + (mine * weights).sum()
    expected.backward()
    ours.backward()
    np.testing.assert_allclose(
        ours_in.grad, x.grad.numpy(), rtol=0, atol=EXACT * float(x.grad.norm())
    )
    parameters = dict(body.named_parameters())
    for parameter, given in network.named_parameters():
        if given.grad is None:  # of layers after the last map
            continue
        error = np.linalg.norm(parameters[parameter].grad - given.grad.numpy())
        # where the exact gradient is 0 (a bias before a norm), rounding alone is left
        assert error <= EXACT * max(float(given.grad.norm()), 1.0), parameter
    if training:
        state = {n: a.numpy() for n, a in network.state_dict().items() if "running" in n}
        buffers = dict(body.named_buffers())
        for buffer, given in state.items():
            np.testing.assert_allclose(buffers[buffer], given, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "width"),
    [("vgg16_bn", 1.0), ("efficientnet_b3", 1.0), ("mobilenet_v3_large", 1.0)],
)
def test_every_layer_in_float32(name, width):
    """Each fed with what torch's layers before it computed."""
    network, body = pair(name, width, dtype=np.float32)
    network.float().eval(), body.eval()
    value = torch.from_numpy(np.random.default_rng(2).standard_normal((1, 3, 64, 96), np.float32))
    before, started = value, 0
    for i, layer in enumerate(network):
        value = layer(value.detach().requires_grad_(i > 0))
        fused = isinstance(body._layer(i), Conv2d) or type(layer).__name__ == "BatchNorm2d"
        if fused:  # VGG: compared after the ReLU
            continue
        x = Tensor(before.detach().numpy(), requires_grad=True)
        ours = body.step(started, x)
        assert distance(ours.data, value.detach().numpy()) < FEATURES, i
        source = before.detach().requires_grad_()
        again = network[started : i + 1](source)
        weights = np.random.default_rng(i).standard_normal(again.shape).astype(np.float32)
        (again * torch.from_numpy(weights)).sum().backward()
        (ours * weights).sum().backward()
        error = np.linalg.norm(x.grad - source.grad.numpy())
        assert error < GRADIENTS * float(source.grad.norm()), i
        before, started = value, i + 1


def test_the_bounds_notice_another_activation(monkeypatch):
    """A network with hard swish in place of SiLU must not pass for torchvision's."""
    from minimask.models.bodies import inverted_residual

    network, body = pair("efficientnet_b0", 0.5)
    swapped = {**inverted_residual.ACTIVATIONS, "silu": inverted_residual.F.hard_swish}
    monkeypatch.setattr(inverted_residual, "ACTIVATIONS", swapped)
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 64))
    with torch.no_grad(), no_grad():
        expected = network.eval()(torch.from_numpy(images)).numpy()
        assert distance(body.eval()(Tensor(images))[-1].data, expected) > FEATURES
