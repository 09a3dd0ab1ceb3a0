"""500 damaged files of weights of every container: a sentence, or arrays."""

from __future__ import annotations

import pathlib
import sys
import time

import pytest

sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
import damaged_weights
import weight_damage

import minimask.weights

FILES, SEED = 500, 11


def kinds() -> list[str]:
    """Every container that can be written here."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return list(weight_damage.whole_files(pathlib.Path(folder)))


KINDS = kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_a_sentence(kind) -> None:
    count = -(-FILES // len(KINDS))
    outcomes = list(damaged_weights.run(kind, range(count), SEED, seconds=30))
    assert len(outcomes) == count
    assert not [outcome for outcome in outcomes if outcome[1] not in damaged_weights.RIGHT]
    assert {outcome[1] for outcome in outcomes} == set(damaged_weights.RIGHT)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda path: {}["x"], "foreign exception"),
        (lambda path: time.sleep(5), "too slow"),
        (lambda path: bytearray(1 << 62), "foreign exception"),
        (lambda path: int("x"), "no sentence"),
    ],
)
def test_the_check_notices(monkeypatch, tmp_path, fault, said) -> None:
    import signal

    monkeypatch.setattr(minimask.weights, "read_weights", fault)
    before = signal.signal(signal.SIGALRM, damaged_weights._late)
    try:
        assert damaged_weights.read(tmp_path / "x", 0.2)[0] == said
    finally:
        signal.signal(signal.SIGALRM, before)
