"""`minimask doctor` tells the truth about the machine, also when something is missing."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import json

import pytest
from runs import invoke

from minimask.system import blas, environment, runtime


def test_report_for_people_and_for_programs() -> None:
    text = invoke("doctor")
    assert text.exit_code == 0, text.output
    for word in ("numpy", "openblas" if "openblas" in text.stdout else "BLAS", "GPU", "cores"):
        assert word in text.stdout
    assert text.stdout.rstrip().endswith("no problems found")
    content = json.loads(invoke("doctor", "--json").stdout)
    assert content["problems"] == []
    assert isinstance(content["advice"], list)
    assert content["software"]["numpy"] == importlib.metadata.version("numpy")
    assert content["compiled kernels"]["threading layer"] in ("omp", "tbb", "workqueue")
    assert "kernels for" in content["BLAS"]["numpy"]


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "safetensors":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    section = environment.software()
    assert section.facts["safetensors"] == "missing"
    assert section.problems == ("safetensors is not installed: pip install safetensors",)
    assert invoke("doctor").exit_code == 1


def test_kernels_that_do_not_run_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    home = importlib.import_module("minimask.kernels.box_iou")

    def broken(*_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(home, "box_iou", broken)
    assert environment.kernels().problems == ("kernels do not run: RuntimeError: no compiler",)
    monkeypatch.setattr(home, "box_iou", lambda a, b: a[:, :2] * 0)
    assert "wrong numbers" in environment.kernels().problems[0]


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str | None, blas.Speed]:
    """A processor with AVX-512, and what is measured there for each OPENBLAS_CORETYPE."""
    found = {None: blas.Speed("Zen", 50.0), "SkylakeX": blas.Speed("SkylakeX", 95.0)}
    monkeypatch.setattr(runtime, "cpu_flags", lambda: runtime.AVX512)
    monkeypatch.setattr(blas, "measure", lambda coretype: found[coretype])
    return found


def test_slow_kernels_of_python_programs_are_reported(speeds: dict) -> None:
    section = environment.blas()
    (advice,) = section.advice
    assert advice.startswith("NumPy multiplies matrices 1.9 times as fast with OPENBLAS_CORETYPE=")
    assert "minimask.system.runtime.prepare()" in advice
    assert section.problems == ()
    said = "kernels for Zen, 50 GFLOP/s on one thread; with OPENBLAS_CORETYPE=SkylakeX 95"
    assert section.facts["in plain Python"] == said
    result = invoke("doctor")
    assert result.exit_code == 0 and f"advice: {advice}" in result.stdout
    assert json.loads(invoke("doctor", "--json").stdout)["advice"] == [advice]


def test_kernels_that_are_as_fast_need_no_advice(speeds: dict) -> None:
    speeds[None] = blas.Speed("Zen", 99.0)
    assert environment.blas().advice == ()


def test_nothing_is_measured_without_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cpu_flags", lambda: {"avx2", "fma"})
    monkeypatch.setattr(blas, "measure", lambda coretype: pytest.fail("it was measured"))
    section = environment.blas()
    assert "in plain Python" not in section.facts and section.advice == ()


def test_a_measurement_that_fails_is_said(speeds: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(coretype: str | None) -> blas.Speed:
        raise OSError("no more processes")

    monkeypatch.setattr(blas, "measure", refuse)
    assert blas.compare() == ("not measured: no more processes", "")


def test_speed_is_measured_as_a_user_starts_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the command has set for itself, and with what the user has."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "SkylakeX")
    code = "import json, os; print(json.dumps({'kernels': %s, 'speed': 1.0}))"
    asked = "os.environ.get('OPENBLAS_CORETYPE', 'its own')"
    monkeypatch.setattr(blas, "PROGRAM", code % asked)
    assert blas.measure(None).kernels == "SkylakeX"
    monkeypatch.setattr(runtime, "_made", {"OPENBLAS_CORETYPE": "SkylakeX"})
    assert blas.measure(None).kernels == "its own"
    assert blas.measure("Haswell").kernels == "Haswell"
    monkeypatch.undo()
    assert blas.measure(None).speed > 0  # the program itself runs


class Driver:
    """As much of libcuda as is asked: one device, unless `status` or `count` say otherwise."""

    def __init__(self, status: int = 0, count: int = 1) -> None:
        self.status, self.count = status, count

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuGetErrorName(self, status: int, text) -> int:
        text._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, handle, index: int) -> int:
        return 0

    def cuDeviceGetName(self, name, size: int, handle) -> int:
        name.value = b"Toaster 9000"
        return 0

    def cuDeviceTotalMem_v2(self, size, handle) -> int:
        size._obj.value = 24 * 2**30
        return 0

    def cuDeviceGetAttribute(self, value, attribute: int, handle) -> int:
        value._obj.value = {75: 8, 76: 6}[attribute]
        return 0

    def cuDriverGetVersion(self, version) -> int:
        version._obj.value = 12040
        return 0


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    devices, reason = environment.cuda_devices()
    assert devices == ["Toaster 9000, 24 GiB, compute capability 8.6, driver for CUDA 12.4"]
    assert reason == ""
    monkeypatch.setattr("minimask.system.device.find", lambda name: name)
    section = environment.gpu()
    assert section.facts["GPU 0"] == devices[0] and "GPU" not in section.facts
    assert section.facts["used by minimask"] == "yes, with --device cuda"

    def refuse(name: str) -> str:
        raise OSError("cuda: CuPy is not installed")

    monkeypatch.setattr("minimask.system.device.find", refuse)
    assert environment.gpu().problems == ("cuda: CuPy is not installed",)


def test_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError("cannot open shared object file")

    for load, said in (
        (missing, "no NVIDIA driver"),
        (lambda name: Driver(status=100), "CUDA_ERROR_NO_DEVICE"),
        (lambda name: Driver(count=0), "sees no device"),
    ):
        monkeypatch.setattr(ctypes, "CDLL", load)
        devices, reason = environment.cuda_devices()
        assert devices == [] and said in reason
    section = environment.gpu()
    assert section.problems == () and section.facts["GPU"].startswith("none: ")


def test_usable_cores_are_counted() -> None:
    assert 1 <= environment.usable_cores() <= 4096
