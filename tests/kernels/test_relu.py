from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build
from minimask.kernels.relu import VARIANTS, finish, relu, relu_backward
from minimask.kernels.relu.cpu.compiled import PIECE

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
every_variant = pytest.mark.parametrize("variant", CPU)
same = np.testing.assert_array_equal
NAN = np.nan


@every_variant
def test_numbers_by_hand(variant):
    x = np.array([-1.0, 0, 2, NAN, -np.inf, np.inf])
    same(relu(x, variant=variant), [0, 0, 2, NAN, 0, np.inf])
    other = np.array([3.0, -1, -2, 1, np.inf, -np.inf])
    with np.errstate(invalid="ignore"):  # inf - inf
        same(relu(x, other, variant=variant), [2, 0, 0, NAN, NAN, NAN])
    grad = np.arange(1.0, 7)
    same(relu_backward(grad, np.array([0.0, -0.0, 2, NAN, 1e-300, np.inf])), [0, 0, 3, 0, 5, 6])


@every_variant
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5])
def test_every_piece_is_done(variant, dtype, size):
    x, other = np.random.default_rng(size).standard_normal((2, size)).astype(dtype)
    y = relu(x, other, variant=variant)
    same(y, np.maximum(x + other, 0))
    assert y.dtype == x.dtype
    dx = relu_backward(other, y, variant=variant)
    same(dx, other * (y > 0))
    assert dx.dtype == x.dtype


@given(arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)))
@np.errstate(all="ignore")  # sums of infinities, and of the largest numbers
def test_the_compiled_form_gives_the_same_values(x):
    same(relu(x, variant="cpu"), relu(x, variant="reference"))
    same(relu(x, x[::-1], variant="cpu"), relu(x, x[::-1], variant="reference"))
    same(relu_backward(x, x[::-1]), relu_backward(x, x[::-1], variant="reference"))


def test_views_and_read_only_arrays():
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("f4")
    x.flags.writeable = False
    same(relu(x.T), np.maximum(x.T, 0))
    same(relu(x[::2, 1::2]), np.maximum(x[::2, 1::2], 0))


def test_finish_is_the_unfused_form():
    y, other = np.array([-1.0, 2]), np.array([0.5, -3])
    same(finish(y.copy(), None, False), [-1, 2])
    same(finish(y.copy(), None, True), [0, 2])
    same(finish(y.copy(), other, False), [-0.5, -1])
    same(finish(y.copy(), other, True), [0, 0])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros(3, int),), TypeError, "x: expected float32 or float64, got int64"),
        ((np.zeros(3), np.zeros(4)), ValueError, r"residual: .*\(3,\), got \(4,\)"),
        ((np.zeros(3), np.zeros(3, "f4")), TypeError, "residual: expected float64"),
    ],
)
def test_wrong_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        relu(*arguments)


def test_emulated_kernels_fuse_nothing_and_agree():
    if problem := build.why_not():
        pytest.skip(problem)
    x, other = np.random.default_rng(1).standard_normal((2, 3, 50)).astype("f4")
    with using(emulate=True):
        same(relu(x, other), np.maximum(x + other, 0))
