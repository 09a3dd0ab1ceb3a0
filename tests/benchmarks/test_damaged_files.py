"""Damaged files of every format: a sentence, or data; and the check notices what is wrong."""

from __future__ import annotations

import pathlib
import sys
import time

import pytest

sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
import damaged_files

from minimask.data import formats

COUNT, SEED = 60, 4


@pytest.mark.parametrize("format", sorted(damaged_files.makers()))
def test_damaged_files_give_a_sentence(format) -> None:
    outcomes = list(damaged_files.run(format, range(COUNT), SEED, seconds=20))
    assert len(outcomes) == COUNT
    assert not [problem for _, problem in outcomes if problem]


def test_every_built_in_format_is_tried() -> None:
    assert set(damaged_files.makers()) == set(formats.names())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda path: {}["x"], "KeyError"),
        (lambda path: time.sleep(5), "more than 0.2 seconds"),
        (lambda path: (path / "left.txt").write_text("x"), "something was written"),
        (lambda path: int("x"), "names no file"),
        (lambda path: bytearray(1 << 62), "MemoryError"),
    ],
)
def test_the_check_notices(monkeypatch, fault, said) -> None:
    read = formats.get_format("label_images").read

    def faulty(path, images):
        found = read(path, images)
        fault(path)
        return found

    monkeypatch.setattr(formats.get_format("label_images"), "read", faulty)
    numbers = range(12)
    seconds = 0.2 if "seconds" in said else 20
    wrong = [p for _, p in damaged_files.run("label_images", numbers, SEED, seconds) if p]
    assert wrong and all(said in problem for problem in wrong)
