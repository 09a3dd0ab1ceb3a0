"""The device language on the CPU: every word of it that kernels use does what CUDA says."""

from __future__ import annotations

import numpy as np
import pytest

from minimask.kernels.host_shim import build, emulator
from minimask.kernels.launch import Program

pytestmark = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))

SOURCE = """
#include "device.cuh"
extern "C" __global__ void where(int* x, int* y, int* z, int* warp) {
  const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const int threads = blockDim.x * blockDim.y * blockDim.z;
  const int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int i = b * threads + t;
  x[i] = threadIdx.x, y[i] = threadIdx.y + 10 * blockIdx.y, z[i] = threadIdx.z + 10 * blockIdx.z;
  warp[i] = __shfl_sync(0xffffffffu, t, 0);
}
extern "C" __global__ void warps(const int* in, int* sum, u32* votes, int* up, int* other,
                                 int* any) {
  const int i = global_thread(), v = in[i];
  int total = v;
  for (int d = 16; d; d /= 2) total += __shfl_down_sync(0xffffffffu, total, d);
  sum[i] = __shfl_sync(0xffffffffu, total, 0);
  votes[i] = __ballot_sync(0xffffffffu, v % 2);
  up[i] = __shfl_up_sync(0xffffffffu, v, 1);
  other[i] = __shfl_xor_sync(0xffffffffu, v, 3);
  any[i] = __any_sync(0xffffffffu, v == 3) + 2 * __all_sync(0xffffffffu, v >= 0);
}
extern "C" __global__ void counts(const int* in, int* below, int* whether) {
  const int i = global_thread();
  for (int limit = 0; limit < 4; ++limit) {
    below[4 * i + limit] = __syncthreads_count(in[i] < limit);
    whether[4 * i + limit] = __syncthreads_or(in[i] == limit);
  }
}
extern "C" __global__ void turn_round(const float* in, int count, float* out) {
  __shared__ float fixed[64];
  DYNAMIC_SHARED(float, dynamic);
  const int t = threadIdx.x, i = blockIdx.x * 64 + t;
  fixed[t] = i < count ? in[i] : 0;
  dynamic[t] = fixed[t];
  __syncthreads();
  if (i < count) out[i] = fixed[63 - t] + dynamic[63 - t];
}
extern "C" __global__ void unwritten(float* fixed_is, float* dynamic_is) {
  __shared__ float fixed[32];
  DYNAMIC_SHARED(float, dynamic);
  fixed_is[threadIdx.x] = fixed[threadIdx.x];
  dynamic_is[threadIdx.x] = dynamic[threadIdx.x];
}
extern "C" __global__ void atomics(int* sum, float* fsum, int* most, int* least, u64* bits,
                                   int* first, int* order) {
  const int i = global_thread();
  atomicAdd(sum, i);
  atomicAdd(fsum, 0.5f);
  atomicMax(most, i);
  atomicMin(least, i);
  atomicOr(bits, u64(1) << i);
  if (atomicCAS(first, -1, i) == -1) order[63] = i;
}
extern "C" __global__ void early(int count, int* out) {
  if (threadIdx.x >= count) return;  // those who are gone are not waited for
  __syncthreads();
  out[threadIdx.x] = 1;
}
extern "C" __global__ void bits(const int* in, int* out) {
  out[0] = __popc(in[0]), out[1] = __ffs(in[0]), out[2] = __clz(in[0]);
  out[3] = __popcll(~u64(0)), out[4] = __ffsll(0), out[5] = __clzll(1);
  out[6] = __float_as_int(__int_as_float(in[0]));
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("shim") / "words.cu"
    path.write_text(SOURCE)
    return Program(path)


def ints(*shape):
    return np.zeros(shape, np.int32)


@pytest.fixture(params=[0, 1, 5], autouse=True)
def order(request):
    with emulator.running(seed=request.param):
        yield request.param


def test_threads_and_blocks_are_numbered_as_cuda_does(program):
    x, y, z, warp = (ints(2 * 3 * 2, 4 * 4 * 4) for _ in range(4))
    program.launch("where", (2, 3, 2), (4, 4, 4), x, y, z, warp)
    t = np.arange(64)
    np.testing.assert_array_equal(x, np.tile(t % 4, (12, 1)))
    np.testing.assert_array_equal(y[:, 0] // 10, np.arange(12) // 2 % 3)
    np.testing.assert_array_equal(z[:, 63], 3 + 10 * (np.arange(12) // 6))
    np.testing.assert_array_equal(warp, np.tile(t // 32 * 32, (12, 1)))


def test_warps_exchange_and_vote(program):
    values = np.random.default_rng(0).integers(0, 4, 128).astype(np.int32)
    total, up, other, any_all = (ints(128) for _ in range(4))
    votes = np.zeros(128, np.uint32)
    program.launch("warps", 2, 64, values, total, votes, up, other, any_all)
    by_warp = values.reshape(4, 32)
    lanes = np.arange(32)
    np.testing.assert_array_equal(total.reshape(4, 32), by_warp.sum(1, keepdims=True).repeat(32, 1))
    wanted = ((by_warp % 2).astype(np.uint64) << lanes.astype(np.uint64)).sum(1)
    np.testing.assert_array_equal(votes.reshape(4, 32)[:, 7], wanted)
    np.testing.assert_array_equal(up.reshape(4, 32), by_warp[:, np.maximum(lanes - 1, 0)])
    np.testing.assert_array_equal(other.reshape(4, 32), by_warp[:, lanes ^ 3])
    np.testing.assert_array_equal(any_all.reshape(4, 32)[:, 0], 2 + (by_warp == 3).any(1))


def test_barriers_that_count(program):
    values = (np.arange(96) % 5).astype(np.int32)
    below, whether = ints(96, 4), ints(96, 4)
    program.launch("counts", 2, 48, values, below, whether)
    blocks = values.reshape(2, 48)
    for limit in range(4):
        wanted = (blocks < limit).sum(1)
        np.testing.assert_array_equal(
            below.reshape(2, 48, 4)[:, :, limit], wanted[:, None].repeat(48, 1)
        )
    assert (whether == 1).all()


def test_shared_memory_and_barriers(program):
    values = np.random.default_rng(0).standard_normal(128).astype(np.float32)
    out = np.zeros(128, np.float32)
    program.launch("turn_round", 2, 64, values, 128, out, shared=256)
    np.testing.assert_array_equal(out, 2 * values.reshape(2, 64)[:, ::-1].ravel())


def test_shared_memory_that_nobody_wrote_is_nan(program):
    fixed, dynamic = np.zeros(32, np.float32), np.zeros(32, np.float32)
    program.launch("unwritten", 2, 32, fixed, dynamic, shared=128)
    assert np.isnan(fixed).all() and np.isnan(dynamic).all()


def test_atomics(program):
    total, most, least, first, order = ints(1), ints(1), ints(1) + 99, ints(1) - 1, ints(64)
    real, flags = np.zeros(1, np.float32), np.zeros(1, np.uint64)
    program.launch("atomics", 2, 32, total, real, most, least, flags, first, order)
    assert (total[0], real[0], most[0], least[0]) == (64 * 63 // 2, 32.0, 63, 0)
    assert flags[0] == 2**64 - 1
    assert first[0] == order[63]


def test_threads_that_return_early_are_not_waited_for(program):
    out = ints(64)
    program.launch("early", 1, 64, 40, out)
    np.testing.assert_array_equal(out, np.arange(64) < 40)


def test_bits(program):
    out = ints(7)
    program.launch("bits", 1, 1, np.array([0b1011000], np.int32), out)
    assert out.tolist() == [3, 4, 25, 64, 0, 63, 0b1011000]


def test_the_order_of_threads_shows_in_what_depends_on_it(program, order):
    first, rest = ints(1) - 1, ints(64)
    arguments = [ints(1), np.zeros(1, np.float32), ints(1), ints(1), np.zeros(1, np.uint64)]
    program.launch("atomics", 2, 32, *arguments, first, rest)
    if order < 2:
        assert first[0] == (0 if order == 0 else 63)


def test_small_blocks_after_large_ones_and_back(program):
    for count in (64, 32, 1024, 64):
        out = ints(1024)
        program.launch("early", 1, count, count // 2, out)
        assert out.sum() == count // 2
