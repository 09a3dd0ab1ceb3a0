"""Choose which implementation of an operation runs, and run it.

The arrays decide the device: NumPy arrays run on the CPU, CuPy arrays on the GPU; nothing is
copied silently.  The variant decides how: every operation has a `reference` written for reading,
and faster ones.  `with using("reference"):` selects one by name for a whole block.

`with using(emulate=True):` sends NumPy arrays to the GPU variants: CUDA C++ then runs in the host
shim, Numba-CUDA in its simulator, so that a GPU kernel can be tried where there is no GPU.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import functools
import importlib
import itertools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minimask.autograd import hooks

_wanted: contextvars.ContextVar[str | None] = contextvars.ContextVar("variant", default=None)
_emulate: contextvars.ContextVar[bool] = contextvars.ContextVar("emulate", default=False)
_check: contextvars.ContextVar[bool] = contextvars.ContextVar("check", default=True)

# Numba's `workqueue` threading layer, the only one on some platforms, aborts the process when two
# Python threads enter parallel functions at once.  Every compiled CPU kernel is called from
# `call`, so this one lock keeps a data-loading thread and the training thread apart.
_one_kernel_at_a_time = threading.RLock()

ARRAY_KINDS = {"cpu": "NumPy", "gpu": "CuPy"}


@dataclass(frozen=True)
class Variant:
    """One implementation of an operation: a rung of its ladder."""

    module: str  # inside the operation's folder, e.g. "cpu.compiled" or "cuda.launch"
    device: str  # "cpu" (NumPy arrays) or "gpu" (CuPy arrays)
    idea: str  # one line: what this rung adds over the one before
    rung: str = ""  # of a module with several: its functions end in `_` and this
    by_name: bool = False  # never the default: a teaching form, or less exact than the others

    @property
    def folder(self) -> str:
        """Where it lies: "cpu", "cuda", "numba", or for the reference "reference"."""
        return self.module.partition(".")[0]

    @property
    def emulated(self) -> bool:
        """Whether NumPy arrays can run it all the same: in the host shim or the simulator."""
        return self.device == "gpu" and self.folder in ("cuda", "numba")


@contextlib.contextmanager
def using(variant: str | None = None, *, emulate: bool | None = None) -> Iterator[None]:
    """Prefer `variant` inside the block, in every operation that has one of that name.

    Operations without such a variant keep their default, so that a whole model can run with
    `using("reference")`.

    Args:
        variant: a rung's name; None leaves the choice as it is.
        emulate: True: run the GPU variants on NumPy arrays, CUDA C++ in the host shim and
            Numba-CUDA in its simulator; slow, and exact. None leaves it as it is.
    """
    tokens: list[tuple[contextvars.ContextVar[Any], contextvars.Token[Any]]] = []
    if variant is not None:
        tokens.append((_wanted, _wanted.set(variant)))
    if emulate is not None:
        tokens.append((_emulate, _emulate.set(emulate)))
    try:
        yield
    finally:
        for setting, token in reversed(tokens):
            setting.reset(token)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Inside the block no operation looks at values on a GPU to check them.

    Shapes and types are checked all the same.  To see whether, say, an index is in range, the CPU
    must wait until the GPU has computed it; a model that made the indices itself can do without.
    """
    token = _check.set(False)
    try:
        yield
    finally:
        _check.reset(token)


def checks_values(array: Any) -> bool:
    """Whether the values of `array` are to be checked: always on the CPU."""
    return _check.get() or not hasattr(array, "__cuda_array_interface__")


def emulating() -> bool:
    """Whether `using(emulate=True)` is in force."""
    return _emulate.get()


def device_of(*arrays: Any) -> str:
    """Where the arrays live: "cpu" (NumPy) or "gpu" (CuPy).  A tuple counts for its arrays.

    Raises:
        TypeError: the arrays live on different devices, or one is no array.
    """
    kinds, cards = set(), set()
    arrays = tuple(itertools.chain(*(a if isinstance(a, tuple) else (a,) for a in arrays)))
    for array in arrays:
        if array is None:
            continue
        if not hasattr(array, "dtype"):
            raise TypeError(
                f"expected NumPy or CuPy arrays, got {type(array).__name__}; "
                "convert it first, e.g. with numpy.asarray(...)"
            )
        if not hasattr(array, "__cuda_array_interface__"):
            kinds.add("cpu")
            continue
        kinds.add("gpu")
        cards.add(getattr(getattr(array, "device", None), "id", 0))
    if len(kinds) > 1:
        where = ", ".join(
            f"{type(a).__module__.partition('.')[0]}{a.shape}" for a in arrays if a is not None
        )
        raise TypeError(f"inputs live on different devices: {where}; move them to one first")
    if len(cards) > 1:
        raise TypeError(f"inputs live on different GPUs: {sorted(cards)}; move them to one first")
    return kinds.pop()


def choose(
    op: str,
    variants: Mapping[str, Variant],
    function: str,
    *arrays: Any,
    variant: str | None = None,
) -> str:
    """The name of the variant that runs `function` of `op` on these arrays.

    Args:
        op: the operation's package, e.g. "minimask.kernels.nms".
        variants: its rungs, slowest to fastest.
        function: what the rung must have; a rung may lack a backward pass, say.
        *arrays: the inputs; they decide the device.
        variant: a rung's name; default: what `using` asks for, else the device's last rung.

    Raises:
        ValueError: no variant of that name, or it lacks the function.
        TypeError: the named variant does not run on arrays of this kind.
    """
    device, short = device_of(*arrays), op.rpartition(".")[2]
    emulate = emulating() and device == "cpu"
    wanted = variant or _wanted.get()
    if variant is not None:
        _check_name(short, variants, variant, device, emulate)
    if (
        wanted is not None
        and wanted in variants
        and (variant or _runs(variants[wanted], device, emulate))
    ):
        if implements(op, variants[wanted], function):
            return wanted
        if variant is not None:
            raise ValueError(
                f"{short} variant {variant!r} has no {function}.  Those that have it: "
                f"{', '.join(n for n, v in variants.items() if implements(op, v, function))}."
            )
    target = "gpu" if emulate and any(v.emulated for v in variants.values()) else device
    for name in reversed(list(variants)):
        candidate = variants[name]
        if candidate.device != target or candidate.by_name:
            continue
        if _runs(candidate, device, emulate) and implements(op, candidate, function):
            return name
    raise TypeError(f"{short} has no variant for {ARRAY_KINDS[device]} arrays yet")


def _runs(variant: Variant, device: str, emulate: bool) -> bool:
    return variant.device == device or (emulate and variant.emulated)


def _check_name(
    short: str, variants: Mapping[str, Variant], name: str, device: str, emulate: bool
) -> None:
    if name not in variants:
        close = difflib.get_close_matches(name, variants, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{short} has no variant {name!r}{hint}  It has: {', '.join(variants)}.")
    if not _runs(variants[name], device, emulate):
        here = [n for n, v in variants.items() if v.device == device]
        hint = ""
        if variants[name].emulated:
            hint = " Without a GPU: `with minimask.using(emulate=True):` runs it on NumPy arrays."
        raise TypeError(
            f"{short} variant {name!r} runs on {ARRAY_KINDS[variants[name].device]} arrays, "
            f"got {ARRAY_KINDS[device]} arrays. For these: {', '.join(here) or 'none'}.{hint}"
        )


def implements(op: str, variant: Variant, function: str) -> bool:
    """Whether a variant of the package `op` has `function`, as its modules call it."""
    return hasattr(_module(op, variant), _function_name(variant, function))


def _module(op: str, variant: Variant) -> Any:
    return importlib.import_module(f"{op}.{variant.module}")


def _function_name(variant: Variant, function: str) -> str:
    return f"{function}_{variant.rung}" if variant.rung else function


def call(
    op: str,
    variants: Mapping[str, Variant],
    function: str,
    *arrays: Any,
    variant: str | None = None,
    **options: Any,
) -> Any:
    """Run `function` of the chosen variant on `arrays`; on the CPU, one kernel at a time."""
    chosen = variants[choose(op, variants, function, *arrays, variant=variant)]
    implementation = getattr(_module(op, chosen), _function_name(chosen, function))
    hook = hooks.active.get()
    if hook is not None:
        name = op.rpartition(".")[2] if function == "forward" else function
        implementation = functools.partial(hook.kernel, name, implementation)
    if device_of(*arrays) == "gpu":
        return implementation(*arrays, **options)
    with _one_kernel_at_a_time:
        return implementation(*arrays, **options)
