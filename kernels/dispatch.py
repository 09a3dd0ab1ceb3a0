"""Choose which implementation of an operation runs, and run it.

The arrays decide the device: NumPy arrays run on the CPU, CuPy arrays on the GPU; nothing is
copied silently.  The variant decides how: every operation has a `reference` written for reading,
and faster ones.  `with using("reference"):` selects one by name for a whole block.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import importlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_wanted: contextvars.ContextVar[str | None] = contextvars.ContextVar("variant", default=None)

# Numba's `workqueue` threading layer, the only one on some platforms, aborts the process when two
# Python threads enter parallel functions at once.  Every compiled CPU kernel is called from
# `call`, so this one lock keeps a data-loading thread and the training thread apart.
_one_kernel_at_a_time = threading.RLock()

ARRAY_KINDS = {"cpu": "NumPy", "gpu": "CuPy"}


@dataclass(frozen=True)
class Variant:
    """One implementation of an operation: a rung of its ladder."""

    module: str  # the module inside the operation's folder
    device: str  # "cpu" (NumPy arrays) or "gpu" (CuPy arrays)
    idea: str  # one line: what this rung adds over the one before


@contextlib.contextmanager
def using(variant: str) -> Iterator[None]:
    """Prefer `variant` inside the block, in every operation that has one of that name.

    Operations without such a variant keep their default, so that a whole model can run with
    `using("reference")`.
    """
    token = _wanted.set(variant)
    try:
        yield
    finally:
        _wanted.reset(token)


def device_of(*arrays: Any) -> str:
    """Where the arrays live: "cpu" (NumPy) or "gpu" (CuPy).

    Raises:
        TypeError: the arrays live on different devices, or one is no array.
    """
    kinds = set()
    for array in arrays:
        if array is None:
            continue
        if not hasattr(array, "dtype"):
            raise TypeError(
                f"expected NumPy or CuPy arrays, got {type(array).__name__}; "
                "convert it first, e.g. with numpy.asarray(...)"
            )
        kinds.add("gpu" if hasattr(array, "__cuda_array_interface__") else "cpu")
    if len(kinds) > 1:
        where = ", ".join(
            f"{type(a).__module__.partition('.')[0]}{a.shape}" for a in arrays if a is not None
        )
        raise TypeError(f"inputs live on different devices: {where}; move them to one first")
    return kinds.pop()


def choose(
    op: str, variants: Mapping[str, Variant], *arrays: Any, variant: str | None = None
) -> ModuleType:
    """The module that implements `op` for these arrays: the named variant, or the fastest.

    Args:
        op: the operation's package, e.g. "minimask.kernels.nms".
        variants: its rungs, slowest to fastest.
        *arrays: the inputs; they decide the device.
        variant: a rung's name; default: what `using` asks for, else the device's last rung.

    Raises:
        ValueError: no variant of that name.
        TypeError: the named variant does not run on arrays of this kind.
    """
    device = device_of(*arrays)
    here = [name for name, v in variants.items() if v.device == device]
    short = op.rpartition(".")[2]
    if not here:
        raise TypeError(f"{short} has no variant for {ARRAY_KINDS[device]} arrays yet")
    wanted = _wanted.get()
    name = variant or (wanted if wanted in here else None) or here[-1]
    if name not in variants:
        close = difflib.get_close_matches(name, variants, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{short} has no variant {name!r}{hint}  It has: {', '.join(variants)}.")
    if variants[name].device != device:
        raise TypeError(
            f"{short} variant {name!r} runs on {ARRAY_KINDS[variants[name].device]} arrays, "
            f"got {ARRAY_KINDS[device]} arrays. For these: {', '.join(here)}."
        )
    return importlib.import_module(f"{op}.{variants[name].module}")


def call(
    op: str,
    variants: Mapping[str, Variant],
    function: str,
    *arrays: Any,
    variant: str | None = None,
    **options: Any,
) -> Any:
    """Run `function` of the chosen variant on `arrays`; on the CPU, one kernel at a time."""
    implementation = getattr(choose(op, variants, *arrays, variant=variant), function)
    if device_of(*arrays) == "gpu":
        return implementation(*arrays, **options)
    with _one_kernel_at_a_time:
        return implementation(*arrays, **options)
