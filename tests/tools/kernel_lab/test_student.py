"""A student's own kernel: right ones pass, wrong ones are told what is wrong, and where."""

from __future__ import annotations

import re

import pytest

from minimask.tools.kernel_lab import student, templates
from minimask.tools.kernel_lab.contracts import contracts

IOU = """#include "device.cuh"
// launch: block=(16, 16) grid=((B + 15) / 16, (A + 15) / 16)
extern "C" __global__ void box_iou(const float4* boxes_a, const float4* boxes_b, int A, int B,
                                   float* out) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  const int i = blockIdx.y * blockDim.y + threadIdx.y;
  if (i >= A || j >= B) return;
  const float4 a = boxes_a[i], b = boxes_b[j];
  const float width = fminf(a.z, b.z) - fmaxf(a.x, b.x);
  const float height = fminf(a.w, b.w) - fmaxf(a.y, b.y);
  const float overlap = (width > 0 ? width : 0) * (height > 0 ? height : 0);
  const float area_a = (a.z - a.x) * (a.w - a.y), area_b = (b.z - b.x) * (b.w - b.y);
  const float ratio = overlap / (area_a + area_b - overlap);
  out[i * B + j] = ratio > 0 ? ratio : 0;
}
"""
# the boxes of B go through shared memory, 32 at a time
SHARED_IOU = """#include "device.cuh"
// launch: block=(32, 4) grid=((B + 31) / 32, (A + 3) / 4)
extern "C" __global__ void box_iou(const float4* boxes_a, const float4* boxes_b, int A, int B,
                                   float* out) {
  __shared__ float4 tile[32];
  const int j = blockIdx.x * 32 + threadIdx.x, i = blockIdx.y * 4 + threadIdx.y;
  if (threadIdx.y == 0 && j < B) tile[threadIdx.x] = boxes_b[j];
  __syncthreads();
  if (i >= A || j >= B) return;
  const float4 a = boxes_a[i], b = tile[threadIdx.x];
  const float width = fminf(a.z, b.z) - fmaxf(a.x, b.x);
  const float height = fminf(a.w, b.w) - fmaxf(a.y, b.y);
  const float overlap = (width > 0 ? width : 0) * (height > 0 ? height : 0);
  const float area_a = (a.z - a.x) * (a.w - a.y), area_b = (b.z - b.x) * (b.w - b.y);
  const float ratio = overlap / (area_a + area_b - overlap);
  out[i * B + j] = ratio > 0 ? ratio : 0;
}
"""
NUMBA_IOU = """from numba import cuda, float32
# launch: block=(16, 4) grid=((B + 15) / 16, (A + 3) / 4)
@cuda.jit
def box_iou(boxes_a, boxes_b, A, B, out):
    j, i = cuda.grid(2)
    if i >= A or j >= B:
        return
    zero = float32(0)
    width = min(boxes_a[i, 2], boxes_b[j, 2]) - max(boxes_a[i, 0], boxes_b[j, 0])
    height = min(boxes_a[i, 3], boxes_b[j, 3]) - max(boxes_a[i, 1], boxes_b[j, 1])
    overlap = (width if width > zero else zero) * (height if height > zero else zero)
    area_a = (boxes_a[i, 2] - boxes_a[i, 0]) * (boxes_a[i, 3] - boxes_a[i, 1])
    area_b = (boxes_b[j, 2] - boxes_b[j, 0]) * (boxes_b[j, 3] - boxes_b[j, 1])
    union = area_a + area_b - overlap
    out[i, j] = overlap / union if overlap > zero and union > zero else zero
"""


def line(text: str, part: str) -> int:
    """The number of the one line that holds `part`."""
    (number,) = (i for i, row in enumerate(text.splitlines(), 1) if part in row)
    return number


def changed(text: str, old: str, new: str) -> str:
    """The text with one place changed, which must be there."""
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.fixture
def check(kernel):
    def run(text, only=(), name="mine.cu", op="box_iou", seconds=60.0):
        path = kernel(name, text)
        results = list(student.check(path, student.find(path, op), only, seconds))
        return {r.tier: r for r in results}

    return run


# ---------------------------------------------------------------------------------- CUDA C++


@pytest.mark.usefixtures("shim", "nvrtc")
def test_a_right_kernel_passes_every_tier(check):
    results = check(SHARED_IOU)
    assert [(t, r.passed) for t, r in results.items()] == [
        (tier, True) for tier in ("values", "address", "thread", "blocks", "compiled")
    ], [r.text for r in results.values()]


@pytest.mark.usefixtures("shim")
def test_off_by_one_shows_the_first_wrong_index(check):
    text = changed(IOU, "out[i * B + j] =", "out[i * B + (j + 1) % B] =")
    result = check(text, ["values"])["values"]
    assert result.passed is False
    assert re.search(r"\[\d+, \d+\] is [\d.e-]+, should be [\d.e-]+; \d+ of \d+", result.text)


@pytest.mark.usefixtures("shim")
def test_what_nobody_wrote_is_called_so(check):
    result = check(changed(IOU, "j >= B) return;", "j >= B - 1) return;"), ["values"])["values"]
    assert result.passed is False and "(nothing was written there)" in result.text


@pytest.mark.usefixtures("shim")
def test_a_missing_barrier_is_a_race_with_its_lines(check):
    text = changed(SHARED_IOU, "  __syncthreads();\n", "")
    result = check(text, ["thread"])["thread"]
    assert result.passed is False and "data race" in result.text
    for part in ("tile[threadIdx.x] = boxes_b[j]", "b = tile[threadIdx.x]"):
        assert f"mine.cu:{line(text, part)}" in result.text


@pytest.mark.usefixtures("shim")
def test_out_of_bounds_is_told_with_its_line(check):
    text = changed(IOU, "if (i >= A || j >= B) return;", "if (i >= A) return;")
    result = check(text, ["address"])["address"]
    assert result.passed is False
    assert f"mine.cu:{line(text, 'a = boxes_a[i]')}: read of" in result.text
    assert "outside an array (heap-buffer-overflow)" in result.text


@pytest.mark.usefixtures("shim")
def test_two_blocks_that_write_one_place(check):
    text = changed(IOU, "  if (i >= A", "  out[0] = 0;\n  if (i >= A")
    result = check(text, ["blocks"])["blocks"]
    assert result.passed is False
    assert f"mine.cu:{line(text, 'out[0] = 0')}: blocks" in result.text and "out[0" in result.text


@pytest.mark.usefixtures("shim")
def test_a_deadlock_ends_the_check(check):
    two = "if (threadIdx.x) __syncthreads();\n  else\n    __syncwarp();"
    text = changed(SHARED_IOU, "__syncthreads();", two)
    results = check(text)
    assert list(results) == ["values"]
    assert "deadlock" in results["values"].text and "mine.cu:" in results["values"].text


@pytest.mark.usefixtures("shim")
def test_barriers_in_two_branches(check):
    two = "if (threadIdx.y) __syncthreads();\n  else\n    __syncthreads();"
    results = check(changed(SHARED_IOU, "__syncthreads();", two))
    assert "threads of one block wait at different __syncthreads" in results["values"].text


@pytest.mark.usefixtures("shim")
def test_an_endless_loop_is_ended(check):
    text = changed(IOU, "  if (i >= A", "  for (volatile int k = 1; k;) {}\n  if (i >= A")
    results = check(text, seconds=10.0)
    assert list(results) == ["values"]
    assert results["values"].text.startswith("not done after 10 s, in case ")


@pytest.mark.usefixtures("shim")
def test_a_crash_is_a_sentence(check):
    result = check(changed(IOU, "out[i * B + j]", "((float*)8)[j]"), ["values"])["values"]
    assert result.passed is False and "the process died in case" in result.text
    assert "SIGSEGV" in result.text


@pytest.mark.usefixtures("shim", "nvrtc")
def test_a_text_that_does_not_compile(check):
    results = check(changed(IOU, "const float width", "const flaot width"))
    assert list(results) == ["values"]
    assert f"mine.cu:{line(IOU, 'const float width')}" in results["values"].text


@pytest.mark.usefixtures("nvrtc")
def test_float64_is_found(check):
    result = check(changed(IOU, "ratio > 0 ? ratio", "ratio > 0 ? ratio * 1.0001"), ["compiled"])
    assert "computes in float64" in result["compiled"].text


def test_another_name_is_answered_with_what_is_expected(check):
    with pytest.raises(ValueError, match="no kernel box_iou: it has iou; expected") as error:
        check(changed(IOU, "void box_iou", "void iou"))
    assert contracts()["box_iou"].declaration in str(error.value)


def test_another_signature_is_answered_with_what_is_expected(check):
    with pytest.raises(ValueError, match="takes 4 arguments instead of 5; expected"):
        check(changed(IOU, "int A, int B,", "int B,"))
    with pytest.raises(ValueError, match=r"argument 3 of box_iou, A, is float instead of int"):
        check(changed(IOU, "int A, int B,", "float A, int B,"))
    with pytest.raises(ValueError, match=r"argument 1 of box_iou, boxes_a, is int\* instead of"):
        check(changed(IOU, "const float4* boxes_a", "const int* boxes_a"))
    with pytest.raises(ValueError, match='only if it is extern "C"'):
        check(changed(IOU, 'extern "C" ', ""))
    with pytest.raises(ValueError, match="the launcher does not know"):
        check(changed(IOU, "int A,", "double A,"))


@pytest.mark.usefixtures("shim")
def test_a_launch_line_that_makes_no_sense(check):
    text = changed(IOU, "(B + 15) / 16", "(Z + 15) / 16")
    results = check(text)
    assert list(results) == ["values"] and "'Z' is not understood" in results["values"].text


# ------------------------------------------------------------------------------------- Numba


@pytest.mark.usefixtures("numba_compiler")
def test_a_right_kernel_in_python(check):
    results = check(NUMBA_IOU, name="mine.py")
    assert {t: r.passed for t, r in results.items()} == {
        "simulator": True,
        "thread": None,
        "compiled": True,
    }, results


def test_python_out_of_bounds_is_told_with_its_line(check):
    text = changed(NUMBA_IOU, "i >= A or j >= B", "j >= B")
    result = check(text, ["simulator"], name="mine.py")["simulator"]
    number = line(text, "width = min(")
    assert result.text.startswith(f"mine.py:{number}: tid=") and "out of bounds" in result.text


@pytest.mark.usefixtures("numba_compiler")
def test_python_in_float64_is_found(check):
    text = changed(NUMBA_IOU, "zero = float32(0)", "zero = 0.0")
    result = check(text, ["compiled"], name="mine.py")["compiled"]
    assert result.passed is False and "computes in float64" in result.text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def box_iou", "def iou", "no kernel box_iou; expected"),
        ("@cuda.jit\n", "", "no @cuda.jit before box_iou"),
        ("A, B, out)", "A, out)", "takes 4 arguments instead of 5; expected"),
        ("j, i = cuda.grid(2)", "j, i = cuda.gird(2)", "mine.py:5: "),
        ("    zero = float32(0)", "   zero = float32(0)", "mine.py:8: "),
        ("j, i = cuda.grid(2)", "while True: pass", "a loop that never ends?"),
    ],
)
def test_python_that_goes_wrong(check, old, new, said):
    results = check(changed(NUMBA_IOU, old, new), ["simulator"], name="mine.py", seconds=10.0)
    assert results["simulator"].passed is False and said in results["simulator"].text


# -------------------------------------------------------------------------------- the template


@pytest.mark.parametrize("op", contracts())
def test_every_template_meets_its_contract(op, tmp_path):
    from minimask.kernels.launch import Program
    from minimask.tools.kernel_lab import contracts as module

    contract, file = contracts()[op], tmp_path / "new.cu"
    templates.write(file, contract)
    module.check(contract, Program(file).source())
    assert max(map(len, file.read_text().splitlines())) <= 100
    with pytest.raises(FileExistsError, match="exists"):
        templates.write(file, contract)
    compile(templates.numba(contract), "new.py", "exec")
    case, given = next(iter(contract.cases(small=True)))
    assert contract.letters(given)["threads"] == contract.count(given)
    assert [a.shape for a in contract.expected(case, given)] == [
        a.shape for a in contract.results(given)
    ]


@pytest.mark.usefixtures("shim", "numba_compiler", "nvrtc")
@pytest.mark.parametrize("suffix", [".cu", ".py"])
def test_a_template_left_empty_computes_nothing(check, suffix, tmp_path):
    file = tmp_path / f"empty{suffix}"
    templates.write(file, contracts()["box_iou"])
    results = check(file.read_text(), name=f"mine{suffix}")
    first = next(iter(results.values()))
    assert first.passed is False and "(nothing was written there)" in first.text
    assert results["compiled"].passed is True, results["compiled"].text
