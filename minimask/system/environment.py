"""What this machine has, and which parts of it the package uses: for `minimask doctor`."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib
import importlib.metadata
import os
import pathlib
import platform
import re
import sys
import time
from typing import Any

from minimask.system import runtime
from minimask.system.blas import compare

PACKAGES = (
    "numpy",
    "numba",
    "threadpoolctl",
    "pillow",
    "matplotlib",
    "pycocotools",
    "safetensors",
    "tqdm",
    "typer",
)
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Section:
    """Some facts under one heading.

    `problems` are sentences on what does not work, `advice` on what works but could be faster.
    """

    title: str
    facts: dict[str, str]
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def report() -> list[Section]:
    """Everything `minimask doctor` shows.  Compiles and runs one kernel, multiplies matrices."""
    return [software(), processor(), memory(), blas(), kernels(), gpu()]


def hello() -> None:
    """Print what a tutorial runs on: versions, processor, and how GPU kernels will run."""
    import numba
    import numpy as np

    from minimask._version import __version__

    print(
        f"minimask {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"Numba {numba.__version__}"
    )
    cores = usable_cores()
    print(f"CPU: {cores} core{'' if cores == 1 else 's'}")
    print(f"GPU kernels: {_gpu_kernels()}")


def _gpu_kernels() -> str:
    """Where they will run, in a sentence."""
    from minimask.kernels.host_shim import build

    devices, reason = cuda_devices()
    why_not = build.why_not()
    emulated = "on this CPU, in the host shim" if why_not is None else f"not at all: {why_not}"
    if not devices:
        return f"{emulated}; no GPU here: {reason}"
    return f"on {devices[0].split(',')[0]} with CuPy arrays; with NumPy arrays {emulated}"


def software() -> Section:
    """Versions of the package, Python and everything it needs."""
    from minimask._version import __version__

    facts = {
        "minimask": f"{__version__} in {pathlib.Path(__file__).parents[1]}",
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
    }
    problems = []
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "missing"
            problems.append(f"{name} is not installed: pip install {name}")
    return Section("software", facts, tuple(problems))


def processor() -> Section:
    """Name, cores this process may use, vector instructions."""
    flags = _cpuinfo("flags").split() or _cpuinfo("Features").split()
    vectors = [name for name in ("avx2", "fma", "avx512f", "amx_tile", "asimd") if name in flags]
    usable = usable_cores()
    total = os.cpu_count() or 1
    facts = {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": f"{usable} usable" + (f" of {total}" if usable != total else ""),
    }
    if vectors:
        facts["vector instructions"] = ", ".join(vectors)
    return Section("processor", facts)


def usable_cores() -> int:
    """Cores that this process may use: its affinity and its container's share of time."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        count = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return count


def memory() -> Section:
    """How much there is, in all and free."""
    sizes = {}
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            sizes[name] = int(value.split()[0]) * 1024
    facts = {}
    if "MemTotal" in sizes:
        facts["memory"] = f"{sizes['MemTotal'] / GIB:.1f} GiB"
        facts["available"] = f"{sizes.get('MemAvailable', 0) / GIB:.1f} GiB"
    with contextlib.suppress(OSError, ValueError):
        limit = int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text())
        facts["limit of this container"] = f"{limit / GIB:.1f} GiB"
    return Section("memory", facts or {"memory": "unknown on this system"})


def blas() -> Section:
    """The libraries that multiply matrices, the kernels they chose, and how fast they are."""
    try:
        import numpy as np
        from threadpoolctl import threadpool_info
    except ImportError as error:
        return Section("BLAS", {}, (f"cannot be examined: {error}",))
    facts = {}
    libraries = [found for found in threadpool_info() if found["user_api"] == "blas"]
    for library in libraries:
        threads = library["num_threads"]
        facts[_owner(library["filepath"])] = (
            f"{library['internal_api']} {library.get('version') or ''}, kernels for "
            f"{library.get('architecture') or 'unknown'}, {threads} "
            f"thread{'' if threads == 1 else 's'}"
        )
    a = np.ones((1024, 1024), np.float32)
    a @ a  # the first product wakes the threads
    began = time.perf_counter()
    a @ a
    facts["measured"] = f"{2 * 1.024**3 / (time.perf_counter() - began):.0f} GFLOP/s in float32"
    for name in (runtime.CORETYPE, runtime.KEEP):
        if name in os.environ:
            by_us = f", set by minimask unless {runtime.KEEP}=1" if name in runtime.made() else ""
            facts[name] = f"{os.environ[name] or 'empty'}{by_us}"
    compared = None
    if any(library["internal_api"] == "openblas" for library in libraries):
        compared = compare()
    if compared is None:
        return Section("BLAS", facts)
    facts["in plain Python"], advice = compared
    return Section("BLAS", facts, advice=(advice,) if advice else ())


def _owner(path: str) -> str:
    """Which installed package brought a library: "numpy.libs" is NumPy's."""
    for part in pathlib.PurePath(path).parts:
        if part.partition(".")[0] in ("numpy", "scipy"):
            return part.partition(".")[0]
    return path


def kernels() -> Section:
    """Compile and run one parallel kernel, as every command does."""
    facts = {}
    try:
        import numba
        import numpy as np

        from minimask.kernels.box_iou import box_iou

        boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2]], np.float32)
        began = time.perf_counter()
        overlaps = box_iou(boxes, boxes)
        seconds = time.perf_counter() - began
        correct = np.allclose(overlaps, [[1, 1 / 3], [1 / 3, 1]])
        facts["test kernel"] = f"loaded and run in {seconds:.1f} s" + (
            ", compiled anew" if seconds > 2 else ""
        )
        facts["threads"] = str(numba.get_num_threads())
        facts["threading layer"] = _threading_layer(numba)
    except Exception as error:  # whatever it is, the report goes on
        problem = f"kernels do not run: {type(error).__name__}: {error}"
        return Section("compiled kernels", facts, (problem,))
    problems = () if correct else (f"a kernel computes wrong numbers: {overlaps.tolist()}",)
    return Section("compiled kernels", facts, problems)


def _threading_layer(numba: Any) -> str:
    try:
        return str(numba.threading_layer())
    except ValueError:
        return "not started: the kernel ran without threads"


def gpu() -> Section:
    """Whether there is an NVIDIA GPU, what keeps it from being used, and what would."""
    devices, reason = cuda_devices()
    facts = {}
    for i, device in enumerate(devices):
        facts[f"GPU {i}"] = device
    if reason:
        facts["GPU"] = f"none: {reason}"
    facts["cupy"] = _cupy(bool(devices))
    problems = []
    if devices:
        from minimask.system.device import explain_cuda_error, find

        try:
            facts["used by minimask"] = f"yes, with --device {find('cuda')}"
        except OSError as error:
            problems.append(str(error))
        except Exception as error:  # whatever CuPy's import may raise, the report goes on
            problems.append(explain_cuda_error(error))
    return Section("GPU", facts, tuple(problems))


def cuda_devices() -> tuple[list[str], str]:
    """A line for each NVIDIA GPU; and, where there is none, why.

    Asks the driver itself, so that no CUDA package is needed and nothing is loaded for nothing.
    """
    from minimask.system.device import DeviceError, load_driver

    try:
        driver = load_driver()
    except DeviceError as error:
        return [], str(error)
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return [_device(driver, i) for i in range(count.value)], ""


COMPUTE_MAJOR, COMPUTE_MINOR = 75, 76  # CUdevice_attribute


def _device(driver: Any, index: int) -> str:
    handle, version = ctypes.c_int(), ctypes.c_int()
    size = ctypes.c_size_t()
    name = ctypes.create_string_buffer(128)
    capability = [ctypes.c_int(), ctypes.c_int()]
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
    for value, attribute in zip(capability, (COMPUTE_MAJOR, COMPUTE_MINOR), strict=True):
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
    driver.cuDriverGetVersion(ctypes.byref(version))
    return (
        f"{name.value.decode()}, {size.value / GIB:.0f} GiB, compute capability "
        f"{capability[0].value}.{capability[1].value}, driver for CUDA "
        f"{version.value // 1000}.{version.value % 1000 // 10}"
    )


def _cupy(has_device: bool) -> str:
    """The installed CuPy; what to install when it is missing and would be of use."""
    for package in importlib.metadata.distributions():
        name = package.metadata["Name"] or ""
        if re.fullmatch(r"cupy(-cuda\d+x|-rocm.*)?", name):
            return f"{name} {package.version}"
    return "not installed" + (": pip install 'minimask[cuda12]' or [cuda13]" if has_device else "")


def _cpuinfo(key: str) -> str:
    """The first value of a key in /proc/cpuinfo; empty where there is none."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""
