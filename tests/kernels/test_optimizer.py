"""Both rules against their formulas in float64, in place, in every piece, whatever is refused."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minimask.kernels import adamw_step, sgd_step
from minimask.kernels.dispatch import using
from minimask.kernels.host_shim import build
from minimask.kernels.optimizer import VARIANTS
from minimask.kernels.optimizer.cases import ADAMW, SGD
from minimask.kernels.optimizer.cpu.compiled import PIECE
from minimask.kernels.optimizer.factors import factors
from minimask.tools.kernel_lab import values

CPU = [name for name, variant in VARIANTS.items() if variant.device == "cpu"]
every_variant = pytest.mark.parametrize("variant", CPU)
every_rule = pytest.mark.parametrize("rule", ["sgd", "adamw"])
same = np.testing.assert_array_equal
share = st.floats(0, 0.99)
normal = st.floats(-100, 100, width=32)


def step(rule, inputs, variant=None, **settings):
    """One step on copies; `inputs` are weight, gradient and two states, of which SGD takes one."""
    own = [np.array(value) for value in inputs]
    if rule == "sgd":
        return sgd_step(*own[:3], variant=variant, **{**SGD, **settings})
    return adamw_step(*own, variant=variant, **{**ADAMW, **settings})


def some(size, dtype="f4", seed=0):
    weight, grad, mean, square = np.random.default_rng(seed).standard_normal((4, size))
    return [a.astype(dtype) for a in (weight, grad, mean, square**2)]


def sgd_formula(weight, grad, velocity, lr, momentum, weight_decay):
    velocity = momentum * velocity + grad + weight_decay * weight
    return weight - lr * velocity, velocity


def adamw_formula(weight, grad, mean, square, **o):
    """Algorithm 2 of the paper, from its line 7 on, with its signs in its order."""
    mean = o["beta_mean"] * mean + (1 - o["beta_mean"]) * grad
    square = o["beta_square"] * square + (1 - o["beta_square"]) * grad**2
    unbiased, root = mean / o["mean_bias"], np.sqrt(square / o["square_bias"])
    change = o["lr"] * unbiased / (root + o["eps"]) + o["lr"] * o["weight_decay"] * weight
    return weight - change, mean, square


@every_variant
def test_sgd_by_hand(variant):
    # v = 0.5 * 4 + 1 + 0.25 * 8 = 5, w = 8 - 0.1 * 5
    inputs = np.array([8.0]), np.array([1.0]), np.array([4.0])
    settings = {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.25}
    weight, velocity = step("sgd", inputs, variant, **settings)
    assert (weight[0], velocity[0]) == (7.5, 5.0)


@every_variant
def test_adamw_by_hand(variant):
    # m = 0.5 * 2 + 0.5 * 4 = 3, s = 0.75 * 0 + 0.25 * 16 = 4; unbiased they are 6 and 16;
    # w = 8 * 0.5 - 6 / 4
    settings = {"lr": 1.0, "beta_mean": 0.5, "beta_square": 0.75, "mean_bias": 0.5}
    settings |= {"square_bias": 0.25, "eps": 0.0, "weight_decay": 0.5}
    inputs = np.array([8.0]), np.array([4.0]), np.array([2.0]), np.array([0.0])
    weight, mean, square = step("adamw", inputs, variant, **settings)
    assert (weight[0], mean[0], square[0]) == (2.5, 3.0, 4.0)


@given(arrays.arrays("f4", (3, 11), elements=normal), st.floats(0, 10), share, st.floats(0, 1))
def test_sgd_is_the_formula(inputs, lr, momentum, weight_decay):
    settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    found = step("sgd", inputs, **settings)
    wanted = sgd_formula(*inputs.astype("f8"), **settings)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * (1 + 300 * lr))
    for got, want in zip(step("sgd", inputs.astype("f8"), **settings), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-10)


@given(
    arrays.arrays("f4", (4, 11), elements=normal),
    st.floats(0, 1),
    share,
    share,
    st.integers(1, 1000),
    st.floats(0, 1),
)
def test_adamw_is_the_formula(inputs, lr, beta_mean, beta_square, steps, weight_decay):
    inputs[3] = inputs[1] ** 2  # no longer or shorter than gradients are
    settings = {"lr": lr, "beta_mean": beta_mean, "beta_square": beta_square, "eps": 1e-2}
    settings["mean_bias"] = 1 - beta_mean**steps
    settings["square_bias"] = 1 - beta_square**steps
    settings["weight_decay"] = weight_decay
    wanted = adamw_formula(*inputs.astype("f8"), **settings)
    scale = 1 + lr / settings["mean_bias"] * np.abs(inputs[2]).max() / settings["eps"]
    for got, want in zip(step("adamw", inputs, **settings), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * (100 + scale))
    for got, want in zip(step("adamw", inputs.astype("f8"), **settings), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12 * (100 + scale))


@given(arrays.arrays("f4", (4, 23), elements=st.floats(width=32)), st.booleans())
@np.errstate(all="ignore")  # infinities, NaN, the largest and the smallest numbers
def test_the_compiled_form_has_the_same_bits(inputs, decay):
    settings = {} if decay else {"weight_decay": 0.0}
    inputs[3] = np.abs(inputs[3])
    for rule in ("sgd", "adamw"):
        for dtype in ("f4", "f8"):
            found = [step(rule, inputs.astype(dtype), name, **settings) for name in CPU]
            for got, want in zip(*found, strict=True):
                same(got, want)
                same(np.signbit(got) | np.isnan(got), np.signbit(want) | np.isnan(want))


@every_rule
@every_variant
def test_in_place(rule, variant):
    weight, grad, *states = some(40)
    before, given_grad = [a.copy() for a in (weight, *states)], grad.copy()
    wanted = step(rule, (weight, grad, *states), variant)
    if rule == "sgd":
        found = sgd_step(weight, grad, states[0], variant=variant, **SGD)
    else:
        found = adamw_step(weight, grad, *states, variant=variant, **ADAMW)
    for got, own, want, old in zip(found, (weight, *states), wanted, before, strict=False):
        assert got is own
        same(got, want)
        assert (got != old).all()
    same(grad, given_grad)


@every_rule
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])
def test_every_piece_is_done(rule, dtype, size):
    inputs = some(size, dtype, seed=size)
    found, wanted = step(rule, inputs), step(rule, inputs, "reference")
    for got, want in zip(found, wanted, strict=True):
        same(got, want)
        assert got.dtype == dtype


@every_rule
def test_the_number_of_threads_changes_nothing(rule):
    inputs, most = some(5 * PIECE + 7), numba.get_num_threads()
    found = []
    for threads in {1, most}:
        numba.set_num_threads(threads)
        try:
            found.append(step(rule, inputs))
        finally:
            numba.set_num_threads(most)
    for one, all_of_them in zip(found[0], found[-1], strict=True):
        same(one, all_of_them)


@every_rule
@every_variant
@pytest.mark.parametrize("shape", [(), (3, 0), (2, 3, 4)])
def test_any_shape_and_a_read_only_gradient(rule, variant, shape):
    inputs = [np.array(v).reshape(shape) for v in some(int(np.prod(shape)))]
    inputs[1].flags.writeable = False
    found = step(rule, inputs, variant)
    flat = step(rule, [v.reshape(-1) for v in inputs], variant)
    for got, want in zip(found, flat, strict=True):
        same(got, want.reshape(shape))


@every_variant
def test_odd_gradients(variant):
    inputs = [np.ones(4) for _ in range(4)]
    inputs[1][:] = [np.nan, np.inf, -np.inf, 0]
    with np.errstate(invalid="ignore"):  # inf / inf
        weight, velocity = step("sgd", inputs, variant)
        same(np.isfinite(weight), [False, False, False, True])
        same(velocity[1:3], [np.inf, -np.inf])
        weight, mean, square = step("adamw", inputs, variant)
    same(np.isnan(weight), [True, True, True, False])
    same(mean[1:3], [np.inf, -np.inf])
    same(square[1:3], [np.inf, np.inf])


@every_variant
def test_settings_of_zero(variant):
    infinite = [np.array([np.inf]), np.ones(1), np.ones(1), np.ones(1)]
    _, velocity = step("sgd", infinite, variant, weight_decay=0.0, momentum=0.0)
    same(velocity, [1.0])  # and not NaN
    nothing = [np.ones(1), *np.zeros((3, 1))]
    same(step("adamw", nothing, variant, weight_decay=0.0)[0], [1.0])
    with np.errstate(invalid="ignore"):
        same(step("adamw", nothing, variant, eps=0.0)[0], [np.nan])


def test_numbers_are_rounded_once():
    numbers = factors(**ADAMW)
    assert np.float32(numbers.toward_square) == np.float32(0.001)
    assert np.float32(1) - np.float32(0.999) != np.float32(0.001)
    assert factors(**{**ADAMW, "weight_decay": 0.0}).keep == 1.0
    narrow = {name: np.float64(number) for name, number in SGD.items()}
    assert step("sgd", some(3), "reference", **narrow)[0].dtype == np.float32


@every_rule
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({0: np.zeros(3, int)}, TypeError, "weight: expected float32 or float64, got int64"),
        ({1: np.zeros(4)}, ValueError, r"grad: expected the shape of weight, \(3,\), got \(4,\)"),
        ({2: np.zeros((3, 1))}, ValueError, r": expected the shape of weight, \(3,\), got \(3, 1"),
        ({1: np.zeros(3, "f4")}, TypeError, "grad: expected float64 as weight has, got float32"),
        ({2: np.zeros(6)[::2]}, ValueError, r"\(3,\) is not C-contiguous.*ascontiguousarray"),
        ({1: np.zeros(6)[::2]}, ValueError, r"grad: the array \(3,\) is not C-contiguous"),
        ({0: np.broadcast_to(np.ones(3), 3)}, ValueError, "weight: the array is read-only"),
    ],
)
def test_wrong_arguments(rule, change, error, words):
    inputs = [change.get(i, np.ones(3)) for i in range(4)]
    with pytest.raises(error, match=words):
        if rule == "sgd":
            sgd_step(*inputs[:3], **SGD)
        else:
            adamw_step(*inputs, **ADAMW)


def test_cases_can_be_computed_again():
    case = next(case for case in values.cases("optimizer") if case.name == "(65,), AdamW")
    before = [a.copy() for a in case.arguments]
    first, second = (values.compute(case, "cpu") for _ in range(2))
    for one, other in zip(first + values.expected(case), second * 2, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    for now, then in zip(case.arguments, before, strict=True):
        same(now, then)


@every_rule
def test_emulated_kernels_have_the_same_bits(rule):
    if problem := build.why_not():
        pytest.skip(problem)
    inputs = some(777)
    with using(emulate=True):
        found = step(rule, inputs)
    for got, want in zip(found, step(rule, inputs, "reference"), strict=True):
        same(got, want)
    with using(emulate=True), pytest.raises(TypeError, match="compute in float32, got float64"):
        step(rule, some(3, "f8"))
