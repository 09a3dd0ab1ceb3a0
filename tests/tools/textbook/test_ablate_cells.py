"""Cells are measured once, whoever measures them and however the process ended."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from small_table import NETWORK, OTHERS, SMALL

from minimask.tools.textbook.ablate import paper_tables
from minimask.tools.textbook.ablate.cells import Claim, Store
from minimask.tools.textbook.ablate.data import describe, open_data
from minimask.tools.textbook.ablate.measure import build_model, make_cell
from minimask.tools.textbook.ablate.runner import Plan, fill

HEADS = {
    "fasterrcnn_laptop": set(),
    "maskrcnn_laptop": {"mask"},
    "keypointrcnn_laptop": {"keypoints"},
    "maskkeypointrcnn_laptop": {"mask", "keypoints"},
}
STEPS = 25  # long enough for a signal to arrive within a cell
PROGRAM = pathlib.Path(__file__).with_name("small_table.py")


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing takes longer than training here, and is tested elsewhere."""
    monkeypatch.setattr("minimask.draw.loss_curves", lambda *paths: None)


def start(out: pathlib.Path, *words: object) -> subprocess.Popen[str]:
    """`minimask ablate` with the small table on one core."""
    one = ("--threads", 1, "--steps", STEPS)
    command = [sys.executable, PROGRAM, "ablate", "small", "--seeds", 2, *one, "--out", out, *words]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(out: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "cells").glob("*.json")}


def wait_for_first_cell(process: subprocess.Popen[str], out: pathlib.Path) -> dict[str, bytes]:
    """The second cell is being trained when this returns."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("cell 2 "):
            break
    found = finished(out)
    assert len(found) == 1 and process.poll() is None
    return found


def test_every_table_can_be_built() -> None:
    for table in paper_tables.TABLES.values():
        for row in table.rows:
            cell = make_cell(table, row, 0)
            data, _ = open_data(cell.settings["data"], None, 0)
            model = build_model(cell, data)
            found = {kind for kind in ("mask", "keypoints") if has(model.roi_heads, kind)}
            assert found == HEADS[row.model]
            json.dumps(cell.settings)


def has(roi_heads, kind):
    return getattr(roi_heads, {"mask": "mask_head", "keypoints": "keypoint_head"}[kind]) is not None


def test_keypoints_cannot_be_learned_from_data_without():
    table = paper_tables.get_table("6")
    shapes, _ = open_data(describe(None, {}), None, 0)
    with pytest.raises(ValueError, match=r"table 6: learns keypoints, .* have none"):
        build_model(make_cell(table, table.row("align"), 0), shapes)


def test_printed_differences_fit_the_printed_rows() -> None:
    for table in paper_tables.TABLES.values():
        for question in table.questions:
            row, baseline = table.row(question.row), table.row(question.baseline)
            if question.paper is None:
                continue
            if question.metric in row.paper and question.metric in baseline.paper:
                printed = row.paper[question.metric] - baseline.paper[question.metric]
                assert question.paper == pytest.approx(printed), (table.key, question)


def test_settings_name_a_cell() -> None:
    pool, align = SMALL.rows
    usual = make_cell(SMALL, pool, 0)
    assert usual.name == make_cell(SMALL, pool, 0).name
    different = [
        make_cell(SMALL, align, 0),
        make_cell(SMALL, pool, 1),
        make_cell(SMALL, pool, 0, steps=5),
        make_cell(OTHERS, OTHERS.row("few"), 0),
    ]
    assert len({cell.name for cell in (usual, *different)}) == 5
    half = make_cell(OTHERS, OTHERS.row("four"), 0, steps=40).settings["train"]
    assert half["steps"] == 20 and half["warmup"] == 10


def test_a_table_is_measured_once(tmp_path) -> None:
    plan, lines = Plan(SMALL, SMALL.rows, 1, tmp_path), []
    assert fill(plan, say=lines.append).measured == 2
    assert lines[0] == "cell 1 of 2: small pool, seed 0"
    assert lines[1].startswith("  mask AP ") and lines[2].endswith("less than a minute left")
    first = finished(tmp_path)
    content = json.loads(next(iter(first.values())))
    metrics = content["results"]["evaluations"]["detections"]
    assert {"mask_AP", "mask_AP75", "box_AP50"} <= metrics.keys()
    assert content["settings"]["model"]["stem_channels"] == NETWORK["stem_channels"]
    assert content["seconds"] >= content["results"]["seconds_training"] > 0
    assert sorted(p.suffix for p in (tmp_path / "cells").glob("[!.]*")) == [".json", ".json"]

    assert fill(plan).measured == 0 and finished(tmp_path) == first
    assert fill(Plan(SMALL, SMALL.rows[:1], 1, tmp_path, steps=5)).measured == 1
    assert fill(Plan(SMALL, SMALL.rows[:1], 2, tmp_path)).measured == 1
    assert first.items() <= finished(tmp_path).items()


def test_the_same_settings_give_the_same_numbers(tmp_path) -> None:
    results = []
    for name in ("a", "b"):
        plan = Plan(SMALL, SMALL.rows[:1], 1, tmp_path / name)
        fill(plan)
        results.append(json.loads(next(iter(finished(tmp_path / name).values())))["results"])
    assert results[0]["evaluations"] == results[1]["evaluations"]


def test_other_schedules_and_evaluations(tmp_path) -> None:
    plan = Plan(OTHERS, OTHERS.rows, 1, tmp_path)
    assert fill(plan).measured == 3  # two rows read the same cell
    store = Store(tmp_path)
    four, elsewhere, usual, few = (store.read(cell) for cell in plan.cells())
    assert elsewhere == usual and few != usual and four["settings"]["schedule"] == "four-step"
    found = usual["results"]["evaluations"]
    assert found["proposals"]["box_AP"] == found["detections"]["box_AP"]


def test_a_damaged_cell_is_named(tmp_path) -> None:
    cell = make_cell(SMALL, SMALL.rows[0], 0)
    store = Store(tmp_path)
    store.write(cell, {"evaluations": {}}, 1.0)
    path = next((tmp_path / "cells").glob("*.json"))
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=rf"{path.name} is damaged .* delete it"):
        store.read(cell)


def test_claims(tmp_path) -> None:
    store, cell = Store(tmp_path), make_cell(SMALL, SMALL.rows[0], 0)
    lock = tmp_path / "cells" / f"{cell.name}.lock"
    with store.claim(cell) as taken:
        assert taken and store.claimed_by(cell).process == os.getpid()
        with store.claim(cell) as again:
            assert not again
        assert lock.exists()  # the loser has not removed the owner's
        with store.claim(cell, take_over=True) as forced:
            assert forced
    assert not lock.exists()

    other_host = {**vars(Claim.mine()), "host": "elsewhere"}
    lock.write_text(json.dumps(other_host))
    outcome = fill(Plan(SMALL, SMALL.rows[:1], 1, tmp_path))
    assert outcome.measured == 0 and outcome.elsewhere[cell.name].host == "elsewhere"
    lock.write_text("")  # its owner was killed as it wrote it
    with store.claim(cell) as taken:
        assert not taken
    assert fill(Plan(SMALL, SMALL.rows[:1], 1, tmp_path), take_over=True).measured == 1


def test_a_killed_process_loses_its_claim_but_no_cell(tmp_path) -> None:
    process = start(tmp_path)
    before = wait_for_first_cell(process, tmp_path)
    process.kill()
    process.communicate()
    assert len(list((tmp_path / "cells").glob("*.lock"))) == 1
    output, errors = start(tmp_path).communicate(timeout=120)
    assert "was left behind by process" in errors
    assert errors.count("  mask AP ") == 3 and "Not complete" not in output
    after = finished(tmp_path)
    assert len(after) == 4 and before.items() <= after.items()


def test_ctrl_c_says_how_to_go_on(tmp_path) -> None:
    process = start(tmp_path, "--steps", 4 * STEPS)
    before = wait_for_first_cell(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.rstrip().endswith("the same command goes on from here")
    after = finished(tmp_path)  # on a busy machine the signal may come a cell later
    assert before.items() <= after.items() and len(after) < 4
    assert not list((tmp_path / "cells").glob("*.lock"))


def test_two_processes_share_a_table(tmp_path) -> None:
    processes = [start(tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(finished(tmp_path)) == 4
    measured = sum(line.startswith("  mask AP") for _, e in outputs for line in e.splitlines())
    assert measured == 4
    assert any("Not complete" not in out for out, _ in outputs)
    assert not list((tmp_path / "cells").glob("*.lock"))
