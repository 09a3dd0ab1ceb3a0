from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build, emulator
from minimask.kernels.max_pool2d import VARIANTS, max_pool2d, max_pool2d_backward
from minimask.kernels.max_pool2d.cuda import launch_backward
from minimask.kernels.max_pool2d.windows import Windows

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
needs_the_shim = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
every_variant = pytest.mark.parametrize("variant", CPU)


def normal(seed, *shape, dtype="f8"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@every_variant
def test_numbers_by_hand(variant):
    x = np.array([[1.0, 5, 2, 0], [3, 4, 8, 8], [-1, -2, -3, -4], [-5, -6, -7, -8]])[None, None]
    y, argmax = max_pool2d(x, 2, variant=variant)
    # of 1 5 / 3 4 the 5 at flat index 1; of 2 0 / 8 8 the first 8, at row 1, column 2: 1*4 + 2
    np.testing.assert_array_equal(y[0, 0], [[5, 8], [-1, -3]], strict=False)
    np.testing.assert_array_equal(argmax[0, 0], [[1, 6], [8, 10]])
    assert argmax.dtype == np.int32
    # 3x3 windows one step apart: both upper ones hold row 1's 8 at column 2
    y, argmax = max_pool2d(x, 3, stride=1, variant=variant)
    np.testing.assert_array_equal(y[0, 0], [[8, 8], [8, 8]])
    np.testing.assert_array_equal(argmax[0, 0], [[6, 6], [6, 6]])
    # and their gradients meet there: 1 + 10 + 100 + 1000
    grad = np.array([[[[1.0, 10], [100, 1000]]]])
    dx = max_pool2d_backward(grad, argmax, x.shape, variant=variant)
    expected = np.zeros(16)
    expected[6] = 1111
    np.testing.assert_array_equal(dx.ravel(), expected)


@every_variant
def test_padding_is_minus_infinity_and_never_chosen(variant):
    x = np.full((1, 1, 3, 3), -7.0)
    y, argmax = max_pool2d(x, 3, stride=2, padding=1, variant=variant)
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -7.0))
    np.testing.assert_array_equal(argmax[0, 0], [[0, 1], [3, 4]])  # the first pixel of each window
    y, argmax = max_pool2d(np.full_like(x, -np.inf), 3, stride=2, padding=1, variant=variant)
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -np.inf))
    np.testing.assert_array_equal(argmax[0, 0], [[0, 1], [3, 4]])


@every_variant
def test_nan_is_larger_than_everything(variant):
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 1] = x[0, 0, 1, 1] = np.nan
    x[0, 0, 0, 0] = np.inf
    y, argmax = max_pool2d(x, 2, variant=variant)
    np.testing.assert_array_equal(y[0, 0], [[np.nan, 7], [13, 15]])
    np.testing.assert_array_equal(argmax[0, 0], [[1, 7], [13, 15]])  # the first NaN


@every_variant
def test_agrees_with_scipy_maximum_filter(variant):
    x = normal(0, 2, 3, 12, 9)
    filtered = scipy.ndimage.maximum_filter(x, (1, 1, 3, 3), mode="constant", cval=-np.inf)
    y, argmax = max_pool2d(x, 3, stride=2, padding=1, variant=variant)
    np.testing.assert_array_equal(y, filtered[:, :, ::2, ::2])
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), argmax.reshape(2, 3, -1), 2), y.reshape(2, 3, -1)
    )


@every_variant
def test_agrees_with_torch(variant):
    torch = pytest.importorskip("torch")
    x = normal(0, 2, 3, 13, 10).round(1)  # with ties
    tensor = torch.tensor(x, requires_grad=True)
    out, index = torch.nn.functional.max_pool2d(tensor, 3, 2, 1, return_indices=True)
    grad = normal(1, *out.shape)
    out.backward(torch.tensor(grad))
    y, argmax = max_pool2d(x, 3, stride=2, padding=1, variant=variant)
    np.testing.assert_array_equal(y, out.detach().numpy())
    np.testing.assert_array_equal(argmax, index.numpy())
    dx = max_pool2d_backward(grad, argmax, x.shape, variant=variant)
    np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=1e-12)


@st.composite
def problems(draw):
    window = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in window)
    size = [
        draw(st.integers(max(1, k - 2 * p), k + 9)) for k, p in zip(window, padding, strict=True)
    ]
    stride = draw(st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 4)), *size)
    return shape, window, {"stride": stride, "padding": padding}


@given(problems(), st.sampled_from(["f4", "f8"]))
def test_the_variants_agree_to_the_bit(problem, dtype):
    shape, window, options = problem
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 3, shape).astype(dtype)  # many ties
    x[rng.random(shape) < 0.1] = np.nan
    x[rng.random(shape) < 0.2] = -np.inf
    expected, expected_at = max_pool2d(x, window, variant="reference", **options)
    y, argmax = max_pool2d(x, window, variant="cpu", **options)
    np.testing.assert_array_equal(y, expected, strict=True)
    np.testing.assert_array_equal(argmax, expected_at, strict=True)
    grad = rng.integers(-9, 9, y.shape).astype(dtype)
    dx = max_pool2d_backward(grad, argmax, shape, window, variant="cpu", **options)
    reference = max_pool2d_backward(grad, argmax, shape, variant="reference")
    np.testing.assert_array_equal(dx, reference, strict=True)


@every_variant
@given(problems())
def test_the_gradient_is_the_adjoint_of_picking(variant, problem):
    """For another image z, the sum of grad z[argmax] is the sum of dx z."""
    shape, window, options = problem
    y, argmax = max_pool2d(normal(0, *shape), window, variant=variant, **options)
    grad, other = normal(1, *y.shape), normal(2, *shape)
    planes = shape[0] * shape[1]
    pixels, picks = shape[2] * shape[3], y.shape[2] * y.shape[3]
    picked = np.take_along_axis(other.reshape(planes, pixels), argmax.reshape(planes, picks), 1)
    dx = max_pool2d_backward(grad, argmax, shape, variant=variant)
    np.testing.assert_allclose(
        np.vdot(dx, other), np.vdot(grad, picked.reshape(grad.shape)), rtol=1e-9, atol=1e-9
    )


@every_variant
def test_rising_functions_and_shifts_commute_with_it(variant):
    x = normal(0, 2, 3, 12, 12)
    y, argmax = max_pool2d(x, 3, stride=2, variant=variant)
    curved, curved_at = max_pool2d(np.exp(x), 3, stride=2, variant=variant)
    np.testing.assert_array_equal(curved, np.exp(y))
    np.testing.assert_array_equal(curved_at, argmax)
    moved, _ = max_pool2d(x[:, :, 2:], 3, stride=2, variant=variant)
    np.testing.assert_array_equal(moved, y[:, :, 1:])


@every_variant
def test_layout_in_memory_does_not_matter(variant):
    x = normal(0, 2, 3, 9, 8)
    y, argmax = max_pool2d(np.asfortranarray(x), 3, stride=2, padding=1, variant=variant)
    expected, expected_at = max_pool2d(x, 3, stride=2, padding=1, variant="reference")
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, expected_at)
    grad = normal(1, *y.shape)
    dx = max_pool2d_backward(
        np.asfortranarray(grad), np.asfortranarray(argmax), x.shape, variant=variant
    )
    np.testing.assert_array_equal(
        dx, max_pool2d_backward(grad, argmax, x.shape, variant="reference")
    )


@needs_the_shim
@settings(max_examples=30)
@given(problems(), st.integers(0, 5), st.booleans())
def test_on_a_gpu_it_is_the_cpu_bit_for_bit_in_any_order_of_threads(problem, seed, stem):
    shape, window, options = problem
    if stem and min(shape[2:]) > 1:  # windows for which the fastest rung has its own way
        window, options = (3, 3), {"stride": 2, "padding": (1, options["padding"][1] % 2)}
        shape = (*shape[:3], max(shape[3], 3))
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 3, shape).astype("f4")
    x[rng.random(shape) < 0.1] = np.nan
    y, argmax = max_pool2d(x, window, **options)
    grad = rng.standard_normal(y.shape).astype("f4")
    dx = max_pool2d_backward(grad, argmax, shape)
    with using(emulate=True), emulator.running(seed=seed):
        gpu_y, gpu_argmax = max_pool2d(x, window, **options)
        gpu_dx = max_pool2d_backward(grad, argmax, shape, window, **options)
    np.testing.assert_array_equal(gpu_y, y, strict=True)
    np.testing.assert_array_equal(gpu_argmax, argmax, strict=True)
    np.testing.assert_array_equal(gpu_dx, dx, strict=True)  # sums in the same order


@needs_the_shim
def test_on_a_gpu_an_argmax_outside_the_image_is_left_out():
    grad = np.ones((1, 1, 2, 2), "f4")
    argmax = np.array([[[[-1, 36], [2**31 - 1, 21]]]], "i4")
    expected = np.zeros((1, 1, 6, 6), "f4")
    expected.ravel()[21] = 1
    windows = Windows((3, 3), (3, 3), (0, 0))
    for rung in ("atomic", "gather", "strips"):
        backward = getattr(launch_backward, f"max_pool2d_backward_{rung}")
        got = backward(grad, argmax, input_shape=expected.shape, windows=windows)
        np.testing.assert_array_equal(got, expected)


X = np.zeros((2, 3, 8, 8), "f4")


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: max_pool2d(X[0], 2), r"x: expected shape \(N, C, H, W\)"),
        (TypeError, lambda: max_pool2d(X.astype(int), 2), "x: expected float32 or float64"),
        (ValueError, lambda: max_pool2d(X, 0), "kernel_size: expected an int or a pair"),
        (ValueError, lambda: max_pool2d(X, 9), "kernel_size: .* larger than x of 8x8"),
        (ValueError, lambda: max_pool2d(X, 3, padding=2), "padding: expected at most half"),
        (ValueError, lambda: max_pool2d(X, 3, stride=0), "stride: expected an int or a pair"),
        (
            ValueError,
            lambda: max_pool2d_backward(X, np.zeros((2, 3, 4, 4), int), X.shape),
            "argmax: expected grad's shape",
        ),
        (
            ValueError,
            lambda: max_pool2d_backward(X, X.astype(int), (2, 4, 8, 8)),
            r"input_shape: expected \(2, 3, H, W\)",
        ),
        (TypeError, lambda: max_pool2d_backward(X, X, X.shape), "argmax: expected the integers"),
        (
            ValueError,
            lambda: max_pool2d_backward(X, X.astype(int), X.shape, 3),
            r"kernel_size: \(3, 3\) with stride .* makes \(2, 3, 2, 2\) of .*, but grad is",
        ),
    ],
)
def test_errors_name_the_argument(error, call, message):
    with pytest.raises(error, match=message):
        call()
