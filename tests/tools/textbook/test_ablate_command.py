"""`minimask ablate`: reports, and wrong use in a sentence."""

from __future__ import annotations

import json
import pathlib

import pytest
from small_table import OTHERS, SMALL
from typer.testing import CliRunner

from minimask.tools.cli import make_app
from minimask.tools.textbook.ablate import paper_tables
from minimask.tools.textbook.ablate.cells import Store
from minimask.tools.textbook.ablate.data import Some, describe, open_data
from minimask.tools.textbook.ablate.overview import overview
from minimask.tools.textbook.ablate.runner import Plan


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    both = {SMALL.key: SMALL, OTHERS.key: OTHERS}
    monkeypatch.setattr(paper_tables, "TABLES", {**paper_tables.TABLES, **both})
    monkeypatch.setattr("minimask.draw.loss_curves", lambda *paths: None)


def invoke(*words):
    return CliRunner().invoke(make_app(), ["ablate", *map(str, words)])


def test_measure_and_report(tmp_path) -> None:
    out = tmp_path / "new" / "ablate"
    result = invoke("small", "--seeds", 1, "--steps", 2, "--rows", "align", "--out", out)
    assert result.exit_code == 0, result.output
    assert "cell 1 of 1: small align, seed 0" in result.stderr
    assert "| **RoIAlign** |" in result.stdout and "**Not complete**: 1 of 2" in result.stdout
    assert {p.name for p in out.glob("small*")} == {
        f"small-2-steps.{ending}" for ending in ("md", "png", "json")
    }
    before = (out / "small-2-steps.md").read_text()
    assert before.rstrip() in result.stdout and "(small-2-steps.png)" in before
    again = invoke("small", "--seeds", 1, "--steps", 2, "--out", out, "--report-only")
    assert again.exit_code == 0 and "cell " not in again.stderr
    assert (out / "small-2-steps.md").read_text() == before
    content = json.loads((out / "small-2-steps.json").read_text())
    assert content["missing_cells"] == 1 and content["rows"][1]["key"] == "align"


def test_all_reports_on_one_page(tmp_path) -> None:
    plan = Plan(SMALL, SMALL.rows, 3, tmp_path)
    for cell in plan.cells():
        value = {"pool": 20.0, "align": 30.0}[cell.row] + cell.seed
        Store(tmp_path).write(cell, {"evaluations": {"detections": {"mask_AP": value}}}, 60.0)
    assert invoke("small", "--seeds", 3, "--out", tmp_path, "--report-only").exit_code == 0
    result = invoke("--overview", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "README.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith("| [small]"))
    assert "| +10.0 [+10.0, +10.0] | 3 |" in line
    assert "6 minutes" in page and page.rstrip() in result.stdout
    (tmp_path / "other.json").write_text("{}")
    damaged = invoke("--overview", "--out", tmp_path)
    assert damaged.exit_code == 1 and "other.json is no report" in damaged.stderr
    assert (tmp_path / "README.md").read_text() == page
    nothing = invoke("--overview", "--out", tmp_path / "empty")
    assert nothing.exit_code == 1 and "no reports" in nothing.stderr


def test_the_published_page_is_that_of_its_reports() -> None:
    published = pathlib.Path(__file__).resolve().parents[3] / "docs" / "ablations"
    assert (published / "README.md").read_text() == overview(published)


def test_list() -> None:
    result = invoke("--list")
    assert result.exit_code == 0
    for key in (
        "2a",
        "2b",
        "2c",
        "2d",
        "2d-fpn",
        "2e",
        "5",
        "6",
        "branch",
        "joint",
        "size",
        "proposals",
    ):
        assert any(line.split()[:1] == [key] for line in result.stdout.splitlines())
    assert "c5-pool" in invoke("2d", "--list").stdout
    assert "c5-pool" not in invoke("2e", "--list").stdout


def test_cells_left_to_others_are_told(tmp_path) -> None:
    plan = Plan(SMALL, SMALL.rows, 1, tmp_path)
    store = Store(tmp_path)
    first, second = plan.cells()
    store.write(second, {"evaluations": {"detections": {"mask_AP": 1.0}}}, 1.0)
    lock = tmp_path / "cells" / f"{first.name}.lock"
    lock.write_text(json.dumps({"process": 1, "host": "elsewhere", "since": 0.0}))
    result = invoke("small", "--seeds", 1, "--out", tmp_path)
    assert result.exit_code == 0 and lock.exists()
    assert "left to process 1 on elsewhere" in result.stderr and "--take-over" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 2, "which table? See minimask ablate --list"),
        (("2z",), 2, "expected one of 2a, 2b"),
        (("smal",), 2, "did you mean 'small'?"),
        (("2z", "--list"), 2, "expected one of 2a, 2b"),
        (("small", "--rows", "pool,warp"), 2, "has no row 'warp'; it has pool, align"),
        (("small", "--rows", ","), 2, "--rows: expected names"),
        (("small", "--seeds", 0), 2, "--seeds: expected at least 1"),
        (("small", "--steps", -1), 2, "--steps: expected at least 1"),
        (("small", "--threads", 0), 2, "--threads: expected at least 1"),
        (("small", "--report-only"), 1, "no cell of table small with these settings"),
        (("small", "--data", "nowhere"), 1, "--data nowhere: there is no such folder"),
        (("small", "--data", "."), 1, "there is no train/instances.json"),
        (("small", "--out", "file"), 1, "--out file is a file"),
        (("small", "--out", "file/below"), 1, "Not a directory"),
    ],
)
def test_wrong_use(words, code, text, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    result = invoke(*words)
    assert result.exit_code == code and text in result.stderr, result.output
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) <= 2


def test_data_of_ones_own(tmp_path) -> None:
    from PIL import Image

    from minimask.data.sample import coco_ground_truth
    from minimask.data.shapes import Shapes

    for seed, part in enumerate(("train", "val")):
        data = Shapes(5, 48, seed, ["circle", "star"])
        samples = [data[i] for i in range(5)]
        truth = coco_ground_truth(samples, data.classes, data.category_ids)
        (tmp_path / part / "images").mkdir(parents=True)
        for sample, image in zip(samples, truth["images"], strict=True):
            Image.fromarray(sample.image).save(tmp_path / part / "images" / image["file_name"])
        (tmp_path / part / "instances.json").write_text(json.dumps(truth))
    settings = describe(tmp_path, {"count": 3})
    train, val = open_data(settings, tmp_path, seed=1)
    assert isinstance(train, Some) and len(train) == 3 and len(val) == 5
    assert train[0].image.shape == (48, 48, 3)
    other = open_data(settings, tmp_path, seed=2)[0]
    assert isinstance(other, Some) and other.indices != train.indices
    file = tmp_path / "train" / "instances.json"
    file.write_text(file.read_text() + " ")
    assert describe(tmp_path, {"count": 3}) != settings

    out = tmp_path / "out"
    result = invoke("small", "--rows", "align", "--seeds", 1, "--steps", 1, "--data", tmp_path,
                    "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (out / f"small-{tmp_path.name}-1-steps.md").is_file() and "own images" in result.stdout
