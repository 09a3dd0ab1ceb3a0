"""Timing: the numbers add up, and tables, JSON and pictures come out."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from minimask.kernels.case import Workload
from minimask.tools.kernel_lab import bench, timings, values

CEILINGS = bench.Ceilings("a test", copy=100.0, matrix=1000.0)
MEASURE = bench.Measure("box_iou", "box_iou", "w", "cpu", "cpu", 2.0, 1.0, 5, 1e8, 4e9)


def test_rates_and_shares():
    assert (MEASURE.bandwidth, MEASURE.rate) == (50.0, 2000.0)
    row = timings.row(MEASURE, CEILINGS)
    for part in ("cpu", " 2 ", " 50 ", "50.0%", "2000", "200.0%"):
        assert part in row
    assert len(row) == len(timings.HEADER) <= 80


def test_every_cpu_rung_is_timed_on_small_sizes():
    found = list(bench.bench("max_pool2d", gpu=False, small=True, seconds=0.01))
    assert [m.variant for m in found if m.function == "max_pool2d"] == ["reference", "cpu"]
    assert all(m.ms >= m.best_ms > 0 and m.runs >= 1 and m.operations == 0 for m in found)
    assert " - " in timings.row(found[0], CEILINGS)


def test_a_rung_of_another_device_is_refused():
    with pytest.raises(ValueError, match="no cpu variant 'cuda_1_naive' to time here; there is"):
        list(bench.bench("box_iou", ["cuda_1_naive"], gpu=False))


def test_what_takes_long_runs_once_more(monkeypatch):
    calls = []
    assert len(bench.time_cpu(lambda: calls.append(1), 0.0)) == 1
    assert len(calls) == 2


def test_ceilings_of_this_machine():
    found = bench.ceilings(gpu=False, seconds=0.02)
    assert found.copy > 0.1 and found.matrix > 0.1 and found.matrix_tf32 is None


def test_json_and_picture(tmp_path):
    content = json.loads(timings.as_json([MEASURE], CEILINGS))
    assert content["ceilings"]["copy"] == 100.0
    assert content["measures"][0]["gb_per_s"] == 50.0
    timings.picture(tmp_path / "roof.png", [MEASURE], CEILINGS)
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
    bare = bench.Measure("box_iou", "box_iou", "w", "cpu", "cpu", 2.0, 1.0, 5, 1e8, 0.0)
    with pytest.raises(ValueError, match="leave out --small"):
        timings.picture(tmp_path / "none.png", [bare], CEILINGS)


@pytest.mark.parametrize("op", ["box_iou", "nms", "roi_pool", "roi_align", "conv2d", "max_pool2d"])
def test_every_workload_is_complete_and_has_a_peer(op):
    peers = bench._peers()
    for work in bench.workloads(op):
        assert work.bytes > 0 and work.operations > 0, work.name
        names = (work.peer.removeprefix("torchvision ").replace(" ", "_"), work.function)
        assert any(callable(getattr(peers, name, None)) for name in names if name), work.name


def test_no_torch_no_peers():
    if bench.why_no_peers() is None:
        pytest.skip("torch with CUDA is here")
    assert bench.peers(Workload("w", "box_iou", (), peer="box_iou")) == {}


def test_arrays_keep_their_order_in_memory(monkeypatch):
    class Stand:
        asarray = staticmethod(np.array)

    monkeypatch.setitem(sys.modules, "cupy", Stand)
    last = np.arange(24.0).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    first, number, (again,) = values.on_gpu((last, 3, (last,)))
    assert number == 3
    for moved in (first, again):
        assert moved.strides == last.strides
        np.testing.assert_array_equal(moved, last)


def test_the_clock_needs_no_command_line_and_no_metric():
    code = (
        "import sys, minimask.tools.kernel_lab.bench\n"
        "assert not {'typer', 'pycocotools'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
