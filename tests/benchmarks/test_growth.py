"""benchmarks/growth.py: its table, its picture, and a line measured by a process of its own."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import growth

    return growth


@pytest.fixture
def report(growth):
    import growth_report

    return growth_report


def made_up(*curves: str) -> dict:
    """Three points a line; two threads are twice as fast, the peer half as fast."""
    lines = []
    for curve in curves:
        for side, threads, speed in (
            ("minimask", 1, 10),
            ("minimask", 2, 20),
            ("torchvision", 2, 5),
        ):
            points = [
                {"x": x, "images": 4, "seconds": [4 / speed, 5 / speed, 3 / speed]}
                for x in (32, 64, 512)
            ]
            lines.append({"curve": curve, "side": side, "threads": threads, "points": points})
    place = {"date": "2026-01-02", "machine": "Toaster 9000, 2 cores", "cores": 2}
    return {**place, "quick": True, "lines": lines}


def test_the_table_has_a_row_for_every_point(report):
    rows = report.table(made_up("training, regions", "inference, image size")).splitlines()
    assert rows[0] == (
        "| images per second | | 1 thread | 2 threads | torchvision, 2 threads | gain |"
    )
    assert rows[2] == "| training, regions | 32 | 10 | 20 | 5 | 2.00 |"
    assert rows[-1] == "| inference, image size | 512 | 10 | 20 | 5 | 2.00 |"
    assert len(rows) == 2 + 6
    assert len({row.count("|") for row in rows}) == 1


def test_the_table_of_a_machine_with_one_core(report):
    content = made_up("training, regions")
    content["cores"], content["lines"] = 1, content["lines"][:1]
    rows = report.table(content).splitlines()
    assert rows[0] == "| images per second | | 1 thread |"
    assert rows[2] == "| training, regions | 32 | 10 |"


def test_points_that_a_line_lacks_stay_empty(report):
    content = made_up("training, regions")
    del content["lines"][0]["points"][0]
    assert "| training, regions | 32 |  | 20 | 5 |  |" in report.table(content)


def test_from_json_to_picture_and_table(growth, monkeypatch, tmp_path, capsys):
    from growth_curves import CURVES

    times, picture = tmp_path / "times.json", tmp_path / "growth.png"
    times.write_text(json.dumps(made_up(*(curve.name for curve in CURVES))))
    words = ["growth.py", "--from-json", str(times), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", words)
    assert growth.main() == 0
    assert capsys.readouterr().out.startswith("Toaster 9000, 2 cores, 2026-01-02\n")
    image = np.asarray(Image.open(picture).convert("RGB"))
    assert image.shape[1] >= 1000
    colors = {tuple(color) for color in image.reshape(-1, 3)}
    for line in ("#0072b2", "#e69f00", "#777777"):
        assert tuple(bytes.fromhex(line[1:])) in colors
    assert [p.name for p in tmp_path.iterdir() if p not in (times, picture)] == []


def test_a_single_point_can_be_drawn_as_svg(report, tmp_path):
    content = made_up("training, batch")
    for line in content["lines"]:
        del line["points"][1:]
    report.draw(content, tmp_path / "growth.svg")
    assert "<svg" in (tmp_path / "growth.svg").read_text()
    with pytest.raises(ValueError, match="nothing to draw"):
        report.draw({**content, "lines": []}, tmp_path / "none.png")


@pytest.mark.parametrize("low, high", [(0.03, 0.5), (1, 2), (10, 30), (49, 52), (3, 4000)])
def test_ticks_are_few_and_round(report, low, high):
    ticks = report.round_numbers(low, high)
    assert 3 <= len(ticks) <= 12 and low <= min(ticks) and max(ticks) <= high
    assert ticks == sorted(ticks)
    assert all(len(f"{tick:.2g}") >= len(f"{tick:g}") for tick in ticks)  # two digits say it all


def test_curves_can_be_told_apart(growth):
    from growth_curves import CURVES, PEER_CURVE

    names = [curve.name for curve in CURVES]
    assert len(set(names)) == len(names) and PEER_CURVE in names
    for curve in CURVES:
        assert set(curve.quick) <= set(curve.points) and ": " in curve.title


def test_a_line_is_measured_by_its_own_process(growth, tmp_path, capsys):
    from growth_curves import CURVES

    options = argparse.Namespace(quick=True, peer_python=None)
    curve = next(curve for curve in CURVES if curve.name == "inference, batch")
    line = growth.line(curve, "minimask", 1, tmp_path / "none.npz", options)
    assert [point["x"] for point in line["points"]] == list(curve.quick)
    assert [point["images"] for point in line["points"]] == list(curve.quick)
    assert all(min(point["seconds"]) > 0 for point in line["points"])
    assert "inference, batch 1, minimask, 1 thread: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--only", "brewing"], "training, batch"),
        (["--picture", "growth.gif"], ".png or .svg"),
        (["--peer-python", "false"], "torchvision cannot be imported"),
    ],
)
def test_wrong_use_is_explained(growth, monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["growth.py", *words])
    with pytest.raises(SystemExit) as stopped:
        growth.main()
    assert stopped.value.code == 2 and said in capsys.readouterr().err
