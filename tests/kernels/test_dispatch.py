from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from minimask.kernels import OPERATIONS, box_iou, dispatch
from minimask.kernels.dispatch import Variant, call, choose, device_of, using

FOLDER = pathlib.Path(dispatch.__file__).parent
OP = "minimask.kernels.made_up"
VARIANTS = {
    "reference": Variant("reference", "cpu", "the formula"),
    "fast": Variant("fast", "cpu", "compiled"),
    "naive": Variant("naive", "gpu", "one thread a value"),
    "shared": Variant("shared", "gpu", "a block shares its reads"),
}
ARRAY = np.zeros((2, 4))


class OnGpu:
    """What dispatch sees of a CuPy array."""

    __cuda_array_interface__ = {"version": 3}  # noqa: RUF012 - as CuPy has it
    dtype, shape = np.dtype("f4"), (3, 4)


@pytest.fixture
def made_up(monkeypatch):
    """An operation whose variants return their own name and what they were given."""

    def module(name):
        found = types.ModuleType(f"{OP}.{name}")
        found.run = lambda *arrays, **options: (name, arrays, options)
        return found

    monkeypatch.setitem(sys.modules, OP, types.ModuleType(OP))
    for variant in VARIANTS.values():
        monkeypatch.setitem(sys.modules, f"{OP}.{variant.module}", module(variant.module))
    return lambda *arrays, **options: call(OP, VARIANTS, "run", *arrays, **options)


# ------------------------------------------------------------------------------- what is chosen


def test_the_arrays_decide_the_device_and_the_last_rung_is_the_default(made_up):
    assert made_up(ARRAY)[0] == "fast"
    assert made_up(OnGpu())[0] == "shared"


def test_a_variant_by_name(made_up):
    name, arrays, options = made_up(ARRAY, variant="reference", size=7)
    assert (name, options) == ("reference", {"size": 7})
    assert arrays[0] is ARRAY
    assert made_up(OnGpu(), variant="naive")[0] == "naive"


def test_using_prefers_a_variant_inside_the_block(made_up):
    with using("reference"):
        assert made_up(ARRAY)[0] == "reference"
        assert made_up(ARRAY, variant="fast")[0] == "fast"  # the argument is nearer
        assert made_up(OnGpu())[0] == "shared"  # has no variant of that name
        with using("naive"):
            assert made_up(ARRAY)[0] == "fast"
            assert made_up(OnGpu())[0] == "naive"
        assert made_up(ARRAY)[0] == "reference"
    assert made_up(ARRAY)[0] == "fast"


def test_using_ends_with_an_error_too(made_up):
    with pytest.raises(KeyError), using("reference"):
        raise KeyError
    assert made_up(ARRAY)[0] == "fast"


def test_using_is_a_matter_of_one_thread(made_up):
    names = []
    with using("reference"):
        other = threading.Thread(target=lambda: names.append(made_up(ARRAY)[0]))
        other.start()
        other.join()
    assert names == ["fast"]


def test_arguments_left_out_do_not_count(made_up):
    assert device_of(None, ARRAY) == "cpu"
    assert device_of(OnGpu(), None) == "gpu"
    assert made_up(ARRAY, None)[1] == (ARRAY, None)


# ----------------------------------------------------------------------------------- emulation

LADDER = {
    "reference": Variant("reference", "cpu", "the formula"),
    "numba_1_naive": Variant("numba_1_naive", "gpu", "a twin", by_name=True),
    "cuda_1_naive": Variant("cuda", "gpu", "one thread a value", rung="naive"),
    "cuda_2_tiled": Variant("cuda", "gpu", "tiles", rung="tiled"),
    "cuda_3_coarse": Variant("cuda", "gpu", "less exact", rung="coarse", by_name=True),
}


@pytest.fixture
def ladder(monkeypatch):
    """An operation with GPU rungs, one of which lacks the second function."""
    monkeypatch.setitem(sys.modules, OP, types.ModuleType(OP))
    functions = {
        "reference": ["run", "back"],
        "numba_1_naive": ["run"],
        "cuda": ["run_naive", "run_tiled", "run_coarse", "back_naive"],
    }
    for name, defined in functions.items():
        module = types.ModuleType(f"{OP}.{name}")
        for function in defined:
            setattr(module, function, lambda *arrays, _found=f"{name}.{function}": _found)
        monkeypatch.setitem(sys.modules, f"{OP}.{name}", module)
    return lambda function, array, **options: call(OP, LADDER, function, array, **options)


def test_the_default_on_a_gpu_is_the_last_rung_that_is_not_by_name(ladder):
    assert ladder("run", OnGpu()) == "cuda.run_tiled"
    assert ladder("run", OnGpu(), variant="cuda_3_coarse") == "cuda.run_coarse"
    assert ladder("run", OnGpu(), variant="numba_1_naive") == "numba_1_naive.run"


def test_a_rung_that_lacks_a_function_leaves_it_to_another(ladder):
    assert ladder("back", OnGpu()) == "cuda.back_naive"
    with using("cuda_2_tiled"):
        assert ladder("run", OnGpu()) == "cuda.run_tiled"
        assert ladder("back", OnGpu()) == "cuda.back_naive"
    message = "made_up variant 'cuda_2_tiled' has no back.  Those that have it: "
    with pytest.raises(ValueError, match=f"{message}reference, cuda_1_naive."):
        ladder("back", OnGpu(), variant="cuda_2_tiled")


def test_emulation_sends_numpy_arrays_to_the_gpu_rungs(ladder):
    assert ladder("run", ARRAY) == "reference.run"
    with using(emulate=True):
        assert ladder("run", ARRAY) == "cuda.run_tiled"
        assert ladder("run", ARRAY, variant="cuda_1_naive") == "cuda.run_naive"
        assert ladder("run", ARRAY, variant="reference") == "reference.run"
        with using(emulate=False):
            assert ladder("run", ARRAY) == "reference.run"
        with using("cuda_1_naive"):
            assert ladder("run", ARRAY) == "cuda.run_naive"
    message = "Without a GPU: `with minimask.using\\(emulate=True\\):` runs it on NumPy arrays"
    with pytest.raises(TypeError, match=message):
        ladder("run", ARRAY, variant="cuda_1_naive")


def test_an_operation_that_cannot_be_emulated_stays_on_the_cpu(made_up):
    with using(emulate=True):
        assert made_up(ARRAY)[0] == "fast"


def test_values_on_a_gpu_are_looked_at_unless_told_otherwise():
    assert dispatch.checks_values(ARRAY) and dispatch.checks_values(OnGpu())
    with dispatch.unchecked():
        assert dispatch.checks_values(ARRAY)  # nobody waits for the CPU's own memory
        assert not dispatch.checks_values(OnGpu())


# -------------------------------------------------------------------------------------- errors


def test_an_unknown_variant_is_answered_with_the_nearest():
    message = (
        "made_up has no variant 'refrence'; did you mean 'reference'?  "
        "It has: reference, fast, naive, shared."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        choose(OP, VARIANTS, "run", ARRAY, variant="refrence")
    with pytest.raises(ValueError, match=r"made_up has no variant 'xyz'  It has"):
        choose(OP, VARIANTS, "run", ARRAY, variant="xyz")


def test_a_variant_of_the_other_device():
    message = (
        "made_up variant 'shared' runs on CuPy arrays, got NumPy arrays. "
        "For these: reference, fast."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        choose(OP, VARIANTS, "run", ARRAY, variant="shared")
    with pytest.raises(TypeError, match="runs on NumPy arrays, got CuPy arrays"):
        choose(OP, VARIANTS, "run", OnGpu(), variant="fast")


def test_no_variant_for_these_arrays():
    here = {name: v for name, v in VARIANTS.items() if v.device == "cpu"}
    with pytest.raises(TypeError, match="made_up has no variant for CuPy arrays yet"):
        choose(OP, here, "run", OnGpu())


def test_arrays_of_two_devices():
    with pytest.raises(TypeError, match=r"different devices: numpy\(2, 4\), .*\(3, 4\); move them"):
        device_of(ARRAY, OnGpu())


def test_arrays_of_two_gpus():
    class OnSecond(OnGpu):
        device = types.SimpleNamespace(id=1)

    with pytest.raises(TypeError, match=r"different GPUs: \[0, 1\]; move them to one first"):
        device_of(OnGpu(), OnSecond())


def test_no_array_at_all():
    with pytest.raises(TypeError, match="expected NumPy or CuPy arrays, got list"):
        device_of(ARRAY, [1, 2])


# ------------------------------------------------------------------------------- one at a time


def test_kernels_of_two_threads_take_turns(made_up, monkeypatch):
    inside, most = [], []

    def slow(*arrays):
        inside.append(1)
        most.append(len(inside))
        pause.wait(0.05)
        inside.pop()

    pause = threading.Event()
    monkeypatch.setattr(sys.modules[f"{OP}.fast"], "run", slow)
    threads = [threading.Thread(target=made_up, args=(ARRAY,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_kernel_may_call_another(made_up, monkeypatch):
    fast = sys.modules[f"{OP}.fast"]
    monkeypatch.setattr(fast, "run", lambda array: made_up(array, variant="reference"))
    assert made_up(ARRAY)[0] == "reference"


def test_an_error_gives_the_turn_back(made_up, monkeypatch):
    def fail(array):
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules[f"{OP}.fast"], "run", fail)
    with pytest.raises(ZeroDivisionError):
        made_up(ARRAY)
    names = []
    other = threading.Thread(target=lambda: names.append(made_up(ARRAY, variant="reference")[0]))
    other.start()
    other.join(5)
    assert names == ["reference"]


# ------------------------------------------------------------------ the operations there are


def run(code):
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_operation_is_loaded_without_numba_until_it_runs():
    run(
        "import sys, minimask\n"
        "assert 'numpy' not in sys.modules\n"
        "from minimask.kernels.nms import nms\n"
        "from minimask.kernels.roi_align import roi_align\n"
        "assert 'numba' not in sys.modules and 'scipy' not in sys.modules\n"
    )


def test_from_kernels_import_gives_the_function_in_any_order():
    """An operation and its folder share a name, and importing the folder must not shadow it."""
    run(
        "from minimask.kernels import nms\n"
        "assert callable(nms)\n"
        "from minimask.kernels import nms\n"
        "assert callable(nms)\n"
        "from minimask.kernels.roi_align import roi_align_backward\n"
        "from minimask.kernels import roi_align, roi_pool_backward, roi_pool\n"
        "assert callable(roi_align) and callable(roi_pool)\n"
        "import minimask.kernels.box_iou\n"
        "assert callable(minimask.kernels.box_iou)\n"
    )


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_operation_has_its_rungs(op):
    package = __import__(f"minimask.kernels.{op}", fromlist=["VARIANTS"])
    package = sys.modules[f"minimask.kernels.{op}"]
    assert next(iter(package.VARIANTS)) == "reference"
    for variant in package.VARIANTS.values():
        assert variant.device in dispatch.ARRAY_KINDS and variant.idea
        assert (FOLDER / op / f"{variant.module.replace('.', '/')}.py").is_file()
    for name in OPERATIONS[op]:
        assert callable(getattr(package, name)) and getattr(package, name).__doc__


def test_an_operation_passes_through():
    boxes = np.array([[0, 0, 2, 2.0]])
    with using("reference"):
        assert box_iou(boxes, boxes) == 1
    with pytest.raises(ValueError, match="box_iou has no variant 'cpy'; did you mean 'cpu'"):
        box_iou(boxes, boxes, variant="cpy")
