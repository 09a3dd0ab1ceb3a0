"""Tier 1: does a variant compute what the float64 reference does?"""

from __future__ import annotations

import contextlib
import importlib
import io
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minimask import kernels
from minimask.kernels.case import Case
from minimask.kernels.dispatch import Variant, using
from minimask.kernels.sources import ROOT
from minimask.tools.testing import assert_close

# bytes of arrays that a student's kernel is to write: a NaN, or a huge number
UNWRITTEN = {"f": 0xFF, "i": 0x7F, "u": 0x7F}


class Wrong(AssertionError):
    """A variant's result differs from the reference's; the message says where and by how much."""


def variants(op: str) -> dict[str, Variant]:
    """The rungs of an operation, slowest to fastest."""
    found: dict[str, Variant] = importlib.import_module(f"minimask.kernels.{op}").VARIANTS
    return found


def folder(op: str) -> pathlib.Path:
    """Where the files of an operation lie."""
    return ROOT / op


def cases(op: str, *, small: bool = False) -> Iterator[Case]:
    """The inputs of an operation; only those for slow tiers if `small`."""
    module = importlib.import_module(f"minimask.kernels.{op}.cases")
    return (case for case in module.cases() if case.small or not small)


def module(op: str, variant: str) -> Any:
    """The module a variant's functions are in."""
    return importlib.import_module(f"minimask.kernels.{op}.{variants(op)[variant].module}")


def has(op: str, variant: str, function: str) -> bool:
    """Whether a variant implements a public function of its operation (e.g. a backward pass)."""
    from minimask.kernels.dispatch import implements

    return implements(
        f"minimask.kernels.{op}", variants(op)[variant], PARTS.get(function, function)
    )


# the name inside a variant's module of each public function whose name differs
PARTS = {
    "batched_nms": "nms",
    "batched_nms_padded": "nms_padded",
    "conv_transpose2d": "conv2d_backward_input",
    "roi_align": "forward",
    "roi_align_backward": "backward",
    "roi_align_levels": "forward_pyramid",
    "roi_align_levels_backward": "backward_pyramid",
    "roi_pool": "forward",
    "roi_pool_backward": "backward",
}


def expected(case: Case) -> tuple[np.ndarray, ...]:
    """What the reference gives in float64."""
    function = getattr(kernels, case.function)
    with np.errstate(all="ignore"):  # some cases divide 0 by 0, to see what becomes of it
        return results(function(*case.in_float64(), **case.options, variant="reference"))


def compute(case: Case, variant: str, *, gpu: bool = False) -> tuple[np.ndarray, ...]:
    """What a variant gives: emulated on NumPy arrays, or on a GPU."""
    function = getattr(kernels, case.function)
    arguments = on_gpu(case.own_arguments()) if gpu else case.own_arguments()
    with using(emulate=not gpu):
        found = results(function(*arguments, **case.options, variant=variant))
    return tuple(a.get() if hasattr(a, "get") else a for a in found)


def moved(value: Any, move: Callable[[np.ndarray], Any]) -> Any:
    """Arguments with `move` applied to every array, those in tuples and lists included."""
    if isinstance(value, np.ndarray):
        return move(value)
    if isinstance(value, tuple | list):
        return type(value)(moved(item, move) for item in value)
    return value


def on_gpu(arguments: Any) -> Any:
    """Arguments with their arrays on the GPU, in the same order in memory."""
    import cupy

    def move(array: np.ndarray) -> Any:
        if array.flags.c_contiguous:
            return cupy.asarray(array)
        order = np.argsort([-abs(step) for step in array.strides], kind="stable")
        device_array = cupy.asarray(np.ascontiguousarray(array.transpose(order)))
        return device_array.transpose(np.argsort(order).tolist())

    return moved(arguments, move)


def results(value: Any) -> tuple[Any, ...]:
    """The arrays an operation returned, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def rounding(op: str, variant: str) -> float:
    """The relative step of the numbers a variant computes in: float32's, or what it declares.

    A module `cases` may have a dictionary ROUNDING of the variants that are less exact.
    """
    module = importlib.import_module(f"minimask.kernels.{op}.cases")
    return float(getattr(module, "ROUNDING", {}).get(variant, np.finfo(np.float32).eps))


def compare(
    case: Case,
    found: Sequence[np.ndarray],
    wanted: Sequence[np.ndarray],
    rounding: float = float(np.finfo(np.float32).eps),
) -> None:
    """Hold a result against the reference's, computed in numbers of relative step `rounding`.

    Raises:
        Wrong: they differ by more than the case allows.
    """
    if len(found) != len(wanted):
        raise Wrong(f"{case.name}: {len(found)} arrays came, the reference returns {len(wanted)}")
    rtol = 16 * rounding * case.terms**0.5
    for i, (got, want) in enumerate(zip(found, wanted, strict=True)):
        wide = got.astype(np.float64) if got.dtype.kind == "f" else got
        want = (
            want.astype(np.float64) if want.dtype.kind == "f" else want
        )  # where nothing is widened
        half = 8192 if got.dtype == np.float16 else 1  # a rounding of float16 is so much larger
        limits = {} if got.dtype.kind != "f" else {"rtol": rtol * half, "atol": case.atol}
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it reports the share of the tolerance
                assert_close(wide, want, **limits)
        except AssertionError as error:
            which = f", result {i}" if len(found) > 1 else ""
            first = _first_wrong(got, want, limits)
            raise Wrong(f"{case.function}, {case.name!r}{which}: {first}{error}") from None


def _first_wrong(got: np.ndarray, want: np.ndarray, limits: Mapping[str, float | None]) -> str:
    """Where the first value beyond the tolerance is, what it is and what it should be."""
    if got.shape != want.shape:
        return ""
    rtol, atol = limits.get("rtol") or 0.0, limits.get("atol")
    a, b = (x.astype(np.float64) for x in (got, want))
    if atol is None:
        atol = rtol * float(np.abs(b[np.isfinite(b)]).max(initial=0))
    with np.errstate(invalid="ignore"):
        close = (np.abs(a - b) <= atol + rtol * np.abs(b)) & np.isfinite(a) & np.isfinite(b)
    wrong = ~(close | (a == b) | (np.isnan(a) & np.isnan(b)))
    if not wrong.any():
        return ""
    index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    value = str(got[index])
    if got.dtype.kind in UNWRITTEN and set(got[index].tobytes()) == {UNWRITTEN[got.dtype.kind]}:
        value = f"{value} (nothing was written there)"
    return f"[{', '.join(map(str, index))}] is {value}, should be {want[index]}; "
