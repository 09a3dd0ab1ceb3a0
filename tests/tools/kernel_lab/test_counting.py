"""The counts of kernels whose every access can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from minimask.kernels.host_shim import emulator
from minimask.kernels.launch import Program
from minimask.tools.kernel_lab import counting, report

pytestmark = pytest.mark.usefixtures("shim")

SOURCE = """#include "device.cuh"
extern "C" __global__ void wide(const float4* x, float* out) {
  const float4 v = x[global_thread()];
  out[global_thread()] = v.x + v.w;
}
extern "C" __global__ void apart(const float* x, float* out) {
  out[global_thread()] = x[global_thread() * 8];
}
extern "C" __global__ void one_for_all(const float* x, float* out) { out[global_thread()] = x[3]; }
extern "C" __global__ void turn(const float* x, float* out, int step) {
  __shared__ float tile[1024];
  tile[threadIdx.x * step] = x[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x * step];
}
extern "C" __global__ void histogram(const int* bins, int* counts) {
  atomicAdd(&counts[bins[global_thread()]], 1);
}
extern "C" __global__ void total(const float* x, float* out) {
  out[0] += x[global_thread()];
}
extern "C" __global__ void flags(unsigned char* out) { out[global_thread()] = 1; }
extern "C" __global__ void pass_on(float* x) {
  if (blockIdx.x == 0) x[1] = 1;
  else x[2] = x[1];
}
"""


@pytest.fixture
def count(kernel):
    program = Program(kernel("by_hand.cu", SOURCE))

    def run(name, grid, block, *arguments):
        found = []
        with emulator.running(kind="count", watcher=counting.watch(found)):
            program.launch(name, grid, block, *arguments)
        (launch,) = found
        return launch, {t.name: t for t in launch.traffic}

    return run


def zeros(size, dtype=np.float32):
    return np.zeros(size, dtype)


def test_wide_reads_stay_one_access(count):
    launch, traffic = count("wide", 4, 64, zeros(1024), zeros(256))
    x, out = traffic["x"], traffic["out"]
    assert (launch.threads, launch.conflict) == (256, None)
    assert (x.reads, x.writes, x.read_bytes) == (256, 0, 4096)
    # 8 warps; 32 times 16 bytes are 16 sectors of 32, 32 times 4 bytes are 4
    assert (x.read_requests, x.read_transactions, x.read_least) == (8, 128, 128)
    assert (out.writes, out.write_bytes, out.write_requests) == (256, 1024, 8)
    assert (out.write_transactions, out.write_least) == (32, 32)
    assert traffic["shared"].reads == 0


def test_reads_apart_touch_a_sector_each(count):
    _, traffic = count("apart", 2, 32, zeros(512), zeros(64))
    x = traffic["x"]
    assert (x.read_requests, x.read_transactions, x.read_least) == (2, 64, 8)


def test_one_word_for_all_is_one_sector(count):
    _, traffic = count("one_for_all", 1, 40, zeros(8), zeros(40))
    x = traffic["x"]
    # a full warp and one of eight threads
    assert (x.reads, x.read_requests, x.read_transactions) == (40, 2, 2)


@pytest.mark.parametrize(("step", "rounds"), [(1, 1), (2, 2), (16, 16), (32, 32), (31, 1)])
def test_bank_conflicts(count, step, rounds):
    _, traffic = count("turn", 1, 32, zeros(32), zeros(32), step)
    shared = traffic["shared"]
    assert (shared.reads, shared.writes) == (32, 32)
    assert (shared.read_transactions, shared.write_transactions) == (rounds, rounds)
    assert (shared.read_least, shared.write_least) == (1, 1)


def test_atomics_of_several_blocks_are_no_conflict(count):
    bins, counts = np.arange(64, dtype=np.int32) % 4, zeros(4, np.int32)
    launch, traffic = count("histogram", 2, 32, bins, counts)
    assert counts.tolist() == [16] * 4
    assert traffic["counts"].atomics == 64 and traffic["counts"].writes == 0
    assert launch.conflict is None


def test_two_blocks_that_add_without_an_atomic(count):
    launch, _ = count("total", 3, 1, zeros(3), zeros(1))
    line = 1 + SOURCE.splitlines().index("  out[0] += x[global_thread()];")
    assert launch.conflict.startswith(f"by_hand.cu:{line}: blocks (0, 0, 0) and (1, 0, 0) meet in")
    assert "out[0]" in launch.conflict


def test_a_block_that_reads_what_another_writes(count):
    launch, _ = count("pass_on", 2, 1, zeros(3))
    assert "meet in x[1]" in launch.conflict


def test_neighbors_in_one_word_are_no_conflict(count):
    launch, traffic = count("flags", 3, 3, zeros(9, np.uint8))
    assert traffic["out"].writes == 9 and launch.conflict is None


def test_the_table_fits_a_terminal(count):
    launches = [
        count("turn", 1, 32, zeros(32), zeros(32), 32)[0],
        count("total", 3, 1, zeros(3), zeros(1))[0],
    ]
    lines = list(report.counted(launches))
    assert max(len(line) for line in lines if "race" not in line) <= 80
    assert any("32 (1)" in line for line in lines)
    assert any(line.strip().startswith("race between blocks: by_hand.cu") for line in lines)


def test_only_cuda_can_be_counted():
    from minimask.tools.kernel_lab import values

    case = next(values.cases("box_iou", small=True))
    with pytest.raises(ValueError, match="only CUDA C\\+\\+ can be counted"):
        counting.count("box_iou", "cpu", case)
    assert counting.count("box_iou", "cuda_1_naive", case) is not None
    assert list(counting.conflicts("box_iou", "cuda_1_naive")) == []
