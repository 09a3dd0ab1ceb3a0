"""Damaged truth and results files: a sentence with the path, or numbers; never another exception.

The long form (`-m slow`) runs 2000 damages in a process of its own whose memory is limited, as a
wild value may make C code ask for all there is:

    python -m pytest tests/evaluate/test_damaged_truth.py -m slow
"""

from __future__ import annotations

import copy
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from truths import FAR, A, B, found, truth_of

from minimask.data.json_files import read_json
from minimask.evaluate import evaluate_detections
from minimask.evaluate.results_file import parse_results

MEMORY = 3 * 2**30  # bytes of addresses; importing what is needed takes about one GB of them
WILD = (
    None, True, False, 0, -1, 1, 2, 3.5, 1e8, -1e8, 1e9, 1e300, -1e300, 10**30, 10**400, 2**63,
    1e-300, math.nan, math.inf, -math.inf, "", "0", "7", "abc", "\u00e9\u6f22", "\x00", [], [[]],
    [[[]]], {}, [{}], [1, 2, 3, 4], [[1, 2, 3, 4, 5]], [[1e7] * 6], [None], {"size": [100, 120]},
    {"counts": "0"}, {"size": [100, 120], "counts": "0" * 50},
    {"size": [10**5, 10**5], "counts": [10**10]},
    {"size": [100, 120], "counts": [12000]}, {"size": [120, 100], "counts": "PPYo1"},
    {"size": [100, 120], "counts": [-1, 12001]}, {"size": "100", "counts": 3},
)  # fmt: skip


def originals() -> tuple[Any, Any]:
    truth = truth_of((1, 1, A), (1, 2, B), (2, 1, FAR), images=2, categories=("cat", "dog"))
    x, y, w, h = B
    truth["annotations"][1]["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    mask = truth["annotations"][2]
    mask["segmentation"] = {"size": [100, 120], "counts": [0, 3000, 9000]}
    results = [found(1, 1, A, 0.9), found(1, 2, B, 0.8), found(2, 1, FAR, 0.7)]
    results[1]["segmentation"] = copy.deepcopy(truth["annotations"][1]["segmentation"])
    return truth, results


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value with every key or index in it."""
    found = []
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in list(entries):
        found.append((value, key))
        if isinstance(inside, dict | list):
            found += places(inside)
    return found


def damage(content: Any, chance: random.Random) -> Any:
    """One to three places of a JSON value changed, removed, doubled, or taken from another."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        everywhere = places(content)
        if not everywhere:
            return content
        inside, key = chance.choice(everywhere)
        way = chance.randrange(6)
        if way == 0:
            del inside[key]
        elif way == 1 and isinstance(inside, list):
            inside.insert(key, copy.deepcopy(inside[key]))
        elif way == 2:
            other, name = chance.choice(everywhere)
            inside[key] = copy.deepcopy(other[name])
        elif way == 3 and isinstance(inside[key], str) and inside[key]:
            text, at = inside[key], chance.randrange(len(inside[key]))
            inside[key] = text[:at] + chr(chance.randrange(1, 300)) + text[at + 1 :]
        elif way == 4 and type(inside[key]) in (int, float):
            inside[key] = inside[key] * chance.choice((-1, 0, 10, 1e6, 1e12, 0.001))
        else:
            inside[key] = copy.deepcopy(chance.choice(WILD))
    return content


def broken_text(text: str, chance: random.Random) -> bytes:
    """The file cut off or with some bytes changed."""
    data = bytearray(text.encode())
    if chance.random() < 0.4:
        return bytes(data[: chance.randrange(len(data))])
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def measure_damaged(folder: Path, seed: int) -> str:
    """Damage one of two files and measure them as the command does: "measured" or the sentence."""
    chance = random.Random(seed)
    truth, results = originals()
    paths = folder / "truth.json", folder / "results.json"
    contents = [truth, results]
    which = chance.randrange(2)
    as_text = chance.random() < 0.15
    if not as_text:
        contents[which] = damage(contents[which], chance)
    texts = [json.dumps(content).encode() for content in contents]
    if as_text:
        texts[which] = broken_text(texts[which].decode(), chance)
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    try:
        measured = evaluate_detections(
            read_json(paths[0]), parse_results(paths[1]), names=(str(paths[0]), str(paths[1]))
        )
    except ValueError as error:
        assert str(paths[which]) in str(error), f"seed {seed}: {error}"
        assert len(str(error)) < 600 and "\n" not in str(error), f"seed {seed}: {error}"
        return str(error)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    for values in (measured.box, measured.mask or {}):
        assert all(-1 <= v <= 1 and not math.isnan(v) for v in values.values()), f"seed {seed}"
    json.dumps(measured.to_json())
    return "measured"


@pytest.mark.filterwarnings("error")
def test_150_damaged_files(tmp_path) -> None:
    said = [measure_damaged(tmp_path, seed) for seed in range(150)]
    assert 8 < said.count("measured") < 110  # the damages are neither all fatal nor harmless
    reasons = {sentence.rsplit(": ", 1)[0] for sentence in said}
    assert len(reasons) > 25


@pytest.mark.slow
def test_2000_damaged_files_in_limited_memory(tmp_path) -> None:
    words = [sys.executable, __file__, str(tmp_path), "2000"]
    path = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        words, env={"PYTHONPATH": ":".join(path)}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    assert done.stdout.startswith("2000 files")


def main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    said = [measure_damaged(folder, 10**6 + seed) for seed in range(count)]
    print(f"{count} files, {said.count('measured')} measured")


if __name__ == "__main__":
    main()
