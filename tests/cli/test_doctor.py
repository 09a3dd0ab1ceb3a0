"""`minimask doctor` tells the truth about the machine, also when something is missing."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import json

import pytest
from runs import invoke

from minimask import environment


def test_report_for_people_and_for_programs() -> None:
    text = invoke("doctor")
    assert text.exit_code == 0, text.output
    for word in ("numpy", "openblas" if "openblas" in text.stdout else "BLAS", "GPU", "cores"):
        assert word in text.stdout
    assert text.stdout.rstrip().endswith("no problems found")
    content = json.loads(invoke("doctor", "--json").stdout)
    assert content["problems"] == []
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
    monkeypatch.setattr("minimask.device.find", lambda name: name)
    section = environment.gpu()
    assert section.facts["GPU 0"] == devices[0] and "GPU" not in section.facts
    assert section.facts["used by minimask"] == "yes, with --device cuda"

    def refuse(name: str) -> str:
        raise OSError("cuda: CuPy is not installed")

    monkeypatch.setattr("minimask.device.find", refuse)
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
