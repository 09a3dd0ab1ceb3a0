"""Where a training begins, and what is said before and after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.data import registry
from minimask.tools.cli import WrongUse
from minimask.tools.cli.sources import say_left_out
from minimask.train.recipes import RECIPES
from minimask.train.settings import RunSettings

if TYPE_CHECKING:
    from minimask.weights import Source

WEIGHTS = ("weights", "backbone_weights")
SAME_AS_SIZE = ("min_size", "max_size")


class Beginning:
    """From which weights, or after which step, a training begins.

    Args:
        given: the options of the command line, before anything is taken out of them.
        out: the run's folder.
        resume: whether to go on with the run that it holds.
    """

    def __init__(self, given: dict[str, Any], out: Path, resume: bool) -> None:
        from minimask.train import checkpoint, folder

        self.names = set(given) | (set(SAME_AS_SIZE) if "size" in given else set())
        self.recipe = given.get("recipe")
        self.resumed = resume and folder.is_run(out)
        saved = checkpoint.steps_saved(out) if self.resumed else []
        self.step = saved[-1] if saved else None  # None: from the start
        self.before = RunSettings.read(out / folder.SETTINGS) if self.resumed else None
        self.source: Source | None = None
        self.said: list[str] = []

    def check(self, settings: RunSettings) -> None:
        """Raise WrongUse if a recipe lacks what it is about."""
        named = settings.model.weights or settings.model.backbone_weights
        if self.recipe == "finetune" and not named:
            raise WrongUse(
                "--recipe finetune goes on from weights: add --weights FILE (or a run, or a "
                "checkpoint), or --backbone-weights FILE"
            )

    def adopt(self, settings: RunSettings) -> RunSettings:
        """The settings with the network of --weights, where the user named none."""
        from minimask.train.start import adopt, read_start

        if self.step is not None:  # the weights are the checkpoint's
            return settings
        self.source = read_start(settings)
        if self.source is not None:
            say_left_out(self.source)
        if self.source is None or settings.model.weights is None or self.resumed:
            return settings
        recipe = RECIPES.get(self.recipe or "", {})
        settings, line = adopt(settings, self.source, self.names, recipe)
        self.said += [line] if line else []
        return settings

    def model(self, settings: RunSettings, dataset: Any) -> Any:
        """The model that training begins with; a checkpoint's weights come later.

        Raises:
            ValueError: it learns keypoints and the data has none.
        """
        from minimask.data.sample import skeleton_of
        from minimask.models import build
        from minimask.train.agree import no_keypoints
        from minimask.train.start import start_model

        classes, skeleton = dataset.classes, skeleton_of(dataset)
        if settings.model.finds_keypoints and skeleton is None:
            raise ValueError(no_keypoints(settings.model.model, dataset))
        if self.step is not None:
            named = None if skeleton is None else skeleton.as_dict()
            return build(settings.model.config(classes, settings.train.seed, named))
        start = start_model(settings, classes, self.source, skeleton)
        if skeleton is not None and not settings.model.finds_keypoints:
            self.said.append(
                f"the data's {len(skeleton)} keypoints are not learned: {settings.model.model} "
                "finds none; --model keypointrcnn_laptop does"
            )
        self.said += start.said
        return start.model

    def lines(self, settings: RunSettings) -> list[str]:
        """What to tell the user about it."""
        before, train = self.before, settings.train
        if before is None or self.step is None or before.train.steps == train.steps:
            return self.said
        schedule = "" if train.schedule == "constant" else f" {train.schedule}"
        return [
            *self.said,
            f"trains on after step {self.step}: {train.steps} steps in place of "
            f"{before.train.steps}; from here the learning rate is that of a{schedule} run of "
            f"{train.steps} steps",
        ]


def opening(
    settings: RunSettings, model: Any, dataset: Any, out: Path, beginning: Beginning
) -> str:
    """What is about to happen, in a few lines."""
    count = sum(p.data.size for _, p in model.named_parameters())
    frozen = sum(p.data.size for _, p in model.named_parameters() if not p.requires_grad)
    train = settings.train
    generated = registry.find(settings.data.data).generated
    images = "generated images" if generated else f"{len(dataset)} images"
    million = f"{count / 1e6:.1f} million weights"
    if frozen:
        million += f", {frozen / 1e6:.2f} of them frozen"
    lines = [
        f"{settings.model.model}: {million}; {images}, "
        f"classes: {', '.join(dataset.classes[:8])}"
        + (", ..." if len(dataset.classes) > 8 else ""),
        *beginning.lines(settings),
        f"{train.steps} steps of {train.batch * train.accumulate} images; all results go to {out}",
    ]
    if not beginning.resumed:
        lines.append("the first step may take a minute: kernels are compiled once per machine")
    return "\n".join(lines)


def closing(summary: dict[str, Any], out: Path) -> str:
    """What came out, and where it is."""
    early = summary.get("stopped_after")
    text = (
        f"{early or summary['step']} steps in {summary['seconds']:.0f} s of training, "
        f"{summary['images_per_second']:.1f} images/s\n"
    )
    if "images" in summary:  # it was evaluated
        text = f"{summary.get('table') or _short_table(summary)}\n{text}"
        if summary["explanation"]:
            text += f"{summary['explanation']}\n"
        text += _about_the_best(summary, out)
        curves = out / ("iou.png" if "iou" in summary else "ap.png")
        text += f"curves: {out / 'losses.png'}, {curves}; pictures: {out / 'pictures'}\n"
    return text + f"weights: {out / 'model.safetensors'}; evaluate them: minimask evaluate {out}"


def _about_the_best(summary: dict[str, Any], out: Path) -> str:
    """Which evaluation was the best, where that is not the one of the final weights."""
    early, best = summary.get("stopped_after"), summary.get("best")
    if early:
        return (
            f"stopped early after step {early}, as {_metric(best)} was no better; the weights are "
            f"the best ones, of step {summary['step']}\n"
        )
    if best and best["step"] != summary["step"]:
        return (
            f"the best evaluation was after step {best['step']} "
            f"({_metric(best)} {best[_metric(best)]:.3f}); its "
            f"weights: {out / 'checkpoints' / 'step-{:06d}'.format(best['step'])}\n"
        )
    return ""


def _metric(best: dict[str, Any] | None) -> str:
    """What the best evaluation was chosen by: "AP", or "mean IoU"."""
    return next((name for name in best or {} if name != "step"), "AP")


def _short_table(summary: dict[str, Any]) -> str:
    """The metrics of a run that was done before."""
    if "iou" in summary:
        names = ("mean_iou", "foreground_iou", "pixel_accuracy")
        return ", ".join(f"{n.replace('_', ' ')} {summary[n]:.3f}" for n in names)
    return "\n".join(
        f"{kind:9} " + ", ".join(f"{n} {summary[kind][n]:.3f}" for n in ("AP", "AP50", "AP75"))
        for kind in ("box", "mask", "keypoints")
        if summary.get(kind)
    )
