"""The losses on validation images: when they rise while training's fall, the run is overfitting."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from minimask.autograd import no_grad
from minimask.train.step import batch_losses

if TYPE_CHECKING:
    from minimask.data.sample import Dataset

MOST = 40  # images: the mean of so many is steady enough, and costs less than predicting them


def validation_losses(
    model: Any, val: Dataset, *, batch: int, seed: int, limit: int = 0
) -> dict[str, float]:
    """The losses of the first validation images, as training computes them; nothing changes.

    The same images and the same random numbers every time, so that two results differ by the
    weights alone.  Norms use the statistics they have collected.  It costs one forward pass: about
    a third of a training step for each batch.

    Args:
        model: as training takes it.
        val: the validation data.
        batch: images at once.
        seed: of the anchors and boxes that are sampled.
        limit: images, at most `MOST`; 0: that many.

    Returns:
        "loss", the sum, and its parts, each the mean over the images; empty where no image has
        what the losses need (a mask branch needs masks).
    """
    count = min(len(val), limit or MOST, MOST)
    needs = getattr(model, "needs", ())
    sums: dict[str, float] = {}
    seen = 0
    with _as_it_is(model), no_grad():
        for index, start in enumerate(range(0, count, batch)):
            samples = [val[i] for i in range(start, min(start + batch, count))]
            samples = [s for s in samples if all(getattr(s.target, n) is not None for n in needs)]
            if not samples:
                continue
            total, parts = batch_losses(model, samples, index, seed)
            for name, loss in {"loss": total, **parts}.items():
                sums[name] = sums.get(name, 0.0) + float(loss.data) * len(samples)
            seen += len(samples)
    means = {name: value / seen for name, value in sums.items()}
    return means if all(map(math.isfinite, means.values())) else {}


@contextlib.contextmanager
def _as_it_is(model: Any) -> Iterator[None]:
    """Inside the block the model gives losses, but measures and collects no statistics."""
    before = {module: module.training for module in model.modules()}
    kept = {name: buffer.copy() for name, buffer in model.named_buffers()}
    model.train()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
        for name, buffer in model.named_buffers():
            buffer[...] = kept[name]  # a module of one's own may count images in one
