"""Every operation has the same folders and names, and a page with the ladder that the code has."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from minimask.kernels import OPERATIONS
from minimask.kernels.dispatch import ARRAY_KINDS
from minimask.kernels.sources import read_source, signatures

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
NAME = re.compile(r"(cuda|numba)(_backward)?_(\d)_([a-z_]+)")


def variants_of(operation):
    return importlib.import_module(f"minimask.kernels.{operation}").VARIANTS


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_page_shows_the_ladder_of_the_code(operation):
    variants = variants_of(operation)
    rows = [f"| {name} | {ARRAY_KINDS[v.device]} | {v.idea} |" for name, v in variants.items()]
    page = (KERNELS / operation / "README.md").read_text(encoding="utf-8")
    _, ladder, _ = page.split("<!-- ladder -->")
    lines = ladder.strip().splitlines()[2:]
    assert [line[: line.rindex("|", 0, -1) + 1] for line in lines] == rows  # the last is the time


def test_every_folder_is_an_operation():
    folders = {p.name for p in KERNELS.iterdir() if (p / "reference.py").is_file()}
    assert folders == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_folder_has_the_same_parts(operation):
    folder = KERNELS / operation
    there = {p.name for p in folder.iterdir() if p.name != "__pycache__"}
    assert {
        *("__init__.py", "reference.py", "cases.py", "README.md"),
        *("cpu", "cuda", "numba"),
    } <= there
    assert not [name for name in there if name.endswith((".cu", ".cuh"))]
    for part in ("cpu", "cuda", "numba"):
        text = (folder / part / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith(f'"""{operation}: ')
    pattern = re.compile(r"(rung|forward|backward)_(\d|library)_\w+\.(cu|py)")
    rungs = [p for part in ("cuda", "numba") for p in (folder / part).iterdir()]
    others = {p.name for p in rungs if p.suffix in (".cu", ".py") and not pattern.match(p.name)}
    assert {n for n in others if not n.startswith("launch")} <= {
        *("__init__.py", "plan.py", "sampling.py", "order.cu")
    }


@pytest.mark.parametrize("operation", OPERATIONS)
def test_rungs_are_numbered_in_each_direction_without_gaps(operation):
    ladders: dict[tuple[str, str], list[int]] = {}
    for name in variants_of(operation):
        if not name.startswith(("cuda_", "numba_")) or name == "cuda_library":
            continue
        found = NAME.fullmatch(name)
        assert found, name
        ladders.setdefault((found[1], found[2] or ""), []).append(int(found[3]))
    for (language, direction), numbers in ladders.items():
        assert numbers == sorted(numbers)
        if language == "cuda":
            assert set(numbers) == set(range(1, max(numbers) + 1))
        else:  # a twin has its original's number
            assert set(numbers) <= set(ladders["cuda", direction])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_profiler_shows_the_operation(operation):
    """A kernel's name begins with its operation's; an optimizer's is the rule it computes."""
    start = ("sgd_", "adamw_") if operation == "optimizer" else operation
    names = [
        name
        for path in (KERNELS / operation / "cuda").glob("*.cu")
        for name in signatures(read_source(path))
    ]
    assert names and all(name.startswith(start) for name in names), names
    for path in (KERNELS / operation / "numba").glob("*_[0-9]_*.py"):
        kernels = re.findall(r"@jit\ndef (\w+)", path.read_text(encoding="utf-8"))
        assert kernels and all(name.startswith(start) for name in kernels), (path, kernels)
        assert all(name.endswith("_kernel") for name in kernels), (path, kernels)


def test_folders_named_numba_leave_numba_alone():
    code = (
        "import numba\n"
        "from minimask.kernels.relu.numba import rung_1_naive as twin\n"
        "assert 'site-packages' in numba.__file__ and twin.float32 is numba.float32\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=ROOT)


def test_all_folders_are_packages_and_are_shipped():
    setuptools = pytest.importorskip("setuptools")
    packages = set(setuptools.find_packages(str(KERNELS)))
    folders = {
        p.parent.relative_to(KERNELS).as_posix().replace("/", ".")
        for p in KERNELS.rglob("*.*")
        if p.suffix in (".cu", ".cuh", ".py") and p.parent != KERNELS
    }
    assert folders <= packages
    assert {f"{op}.{part}" for op in OPERATIONS for part in ("cpu", "cuda", "numba")} <= packages
