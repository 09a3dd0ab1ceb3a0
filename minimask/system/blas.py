"""How fast NumPy multiplies matrices with and without what `runtime.prepare` sets."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

from minimask.system import runtime

GAIN = 1.15  # of speed; less is noise, or not worth a setting
PATIENCE = 30  # seconds; NumPy on a cold disk
# One thread: what the kernels can do is to be seen, not what else the machine is busy with.
PROGRAM = """
import json, time
import numpy as np, threadpoolctl
a = np.ones((768, 768), np.float32)
a @ a
seconds, end = [], time.perf_counter() + 0.25
while time.perf_counter() < end:
    start = time.perf_counter()
    a @ a
    seconds.append(time.perf_counter() - start)
(found, *_) = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
speed = 2 * 768**3 / min(seconds) / 1e9
print(json.dumps({"kernels": found.get("architecture") or "?", "speed": speed}))
"""


@dataclasses.dataclass(frozen=True)
class Speed:
    """What one process measured: OpenBLAS's name of its kernels, GFLOP/s of one thread."""

    kernels: str
    speed: float


def measure(coretype: str | None) -> Speed:
    """Multiply matrices in a new Python, as a user starts it; takes half a second.

    Args:
        coretype: OPENBLAS_CORETYPE for it; None: as the user has it.

    Raises:
        OSError, subprocess.SubprocessError, ValueError: it did not run to its end.
    """
    settings_made = runtime.made()
    environment = {name: value for name, value in os.environ.items() if name not in settings_made}
    environment |= {"OPENBLAS_NUM_THREADS": "1"}
    if coretype is not None:
        environment[runtime.CORETYPE] = coretype
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return Speed(**json.loads(done.stdout))


def compare() -> tuple[str, str] | None:
    """What a Python program without `minimask.system.runtime` gets, and what it could get.

    Returns:
        A line of facts, and advice, which is empty where there is nothing to gain; None where the
        processor lacks AVX-512 and the setting changes nothing.
    """
    if not runtime.cpu_flags() >= runtime.AVX512:
        return None
    setting = f"{runtime.CORETYPE}={runtime.WIDE_KERNELS}"
    try:
        plain, wide = measure(None), measure(runtime.WIDE_KERNELS)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"not measured: {error}", ""
    fact = (
        f"kernels for {plain.kernels}, {plain.speed:.0f} GFLOP/s on one thread; "
        f"with {setting} {wide.speed:.0f}"
    )
    if wide.speed < GAIN * plain.speed:
        return fact, ""
    return fact, (
        f"NumPy multiplies matrices {wide.speed / plain.speed:.1f} times as fast with {setting}. "
        "The command minimask sets it, unless it is set to something else; for scripts set it in "
        "the shell, or call minimask.system.runtime.prepare() before NumPy is imported"
    )
