"""Find the operation that produced the first NaN or infinity, and the line that called it.

The checks cost time, so they run only inside `with detect_anomaly():`.
"""

from __future__ import annotations

import contextlib
import linecache
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from minimask.autograd.hooks import Hook, hooked

# Frames in these files call every operation; the line worth naming is the first one outside them.
_ENGINE = pathlib.Path(__file__).resolve().parent
_ENGINE_FOLDERS = tuple(f"{_ENGINE.parent / name}/" for name in ("autograd", "functional", "nn"))


class AnomalyError(FloatingPointError):
    """A NaN or an infinity appeared.

    Attributes:
        op: the name of the operation that produced it.
        where: "file:line" of the code that called the operation, or None when unknown.
        phase: "forward" or "backward".
    """

    def __init__(self, message: str, op: str, where: str | None, phase: str):
        super().__init__(message)
        self.op, self.where, self.phase = op, where, phase


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Check every result, forward and backward, and stop at the first NaN or infinity.

    Put both the forward pass and `backward()` inside: the line of code is noted in the forward
    pass.  NumPy's own warnings (overflow, division by zero) are silent inside, because the error
    raised here says more.

    Raises:
        AnomalyError: naming the operation, its inputs and the line of code that called it.
    """
    with hooked(_Checker()), np.errstate(all="ignore"):
        yield


class _Checker(Hook):
    """Checks every result, forward and backward."""

    def forward(self, ctx: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
        out = super().forward(ctx, arrays, options)
        check_forward(ctx, ctx.fn.describe(arrays, options), arrays, out)
        return out

    def backward(self, ctx: Any, grad: Any) -> Any:
        out = super().backward(ctx, grad)
        gradients = out if isinstance(out, tuple) else (out,)
        if len(gradients) == len(ctx.parents):  # else the engine says what is wrong
            check_backward(ctx, grad, gradients)
        return out


def calling_line() -> str:
    """The "file:line" that called the current operation, outside the engine's own files."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_ENGINE_FOLDERS):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _code(where: str) -> str:
    """The place and, where the file can be read, its text."""
    name, _, line = where.rpartition(":")
    text = linecache.getline(name, int(line)).strip()
    return f"{where}: {text}" if text else where


def _fault(array: Any) -> str | None:
    """What is wrong with `array`: "3 NaN and 1 infinite of 10 values", or None.

    An optional input that is None has nothing wrong with it.
    """
    if array is None or array.dtype.kind != "f":
        return None
    finite = np.isfinite(array)
    if finite.all():
        return None
    nans = int(np.isnan(array).sum())
    infinite = int((~finite).sum()) - nans
    counts = [f"{nans} NaN"] * (nans > 0) + [f"{infinite} infinite"] * (infinite > 0)
    return f"{' and '.join(counts)} of {array.size} values"


def check_forward(ctx: Any, call: str, arrays: list[Any], out: Any) -> None:
    """Raise unless `out` is finite; `call` describes the operation and its inputs."""
    ctx.where = calling_line()
    fault = _fault(out)
    if fault is None:
        return
    names = ctx.fn.input_names(len(arrays))
    bad = [f"`{n}` has {_fault(a)}" for n, a in zip(names, arrays, strict=True) if _fault(a)]
    origin = f"its input {' and '.join(bad)}" if bad else "its inputs are finite"
    raise AnomalyError(
        f"{ctx.fn.__name__} produced {fault} in forward; {origin}\n"
        f"  {call}\n  at {_code(ctx.where)}",
        ctx.fn.__name__,
        ctx.where,
        "forward",
    )


def check_backward(ctx: Any, grad: Any, gradients: tuple[Any, ...]) -> None:
    """Raise unless every gradient that `ctx` computed from `grad` is finite."""
    names = ctx.fn.input_names(len(gradients))
    for name, gradient, needed in zip(names, gradients, ctx.needs_grad, strict=True):
        fault = _fault(gradient) if needed else None
        if fault is None:
            continue
        arrived = _fault(grad)
        origin = (
            f"the gradient that arrived had {arrived}" if arrived else "what arrived was finite"
        )
        place = (
            f"at {_code(ctx.where)}"
            if ctx.where
            else "(run the forward pass inside detect_anomaly() too, to see the line of code)"
        )
        raise AnomalyError(
            f"{ctx.fn.__name__} produced {fault} in backward, in the gradient of `{name}` "
            f"{tuple(gradient.shape)}; {origin}\n  {place}",
            ctx.fn.__name__,
            ctx.where,
            "backward",
        )
