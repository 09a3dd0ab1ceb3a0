from __future__ import annotations

import numba
import pytest
import threadpoolctl

from minimask.kernels import threads


def blas_threads():
    info = threadpoolctl.threadpool_info()
    return {i["filepath"]: i["num_threads"] for i in info if i["user_api"] == "blas"}


@pytest.fixture
def as_before():
    blas, kernels = blas_threads(), numba.get_num_threads()
    yield
    numba.set_num_threads(kernels)
    for library in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers:
        library.set_num_threads(blas[library.filepath])


def test_blas_runs_on_one_thread_inside_the_block_and_as_before_after_it(as_before):
    threads.limit(1)
    if numba.config.NUMBA_NUM_THREADS > 1:
        threads.limit(2)
        assert set(blas_threads().values()) == {2}
    before = blas_threads()
    with threads.single_threaded_blas():
        assert set(blas_threads().values()) == {1}
    assert blas_threads() == before
    with pytest.raises(KeyError), threads.single_threaded_blas():
        raise KeyError
    assert blas_threads() == before


def test_a_limit_holds_for_kernels_and_matrix_products(as_before):
    threads.limit(1)
    assert set(blas_threads().values()) == {1}
    assert numba.get_num_threads() == 1


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_a_limit_out_of_range_says_the_range(count, as_before):
    with pytest.raises(ValueError, match=r"count: expected 1 to .* NUMBA_NUM_THREADS"):
        threads.limit(count)
