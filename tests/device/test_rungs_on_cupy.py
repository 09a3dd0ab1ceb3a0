"""Every CUDA C++ rung on CuPy arrays, as far as that can be had without a GPU.

The tiers run the rungs on NumPy arrays; here the same wrappers get the stand-in's arrays, which
refuse what CuPy refuses, and are not to read anything back but what their page says.
"""

from __future__ import annotations

import pytest

from minimask.kernels.dispatch import unchecked
from minimask.tools.kernel_lab import parallel, values

from . import stand_in

RUNGS = [
    (op, name)
    for op, name in parallel.rungs(parallel.with_cases())
    if values.variants(op)[name].folder == "cuda"
]
# functions whose result has as many rows as the data say: that number must be read
READS = {"nms": 1, "batched_nms": 1}


@pytest.mark.parametrize(("op", "name"), RUNGS)
def test_the_wrapper_takes_cupy_arrays(cupy_stand_in, op, name):
    done = 0
    for case in values.cases(op, small=True):
        if not values.has(op, name, case.function):
            continue
        stand_in.waits.clear()
        with unchecked():
            found = values.compute(case, name, gpu=True)
        given_back = len(found)  # `compute` itself reads the results
        assert len(stand_in.waits) - given_back <= READS.get(case.function, 0), stand_in.waits
        values.compare(case, found, values.expected(case), values.rounding(op, name))
        done += 1
    assert done
