from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from minimask.kernels.conv2d import (
    VARIANTS,
    conv2d,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv_transpose2d,
)
from minimask.kernels.conv2d.cpu import grouped, transforms, winograd
from minimask.kernels.conv2d.cuda import launch_backward
from minimask.kernels.conv2d.geometry import geometry
from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build, emulator

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
every_variant = pytest.mark.parametrize("variant", CPU)
WINOGRAD = ("winograd", "grouped", "fused")  # that one, and those that leave 3x3 windows to it
fast_variants = pytest.mark.parametrize("variant", [v for v in CPU if v != "reference"])


def assert_close(actual, desired, rtol=1e-10, atol=1e-10):
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol, strict=True)


def normal(seed, *shape, dtype="f8"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ------------------------------------------------------------------ numbers worked out by hand


@every_variant
def test_a_3x3_image_under_a_2x2_window(variant):
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9
    weight = np.array([[[[1.0, 2], [3, 4]]]])
    y = conv2d(x, weight, np.array([0.5]), variant=variant)
    # top left: 1*1 + 2*2 + 4*3 + 5*4 = 1 + 4 + 12 + 20 = 37, one column on every pixel is one
    # more: + 10; one row down three more: + 30; and the bias
    assert_close(y, np.array([[[[37.5, 47.5], [67.5, 77.5]]]]))


@every_variant
def test_stride_padding_and_dilation_by_hand(variant):
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    weight = np.array([[[[1.0, 2], [3, 4]]]])
    # padded to 5x5 and stride 2: windows at padded rows, columns 0 and 2
    #   0 0 | 0 0      0*1 + 0*2 + 0*3 + 1*4 = 4      0 0 / 2 3 -> 2*3 + 3*4 = 18
    #   0 1 | 2 3      0 4 / 0 7 -> 4*2 + 7*4 = 36    5 6 / 8 9 -> 5 + 12 + 24 + 36 = 77
    y = conv2d(x, weight, stride=2, padding=1, variant=variant)
    assert_close(y, np.array([[[[4.0, 18], [36, 77]]]]))
    # dilation 2: the corners, 1*1 + 3*2 + 7*3 + 9*4 = 64
    assert_close(conv2d(x, weight, dilation=2, variant=variant), np.array([[[[64.0]]]]))


@every_variant
def test_two_groups_do_not_mix(variant):
    x = np.array([1.0, 10.0]).reshape(1, 2, 1, 1)
    weight = np.array([2.0, 3.0, 5.0, 7.0]).reshape(4, 1, 1, 1)
    y = conv2d(x, weight, groups=2, variant=variant)
    assert_close(y.ravel(), np.array([2.0, 3.0, 50.0, 70.0]))  # 1*2, 1*3, 10*5, 10*7


@every_variant
def test_gradients_by_hand(variant):
    x = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    weight = np.array([[[[1.0, 2], [3, 4]]]])
    grad = np.array([[[[1.0, 0], [0, 10]]]])
    # only the windows at (0, 0) with 1 and at (1, 1) with 10 count, and they meet in the center:
    # 1 * 4 + 10 * 1 = 14
    dx = conv2d_backward_input(grad, weight, x.shape, variant=variant)
    assert_close(dx[0, 0], np.array([[1.0, 2, 0], [3, 14, 20], [0, 30, 40]]))
    # 1 * (1 2 / 4 5) + 10 * (5 6 / 8 9)
    dw = conv2d_backward_weight(grad, x, weight.shape, variant=variant)
    assert_close(dw[0, 0], np.array([[51.0, 62], [84, 95]]))
    assert_close(conv2d_backward_bias(grad, variant=variant), np.array([11.0]))


@every_variant
def test_transposed_convolution_doubles_an_image(variant):
    x = np.array([[[[1.0, 2], [3, 4]]]])
    weight = np.array([[[[1.0, 10], [100, 1000]]]])
    y = conv_transpose2d(x, weight, np.array([0.5]), stride=2, variant=variant)
    # every pixel becomes its own 2x2 copy of the window: no overlap at stride 2
    rows = [[1, 10, 2, 20], [100, 1000, 200, 2000], [3, 30, 4, 40], [300, 3000, 400, 4000]]
    assert_close(y[0, 0], np.array(rows) + 0.5)


@every_variant
def test_overlapping_transposed_windows_add_up(variant):
    x = np.array([[[[1.0, 2]]]])
    weight = np.array([[[[1.0, 10, 100]]]])
    # stride 1: 1*(1 10 100) shifted by 0 plus 2*(1 10 100) shifted by 1
    y = conv_transpose2d(x, weight, variant=variant)
    assert_close(y[0, 0], np.array([[1.0, 12, 120, 200]]))
    # padding 1 cuts one column from each side (and rows: give the window three of them)
    tall = np.zeros((1, 1, 3, 3))
    tall[0, 0, 1] = weight
    assert_close(
        conv_transpose2d(x, tall, padding=1, variant=variant)[0, 0], np.array([[12.0, 120]])
    )


# ------------------------------------------------------------------ an independent implementation


@every_variant
def test_agrees_with_scipy_correlate(variant):
    x, weight = normal(0, 2, 3, 9, 7), normal(1, 4, 3, 3, 2)
    expected = np.zeros((2, 4, 7, 6))
    for n in range(2):
        for k in range(4):
            for c in range(3):
                expected[n, k] += scipy.signal.correlate(x[n, c], weight[k, c], mode="valid")
    assert_close(conv2d(x, weight, variant=variant), expected)
    assert_close(conv2d(x, weight, stride=(2, 3), variant=variant), expected[:, :, ::2, ::3])


@every_variant
@pytest.mark.parametrize("groups", [1, 2])
def test_agrees_with_torch(variant, groups):
    torch = pytest.importorskip("torch")
    x, weight, bias = normal(0, 2, 4, 11, 8), normal(1, 6, 4 // groups, 3, 2), normal(2, 6)
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 1), "groups": groups}
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    out = torch.nn.functional.conv2d(*tensors, **options)
    grad = normal(3, *out.shape)
    out.backward(torch.tensor(grad))
    options["variant"] = variant
    assert_close(conv2d(x, weight, bias, **options), out.detach().numpy())
    dx = conv2d_backward_input(grad, weight, x.shape, **options)
    dw = conv2d_backward_weight(grad, x, weight.shape, **options)
    assert_close(dx, tensors[0].grad.numpy())
    assert_close(dw, tensors[1].grad.numpy())
    assert_close(conv2d_backward_bias(grad, variant=variant), tensors[2].grad.numpy())


@every_variant
def test_transposed_agrees_with_torch(variant):
    torch = pytest.importorskip("torch")
    x, weight, bias = normal(0, 2, 4, 5, 3), normal(1, 4, 6, 3, 4), normal(2, 6)
    y = conv_transpose2d(x, weight, bias, stride=(2, 3), padding=(1, 0), variant=variant)
    expected = torch.nn.functional.conv_transpose2d(
        *(torch.tensor(a) for a in (x, weight, bias)), stride=(2, 3), padding=(1, 0)
    )
    assert_close(y, expected.numpy())


# ------------------------------------------------------------------ every variant, many shapes


@st.composite
def problems(draw):
    """A convolution that fits: input shape, weight shape, options."""
    small, step = st.integers(1, 5), st.integers(1, 3)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    window = draw(st.tuples(small, small).filter(lambda k: max(k) <= 4))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    size = [
        draw(st.integers(max(1, r - 2 * p), r + 12)) for r, p in zip(reach, padding, strict=True)
    ]
    depth, filters = draw(small), groups * draw(small)
    options = {
        "stride": draw(st.tuples(step, step)),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }
    return (draw(st.integers(0, 4)), groups * depth, *size), (filters, depth, *window), options


@fast_variants
@given(problems(), st.sampled_from(["f4", "f8"]), st.booleans())
def test_every_variant_agrees_with_the_reference(variant, problem, dtype, with_bias):
    x_shape, w_shape, options = problem
    x, weight = normal(0, *x_shape, dtype=dtype), normal(1, *w_shape, dtype=dtype)
    bias = normal(2, w_shape[0], dtype=dtype) if with_bias else None
    close = {"f4": {"rtol": 1e-4, "atol": 1e-4}, "f8": {}}[dtype]
    y = conv2d(x, weight, bias, variant="reference", **options)
    grad = normal(3, *y.shape, dtype=dtype)
    dx = conv2d_backward_input(grad, weight, x_shape, variant="reference", **options)
    dw = conv2d_backward_weight(grad, x, w_shape, variant="reference", **options)
    db = conv2d_backward_bias(grad, variant="reference")
    options["variant"] = variant
    assert_close(conv2d(x, weight, bias, **options), y, **close)
    assert_close(conv2d_backward_input(grad, weight, x_shape, **options), dx, **close)
    assert_close(conv2d_backward_weight(grad, x, w_shape, **options), dw, **close)
    assert_close(conv2d_backward_bias(grad, variant=variant), db, **close)


# the shapes of a small Mask R-CNN, where tiles cross images, rows and blocks of channels
LAYERS = {
    "stem": ((2, 3, 64, 64), (16, 3, 7, 7), 2, 3),
    "many tiles": ((2, 64, 40, 40), (64, 64, 3, 3), 1, 1),
    "strided": ((3, 64, 32, 32), (128, 64, 3, 3), 2, 1),
    "one pixel": ((9, 48, 1, 1), (32, 48, 3, 3), 1, 1),
    "small and deep": ((5, 256, 4, 4), (96, 256, 3, 3), 1, 1),
    "small, deep, strided": ((5, 256, 8, 8), (96, 256, 3, 3), 2, 1),
    "pointwise": ((3, 64, 14, 14), (48, 64, 1, 1), 1, 0),
    "one pixel, pointwise": ((3, 48, 1, 1), (20, 48, 1, 1), 1, 0),
    "pointwise, strided": ((3, 64, 16, 16), (128, 64, 1, 1), 2, 0),
    "wide": ((1, 3, 5, 700), (8, 3, 3, 3), 1, 1),
    "one filter": ((3, 32, 9, 9), (1, 32, 1, 1), 1, 0),
}


@fast_variants
@pytest.mark.parametrize("layer", LAYERS)
def test_float32_layers_agree_with_the_float64_reference(variant, layer):
    x_shape, w_shape, stride, padding = LAYERS[layer]
    x, weight, bias = normal(0, *x_shape), normal(1, *w_shape), normal(2, w_shape[0])
    options = {"stride": stride, "padding": padding}
    y = conv2d(x, weight, bias, variant="reference", **options)
    grad = normal(3, *y.shape)
    dx = conv2d_backward_input(grad, weight, x_shape, variant="reference", **options)
    dw = conv2d_backward_weight(grad, x, w_shape, variant="reference", **options)
    options["variant"] = variant
    x4, w4, b4, g4 = (a.astype("f4") for a in (x, weight, bias, grad))
    for actual, desired in (
        (conv2d(x4, w4, b4, **options), y),
        (conv2d_backward_input(g4, w4, x_shape, **options), dx),
        (conv2d_backward_weight(g4, x4, w_shape, **options), dw),
    ):
        # the inputs' rounding, 6e-8, of sums of random signs: relative to the largest value
        error = np.abs(actual - desired).max() / np.abs(desired).max()
        assert actual.dtype == np.float32
        assert error < (WINOGRAD_BOUND if variant in WINOGRAD else 2e-6), error


@st.composite
def winograd_problems(draw):
    """3x3 at stride 1, whole registers of channels, any filters, any size and overhang of tiles."""
    channels, filters = 16 * draw(st.integers(1, 4)), draw(st.integers(16, 70))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    size = [draw(st.integers(max(1, 3 - 2 * p), 21)) for p in padding]
    tiles = np.prod([-(-(n + 2 * p - 2) // 4) for n, p in zip(size, padding, strict=True)])
    images = -(-winograd.TILES // int(tiles)) + draw(st.integers(0, 3))
    return (images, channels, *size), (filters, channels, 3, 3), padding


# Measured: 3e-6 at 256 channels.  Direct sums have up to 1e-6.
WINOGRAD_BOUND = 6e-6


@given(winograd_problems())
def test_winograds_error_stays_below_its_bound(problem):
    x_shape, w_shape, padding = problem
    x, weight, bias = normal(0, *x_shape), normal(1, *w_shape), normal(2, w_shape[0])
    y = conv2d(x, weight, bias, padding=padding, variant="im2col")
    grad = normal(3, *y.shape)
    dx = conv2d_backward_input(grad, weight, x_shape, padding=padding, variant="im2col")
    dw = conv2d_backward_weight(grad, x, w_shape, padding=padding, variant="im2col")
    x4, w4, b4, g4 = (a.astype("f4") for a in (x, weight, bias, grad))
    options = {"padding": padding, "variant": "winograd"}
    fast = conv2d(x4, w4, b4, **options)
    assert not np.array_equal(fast, conv2d(x4, w4, b4, padding=padding, variant="cpu"))  # it ran
    for actual, desired in (
        (fast, y),
        (conv2d_backward_input(g4, w4, x_shape, **options), dx),
        (conv2d_backward_weight(g4, x4, w_shape, **options), dw),
    ):
        error = np.abs(actual - desired).max() / np.abs(desired).max()
        assert error < WINOGRAD_BOUND, error


def test_winograds_matrices():
    a, b, g = transforms.A, transforms.B, transforms.G
    # one dimension, by the definition: 4 outputs of a window of 3 over 6 pixels
    d, w = np.array([3.0, -1, 4, 1, -5, 9]), np.array([2.0, 7, -1])
    expected = [3 * 2 - 7 - 4, -2 + 28 - 1, 8 + 7 + 5, 2 - 35 - 9]
    np.testing.assert_allclose(a @ ((g @ w) * (b @ d)), expected, rtol=1e-12)
    # the points 1 and 2 give the matrices printed everywhere, up to the sign of rows of B and G
    a, b, g = transforms.matrices(1, 2)
    np.testing.assert_array_equal(a[3], [0, 1, -1, 8, -8, 1])
    np.testing.assert_array_equal(b[0], [4, 0, -5, 0, 1, 0])
    np.testing.assert_allclose(g[3], [1 / 24, 1 / 12, 1 / 6], rtol=1e-15)


@st.composite
def grouped_problems(draw):
    """Groups of few channels or of one, odd numbers of them, planes below and above a tile."""
    groups = draw(st.sampled_from([2, 3, 5, 8, 33]))
    depth, share = (draw(st.sampled_from([1, 1, 2, 3, 4, 5, 7, 8])) for _ in range(2))
    window = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    pair_of = st.tuples(st.integers(1, 3), st.integers(1, 3))
    stride, dilation = draw(pair_of), draw(pair_of)
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    size = [
        draw(st.integers(max(1, r - 2 * p), r + most))
        for r, p, most in zip(reach, padding, (30, 60), strict=True)
    ]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    images = draw(st.integers(0, 3))
    return (images, groups * depth, *size), (groups * share, depth, *window), options


@given(grouped_problems(), st.sampled_from(["f4", "f8"]), st.sampled_from([1 << 8, 1 << 15]))
@settings(deadline=None)
def test_groups_of_few_channels_agree_with_the_reference(problem, dtype, tile_size):
    x_shape, w_shape, options = problem
    x, weight = normal(0, *x_shape, dtype=dtype), normal(1, *w_shape, dtype=dtype)
    bias = normal(2, w_shape[0], dtype=dtype)
    y = conv2d(x, weight, bias, variant="reference", **options)
    grad, residual = normal(3, *y.shape, dtype=dtype), normal(4, *y.shape, dtype=dtype)
    close = {"f4": {"rtol": 1e-4, "atol": 1e-4}, "f8": {}}[dtype]
    dx = conv2d_backward_input(grad, weight, x_shape, variant="reference", **options)
    dw = conv2d_backward_weight(grad, x, w_shape, variant="reference", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouped, "TILE_SIZE", tile_size)  # small: several bands of few rows
        assert_close(conv2d(x, weight, bias, **options), y, **close)
        fused = conv2d(x, weight, bias, residual=residual, relu=True, **options)
        assert_close(fused, np.maximum(y + residual, 0), **close)
        positive = conv2d(x, weight, bias, relu=True, **options)
        assert_close(positive, np.maximum(y, 0), **close)
        assert_close(conv2d_backward_input(grad, weight, x_shape, **options), dx, **close)
        assert_close(conv2d_backward_weight(grad, x, w_shape, **options), dw, **close)


def test_what_was_computed_before_does_not_leak_into_the_border():
    """Scratch memory is used again; numbers that are no numbers must not come back from it."""
    weight, options = normal(0, 6, 3, 3, 3, dtype="f4"), {"padding": 1, "groups": 2}
    poison = np.full((2, 6, 40, 40), np.nan, np.float32)
    x, grad = normal(1, 2, 6, 9, 11, dtype="f4"), normal(2, 2, 6, 9, 11, dtype="f4")
    for stride in (1, 2):
        options["stride"] = stride
        y = conv2d(x, weight, **options)
        before = conv2d_backward_weight(grad[:, :, : y.shape[2], : y.shape[3]], x, (6, 3, 3, 3),
                                        **options)  # fmt: skip
        conv2d_backward_weight(conv2d(poison, weight, **options), poison, (6, 3, 3, 3), **options)
        after = conv2d_backward_weight(grad[:, :, : y.shape[2], : y.shape[3]], x, (6, 3, 3, 3),
                                       **options)  # fmt: skip
        np.testing.assert_array_equal(after, before)
        np.testing.assert_array_equal(conv2d(x, weight, **options), y)


def test_a_nan_stays_in_its_group_and_under_its_windows():
    x = normal(0, 1, 8, 33, 33, dtype="f4")
    x[0, 1, 5, 32] = np.nan  # at the end of a row: the next row's border lies beside it in memory
    y = conv2d(x, normal(1, 8, 4, 3, 3, dtype="f4"), padding=1, groups=2)
    seen = np.zeros(y.shape, bool)
    seen[:, :4, 4:7, 31:] = True
    np.testing.assert_array_equal(np.isnan(y), seen)


# ------------------------------------------------------------------ what must stay the same


@every_variant
@given(problems())
def test_the_three_are_one_bilinear_form(variant, problem):
    """<grad, conv(x, w)> = <backward_input(grad, w), x> = <backward_weight(grad, x), w>."""
    x_shape, w_shape, options = problem
    options["variant"] = variant
    x, weight = normal(0, *x_shape), normal(1, *w_shape)
    y = conv2d(x, weight, **options)
    grad = normal(2, *y.shape)
    forward = np.vdot(grad, y)
    close = {"rtol": 1e-9, "atol": 1e-9}
    dx = conv2d_backward_input(grad, weight, x_shape, **options)
    dw = conv2d_backward_weight(grad, x, w_shape, **options)
    np.testing.assert_allclose(np.vdot(dx, x), forward, **close)
    np.testing.assert_allclose(np.vdot(dw, weight), forward, **close)
    bias = normal(3, w_shape[0])
    shifted = np.vdot(grad, conv2d(x, weight, bias, **options))
    db = conv2d_backward_bias(grad, variant=variant)
    np.testing.assert_allclose(shifted - forward, db @ bias, **close)


@every_variant
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(1, 6))
def test_transposed_is_the_adjoint(variant, window, stride, padding, size):
    weight = normal(0, 3, 2, window + padding, window + padding)
    x = normal(1, 2, 3, size, size + 1)
    options = {"stride": stride, "padding": padding, "variant": variant}
    if (size - 1) * stride - 2 * padding + window + padding < 1:
        return
    y = conv_transpose2d(x, weight, **options)
    other = normal(2, *y.shape)
    forward = conv2d(other, weight, **options)
    assert forward.shape == x.shape
    np.testing.assert_allclose(np.vdot(forward, x), np.vdot(other, y), rtol=1e-9, atol=1e-9)
    # and its gradients are convolutions, as the documentation says
    dweight = conv2d_backward_weight(x, other, weight.shape, **options)
    np.testing.assert_allclose(np.vdot(dweight, weight), np.vdot(other, y), rtol=1e-9, atol=1e-9)


@every_variant
def test_shifting_the_image_shifts_the_output(variant):
    x, weight = normal(0, 1, 2, 12, 12), normal(1, 3, 2, 3, 3)
    y, moved = (conv2d(a, weight, padding=1, variant=variant) for a in (x, np.roll(x, 2, axis=3)))
    assert_close(moved[..., 3:-1], y[..., 1:-3])


@every_variant
def test_flipping_image_and_window_flips_the_output(variant):
    x, weight = normal(0, 2, 3, 10, 9), normal(1, 4, 3, 3, 3)
    y = conv2d(x, weight, padding=1, variant=variant)
    flipped = conv2d(x[..., ::-1], weight[..., ::-1], padding=1, variant=variant)
    assert_close(flipped[..., ::-1], y)


@every_variant
def test_a_batch_is_its_images_and_groups_are_their_parts(variant):
    x, weight = normal(0, 5, 6, 7, 7), normal(1, 4, 3, 3, 3)
    y = conv2d(x, weight, groups=2, padding=1, variant=variant)
    for n in range(5):
        alone = conv2d(x[n : n + 1], weight, groups=2, padding=1, variant=variant)
        assert_close(y[n : n + 1], alone)
    parts = [
        conv2d(x[:, 3 * g : 3 * g + 3], weight[2 * g : 2 * g + 2], padding=1, variant=variant)
        for g in range(2)
    ]
    assert_close(y, np.concatenate(parts, axis=1))


@every_variant
def test_layout_in_memory_does_not_matter(variant):
    x, weight, grad = normal(0, 2, 4, 8, 8), normal(1, 6, 4, 3, 3), normal(2, 2, 6, 4, 4)
    options = {"stride": 2, "padding": 1, "variant": variant}
    strided = [np.asfortranarray(a) for a in (x, weight, grad)]
    assert not strided[0].flags.c_contiguous
    assert_close(conv2d(*strided[:2], **options), conv2d(x, weight, **options))
    assert_close(
        conv2d_backward_input(strided[2], strided[1], x.shape, **options),
        conv2d_backward_input(grad, weight, x.shape, **options),
    )
    assert_close(
        conv2d_backward_weight(strided[2], strided[0], weight.shape, **options),
        conv2d_backward_weight(grad, x, weight.shape, **options),
    )


@every_variant
def test_an_empty_batch(variant):
    x, weight, bias = np.zeros((0, 3, 8, 8), "f4"), np.ones((5, 3, 3, 3), "f4"), np.ones(5, "f4")
    y = conv2d(x, weight, bias, variant=variant)
    assert y.shape == (0, 5, 6, 6)
    assert conv2d_backward_input(y, weight, x.shape, variant=variant).shape == x.shape
    dw = conv2d_backward_weight(y, x, weight.shape, variant=variant)
    assert_close(dw, np.zeros_like(weight))
    assert_close(conv2d_backward_bias(y, variant=variant), np.zeros(5, "f4"))
    up = conv_transpose2d(np.zeros((0, 3, 4, 4), "f4"), np.ones((3, 2, 2, 2), "f4"), stride=2)
    assert up.shape == (0, 2, 8, 8)


@every_variant
def test_pixels_that_no_window_reads_get_no_gradient(variant):
    # stride 3 over 8 pixels: windows of one pixel at 0, 3 and 6
    grad, weight = np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1))
    dx = conv2d_backward_input(grad, weight, (1, 1, 8, 8), stride=3, variant=variant)
    reached = np.zeros((8, 8))
    reached[::3, ::3] = 1
    assert_close(dx[0, 0], reached)


@every_variant
def test_nan_reaches_the_windows_that_see_it_and_no_others(variant):
    x = normal(0, 1, 16, 33, 33, dtype="f4")
    x[0, 1, 5, 5] = np.nan
    y = conv2d(x, normal(1, 16, 16, 3, 3, dtype="f4"), padding=1, variant=variant)
    seen = np.zeros(y.shape, bool)
    if variant in WINOGRAD:  # the tiles that see it: outputs 4 to 7
        seen[:, :, 4:8, 4:8] = True
    else:
        seen[:, :, 4:7, 4:7] = True
    np.testing.assert_array_equal(np.isnan(y), seen)


@fast_variants
@pytest.mark.parametrize("layer", ["many tiles", "small and deep", "strided"])
def test_the_same_call_gives_the_same_bits(variant, layer):
    x_shape, w_shape, stride, padding = LAYERS[layer]
    x, weight = normal(0, *x_shape, dtype="f4"), normal(1, *w_shape, dtype="f4")
    options = {"stride": stride, "padding": padding, "variant": variant}

    def run():
        y = conv2d(x, weight, **options)
        dx = conv2d_backward_input(y, weight, x_shape, **options)
        return y.tobytes(), dx.tobytes(), conv2d_backward_weight(y, x, w_shape, **options).tobytes()

    first = run()
    for _ in range(5):
        assert run() == first


def test_results_are_not_overwritten_by_the_next_call():
    x, weight = normal(0, 2, 3, 16, 16, dtype="f4"), normal(1, 4, 3, 3, 3, dtype="f4")
    y = conv2d(x, weight)
    before = y.copy()
    conv2d(2 * x, weight)
    assert_close(y, before)


# ------------------------------------------------------------------ GPU gradients in the host shim

needs_the_shim = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))
GPU_GRADIENTS = ["cuda_1_direct", "cuda_2_shared", "cuda_3_registers", "cuda_4_vectorized"]


@needs_the_shim
@pytest.mark.parametrize("variant", GPU_GRADIENTS)
def test_gpu_gradients_are_the_same_bits_for_every_order_of_threads(variant):
    x, weight = normal(0, 3, 5, 23, 19, dtype="f4"), normal(1, 6, 5, 3, 3, dtype="f4")
    options = {"padding": 1, "variant": variant}
    grad = normal(2, 3, 6, 23, 19, dtype="f4")  # 1311 positions, so that sums are cut into slices

    def run(seed):
        with using(emulate=True), emulator.running(seed=seed):
            dx = conv2d_backward_input(grad, weight, x.shape, **options)
            dw = conv2d_backward_weight(grad, x, weight.shape, **options)
            return dx.tobytes(), dw.tobytes()

    if variant == "cuda_4_vectorized":
        shapes = geometry(x.shape, weight.shape, stride=1, padding=1, dilation=1, groups=1)
        assert launch_backward.slicing(1311, 1, shapes)[1] > 3
    first = run(0)
    for seed in (1, 2, 3, 4):
        assert run(seed) == first


@needs_the_shim
def test_large_tiles_of_the_input_gradient_agree_with_the_reference(monkeypatch):
    monkeypatch.setattr(launch_backward, "ENOUGH_BLOCKS", 4)  # large tiles for small inputs, too
    for x_shape, w_shape, stride, groups in (
        ((2, 67, 7, 7), (9, 67, 3, 3), 2, 1),
        ((1, 132, 4, 36), (18, 66, 2, 2), 1, 2),
    ):
        options = {"stride": stride, "padding": 1, "groups": groups}
        weight = normal(0, *w_shape, dtype="f4")
        grad = conv2d(normal(1, *x_shape, dtype="f4"), weight, **options, variant="im2col")
        wide = (grad.astype("f8"), weight.astype("f8"), x_shape)
        expected = conv2d_backward_input(*wide, **options, variant="reference")
        launched = []

        def note(launch, launched=launched):
            launched.append(launch.kernel)
            launch.run()

        with using(emulate=True), emulator.running(watcher=note):
            dx = conv2d_backward_input(grad, weight, x_shape, **options)
        assert launched == ["conv2d_transpose_filters", "conv2d_backward_input_128"]
        assert np.abs(dx - expected).max() < 2e-6 * np.abs(expected).max()


# ------------------------------------------------------------------ messages


X, W = np.zeros((2, 4, 8, 8), "f4"), np.zeros((6, 4, 3, 3), "f4")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv2d(X[0], W), r"x: expected shape \(N, C, H, W\), got \(4, 8, 8\)"),
        (lambda: conv2d(X, W[0]), r"weight: expected shape \(K, C / groups, kh, kw\)"),
        (lambda: conv2d(X, W[:, :3]), r"weight: expected shape \(K, 4, kh, kw\) .*got \(6, 3,"),
        (lambda: conv2d(X, W, groups=3), "groups: 3 must divide the 4 channels"),
        (lambda: conv2d(X, W, groups=0), "groups: expected an int >= 1, got 0"),
        (lambda: conv2d(X, W, stride=0), "stride: expected an int or a pair of ints >= 1, got 0"),
        (lambda: conv2d(X, W, padding=-1), "padding: expected an int or a pair of ints >= 0"),
        (lambda: conv2d(X, W, dilation=(1, 2, 3)), "dilation: expected an int or a pair"),
        (lambda: conv2d(X, W, stride=1.5), "stride: .*got 1.5"),
        (lambda: conv2d(X, W, stride="2"), "stride: .*got '2'"),
        (lambda: conv2d(X, W, dilation=4), "weight: a 3x3 window .* larger than x of 8x8"),
        (lambda: conv2d(X, W, X[0, :3, 0, 0]), r"bias: expected shape \(6,\), got \(3,\)"),
        (lambda: conv2d_backward_input(X, W, (2, 4, 8, 8)), "grad: expected the output's shape"),
        (lambda: conv2d_backward_weight(X, X, W.shape), "grad: expected the output's shape"),
        (lambda: conv2d_backward_bias(X[0]), "grad: expected shape"),
        (lambda: conv_transpose2d(X, W), r"weight: expected shape \(C_in, C_out, kh, kw\)"),
        (lambda: conv_transpose2d(X, W[:4, :, :1], padding=4), "padding: .* pad less"),
        (lambda: conv2d(X, W, variant="img2col"), "did you mean 'im2col'"),
    ],
)
def test_errors_name_the_argument_and_the_way_out(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv2d(X.astype(int), W), "x: expected float32 or float64, got int64"),
        (lambda: conv2d(X, W.astype("f8")), "weight: expected float32 as x has, got float64"),
        (lambda: conv2d(X, W, np.zeros(6)), "bias: expected float32 as x has, got float64"),
    ],
)
def test_dtypes_are_not_converted_silently(call, message):
    with pytest.raises(TypeError, match=message):
        call()


# ------------------------------------------------------------------ what follows in the same pass

SIZES = [  # x, filters, window, stride, groups: Winograd's tiles whole and not, and the other form
    ((2, 16, 12, 13), 32, 3, 1, 1),
    ((1, 16, 23, 24), 16, 3, 1, 1),
    ((2, 16, 23, 24), 37, 3, 1, 1),
    ((2, 5, 9, 11), 7, 3, 2, 1),
    ((3, 20, 6, 7), 40, 1, 1, 1),
    ((1, 4, 10, 12), 6, 5, 1, 2),
    ((3, 6, 1, 1), 5, 1, 1, 1),
]


@every_variant
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_residual_and_relu(variant, relu, added, size):
    shape, filters, window, stride, groups = size
    x, bias = normal(0, *shape, dtype="f4"), normal(1, filters, dtype="f4")
    weight = normal(2, filters, shape[1] // groups, window, window, dtype="f4")
    options = {"stride": stride, "padding": window // 2, "groups": groups}
    wanted = conv2d(*(a.astype("f8") for a in (x, weight, bias)), **options, variant="reference")
    residual = normal(3, *wanted.shape, dtype="f4") * 5 if added else None
    wanted = wanted if residual is None else wanted + residual
    wanted = np.maximum(wanted, 0) if relu else wanted
    y = conv2d(x, weight, bias, **options, residual=residual, relu=relu, variant=variant)
    assert y.dtype == np.float32
    assert np.abs(y - wanted).max() < 5e-6 * np.abs(wanted).max()


def test_fused_gives_the_bits_of_the_steps_one_by_one():
    x, weight = normal(0, 2, 16, 14, 15, dtype="f4"), normal(1, 32, 16, 3, 3, dtype="f4")
    residual = normal(2, 2, 32, 14, 15, dtype="f4")
    apart = np.maximum(conv2d(x, weight, padding=1) + residual, 0)
    together = conv2d(x, weight, padding=1, residual=residual, relu=True)
    np.testing.assert_array_equal(together, apart)


@every_variant
def test_nan_is_not_turned_into_zero(variant):
    x = np.full((1, 2, 4, 4), np.nan, np.float32)
    weight = np.ones((3, 2, 1, 1), np.float32)
    assert np.isnan(conv2d(x, weight, relu=True, variant=variant)).all()


@every_variant
@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolution_with_relu(variant, stride):
    x, weight, bias = normal(0, 2, 3, 5, 6), normal(1, 3, 4, 2, 2), normal(2, 4)
    wanted = np.maximum(conv_transpose2d(x, weight, bias, stride=stride, variant="reference"), 0)
    y = conv_transpose2d(x, weight, bias, stride=stride, relu=True, variant=variant)
    assert_close(y, wanted)


def test_a_residual_of_another_shape_or_type_is_refused():
    x, weight = np.zeros((1, 2, 4, 4), np.float32), np.zeros((3, 2, 1, 1), np.float32)
    with pytest.raises(ValueError, match=r"residual: expected the output's shape \(1, 3, 4, 4\)"):
        conv2d(x, weight, residual=np.zeros((1, 3, 4, 5), np.float32))
    with pytest.raises(TypeError, match="residual: expected float32"):
        conv2d(x, weight, residual=np.zeros((1, 3, 4, 4)))
