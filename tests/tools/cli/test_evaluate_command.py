"""`minimask evaluate`: numbers, files, and one sentence for everything that cannot be."""

from __future__ import annotations

import json
import shutil

import pytest
from runs import files_in, invoke, make_coco, make_folders, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return make_coco(tmp_path_factory.mktemp("coco") / "data")


def refused(result, *words: str, code: int = 1) -> None:
    """One sentence on stderr that says these words, nothing on stdout, this exit code."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("minimask: ")
    assert "bug" not in result.stderr and "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_a_run_is_measured_on_its_own_data(run) -> None:
    result = invoke("evaluate", run, "--quiet", "--pictures", 2)
    assert result.exit_code == 0, result.output
    assert "4 images" in result.stdout and "all, mask" in result.stdout
    assert "AP75" in result.stdout and "triangle, box" in result.stdout
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert metrics["images"] == 4 and set(metrics["box"]) >= {"AP", "AP50", "APs", "AR"}
    assert (run / "evaluation" / "pr.png").stat().st_size > 5000
    assert len(list((run / "evaluation" / "pictures").iterdir())) == 2
    again = invoke("evaluate", run, "--quiet", "--pictures", 2)
    assert again.exit_code == 0  # the default folder is replaced


def test_a_checkpoint_and_a_file_are_measured(run, tmp_path) -> None:
    result = invoke("evaluate", run / "checkpoints" / "step-000007", "--quiet", "--limit", 1)
    assert result.exit_code == 0, result.output
    assert (run / "evaluation-step-000007" / "metrics.json").is_file()
    alone = shutil.copy(run / "model.safetensors", tmp_path / "alone.safetensors")
    refused(invoke("evaluate", alone, "--quiet"), "on which images", code=2)
    options = ("--data", "shapes", "--count", 2, "--size", 64, "--quiet")
    result = invoke("evaluate", alone, *options)
    assert result.exit_code == 0, result.output
    assert "2 images" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["alone.safetensors"]  # nothing unasked


def test_mask_folders_are_measured(tmp_path) -> None:
    """Nothing in the files says what the objects are called: the run or --classes does."""
    folders = make_folders(tmp_path / "cells", 2)
    run = make_run(
        tmp_path / "run",
        classes=("cell",),
        data="folder",
        images=str(folders),
        val_images=str(folders),
    )
    own = invoke("evaluate", run, "--quiet")
    assert own.exit_code == 0, own.output
    words = ("evaluate", run, "--data", "folder", "--images", folders, "--quiet")
    named = invoke(*words)
    assert named.exit_code == 0, named.output
    same = ("2 images", "all, box", "all, mask")
    assert [line for line in own.stdout.splitlines() if line.startswith(same)] == [
        line for line in named.stdout.splitlines() if line.startswith(same)
    ]
    assert "2 images" in named.stdout
    refused(invoke(*words, "--classes", "cat"), "no class in common", "'cell'", "'cat'")


def test_results_can_be_written_and_measured_again(run, coco, tmp_path) -> None:
    results, out = tmp_path / "results.json", tmp_path / "out"
    files = ("--annotations", coco / "instances.json", "--images", coco / "images")
    first = invoke("evaluate", run, *files, "--results", results, "--out", out, "--quiet")
    assert first.exit_code == 0, first.output
    entries = json.loads(results.read_text())
    assert entries and set(entries[0]) >= {"image_id", "category_id", "bbox", "score"}
    again = invoke("evaluate", "--detections", results, *files[:2])
    assert again.exit_code == 0, again.output

    def numbers(text: str) -> list[str]:
        return [line for line in text.splitlines() if ", box" in line or ", mask" in line]

    assert numbers(again.stdout) == numbers(first.stdout) != []


def test_existing_output_is_kept_without_force(run, tmp_path) -> None:
    results = tmp_path / "results.json"
    results.write_text("precious")
    words = ("evaluate", run, "--quiet", "--limit", 1)
    refused(invoke(*words, "--results", results), "results.json exists", "--force")
    refused(invoke(*words, "--out", tmp_path), "is not empty", "--force")
    refused(invoke(*words, "--out", results), "is a file")
    assert files_in(tmp_path) == {"results.json": b"precious"}
    assert invoke(*words, "--results", results, "--force").exit_code == 0
    assert json.loads(results.read_text())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "what is to be evaluated"),
        (("RUN", "--data", "cats"), "expected one of files, shapes, sticks, folder, label_studio"),
        (("RUN", "--data", "shapes", "--annotations", "a.json", "--images", "b"), "exclude"),
        (("RUN", "--data", "foldr", "--images", "b"), "did you mean 'folder'"),
        (("RUN", "--data", "folder"), "--data folder needs --images"),
        (("RUN", "--classes", "cat"), "--classes is for images that are named"),
        (("--detections", "a.json"), "needs --annotations"),
        (("RUN", "--detections", "a.json", "--annotations", "b.json"), "not both"),
        (("RUN", "--limit", "0"), "--limit: expected at least 1, got 0"),
        (("RUN", "--max-detections", "-3"), "--max-detections: expected at least 1, got -3"),
        (("RUN", "--model", "maskrcnn_giant"), "maskrcnn_laptop"),
    ],
)
def test_wrong_use(run, words, said: str) -> None:
    words = [run if word == "RUN" else word for word in words]
    refused(invoke("evaluate", *words), said, code=2)


def test_missing_and_broken_files(run, coco, tmp_path) -> None:
    files = ("--annotations", coco / "instances.json", "--images", coco / "images")
    refused(invoke("evaluate", tmp_path / "nowhere"), "nowhere: no such run")
    refused(invoke("evaluate", tmp_path), "is no run")
    refused(
        invoke("evaluate", run, "--annotations", coco / "nowhere.json", "--images", coco),
        "nowhere.json: no such file",
    )
    refused(
        invoke("evaluate", run, "--annotations", coco / "instances.json", "--images", coco / "no"),
        "no such folder",
    )
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    refused(invoke("evaluate", run, "--annotations", broken, "--images", coco), "broken.json")
    refused(invoke("evaluate", "--detections", broken, *files[:2]), "broken.json", "JSON")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((run / "model.safetensors").read_bytes()[:5000])
    refused(invoke("evaluate", damaged, *files), "damaged.safetensors", "damaged")
    other = tmp_path / "weights.npz"
    other.write_bytes(b"1234")
    refused(invoke("evaluate", other, *files), "weights.npz: plain text; expected a file")
    assert sorted(files_in(tmp_path)) == ["broken.json", "damaged.safetensors", "weights.npz"]


def test_a_damaged_image_is_named(run, tmp_path) -> None:
    coco = make_coco(tmp_path / "data")
    image = coco / "images" / "000002.png"
    image.write_bytes(image.read_bytes()[:200])
    files = ("--annotations", coco / "instances.json", "--images", coco / "images")
    result = invoke("evaluate", run, *files, "--out", tmp_path / "out", "--quiet")
    refused(result, "000002.png", "damaged or truncated")
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_other_classes_are_named(run, tmp_path) -> None:
    names = [{"id": i + 1, "name": n} for i, n in enumerate(("cat", "dog", "cow", "ant"))]
    coco = make_coco(tmp_path / "data", categories=names)
    files = ("--annotations", coco / "instances.json", "--images", coco / "images")
    refused(invoke("evaluate", run, *files), "no class in common", "'circle'", "'cow'")


def test_help_says_what_the_numbers_mean() -> None:
    text = invoke("evaluate", "--help").stdout
    for word in ("AP50", "--annotations", "--results", "32x32", "Examples"):
        assert word in text


def test_broken_truth_and_results_are_one_sentence(coco, tmp_path) -> None:
    truth = json.loads((coco / "instances.json").read_text())
    keys = ("image_id", "category_id", "bbox")
    results = [{**{k: a[k] for k in keys}, "score": 0.9} for a in truth["annotations"]]
    files = tmp_path / "truth.json", tmp_path / "results.json"
    words = ("evaluate", "--detections", files[1], "--annotations", files[0])

    def write() -> None:
        for path, content in zip(files, (truth, results), strict=True):
            path.write_text(json.dumps(content))

    truth["annotations"][1]["segmentation"] = [[1, 2, 3, 3.5e8, 5, 6]]
    write()
    refused(invoke(*words), "truth.json: annotations[1].segmentation[0]: y from")
    truth["annotations"][1]["segmentation"] = []
    results[2]["score"] = float("nan")
    write()
    refused(invoke(*words), "results.json: results[2].score: expected a number, got nan")
    results[2]["score"] = 0.5
    write()
    assert "Masks were not measured: no detection has one." in invoke(*words).stdout


def test_no_input_is_overwritten(run, coco, tmp_path) -> None:
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    shutil.copy(coco / "instances.json", truth)
    results.write_text("[]")
    (tmp_path / "link.json").symlink_to(truth)
    metrics = tmp_path / "metrics.json"
    shutil.copy(truth, metrics)
    before = files_in(tmp_path)
    words = ("evaluate", "--detections", results, "--force", "--annotations")
    for output in (truth, results, tmp_path / "link.json"):
        refused(invoke(*words, truth, "--results", output), output.name, "is read by this command")
    refused(invoke(*words, metrics, "--out", tmp_path), "metrics.json is read by this command")
    assert files_in(tmp_path) == before


def test_nothing_that_a_run_is_made_of_is_overwritten(run, coco) -> None:
    before = files_in(run), files_in(coco)
    data = ("--annotations", coco / "instances.json", "--images", coco / "images")
    words = ("evaluate", run, *data, "--quiet", "--limit", 1, "--force")
    for output in (
        run / "model.safetensors",
        run / "settings.json",
        coco / "instances.json",
        coco / "images" / "000001.png",
    ):
        refused(invoke(*words, "--results", output), output.name, "is read by this command")
    refused(invoke(*words, "--out", run), "is read by this command")
    refused(invoke(*words, "--out", coco / "images"), "is read by this command")
    assert (files_in(run), files_in(coco)) == before


def test_the_limit_follows_the_model_and_is_written(run, coco, tmp_path) -> None:
    data = ("--annotations", coco / "instances.json", "--images", coco / "images")
    words = ("evaluate", run, *data, "--quiet", "--pictures", 0)
    for more, expected in (((), 100), (("--max-detections", 7), 7)):
        out = tmp_path / str(expected)
        result = invoke(*words, *more, "--out", out)
        assert result.exit_code == 0, result.output
        assert json.loads((out / "metrics.json").read_text())["max_detections"] == expected
