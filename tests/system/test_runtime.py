"""The settings before NumPy loads: what is set, what is left alone, how to switch it off."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from minimask.system import runtime

PREPARE = """
import json, os, sys
import minimask as mm
mm.runtime.prepare()
mm.runtime.prepare()                       # again: nothing happens
assert "numpy" not in sys.modules
made = mm.runtime.made()
assert all(os.environ[name] == value for name, value in made.items())
import numpy
mm.runtime.prepare()                       # all is set already
print(json.dumps(made))
"""
NAMES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_THREAD_TIMEOUT",
    "GOMP_SPINCOUNT",
    "OMP_WAIT_POLICY",
    "MINIMASK_KEEP_ENVIRONMENT",
)


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A new Python without the settings of this one."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True
    )


def test_wide_kernels_are_set_on_a_processor_with_avx512_only():
    wide = {"avx2", "fma", *runtime.AVX512}
    assert runtime.settings(wide, {})["OPENBLAS_CORETYPE"] == "SkylakeX"
    for missing in runtime.AVX512:
        assert "OPENBLAS_CORETYPE" not in runtime.settings(wide - {missing}, {})
    assert "OPENBLAS_CORETYPE" not in runtime.settings(set(), {})


@pytest.mark.parametrize("chosen", ["Haswell", ""])
def test_what_the_user_has_set_stays(chosen):
    there = {
        "OPENBLAS_CORETYPE": chosen,
        "OPENBLAS_THREAD_TIMEOUT": "28",
        "OMP_WAIT_POLICY": "active",
        "GOMP_SPINCOUNT": "infinite",
    }
    assert runtime.settings(runtime.AVX512, there) == {}


def test_it_is_there_for_scripts_before_numpy():
    done = python(PREPARE)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["OMP_WAIT_POLICY"] == "passive"
    assert 4 <= int(made["OPENBLAS_THREAD_TIMEOUT"]) < 20  # OpenBLAS takes 4 to 30
    assert ("OPENBLAS_CORETYPE" in made) == (runtime.cpu_flags() >= runtime.AVX512)


@pytest.mark.parametrize("off", ["1", "yes"])
def test_it_can_be_switched_off(off):
    done = python(PREPARE, MINIMASK_KEEP_ENVIRONMENT=off)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


def test_zero_does_not_switch_it_off(monkeypatch):
    for value, kept in (("0", False), ("", False), ("1", True)):
        monkeypatch.setenv("MINIMASK_KEEP_ENVIRONMENT", value)
        assert runtime.kept() is kept


def test_too_late_is_said():
    done = python("import numpy, minimask.system.runtime as r; r.prepare()")
    assert done.returncode == 1
    assert "NumPy is loaded already" in done.stderr and "restart the kernel" in done.stderr


def test_the_setting_reaches_the_library():
    """The command's first lines, on any processor: the variable decides OpenBLAS's kernels."""
    if not runtime.cpu_flags() >= runtime.AVX512:
        pytest.skip("needs a processor with AVX-512")
    code = (
        "from minimask.system import runtime; runtime.prepare();"
        "import numpy, threadpoolctl;"
        "print(*[p.get('architecture') for p in threadpoolctl.threadpool_info()"
        " if p['internal_api'] == 'openblas'])"
    )
    for variables, expected in (
        ({}, "SkylakeX"),
        ({"OPENBLAS_CORETYPE": "Haswell"}, "Haswell"),
        ({"OPENBLAS_CORETYPE": "Haswell", "MINIMASK_KEEP_ENVIRONMENT": "1"}, "Haswell"),
    ):
        found = set(python(code, **variables).stdout.split())
        if not found:
            pytest.skip("NumPy has another BLAS than OpenBLAS")
        assert found == {expected}, variables
