"""Whole runs of a model so small that they take a moment."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import signal

import numpy as np
import pytest

from minimask.autograd import Tensor, ops
from minimask.train import checkpoint
from minimask.train.checkpoint import DiskFull, find_latest, load, steps_saved
from minimask.train.diagnose import TrainingError
from minimask.train.folder import FolderInUse
from minimask.train.interrupt import StopRequest
from minimask.train.log import LOSSES
from minimask.train.loop import Interrupted, train
from minimask.train.progress import Progress
from minimask.train.run import open_run
from minimask.train.settings import TrainSettings
from minimask.train.step import Trainer


def settings(**changes):
    return TrainSettings(**{"steps": 12, "batch": 3, "warmup": 2, "checkpoint_every": 5, **changes})


def weights(run):
    from safetensors.numpy import load_file

    return load_file(run / "model.safetensors")


def same(run_a, run_b):
    a, b = (run / "model.safetensors" for run in (run_a, run_b))
    return a.read_bytes() == b.read_bytes()


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(tiny, noise, tmp_path):
    def go(name, model=None, resume=False, val=None, **changes):
        out = tmp_path / name
        model = model or tiny()
        train(
            model,
            noise(),
            settings(**changes),
            out,
            val=val,
            resume=resume,
            progress=False,
        )
        return out

    return go


def test_what_a_run_leaves(run, noise, tiny):
    out = run("a", val=noise(5, seed=1), eval_every=4, pictures=2)
    steps = rows(out / "log.csv")
    assert [int(r["step"]) for r in steps] == list(range(1, 13))
    parts = [sum(float(r[name] or 0) for name in LOSSES) for r in steps]  # "": not of this model
    np.testing.assert_allclose(parts, [float(r["loss"]) for r in steps], rtol=1e-4)
    assert all(float(r["images_per_second"]) > 0 and float(r["memory_mb"]) > 10 for r in steps)
    assert [int(r["step"]) for r in rows(out / "ap.csv")] == [4, 8, 12]
    assert float(rows(out / "ap.csv")[-1]["box_AP"]) == pytest.approx(1.0)  # Tiny is always right
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["step"], metrics["images"], metrics["box"]["AP50"]) == (12, 5, 1.0)
    pictures = {f"step-{s:06d}-image-{i}.png" for s in (4, 8, 12) for i in (0, 1)}
    assert {p.name for p in (out / "pictures").iterdir()} == pictures
    assert (out / "losses.png").stat().st_size > 1000 < (out / "ap.png").stat().st_size
    # the newest two, and the first of the best ones
    assert steps_saved(out) == [4, 10, 12]
    assert json.loads((out / "settings.json").read_text())["train"]["steps"] == 12
    assert not [p.name for p in out.rglob(".*") if p.name != ".lock"]
    np.testing.assert_array_equal(
        weights(out)["weight"], load(find_latest(out)).arrays["model"]["weight"]
    )


def test_it_learns(run):
    losses = [float(r["loss"]) for r in rows(run("a", steps=200, lr=0.02) / "log.csv")]
    assert np.mean(losses[-20:]) < 0.1 * np.mean(losses[:5])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "schedule": "step", "clip": 0.0, "augment": ("flip", "scale")},
        {"ema": 0.9, "accumulate": 2},
    ],
)
def test_one_seed_one_result_and_resuming_changes_nothing(run, tiny, changes, monkeypatch):
    first, second = run("first", **changes), run("second", **changes)
    assert same(first, second)
    assert not same(first, run("other", seed=1, **changes))
    advance = Trainer.advance
    for stop in (1, 4, 5, 6, 11):
        name = f"stopped-{stop}"

        def stopping(self, batches, stop=stop):
            if self.step == stop:
                raise RuntimeError("power cut")
            return advance(self, batches)

        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
            patch.setattr(Trainer, "advance", stopping)
            run(name, **changes)
        fresh = tiny()
        if stop >= 5:  # nothing but the checkpoint may matter
            fresh.weight.data[...] = np.nan
        out = run(name, fresh, resume=True, **changes)
        assert same(first, out)
        assert [r["loss"] for r in rows(out / "log.csv")] == [
            r["loss"] for r in rows(first / "log.csv")
        ]


def test_a_run_killed_in_its_last_evaluation_is_evaluated_again(run, noise, monkeypatch):
    import minimask.evaluate

    val = noise(3, seed=1)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        patch.setattr(
            minimask.evaluate,
            "evaluate",
            lambda *a, **o: (_ for _ in ()).throw(RuntimeError("power cut")),
        )
        run("a", val=val)
    out = run("a", val=val, resume=True)
    assert [int(r["step"]) for r in rows(out / "ap.csv")] == [12]
    assert (out / "metrics.json").exists()


def test_a_finished_run_is_left_alone(run):
    out = run("a")
    before = (out / "model.safetensors").stat().st_mtime_ns
    run("a", resume=True)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(FolderInUse, match=r"12 of 12 steps done.*--resume"):
        run("a")


def test_every_batch_has_its_own_random_numbers(run, tiny):
    seen = []

    class Records(tiny):
        def losses(self, images, targets, *, rng):
            seen.append(rng.random())
            return super().losses(images, targets, rng=rng)

    run("a", Records(), seed=3, accumulate=2, steps=4)
    assert seen == [np.random.default_rng([3, i]).random() for i in range(8)]


def test_accumulating_is_a_larger_batch(tiny, noise, tmp_path):
    """With the noise off, two batches of 3 give the gradient of one of 6."""

    class Quiet(tiny):
        def losses(self, images, targets, *, rng):
            return super().losses(images, targets, rng=np.random.default_rng(0))

    results = []
    for batch, accumulate in [(6, 1), (3, 2)]:
        model = Quiet()
        out = tmp_path / str(batch)
        # not AdamW, which takes gradients of any scale for the same
        chosen = settings(batch=batch, accumulate=accumulate, steps=4, optimizer="sgd", clip=0.0)
        train(model, noise(None), chosen, out, progress=False)
        results.append(model.weight.data)
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_averaged_weights_are_evaluated_and_kept(run, tiny, noise):
    model = tiny()
    seen = []
    predict = model.predict
    model.predict = lambda images, **o: (seen.append(model.weight.data.copy()), predict(images))[1]
    out = run("a", model, ema=0.99, lr=0.1, val=noise(2, seed=1))
    np.testing.assert_array_equal(seen[-1], weights(out)["weight"])
    assert np.abs(model.weight.data - weights(out)["weight"]).max() > 1e-3


def test_nan_names_the_operation_and_the_images_and_keeps_the_last_good_weights(run, tiny):
    class Breaks(tiny):
        def losses(self, images, targets, *, rng):
            losses = super().losses(images, targets, rng=rng)
            if self.seen > 6 * 3:  # from the 7th step on
                with np.errstate(all="ignore"):
                    bad = ops.log(self.weight * 0.0)
                    losses["loss_mask"] = (bad * 0.0).sum()
            return losses

    with pytest.raises(TrainingError) as caught, np.errstate(all="ignore"):
        run("a", Breaks())
    message = str(caught.value)
    assert message.startswith("step 7: loss_mask is nan. First bad operation: Log")
    assert re.search(r"Images: image (\d+) \(id \1\), image \d+ .id \d+., image", message)
    assert "step-000005" in message
    assert "lower --lr" in message


def test_nan_in_a_gradient_alone_is_found_before_it_reaches_the_weights(run, tiny):
    class Breaks(tiny):
        def losses(self, images, targets, *, rng):
            losses = super().losses(images, targets, rng=rng)
            zero = self.bias - Tensor(self.bias.data)
            losses["loss_mask"] = ops.sqrt(zero * zero).sum()  # the slope at 0 is infinite
            return losses

    model = Breaks()
    before = model.weight.data.copy()
    with (
        pytest.raises(TrainingError, match=r"their gradients are not.*backward"),
        np.errstate(all="ignore"),
    ):
        run("a", model)
    np.testing.assert_array_equal(model.weight.data, before)


def test_full_disk_in_the_middle_of_a_run(run, tmp_path, monkeypatch):
    write = checkpoint.write_to_disk

    def full(path, content):
        if "step-000010" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(DiskFull, match=r"step-000005.*--resume"):
        patch.setattr(checkpoint, "write_to_disk", full)
        run("a")
    assert steps_saved(tmp_path / "a") == [0, 5]
    assert same(run("a", resume=True), run("b"))


def test_full_disk_before_the_first_step(run, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_to_disk", full)
    with pytest.raises(DiskFull, match=r"no room to write .* no checkpoint yet"):
        run("a")


def test_ctrl_c_saves_and_resuming_goes_on(run, tmp_path, monkeypatch):
    advance = Trainer.advance

    def pressing(self, batches):
        if self.step == 6:
            signal.raise_signal(signal.SIGINT)
        return advance(self, batches)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=r"after step 7 of 12"):
        patch.setattr(Trainer, "advance", pressing)
        run("a")
    assert steps_saved(tmp_path / "a")[-1] == 7
    assert same(run("a", resume=True), run("b"))


def test_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    said = []
    with pytest.raises(KeyboardInterrupt), StopRequest(said.append) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested is signal.SIGINT
        assert "again" in said[0]
        signal.raise_signal(signal.SIGINT)
    with StopRequest() as stop, pytest.raises(KeyboardInterrupt), stop.at_once():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_checkpoint_of_another_model_is_refused(run, tiny, tmp_path):
    run("a")
    with pytest.raises(ValueError, match=r"another model .width: 4 there, 5 here"):
        run("a", tiny(width=5), resume=True)


def test_classes_must_agree(tiny, noise, tmp_path):
    data = noise()
    data.classes = ("thing", "other")
    with pytest.raises(ValueError, match="training data has the classes thing, other, the model"):
        train(tiny(), data, settings(), tmp_path / "a", progress=False)
    with pytest.raises(ValueError, match="the validation data has thing, other"):
        train(tiny(), noise(), settings(), tmp_path / "a", val=data, progress=False)
    assert not (tmp_path / "a").exists()


def test_crowd_regions_are_no_targets(run, tiny, noise, tmp_path):
    class Crowded(noise):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            sample.crowd = np.ones(1, bool)
            return sample

    class Counts(tiny):
        def losses(self, images, targets, *, rng):
            assert all(len(t.boxes) == len(t.labels) == len(t.masks) == 0 for t in targets)
            return super().losses(images, targets, rng=rng)

    train(Counts(), Crowded(), settings(steps=2), tmp_path / "a", progress=False)


def test_progress_shows_every_loss_in_plain_lines():
    stream = io.StringIO()
    row = dict.fromkeys(LOSSES, 0.25) | {
        "step": 3,
        "loss": 1.25,
        "lr": 1e-3,
        "images_per_second": 21.0,
        "memory_mb": 512.0,
    }
    with Progress(10, 2, stream) as progress:
        progress.update(row)
        progress.update(row | {"step": 4})  # too soon for another line
        progress.update(row | {"step": 10})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("3/10 ")
    for text in ("loss 1.250 = obj 0.250 rpn", "lr 1.0e-03", "21.0 images/s", "512 MB", "left"):
        assert text in lines[0]


def test_progress_in_a_terminal_is_two_lines():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    row = dict.fromkeys(LOSSES, 0.25) | {"loss": 1.25, "lr": 1e-3, "memory_mb": 512.0}
    with Progress(10, 2, stream) as progress:
        progress.say("a line that stays")
        progress.update(row | {"step": 10, "images_per_second": 21.0})
    text = stream.getvalue()
    for part in ("a line that stays\n", "10/10", "mask 0.250", "21.0 images/s | 512 MB"):
        assert part in text


def test_a_run_can_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no"):
        open_run(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"no run: it has no settings\.json"):
        open_run(tmp_path)
