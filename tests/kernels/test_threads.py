from __future__ import annotations

import numpy as np
import threadpoolctl

from minimask.kernels import blas, threads


def blas_threads():
    info = threadpoolctl.threadpool_info()
    return {i["filepath"]: i["num_threads"] for i in info if i["user_api"] == "blas"}


def test_the_blas_of_kernels_runs_on_one_thread_and_numpys_is_left_alone():
    np.ones((2, 2)) @ np.ones((2, 2))
    blas.gemm_address(np.dtype("f4"))
    counts = blas_threads()
    own = [p for p in counts if threads._brought_by("scipy", p)]
    others = [p for p in counts if p not in own]
    assert all(counts[p] == 1 for p in own)
    if len(own) == 1 and len(others) == 1:  # the wheels' layout: each brings a BLAS
        before = counts[others[0]]
        with threads.single_threaded_blas():
            assert set(blas_threads().values()) == {1}
        assert blas_threads()[others[0]] == before


def test_it_is_restored_after_an_error():
    before = blas_threads()
    try:
        with threads.single_threaded_blas():
            raise KeyError
    except KeyError:
        pass
    assert blas_threads() == before


def test_whose_library_a_path_is():
    assert threads._brought_by("scipy", "/env/lib/site-packages/scipy.libs/libopenblas-1.so")
    assert threads._brought_by("numpy", "/env/lib/site-packages/numpy/.dylibs/libopenblas.dylib")
    assert not threads._brought_by(
        "scipy", "/env/lib/site-packages/numpy.libs/libscipy_openblas64.so"
    )
    assert not threads._brought_by("scipy", "/usr/lib/libopenblas.so.0")
