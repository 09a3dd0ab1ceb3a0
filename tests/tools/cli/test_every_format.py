"""Each annotation format through every door: check, show, train, evaluate, predict."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest
from runs import invoke

sys.path.append(str(pathlib.Path(__file__).parents[3] / "benchmarks"))
import damaged_files

TINY = "--size 64 --batch 1 --warmup 0 --pictures 0 --steps 2 --quiet".split()


def run(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, f"{words}: {result.output}"
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("format", sorted(damaged_files.makers()))
def test_every_door(tmp_path, format) -> None:
    made = damaged_files.makers()[format](tmp_path / "set")
    images = () if made.images is None else ("--images", made.images)
    source = ("--annotations", made.path, *images)

    checked = run("data", "check", made.path, *images)
    assert " 0 objects" not in checked and "minimask train" in checked.splitlines()[-1]
    run("data", "show", made.path, *images, "--augment", "flip", "--out", tmp_path / "a.png")

    val = [w if w[:2] != "--" else f"--val-{w[2:]}" for w in map(str, source)]
    run("train", *source, *val, *TINY, "--out", tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["step"] == 2 and metrics["objects"] > 0 and "AP" in metrics["mask"]
    again = run("evaluate", tmp_path / "run", *source, "--out", tmp_path / "again", "--quiet")
    assert f"{metrics['objects']} objects" in again

    # predictions carry the ids of these annotations, and are measured against them
    folder = made.images or next(p.parent for p in sorted(tmp_path.rglob("*.png")))
    results = tmp_path / "results.json"
    words = ("predict", folder, "--recursive", "--weights", tmp_path / "run", "--score", 0)
    out = ("--out", tmp_path / "found", "--results", results, "--no-pictures", "--quiet")
    if made.images is not None and sorted(pathlib.Path(folder).rglob("*mask*")) == []:
        run(*words, *out, "--annotations", made.path)
        compared = run("evaluate", "--detections", results, *source)
        assert f"{metrics['objects']} objects" in compared and "mask" in compared
