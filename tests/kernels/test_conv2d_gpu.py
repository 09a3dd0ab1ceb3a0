"""The convolution's GPU rungs in the host shim: which kernel runs, and what TF32 rounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.kernels.conv2d import VARIANTS, conv2d
from minimask.kernels.conv2d.cuda.launch import LEAST_STEPS, MOST_IN_PARTS, cut_rows
from minimask.kernels.dispatch import choose, using
from minimask.kernels.host_shim import build, emulator

needs_the_shim = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def kernels(x_shape, weight_shape, variant="cuda_4_vectorized", **options):
    """The kernels that a convolution launches."""
    launched = []

    def note(launch):
        launched.append((launch.program.path.stem, launch.kernel))
        launch.run()

    with using(emulate=True), emulator.running(watcher=note):
        conv2d(normal(0, *x_shape), normal(1, *weight_shape), variant=variant, **options)
    return launched


def test_the_default_on_a_gpu_is_our_own_and_exact():
    with using(emulate=True):
        x = normal(0, 1, 1, 2, 2)
        assert choose("minimask.kernels.conv2d", VARIANTS, "conv2d", x) == "cuda_6_grouped"


@needs_the_shim
@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "options", "kernel"),
    [
        ((1, 4, 6, 6), (64, 4, 3, 3), {}, "gathered_64x256"),
        ((1, 4, 6, 6), (65, 4, 3, 3), {}, "gathered_128x128"),
        ((1, 4, 6, 6), (192, 4, 3, 3), {}, "gathered_64x256"),  # 128 + 64, not 2 x 128
        ((1, 4, 6, 6), (64, 4, 1, 1), {}, "pointwise_64x256"),
        ((1, 4, 6, 6), (128, 4, 1, 1), {}, "pointwise_128x128"),
        ((1, 4, 5, 7), (128, 4, 1, 1), {}, "gathered_128x128"),  # 35 pixels are no fours
        ((1, 4, 6, 6), (128, 4, 1, 1), {"padding": 1}, "gathered_128x128"),
        ((1, 1, 9, 9), (8, 1, 8, 8), {}, "gathered_64x256"),  # 64 taps, as many as there are bits
    ],
)
def test_the_kernel_follows_from_the_sizes(x_shape, weight_shape, options, kernel):
    assert kernels(x_shape, weight_shape, **options) == [
        ("forward_4_vectorized", f"conv2d_forward_{kernel}")
    ]


@needs_the_shim
@pytest.mark.parametrize("variant", ["cuda_4_vectorized", "cuda_5_tensor_cores"])
def test_what_tables_cannot_hold_runs_in_another_rung(variant):
    many_taps = kernels((1, 1, 9, 9), (8, 1, 9, 8), variant)
    assert many_taps == [("forward_3_registers", "conv2d_forward")]
    depthwise = kernels((1, 8, 6, 6), (8, 1, 3, 3), variant, groups=8)
    assert depthwise == [("forward_1_direct", "conv2d_forward")]


@needs_the_shim
def test_groups_of_few_channels_have_a_rung_of_their_own():
    variant = "cuda_6_grouped"
    own = "forward_6_grouped"
    four = kernels((1, 8, 6, 6), (8, 4, 3, 3), variant, groups=2)
    assert four == [(own, "conv2d_forward_grouped")]
    depthwise = kernels((1, 8, 6, 6), (8, 1, 3, 3), variant, groups=8)
    assert depthwise == [(own, "conv2d_forward_depthwise")]
    none = kernels((1, 8, 6, 6), (8, 8, 3, 3), variant)
    assert none == [("forward_4_vectorized", "conv2d_forward_gathered_64x256")]
    many = kernels((1, 128, 3, 3), (128, 64, 1, 1), variant, groups=2)
    assert many[0][0] == "forward_4_vectorized"
    # 100 columns of pixels under a window that reaches over 321: no room in a block
    wide = kernels((1, 2, 321, 330), (2, 1, 3, 3), variant, groups=2, dilation=160)
    assert wide == [("forward_1_direct", "conv2d_forward")]


@needs_the_shim
def test_few_tiles_of_many_rows_are_summed_up_in_parts():
    gathered = "conv2d_forward_gathered_64x256"
    assert [k for _, k in kernels((1, 64, 4, 4), (8, 64, 3, 3))] == [gathered, "conv2d_add_parts"]
    assert [k for _, k in kernels((1, 8, 4, 4), (8, 8, 3, 3))] == [gathered]


def test_layers_that_fill_a_gpu_are_not_cut():
    assert cut_rows(tiles=1044, steps=288, clocks=1024, size=256 * 200 * 334) == 1
    # 68 tiles would leave half of 132 multiprocessors idle
    assert cut_rows(tiles=68, steps=576, clocks=1024, size=2 * 512 * 25 * 42) > 3


@given(st.integers(0, 3000), st.integers(1, 2000), st.integers(0, 1 << 28))
def test_no_part_is_empty_and_none_too_short(tiles, steps, size):
    parts = cut_rows(tiles, steps, 1024, size)
    each = -(-steps // parts)
    assert (parts - 1) * each < steps <= parts * each
    assert parts == 1 or each >= LEAST_STEPS
    assert parts == 1 or parts * size <= MOST_IN_PARTS


@needs_the_shim
def test_sums_in_parts_are_the_same_bits_for_every_order_of_threads():
    x, weight, bias = normal(0, 2, 64, 5, 4), normal(1, 70, 64, 3, 3), normal(2, 70)
    results = set()
    for seed in range(4):
        with using(emulate=True), emulator.running(seed=seed):
            results.add(conv2d(x, weight, bias, padding=1).tobytes())
    assert len(results) == 1


@needs_the_shim
def test_tensor_cores_round_factors_to_ten_bits_ties_away_from_zero():
    unit = 2.0**-10  # of TF32 above 1
    x = np.array([1 + 0.49 * unit, 1 + 0.5 * unit, 1.5 * unit + 1, -1 - 0.5 * unit, 0, 1e-3])
    x = x.astype("f4")
    expected = np.array([1, 1 + unit, 1 + 2 * unit, -1 - unit, 0, 1049 * 2.0**-20])
    one = np.ones((1, 1, 1, 1), "f4")
    with using(emulate=True):
        y = conv2d(x.reshape(1, 1, 1, 6), one, variant="cuda_5_tensor_cores")
    np.testing.assert_array_equal(y.ravel(), expected.astype("f4"))


@needs_the_shim
def test_tensor_cores_keep_infinity_and_nan_where_they_are():
    x = np.ones((1, 3, 2, 9), "f4")
    x[0, 1, 0, 4], x[0, 2, 1, 7] = np.inf, np.nan
    with using(emulate=True):
        y = conv2d(x, np.ones((8, 3, 1, 1), "f4"), variant="cuda_5_tensor_cores")
    expected = np.full((8, 2, 9), 3, "f4")
    expected[:, 0, 4], expected[:, 1, 7] = np.inf, np.nan
    np.testing.assert_array_equal(y[0], expected)
