"""Launch CUDA C++: the same call compiles and runs a kernel on a GPU or in the host shim.

A `Program` is one `.cu` file.  Nothing is compiled until a kernel of it is launched.  The arrays
decide where it runs: CuPy arrays on their GPU, through NVRTC; NumPy arrays in the host shim.

Every launch is checked against the kernel's own signature, read from the source: how many
arguments, the type of every array and that it is contiguous, numbers that fit.  A GPU would take
whatever it is given and write nonsense, or outside the array.
"""

from __future__ import annotations

import functools
import math
import pathlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.kernels.sources import TYPES, WIDE, Parameter, address, read_source, signatures

MOST_SHARED = 48 * 1024  # bytes of shared memory that every GPU gives a block without asking


class PerformanceWarning(UserWarning):
    """Something works, and costs time that it need not cost."""


@dataclass(frozen=True)
class Program:
    """The kernels of one `.cu` file.

    Attributes:
        path: the file.
        options: for NVRTC, e.g. ("--fmad=false",).
        oldest: the first compute capability that has its instructions, 75 for Turing.
    """

    path: pathlib.Path
    options: tuple[str, ...] = ()
    oldest: int = 75

    def launch(
        self,
        kernel: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        *arguments: Any,
        shared: int = 0,
    ) -> None:
        """Run `kernel` with `grid` blocks of `block` threads; a grid with no block does nothing.

        Args:
            kernel: a name in the file.
            grid: blocks along x, y, z; one number for x alone.
            block: threads of a block along x, y, z; likewise.
            *arguments: arrays and numbers, as the kernel's signature has them.
            shared: bytes of dynamic shared memory of a block.

        Raises:
            TypeError: an array of another type than the kernel's, or no kernel argument at all.
            ValueError: an array that is not contiguous, a number or a size out of range.
        """
        where = f"{self.path.name}, {kernel}"
        parameters = self.signature(kernel)
        shape = check_shape(where, grid, block, shared)
        values = _check_arguments(where, parameters, arguments)
        if 0 in shape[0]:
            return
        device = next((a.device for a in arguments if hasattr(a, "__cuda_array_interface__")), None)
        if device is not None:
            with device:
                self._module().get_function(kernel)(*shape, tuple(values), shared_mem=shared)
        else:
            from minimask.kernels.host_shim import emulator

            emulator.launch(self, kernel, *shape, values, shared)

    def signature(self, kernel: str) -> tuple[Parameter, ...]:
        """The parameters of a kernel; ValueError if the file has none of that name."""
        kernels = signatures(self.source())
        if kernel not in kernels:
            raise ValueError(f"{self.path.name} has no kernel {kernel!r}: {', '.join(kernels)}")
        return kernels[kernel]

    def source(self) -> str:
        """The file with everything it includes, for a compiler that looks for no files."""
        return read_source(self.path)

    def _module(self) -> Any:
        return _compile(self.source(), self.options)


def program(beside: str, name: str, *, fmad: bool = True, oldest: int = 75) -> Program:
    """The program in the file `name` beside the module `beside` (its `__file__`).

    Args:
        beside: where to look.
        name: e.g. "rung_1_naive.cu".
        fmad: whether a * b + c may be rounded once instead of twice; False where the result must
            agree with the reference to the last bit.
        oldest: see `Program`.
    """
    options = () if fmad else ("--fmad=false",)
    return Program(pathlib.Path(beside).resolve().parent / name, options, oldest)


@functools.cache
def _compile(source: str, options: tuple[str, ...]) -> Any:
    """One CuPy module for each source; CuPy compiles it for the device at hand, and keeps it."""
    import cupy

    return cupy.RawModule(code=source, options=("--std=c++17", *options))


def check_shape(
    where: str, grid: int | Sequence[int], block: int | Sequence[int], shared: int
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Grid and block as triples; ValueError where no GPU could launch them."""
    blocks, threads = _triple(grid), _triple(block)
    if not _launchable(blocks, threads):
        raise ValueError(
            f"{where}: cannot launch {blocks} blocks of {threads} threads; the limits are 1024 "
            "threads a block, 65535 blocks along y and z; split the input into parts"
        )
    if not 0 <= shared <= MOST_SHARED:
        raise ValueError(
            f"{where}: {shared} bytes of shared memory a block; at most {MOST_SHARED} are safe"
        )
    return blocks, threads


@functools.lru_cache(4096)
def _launchable(blocks: tuple[int, int, int], threads: tuple[int, int, int]) -> bool:
    limits = zip((*blocks, *threads), (2**31 - 1, 65535, 65535, 1024, 1024, 64), strict=True)
    return all(0 <= n <= most for n, most in limits) and 1 <= math.prod(threads) <= 1024


def _triple(n: int | Sequence[int]) -> tuple[int, int, int]:
    if isinstance(n, int):
        return n, 1, 1
    x, y, z, *_ = (*n, 1, 1)
    return int(x), int(y), int(z)


def _check_arguments(
    where: str, parameters: Sequence[Parameter], arguments: Sequence[Any]
) -> list[Any]:
    if len(parameters) != len(arguments):
        names = ", ".join(p.name for p in parameters)
        raise TypeError(
            f"{where}: takes {len(parameters)} arguments ({names}), {len(arguments)} came"
        )
    values = []
    for parameter, argument in zip(parameters, arguments, strict=True):
        if not parameter.fits(argument):
            check = _check_array if parameter.pointer else _check_number
            argument = check(f"{where}, {parameter.name}", parameter, argument)
        values.append(argument if parameter.pointer else TYPES[parameter.type](argument))
    return values


def _check_array(where: str, parameter: Parameter, array: Any) -> Any:
    wanted = parameter.dtype
    if not hasattr(array, "dtype") or not hasattr(array, "flags"):
        raise TypeError(f"{where}: expected an array of {wanted}, got {type(array).__name__}")
    if array.dtype != wanted:
        raise TypeError(
            f"{where}: expected an array of {wanted}, got {array.dtype}; GPU kernels compute in "
            f"float32: convert with .astype({str(wanted)!r}), or use variant 'reference'"
        )
    if not array.flags.c_contiguous:
        raise ValueError(f"{where}: the array {array.shape} is not contiguous in memory")
    if parameter.type in WIDE and address(array) % WIDE[parameter.type]:
        raise ValueError(
            f"{where}: read as {parameter.type}, so it must begin at a multiple of "
            f"{WIDE[parameter.type]} bytes; copy the array"
        )
    return array


def _check_number(where: str, parameter: Parameter, number: Any) -> Any:
    if hasattr(number, "shape") and number.shape != ():
        raise TypeError(f"{where}: expected a number, got an array of {number.shape}")
    if parameter.dtype.kind in "iu":
        low, high = parameter.range
        if int(number) != number or not low <= number <= high:
            raise ValueError(
                f"{where}: {number} is no {parameter.type}; the input is too large for this "
                "kernel: split it into parts"
            )
    return number


def array_module(array: Any) -> Any:
    """`numpy` or `cupy`, whichever made the array."""
    if not hasattr(array, "__cuda_array_interface__"):
        return np
    import cupy

    return cupy


def empty(shape: int | Sequence[int], dtype: Any, like: Any) -> Any:
    """A new array, not filled, where the array `like` lives."""
    return array_module(like).empty(shape, dtype)


def zeros(shape: int | Sequence[int], dtype: Any, like: Any) -> Any:
    """A new array of zeros where the array `like` lives."""
    return array_module(like).zeros(shape, dtype)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, PerformanceWarning, stacklevel=4)


def contiguous(name: str, array: Any) -> Any:
    """`array` with its elements in order in memory, from a multiple of 16 bytes on.

    One that is not is copied, and that is said once.
    """
    if array.flags.c_contiguous:
        return array if address(array) % 16 == 0 else array.copy()
    _warn_once(
        f"{name}: the array is not contiguous in memory, so it is copied at every call; "
        "make it contiguous once, with ascontiguousarray"
    )
    return array_module(array).ascontiguousarray(array)


def require_float32(**arrays: Any) -> None:
    """TypeError unless every array is float32, which is what GPU kernels compute in."""
    for name, array in arrays.items():
        if array is not None and array.dtype != np.float32:
            raise TypeError(
                f"{name}: the GPU kernels compute in float32, got {array.dtype}; convert it with "
                ".astype('float32'), or compute in float64 on the CPU (NumPy arrays)"
            )


def blocks(count: int, size: int) -> int:
    """How many blocks of `size` hold `count` things."""
    return -(-count // size)
