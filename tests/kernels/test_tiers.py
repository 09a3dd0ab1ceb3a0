"""Every GPU rung through every tier that needs no GPU, and on a GPU where there is one.

All of it runs once, several rungs at a time, when the first of these tests asks for it.  With
MINIMASK_ALL_TIERS set, as in CI, a tier that this machine cannot run is a failure.  Kernels are
compiled for Hopper alone; with MINIMASK_EVERY_ARCHITECTURE=1, and by `minimask kernels check OP`
before a kernel is recorded, for all four.
"""

from __future__ import annotations

import os

import pytest

from minimask.kernels import OPERATIONS
from minimask.tools.kernel_lab import compile_gate, parallel, tiers, values

GPU_RUNGS = [
    (op, name)
    for op, name in parallel.rungs(parallel.with_cases())
    if values.variants(op)[name].device == "gpu"
]
WITHOUT_GPU = sorted({t for t in (*tiers.CUDA_TIERS, *tiers.NUMBA_TIERS) if t != "gpu"})
CHECKS = [
    (op, name, tier)
    for op, name in GPU_RUNGS
    for tier in tiers.tiers_of(values.variants(op)[name])
    if tier in WITHOUT_GPU
]


@pytest.fixture(scope="session")
def outcomes():
    """What every tier said of every rung."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("MINIMASK_EVERY_ARCHITECTURE"):
            patch.setenv(compile_gate.CHOSEN, "90")
        found = parallel.check(GPU_RUNGS, WITHOUT_GPU)
        return {(op, result.variant, result.tier): result for op, result in found}


@pytest.mark.slow
@pytest.mark.parametrize(("op", "name", "tier"), CHECKS)
def test_without_a_gpu(outcomes, op, name, tier):
    result = outcomes[op, name, tier]
    if result.passed is None and not os.environ.get("MINIMASK_ALL_TIERS"):
        pytest.skip(result.text)
    assert result.passed, result.text


@pytest.mark.gpu
@pytest.mark.parametrize(("op", "name"), GPU_RUNGS)
def test_on_a_gpu(op, name):
    if problem := tiers.why_no_gpu():
        pytest.skip(f"not run on a GPU: {problem}")
    for result in tiers.check(op, [name], ["gpu"]):
        assert result.passed, result.text


def test_every_operation_of_the_model_has_a_ladder_for_the_gpu():
    assert set(parallel.with_cases()) == set(OPERATIONS)
    for op in OPERATIONS:
        on_gpu = [n for n, v in values.variants(op).items() if v.folder == "cuda"]
        assert on_gpu, op
