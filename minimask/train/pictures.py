"""The pictures that a run leaves: curves, and predictions beside the ground truth."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.system.files import write_whole

if TYPE_CHECKING:
    from minimask.data.sample import Dataset

LOSSES, VALIDATION = "log.csv", "val_losses.csv"


def draw_predictions(model: Any, val: Dataset, count: int, folder: Path, step: int) -> None:
    """Predictions beside the ground truth on the first validation images."""
    from PIL import Image

    from minimask import draw

    folder.mkdir(exist_ok=True)
    for i in range(min(count, len(val))):
        sample = val[i]
        (detections,) = model.predict([sample.image])
        buffer = io.BytesIO()
        Image.fromarray(draw.compare(sample.image, sample, detections)).save(buffer, "PNG")
        write_whole(folder / f"step-{step:06d}-image-{i}.png", buffer.getvalue())


def draw_curves(run: Path) -> None:
    """The losses of a run, and its metrics if it has any."""
    from minimask import draw

    validation = run / VALIDATION
    draw.loss_curves(run / LOSSES, run / "losses.png", validation if validation.is_file() else None)
    for name, curves in (("ap", draw.ap_curves), ("iou", draw.iou_curves)):
        if (run / f"{name}.csv").is_file():
            curves(run / f"{name}.csv", run / f"{name}.png")
