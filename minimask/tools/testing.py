"""Tools to test operations: compare arrays, check gradients, compare an operation's variants."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minimask.autograd import Context, Tensor, no_grad
from minimask.autograd.backward import topological_order


def assert_close(
    actual: Any,
    desired: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    terms: int = 1,
) -> float:
    """Compare shape, then dtype, then every value, and say how much of the tolerance was used.

    A NaN or an infinity must be in the same place in both.

    Args:
        actual: the array (or Tensor) under test.
        desired: what it should be; numbers or lists take the dtype of `actual`.
        rtol: allowed difference relative to the desired value; default: 16 roundings of the dtype
            times the square root of `terms`, and 0 for integers.
        atol: allowed difference besides; default: `rtol` times the largest desired value, because
            a sum's rounding error depends on its summands, which may cancel.
        terms: how many numbers were summed up for one value.

    Returns:
        The largest share of the tolerance that a value used: 0.5 is half of what is allowed.

    Raises:
        AssertionError: what differs most, where, and how much is allowed there.
    """
    got = actual.numpy() if isinstance(actual, Tensor) else np.asarray(actual)
    want = desired.numpy() if isinstance(desired, Tensor) else np.asarray(desired)
    if not hasattr(desired, "dtype") and got.dtype.kind == "f":
        want = want.astype(got.dtype)
    elif not hasattr(desired, "dtype") and got.dtype.kind == want.dtype.kind:
        want = want.astype(got.dtype)
    if got.shape != want.shape:
        raise AssertionError(f"shape {got.shape}, expected {want.shape}")
    if got.dtype != want.dtype:
        raise AssertionError(f"dtype {got.dtype}, expected {want.dtype}")
    if got.size == 0:
        return 0.0
    if got.dtype.kind == "f" and rtol is None:
        rtol = 16 * float(np.finfo(got.dtype).eps) * math.sqrt(terms)
    finite = np.abs(want[np.isfinite(want)].astype(np.float64))
    if atol is None:
        atol = (rtol or 0.0) * float(finite.max(initial=0))
    used = _tolerance_used(got.astype(np.float64), want.astype(np.float64), rtol or 0.0, atol)
    worst = np.unravel_index(int(used.argmax()), used.shape)
    share = float(used[worst])
    if not share <= 1:
        wrong = int((~(used <= 1)).sum())
        raise AssertionError(
            f"{wrong} of {got.size} values differ; the worst is at "
            f"{tuple(int(i) for i in worst)}: {got[worst]}, expected {want[worst]}, "
            f"{_times(share)} the tolerance (rtol {rtol or 0.0:.3g}, atol {atol:.3g})"
        )
    print(f"used {share:.0%} of the tolerance (rtol {rtol or 0.0:.3g}, atol {atol:.3g})")
    return share


def _tolerance_used(got: Any, want: Any, rtol: float, atol: float) -> Any:
    """For every value the difference divided by the tolerance; infinite where nothing helps."""
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        used = np.abs(got - want) / (atol + rtol * np.abs(want))
    used = np.where(np.isfinite(got) & np.isfinite(want), used, np.inf)
    return np.where(same, 0.0, np.where(np.isnan(used), np.inf, used))


def _times(share: float) -> str:
    return f"{share:.3g} times" if math.isfinite(share) else "beyond"


def gradcheck(
    fn: Callable[..., Tensor],
    *arrays: Any,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Compare the gradient of `fn` along a random direction with a central difference.

    Everything runs in float64.  One direction per argument is enough: none of its components is
    near 0, so a wrong component shows.  Keep the inputs away from kinks, such as 0 for relu.

    Args:
        fn: takes Tensors, returns a Tensor; options and constants are bound, as in
            `lambda x, w: conv2d(x, w, stride=2)`.
        *arrays: float arrays, the arguments of `fn`; all are checked.
        eps: step of the difference.
        rtol: allowed relative difference.
        seed: of the directions.

    Raises:
        AssertionError: names the operations, the argument and both numbers.
        TypeError: an argument is no float array, so it has no gradient to check.
    """
    values = [np.asarray(a) for a in arrays]
    for i, (a, given) in enumerate(zip(values, arrays, strict=True)):
        if a.dtype.kind != "f" and hasattr(given, "dtype"):
            raise TypeError(
                f"gradcheck: argument {i} is {a.dtype} and has no gradient; bind it: "
                "gradcheck(lambda x: fn(x, labels), x)"
            )
    values = [a.astype(np.float64) for a in values]
    rng = np.random.default_rng(seed)
    leaves = [Tensor(a.copy(), requires_grad=True) for a in values]
    out = fn(*leaves)
    weight = _direction(rng, out.shape)
    operations = _operations(out)
    out.backward(weight)
    for i, (leaf, value) in enumerate(zip(leaves, values, strict=True)):
        if leaf.grad is None:
            leaf.grad = np.zeros_like(value)
        direction = _direction(rng, value.shape)
        ends = []
        for step in (eps, -eps):
            shifted = [a + step * direction if j == i else a for j, a in enumerate(values)]
            with no_grad():
                ends.append(fn(*[Tensor(a) for a in shifted]).data)
        numeric = float(((ends[0] - ends[1]) * weight).sum()) / (2 * eps)
        analytic = float((leaf.grad * direction).sum())
        # rounding of the values is enlarged by the division by eps
        noise = 1e-8 * max(1.0, float(np.abs(ends[0] * weight).sum()) / 10)
        if not abs(analytic - numeric) <= rtol * max(abs(analytic), abs(numeric)) + noise:
            raise AssertionError(
                f"gradient of argument {i} {value.shape} of {operations}: backward gives "
                f"{analytic:.9g}, the difference quotient {numeric:.9g} "
                f"(ratio {analytic / numeric if numeric else math.inf:.6g})"
            )


def _direction(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random signs times 0.5..1.5: no component is small enough to hide its gradient."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice((-1.0, 1.0), shape)


def _operations(out: Tensor) -> str:
    """The names of the recorded operations, first to last, each once."""
    contexts: list[Context | None] = [t._ctx for t in topological_order(out)]
    return " -> ".join(dict.fromkeys(c.fn.__name__ for c in contexts if c is not None))


def check_variants(
    function: Callable[..., Any],
    arrays: Sequence[Any],
    options: Mapping[str, Any] | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    terms: int = 1,
) -> None:
    """Compare every variant of an operation that runs on these arrays with its reference.

    Integer results must be equal; float results close, as `assert_close` judges.

    Args:
        function: a public operation of `minimask.kernels`, e.g. `nms`.
        arrays: its positional arguments.
        options: its keyword arguments.
        rtol: see `assert_close`.
        atol: see `assert_close`.
        terms: see `assert_close`.

    Raises:
        AssertionError: names the operation, the variant, and what differs.
    """
    from minimask.kernels.dispatch import device_of

    variants = sys.modules[function.__module__].VARIANTS
    device = device_of(*[a for a in arrays if hasattr(a, "dtype")])
    expected = _results(function(*arrays, variant="reference", **(options or {})))
    for name, variant in variants.items():
        if variant.device != device or name == "reference":
            continue
        got = _results(function(*arrays, variant=name, **(options or {})))
        assert len(got) == len(expected), f"{function.__name__}: {name} returns {len(got)} arrays"
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            try:
                assert_close(a, b, rtol=rtol, atol=atol, terms=terms)
            except AssertionError as error:
                which = f", result {i}" if len(got) > 1 else ""
                raise AssertionError(
                    f"{function.__name__}, variant {name!r}{which}: {error}"
                ) from None


def _results(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
