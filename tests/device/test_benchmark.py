"""benchmarks/gpu.py without a GPU: its stages on the stand-in, for what can go wrong in Python."""

from __future__ import annotations

import functools
import json
import pathlib
import sys

import pytest

from minimask import models
from minimask.system import environment
from minimask.tools.kernel_lab import record, tiers

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(cupy_stand_in, monkeypatch, tmp_path):
    """The module, for one operation and a machine that says it has a GPU."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu
    import gpu_model

    card = "Toaster 9000, 24 GiB, compute capability 8.6, driver for CUDA 13.0"
    monkeypatch.setattr(environment, "cuda_devices", lambda: ([card], ""))
    monkeypatch.setattr(tiers, "why_no_gpu", lambda: None)
    monkeypatch.setattr(record, "FILE", tmp_path / "record.json")
    monkeypatch.setattr(record.update, "__defaults__", (tmp_path / "record.json",))
    monkeypatch.setattr(gpu, "gpu_rungs", lambda: iter([("box_iou", "cuda_2_tiled")]))
    monkeypatch.setattr(gpu, "sanitizer", lambda: None)
    small = {"found": []}

    def compare(batch, height, width, rounds):
        small["found"].append((batch, height, width))
        times = {"minimask": 10.0, "torchvision, float32": 12.0}
        result = {"batch": batch, "height": height, "width": width}
        for what in ("training step", "inference"):
            result |= {what: times, f"{what}: transfers": "3 times the CPU waited"}
        return result

    monkeypatch.setattr(gpu_model, "compare", compare)
    return gpu


def test_all_but_the_clock_runs(benchmark, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        sys,
        "argv",
        ["gpu.py", "--only", "check,repeat,model,sanitize", "--results", str(tmp_path / "results")],
    )
    benchmark.main()
    (page,) = (tmp_path / "results").glob("*.md")
    report = json.loads(page.with_suffix(".json").read_text())
    assert "failures" not in report, report["failures"]
    assert page.name.endswith("-toaster-9000.md")
    text = page.read_text()
    assert "| box_iou cuda_2_tiled | passed: " in text
    assert "not the same bits in none" in text
    assert report["parity"].keys() >= {"loss_mask", "loss_objectness", "gradient"}
    for name, (cpu, there) in report["parity"].items():
        assert there == pytest.approx(cpu, rel=1e-4), name
    assert "| training step | torchvision, float32 | 12.0 | 1.20 |" in text
    assert "not run: no compute-sanitizer here" in text
    known = json.loads((tmp_path / "record.json").read_text())
    assert known["box_iou"]["cuda_2_tiled"]["gpu"]
    assert (tmp_path / "results" / "record.json").exists()


def test_a_stage_that_fails_does_not_cost_the_others(benchmark, monkeypatch, tmp_path):
    def broken(report, clock):
        raise RuntimeError("a bad day")

    monkeypatch.setattr(benchmark, "repeat", broken)
    monkeypatch.setattr(
        sys,
        "argv",
        ["gpu.py", "--only", "check,repeat,model", "--results", str(tmp_path / "results")],
    )
    benchmark.main()
    (page,) = (tmp_path / "results").glob("*.md")
    assert "a bad day" in page.read_text() and "| inference | minimask" in page.read_text()


def test_unknown_stages_are_named(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--only", "check,brew"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "no stage brew" in capsys.readouterr().err


def test_the_model_comparison_on_the_cpu(monkeypatch):
    """The same code as on a GPU, on tiny images, without torch."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_model

    monkeypatch.setitem(sys.modules, "torch", None)
    sizes = {
        "layers": (1, 1, 1, 1),
        "fpn_channels": 16,
        "box_head_width": 16,
        "mask_head_channels": (16,),
        "min_size": 64,
    }
    small = functools.partial(models.maskrcnn_resnet50_fpn, **sizes)
    monkeypatch.setattr(models, "maskrcnn_resnet50_fpn", small)
    images, targets = gpu_model.make_data(1, 64, 96)
    assert images[0].shape == (64, 96, 3)
    assert all(t["masks"].shape == (8, 64, 96) and t["masks"].any() for t in targets)
    found = gpu_model.compare(1, 64, 96, rounds=1, device="cpu")
    assert set(found["training step"]) == {"minimask"}
    assert "| inference | minimask |" in gpu_model.markdown(found)
