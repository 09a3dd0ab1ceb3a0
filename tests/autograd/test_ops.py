"""Operations and losses: values by hand, against NumPy and PyTorch, and at the edges.

Their gradients are in test_gradients.py; here are the points where the gradient has a convention.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.autograd.ops.shaping import put_added
from minimask.tools.testing import assert_close


def leaf(values, dtype=np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def gradient(fn, values, dtype=np.float64) -> list:
    x = leaf(values, dtype)
    out = fn(x)
    out.backward(np.ones(out.shape))
    return x.grad.tolist()


# Values against NumPy


@pytest.mark.parametrize(
    ("fn", "numpy"),
    [
        (ops.exp, np.exp),
        (ops.log, np.log),
        (ops.sqrt, np.sqrt),
        (ops.abs, np.abs),
        (ops.tanh, np.tanh),
        (ops.neg, np.negative),
        (ops.sum, np.sum),
        (ops.mean, np.mean),
        (ops.max, np.max),
        (ops.min, np.min),
        (ops.transpose, np.transpose),
        (lambda x: x.T, np.transpose),
        (lambda x: ops.clip(x, 0.7, 1.1), lambda x: np.clip(x, 0.7, 1.1)),
        (lambda x: ops.sum(x, 1, keepdims=True), lambda x: x.sum(1, keepdims=True)),
        (lambda x: x.mean(axis=(0, 1)), lambda x: x.mean((0, 1))),
        (lambda x: ops.min(x, axis=0), lambda x: x.min(0)),
        (lambda x: ops.pad(x, ((0, 0), (1, 2))), lambda x: np.pad(x, ((0, 0), (1, 2)))),
        (lambda x: ops.stack([x, x], -1), lambda x: np.stack([x, x], -1)),
        (lambda x: ops.concatenate([x, x], 1), lambda x: np.concatenate([x, x], 1)),
        (lambda x: ops.take(x, [2, 0], axis=1), lambda x: x.take([2, 0], axis=1)),
        (lambda x: ops.maximum(x, 1.0), lambda x: np.maximum(x, 1.0)),
        (lambda x: ops.minimum(x, 1.0), lambda x: np.minimum(x, 1.0)),
        (lambda x: ops.where(x.data > 1, x, 0.0), lambda x: np.where(x > 1, x, 0.0)),
        (lambda x: ops.broadcast_to(x, (4, 2, 3)), lambda x: np.broadcast_to(x, (4, 2, 3))),
        (lambda x: x.reshape(3, 2), lambda x: x.reshape(3, 2)),
        (lambda x: x.reshape((-1,)), lambda x: x.reshape(-1)),
        (lambda x: ops.flatten(x), np.ravel),
        (lambda x: x**-1.5, lambda x: x**-1.5),
        (lambda x: 1 - 2 / x, lambda x: 1 - 2 / x),
        (lambda x: x @ x.T, lambda x: x @ x.T),
        (lambda x: x.astype(np.float32), lambda x: x.astype(np.float32)),
        (lambda x: abs(-x), np.abs),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_numpys(fn, numpy, dtype) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, (2, 3)).astype(dtype)
    want = np.asarray(numpy(x))
    got = fn(Tensor(x))
    assert_close(got, want.astype(got.dtype))
    assert got.dtype == want.dtype


# Conventions at kinks and at nothing


def test_gradients_at_kinks() -> None:
    assert gradient(F.relu, [-1, 0, 2]) == [0, 0, 1]
    assert gradient(ops.abs, [-1, 0, 2]) == [-1, 0, 1]
    assert gradient(lambda x: ops.clip(x, 0, 1), [-1, 0, 0.5, 1, 2]) == [0, 1, 1, 1, 0]
    assert gradient(lambda x: ops.maximum(x, 1.0), [0, 1, 2]) == [0, 0.5, 1]
    assert gradient(lambda x: ops.minimum(x, 1.0), [0, 1, 2]) == [1, 0.5, 0]
    assert gradient(ops.max, [3, 1, 3]) == [0.5, 0, 0.5]
    assert gradient(lambda x: ops.max(x, axis=1), [[1, 1], [0, 2]]) == [[0.5, 0.5], [0, 1]]
    assert gradient(lambda x: ops.min(x), [3, 1, 1]) == [0, 0.5, 0.5]
    assert gradient(lambda x: x**0, [0, 2]) == [0, 0]


def test_relu_passes_nan_on() -> None:
    assert np.isnan(F.relu(Tensor(np.array([np.nan]))).item())


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_the_mean_of_nothing_is_zero_with_zero_gradient(shape) -> None:
    x = Tensor(np.ones(shape, np.float32), requires_grad=True)
    y = ops.mean(x)
    y.backward()
    assert y.item() == 0
    assert x.grad.shape == shape


def test_the_mean_along_an_empty_axis_is_zero() -> None:
    assert ops.mean(Tensor(np.ones((2, 0))), axis=1).data.tolist() == [0, 0]


def test_softmax_of_no_rows() -> None:
    for fn in (ops.softmax, ops.log_softmax):
        x = Tensor(np.ones((0, 3)), requires_grad=True)
        fn(x).sum().backward()
        assert x.grad.shape == (0, 3)


def test_a_reshape_to_minus_one_without_elements() -> None:
    assert ops.reshape(np.ones((0, 256, 7, 7)), (0, -1)).shape == (0, 12544)
    assert ops.reshape(np.ones((0, 12)), (0, -1, 4)).shape == (0, 3, 4)
    assert ops.flatten(np.ones((0, 2, 3)), 1).shape == (0, 6)
    with pytest.raises(ValueError, match="reshape"):
        ops.reshape(np.ones((0, 3)), (-1, 0))


# Indexing


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (np.array([0, 0, 2]), [[2, 2], [0, 0], [1, 1]]),
        (np.array([2, 1]), [[0, 0], [1, 1], [1, 1]]),
        (np.array([-1, 2]), [[0, 0], [0, 0], [2, 2]]),
        ((np.array([0, 0, 1]), np.array([1, 1, 0])), [[0, 2], [1, 0], [0, 0]]),
        ((slice(None), np.array([1, 1])), [[0, 2], [0, 2], [0, 2]]),
        ((0, np.array([1, 1])), [[0, 2], [0, 0], [0, 0]]),
        (np.array([True, False, True]), [[1, 1], [0, 0], [1, 1]]),
        (slice(None, None, 2), [[1, 1], [0, 0], [1, 1]]),
        (Tensor(np.array([1, 1])), [[0, 0], [2, 2], [0, 0]]),
        ([], [[0, 0], [0, 0], [0, 0]]),
    ],
    ids=str,
)
def test_indexing_gives_every_element_the_gradients_of_its_copies(index, expected) -> None:
    assert gradient(lambda x: x[index], np.zeros((3, 2))) == expected


@given(
    st.lists(st.integers(-4, 3), max_size=12),
    st.integers(0, 3),
    st.sampled_from([np.float32, np.float64]),
)
def test_put_added_is_numpys_add_at(rows, width, dtype) -> None:
    rng = np.random.default_rng(len(rows))
    index = np.array(rows, np.int64)
    values = rng.standard_normal((len(rows), width)).astype(dtype)
    want = np.zeros((4, width), dtype)
    np.add.at(want, index, values)
    assert_close(put_added((4, width), index, values), want, terms=12)


@given(st.lists(st.tuples(st.integers(-2, 1), st.integers(-3, 2)), max_size=12))
def test_put_added_with_two_index_arrays_is_numpys_add_at(cells) -> None:
    index = tuple(np.array(c, np.int64) for c in zip(*cells, strict=True)) or (
        np.zeros(0, int),
        np.zeros(0, int),
    )
    values = np.random.default_rng(1).standard_normal((len(cells), 2))
    want = np.zeros((2, 3, 2))
    np.add.at(want, index, values)
    assert_close(put_added((2, 3, 2), index, values), want, terms=12)


def test_an_index_out_of_range_names_the_operation() -> None:
    with pytest.raises(IndexError) as info:
        leaf([1, 2])[np.array([5])]
    assert "in GetItem(x(2,):float64, index=array([5]))" in info.value.__notes__


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.matmul(leaf([1, 2]), leaf([[1], [2]])), r"`a` needs at least two axes"),
        (lambda: ops.power(leaf([1]), leaf([2])), r"write ops.exp\(exponent \* ops.log\(x\)\)"),
        (lambda: ops.concatenate([]), "concatenate: expected at least one tensor"),
        (lambda: ops.stack([]), "stack: expected at least one tensor"),
        (lambda: ops.pad(leaf([1]), ((0, 0), (1, 1))), r"expected 1 \(before, after\) pairs"),
        (lambda: ops.where(np.array([1, 0]), 1.0, 2.0), "`condition` must be bool, got int64"),
    ],
)
def test_refusals(call, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# Stability


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_softmax_at_extremes(dtype) -> None:
    x = Tensor(np.array([-1e4, -100, -20, 0, 20, 100, 1e4], dtype))
    y = ops.sigmoid(x).data
    assert y[[0, 3, -1]].tolist() == [0, 0.5, 1]
    assert y[2] == pytest.approx(math.exp(-20), rel=1e-6)  # not rounded to 0
    z = Tensor(np.array([[1e4, 0.0, -1e4]], dtype))
    assert ops.softmax(z).data.tolist() == [[1, 0, 0]]
    assert ops.log_softmax(z).data.tolist() == [[0, -1e4, -2e4]]


# Losses


def test_cross_entropy_by_hand() -> None:
    logits = np.log([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    loss = F.cross_entropy(Tensor(logits), np.array([2, 0]))
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.6)) / 2)
    equal = F.cross_entropy(Tensor(np.zeros((5, 7))), np.zeros(5, int))
    assert equal.item() == pytest.approx(math.log(7))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_huge_logits(dtype) -> None:
    x = Tensor(np.array([[1e30, 0, -1e30], [0, 1e4, 0]], dtype), requires_grad=True)
    loss = F.cross_entropy(x, np.array([0, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4 / 2)
    assert x.grad.tolist() == [[0, 0, 0], [0, 0.5, -0.5]]


def test_losses_of_nothing_are_zero_with_zero_gradient() -> None:
    losses = [
        (lambda x: F.cross_entropy(x, np.zeros(0, int)), (0, 4)),
        (lambda x: F.binary_cross_entropy_with_logits(x, np.zeros((0, 3))), (0, 3)),
        (lambda x: F.smooth_l1(x, np.zeros((0, 4))), (0, 4)),
        (lambda x: F.smooth_l1(x, np.zeros((0, 4)), reduction="mean"), (0, 4)),
        (lambda x: F.sigmoid_focal_loss(x, np.zeros((0, 4))), (0, 4)),
        (lambda x: F.generalized_iou_loss(x, np.zeros((0, 4)), reduction="mean"), (0, 4)),
    ]
    for loss, shape in losses:
        x = Tensor(np.zeros(shape, np.float32), requires_grad=True)
        y = loss(x)
        assert (y.item(), y.dtype, y.shape) == (0, np.float32, ())
        y.backward()
        assert x.grad.shape == shape


def test_binary_cross_entropy_by_hand_and_at_extremes() -> None:
    logit = math.log(0.8 / 0.2)
    each = F.binary_cross_entropy_with_logits(
        Tensor(np.array([logit, logit])), np.array([1, 0]), reduction="none"
    )
    assert each.data.tolist() == pytest.approx([-math.log(0.8), -math.log(0.2)])
    x = leaf([-1e4, 1e4, -1e4, 1e4], np.float32)
    loss = F.binary_cross_entropy_with_logits(x, np.array([0, 1, 1, 0]), reduction="sum")
    loss.backward()
    assert loss.item() == 2e4
    assert x.grad.tolist() == [0, 0, -1, 1]
    zero = F.binary_cross_entropy_with_logits(np.zeros(9), np.arange(9) % 2)
    assert zero.item() == pytest.approx(math.log(2))


def test_smooth_l1_by_hand() -> None:
    pred, target = np.array([0.0, 0.05, 0.1, 3.0, -3.0]), np.zeros(5)
    each = F.smooth_l1(pred, target, beta=0.1, reduction="none")
    assert each.data.tolist() == pytest.approx([0, 0.0125, 0.05, 2.95, 2.95])
    assert F.smooth_l1(pred, target, beta=0).item() == pytest.approx(6.15)
    assert F.smooth_l1(pred, target, beta=0, reduction="mean").item() == pytest.approx(6.15 / 5)
    assert gradient(lambda x: F.smooth_l1(x, target, beta=0.1), pred) == pytest.approx(
        [0, 0.5, 1, 1, -1]
    )
    assert gradient(lambda x: F.smooth_l1(x, target, beta=0), pred) == [0, 1, 1, 1, -1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.cross_entropy(x, np.array([0, 3])), r"0..2, got 3 in row 1"),
        (lambda x: F.cross_entropy(x, np.array([-1, 0])), r"0..2, got -1 in row 0"),
        (lambda x: F.cross_entropy(x, np.array([0.0, 1.0])), "must be integers, got float64"),
        (lambda x: F.cross_entropy(x, np.array([0])), r"got \(2, 3\) and \(1,\)"),
        (
            lambda x: F.binary_cross_entropy_with_logits(x, np.zeros(3)),
            r"`targets` must have the prediction's shape \(2, 3\), got \(3,\)",
        ),
        (lambda x: F.smooth_l1(x, leaf(np.zeros((2, 3)))), r"pass target.detach\(\)"),
        (lambda x: F.smooth_l1(x, np.zeros((2, 3)), beta=-1), "`beta` must be at least 0"),
        (lambda x: F.smooth_l1(x, np.zeros((2, 3)), reduction="avg"), "got 'avg'"),
        (lambda x: F.group_norm(x[None, :, None], 3, 1.0, 1.0), "2 channels cannot be .* 3 groups"),
        (
            lambda x: F.batch_norm_train(x[:, :, None, None][:1], 1.0, 1.0),
            "has 1 values per channel",
        ),
        (lambda x: F.roi_align(x[None, None], leaf(np.zeros((1, 5))), 2), r"rois.detach\(\)"),
    ],
)
def test_refusals_of_layers_and_losses(call, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(leaf(np.zeros((2, 3))))


# Norms


def test_batch_norm_train_gives_mean_zero_variance_one() -> None:
    x = np.random.default_rng(0).normal(3, 5, (4, 3, 6, 5))
    y, mean, var = F.batch_norm_train(x, np.ones(3), np.zeros(3), eps=0)
    assert_close(mean, x.mean((0, 2, 3)), terms=120)
    assert_close(var, x.var((0, 2, 3)), terms=120)
    assert_close(y.data.mean((0, 2, 3)), np.zeros(3), atol=1e-12)
    assert_close(y.data.var((0, 2, 3)), np.ones(3), rtol=1e-10)
    frozen = F.batch_norm(x, np.ones(3), np.zeros(3), mean, var, eps=0)
    assert_close(frozen, y.data, rtol=1e-9)


def test_group_norm_of_one_group_ignores_the_batch_and_the_scale() -> None:
    x = np.random.default_rng(0).standard_normal((4, 6, 3, 5))
    weight, bias = np.arange(1.0, 7), np.arange(6.0)
    y = F.group_norm(x, 1, weight, bias, eps=0).data
    assert_close(F.group_norm(10 * x[1:2] + 3, 1, weight, bias, eps=0), y[1:2], rtol=1e-9)
    plain = (y - bias[:, None, None]) / weight[:, None, None]
    assert_close(plain.mean((1, 2, 3)), np.zeros(4), atol=1e-12)


# Work that can be skipped


def test_the_image_gradient_of_a_convolution_is_not_computed(monkeypatch) -> None:
    from minimask.functional import convolution

    def never(*args, **options):
        raise AssertionError("computed a gradient that nobody needs")

    rng = np.random.default_rng(0)
    image, weight = rng.standard_normal((1, 3, 5, 5)), leaf(rng.standard_normal((2, 3, 3, 3)))
    with monkeypatch.context() as m:
        m.setattr(convolution, "input_gradient", never)
        F.conv2d(image, weight).sum().backward()
    assert weight.grad.shape == (2, 3, 3, 3)
    with monkeypatch.context() as m:
        m.setattr(convolution, "weight_gradient", never)
        m.setattr(convolution, "bias_gradient", never)
        x = leaf(image)
        F.conv2d(x, weight.data, np.zeros(2)).sum().backward()
    assert x.grad.shape == (1, 3, 5, 5)


# Against PyTorch


def torch_case(name, ours, theirs, *shapes):
    return pytest.param(ours, theirs, shapes, id=name)


LABELS = np.array([2, 0, 1, 2])
TARGETS = np.random.default_rng(7).uniform(0, 1, (4, 3)).astype(np.float32)
MOMENTS = np.array([0.3, -0.2, 0.1], np.float32), np.array([0.5, 1.5, 0.9], np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"),
    [
        torch_case(
            "conv2d",
            lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1),
            lambda t, x, w, b: t.nn.functional.conv2d(x, w, b, stride=2, padding=1),
            (2, 3, 9, 8),
            (4, 3, 3, 3),
            (4,),
        ),
        torch_case(
            "conv_transpose2d",
            lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1),
            lambda t, x, w, b: t.nn.functional.conv_transpose2d(x, w, b, stride=2, padding=1),
            (2, 3, 4, 5),
            (3, 4, 3, 3),
            (4,),
        ),
        torch_case(
            "linear", F.linear, lambda t, *a: t.nn.functional.linear(*a), (5, 3), (2, 3), (2,)
        ),
        torch_case(
            "max_pool2d",
            lambda x: F.max_pool2d(x, 3, 2, 1),
            lambda t, x: t.nn.functional.max_pool2d(x, 3, 2, 1),
            (2, 3, 7, 8),
        ),
        torch_case(
            "batch_norm_train",
            lambda x, w, b: F.batch_norm_train(x, w, b)[0],
            lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, training=True),
            (4, 3, 5, 6),
            (3,),
            (3,),
        ),
        torch_case(
            "batch_norm",
            lambda x, w, b: F.batch_norm(x, w, b, *MOMENTS),
            lambda t, x, w, b: t.nn.functional.batch_norm(
                x, t.tensor(MOMENTS[0]), t.tensor(MOMENTS[1]), w, b
            ),
            (4, 3, 5, 6),
            (3,),
            (3,),
        ),
        torch_case(
            "group_norm",
            lambda x, w, b: F.group_norm(x, 3, w, b),
            lambda t, x, w, b: t.nn.functional.group_norm(x, 3, w, b),
            (4, 6, 5, 4),
            (6,),
            (6,),
        ),
        torch_case(
            "resize",
            lambda x: F.resize(x, (7, 5), "bilinear"),
            lambda t, x: t.nn.functional.interpolate(x, (7, 5), mode="bilinear"),
            (2, 3, 4, 6),
        ),
        torch_case(
            "cross_entropy",
            lambda x: F.cross_entropy(x, LABELS),
            lambda t, x: t.nn.functional.cross_entropy(x, t.tensor(LABELS)),
            (4, 3),
        ),
        torch_case(
            "binary_cross_entropy",
            lambda x: F.binary_cross_entropy_with_logits(x, TARGETS),
            lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x, t.tensor(TARGETS)),
            (4, 3),
        ),
        torch_case(
            "smooth_l1",
            lambda x: F.smooth_l1(x, TARGETS, beta=1 / 9),
            lambda t, x: t.nn.functional.smooth_l1_loss(
                x, t.tensor(TARGETS), beta=1 / 9, reduction="sum"
            ),
            (4, 3),
        ),
        torch_case(
            "softmax",
            lambda x: ops.softmax(x, 1) * ops.log_softmax(x, 0),
            lambda t, x: t.softmax(x, 1) * t.log_softmax(x, 0),
            (4, 3),
        ),
        torch_case("amax", lambda x: ops.max(x, 1), lambda t, x: t.amax(x, 1), (4, 3)),
        torch_case(
            "clip", lambda x: ops.clip(x, -0.3, 0.4), lambda t, x: t.clamp(x, -0.3, 0.4), (9, 9)
        ),
        torch_case(
            "gather",
            lambda x: x[LABELS, LABELS - 1] * x[LABELS].mean(),
            lambda t, x: x[LABELS, LABELS - 1] * x[LABELS].mean(),
            (3, 4),
        ),
    ],
)
def test_value_and_gradients_are_pytorchs(ours, theirs, shapes) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(11)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    mine = [Tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    out, want = ours(*mine), theirs(torch, *other)
    start = rng.standard_normal(out.shape).astype(np.float32)
    out.backward(start)
    want.backward(torch.tensor(start))
    assert_close(out, want.detach().numpy(), rtol=2e-5)
    for a, b in zip(mine, other, strict=True):
        assert_close(a.grad, b.grad.numpy(), rtol=5e-5)


def test_focal_loss_by_hand_and_at_extremes() -> None:
    logit = math.log(0.8 / 0.2)
    each = F.sigmoid_focal_loss(np.array([logit, logit]), np.array([1, 0]), reduction="none")
    wanted = [-0.25 * 0.2**2 * math.log(0.8), -0.75 * 0.8**2 * math.log(0.2)]
    assert each.data.tolist() == pytest.approx(wanted)
    x = leaf([-1e4, 1e4, -1e4, 1e4], np.float32)
    loss = F.sigmoid_focal_loss(x, np.array([0, 1, 1, 0]))
    loss.backward()
    assert loss.item() == 0.25 * 1e4 + 0.75 * 1e4
    assert x.grad.tolist() == [0, 0, -0.25, 0.75]


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    x, yes = np.linspace(-30, 30, 24), np.arange(24) % 2
    wanted = F.binary_cross_entropy_with_logits(x, yes, reduction="none")
    found = F.sigmoid_focal_loss(x, yes, alpha=-1, gamma=0, reduction="none")
    np.testing.assert_allclose(found.data, wanted.data, rtol=1e-12, atol=1e-13)


def test_focal_loss_of_sure_answers_keeps_its_digits() -> None:
    """1 - p is computed without cancellation: at 20, float32's sigmoid is exactly 1."""
    found = F.sigmoid_focal_loss(np.float32([20.0]), np.array([1]), reduction="none")
    wrong = 1 / (1 + math.exp(20))
    assert found.data[0] == pytest.approx(0.25 * wrong**2 * -math.log1p(-wrong), rel=1e-5)


def test_focal_loss_refuses_what_means_nothing() -> None:
    for options in ({"alpha": 1.5}, {"gamma": -1}):
        with pytest.raises(ValueError, match="sigmoid_focal_loss: `alpha` must be at most 1"):
            F.sigmoid_focal_loss(np.zeros(2), np.zeros(2), **options)
    with pytest.raises(ValueError, match="must have the prediction's shape"):
        F.sigmoid_focal_loss(np.zeros(2), np.zeros(3))


def test_generalized_iou_by_hand() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 1, 1.0]])
    other = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [1, 0, 2, 1], [2, 0, 3, 1.0]])
    each = F.generalized_iou_loss(boxes, other, reduction="none")
    # equal; a third in common; touching, hull full; a gap of a third of the hull
    assert each.data.tolist() == pytest.approx([0, 2 / 3, 1, 1 + 1 / 3], abs=1e-6)
    with pytest.raises(ValueError, match=r"generalized_iou_loss: expected `pred` \(R, 4\)"):
        F.generalized_iou_loss(np.zeros((2, 3)), np.zeros((2, 3)))
