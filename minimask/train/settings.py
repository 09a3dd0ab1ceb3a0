"""Everything a run depends on, as plain values that JSON can hold.

`settings.json` in the run's folder is enough to build the model and both data sets again: that is
how `--resume`, `minimask evaluate RUN` and `minimask predict --run RUN` know what to do.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from minimask.conventions import get_convention
from minimask.data import registry
from minimask.data.augmentations import AUGMENTATIONS
from minimask.train.setting_values import at_least, frozen, one_of, parsed, shown
from minimask.train.stage_plan import check_total

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "step", "constant")
FILES = ("annotations", "images")
FORMAT = 1  # of settings.json; raised when old files can no longer be read


@dataclass(frozen=True)
class DataSettings:
    """Which images the run learns from and is checked on."""

    data: str = "files"  # a name of `minimask.data.registry.names`, or "own" (given to `train`)
    annotations: str | None = None
    images: str | None = None
    val_annotations: str | None = None
    val_images: str | None = None
    classes: tuple[str, ...] | None = None  # None: all there are
    shapes_size: int = 128
    shapes_count: int | None = None  # None: never the same image twice
    val_count: int = 100  # generated validation images
    data_options: tuple[str, ...] = ()  # "name=value": any other option of the data set
    white: int | str | None = None  # of images of more than 8 bits: the value shown as white
    page: int | None = None  # of image files with several, from 1

    def __post_init__(self) -> None:
        if self.white is not None and self.white != "auto":
            if not isinstance(self.white, int):
                raise ValueError(f"--white: expected a number or auto, got {self.white!r}")
            at_least("white", self.white, 1)
        if self.page is not None:
            at_least("page", self.page, 1)
        at_least("shapes_size", self.shapes_size, 32)
        for option in self.data_options:
            if "=" not in option:
                raise ValueError(f"--data-option: expected NAME=VALUE, got {option!r}")

    def given(self, part: str = "") -> dict[str, Any]:
        """The options that open the images to learn from, or with "val_" those to be checked on."""
        files = {name: getattr(self, part + name) for name in FILES}
        if part and not any(files.values()):
            return {}
        others = dict(option.split("=", 1) for option in self.data_options)
        values = files | {"classes": self.classes, "white": self.white, "page": self.page}
        return {name: value for name, value in values.items() if value} | {
            name.strip(): parsed(value) for name, value in others.items()
        }

    def reading(self) -> dict[str, Any]:
        """How image files are read: `white` and `page`, where they are given."""
        return {name: value for name, value in self.given().items() if name in ("white", "page")}

    def check(self) -> None:
        """Raise ValueError unless the data set is known and takes just these options."""
        if self.data == "own":
            return
        if self.data == "files" and not (self.annotations or self.images):
            raise ValueError(
                "which images? Give --annotations FILE and --images FOLDER, or --data shapes for "
                "generated images, or --recipe demo"
            )
        registry.check_options(self.data, self.given(), option_name)
        val = self.given("val_")
        if val:
            registry.check_options(self.data, val, lambda name: option_name(name, "val-"))


@dataclass(frozen=True)
class ModelSettings:
    """Which network."""

    model: str = "maskrcnn_laptop"  # "own": given to `train`
    min_size: tuple[int, ...] | None = None  # several: one is drawn per batch; None: the model's
    max_size: int | None = None
    anchors: tuple[int, ...] | None = None
    detections: int | None = None  # kept per image
    convention: str | None = None  # name of one of `minimask.conventions`; None: the model's
    norm: str | None = (
        None  # None: "batch" for random weights, else what the weights were made with
    )
    options: tuple[str, ...] = ()  # "name=value": any other option of the model
    trainable_layers: int | None = None  # of stem and four stages, from the end; None: all
    weights: str | None = None  # file, run or checkpoint to start from; None: random weights
    backbone_weights: str | None = None  # file to fill the backbone from
    proposals: str | None = None  # run or weights of the network that says where to look

    def __post_init__(self) -> None:
        if self.weights and self.backbone_weights:
            raise ValueError(
                "--weights and --backbone-weights exclude each other: a whole network, or only "
                "its backbone"
            )
        if self.trainable_layers is not None and not 0 <= self.trainable_layers <= 5:
            raise ValueError(
                f"--trainable-layers: expected 0 to 5 (stem and four stages), got "
                f"{self.trainable_layers}"
            )
        for name in ("max_size", "detections"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)
        for size in self.min_size or ():
            at_least("min_size", size, 16)
            if self.max_size is not None and self.max_size < size:
                raise ValueError(
                    f"--max-size ({self.max_size}) must not be smaller than --min-size ({size})"
                )
        if self.convention is not None:
            try:
                get_convention(self.convention)
            except ValueError as error:
                raise ValueError(f"--{error}") from None
        if self.anchors is not None and (
            not self.anchors or list(self.anchors) != sorted(set(self.anchors))
        ):
            listed = ",".join(map(str, self.anchors))
            raise ValueError(f"--anchors: expected growing sizes such as 8,16,32, got {listed!r}")
        for option in self.options:
            if "=" not in option:
                raise ValueError(f"--option: expected NAME=VALUE, got {option!r}")

    def _anchor_sizes(self) -> tuple[Any, ...] | None:
        """One size to each level; of RetinaNet it is the smallest of three."""
        if self.anchors is None or not self.model.startswith("retinanet"):
            return self.anchors
        from minimask.models.one_stage import octave_thirds

        return octave_thirds(self.anchors)

    @property
    def finds_keypoints(self) -> bool:
        """Whether the network has a branch for keypoints."""
        return "keypoint" in self.model

    def config(
        self, classes: tuple[str, ...], seed: int, skeleton: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The dictionary `minimask.models.build` takes.

        Args:
            classes: to learn.
            seed: of the random weights.
            skeleton: of the data, as `Skeleton.as_dict` gives it; an option of that name, or
                `num_keypoints`, is stronger.
        """
        random = self.weights is None and self.backbone_weights is None
        others = {k.strip(): parsed(v) for k, _, v in (o.partition("=") for o in self.options)}
        norm = self.norm or ("batch" if random and has_norms(self.model, others) else None)
        sizes = self.min_size and (self.min_size[0] if len(self.min_size) == 1 else self.min_size)
        given: dict[str, Any] = {
            "min_size": sizes,
            "max_size": self.max_size,
            "anchor_sizes": self._anchor_sizes(),
            "box_detections_per_img": self.detections,
            "norm": norm,
            "convention": self.convention,
            "trainable_layers": self.trainable_layers,
        }
        said = set(others) & {"skeleton", "num_keypoints"}
        if self.finds_keypoints and skeleton is not None and not said:
            given["skeleton"] = skeleton
        return {
            "model": self.model,
            "classes": list(classes),
            "seed": seed,
            **{k: v for k, v in given.items() if v is not None},
            **others,
        }


def has_norms(model: str, options: Mapping[str, Any]) -> bool:
    """Whether the network of this name and these options has norms that `norm` could be of."""
    from minimask.models import MODELS
    from minimask.models.bodies import WITHOUT_NORMS

    usual = getattr(MODELS.get(model), "defaults", {}).get("backbone")
    return options.get("backbone", usual) not in WITHOUT_NORMS


@dataclass(frozen=True)
class TrainSettings:
    """How the weights are trained; every value changes the result, but for those of the log."""

    steps: int = 1000
    batch: int = 8
    accumulate: int = 1  # batches whose gradients are added up for one update
    lr: float = 1e-3
    optimizer: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: int = 100
    milestones: tuple[int, ...] | None = None  # None: after 2/3 and 8/9 of the steps
    stages: tuple[str, ...] = ()  # "heads:200", "all:100:0.1": see `minimask.train.stages`
    checkpoint_stages: int | str = 0  # of the body, computed again in the backward pass; or "all"
    clip: float = 5.0  # 0: gradients are not clipped
    ema: float = 0.0  # 0: no averaged weights
    augment: tuple[str, ...] = ()
    seed: int = 0
    threads: int | None = None  # None: all cores
    eval_every: int = 0  # 0: only at the end
    val_limit: int = 0  # 0: all validation images
    patience: int = 0  # evaluations without a better AP after which to stop; 0: any number
    checkpoint_every: int = 200
    keep: int = 2
    keep_best: bool = True
    pictures: int = 4

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "checkpoint_every", "keep"):
            at_least(name, getattr(self, name), 1)
        for name in ("warmup", "seed", "eval_every", "val_limit", "patience", "pictures"):
            at_least(name, getattr(self, name), 0)
        for name in ("lr", "weight_decay", "clip"):
            at_least(name, getattr(self, name), 0)
        for name in ("momentum", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected 0 <= {name} < 1, got {getattr(self, name)}")
        if self.patience and not self.eval_every:
            raise ValueError("--patience counts evaluations: add --eval-every STEPS")
        if self.patience and not self.keep_best:
            raise ValueError("patience ends with the best weights, so keep_best must be True")
        if self.threads is not None:
            at_least("threads", self.threads, 1)
        check_total(self.stages, self.steps)
        if self.checkpoint_stages != "all":
            if not isinstance(self.checkpoint_stages, int):
                raise ValueError(
                    f"--checkpoint-stages: expected a number or all, got {self.checkpoint_stages!r}"
                )
            at_least("checkpoint_stages", self.checkpoint_stages, 0)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        for name in self.augment:
            one_of("augment", name, tuple(AUGMENTATIONS))


@dataclass(frozen=True)
class RunSettings:
    """All of it: what `settings.json` holds."""

    data: DataSettings = field(default_factory=lambda: DataSettings(data="own"))
    model: ModelSettings = field(default_factory=lambda: ModelSettings(model="own"))
    train: TrainSettings = field(default_factory=TrainSettings)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From flat values by name, e.g. {"lr": 1e-3, "model": "maskrcnn_laptop"}.

        Raises:
            ValueError: an unknown name, or a value that cannot be.
        """
        settings = cls._of(values)
        settings.data.check()
        if settings.train.stages and settings.model.trainable_layers is not None:
            raise ValueError(
                "--stages says what learns when, so it excludes --trainable-layers: leave one out"
            )
        return settings

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Self:
        parts: dict[str, Any] = {}
        for part, kind in _PARTS.items():
            names = {f.name for f in fields(kind)}
            parts[part] = kind(**{n: frozen(values[n]) for n in names & values.keys()})
        unknown = values.keys() - {f.name for kind in _PARTS.values() for f in fields(kind)}
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        return cls(**parts)

    def flat(self) -> dict[str, Any]:
        """All values by name."""
        parts = (getattr(self, part) for part in _PARTS)
        return {f.name: getattr(p, f.name) for p in parts for f in fields(p)}

    def to_json(self) -> dict[str, Any]:
        """The content of `settings.json`."""
        from minimask._version import __version__

        return {"format": FORMAT, "minimask": __version__, **dataclasses.asdict(self)}

    @classmethod
    def read(cls, path: Path) -> Self:
        """From `settings.json`.

        Raises:
            ValueError: it is no such file; the message names it.
        """
        try:
            content = json.loads(path.read_text())
            if content.get("format") != FORMAT:
                raise ValueError(f"format {content.get('format')!r}, this version reads {FORMAT}")
            # unchecked: the model of a run on registered data opens where nobody registers it
            return cls._of({k: v for part in _PARTS for k, v in content[part].items()})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path}: not the settings of a run ({error})") from error

    def differences(self, other: RunSettings, besides: Collection[str] = ()) -> list[str]:
        """What else than `besides` differs, as text such as "lr: 0.001 there, 0.002 here"."""
        mine, others = self.flat(), other.flat()
        return [
            f"--{name.replace('_', '-')}: {shown(others[name])} there, {shown(mine[name])} here"
            for name in mine
            if mine[name] != others[name] and name not in besides
        ]


_PARTS: dict[str, Any] = {"data": DataSettings, "model": ModelSettings, "train": TrainSettings}


def option_name(option: str, part: str = "") -> str | None:
    """How an option of a data set is given on the command line; None: by the run itself."""
    if option in FILES:
        return f"--{part}{option}"
    given = {"classes": "--classes", "size": "--shapes-size", "white": "--white", "page": "--page"}
    if option in ("count", "seed", "boxes_only", "may_lack", "unnamed", "format"):
        return None
    return given.get(option, f"--data-option {option}=")
