"""The house is built as `docs/architecture.md` says: circles, directions, map, line numbers."""

from __future__ import annotations

import ast
import json
import pathlib
import re
import subprocess
import sys

import make_architecture
import pytest
import rooms
from draw_map import shortest
from import_graph import LATE, TOP, TYPES, Import, circles, find_modules, imports_of, read_imports

ROOT = pathlib.Path(__file__).resolve().parent.parent
PART_OF = "minimask.models", "minimask.train", "minimask.tools"  # what the engine needs not


@pytest.fixture(scope="module")
def imports():
    return read_imports()


def found(source, name="minimask.here", modules=("minimask", "minimask.boxes", "minimask.nn")):
    return [(e.imported, e.kind, e.line) for e in imports_of(name, ast.parse(source), modules)]


def test_every_kind_of_import_is_seen():
    source = """
from typing import TYPE_CHECKING
import numpy, minimask.boxes as b
from minimask import nn, open_run
if TYPE_CHECKING:
    from minimask.nn import Module
else:
    import minimask.nn
class A:
    from minimask.boxes import area
    def f(self):
        if True:
            from minimask.boxes import scale
        return lambda: scale
"""
    assert found(source) == [
        ("minimask.boxes", TOP, 3),
        ("minimask", TOP, 4),  # open_run, a name of the package itself
        ("minimask.nn", TOP, 4),
        ("minimask.nn", TYPES, 6),
        ("minimask.nn", TOP, 8),
        ("minimask.boxes", TOP, 10),
        ("minimask.boxes", LATE, 13),
    ]


def test_a_relative_import_is_refused():
    with pytest.raises(ValueError, match=r"minimask\.here:1: a relative import"):
        found("from . import boxes")


def test_circles_are_found_however_long_they_are():
    chain = [Import(a, b, TOP, 1) for a, b in ("ab", "bc", "cd", "db", "ea", "fg", "gf")]
    assert circles(chain) == [["b", "c", "d"], ["f", "g"]]
    assert circles(chain[:3]) == []


def test_the_kernels_folder_is_read_once_under_its_packages_name():
    modules = find_modules()
    assert modules["minimask.kernels.nms.reference"] == ROOT / "kernels/nms/reference.py"
    assert len(set(map(pathlib.Path.resolve, modules.values()))) == len(modules)
    assert not any(name.startswith("kernels") for name in modules)


def test_no_circles_but_the_tensor_and_its_operations(imports):
    faults = [
        "\n".join(str(e) for e in imports if e.importer in circle and e.imported in circle)
        for circle in rooms.unexpected(circles(imports))
    ]
    assert not faults, "circles of imports:\n" + "\n\n".join(faults)


def test_a_circle_that_reaches_beyond_the_tensor_and_its_operations_is_unexpected():
    meant = ["minimask.autograd.ops", "minimask.autograd.ops.shaping", "minimask.autograd.tensor"]
    assert rooms.unexpected([meant]) == []
    assert rooms.unexpected([[*meant, "minimask.autograd.opsy"]]) != []


def test_imports_go_in_the_directions_that_are_written_down(imports):
    faults = rooms.forbidden(imports)
    assert not faults, "against docs/rooms.py:\n" + "\n".join(faults)


def test_an_import_against_the_direction_is_named():
    edge = Import("minimask.kernels.nms.cpu", "minimask.models.rpn", LATE, 7)
    (fault,) = rooms.forbidden([edge])
    assert fault == (
        "minimask.kernels.nms.cpu:7 imports minimask.models.rpn (late): "
        "kernels may not import models"
    )


def test_every_module_has_a_room_and_every_room_a_module():
    homes = {rooms.room_of(module).name for module in find_modules()}
    assert homes == {room.name for room in rooms.ROOMS}
    assert rooms.room_of("minimask.autograd.hooks").name == "arrays and hooks"
    assert rooms.room_of("minimask.autograd.tensor").name == "autograd"
    with pytest.raises(KeyError, match=r"minimask\.new lies in no room"):
        rooms.room_of("minimask.new")


def test_the_permissions_themselves_have_no_circle():
    names = {room.name for room in rooms.ROOMS}
    allowed = [Import(r.name, m, TOP, 1) for r in rooms.ROOMS for m in r.may]
    assert {edge.imported for edge in allowed} <= names
    # "import minimask" holds names of all rooms for type checkers, and tools import it.
    assert circles(e for e in allowed if e.importer != "import minimask") == []


def test_the_network_does_not_import_the_tools():
    tools = {
        "cli",
        "textbook",
        "profile",
        "info",
        "kernel lab",
        "testing",
        "doctor",
        "import minimask",
    }
    for room in rooms.ROOMS:
        assert room.name in tools or not tools & set(room.may), room.name


def run(code, *arguments):
    """What a fresh interpreter prints as JSON."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_engine_needs_neither_models_nor_training_nor_tools():
    code = (
        "import json, sys, minimask.kernels, minimask.autograd, minimask.functional\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = run(code)
    assert "minimask.autograd.tensor" in loaded
    assert [name for name in loaded if name.startswith(PART_OF)] == []


# Importing a module runs the `__init__.py` of its packages first, so what can depend on the order
# is which package comes first.  One process forgets our modules before each package, which costs
# less than a process each; then the package's own modules follow.  Of other people's packages that
# are not installed (a GPU's) the error says so.
IMPORT_EACH_FIRST = """
import importlib, json, sys
failed = {}
for names in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m.split(".")[0] == "minimask"]:
        del sys.modules[loaded]
    for name in names.split():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not error.name or error.name.split(".")[0] == "minimask":
                failed[name] = repr(error)
        except Exception as error:
            failed[name] = repr(error)
print(json.dumps(failed))
"""


def test_any_package_can_be_imported_first():
    packages = {}
    for name, path in sorted(find_modules().items()):
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        if not name.endswith("__main__"):
            packages.setdefault(package, []).append(name)
    assert packages["minimask.autograd"][:2] == ["minimask.autograd", "minimask.autograd.anomaly"]
    assert run(IMPORT_EACH_FIRST, *map(" ".join, packages.values())) == {}


COUNT = re.compile(r"(\d+(?:\.\d+)?)( k)? lines")


def counts_of(text):
    """Every number of lines that a text says."""
    return [float(n) * (1000 if thousands else 1) for n, thousands in COUNT.findall(text)]


def test_the_map_and_the_page_are_what_the_script_writes_now():
    for path, text in make_architecture.new_files().items():
        stored = path.read_text(encoding="utf-8")
        advice = f"{path.relative_to(ROOT)} is out of date: python docs/make_architecture.py"
        # a rounded count may be one step behind: not every change of a line has to renew the map
        assert COUNT.sub("lines", stored) == COUNT.sub("lines", text), advice
        assert counts_of(stored) == pytest.approx(counts_of(text), rel=0.1, abs=60), advice


def test_a_place_in_the_code_is_found_by_name(tmp_path):
    source = "N = 1\nM: int = 2\n\nclass A:\n    x = 3\n\n    @property\n    def f(self): ...\n"
    path = make_architecture.ROOT / "minimask" / "boxes.py"
    (tmp_path / "m.py").write_text(source)
    modules = {"minimask.m": tmp_path / "m.py", "minimask.boxes": path}
    lines = {"": 1, ".N": 1, ".M": 2, ".A": 4, ".A.x": 5, ".A.f": 8}
    for name, line in lines.items():
        assert make_architecture.find_symbol(f"minimask.m{name}", modules)[1] == line
    page = make_architecture.with_places('[](? "minimask.boxes.area") [a](b "title")', modules)
    (line,) = [
        i for i, t in enumerate(path.read_text().splitlines(), 1) if t.startswith("def area")
    ]
    expected = f'[`area` boxes.py:{line}](../minimask/boxes.py#L{line} "minimask.boxes.area")'
    assert page == expected + ' [a](b "title")'


def test_a_name_that_is_gone_is_an_error():
    with pytest.raises(LookupError, match=r"minimask\.boxes\.nothing: no 'nothing' in") as caught:
        make_architecture.with_places(
            '[](? "minimask.boxes.nothing") [](? "minimask.boxes.neither")', find_modules()
        )
    assert "neither" in str(caught.value)


def test_only_arrows_that_follow_from_no_others_are_drawn():
    edges = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert shortest(edges) == [("a", "b"), ("a", "d"), ("b", "c")]
