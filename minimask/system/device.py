"""Where arrays live: this computer's memory or a GPU's, and every step from one to the other.

The model keeps what is large on the GPU (images, features, weights, gradients) and what chance or
data decide on the CPU (which anchors and regions are learned from).  To read something back, the
CPU must wait until the GPU has computed it, so `download` is the only place where that happens,
and it counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from typing import Any

import numpy as np

from minimask.autograd.arrays import Array
from minimask.autograd.hooks import Hook, hooked, record

PINNED_FROM = 1 << 16  # bytes; below this the driver copies into its own pinned buffer anyway
GIB = 2**30


class DeviceError(OSError):
    """There is no such device here, or it cannot be used; the message says what to do."""


class Transfers(Hook):
    """What went between CPU and GPU: (what, bytes) of every transfer, in order."""

    def __init__(self) -> None:
        self.downloads: list[tuple[str, int]] = []  # each makes the CPU wait
        self.uploads: list[tuple[str, int]] = []

    def record(self, name: str, value: Any) -> None:
        """Keep it if it is a transfer."""
        if name == "transfer/download":
            self.downloads.append(value)
        elif name == "transfer/upload":
            self.uploads.append(value)
        super().record(name, value)

    def __str__(self) -> str:
        down = ", ".join(f"{what} ({_size(size)})" for what, size in self.downloads) or "nothing"
        total = _size(sum(size for _, size in self.uploads))
        return (
            f"{len(self.downloads)} times the CPU waited for the GPU: {down}; "
            f"{len(self.uploads)} uploads, {total}"
        )


def count_transfers() -> contextlib.AbstractContextManager[Transfers]:
    """Note every transfer between CPU and GPU inside the block; yields what was noted."""
    return hooked(Transfers())


def on_gpu(array: Array) -> bool:
    """Whether an array lives on a GPU."""
    return hasattr(array, "__cuda_array_interface__")


def download(array: Array, what: str) -> np.ndarray[Any, Any]:
    """An array in this computer's memory; one that is there already is returned as it is.

    Args:
        array: of either device.
        what: for the list of `count_transfers`.
    """
    if not on_gpu(array):
        return np.asarray(array)
    record("transfer/download", (what, array.nbytes))
    found: np.ndarray[Any, Any] = array.get()
    return found


def upload(array: np.ndarray[Any, Any], like: Array, what: str = "") -> Array:
    """A NumPy array where `like` lives: itself on the CPU, a copy on the GPU.

    The GPU need not be waited for: a large array is copied to a page-locked buffer first, which
    the GPU reads while the CPU goes on.
    """
    if not on_gpu(like):
        return array
    record("transfer/upload", (what, array.nbytes))
    return _pinned.upload(array)


class _PinnedBuffers:
    """Page-locked memory that is used again once the GPU has read it."""

    def __init__(self, count: int = 8) -> None:
        self.slots: list[tuple[Any, Any]] = []  # buffer, event after which it is free
        self.count = count
        self.next = 0

    def upload(self, array: np.ndarray[Any, Any]) -> Array:
        import cupy

        array = np.ascontiguousarray(array)
        if array.nbytes < PINNED_FROM:
            return cupy.asarray(array)
        out = cupy.empty(array.shape, array.dtype)
        buffer = self._free_buffer(array.nbytes)
        source = buffer[: array.nbytes].view(array.dtype).reshape(array.shape)
        source[...] = array
        stream = cupy.cuda.get_current_stream()
        out.set(source, stream=stream)  # does not wait, as the buffer is page-locked
        event = cupy.cuda.Event(disable_timing=True)
        event.record(stream)
        self.slots[self.next] = (buffer, event)
        self.next = (self.next + 1) % self.count
        return out

    def _free_buffer(self, size: int) -> Any:
        """The buffer of the next slot, at least `size` bytes, once nobody reads it any more."""
        import cupyx

        if len(self.slots) <= self.next:
            self.slots.append((cupyx.empty_pinned((size,), np.uint8), None))
        buffer, event = self.slots[self.next]
        if event is not None:
            event.synchronize()
        if len(buffer) < size:
            buffer = cupyx.empty_pinned((size,), np.uint8)
        return buffer


_pinned = _PinnedBuffers()


def move(array: Array, device: str) -> Array:
    """An array on `device` ("cpu", "cuda" or "cuda:1"): itself if it is there, else a copy."""
    if device == "cpu":
        return array.get() if on_gpu(array) else array
    if on_gpu(array):
        return array
    import cupy

    with cupy.cuda.Device(_number(device)):
        return cupy.asarray(array)


def find(device: str) -> str:
    """Check that a device can be used and make it the current one.

    Args:
        device: "cpu", "cuda", or "cuda:1" for the second GPU.

    Returns:
        The same name.

    Raises:
        DeviceError: no driver, no GPU of that number, no CuPy, a toolkit newer than the driver.
        ValueError: no name of a device.
    """
    if device == "cpu":
        return device
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise ValueError(f'device: expected "cpu", "cuda" or "cuda:1", got {device!r}')
    count = gpu_count()
    if _number(device) >= count:
        raise DeviceError(f"{device}: there are {count} GPUs, numbered from cuda:0")
    cupy = _import_cupy()
    try:
        cupy.cuda.Device(_number(device)).use()
        cupy.zeros(1).sum()  # allocates, compiles or loads, launches
    except Exception as error:
        raise DeviceError(explain_cuda_error(error)) from error
    return device


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def gpu_count() -> int:
    """How many GPUs the driver offers; asks the driver alone, without CuPy.

    Raises:
        DeviceError: there is no driver, or it reports none.
    """
    try:
        driver = load_driver()
    except DeviceError as error:
        raise DeviceError(
            f"cuda: {error}; use --device cpu, or `minimask kernels check` to try GPU kernels "
            "without a GPU"
        ) from None
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value


def load_driver() -> Any:
    """The NVIDIA driver's library, started, with at least one GPU.

    Raises:
        DeviceError: it is not installed, does not start, or sees no GPU.
    """
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        raise DeviceError(f"no NVIDIA driver ({name} cannot be loaded)") from None
    status = driver.cuInit(0)
    if status != 0:
        raise DeviceError(f"the NVIDIA driver does not start: {_error_name(driver, status)}")
    count = ctypes.c_int()
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        raise DeviceError("the NVIDIA driver sees no device (check CUDA_VISIBLE_DEVICES)")
    return driver


def _error_name(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorName(status, ctypes.byref(text)) == 0 and text.value:
        return text.value.decode()
    return f"error {status}"


def driver_version() -> tuple[int, int]:
    """The newest CUDA version the driver understands, e.g. (12, 4)."""
    version = ctypes.c_int()
    load_driver().cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def _import_cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        major = driver_version()[0]
        extra = "cuda13" if major >= 13 else "cuda12"
        raise DeviceError(
            f"cuda: the GPU is there (driver for CUDA {'.'.join(map(str, driver_version()))}), "
            f"but CuPy is not: pip install 'minimask[{extra}]' ({error})"
        ) from None
    return cupy


def explain_cuda_error(error: Exception) -> str:
    """What a CUDA error means, in a sentence with the way out."""
    text = f"{type(error).__name__}: {error}"
    if "InsufficientDriver" in text or "Unsupported .version" in text or "driver version" in text:
        try:
            version = ".".join(map(str, driver_version()))
        except DeviceError as missing:  # CuPy says the same where there is no driver at all
            return f"cuda: {missing}. {text}"
        return (
            f"cuda: the installed CUDA toolkit is newer than the driver, which understands CUDA "
            f"{version} at most; install the toolkit of that version "
            f"(pip install 'minimask[cuda{version.partition('.')[0]}]'), or a newer driver. {text}"
        )
    if "OutOfMemory" in text or "out of memory" in text:
        return f"cuda: not enough GPU memory; use a smaller --batch or smaller images. {text}"
    return f"cuda: the GPU cannot be used. {text}"


def free_memory() -> int:
    """Bytes a new array could still get on the current GPU, freed blocks of CuPy's included."""
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    return int(free + cupy.get_default_memory_pool().free_bytes())


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024 or unit == "MiB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count} GiB"
