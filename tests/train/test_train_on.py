"""Runs that train on, stop early, and look at their losses on validation images."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from minimask.train import TrainSettings, train
from minimask.train.checkpoint import load, steps_saved
from minimask.train.folder import FolderInUse
from minimask.train.loop import Run
from minimask.train.step import Trainer, learning_rate
from minimask.train.validation import MOST, validation_losses


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def weights(run, name="model"):
    from safetensors.numpy import load_file

    return load_file(run / f"{name}.safetensors")


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing takes longer than training here, and is tested elsewhere."""
    for name in ("loss_curves", "ap_curves"):
        monkeypatch.setattr(f"minimask.draw.{name}", lambda *paths: None)


@pytest.fixture
def go(tiny, noise, tmp_path, monkeypatch):
    """A run whose evaluations have the APs given, one after the other, by step."""

    def run(name, aps=None, resume=False, val=True, model=None, **changes):
        settings = TrainSettings(
            **{"steps": 12, "batch": 3, "warmup": 2, "checkpoint_every": 5, "pictures": 0} | changes
        )
        if aps is not None:
            monkeypatch.setattr("minimask.evaluate.evaluate", measured(aps))
        data = noise(5, seed=1) if val else None
        model = model or tiny()
        kept = {"resume": resume, "progress": False}
        return train(model, noise(), settings, tmp_path / name, val=data, **kept), model

    return run


def measured(aps):
    """An evaluation that looks up the AP of the weights' step in Tiny's count of images."""

    def evaluate(model, val, **options):
        from minimask.evaluate import Results

        ap = aps.get(int(model.seen) // 3, 0.5)
        box = {name: ap for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")}
        return Results(box, None, per_class={}, curves={}, images=5, objects=5, detections=5)

    return evaluate


# --- training on ----------------------------------------------------------------------------------


def test_a_finished_run_trains_on_with_the_schedule_of_the_longer_one(go, tmp_path):
    go("a")
    first = rows(tmp_path / "a" / "log.csv")
    go("a", resume=True, steps=20)
    out = tmp_path / "a"
    steps = rows(out / "log.csv")
    assert [int(r["step"]) for r in steps] == list(range(1, 21))
    assert steps[:12] == first
    longer = TrainSettings(steps=20, warmup=2)
    for row in steps[12:]:
        expected = learning_rate(longer, int(row["step"]) - 1)
        assert float(row["lr"]) == pytest.approx(expected, rel=1e-5)
    assert json.loads((out / "settings.json").read_text())["train"]["steps"] == 20
    assert json.loads((out / "metrics.json").read_text())["step"] == 20
    # what was there before is still there, under the name of its step
    assert json.loads((out / "metrics-step-000012.json").read_text())["step"] == 12
    assert not np.array_equal(weights(out)["weight"], weights(out, "model-step-000012")["weight"])


def test_training_on_does_not_depend_on_interruptions(go, tmp_path, monkeypatch):
    go("a")
    go("a", resume=True, steps=20)
    go("b")
    advance = Trainer.advance

    def stopping(self, batches):
        if self.step == 17:
            raise RuntimeError("power cut")
        return advance(self, batches)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Trainer, "advance", stopping)
        go("b", resume=True, steps=20)
    assert not (tmp_path / "b" / "metrics.json").exists()
    go("b", resume=True, steps=20)
    for name, array in weights(tmp_path / "a").items():
        np.testing.assert_array_equal(array, weights(tmp_path / "b")[name])


def test_a_kill_while_the_settings_change_loses_nothing(go, tmp_path, monkeypatch):
    from minimask.train import checkpoint, folder

    go("a")
    before = weights(tmp_path / "a")

    def killed(path, content):
        if path.name == folder.SETTINGS:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(checkpoint, "write_json", killed)
        go("a", resume=True, steps=20)
    go("a", resume=True)
    for name, array in weights(tmp_path / "a").items():
        np.testing.assert_array_equal(array, before[name])
    assert json.loads((tmp_path / "a" / "metrics.json").read_text())["step"] == 12


def test_fewer_steps_than_done_and_other_changes_are_refused(go, tmp_path):
    go("a")
    before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    with pytest.raises(FolderInUse, match="has 12 steps done, more than --steps 7: give more"):
        go("a", resume=True, steps=7)
    with pytest.raises(FolderInUse, match=r"--lr: 0\.001 there, 0\.1 here"):
        go("a", resume=True, steps=20, lr=0.1)
    assert before == {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}


def test_resuming_a_finished_run_keeps_its_last_evaluation(go, tmp_path):
    go("a", eval_every=5)
    before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    summary, model = go("a", resume=True, eval_every=5)
    assert summary["step"] == 12
    np.testing.assert_array_equal(model.weight.data, weights(tmp_path / "a")["weight"])
    assert before == {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}


# --- early stopping -------------------------------------------------------------------------------

APS = {2: 0.1, 4: 0.6, 6: 0.3, 8: 0.6, 10: 0.9, 12: 0.2}  # an equal AP is no better one


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_patience_ends_a_run_with_the_best_weights(go, tmp_path, ema):
    summary, model = go("a", APS, eval_every=2, patience=2, ema=ema)
    assert (summary["stopped_after"], summary["step"]) == (8, 4)
    assert summary["best"] == {"step": 4, "AP": 0.6} and summary["box"]["AP"] == 0.6
    out = tmp_path / "a"
    assert [int(r["step"]) for r in rows(out / "ap.csv")] == [2, 4, 6, 8]
    assert [int(r["step"]) for r in rows(out / "log.csv")] == list(range(1, 9))
    saved = load(out / "checkpoints" / "step-000004").arrays
    kept = saved["ema" if ema else "model"]
    np.testing.assert_array_equal(weights(out)["weight"], kept["weight"])
    np.testing.assert_array_equal(model.weight.data, saved["model"]["weight"])
    content = json.loads((out / "metrics.json").read_text())
    assert content["stopped_after"] == 8


def test_more_patience_goes_on_and_ends_with_the_last_weights(go, tmp_path):
    go("a", APS, eval_every=2, patience=2)
    assert go("a", APS, resume=True, eval_every=2, patience=2)[0]["stopped_after"] == 8
    summary, _ = go("a", APS, resume=True, eval_every=2, patience=3)
    assert summary["step"] == 12 and "stopped_after" not in summary
    assert summary["best"] == {"step": 10, "AP": 0.9}
    go("b", APS, eval_every=2, patience=3)
    for name, array in weights(tmp_path / "a").items():
        np.testing.assert_array_equal(array, weights(tmp_path / "b")[name])
    assert rows(tmp_path / "a" / "ap.csv") == rows(tmp_path / "b" / "ap.csv")


def test_a_kill_between_the_last_evaluation_and_the_end(go, tmp_path, monkeypatch):
    go("a", APS, eval_every=2, patience=2)

    def killed(self):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(Run, "_finish", killed)
        go("b", APS, eval_every=2, patience=2)
    summary, _ = go("b", APS, resume=True, eval_every=2, patience=2)
    assert (summary["stopped_after"], summary["step"]) == (8, 4)
    assert rows(tmp_path / "a" / "ap.csv") == rows(tmp_path / "b" / "ap.csv")
    np.testing.assert_array_equal(
        weights(tmp_path / "a")["weight"], weights(tmp_path / "b")["weight"]
    )


def test_patience_needs_evaluations(go, tmp_path):
    with pytest.raises(ValueError, match=r"--patience counts evaluations: add --eval-every"):
        TrainSettings(patience=2)
    with pytest.raises(ValueError, match="keep_best"):
        TrainSettings(patience=2, eval_every=2, keep_best=False)
    with pytest.raises(ValueError, match="needs validation data: add --val-annotations"):
        go("a", val=False, eval_every=2, patience=2)
    assert not (tmp_path / "a").exists()


def test_the_best_checkpoint_survives_a_long_wait(go, tmp_path):
    aps = {2: 0.9, **{step: 0.1 for step in range(4, 13, 2)}}
    go("a", aps, eval_every=2, patience=5, keep=1)
    assert 2 in steps_saved(tmp_path / "a")


# --- losses on validation images ------------------------------------------------------------------


def test_validation_losses_are_logged_at_every_evaluation(go, tmp_path):
    go("a", eval_every=5)
    found = rows(tmp_path / "a" / "val_losses.csv")
    assert [int(r["step"]) for r in found] == [5, 10, 12]
    parts = [sum(float(v or 0) for n, v in r.items() if n.startswith("loss_")) for r in found]
    np.testing.assert_allclose(parts, [float(r["loss"]) for r in found], rtol=1e-4)


def test_validation_losses_change_nothing_and_repeat(tiny, noise):
    model, val = tiny(), noise(50, seed=1)
    before = model.state_dict()
    model.eval()
    first = validation_losses(model, val, batch=3, seed=5)
    assert first == validation_losses(model, val, batch=3, seed=5)
    assert first != validation_losses(model, val, batch=3, seed=6)
    assert not model.training
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(p.grad is None for p in model.parameters())


def test_validation_losses_look_at_few_images(tiny, noise):
    class Counts(noise):
        seen = 0

        def __getitem__(self, index):
            self.seen += 1
            return super().__getitem__(index)

    for limit, expected in ((0, MOST), (7, 7), (1000, MOST)):
        val = Counts(60)
        validation_losses(tiny(), val, batch=4, seed=0, limit=limit)
        assert val.seen == expected


def test_norms_use_what_they_have_collected():
    import minimask as mm
    from minimask.data.shapes import Shapes

    model = mm.models.maskrcnn_laptop(
        ["circle"], stem_channels=8, fpn_channels=8, box_head_width=8,
        mask_head_channels=(8,), mask_predictor_channels=8,
    )  # fmt: skip
    val = Shapes(2, 64, classes=["circle"])
    before = {name: array.copy() for name, array in model.named_buffers()}
    one = validation_losses(model, val, batch=2, seed=0)
    for name, array in model.named_buffers():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert set(one) == {
        "loss", "loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg",
        "loss_mask",
    }  # fmt: skip
    # of an image without masks the mask branch has no loss: it is left out
    bare = [val[0], val[1]]
    for sample in bare:
        sample.masks = None
    assert validation_losses(model, bare, batch=2, seed=0) == {}
