"""The launcher refuses what a GPU would take and turn into nonsense."""

from __future__ import annotations

import numpy as np
import pytest

from minimask.kernels import launch
from minimask.kernels.host_shim import build, emulator
from minimask.kernels.launch import PerformanceWarning, Program

SOURCE = """
#include "device.cuh"
extern "C" __global__ void __launch_bounds__(256)
    scale(const float* __restrict__ x, int count, float factor, float* out) {  // a comment, (a)
  const i64 i = global_thread();
  if (i < count) out[i] = factor * x[i];
}
extern "C" __global__ void flag(const float4* boxes, bool yes, u64* words) {}
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "scale.cu").write_text(SOURCE)
    return Program(tmp_path / "scale.cu")


def arrays(count=5):
    return np.arange(count, dtype=np.float32), np.empty(count, np.float32)


def test_signatures_are_read_from_the_source(program):
    scale = program.signature("scale")
    assert [(p.name, p.type, p.pointer, p.const) for p in scale] == [
        ("x", "float", True, True),
        ("count", "int", False, False),
        ("factor", "float", False, False),
        ("out", "float", True, False),
    ]
    assert [p.type for p in program.signature("flag")] == ["float4", "bool", "u64"]
    with pytest.raises(ValueError, match=r"scale.cu has no kernel 'scael': scale, flag"):
        program.signature("scael")


@pytest.mark.skipif(build.why_not() is not None, reason="needs g++")
def test_a_launch_on_numpy_arrays_runs_in_the_host_shim(program):
    x, out = arrays()
    program.launch("scale", 1, 256, x, 5, 2.0, out)
    np.testing.assert_array_equal(out, 2 * x)
    out[:] = 7
    program.launch("scale", 0, 256, x, 5, 2.0, out)  # no block: nothing happens
    assert (out == 7).all()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({0: [1.0]}, TypeError, "x: expected an array of float32, got list"),
        ({0: np.arange(5.0)}, TypeError, r"got float64; GPU kernels compute in float32: convert"),
        ({0: np.zeros(10, "f4")[::2]}, ValueError, r"x: the array \(5,\) is not contiguous"),
        ({1: 5.5}, ValueError, "count: 5.5 is no int"),
        ({1: 2**31}, ValueError, "count: 2147483648 is no int; the input is too large"),
        ({2: np.zeros(3)}, TypeError, r"factor: expected a number, got an array of \(3,\)"),
    ],
)
def test_arguments_that_do_not_fit_the_signature(program, change, error, said):
    x, out = arrays()
    values = [x, 5, 2.0, out]
    for i, value in change.items():
        values[i] = value
    with pytest.raises(error, match=said):
        program.launch("scale", 1, 256, *values)


def test_too_few_arguments(program):
    with pytest.raises(TypeError, match=r"takes 4 arguments \(x, count, factor, out\), 2 came"):
        program.launch("scale", 1, 256, arrays()[0], 5)


@pytest.mark.parametrize(
    ("grid", "block", "shared", "said"),
    [
        (1, 1025, 0, "1024 threads a block"),
        (1, (32, 33), 0, "1024 threads a block"),
        ((1, 65536), 32, 0, "65535 blocks along y and z"),
        (-1, 32, 0, "cannot launch"),
        (1, 0, 0, "cannot launch"),
        (1, 32, 48 * 1024 + 1, "49153 bytes of shared memory a block; at most 49152"),
    ],
)
def test_shapes_no_gpu_could_launch(program, grid, block, shared, said):
    x, out = arrays()
    with pytest.raises(ValueError, match=said):
        program.launch("scale", grid, block, x, 5, 2.0, out, shared=shared)


def test_vector_loads_need_aligned_arrays(program):
    memory = np.zeros(32, np.float32)
    start = (-memory.ctypes.data // 4) % 4 + 1  # one number after a multiple of 16 bytes
    with pytest.raises(ValueError, match="begin at a multiple of 16 bytes; copy the array"):
        program.launch("flag", 1, 1, memory[start : start + 8], True, np.zeros(1, np.uint64))
    copied = launch.contiguous("boxes", memory[start : start + 8])
    assert copied.ctypes.data % 16 == 0


def test_an_array_that_is_not_contiguous_is_copied_and_that_is_said_once():
    array = np.zeros((4, 6), np.float32)[:, ::2]
    with pytest.warns(PerformanceWarning, match="only_here: the array is not contiguous"):
        copied = launch.contiguous("only_here", array)
    assert copied.flags.c_contiguous
    launch.contiguous("only_here", array)  # a second warning would be an error here


def test_a_missing_include_is_named(tmp_path):
    (tmp_path / "a.cu").write_text('#include "nowhere.cuh"\n')
    with pytest.raises(FileNotFoundError, match=r"a.cu:1: includes nowhere.cuh, which does not"):
        Program(tmp_path / "a.cu").source()


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.cu").write_bytes(b"\xf7\x00\x01")
    with pytest.raises(ValueError, match=r"a.cu: expected CUDA C\+\+, this is no text"):
        Program(tmp_path / "a.cu").source()


def test_an_unknown_type_in_a_signature(tmp_path):
    (tmp_path / "a.cu").write_text('extern "C" __global__ void k(double x) {}\n')
    with pytest.raises(ValueError, match="kernel k: parameter 'double x' has a type the launcher"):
        Program(tmp_path / "a.cu").signature("k")


@pytest.mark.skipif(build.why_not() is not None, reason="needs g++")
def test_lines_of_included_files_keep_their_numbers(tmp_path):
    (tmp_path / "part.cuh").write_text("#pragma once\n\nint broken(\n")
    (tmp_path / "a.cu").write_text('#include "part.cuh"\nextern "C" __global__ void k(int n) {}\n')
    with pytest.raises(build.CompileError, match=r"a.cu:2"):
        Program(tmp_path / "a.cu").launch("k", 1, 1, 3)


def test_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "needs g++ 10 or newer" in build.why_not()
    with pytest.raises(build.NoCompiler, match="sudo apt install g"):
        build.compiler()


def test_kernels_end_where_their_barriers_differ(tmp_path):
    if problem := build.why_not():
        pytest.skip(problem)
    (tmp_path / "a.cu").write_text(
        '#include "device.cuh"\n'
        'extern "C" __global__ void apart(int n) {\n'
        "  if (threadIdx.x < n)\n"
        "    __syncthreads();\n"
        "  else\n"
        "    __syncthreads();\n"
        "}\n"
        'extern "C" __global__ void stuck(int n) {\n'
        "  if (threadIdx.x < n) __syncthreads();\n"
        "  else __ballot_sync(0xffffffffu, true);\n"
        "}\n"
        'extern "C" __global__ void fine(int n) { __syncthreads(); }\n'
    )
    program = Program(tmp_path / "a.cu")
    with pytest.raises(emulator.KernelError, match=r"different __syncthreads, a.cu:4 and a.cu:6"):
        program.launch("apart", 1, 32, 16)
    with pytest.raises(emulator.KernelError, match=r"deadlock, 16 of 32 live threads wait at"):
        program.launch("stuck", 1, 32, 16)
    program.launch("fine", 3, 64, 0)  # the shim has recovered
    program.launch("apart", 1, 32, 32)
