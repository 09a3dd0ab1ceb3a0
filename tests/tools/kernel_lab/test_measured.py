"""What a page says about speed is what the files of results say."""

from __future__ import annotations

import json

import pytest

from minimask.kernels import OPERATIONS
from minimask.tools.kernel_lab import measured, pages, values

RESULTS = measured.BENCHMARKS / "results"


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_line_of_an_operation_is_on_its_page():
    """All lines but those of whole models and of the fully connected layer, and their numbers."""
    (path,) = RESULTS.glob("2026-11-21-cpu.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    shown = {
        row[0]: row
        for op in OPERATIONS
        for row in rows_of(pages.page(op).read_text(encoding="utf-8").split(pages.MEASURED)[1])
        if len(row) == 6
    }
    counted = 0
    for line in results["lines"]:
        name, seconds = line["name"], line["seconds"]
        if name.startswith(("linear", "ResNet", "laptop")):
            assert name not in shown
            continue
        mine, torch, best = (
            1e3 * seconds[side]["median"] for side in ("minimask", "torch", "torch, best settings")
        )
        row = shown[name]
        assert float(row[2]) == pytest.approx(mine, rel=1e-3)
        assert [float(x) for x in row[4].split(" / ")] == pytest.approx([torch, best], rel=1e-3)
        ratios = [float(x) for x in row[5].split(" / ")]
        assert ratios == pytest.approx([torch / mine, best / mine], abs=0.0051)
        counted += 1
    assert counted == len(results["lines"]) - 7 == len(shown) - 1  # one is the tables' head


def test_rates_of_convolutions_by_hand():
    cases = {case.name: case for case in measured._cpu_cases()}
    # 64 filters of 64 x 3 x 3 at 128 x 128 pixels, an addition and a multiplication each
    work = measured.work_of(cases["conv2d 3x3 (1, 64, 128, 128) -> 64, forward"])
    assert work.operations == 2 * 64 * 576 * 128 * 128
    assert work.rate(1.0) == "1208 GFLOP/s"
    both = measured.work_of(cases["conv2d 3x3 (1, 64, 128, 128) -> 64, forward + backward"])
    assert both.operations == 3 * work.operations
    # stride 2: 50 x 68 pixels; an image of three channels has no gradient
    strided = measured.work_of(cases["conv2d 3x3/2 (1, 128, 100, 136) -> 128, forward"])
    assert strided.operations == 2 * 128 * 50 * 68 * 128 * 9
    stem = "conv2d 7x7/2 (1, 3, 256, 256) -> 64, forward"
    assert measured.work_of(cases[f"{stem} + backward"]).operations == (
        2 * measured.work_of(cases[stem]).operations
    )
    up = measured.work_of(cases["conv_transpose2d 2x2/2 (64, 256, 14, 14) -> 256, forward"])
    assert up.operations == 2 * 64 * 256 * 28 * 28 * 256  # each output from one pixel
    pairs = measured.work_of(cases["box_iou 268569 x 20"])
    assert pairs.bytes == 4 * (4 * 268569 + 80 + 20 * 268569) and pairs.rate(10.0) == "2.6 GB/s"
    assert measured.work_of(cases["nms 1000 boxes"]).rate(1.0) == ""


def test_the_time_stands_beside_the_rung_that_ran():
    assert measured.cell("roi_align", "cpu_lanes") == "8.814 ms"
    assert measured.cell("roi_align", "cpu") == measured.cell("roi_align", "reference") == ""
    assert measured.default_rung("box_iou", "best_overlaps") == "cpu"
    assert measured.cell("relu", "cpu") == ""
    assert "does not time relu and relu_backward by itself" in measured.section("relu")


@pytest.mark.parametrize("op", OPERATIONS)
def test_no_gpu_has_been_measured_yet(op, tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "newest", lambda device: None)
    for name, variant in values.variants(op).items():
        assert measured.cell(op, name) == (
            "not yet run on a GPU" if variant.device == "gpu" else ""
        )
    assert "GPU: not yet run on a GPU; `python benchmarks/gpu.py`" in measured.section(op)


def gpu_results(**changed):
    common = {"op": "relu", "function": "relu", "workload": "2x3", "peer": False}
    measure = {**common, "variant": "cuda_1_naive", "ms": 0.5, "gb_per_s": 1234.0}
    peer = {**measure, "variant": "torch.relu", "ms": 1.25, "peer": True, "gflop_per_s": 0.0}
    machine = {"gpu": "Toaster 9", "date": "2027-01-02", "commit": "abc"}
    return {
        "machine": machine,
        "bench": {"measures": [{**measure, "gflop_per_s": 7.0, **changed}, peer]},
    }


def test_a_run_on_a_gpu_fills_the_column(tmp_path, monkeypatch):
    (tmp_path / "2027-01-02-toaster.json").write_text(json.dumps(gpu_results()))
    (tmp_path / "2027-01-01-toaster.json").write_text(json.dumps(gpu_results(ms=9.0)))
    (tmp_path / "2027-01-03-growth.json").write_text("{}")
    newest = measured.newest
    monkeypatch.setattr(measured, "newest", lambda device: newest(device, tmp_path))
    assert measured.newest("cpu") is None
    assert measured.cell("relu", "cuda_1_naive") == "0.5 ms"
    assert measured.cell("relu", "numba_1_naive") == "not yet run on a GPU"
    text = measured.section("relu")
    assert "| relu | 2x3 | cuda_1_naive | 0.5 | 1234 | 7 | 2.50 |" in text
    assert "| relu | 2x3 | torch.relu | 1.25 | 1234 |  |  |" in text
    assert "Toaster 9; 2027-01-02, commit abc" in text
    assert "2027-01-02-toaster.json" in text and "`python benchmarks/gpu.py`" in text
    assert measured.section("nms").endswith("`python benchmarks/gpu.py` times every rung.")


def test_the_newest_file_of_a_cpu_counts(tmp_path):
    for day in ("2026-01-01", "2026-03-01", "2026-02-01"):
        (tmp_path / f"{day}-cpu.json").write_text(json.dumps({"date": day, "lines": []}))
    (tmp_path / "2026-09-01-growth.json").write_text("{}")
    assert measured.newest("cpu", tmp_path) == (
        "2026-03-01-cpu.json",
        {"date": "2026-03-01", "lines": []},
    )
    assert measured.newest("gpu", tmp_path) is None
