"""Hostile and mistaken files of weights: refused in a sentence, at once, within their size."""

import json
import os
import pathlib
import subprocess
import sys

import hostile_files
import numpy as np
import pytest
from hostile_files import HARMLESS, HOSTILE, MISTAKEN

from minimask.weights import UnsafeFileError, read_weights

HERE = pathlib.Path(__file__).resolve().parent
SHARE, FLOOR = 2.5, 50 << 20  # of a file's size, and bytes beyond it, that reading may take
SECONDS = 30  # on a busy machine; each takes well under one
ADDRESS_SPACE = 6 << 30
# Reads the files named on the command line, and a good one after each.
READ = """
import json, resource, sys, time
from minimask.weights import read_weights
from minimask.weights.readers import content, npz, pickles, safetensors, torch_zip
try:
    import h5py
except ModuleNotFoundError:
    pass
resource.setrlimit(resource.RLIMIT_AS, (MOST, MOST))
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
def forget():
    open("/proc/self/clear_refs", "w").write("5")
good = sys.argv[1]
before = {n: a.tobytes() for n, a in read_weights(good).items()}
for path in sys.argv[2:]:
    try:
        forget()
    except OSError:
        pass
    base, start = peak(), time.perf_counter()
    try:
        outcome = "read", list(read_weights(path))
    except Exception as error:
        outcome = type(error).__name__, str(error)
    took = time.perf_counter() - start
    after = {n: a.tobytes() for n, a in read_weights(good).items()}
    print(json.dumps([path, *outcome, peak() - base, took, after == before]), flush=True)
""".replace("MOST", str(ADDRESS_SPACE))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What happened to every hostile file: all are read by one process with a limited memory."""
    folder = tmp_path_factory.mktemp("hostile")
    good = hostile_files.small(folder / "good.pth", {"x": hostile_files.GOOD})
    made = {}
    for name, maker in HOSTILE.items():
        if name.startswith("h5_"):
            pytest.importorskip("h5py")
        made[name] = maker(folder / name)
    words = [sys.executable, "-c", READ, str(good), *map(str, made.values())]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, cwd=HERE.parent.parent
    )
    found = {}
    for line in done.stdout.splitlines():
        path, *rest = json.loads(line)
        found[pathlib.Path(path).name] = (*rest, pathlib.Path(path).stat().st_size)
    missing = [name for name in HOSTILE if name not in found]
    assert not missing, f"{missing[0]} ended the process: {done.returncode} {done.stderr[-500:]}"
    for path in made.values():
        os.unlink(path)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(outcomes, name):
    kind, words, _, _, _, _ = outcomes[name]
    if name in HARMLESS:
        assert kind == "read" and "x" in words[0]
        return
    assert kind in ("ValueError", "UnsafeFileError"), words
    assert f"/{name}: " in words and len(words) < 1000 and "\n" not in words
    assert words.isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_it_takes_no_more_memory_than_its_size_allows(outcomes, name):
    _, _, peak, _, _, size = outcomes[name]
    assert peak <= SHARE * size + FLOOR


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_over_soon_and_leaves_nothing_behind(outcomes, name):
    _, _, _, seconds, same, _ = outcomes[name]
    assert seconds < SECONDS
    assert same, "the next file is read otherwise"


def test_no_command_is_run(tmp_path):
    path = hostile_files.runs_a_command(tmp_path / "x.pth")
    with pytest.raises(UnsafeFileError, match=r"asks for os\.system.*it was not run"):
        read_weights(path)
    assert not pathlib.Path(f"{path}.marker").exists()


@pytest.mark.parametrize("name", MISTAKEN)
@pytest.mark.parametrize("ending", [".pth", ".npz", ".safetensors", ".h5", ""])
def test_what_people_mix_up_is_called_by_its_name(tmp_path, name, ending):
    said, raw = MISTAKEN[name]
    path = tmp_path / f"weights{ending}"
    path.write_bytes(raw)
    with pytest.raises(ValueError) as caught:
        read_weights(path)
    assert said in str(caught.value) and str(caught.value).startswith(f"{path}: ")


def test_folders_and_pipes(tmp_path):
    with pytest.raises(ValueError, match="a folder; expected a file"):
        read_weights(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        read_weights(tmp_path / "pipe")


def test_an_hdf5_file_without_h5py_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"x\.h5: .*pip install 'minimask\[h5\]'"):
        read_weights(tmp_path / "x.h5")


def test_the_generators_are_not_refused_for_another_reason(tmp_path):
    """The whole file that the hostile ones are made of can be read."""
    path = hostile_files.small(tmp_path / "x", {"x": hostile_files.GOOD})
    np.testing.assert_array_equal(read_weights(path)["x"], hostile_files.SIX)
