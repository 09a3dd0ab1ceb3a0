"""`minimask kernels`: what each command prints, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from runs import invoke

from minimask.kernels import OPERATIONS
from minimask.kernels.host_shim import build
from minimask.tools.kernel_lab import compile_gate

needs_gcc = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))


def test_alone_it_gives_an_overview() -> None:
    result = invoke("kernels")
    assert result.exit_code == 0, result.output
    for op in OPERATIONS:
        assert re.search(rf"^{op} ", result.stdout, re.MULTILINE)
    assert "minimask kernels list OP" in result.stdout
    assert invoke("kernels", "list").stdout in result.stdout


@pytest.mark.parametrize("command", ["", "list", "check", "start", "count", "bench", "pages"])
def test_every_help_fits_one_screen(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = invoke("kernels", *([command] if command else []), "--help")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and len(lines) <= 23, result.stdout
    assert max(map(len, lines)) <= 80


def test_a_ladder() -> None:
    text = invoke("kernels", "list", "box_iou").stdout
    assert text.startswith("box_iou: box_iou, best_overlaps\n") and "cuda_1_naive" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "iou"), "iou: no such operation; there is box_iou, nms"),
        (("check",), "name an operation or your file, or --all"),
        (("check", "nms", "--all"), "name an operation or your file, or --all"),
        (("check", "nms", "--tier", "speed"), "--tier speed: there is values, address"),
        (("check", "nms", "--variant", "best"), "--variant best: reference, cpu"),
        (("check", "nms", "--op", "nms"), "--op goes with a file"),
        (("check", "mine.cu", "--record"), "not for a file"),
        (("count", "nms", "--variant", "cpu"), "nms has the CUDA C++ rungs cuda_1"),
        (("count", "nms", "--case", "none such"), "--case none such: there is"),
        (("start", "resize", "mine.cu"), "a kernel can be tried for box_iou"),
        (("bench", "nms", "--small", "--picture", "x.png"), "leave out --small"),
    ],
)
def test_wrong_use_is_a_sentence(words: tuple[str, ...], said: str) -> None:
    result = invoke("kernels", *words)
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert result.stderr.count("\n") == 1


def test_files_that_cannot_be_checked(tmp_path) -> None:
    missing = invoke("kernels", "check", tmp_path / "mine.cu", "--op", "nms")
    assert missing.exit_code == 1 and "no such file" in missing.stderr
    (tmp_path / "mine.cu").write_text("")
    unnamed = invoke("kernels", "check", tmp_path / "mine.cu")
    assert unnamed.exit_code == 1 and "say what it computes with --op" in unnamed.stderr
    other = invoke("kernels", "check", tmp_path / "mine.cu", "--op", "sort")
    assert other.exit_code == 1 and "--op sort: there is box_iou" in other.stderr
    tier = invoke("kernels", "check", tmp_path / "mine.cu", "--op", "nms", "--tier", "simulator")
    assert tier.exit_code == 2 and "a .cu file has values, address" in tier.stderr


@needs_gcc
def test_start_then_check(tmp_path) -> None:
    file = tmp_path / "mine.cu"
    started = invoke("kernels", "start", "box_iou", file)
    assert started.exit_code == 0 and f"check {file} --op box_iou" in started.stdout
    again = invoke("kernels", "start", "box_iou", file)
    assert again.exit_code == 1 and "exists" in again.stderr
    result = invoke("kernels", "check", file, "--op", "box_iou", "--tier", "values")
    assert result.exit_code == 1
    assert "FAILED" in result.stdout and "(nothing was written there)" in result.stdout
    assert result.stdout.endswith("0 passed, 1 failed, 0 not run\n")


@needs_gcc
def test_check_of_a_rung() -> None:
    result = invoke(
        *("kernels", "check", "box_iou", "--variant", "cuda_1_naive"),
        *("--tier", "values", "--tier", "gpu"),
    )
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.output
    assert lines[0].split()[:3] == ["cuda_1_naive", "values", "passed"]
    assert lines[-1].startswith(("1 passed, 0 failed, 1 not run", "2 passed"))


@needs_gcc
def test_count() -> None:
    result = invoke("kernels", "count", "box_iou", "--variant", "cuda_1_naive", "--case", "37 x 19")
    assert result.exit_code == 0, result.output
    assert "cuda_1_naive: box_iou, case '37 x 19'" in result.stdout
    assert re.search(r"^  boxes_a +\d", result.stdout, re.MULTILINE)


def test_bench_of_small_sizes(tmp_path) -> None:
    file = tmp_path / "times.json"
    words = ("bench", "box_iou", "--small", "--seconds", "0.01", "--json", file)
    result = invoke("kernels", *words)
    assert result.exit_code == 0, result.output
    assert "GB/s" in result.stdout and json.loads(file.read_text())["measures"]


def test_why_a_tier_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = invoke(
        *("kernels", "check", "box_iou", "--variant", "cuda_1_naive", "--tier", "values")
    )
    assert "not run" in result.stdout and "needs g++ 10 or newer" in result.stdout
    assert compile_gate.ARCHITECTURES[0] == 75


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = [sys.executable, "-m", "minimask", "kernels", "list", "roi_align"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # as `| head` does
        assert process.stderr.read() == b""
