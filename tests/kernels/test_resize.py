from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build, emulator
from minimask.kernels.resize import MODES, VARIANTS, resize, resize_backward

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
every_variant = pytest.mark.parametrize("variant", CPU)
every_mode = pytest.mark.parametrize("mode", MODES)


def normal(seed, *shape, dtype="f8"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@every_variant
def test_nearest_by_hand(variant):
    x = np.array([[[[1.0, 2, 3]]]])
    # width 3 to 5: floor(0, 0.6, 1.2, 1.8, 2.4) = 0 0 1 1 2
    y = resize(x, (1, 5), mode="nearest", variant=variant)
    np.testing.assert_array_equal(y, [[[[1, 1, 2, 2, 3]]]])
    # the gradient collects: 1 + 10, 100 + 1000, 10000
    grad = np.array([[[[1.0, 10, 100, 1000, 10000]]]])
    dx = resize_backward(grad, x.shape, mode="nearest", variant=variant)
    np.testing.assert_array_equal(dx, [[[[11, 1100, 10000]]]])
    # 3 to 2: floor(0, 1.5) = 0 1
    np.testing.assert_array_equal(resize(x, (1, 2), variant=variant), [[[[1, 2]]]])
    doubled = resize(np.array([[[[1.0, 2], [3, 4]]]]), (4, 4), variant=variant)
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(doubled[0, 0], rows)
    sums = resize_backward(
        np.arange(16.0).reshape(1, 1, 4, 4), (1, 1, 2, 2), mode="nearest", variant=variant
    )
    np.testing.assert_array_equal(sums[0, 0], [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [42, 50]])


@every_variant
def test_bilinear_by_hand(variant):
    x = np.array([[[[10.0, 20]]]])
    # centers at (i + 0.5) / 2 - 0.5 = -0.25 0.25 0.75 1.25, cut to [0, 1]
    y = resize(x, (1, 4), mode="bilinear", variant=variant)
    np.testing.assert_allclose(y, [[[[10, 12.5, 17.5, 20]]]], rtol=1e-15)
    # each output gives its gradient to the two in proportion: 1 + 0.75*10 + 0.25*100 = 33.5
    grad = np.array([[[[1.0, 10, 100, 1000]]]])
    dx = resize_backward(grad, x.shape, mode="bilinear", variant=variant)
    np.testing.assert_allclose(dx, [[[[33.5, 1077.5]]]], rtol=1e-15)
    # 4 to 2 without antialiasing: centers 0.5 and 2.5, the mean of two pixels
    y = resize(np.array([[[[0.0, 1, 10, 100]]]]), (1, 2), mode="bilinear", variant=variant)
    np.testing.assert_allclose(y, [[[[0.5, 55]]]], rtol=1e-15)


@every_variant
@pytest.mark.parametrize("size", [(20, 26), (5, 4), (10, 13), (7, 30)])
def test_bilinear_agrees_with_scipy(variant, size):
    x = normal(0, 1, 1, 10, 13)
    rows, columns = (
        (np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(size, (10, 13), strict=True)
    )
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = scipy.ndimage.map_coordinates(x[0, 0], grid, order=1, mode="nearest")
    y = resize(x, size, mode="bilinear", variant=variant)
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-10, atol=1e-12)


@every_variant
@every_mode
@pytest.mark.parametrize("size", [(16, 22), (5, 4), (8, 11), (7, 30)])
def test_agrees_with_torch(variant, mode, size):
    torch = pytest.importorskip("torch")
    x = normal(0, 2, 3, 8, 11)
    tensor = torch.tensor(x, requires_grad=True)
    options = {"align_corners": False} if mode == "bilinear" else {}
    out = torch.nn.functional.interpolate(tensor, size, mode=mode, **options)
    grad = normal(1, *out.shape)
    out.backward(torch.tensor(grad))
    y = resize(x, size, mode=mode, variant=variant)
    np.testing.assert_allclose(y, out.detach().numpy(), rtol=1e-10, atol=1e-10)
    dx = resize_backward(grad, x.shape, mode=mode, variant=variant)
    np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
shapes = st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


@every_mode
@given(shapes, sizes | st.just("double"), st.sampled_from(["f4", "f8"]))
def test_the_variants_agree(mode, shape, size, dtype):
    size = (2 * shape[2], 2 * shape[3]) if size == "double" else size
    x, grad = normal(0, *shape, dtype=dtype), normal(1, *shape[:2], *size, dtype=dtype)
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == "f4" else {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(
        resize(x, size, mode=mode, variant="cpu"),
        resize(x, size, mode=mode, variant="reference"),
        strict=True,
        **close,
    )
    np.testing.assert_allclose(
        resize_backward(grad, shape, mode=mode, variant="cpu"),
        resize_backward(grad, shape, mode=mode, variant="reference"),
        strict=True,
        **close,
    )


@every_variant
@every_mode
@given(shapes, sizes | st.just("double"))
def test_backward_is_the_adjoint(variant, mode, shape, size):
    size = (2 * shape[2], 2 * shape[3]) if size == "double" else size
    x, grad = normal(0, *shape), normal(1, *shape[:2], *size)
    y = resize(x, size, mode=mode, variant=variant)
    dx = resize_backward(grad, shape, mode=mode, variant=variant)
    np.testing.assert_allclose(np.vdot(dx, x), np.vdot(grad, y), rtol=1e-9, atol=1e-9)


@every_variant
@every_mode
@given(shapes, sizes)
def test_constants_and_mirror_images_stay(variant, mode, shape, size):
    constant = np.full(shape, 2.5)
    y = resize(constant, size, mode=mode, variant=variant)
    np.testing.assert_allclose(y, np.full(y.shape, 2.5), rtol=1e-14)
    if mode == "bilinear":  # nearest takes the left one of two equally near pixels
        x = normal(0, *shape)
        mirrored = resize(x[..., ::-1], size, mode=mode, variant=variant)[..., ::-1]
        expected = resize(x, size, mode=mode, variant=variant)
        np.testing.assert_allclose(mirrored, expected, rtol=1e-9, atol=1e-9)


@every_variant
def test_bilinear_keeps_a_ramp(variant):
    # x(p) = p at pixel centers; 8 -> 24 pixels samples (i + 0.5) / 3 - 0.5 away from the border
    x = np.arange(8.0)[None, None, None].repeat(3, axis=2)
    y = resize(x, (3, 24), mode="bilinear", variant=variant)
    expected = (np.arange(24) + 0.5) / 3 - 0.5
    np.testing.assert_allclose(y[0, 0, 1, 1:-1], expected[1:-1], rtol=1e-12)


@every_variant
def test_positions_have_the_precision_of_the_image(variant):
    """A float32 image is sampled at float32 positions, as PyTorch does."""
    i, half = np.arange(1067, dtype="f4"), np.float32(0.5)
    position = (i + half) * (np.float32(640) / np.float32(1067)) - half
    exact = (np.arange(1067) + 0.5) * (640 / 1067) - 0.5
    assert np.abs(position - exact).max() > 2e-5  # so the two can be told apart
    ramp = np.arange(640, dtype="f4")[None, None, None]  # its value is its position
    y = resize(ramp, (1, 1067), mode="bilinear", variant=variant)[0, 0, 0, 1:-1]
    assert y.dtype == np.float32
    near = np.abs(y - position[1:-1]).mean()
    assert near < 0.5 * np.abs(y - exact[1:-1]).mean(), near


@every_variant
@every_mode
def test_the_same_size_changes_nothing_and_layout_does_not_matter(variant, mode):
    x = normal(0, 2, 3, 6, 5)
    same = resize(x, (6, 5), mode=mode, variant=variant)
    np.testing.assert_array_equal(same, x)
    assert not np.shares_memory(same, x)
    other = resize(np.asfortranarray(x), (9, 10), mode=mode, variant=variant)
    np.testing.assert_array_equal(other, resize(x, (9, 10), mode=mode, variant=variant))
    back = resize_backward(np.asfortranarray(other), x.shape, mode=mode, variant=variant)
    np.testing.assert_array_equal(
        back, resize_backward(other.copy("C"), x.shape, mode=mode, variant=variant)
    )


needs_the_shim = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
GPU = [name for name, variant in VARIANTS.items() if variant.folder == "cuda"]
lengths = st.integers(1, 12)


@needs_the_shim
@settings(max_examples=30)
@given(st.tuples(lengths, lengths), st.tuples(lengths, lengths), st.integers(0, 5))
def test_on_a_gpu_every_size_agrees_with_the_cpu(size, new_size, seed):
    x, grad = normal(0, 2, 5, *size, dtype="f4"), normal(1, 2, 5, *new_size, dtype="f4")
    for mode in MODES:
        y, dx = resize(x, new_size, mode=mode), resize_backward(grad, x.shape, mode=mode)
        exact = {"rtol": 0, "atol": 0} if mode == "nearest" else {"rtol": 1e-5, "atol": 1e-6}
        for variant in GPU:
            with using(emulate=True), emulator.running(seed=seed):
                gpu_y = resize(x, new_size, mode=mode, variant=variant)
                gpu_dx = resize_backward(grad, x.shape, mode=mode, variant=variant)
            np.testing.assert_allclose(gpu_y, y, strict=True, **exact)
            np.testing.assert_allclose(gpu_dx, dx, strict=True, rtol=1e-5, atol=1e-5)


X = np.zeros((2, 3, 8, 8), "f4")


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: resize(X[0], (4, 4)), r"x: expected shape \(N, C, H, W\)"),
        (TypeError, lambda: resize(X.astype("u1"), (4, 4)), "x: expected float32 or float64"),
        (ValueError, lambda: resize(X, (0, 4)), "size: expected a height and a width"),
        (ValueError, lambda: resize(X[:, :, :0], (4, 4)), "x: expected a height and a width"),
        (ValueError, lambda: resize(X, (4, 4), mode="cubic"), "mode: expected one of nearest, b"),
        (
            ValueError,
            lambda: resize_backward(X, (2, 4, 4, 4)),
            r"input_shape: expected \(2, 3, H, W\)",
        ),
    ],
)
def test_errors_name_the_argument(error, call, message):
    with pytest.raises(error, match=message):
        call()
