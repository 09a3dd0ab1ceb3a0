from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.kernels.batch_norm import (
    VARIANTS,
    batch_norm_backward,
    channel_moments,
    scale_shift,
)
from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build, emulator

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
every_variant = pytest.mark.parametrize("variant", CPU)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7))


def normal(seed, *shape, dtype="f8"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def batch_norm(x, weight, bias, variant, eps=1e-5):
    """Output, and what the backward pass needs, from the two forward kernels."""
    mean, var = channel_moments(x, variant=variant)
    rstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    y = scale_shift(x, weight * rstd, bias - mean * weight * rstd, variant=variant)
    return y, mean, rstd


@every_variant
def test_numbers_by_hand(variant):
    x = np.array([[1.0, 3], [10, 10]]).reshape(1, 2, 1, 2)
    mean, var = channel_moments(x, variant=variant)
    np.testing.assert_array_equal(mean, [2.0, 10])
    np.testing.assert_array_equal(var, [1.0, 0])  # ((1 - 2)^2 + (3 - 2)^2) / 2
    y = scale_shift(x, np.array([2.0, -1]), np.array([0.5, 0]), variant=variant)
    np.testing.assert_array_equal(y.ravel(), [2.5, 6.5, -10, -10])
    # with rstd = 1: x^ = -1, 1.  grad = 1, 5: dbias = 6, dweight = -1 + 5 = 4
    # dx = weight (grad - 3 - x^ 2) = 2 (1 - 3 + 2), 2 (5 - 3 - 2) = 0, 0
    # (two values, normalized, are always -1 and 1: no gradient is left)
    grad = np.array([[1.0, 5], [0, 0]]).reshape(1, 2, 1, 2)
    one = np.ones(2)
    dx, dweight, dbias = batch_norm_backward(
        grad, x, np.array([2.0, 1]), mean, one, variant=variant
    )
    np.testing.assert_array_equal(dweight, [4.0, 0])
    np.testing.assert_array_equal(dbias, [6.0, 0])
    np.testing.assert_array_equal(dx, np.zeros_like(x))


@every_variant
def test_gradient_of_three_values_by_hand(variant):
    # x = 0 0 3: mean 1, x - mean = -1 -1 2, taken with rstd 1; grad = 1 0 0
    # dbias = 1, dweight = -1, dx = grad - 1/3 + (-1 -1 2)/3 = 1/3 -2/3 1/3
    x, grad = np.array([0.0, 0, 3]), np.array([1.0, 0, 0])
    one = np.ones(1)
    dx, dweight, dbias = batch_norm_backward(
        grad[None, None, None], x[None, None, None], one, one, one, variant=variant
    )
    np.testing.assert_allclose(dx.ravel(), [1 / 3, -2 / 3, 1 / 3], rtol=1e-15)
    assert (dweight[0], dbias[0]) == (-1, 1)


@every_variant
def test_agrees_with_torch(variant):
    torch = pytest.importorskip("torch")
    x, weight, bias = normal(0, 3, 4, 5, 6), normal(1, 4), normal(2, 4)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    out = torch.nn.functional.batch_norm(tensors[0], None, None, *tensors[1:], training=True)
    grad = normal(3, *out.shape)
    out.backward(torch.tensor(grad))
    y, mean, rstd = batch_norm(x, weight, bias, variant)
    np.testing.assert_allclose(y, out.detach().numpy(), rtol=1e-9, atol=1e-10)
    for actual, tensor in zip(
        batch_norm_backward(grad, x, weight, mean, rstd, variant=variant), tensors, strict=True
    ):
        np.testing.assert_allclose(actual, tensor.grad.numpy(), rtol=1e-9, atol=1e-10)


@every_variant
@given(shapes)
def test_moments_are_numpys(variant, shape):
    x = normal(0, *shape) * 3 + 7
    mean, var = channel_moments(x, variant=variant)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(var, x.var((0, 2, 3)), rtol=1e-10, atol=1e-25)


@every_variant
@given(shapes)
def test_gradients_against_differences(variant, shape):
    """Along a random direction, in float64, against a central difference."""
    x, weight, bias, out = (
        normal(0, *shape),
        normal(1, shape[1]),
        normal(2, shape[1]),
        normal(3, *shape),
    )

    def loss(x, weight, bias):
        return np.vdot(batch_norm(x, weight, bias, variant, eps=0.1)[0], out)

    _, mean, rstd = batch_norm(x, weight, bias, variant, eps=0.1)
    gradients = batch_norm_backward(out, x, weight, mean, rstd, variant=variant)
    arguments = [x, weight, bias]
    for i, gradient in enumerate(gradients):
        direction = normal(4 + i, *arguments[i].shape)
        ends = [
            loss(*(a + step * direction if j == i else a for j, a in enumerate(arguments)))
            for step in (1e-6, -1e-6)
        ]
        numeric = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(np.vdot(gradient, direction), numeric, rtol=1e-6, atol=1e-7)


@given(shapes, st.sampled_from(["f4", "f8"]))
def test_the_variants_agree(shape, dtype):
    x, grad = normal(0, *shape, dtype=dtype), normal(1, *shape, dtype=dtype)
    weight, bias = normal(2, shape[1], dtype=dtype), normal(3, shape[1], dtype=dtype)
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == "f4" else {"rtol": 1e-9, "atol": 1e-10}
    y, mean, rstd = batch_norm(x, weight, bias, "cpu", eps=0.1)
    expected, mean_ref, rstd_ref = batch_norm(x, weight, bias, "reference", eps=0.1)
    backward = batch_norm_backward(grad, x, weight, mean, rstd, variant="cpu")
    backward_ref = batch_norm_backward(grad, x, weight, mean, rstd, variant="reference")
    for actual, desired in zip(
        (y, mean, rstd, *backward), (expected, mean_ref, rstd_ref, *backward_ref), strict=True
    ):
        np.testing.assert_allclose(actual, desired, strict=True, **close)


@every_variant
def test_a_large_mean_does_not_drown_the_variance(variant):
    # in float32, mean(x^2) - mean^2 of these is 0 +- 4; a float32 sum of them is off in the mean
    x = (normal(0, 4, 2, 64, 64) + 10000).astype("f4")
    mean, var = channel_moments(x, variant=variant)
    np.testing.assert_allclose(mean, x.astype("f8").mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(var, x.astype("f8").var((0, 2, 3)), rtol=1e-5)


@every_variant
def test_the_output_ignores_scale_and_offset_of_the_input(variant):
    x, one, zero = normal(0, 3, 4, 5, 6), np.ones(4), np.zeros(4)
    y = batch_norm(x, one, zero, variant, eps=0)[0]
    np.testing.assert_allclose(y, batch_norm(5 * x - 3, one, zero, variant, eps=0)[0], atol=1e-12)
    mean, var = channel_moments(y, variant=variant)
    np.testing.assert_allclose(mean, zero, atol=1e-14)
    np.testing.assert_allclose(var, one, rtol=1e-12)
    # so a gradient along the input, or along a constant, is none
    grad = normal(1, *x.shape)
    _, mean, rstd = batch_norm(x, one, zero, variant, eps=0)
    dx = batch_norm_backward(grad, x, one, mean, rstd, variant=variant)[0]
    np.testing.assert_allclose(dx.sum((0, 2, 3)), zero, atol=1e-12)
    np.testing.assert_allclose((dx * x).sum((0, 2, 3)), zero, atol=1e-12)


@every_variant
def test_nan_stays_in_its_channel(variant):
    x = normal(0, 2, 3, 4, 4, dtype="f4")
    x[1, 1, 2, 2] = np.nan
    mean, var = channel_moments(x, variant=variant)
    np.testing.assert_array_equal(np.isnan(mean), [False, True, False])
    np.testing.assert_array_equal(np.isnan(var), [False, True, False])
    dx, dweight, dbias = batch_norm_backward(x, x, mean, mean, mean, variant=variant)
    for array in (dx.sum((0, 2, 3)), dweight, dbias):
        np.testing.assert_array_equal(np.isnan(array), [False, True, False])


@every_variant
def test_an_empty_batch_and_any_layout(variant):
    x, one = np.zeros((0, 3, 4, 4), "f4"), np.ones(3, "f4")
    assert scale_shift(x, one, one, variant=variant).shape == x.shape
    dx, dweight, dbias = batch_norm_backward(x, x, one, one, one, variant=variant)
    assert dx.shape == x.shape
    np.testing.assert_array_equal([dweight, dbias], np.zeros((2, 3)))
    x, one = np.asfortranarray(normal(0, 3, 4, 5, 6)), np.ones(8)[::2]
    plain = x.copy("C")
    for actual, desired in zip(
        (*channel_moments(x, variant=variant), scale_shift(x, one, one, variant=variant)),
        (*channel_moments(plain, variant=variant), scale_shift(plain, one, one, variant=variant)),
        strict=True,
    ):
        np.testing.assert_allclose(actual, desired, rtol=1e-12)
    mixed = batch_norm_backward(x, plain, one, one, one, variant=variant)
    for actual, desired in zip(
        mixed, batch_norm_backward(plain, x, one, one, one, variant=variant), strict=True
    ):
        np.testing.assert_allclose(actual, desired, rtol=1e-12)


needs_the_shim = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))


@needs_the_shim
def test_on_a_gpu_all_sums_are_the_same_bits_for_every_order_of_threads():
    x, grad = normal(0, 3, 2, 67, 47, dtype="f4") * 3 + 7, normal(1, 3, 2, 67, 47, dtype="f4")
    mean, var = channel_moments(x, variant="cpu")
    for variant in (name for name, v in VARIANTS.items() if v.folder == "cuda"):
        found = set()
        for seed in (0, 1, 2, 3):
            with using(emulate=True), emulator.running(seed=seed):
                moments = channel_moments(x, variant=variant)
                gradients = batch_norm_backward(grad, x, var, mean, var, variant=variant)
            found.add(b"".join(a.tobytes() for a in (*moments, *gradients)))
        assert len(found) == 1
        np.testing.assert_allclose(moments, (mean, var), rtol=1e-6)


X, V = np.zeros((2, 3, 4, 4), "f4"), np.zeros(3, "f4")


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: channel_moments(X[0]), r"x: expected shape \(N, C, H, W\)"),
        (ValueError, lambda: channel_moments(X[:0]), "x: the mean over no values"),
        (TypeError, lambda: channel_moments(X.astype(int)), "x: expected float32 or float64"),
        (ValueError, lambda: scale_shift(X, V[:2], V), r"scale: .*\(3,\), got \(2,\)"),
        (TypeError, lambda: scale_shift(X, V, V.astype("f8")), "shift: expected float32"),
        (ValueError, lambda: batch_norm_backward(X, X[:1], V, V, V), "x: expected the shape"),
        (ValueError, lambda: batch_norm_backward(X, X, V, V, V[:1]), "rstd: expected one value"),
    ],
)
def test_errors_name_the_argument(error, call, message):
    with pytest.raises(error, match=message):
        call()


@every_variant
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_residual_and_relu_in_the_same_pass(variant, dtype, relu, added):
    x, residual = normal(0, 2, 2, 3, 4, 5, dtype=dtype)
    scale, shift = normal(1, 2, 3, dtype=dtype)
    x[0, 0, 0, 0] = np.nan
    wanted = scale[:, None, None] * x + shift[:, None, None] + (residual if added else 0)
    wanted = np.maximum(wanted, 0) if relu else wanted
    other = residual if added else None
    y = scale_shift(x, scale, shift, other, relu=relu, variant=variant)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)


def test_a_residual_of_another_shape_is_refused():
    x, one = np.zeros((1, 2, 3, 4)), np.ones(2)
    with pytest.raises(ValueError, match="residual: expected the shape and dtype of x"):
        scale_shift(x, one, one, np.zeros((1, 2, 3, 5)))
