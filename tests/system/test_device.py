"""Choosing a device, what is said when it cannot be used, and the memory a step will need."""

from __future__ import annotations

import builtins
import ctypes

import numpy as np
import pytest

from minimask import models
from minimask.system import device
from minimask.system.device import DeviceError, count_transfers, download, find, upload
from minimask.train import memory


class Driver:
    """What `load_driver` gives where there is a GPU."""

    def __init__(self, gpus=1, version=12040):
        self.gpus, self.version = gpus, version

    def cuDeviceGetCount(self, count):
        count._obj.value = self.gpus
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = self.version
        return 0


def has_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def test_the_cpu_is_always_there():
    assert find("cpu") == "cpu"
    array = np.arange(3)
    with count_transfers() as counted:
        assert upload(array, np.zeros(1)) is array
        assert download(array, "nothing") is array
    assert counted.downloads == counted.uploads == []
    assert str(counted) == "0 times the CPU waited for the GPU: nothing; 0 uploads, 0 bytes"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "cuda 0"])
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match='expected "cpu", "cuda" or "cuda:1", got'):
        find(name)


@pytest.mark.skipif(has_driver(), reason="this computer has an NVIDIA driver")
def test_without_a_driver():
    with pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
        find("cuda")
    assert "--device cpu" in str(caught.value) and "minimask kernels check" in str(caught.value)


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(device, "load_driver", lambda: Driver(gpus=2))
    with pytest.raises(DeviceError, match="cuda:2: there are 2 GPUs, numbered from cuda:0"):
        find("cuda:2")


@pytest.mark.parametrize(("version", "extra"), [(12040, "cuda12"), (13000, "cuda13")])
def test_a_gpu_without_cupy(monkeypatch, version, extra):
    monkeypatch.setattr(device, "load_driver", lambda: Driver(version=version))
    original = builtins.__import__

    def refuse(name, *args, **options):
        if name == "cupy":
            raise ImportError("No module named 'cupy'")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DeviceError, match=rf"pip install 'minimask\[{extra}\]'"):
        find("cuda")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("cudaErrorInsufficientDriver: CUDA driver version is insufficient", "newer than the"),
        ("Unsupported .version 9.4; current version is '9.0'", "CUDA 12.4 at most"),
        ("Out of memory allocating 1,024 bytes", "smaller --batch"),
        ("cudaErrorIllegalAddress", "the GPU cannot be used. RuntimeError: cudaErrorIllegal"),
    ],
)
def test_errors_of_cuda_in_a_sentence(monkeypatch, error, said):
    monkeypatch.setattr(device, "load_driver", lambda: Driver())
    kind = MemoryError if "memory" in error else RuntimeError
    assert said in device.explain_cuda_error(kind(error.replace("Out of", "out of")))


def test_an_error_of_cupy_without_a_driver(monkeypatch):
    def missing():
        raise DeviceError("no NVIDIA driver (libcuda.so.1 cannot be loaded)")

    monkeypatch.setattr(device, "load_driver", missing)
    said = device.explain_cuda_error(
        RuntimeError("cudaErrorInsufficientDriver: CUDA driver version")
    )
    assert said.startswith("cuda: no NVIDIA driver (libcuda.so.1 cannot be loaded). RuntimeError")


# --------------------------------------------------------------------------------- memory


def tiny(**options):
    return models.maskrcnn_laptop(("a", "b"), **options)


def test_the_estimate_of_a_step_is_near_what_it_keeps():
    model = tiny()
    before = model.state_dict()
    weights = sum(array.nbytes for array in before.values())
    small = memory.step_bytes(model, 1, 192, 192)
    assert small > 4 * weights  # weight, gradient, two states of AdamW
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])  # statistics included
    kept = memory._kept(model, 320)  # not one of the sizes it was measured on
    found = (memory.step_bytes(model, 1, 320, 320, states=0) - 2 * weights) / memory.BACKWARD
    assert found == pytest.approx(kept, rel=0.15)
    two = memory.step_bytes(model, 2, 320, 320) - memory.step_bytes(model, 1, 320, 320)
    assert two == pytest.approx(memory.BACKWARD * kept, rel=0.15)


def test_a_step_that_does_not_fit_is_refused_with_the_way_out(monkeypatch):
    model = tiny()
    needed = memory.step_bytes(model, 8, 256, 256)
    monkeypatch.setattr(memory, "free_memory", lambda: needed * 2)
    assert "a step of 8 images of 256 x 256 needs about" in memory.check(model, 8, 256, 256)
    monkeypatch.setattr(memory, "free_memory", lambda: needed // 2)
    with pytest.raises(DeviceError, match=r"--batch [34] should fit, or --accumulate"):
        memory.check(model, 8, 256, 256)
