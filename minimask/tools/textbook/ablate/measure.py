"""One cell: build the model and its data, train, evaluate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.tools.textbook.ablate import data as ablate_data
from minimask.tools.textbook.ablate.cells import Cell
from minimask.tools.textbook.ablate.tables import Row, Table

if TYPE_CHECKING:
    from minimask.data.sample import Dataset

# What every cell is trained with unless its table says otherwise.
TRAINING: dict[str, Any] = {
    "steps": 400,
    "batch": 6,
    "lr": 2e-3,
    "warmup": 40,
    "checkpoint_every": 200,
    "keep": 1,
    "pictures": 0,
}
WITHOUT_EFFECT = ("checkpoint_every", "keep", "keep_best", "pictures", "eval_every")


def make_cell(
    table: Table, row: Row, seed: int, steps: int | None = None, data: Path | None = None
) -> Cell:
    """The cell of a row and a seed with all its settings.

    Args:
        table: the experiment.
        row: one of its rows.
        seed: of data, weights and training.
        steps: instead of the table's; the warm-up keeps its share.
        data: folder of one's own images instead of generated ones.
    """
    training = {**TRAINING, **table.train, **row.train}
    if steps is not None:
        usual = training["steps"]
        training["steps"] = max(1, usual * steps // steps_of(table))
        training["warmup"] = training["warmup"] * training["steps"] // usual
    model = {"model": row.model, **table.options, **row.options}
    if data is not None:
        model |= ablate_data.OWN_IMAGES
        if model.get("features") in ("c4", "c5"):
            model["anchor_sizes"] = ablate_data.OWN_ANCHORS
    settings = {
        "model": model,
        "data": ablate_data.describe(data, {**table.data, **row.data}),
        "train": {k: v for k, v in training.items() if k not in WITHOUT_EFFECT},
        "schedule": row.schedule,
        "evaluations": list(table.evaluations),
        "seed": seed,
    }
    return Cell(table.key, row.key, seed, settings, row.masks_on)


def steps_of(table: Table) -> int:
    """Training steps of a row that does not set its own."""
    return int({**TRAINING, **table.train}["steps"])


def measure(cell: Cell, run: Path, folder: Path | None, *, progress: bool) -> dict[str, Any]:
    """Train and evaluate a cell; goes on from the run's checkpoints if it was stopped before.

    Args:
        cell: what to measure.
        run: folder for the training's checkpoints.
        folder: of one's own images; None: generated ones.
        progress: show the training's progress line.

    Returns:
        For each evaluation the metrics in percent, the last losses, and the seconds of both.

    Raises:
        Interrupted: Ctrl-C; the training was saved.
        TrainingError: a loss became NaN or infinite.
    """
    from minimask.evaluate import evaluate

    settings = cell.settings
    train_data, val_data = ablate_data.open_data(settings["data"], folder, cell.seed)
    model = build_model(cell, train_data)
    seconds = _train(cell, model, train_data, run, progress)
    trained = time.monotonic()
    results: dict[str, Any] = {"evaluations": {}}
    for masks_on in settings["evaluations"]:
        with masks_predicted_on(model, masks_on):
            found = evaluate(model, val_data, progress=False)
        results["evaluations"][masks_on] = {
            name: value
            for kind, metrics in found.kinds.items()
            for name, value in _in_percent(kind, metrics).items()
        }
    results["seconds_training"] = round(seconds, 1)
    results["seconds_evaluation"] = round(time.monotonic() - trained, 1)
    return results


def build_model(cell: Cell, dataset: Dataset) -> Any:
    """The cell's network for the classes and keypoints of a data set, with its initial weights."""
    from minimask.data.sample import skeleton_of
    from minimask.models import build

    config = {**cell.settings["model"], "classes": list(dataset.classes), "seed": cell.seed}
    if "keypoint" in config["model"]:
        skeleton = skeleton_of(dataset)
        if skeleton is None:
            raise ValueError(f"table {cell.table}: learns keypoints, of which these data have none")
        config["skeleton"] = skeleton.as_dict()
    return build(config)


def _train(cell: Cell, model: Any, dataset: Any, run: Path, progress: bool) -> float:
    """Returns the seconds of training, those of stopped processes included."""
    from minimask.train.four_step import four_step
    from minimask.train.loop import train
    from minimask.train.settings import TrainSettings

    kept = {k: v for k, v in TRAINING.items() if k in WITHOUT_EFFECT}
    training = TrainSettings(**{**kept, **cell.settings["train"]}, seed=cell.seed)
    how = four_step if cell.settings["schedule"] == "four-step" else train
    summary = how(model, dataset, training, run, resume=True, progress=progress)
    return float(summary["seconds"])


@contextlib.contextmanager
def masks_predicted_on(model: Any, which: str) -> Iterator[None]:
    """Inside the block the model predicts masks on "detections" or on "proposals"."""
    before = model.roi_heads.mask_on
    model.roi_heads.mask_on = which
    try:
        yield
    finally:
        model.roi_heads.mask_on = before


def _in_percent(kind: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """As the paper prints them; what could not be measured (-1) is left out."""
    return {f"{kind}_{m}": round(100 * v, 3) for m, v in metrics.items() if v >= 0}
