"""A whole run: train, log, evaluate, save, and go on after whatever stopped it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.system.device import count_transfers, on_gpu
from minimask.train import checkpoint, folder, log, stages
from minimask.train.agree import check_classes, check_keypoints, check_model
from minimask.train.diagnose import TrainingError, explain_nonfinite
from minimask.train.interrupt import StopRequest
from minimask.train.pictures import draw_curves, draw_predictions
from minimask.train.progress import Progress, memory_mb
from minimask.train.settings import RunSettings, TrainSettings
from minimask.train.step import NonFinite, Trainer
from minimask.train.validation import validation_losses

if TYPE_CHECKING:
    from minimask.data.sample import Dataset, Sample
    from minimask.evaluate import Results, SemanticResults


class Interrupted(KeyboardInterrupt):
    """Ctrl-C (or SIGTERM); the run was saved and can be resumed."""


def train(
    model: Any,
    dataset: Dataset,
    settings: RunSettings | TrainSettings,
    out: str | Path,
    *,
    val: Dataset | None = None,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train `model` on `dataset` and leave everything about it in the folder `out`.

    The same seed, machine and thread count give the same weights bit for bit, whether the run
    goes through at once or is killed and resumed any number of times.

    Args:
        model: of `minimask.models`, with the weights to start from.
        dataset: images to learn from.
        settings: how.
        out: a folder that does not exist yet; with `resume`, that of a run with these settings.
        val: images to be checked on; None: no evaluation.
        resume: go on after the folder's newest checkpoint, if there is one.  `steps` may be more
            than before, to train on: from here the rate is that of a run of so many steps.
        progress: show a progress line on stderr.

    Returns:
        What metrics.json holds: step, seconds, images_per_second, memory_mb, and with `val` the
        metrics of the final weights, then also as a `table` for a terminal.  `best` is the
        evaluation with the highest AP or mean IoU; a run that `patience` ended has its weights,
        and says with `stopped_after` how far it went.

    Raises:
        FolderInUse: `out` holds another run, or other files.
        TrainingError: a loss became NaN or infinite.
        DiskFull: no room to write.
        Interrupted: Ctrl-C; the run was saved first.
        ValueError: model and data have different classes or keypoints; a checkpoint of another
            model.
    """
    whole = settings if isinstance(settings, RunSettings) else RunSettings(train=settings)
    path = Path(out)
    check_classes(model, dataset, val)
    stages.check(model, whole.train.stages, whole.train.checkpoint_stages)
    check_keypoints(model, dataset, val)
    if whole.train.patience and val is None:
        raise ValueError(
            "--patience waits for a better AP, which needs validation data: add --val-annotations "
            "and --val-images"
        )
    folder.check(path, whole, resume=resume)
    with checkpoint.room_needed(path), folder.locked(path):
        folder.prepare(path, whole)
        return Run(model, dataset, whole.train, path, val, progress).go()


class Run:
    """One process's share of a run; `go` does it all."""

    def __init__(
        self,
        model: Any,
        dataset: Dataset,
        settings: TrainSettings,
        out: Path,
        val: Dataset | None,
        progress: bool,
    ) -> None:
        self.model, self.dataset, self.val = model, dataset, val
        self.settings, self.out = settings, out
        self.trainer = Trainer(model, settings)
        self.seconds = 0.0  # of training, all processes together
        self.evaluated = 0  # step of the last evaluation
        self.on_gpu = on_gpu(next(iter(model.named_parameters()))[1].data)
        self.advanced = 0  # steps this process has done
        self.best: dict[str, Any] | None = None  # {"step", "AP" or "mean IoU"}
        self.stopped_after: int | None = None  # the step at which patience ended
        self.done = self._finished()
        self._restore()
        self.progress = Progress(settings.steps, self.trainer.step, show=progress)
        self.stop = StopRequest(self.progress.say)

    def go(self) -> dict[str, Any]:
        """Train to the last step, then evaluate."""
        with self.stop, self.progress:
            if self.done is not None:
                self.progress.say(f"{self.out}: {_already_done(self.done)}")
                return self.done
            if self.trainer.step == 0:
                self._save()  # a disk that is full or read-only shows now, not after an hour
            with contextlib.ExitStack() as stack:
                columns = (*log.STEP_COLUMNS, *(["stage"] if self.settings.stages else []))
                self.log = stack.enter_context(log.CsvLog(self.out / "log.csv", columns))
                self._train(stack.enter_context(contextlib.closing(self._batches())))
            return self._finish()

    def _train(self, batches: Iterator[list[list[Sample]]]) -> None:
        if self._evaluation_due() and self.evaluated < self.trainer.step:
            self._evaluate(self.settings.val_limit)  # a kill came in between
            if self._out_of_patience():
                return
        before = time.monotonic()
        for batch in batches:
            if stage := self.trainer.enter_stage():
                self.progress.say(stage)
            row = self._advance(batch)
            now = time.monotonic()
            self._note(row, now - before)
            step = self.trainer.step
            due = self._evaluation_due()
            if due or step % self.settings.checkpoint_every == 0 or step == self.settings.steps:
                self._save()
            if self.stop.requested:
                self._interrupted()
            if due:
                self._evaluate(self.settings.val_limit)
                if self._out_of_patience():
                    return
            before = time.monotonic() if due else now

    def _batches(self) -> Generator[list[list[Sample]], None, None]:
        """For every step left, the batches whose gradients are added up."""
        from minimask.data.augmentations import augmentation
        from minimask.data.loader import Loader

        count, settings = self.settings.accumulate, self.settings
        loader = Loader(
            self.dataset,
            settings.batch,
            augmentation(settings.augment),
            settings.seed,
            start_step=self.trainer.step * count,
            total_steps=settings.steps * count,
        )
        with loader:
            one = iter(loader)
            for _ in range(self.trainer.step, settings.steps):
                yield [next(one) for _ in range(count)]

    def _advance(self, batch: list[list[Sample]]) -> dict[str, float]:
        try:
            if not self.on_gpu or self.advanced != 1:
                return self.trainer.advance(batch)
            with count_transfers() as counted:  # the first step makes what later ones find
                row = self.trainer.advance(batch)
            self.progress.say(f"in a step {counted}")
            return row
        except NonFinite as bad:
            reason = explain_nonfinite(
                self.model, batch[bad.batch], bad.index, self.settings.seed, bad.losses
            )
            raise TrainingError(
                f"step {self.trainer.step + 1}: {reason} Nothing was overwritten: the last good "
                f"checkpoint is {checkpoint.find_latest(self.out)}. As resuming repeats this step "
                "exactly, start anew with a lower --lr or a longer --warmup."
            ) from bad
        finally:
            self.advanced += 1

    def _note(self, row: dict[str, float], seconds: float) -> None:
        """One line in log.csv and on the screen."""
        self.seconds += seconds
        images = self.settings.batch * self.settings.accumulate
        record: dict[str, float | int | str] = {
            "step": self.trainer.step,
            **row,
            "images_per_second": images / seconds,
            "memory_mb": memory_mb(),
            "seconds": self.seconds,
            **({"stage": self.trainer.stages.name} if self.trainer.stages else {}),
        }
        self.log.write(record)
        self.progress.update(record)

    def _save(self) -> None:
        """Write a checkpoint; the log lines it counts on reach the disk first."""
        if self.trainer.step:
            self.log.to_disk()
        checkpoint.save(
            self.out,
            self.trainer.step,
            self.trainer.arrays(),
            {
                "model": self.model.config,
                "seconds": self.seconds,
                "evaluated": self.evaluated,
                "best": self.best,
            },
            keep=self.settings.keep,
            keep_steps=[self.best["step"]] if self.best and self.settings.keep_best else [],
        )

    def _restore(self) -> None:
        """Continue after the newest checkpoint, if there is one; of a finished run, its last."""
        latest = checkpoint.find_latest(self.out)
        if self.done is not None:
            latest = checkpoint.find(self.out, self.done["step"]) or latest
        if latest is not None:
            saved = checkpoint.load(latest)
            check_model(saved, self.model)
            self.trainer.restore(saved.step, saved.arrays)
            self.seconds = saved.state["seconds"]
            self.evaluated = saved.state["evaluated"]
            self.best = saved.state["best"]
        if self.done is None:
            log.cut_after(self.out / "log.csv", self.trainer.step)
            for name in ("ap.csv", "iou.csv", "val_losses.csv"):
                log.cut_after(self.out / name, self.evaluated)

    def _interrupted(self) -> None:
        self._save()
        raise Interrupted(
            f"stopped after step {self.trainer.step} of {self.settings.steps}, which is saved; "
            "continue with --resume"
        )

    def _evaluation_due(self) -> bool:
        """Whether this step is followed by an evaluation; the last step's is `_finish`'s."""
        step, every = self.trainer.step, self.settings.eval_every
        return (
            self.val is not None
            and bool(every)
            and 0 < step < self.settings.steps
            and step % every == 0
        )

    def _evaluate(self, limit: int) -> Results | SemanticResults:
        """Measure the present weights: a line in ap.csv and val_losses.csv, pictures, curves."""
        step = self.trainer.step
        results, losses = self._measure(limit, pictures=True)
        if losses:
            with log.CsvLog(self.out / "val_losses.csv", log.VALIDATION_COLUMNS) as table:
                table.write({"step": step, **losses})
        with log.CsvLog(self.out / results.log_file, results.columns) as table:
            table.write({"step": step, **results.row()})
        draw_curves(self.out)
        self._remember(step, results)
        return results

    def _measure(
        self, limit: int, pictures: bool
    ) -> tuple[Results | SemanticResults, dict[str, float]]:
        """Metrics and losses of the present weights on the validation data."""
        from minimask.evaluate import evaluate

        assert self.val is not None
        step, settings = self.trainer.step, self.settings
        try:
            with self.stop.at_once(), self.trainer.weights_to_evaluate():
                results = evaluate(self.model, self.val, limit=limit or None, progress=False)
                if not pictures:
                    return results, {}
                folder = self.out / "pictures"
                draw_predictions(self.model, self.val, settings.pictures, folder, step)
                return results, validation_losses(
                    self.model,
                    self.val,
                    batch=settings.batch,
                    seed=settings.seed,
                    limit=settings.val_limit,
                )
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped while evaluating step {step}, which is saved; continue with --resume"
            ) from None

    def _remember(self, step: int, results: Results | SemanticResults) -> None:
        self.evaluated = step
        metric, value = results.score
        if self.best is None or value > self.best[metric]:
            self.best = {"step": step, metric: value}
        self.progress.say(f"step {step}: {results.summary()}")

    def _out_of_patience(self) -> bool:
        """Whether so many evaluations brought no better AP; the best weights are then back."""
        patience, every = self.settings.patience, self.settings.eval_every
        if not patience or self.best is None:
            return False
        if self.evaluated // every - self.best["step"] // every < patience:
            return False
        found = checkpoint.find(self.out, self.best["step"])
        if found is None:
            raise FileNotFoundError(
                f"{self.out}: the best checkpoint, of step {self.best['step']}, is gone; train on "
                "with --resume --patience 0"
            )
        saved = checkpoint.load(found)
        self.stopped_after = self.trainer.step
        self.trainer.restore(saved.step, saved.arrays)
        return True

    def _finished(self) -> dict[str, Any] | None:
        """What metrics.json holds, if the run is at its end; None otherwise."""
        done = self.out / "metrics.json"
        if not (done.exists() and (self.out / "model.safetensors").exists()):
            return None
        content: dict[str, Any] = json.loads(done.read_text())
        return content

    def _finish(self) -> dict[str, Any]:
        """Write the final weights and their metrics."""
        step, early = self.trainer.step, self.stopped_after
        about = {"minimask": json.dumps({"model": self.model.config, "step": step})}
        weights = self.trainer.final_weights()
        checkpoint.write_arrays(self.out / "model.safetensors", weights, about)
        images = (early or step) * self.settings.batch * self.settings.accumulate
        summary: dict[str, Any] = {
            "step": step,
            "seconds": self.seconds,
            "images_per_second": images / self.seconds,
            "memory_mb": memory_mb(),
        }
        done = self.out / "metrics.json"
        if self.val is None:
            draw_curves(self.out)
            checkpoint.write_json(done, summary)
            return summary
        # after an early stop this step has its line and its pictures already
        results = self._measure(0, pictures=False)[0] if early else self._evaluate(0)
        summary |= {"best": self.best, "stopped_after": early} if early else {"best": self.best}
        checkpoint.write_json(done, summary | results.to_json())
        return summary | results.to_json() | {"table": results.table()}


def _already_done(done: dict[str, Any]) -> str:
    """Why there is nothing left to do."""
    if "stopped_after" in done:
        return (
            f"stopped early after step {done['stopped_after']} before; to train on, add "
            "--patience 0, or a greater one"
        )
    return f"all {done['step']} steps were already done; to train on, add --steps with more"
