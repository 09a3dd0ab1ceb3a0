"""The four steps of alternating training (Faster R-CNN, section 3.2), instead of joint training.

1  The proposal network learns, from the initial weights.
2  The detector learns on its proposals, with a copy of the initial backbone of its own.
3  The proposal network goes on, on the detector's backbone, which is frozen now.
4  The detector's heads go on, on the new proposals and the same backbone: both share it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from minimask.nn import Module
from minimask.train.checkpoint import write_json
from minimask.train.loop import train
from minimask.train.settings import TrainSettings

if TYPE_CHECKING:
    from minimask.autograd import Tensor
    from minimask.data.sample import Dataset, Target

STEPS = ("1-proposals", "2-detector", "3-proposals-shared", "4-detector-shared")
REPORT = "four_step.json"


class PartTraining(Module):
    """A detector of which a part learns: what the training loop sees as the model."""

    def __init__(self, name: str, model: Any, learning: Sequence[str]) -> None:
        """Let some parts of a detector learn.

        Args:
            name: of the step, for checkpoints.
            model: the detector.
            learning: of "backbone", "rpn" and "roi_heads"; all others stay as they are.
        """
        self.model = model
        self.classes = model.classes
        self.config = {**model.config, "four_step": name}
        self.learning = tuple(learning)

    def train(self, mode: bool = True) -> Self:
        """Switch the learning parts; batch norm of the others must not collect statistics."""
        super().train(mode)
        for name, part in self.model.named_children():
            part.train(mode and name in self.learning)
        return self


class ProposalTraining(PartTraining):
    """The first stage learns alone."""

    def losses(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], *, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Those of objectness and of the proposals' boxes."""
        losses: dict[str, Tensor] = self.model.proposal_losses(images, targets, rng=rng)
        return losses


class RegionTraining(PartTraining):
    """The second stage learns on the proposals of a network that does not."""

    def __init__(self, name: str, model: Any, learning: Sequence[str], proposer: Any) -> None:
        super().__init__(name, model, learning)
        self._proposer = proposer  # private: neither trained nor saved with this step

    def losses(
        self, images: Sequence[np.ndarray], targets: Sequence[Target], *, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Those of classes, boxes and, where there are any, masks."""
        if self._proposer is not self.model:
            self._proposer.eval()
        proposals = self._proposer.propose(images)
        losses: dict[str, Tensor] = self.model.region_losses(images, targets, proposals, rng=rng)
        return losses


def four_step(
    model: Any,
    dataset: Dataset,
    settings: TrainSettings,
    out: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a detector in four steps; afterwards `model` holds the weights of the fourth.

    Step 3 goes on with the heads of step 1, step 4 with those of step 2; the papers leave the
    first open.  "Backbone" is everything that both stages share, a pyramid included.

    Args:
        model: a detector of `minimask.models` with the initial weights.
        dataset: images to learn from.
        settings: of each step, which all have `settings.steps` updates.
        out: a folder that does not exist yet; with `resume`, that of such a training.
        resume: go on where it was stopped.
        progress: show a progress line on stderr.

    Returns:
        What four_step.json holds: for each step its name, seconds, and the SHA-256 of the
        weights and statistics of backbone, rpn and roi_heads after it.

    Raises:
        ValueError: settings with averaged weights, or with stages.
        FolderInUse, TrainingError, DiskFull, Interrupted: as for `train`.
    """
    if settings.ema:
        raise ValueError("ema: the four steps hand on plain weights; train without averaging")
    if settings.stages:
        raise ValueError("stages: each of the four steps freezes parts of its own; leave them out")
    from minimask.models import build

    proposer = build(model.config).to(model.device)
    proposer.load_state_dict(model.state_dict())
    trainings: list[tuple[PartTraining, Any]] = [
        (ProposalTraining(STEPS[0], proposer, ("backbone", "rpn")), proposer),
        (RegionTraining(STEPS[1], model, ("backbone", "roi_heads"), proposer), model),
        (ProposalTraining(STEPS[2], model, ("rpn",)), model),
        (RegionTraining(STEPS[3], model, ("roi_heads",), model), model),
    ]
    report: list[dict[str, Any]] = []
    for number, (training, trained) in enumerate(trainings):
        if number == 2:
            model.rpn.load_state_dict(proposer.rpn.state_dict())
        run = Path(out) / STEPS[number]
        summary = _learn(training, dataset, settings, run, resume, progress)
        hashes = {name: part_hash(part) for name, part in trained.named_children()}
        report.append({"step": STEPS[number], "seconds": summary["seconds"], "hashes": hashes})
        write_json(Path(out) / REPORT, report)
    _check_shared(report)
    model.eval()
    return {"steps": report, "seconds": sum(entry["seconds"] for entry in report)}


def _learn(
    training: PartTraining,
    dataset: Dataset,
    settings: TrainSettings,
    run: Path,
    resume: bool,
    progress: bool,
) -> dict[str, Any]:
    """One step: a whole run in its own folder, in which the other parts do not learn."""
    before = {id(p): p.requires_grad for p in training.parameters()}
    for name, part in training.model.named_children():
        if name not in training.learning:
            part.requires_grad_(False)
    try:
        return train(training, dataset, settings, run, resume=resume, progress=progress)
    finally:
        for parameter in training.parameters():
            parameter.requires_grad = before[id(parameter)]


def part_hash(part: Module) -> str:
    """SHA-256 of all weights and statistics of a part, with their names."""
    content = hashlib.sha256()
    for name, array in sorted(part.state_dict().items()):
        content.update(f"{name} {array.dtype} {array.shape} ".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def _check_shared(report: Sequence[Mapping[str, Any]]) -> None:
    """Raise unless the backbone is after each later step what it was after step 2."""
    hashes = [entry["hashes"]["backbone"] for entry in report[1:]]
    if len(set(hashes)) > 1:
        raise RuntimeError(f"the shared layers changed after {STEPS[1]}: {', '.join(hashes)}")
