"""benchmarks/file_changes.py: what it counts as a change of file."""

from __future__ import annotations

import importlib
import pathlib

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
FILES = {
    "models/a.py": "from toy_package.models import b\n"
    "from toy_package import tool\n"
    "def run():\n    helper()\n    b.once()\n    tool.apply(b.once)\n    tool.apply(helper)\n"
    "def helper():\n    pass\n",
    "models/b.py": "def once():\n    return 1\n",
    "tool.py": "def apply(function):\n    function()\n",
    "models/__init__.py": "",
    "__init__.py": "",
}


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("file_changes")


def test_entries_and_returns_count_and_detours_outside_do_not(counted, tmp_path, monkeypatch):
    package = tmp_path / "toy_package"
    for name, content in FILES.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = importlib.import_module("toy_package.models.a").run
    # a -> b and back; through the tool to b and back; through the tool to a itself: no change
    assert counted.files_entered(run, package, "models") == ["a.py", "b.py", "a.py", "b.py", "a.py"]


def test_neighbours_of_one_file_are_one_entry(counted):
    assert counted.without_repeats(["a", "a", "b", "b", "a"]) == ["a", "b", "a"]
