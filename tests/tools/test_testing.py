"""The tools that tests rely on: each must fail when it should."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from minimask.autograd import Tensor, ops
from minimask.tools.testing import assert_close, check_variants, gradcheck

ONE = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("actual", "desired", "message"),
    [
        (np.ones((3, 1)), np.ones((1, 3)), r"shape \(3, 1\), expected \(1, 3\)"),
        (np.ones(3), np.ones(()), r"shape \(3,\), expected \(\)"),
        (ONE, np.ones(3), "dtype float32, expected float64"),
        (np.array([1]), np.array([1.0]), "dtype int64, expected float64"),
        (np.array([1, 2]), np.array([1, 3]), r"1 of 2 values differ; the worst is at \(1,\): 2"),
        (np.array([np.nan]), np.array([1.0]), "nan, expected 1.0, beyond the tolerance"),
        (np.array([1.0]), np.array([np.nan]), "1.0, expected nan"),
        (np.array([np.inf]), np.array([1.0]), "inf, expected 1.0"),
        (np.array([np.inf]), np.array([-np.inf]), "inf, expected -inf"),
        (np.array([1.0, 1.1]), np.array([1.0, 1.0]), r"worst is at \(1,\): 1.1, expected 1.0"),
        (np.array([True]), np.array([False]), "True, expected False"),
    ],
)
def test_assert_close_refuses(actual, desired, message) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, desired)


def test_shape_is_judged_before_dtype_before_values() -> None:
    with pytest.raises(AssertionError, match=r"^shape"):
        assert_close(np.zeros(2, np.float32), np.ones(3))
    with pytest.raises(AssertionError, match=r"^dtype"):
        assert_close(np.zeros(3, np.float32), np.ones(3))


def test_assert_close_accepts() -> None:
    nothing = np.zeros((0, 3))
    assert assert_close(nothing, nothing) == 0
    special = np.array([np.nan, np.inf, -np.inf, 2.0])
    assert assert_close(special, special.copy()) == 0
    assert_close(ONE, [1, 1, 1])  # numbers by hand take the dtype
    assert_close(Tensor(ONE), ONE)
    assert_close(np.array([1, 2]), [1, 2])
    assert_close(np.array(2, np.int32), 2)
    assert_close(np.array([5, 6]), np.array([5, 7]), atol=1)


def test_assert_close_says_what_share_was_used(capsys) -> None:
    share = assert_close(np.array([1.0, 2.05]), np.array([1.0, 2.0]), rtol=0.0, atol=0.1)
    assert share == pytest.approx(0.5)
    assert capsys.readouterr().out == "used 50% of the tolerance (rtol 0, atol 0.1)\n"
    with pytest.raises(AssertionError, match="3 times the tolerance"):
        assert_close(np.array([1.3]), np.array([1.0]), rtol=0.0, atol=0.1)
    assert assert_close(np.array([11.0]), np.array([10.0]), rtol=0.2, atol=0) == pytest.approx(0.5)


def test_the_default_tolerance_follows_the_dtype_and_the_number_of_terms() -> None:
    off = 1 + 1e-5
    with pytest.raises(AssertionError):
        assert_close(np.array([off]), np.array([1.0]))
    with pytest.raises(AssertionError):
        assert_close(np.array([off], np.float32), np.array([1.0], np.float32))
    assert_close(np.array([off], np.float32), np.array([1.0], np.float32), terms=100)
    # rounding errors of a cancelled sum are as large as its summands' scale
    assert_close(np.array([1e-6, 1], np.float32), np.array([0, 1], np.float32))
    with pytest.raises(AssertionError):
        assert_close(np.array([1e-6, 1], np.float32), np.array([0, 1], np.float32), atol=0)


# gradcheck; wrong gradients are in test_gradients.py


def test_gradcheck_names_the_operations_the_argument_and_both_numbers() -> None:
    def half_detached(x: Tensor, y: Tensor) -> Tensor:
        return ops.exp(x) * y + Tensor(y.data)

    with pytest.raises(
        AssertionError,
        match=r"argument 1 \(2,\) of Exp -> Mul -> Add: backward gives .*, the difference quotient",
    ):
        gradcheck(half_detached, np.array([0.1, 0.2]), np.array([1.0, 2.0]))


def test_gradcheck_notices_an_argument_without_a_gradient() -> None:
    with pytest.raises(AssertionError, match="argument 0"):
        gradcheck(lambda x, y: ops.exp(x.detach()) + y, np.ones(2), np.ones(2))


def test_gradcheck_refuses_integers_and_works_in_float64() -> None:
    with pytest.raises(TypeError, match="argument 1 is int64 and has no gradient; bind it"):
        gradcheck(lambda x, y: x, np.ones(2), np.array([1, 2]))
    seen = set()

    def fn(x: Tensor) -> Tensor:
        seen.add(x.dtype)
        return x * 2

    gradcheck(fn, np.ones(2, np.float32))
    gradcheck(fn, [1, 2])
    assert seen == {np.dtype(np.float64)}


def test_gradcheck_leaves_the_arrays_alone() -> None:
    x = np.array([1.0, 2.0])
    gradcheck(ops.exp, x)
    assert x.tolist() == [1, 2]


def test_gradcheck_of_large_values_and_of_nothing() -> None:
    gradcheck(lambda x: (x * 1000.0).sum() + 1e5, np.linspace(0.1, 1, 50))
    gradcheck(lambda x: x * 2, np.zeros((0, 3)))


# check_variants, on a little operation made for it


@pytest.fixture
def doubled(monkeypatch):
    """An operation with a right and a selectable variant."""
    from minimask.kernels.dispatch import Variant

    module = types.ModuleType("doubled_operation")
    module.VARIANTS = {
        "reference": Variant("reference", "cpu", ""),
        "cpu": Variant("cpu", "cpu", ""),
        "numba": Variant("numba", "gpu", "not run here"),
    }
    module.behavior = lambda x: 2 * x

    def doubled(x, *, shift=0, variant=None):
        assert variant != "numba"
        return 2 * x + shift if variant == "reference" else module.behavior(x) + shift

    doubled.__module__ = module.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.run = doubled
    return module


def test_check_variants(doubled) -> None:
    check_variants(doubled.run, [ONE], {"shift": 3})
    doubled.behavior = lambda x: 2.001 * x
    with pytest.raises(AssertionError, match="doubled, variant 'cpu': 3 of 3 values differ"):
        check_variants(doubled.run, [ONE])
    check_variants(doubled.run, [ONE], rtol=1e-2)
    doubled.behavior = lambda x: (2 * x).astype(np.float64)
    with pytest.raises(AssertionError, match="dtype float64, expected float32"):
        check_variants(doubled.run, [ONE])


def test_check_variants_of_a_real_operation() -> None:
    from minimask.kernels.max_pool2d import max_pool2d

    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6)).astype(np.float32)
    check_variants(max_pool2d, [x, 3], {"stride": 2, "padding": 1})
