"""What has passed is recorded with its sources, and the pages show the record."""

from __future__ import annotations

import importlib
import json

import pytest

from minimask.kernels import OPERATIONS, launch
from minimask.tools.kernel_lab import pages, parallel, record, report, values
from minimask.tools.kernel_lab.tiers import Result, tiers_of

RUNG = "cuda_1_naive"


def entries(tier: str, file, **known: str) -> record.Entries:
    found = record.update([("box_iou", Result(RUNG, tier, True, "20 cases"))], file)
    found["box_iou"][RUNG][tier].update(known)
    return found


# ---------------------------------------------------------------------------------- sources


def test_a_rung_is_made_of_its_launcher_and_its_kernels():
    assert set(record.sources("box_iou", RUNG)) == {
        "cuda/launch.py",
        "cuda/rung_1_naive.cu",
    }
    included = record.sources("box_iou", RUNG)["cuda/rung_1_naive.cu"]
    assert '#line 1 "device.cuh"' in included  # what it includes counts too
    assert set(record.sources("box_iou", "numba_1_naive")) == {"numba/rung_1_naive.py"}
    assert {"cuda/launch.py", "cuda/order.cu"} < set(record.sources("nms", "cuda_2_bitmask"))
    assert "cpu/compiled_loops.py" in record.sources("conv2d", "cpu")
    # named by a module of the folder, and shared by the folders
    assert {"cpu/compiled.py", "geometry.py"} < set(record.sources("conv2d", "winograd"))


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_rung_has_sources(op):
    for name, variant in values.variants(op).items():
        found = record.sources(op, name)
        assert any(file.endswith(".py") for file in found)
        if variant.folder == "cuda":
            assert any(file.endswith(".cu") for file in found), (op, name)


def test_a_changed_kernel_has_to_pass_again(tmp_path, monkeypatch):
    found = entries("values", tmp_path / "record.json")
    assert set(record.passed(found, "box_iou", RUNG)) == {"values"}
    before, original = record.digest("box_iou", "numba_1_naive"), launch.read_source

    def edited(path):
        return original(path) + "// another line\n"

    monkeypatch.setattr(launch, "read_source", edited)
    assert record.passed(found, "box_iou", RUNG) == {}
    assert record.digest("box_iou", "numba_1_naive") == before


# ----------------------------------------------------------------------------------- record


def test_passed_is_noted_failed_is_forgotten_not_run_stays(tmp_path):
    file = tmp_path / "record.json"

    def after(tier, passed):
        record.update([("box_iou", Result(RUNG, tier, passed, "a text"))], file)
        return set(record.passed(record.read(file), "box_iou", RUNG))

    assert after("values", True) == {"values"}
    assert after("thread", True) == {"values", "thread"}
    assert after("values", None) == {"values", "thread"}
    assert after("values", False) == {"thread"}
    entry = json.loads(file.read_text())["box_iou"][RUNG]["thread"]
    assert set(entry) == {"date", "sources", "checked"} and entry["checked"] == "a text"


def test_rungs_and_operations_that_are_gone_are_dropped(tmp_path):
    file = tmp_path / "record.json"
    file.write_text(json.dumps({"box_iou": {"gone": {"values": {}}}, "gone": {}}))
    assert record.update([], file) == {"box_iou": {}}


def test_a_record_that_is_no_json(tmp_path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ValueError, match="no JSON"):
        record.read(tmp_path / "record.json")
    assert record.read(tmp_path / "none.json") == {}


# ------------------------------------------------------------------------------------ pages


def test_the_table_of_a_page(tmp_path):
    found = entries("values", tmp_path / "record.json")
    lines = pages.table("box_iou", found).splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines}
    assert rows[RUNG].split("|")[2:-1] == [
        *(" yes ", " no ", " no ", "  ", " no "),
        " not yet run on a GPU ",
    ]
    assert rows["cpu"].split("|")[2:-1] == [" no ", "  ", "  ", "  ", "  ", "  "]
    assert "reference" not in rows


def test_a_run_on_a_gpu_is_shown_until_the_kernel_changes(tmp_path):
    file = tmp_path / "record.json"
    known = {"date": "2026-11-20", "device": "NVIDIA Toaster"}
    found = entries("values", file)
    found["box_iou"][RUNG]["gpu"] = {**found["box_iou"][RUNG]["values"], **known}
    assert "| 2026-11-20, NVIDIA Toaster |" in pages.table("box_iou", found)
    found["box_iou"][RUNG]["gpu"]["sources"] = "another"
    assert "Toaster" not in pages.table("box_iou", found)


def test_a_page_keeps_everything_but_its_tables(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    marks = "\n".join(f"{m}\nold\n{m}\nkept" for m in (pages.LADDER, pages.MARK, pages.MEASURED))
    page.write_text(f"# A\n\n{marks}\n\nThe end.\n")
    monkeypatch.setattr(pages, "page", lambda op: page)
    once = pages.render("box_iou", {})
    assert once.startswith("# A\n") and once.endswith(f"{pages.MEASURED}\nkept\n\nThe end.\n")
    assert "old" not in once and once.count("kept") == 3
    page.write_text(once)
    assert pages.render("box_iou", {}) == once
    page.write_text("# A\n")
    with pytest.raises(ValueError, match="expected <!-- ladder --> twice"):
        pages.render("box_iou", {})


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_page_ends_with_what_could_be_added(op):
    last = pages.page(op).read_text(encoding="utf-8").rstrip().splitlines()[-1]
    assert last.startswith(f"{pages.LAST} ") and len(last) > 60


def test_the_pages_show_the_code_the_record_and_the_results():
    """Run `minimask kernels check --all --record`, or `minimask kernels pages`."""
    assert record.FILE.is_file()
    assert pages.outdated() == []


# ------------------------------------------------------------------------------------ lists


def test_every_operation_with_a_gpu_ladder_can_be_checked():
    for op in OPERATIONS:
        if any(v.device == "gpu" for v in values.variants(op).values()):
            assert parallel.with_cases([op]) == [op]


def test_the_lists_fit_a_terminal(tmp_path):
    found = entries("values", tmp_path / "record.json")
    lines = [*report.overview(found)]
    for op in OPERATIONS:
        lines += report.ladder(op, found)
    assert max(map(len, lines)) <= 80
    text = "\n".join(report.ladder("box_iou", found))
    assert "passed values; not address, thread, compiled, gpu" in text


def test_a_rung_whose_process_dies_has_failed(monkeypatch):
    monkeypatch.setattr(parallel.sys, "executable", "/bin/false")
    ((op, result),) = parallel.check([("box_iou", RUNG)], ["values"], 1)
    assert (op, result.passed) == ("box_iou", False)
    assert result.text.startswith("the process ended")


def test_tiers_of_rungs():
    ladder = values.variants("box_iou")
    assert tiers_of(ladder["cpu"]) == ("values",)
    assert tiers_of(ladder["numba_1_naive"]) == ("simulator", "compiled", "gpu")
    assert importlib.import_module("minimask.tools.kernel_lab.tiers").CUDA_TIERS[-1] == "gpu"
