"""Modules: names, state, modes, initial values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minimask import functional as F
from minimask import nn
from minimask.autograd import Tensor, no_grad, topological_order
from minimask.tools.testing import assert_close, gradcheck

rng = np.random.default_rng(0)


class Block(nn.Module):
    def __init__(self) -> None:
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False, rng=rng)
        self.bn1 = nn.BatchNorm2d(4)
        self.downsample = None
        self.heads = [nn.Linear(4, 2, rng=rng), nn.Linear(4, 3, bias=False, rng=rng)]
        self.scale = Tensor(np.ones(1, np.float32), requires_grad=True)
        self._cache = Tensor(np.zeros(7))  # private: no parameter
        self.sizes = [1, 2, 3]

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x)) * self.scale


NAMES = [
    "scale",
    "conv1.weight",
    "bn1.weight",
    "bn1.bias",
    "bn1.running_mean",
    "bn1.running_var",
    "bn1.num_batches_tracked",
    "heads.0.weight",
    "heads.0.bias",
    "heads.1.weight",
]


def test_names_of_parameters_and_buffers() -> None:
    block = Block()
    assert list(block.state_dict()) == NAMES
    buffers = [n for n, _ in block.named_buffers()]
    assert buffers == ["bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"]
    assert [n for n, _ in block.named_parameters()] == [n for n in NAMES if n not in buffers]
    assert [n for n, _ in block.named_modules()] == ["", "conv1", "bn1", "heads.0", "heads.1"]
    assert len(list(block.modules())) == 5


def test_names_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    mine = nn.Sequential(
        nn.Conv2d(3, 4, 3, rng=rng),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.ConvTranspose2d(4, 2, 2, stride=2, rng=rng), nn.GroupNorm(1, 2)),
        nn.Linear(5, 6, rng=rng),
    )
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Sequential(torch.nn.ConvTranspose2d(4, 2, 2, stride=2), torch.nn.GroupNorm(1, 2)),
        torch.nn.Linear(5, 6),
    )
    shapes = {n: tuple(v.shape) for n, v in theirs.state_dict().items()}
    assert {n: v.shape for n, v in mine.state_dict().items()} == shapes
    assert list(mine.state_dict()) == list(shapes)


def test_sequential_by_number_and_by_keyword() -> None:
    a, b = nn.Linear(2, 3, rng=rng), nn.Linear(3, 1, rng=rng)
    numbered, named = nn.Sequential(a, nn.ReLU(), b), nn.Sequential(first=a, relu=nn.ReLU(), last=b)
    assert list(numbered.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(named.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    x = Tensor(np.ones((4, 2), np.float32))
    by_hand = np.maximum(x.data @ a.weight.data.T + a.bias.data, 0) @ b.weight.data.T + b.bias.data
    assert_close(numbered(x), by_hand)
    assert_close(named(x), by_hand)
    assert len(numbered) == 3
    assert numbered[-1] is b
    assert next(iter(named)) is a


def test_module_list_counts_on() -> None:
    modules = nn.ModuleList(nn.Linear(2, 2, bias=False, rng=rng) for _ in range(11))
    modules.append(nn.Identity())
    assert len(modules) == 12
    assert isinstance(modules[11], nn.Identity)
    assert list(modules.state_dict()) == [f"{i}.weight" for i in range(11)]


def test_a_shared_parameter_is_listed_once_but_saved_under_both_names() -> None:
    layer = nn.Linear(2, 2, bias=False, rng=rng)
    both = nn.Sequential(layer, layer)
    assert len(list(both.parameters())) == 1
    assert list(both.state_dict()) == ["0.weight", "1.weight"]
    assert both.count_parameters() == 4


# State


def test_state_round_trip() -> None:
    a, b = Block(), Block()
    a(Tensor(rng.standard_normal((2, 3, 5, 5)).astype(np.float32)))  # changes the statistics
    state = a.state_dict()
    assert b.load_state_dict(state) == []
    for name, value in b.state_dict().items():
        assert_close(value, state[name], rtol=0, atol=0)
    assert b.bn1.num_batches_tracked == 1
    state["conv1.weight"][:] = 7  # a copy: neither model sees it
    assert not (a.conv1.weight.data == 7).any()
    assert not (b.conv1.weight.data == 7).any()


def test_loading_converts_the_float_type_and_keeps_the_parameter_object() -> None:
    layer = nn.Linear(2, 3, rng=rng)
    weight, array = layer.weight, layer.weight.data
    layer.load_state_dict({"weight": np.ones((3, 2), np.float64), "bias": np.zeros(3, np.float16)})
    assert layer.weight is weight
    assert layer.weight.data is array
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 1]] * 3


def test_all_problems_at_once_and_nothing_copied() -> None:
    block = Block()
    state = block.state_dict()
    before = {n: v.copy() for n, v in state.items()}
    del state["scale"]
    state["heads.0.weight"] = np.zeros((9, 9))
    state["fc.bias"] = np.zeros(3)
    state["heads.0.bias"] = np.full(2, 5.0)
    with pytest.raises(ValueError) as info:
        block.load_state_dict(state)
    assert str(info.value).splitlines() == [
        "Block: the weights do not fit:",
        "  heads.0.weight is (2, 4) here, (9, 9) in the file",
        "  missing scale (1,)",
        "  unexpected fc.bias (3,)",
    ]
    for name, value in block.state_dict().items():
        assert_close(value, before[name], rtol=0, atol=0)


def test_not_strict_loads_what_fits_and_tells_the_rest() -> None:
    layer = nn.Linear(2, 3, rng=rng)
    rest = layer.load_state_dict({"weight": np.ones((3, 2)), "extra": np.ones(1)}, strict=False)
    assert rest == ["missing bias (3,)", "unexpected extra (1,)"]
    assert layer.weight.data.tolist() == [[1, 1]] * 3
    with pytest.raises(ValueError, match=r"weight is \(3, 2\) here, \(2, 3\) in the file"):
        layer.load_state_dict({"weight": np.ones((2, 3))}, strict=False)


def test_the_counter_of_batches_may_be_missing_or_left_over() -> None:
    trained, frozen = nn.BatchNorm2d(3), nn.FrozenBatchNorm2d(3)
    state = trained.state_dict()
    assert frozen.load_state_dict(state) == []
    del state["num_batches_tracked"]
    assert trained.load_state_dict(state) == []


def test_a_module_without_a_call_to_super_init_works() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            self.register_buffer("table", np.arange(3))

    plain, other = Plain(), Plain()
    assert plain.training
    assert list(plain.state_dict()) == ["table"]
    plain.register_buffer("second", np.zeros(2))
    assert list(other.state_dict()) == ["table"]


# Modes


def test_train_and_eval_reach_every_module() -> None:
    block = Block()
    assert all(m.training for m in block.modules())
    assert block.eval() is block
    assert not any(m.training for m in block.modules())
    block.train()
    assert all(m.training for m in block.modules())


def test_requires_grad_freezes_and_zero_grad_forgets() -> None:
    block = Block()
    x = Tensor(rng.standard_normal((2, 3, 4, 4)).astype(np.float32))
    block.conv1.requires_grad_(False)
    block(x).sum().backward()
    assert block.conv1.weight.grad is None
    assert block.bn1.bias.grad is not None
    assert "conv1.weight" in dict(block.named_parameters())
    assert block.count_parameters() - block.count_parameters(trainable_only=True) == 4 * 27
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())


def test_batch_norm_collects_statistics() -> None:
    layer = nn.BatchNorm2d(2, momentum=0.25)
    x = rng.normal(3, 2, (4, 2, 5, 6)).astype(np.float32)
    layer(Tensor(x))
    assert_close(layer.running_mean, 0.25 * x.mean((0, 2, 3)), rtol=1e-5)
    unbiased = x.var((0, 2, 3), ddof=1)
    assert_close(layer.running_var, (0.75 + 0.25 * unbiased).astype(np.float32), rtol=1e-5)
    assert layer.num_batches_tracked == 1
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    layer.eval()
    before = layer.state_dict()
    y = layer(Tensor(x))
    want = (x - before["running_mean"][:, None, None]) / np.sqrt(
        before["running_var"][:, None, None] + 1e-5
    )
    assert_close(y, want.astype(np.float32), rtol=1e-5)
    for name, value in layer.state_dict().items():
        assert_close(value, before[name], rtol=0, atol=0)


def test_batch_norm_is_pytorchs_over_several_steps() -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    for _ in range(3):
        x = rng.normal(1, 2, (2, 3, 4, 5)).astype(np.float32)
        assert_close(mine(Tensor(x)), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4)
    for name, value in theirs.state_dict().items():
        assert_close(mine.state_dict()[name], value.numpy(), rtol=1e-5)


def test_frozen_batch_norm_has_no_parameters_and_passes_gradients() -> None:
    layer = nn.FrozenBatchNorm2d(2, eps=0.0)
    layer.load_state_dict(
        {
            "weight": np.array([2.0, 3.0]),
            "bias": np.array([1.0, -1.0]),
            "running_mean": np.array([5.0, 6.0]),
            "running_var": np.array([4.0, 9.0]),
        }
    )
    assert list(layer.parameters()) == []
    x = Tensor(np.full((1, 2, 1, 1), 7.0, np.float32), requires_grad=True)
    y = layer(x)  # (7 - 5) / 2 * 2 + 1 and (7 - 6) / 3 * 3 - 1
    assert y.data.ravel().tolist() == pytest.approx([3, 0])
    y.sum().backward()
    assert x.grad.ravel().tolist() == pytest.approx([1, 1])


def test_a_module_in_float64_passes_the_gradient_check() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, rng=rng),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 2, rng=rng),
        nn.BatchNorm2d(2),
    ).astype(np.float64)
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert net[4].running_mean.dtype == np.float64
    gradcheck(net, rng.standard_normal((2, 2, 7, 7)), rtol=1e-5)


# Initial values


def test_initializers_have_the_stated_spread() -> None:
    shape = (256, 64, 3, 3)
    assert nn.init.fans(shape) == (576, 2304)
    r = np.random.default_rng(1)
    he = nn.init.kaiming_normal(shape, r)
    assert he.std() == pytest.approx(math.sqrt(2 / 2304), rel=0.01)
    assert nn.init.kaiming_normal(shape, r, "fan_in").std() == pytest.approx(
        math.sqrt(2 / 576), rel=0.01
    )
    flat = nn.init.kaiming_uniform(shape, r, a=1)
    assert np.abs(flat).max() == pytest.approx(math.sqrt(3 / 576), rel=0.01)
    assert flat.std() == pytest.approx(math.sqrt(1 / 576), rel=0.01)
    assert nn.init.normal(shape, r, 0.01).std() == pytest.approx(0.01, rel=0.01)
    assert {a.dtype for a in (he, flat)} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match="fan_avg"):
        nn.init.kaiming_normal(shape, r, "fan_avg")
    with pytest.raises(ValueError, match="two axes"):
        nn.init.kaiming_uniform((3,), r)


def test_layers_start_the_same_for_the_same_seed() -> None:
    a, b = (nn.Conv2d(3, 4, 3, rng=np.random.default_rng(5)).state_dict() for _ in range(2))
    for name in a:
        assert_close(a[name], b[name], rtol=0, atol=0)
    bound = 1 / math.sqrt(27)
    assert np.abs(a["weight"]).max() <= bound
    assert np.abs(a["weight"]).max() > 0.9 * bound


def test_layers_pass_their_options_on() -> None:
    conv = nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), groups=2, rng=rng)
    assert conv.weight.shape == (6, 2, 3, 1)
    assert conv(Tensor(np.zeros((1, 4, 8, 8), np.float32))).shape == (1, 6, 4, 8)
    dilated = nn.Conv2d(1, 1, 3, dilation=2, rng=rng)
    assert dilated(Tensor(np.zeros((1, 1, 8, 8), np.float32))).shape == (1, 1, 4, 4)
    up = nn.ConvTranspose2d(4, 3, 2, stride=2, rng=rng)
    assert up(Tensor(np.zeros((1, 4, 7, 7), np.float32))).shape == (1, 3, 14, 14)
    with pytest.raises(ValueError, match="groups: 2 divides not both 3 input and 4"):
        nn.Conv2d(3, 4, 3, groups=2, rng=rng)


def test_repr_is_a_tree_with_counts() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False, rng=rng), body=nn.Sequential(nn.BatchNorm2d(4))
    )
    assert repr(net).splitlines() == [
        "Sequential()  116",
        "  0: Conv2d(3 -> 4, 3x3, padding 1, no bias)  108",
        "  body: Sequential()  8",
        "    0: BatchNorm2d(4)  8",
    ]


def test_a_small_network_learns() -> None:
    """Two moons would do; a parabola does: 300 steps of gradient descent."""
    r = np.random.default_rng(2)
    net = nn.Sequential(nn.Linear(1, 16, rng=r), nn.ReLU(), nn.Linear(16, 1, rng=r))
    x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    losses = []
    for _ in range(300):
        error = net(Tensor(x)) - x * x
        loss = (error * error).mean()
        net.zero_grad()
        loss.backward()
        with no_grad():
            for p in net.parameters():
                p.data -= np.float32(0.1) * p.grad
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


# ------------------------------------------------------------------ convolution and norm as one


def _conv_and_norm(kind, bias):
    rng = np.random.default_rng(3)
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=bias, rng=rng).astype(np.float64)
    norm = {"batch": nn.BatchNorm2d, "frozen": nn.FrozenBatchNorm2d}.get(kind, None)
    norm = (norm(4) if norm else nn.GroupNorm(2, 4)).astype(np.float64)
    for tensor in norm.parameters():
        tensor.data[:] = rng.uniform(0.5, 2, 4)
    for _, buffer in norm.named_buffers():
        if buffer.ndim:
            buffer[:] = rng.uniform(0.5, 2, 4)
    return conv, norm, rng


@pytest.mark.parametrize("kind", ["batch", "frozen", "group"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_conv_norm_is_the_norm_of_the_convolution(kind, training, bias, after):
    conv, norm, rng = _conv_and_norm(kind, bias)
    norm.train(training)
    x = Tensor(rng.standard_normal((2, 3, 5, 6)), requires_grad=True)
    residual = Tensor(rng.standard_normal((2, 4, 5, 6)), requires_grad=True) if after else None
    direction = rng.standard_normal((2, 4, 5, 6))
    learned = [x, *conv.parameters(), *norm.parameters(), *([residual] if after else [])]
    results = []
    for together in (False, True):
        state = norm.state_dict()
        if together:
            y = nn.conv_norm(conv, norm, x, residual=residual, relu=after)
        else:
            y = norm(conv(x))
            y = F.relu(y + residual) if after else y
        (y * direction).sum().backward()
        results.append([y.data, *(t.grad for t in learned)])
        norm.load_state_dict(state)
        for tensor in learned:
            tensor.grad = None
    for apart, joined in zip(*results, strict=True):
        np.testing.assert_allclose(joined, apart, rtol=1e-9, atol=1e-11)


def test_conv_norm_keeps_no_output_of_the_convolution():
    conv, norm, rng = _conv_and_norm("frozen", False)
    x = Tensor(rng.standard_normal((1, 3, 5, 6)), requires_grad=True)
    y = nn.conv_norm(conv, norm, x, relu=True)
    kept = [t for t in topological_order(y) if t.shape == y.shape]
    assert kept == [y]


def test_sequential_hands_options_to_its_last_module_and_may_be_empty():
    rng = np.random.default_rng(0)
    first, last = (nn.Conv2d(2, 2, 1, rng=rng).astype(np.float64) for _ in range(2))
    x = Tensor(rng.standard_normal((1, 2, 3, 3)))
    y = nn.Sequential(first, last)(x, relu=True)
    np.testing.assert_array_equal(y.data, np.maximum(last(first(x)).data, 0))
    assert nn.Sequential()(x) is x
