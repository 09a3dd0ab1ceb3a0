"""`minimask profile` explains a step of every kind of model, and wrong use in a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from runs import invoke, make_run

import minimask.tools.profile
from minimask.tools.profile import Machine


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine that needs no measuring."""
    made_up = Machine(matrix_rate=100e9, bandwidth=10e9, threads=2)
    monkeypatch.setattr(minimask.tools.profile, "matrix_rate", lambda: 90e9)
    monkeypatch.setattr(minimask.tools.profile, "measure_machine", lambda rate_before: made_up)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "mine", batch=2)


def read(path):
    return json.loads(path.read_text())


def stages_of(content) -> set[str]:
    return {row.get("in", row["name"]) for row in content["stages"]}


def test_without_a_model(tmp_path) -> None:
    out, trace = tmp_path / "new" / "profile.json", tmp_path / "trace.json"
    result = invoke("profile", "--repeat", 1, "--json", out, "--chrome-trace", trace, "--top", 2)
    assert result.exit_code == 0, result.output
    assert "training step of maskrcnn_laptop, random weights, 8 x 128 x 128" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    for words in ("by stage", "by operation", "the 2 slowest layers", "step without the profile"):
        assert words in result.stdout
    assert "100 GFLOP/s" in result.stdout and "peak memory of this process" in result.stdout
    content = read(out)
    for rows in (content["stages"], content["operations"]):
        times = [row["forward_ms"] + row["backward_ms"] for row in rows]
        assert sum(times) == pytest.approx(content["total_ms"])
    assert {"backbone layer4", "mask loss", "optimizer", "the profile itself"} <= stages_of(content)
    assert content["mode"] == "train" and content["kept_bytes"] > 1e6
    assert len(content["ms_with_profile"]) == len(content["ms_without_profile"]) == 1
    assert {event["ph"] for event in read(trace)["traceEvents"]} == {"X"}


def test_weights_of_a_run_on_a_photograph(run, tmp_path) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "profile.json"
    pixels = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    words = ("profile", photo, "--repeat", 1, "--quiet", "--json", out, "--force", "--weights")
    result = invoke(*words, run, "--infer", "--size", "64x96")
    assert result.exit_code == 0, result.output
    assert "prediction of maskrcnn_laptop" in result.stdout and "1 x 64 x 96" in result.stdout
    content = read(out)
    assert content["mode"] == "infer" and content["kept_bytes"] == 0
    assert not {"optimizer", "backward", "RPN loss"} & stages_of(content)
    for weights in (run / "model.safetensors", next((run / "checkpoints").iterdir())):
        result = invoke(*words, weights)
        assert result.exit_code == 0, result.output
        assert "2 x 64 x 64" in result.stdout  # the run's batch, the model's sizes, padded
        assert {"optimizer", "mask loss"} <= stages_of(read(out))


def test_an_untrained_network_finds_something_to_measure(tmp_path) -> None:
    out = tmp_path / "profile.json"
    words = ("--model", "maskrcnn_resnet18_fpn", "--infer", "--size", "64x64", "--json", out)
    result = invoke("profile", *words, "--repeat", 1, "--option", "fpn_channels=16")
    assert result.exit_code == 0, result.output
    assert "score threshold" in result.stdout and "mask head" in stages_of(read(out))
    boxes_only = ("--model", "fasterrcnn_resnet18_fpn", "--size", 64, "--option", "fpn_channels=16")
    result = invoke("profile", *boxes_only, "--repeat", 1, "--json", out, "--force")
    assert result.exit_code == 0, result.output
    assert "1 x 64 x 96" in result.stdout and "mask head" not in stages_of(read(out))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "huge"], "--size: expected pixels, such as 800"),
        (["--size", "64x"], "--size: expected pixels"),
        (["--size", 16], "--size: expected at least 32 pixels"),
        (["--repeat", 0], "--repeat: expected at least 1"),
        (["--batch", 0], "--batch: expected at least 1"),
        (["--threads", 0], "--threads: expected at least 1"),
        (["--top", -1], "--top: expected at least 0"),
        (["--recipe", "cake"], "--recipe: expected one of demo, nuclei"),
        (["--model", "maskrcnn"], "--model: expected one of mask_rcnn"),
        (["--model", "maskrcnn_laptop", "--recipe", "demo"], "a recipe has its own model"),
        (["--option", "norm"], "--option: expected NAME=VALUE"),
        (["--option", "fpn_channel=8"], "did you mean 'fpn_channels'"),
        (["--weights", "x", "--option", "norm=batch"], "--option is for random weights"),
        (["--json", "."], "--json . is a folder"),
        (["--json", "new", "--chrome-trace", "new"], "name two files"),
    ],
)
def test_wrong_use(words, said) -> None:
    result = invoke("profile", *words)
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1


def test_what_is_not_there_or_there_already(tmp_path) -> None:
    existing = tmp_path / "profile.json"
    existing.write_text("mine")
    for words, said in (
        (["--json", existing], "exists already"),
        (["--chrome-trace", existing], "exists already"),
        (["--trace", existing], "exists already"),  # the older name
        (["--weights", tmp_path / "nowhere"], "no such run or weights"),
        ([tmp_path / "nothing.png", "--model", "maskrcnn_laptop"], "no such file"),
    ):
        result = invoke("profile", *words)
        assert result.exit_code == 1 and said in result.stderr, result.output
    assert existing.read_text() == "mine"
