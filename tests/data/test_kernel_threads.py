"""Two Python threads may use kernels at once, also where Numba's threads are not safe.

The `workqueue` layer, the only one on some platforms, aborts the process when two threads run
parallel functions at the same time.  All kernels go through `dispatch.call`, which admits one
thread at a time; the second half of the test takes that lock away and sees the abort.
"""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys

import minimask

TWO_THREADS = """
import contextlib, sys, threading
import numpy as np
from minimask.data.loader import Loader
from minimask.data.shapes import Shapes
from minimask.kernels import dispatch
from minimask.kernels.box_iou import box_iou

if sys.argv[1] == "unlocked":
    dispatch._one_kernel_at_a_time = contextlib.nullcontext()

boxes = np.random.default_rng(0).uniform(0, 100, (1500, 4)).astype(np.float32)
box_iou(boxes[:2], boxes[:2])  # compiled before the threads start

def transform(sample, rng):  # in the loader's thread
    box_iou(boxes, boxes)
    return sample

with Loader(Shapes(size=16), 1, transform, total_steps=60, threads=1) as loader:
    for batch in loader:
        box_iou(boxes, boxes)

import numba
print(numba.threading_layer(), threading.active_count(), "done")
"""


def run(mode: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "NUMBA_THREADING_LAYER": "workqueue",
        "NUMBA_NUM_THREADS": "2",
    }
    return subprocess.run(
        [sys.executable, "-c", TWO_THREADS, mode],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_training_and_loading_may_use_kernels_at_once():
    result = run("locked")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "workqueue 1 done\n"


def test_without_the_lock_the_same_calls_abort():
    """What the lock is for; 60 chances to collide, of which the first ends the process."""
    result = run("unlocked")
    assert result.returncode != 0
    assert "Concurrent access has been detected" in result.stderr


def test_compiled_kernels_are_reached_only_through_dispatch():
    """No module of the package imports a `cpu` module; `dispatch.choose` loads them by name."""
    root = pathlib.Path(minimask.__file__).parent
    sources = [path for path in root.rglob("*.py") if "kernels" not in path.parts]
    kernels = root / "kernels"
    sources += [
        *kernels.glob("*.py"),
        *kernels.glob("*/__init__.py"),
        *kernels.glob("*/reference.py"),
    ]
    assert len(sources) > 20
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            names += (
                [f"{node.module}.{n}" for n in names] if isinstance(node, ast.ImportFrom) else []
            )
            compiled = [n for n in names if n.startswith("minimask.") and ".cpu" in n]
            assert not compiled, f"{path} imports {compiled}"
