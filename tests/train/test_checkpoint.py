"""Checkpoints: what is written is read back; whatever stops the writing, an older one is whole."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from minimask.train import checkpoint, log
from minimask.train.checkpoint import DiskFull, find_latest, load, save, steps_saved, sweep

ARRAYS = {
    "model": {"w": np.arange(6, dtype="f4").reshape(2, 3).T, "count": np.array(7)},
    "optimizer": {"steps": np.array([3]), "mean.w": np.full((2, 2), np.pi)},
}


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


def test_round_trip(tmp_path):
    path = save(tmp_path, 400, ARRAYS, {"seconds": 1.5, "best": None})
    assert path == tmp_path / "checkpoints" / "step-000400" == find_latest(tmp_path)
    assert listing(path) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    saved = load(path)
    assert (saved.step, saved.state) == (400, {"step": 400, "seconds": 1.5, "best": None})
    for file, arrays in ARRAYS.items():
        assert saved.arrays[file].keys() == arrays.keys()
        for name, array in arrays.items():
            got = saved.arrays[file][name]
            assert (got.dtype, got.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(got, array)


def test_keeps_the_newest_and_the_best(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step, ARRAYS, {}, keep=2, keep_steps=[2])
    assert steps_saved(tmp_path) == [2, 4, 5]
    assert listing(tmp_path / "checkpoints") == ["step-000002", "step-000004", "step-000005"]


def test_steps_are_sorted_as_numbers(tmp_path):
    for step in (999_999, 1_000_000):
        save(tmp_path, step, ARRAYS, {})
    assert find_latest(tmp_path).name == "step-1000000"


CHANGES = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir")


def stop_at(monkeypatch, count, error, forever):
    """Raise `error` instead of the `count`-th change of the file system (and all later ones)."""
    calls = iter(range(10_000))

    def wrap(name):
        original = getattr(os, name)

        def wrapped(*args, **options):
            number = next(calls)
            if number == count or (forever and number > count):
                raise error
            return original(*args, **options)

        monkeypatch.setattr(os, name, wrapped)

    for name in CHANGES:
        wrap(name)


class Killed(BaseException):
    pass


def test_killed_at_any_moment_one_checkpoint_is_whole(tmp_path, monkeypatch):
    """After a kill nothing changes any more, not even by the code that cleans up."""
    newest = []
    for count in range(100):
        run = tmp_path / str(count)
        save(run, 1, ARRAYS, {"note": "first"})
        with monkeypatch.context() as patch:
            stop_at(patch, count, Killed(), forever=True)
            try:
                save(run, 2, ARRAYS, {"note": "second"}, keep=1)
            except Killed:
                pass
            else:
                break
        latest = load(find_latest(run))
        newest.append(latest.step)
        assert latest.state["note"] == {1: "first", 2: "second"}[latest.step]
        sweep(run)
        assert listing(run / "checkpoints") == [f"step-{s:06d}" for s in steps_saved(run)]
        for name in listing(run / "checkpoints"):  # none is half-deleted
            assert load(run / "checkpoints" / name).arrays.keys() == ARRAYS.keys()
        save(run, 3, ARRAYS, {})  # and the run can go on
    else:
        pytest.fail("the writing never came to its end")
    assert newest == sorted(newest)
    assert newest.count(1) > 4  # killed while writing,
    assert newest.count(2) > 4  # and while deleting


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_at_any_call_leaves_the_older_checkpoint(tmp_path, monkeypatch, number):
    save(tmp_path, 1, ARRAYS, {"note": "first"})
    for count in range(1, 7):  # call 0 makes the folder, which is there
        with monkeypatch.context() as patch:
            stop_at(patch, count, OSError(number, os.strerror(number)), forever=False)
            with pytest.raises(DiskFull, match=r"step-000001.*--resume") as caught:
                save(tmp_path, 2, ARRAYS, {})
        assert caught.value.errno == number
        assert listing(tmp_path / "checkpoints") == ["step-000001"]
    assert load(find_latest(tmp_path)).state["note"] == "first"
    save(tmp_path, 2, ARRAYS, {})


def test_other_errors_are_not_called_a_full_disk(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(FileExistsError):
        save(tmp_path, 1, ARRAYS, {})


def test_damaged_files_are_named(tmp_path):
    path = save(tmp_path, 5, ARRAYS, {})
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged.*delete.*step-000005"):
        load(path)
    (path / "state.json").write_text('{"step": ')
    with pytest.raises(ValueError, match=r"state\.json is damaged"):
        load(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load(tmp_path)


def test_whole_files_survive_a_failed_rewrite(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    checkpoint.write_json(path, {"AP": 0.5})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="full"):
            checkpoint.write_json(path, {"AP": 0.7})
    assert '"AP": 0.5' in path.read_text()
    assert listing(tmp_path) == ["metrics.json"]


def test_log_is_cut_back_to_a_step(tmp_path):
    path = tmp_path / "log.csv"
    with log.CsvLog(path, ("step", "loss", "note")) as table:
        for step in (1, 2, 3, 10):
            table.write({"step": step, "loss": 1 / step})
    assert path.read_text().splitlines()[:3] == ["step,loss,note", "1,1,", "2,0.5,"]
    with open(path, "a") as file:
        file.write("11,0.")  # a kill in the middle of a line
    log.cut_after(path, 3)
    assert [row["step"] for row in log.read(path)] == ["1", "2", "3"]
    with log.CsvLog(path, ("step", "loss", "note")) as table:  # no second header
        table.write({"step": 4, "loss": 0.25, "note": "a, b"})
    assert log.read(path)[-1] == {"step": "4", "loss": "0.25", "note": "a, b"}


@pytest.mark.parametrize("content", ["", "step,lo"])
def test_log_that_was_killed_at_its_header(tmp_path, content):
    path = tmp_path / "log.csv"
    path.write_text(content)
    log.cut_after(path, 0)
    with log.CsvLog(path, ("step", "loss")) as table:
        table.write({"step": 1, "loss": 2.0})
    assert log.read(path) == [{"step": "1", "loss": "2"}]
