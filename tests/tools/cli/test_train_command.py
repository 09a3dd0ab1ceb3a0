"""`minimask train` as a user runs it: real processes that are killed, and sentences for errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from runs import make_folders

from minimask.tools.cli import make_app
from minimask.tools.cli import train as train_command
from minimask.train.checkpoint import find_latest, load

MINIMASK = [sys.executable, "-m", "minimask"]
STEPS = 9
PATIENCE = 300  # seconds: on a fresh machine the first process compiles the kernels


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Three small generated images as COCO files."""
    from PIL import Image

    from minimask.data.sample import coco_ground_truth
    from minimask.data.shapes import Shapes

    folder = tmp_path_factory.mktemp("coco")
    data = Shapes(3, 64, seed=5)
    samples = [data[i] for i in range(3)]
    truth = coco_ground_truth(samples, data.classes, data.category_ids)
    for sample, image in zip(samples, truth["images"], strict=True):
        Image.fromarray(sample.image).save(folder / image["file_name"])
    (folder / "instances.json").write_text(json.dumps(truth))
    return folder


@pytest.fixture(scope="module")
def command(coco):
    """The command line of a small run, less --out."""
    options = {
        "--annotations": coco / "instances.json",
        "--images": coco,
        "--augment": "flip,photometric",
        "--size": 64,
        "--anchors": "8,16,32,48,64",
        "--steps": STEPS,
        "--batch": 2,
        "--warmup": 2,
        "--checkpoint-every": 2,
        "--ema": 0.9,
    }
    return [*MINIMASK, "train", *(str(word) for pair in options.items() for word in pair)]


def wait_for(condition, process, what):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, f"ended before {what}: {process.stderr.read()}"
        assert time.monotonic() < until, f"waited too long for {what}"
        time.sleep(0.002)


def lines(out):
    log = out / "log.csv"
    return len(log.read_text().splitlines()) if log.exists() else 0


def finish(words, expected, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == expected, done.stderr
    return done


@pytest.fixture(scope="module")
def uninterrupted(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    done = finish([*command, "--out", str(out)], 0)
    assert f"{STEPS}/{STEPS}" in done.stderr
    assert "model.safetensors" in done.stdout
    return out


def small_files():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_whatever_stops_a_run_resuming_gives_the_same_weights(command, uninterrupted, tmp_path):
    out = tmp_path / "run"
    words = [*command, "--out", str(out), "--resume"]
    rng = np.random.default_rng(0)

    def start():
        return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    # kill -9 before there is a checkpoint of any training
    process = start()
    wait_for(lambda: lines(out) >= 2, process, "the first step")
    process.kill()
    process.communicate()

    # a disk that is full (here: files may not be longer than 1 MB)
    full = finish(words, 1, preexec_fn=small_files)
    assert re.search(r"no room to write .*step-00000\d; make room.*--resume", full.stderr)
    assert "Traceback" not in full.stderr
    good = find_latest(out)
    load(good)

    # kill -9 at a random moment of a step
    process = start()
    seen = lines(out)
    wait_for(lambda: lines(out) > max(seen, 3), process, "another step")
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    process.communicate()
    load(find_latest(out))

    # kill -9 while a checkpoint is written
    process = start()
    wait_for(lambda: list(out.glob("checkpoints/.writing-*")), process, "a checkpoint")
    process.kill()
    process.communicate()
    load(find_latest(out))

    # Ctrl-C
    process = start()
    seen = lines(out)
    wait_for(lambda: lines(out) > seen or process.poll() == 0, process, "another step")
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, errors
    stopped = re.search(r"stopped after step (\d+) of 9, which is saved", errors)
    assert stopped, errors
    assert load(find_latest(out)).step == int(stopped[1])

    finish([*MINIMASK, "train", "--out", str(out), "--resume"], 0)  # the settings are in the folder
    for name in ("model", "optimizer", "ema"):
        ours, other = (load(find_latest(run)).arrays[name] for run in (out, uninterrupted))
        for key, array in other.items():
            np.testing.assert_array_equal(ours[key], array, err_msg=key)
    final = [(run / "model.safetensors").read_bytes() for run in (out, uninterrupted)]
    assert final[0] == final[1]
    assert [p.name for p in out.rglob(".*")] == [".lock"]
    assert lines(out) == lines(uninterrupted) == STEPS + 1


@pytest.fixture
def minimask(capsys, monkeypatch):
    """Run a command in this process; gives the exit code and what it printed."""

    def go(*words):
        with pytest.raises(SystemExit) as ended:
            make_app()(args=["train", *map(str, words)], prog_name="minimask")
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return go


def test_another_run_is_not_written_over(minimask, uninterrupted, coco, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.name != ".lock"}
    code, _, error = minimask("--recipe", "demo", "--out", uninterrupted)
    assert code == 1
    assert "already holds a run (9 of 9 steps done): continue it with --resume" in error
    code, _, error = minimask("--lr", "0.5", "--out", uninterrupted, "--resume")
    assert code == 1
    assert "--lr: 0.001 there, 0.5 here" in error
    assert before == {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p in before}


def test_resuming_a_finished_run_says_so(minimask, uninterrupted):
    code, _, error = minimask("--out", uninterrupted, "--resume")
    assert code == 0
    assert "all 9 steps were already done" in error


def test_a_run_can_be_opened_again(uninterrupted):
    from minimask.train import open_run

    final, newest = open_run(uninterrupted), open_run(find_latest(uninterrupted))
    assert final.step == newest.step == STEPS
    assert final.model.classes == ("circle", "square", "triangle", "star")
    for name, array in final.model.state_dict().items():
        np.testing.assert_array_equal(array, newest.model.state_dict()[name])
    with pytest.raises(ValueError, match="damaged"):
        (uninterrupted / "metrics.json").rename(uninterrupted / "kept.json")
        content = (uninterrupted / "model.safetensors").read_bytes()
        try:
            (uninterrupted / "model.safetensors").write_bytes(content[:1000])
            open_run(uninterrupted)
        finally:
            (uninterrupted / "model.safetensors").write_bytes(content)
            (uninterrupted / "kept.json").rename(uninterrupted / "metrics.json")


def test_checkpoint_of_another_model(minimask, uninterrupted, coco, tmp_path):
    words = ["--annotations", coco / "instances.json", "--images", coco, "--out", tmp_path / "a"]
    weights = uninterrupted / "model.safetensors"
    code, _, error = minimask(*words, "--weights", weights, "--model", "maskrcnn_resnet18_fpn")
    assert code == 1
    assert "do not fit" in error or "does not fit" in error
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "which images? Give --annotations FILE and --images FOLDER"),
        (
            ["--recipe", "demos"],
            2,
            "--recipe: expected one of demo, nuclei, sticks, finetune, got 'demos'",
        ),
        (["--recipe", "nuclei"], 2, "which images?"),
        (["--data", "shapes", "--annotations", "a.json"], 2, "exclude each other"),
        (["--data", "shapes", "--anchors", "8,x"], 2, "--anchors: expected whole numbers"),
        (["--data", "shapes", "--size", "64", "--min-size", "32"], 2, "--size stands for"),
        (["--data", "shapes", "--batch", "0"], 2, "--batch: expected a number of at least 1"),
        (["--data", "shapes", "--augment", "spin"], 2, "--augment: expected one of flip"),
        (["--data", "shapes", "--classes", "circle,cube"], 1, "no shape 'cube'"),
        (["--data", "shapes", "--model", "yolo"], 1, "'yolo' is none of"),
        (["--data", "shapes", "--option", "fpn_chanels=8"], 1, "did you mean 'fpn_channels'"),
        (["--data", "shapes", "--weights", "no.pth"], 1, "no.pth"),
        (["--annotations", "no.json", "--images", "."], 1, "no.json"),
        (["--data", "foldr", "--images", "."], 2, "did you mean 'folder'"),
        (["--data", "folder"], 2, "--data folder needs --images"),
        (["--data", "folder", "--images", "no"], 1, "no: no such folder"),
        (["--data", "folder", "--images", "."], 1, "expected folders ID/images/ID.png"),
        (["--data", "folder", "--images", ".", "--annotations", "a"], 2, "exclude each other"),
        (["--data", "folder", "--images", ".", "--shapes-size", "64"], 2, "exclude each other"),
        (["--recipe", "demo", "--images", "."], 2, "--images and --data shapes exclude"),
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_nothing(minimask, tmp_path, words, code, message):
    ended, _, error = minimask(*words, "--out", tmp_path / "run")
    assert ended == code, error
    assert message in error
    assert "Traceback" not in error
    assert "bug" not in error
    assert not (tmp_path / "run").exists()


def test_training_on_mask_folders(minimask, tmp_path):
    from minimask.train import open_run

    folders, out = make_folders(tmp_path / "cells"), tmp_path / "run"
    words = ["--data", "folder", "--images", folders, "--classes", "cell"]
    small = ["--size", 64, "--anchors", "8,16,32,48,64", "--batch", 1, "--warmup", 0, "--quiet"]
    small += ["--option", "fpn_channels=16", "--option", "box_head_width=32"]
    code, _, error = minimask(*words, "--steps", 1, *small, "--val-images", folders, "--out", out)
    assert code == 0, error
    assert len((out / "log.csv").read_text().splitlines()) == 2
    run = open_run(out)
    assert run.model.classes == ("cell",)
    assert (run.settings.data.data, run.settings.data.images) == ("folder", str(folders))
    code, _, error = minimask("--out", out, "--resume")
    assert code == 0, error
    assert "were already done" in error


def test_unreadable_images_are_named(minimask, coco, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in coco.glob("*.png"):
        (images / path.name).write_bytes(path.read_bytes()[:200])
    words = ["--annotations", coco / "instances.json", "--images", images, "--steps", 2]
    code, _, error = minimask(*words, "--out", tmp_path / "run")
    assert code == 1
    assert re.search(r"00000\d\.png", error)
    assert "Traceback" not in error


def test_unknown_errors_are_called_bugs(minimask, monkeypatch, tmp_path):
    def broken(given):
        raise KeyError("x")

    monkeypatch.setattr(train_command, "run", broken)
    code, _, error = minimask("--out", tmp_path / "run")
    assert code == 1
    assert "unexpected KeyError: 'x'; this is a bug in minimask" in error
    with pytest.raises(KeyError):
        make_app(debug=True)(args=["train", "--out", str(tmp_path / "run")])


def test_help_explains_the_losses_and_the_defaults(minimask):
    from minimask.train.settings import RunSettings

    code, text, _ = minimask("--help")
    assert code == 0
    plain = " ".join(text.replace("│", " ").split())
    for words in ("ln 2 = 0.69", "ln(K + 1)", "obj:", "mask:", "--resume", "minutes on a laptop"):
        assert words in plain
    flat = RunSettings.of({"data": "shapes"}).flat()
    for name in ("steps", "batch", "lr", "warmup", "clip", "checkpoint_every", "keep", "pictures"):
        option = "--" + name.replace("_", "-")
        said = re.search(rf"{option} .*?Default: ([\d.]+)\.", plain)
        assert said, option
        assert float(said[1]) == flat[name], option


def test_help_is_fast_and_numpy_is_not_loaded_before_its_settings():
    code = (
        "import sys, minimask.tools.cli as cli; cli.make_app();"
        "heavy = {'numpy', 'numba', 'matplotlib', 'PIL', 'pycocotools'} & sys.modules.keys();"
        "assert not heavy, heavy"
    )
    finish([sys.executable, "-c", code], 0)


def test_threads_reach_the_libraries(tmp_path):
    code = (
        "from minimask.system import runtime as e; e.prepare(); e.use_threads(1);"
        "import numba, threadpoolctl, numpy;"
        "pools = threadpoolctl.threadpool_info();"
        "assert numba.config.NUMBA_NUM_THREADS == 1;"
        "assert all(p['num_threads'] == 1 for p in pools), pools"
    )
    finish([sys.executable, "-c", code], 0)
    with pytest.raises(RuntimeError, match="before NumPy"):
        from minimask.system import runtime

        runtime.use_threads(1)
