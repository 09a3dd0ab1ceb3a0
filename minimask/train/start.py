"""The model that a run starts with: random weights, or those of another training.

Where weights are given and no model, the network is the one they belong to: a file says it in its
config, or its names and shapes are enough to recognise it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minimask.train.settings import RunSettings

if TYPE_CHECKING:
    from minimask.data.skeleton import Skeleton
    from minimask.weights import Source

# option of a model -> setting; others become --option NAME=VALUE
NAMED = {
    "min_size": "min_size",
    "max_size": "max_size",
    "anchor_sizes": "anchors",
    "box_detections_per_img": "detections",
    "norm": "norm",
}
NOT_TAKEN = ("model", "classes", "num_classes", "seed", "trainable_layers", "skeleton")
STRONGER_THAN_RECIPES = ("model", "norm")  # the weights would mean nothing with others


@dataclass(frozen=True)
class Start:
    """A model ready for its first step.

    Attributes:
        model: with its weights.
        said: what was taken from where, a line each.
    """

    model: Any
    said: tuple[str, ...] = ()


def read_start(settings: RunSettings) -> Source | None:
    """The weights that the settings name; None: random ones.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a damaged file.
    """
    path = settings.model.weights or settings.model.backbone_weights
    if path is None:
        return None
    from minimask.weights import read_source

    if not Path(path).exists():
        from minimask.data.images import missing_file

        raise FileNotFoundError(missing_file(Path(path), "weights"))
    return read_source(path)


def adopt(
    settings: RunSettings, source: Source, given: Collection[str], recipe: Mapping[str, Any]
) -> tuple[RunSettings, str]:
    """Settings with the network that the weights belong to, and a line that says it.

    Args:
        settings: without regard for the file.
        source: the weights.
        given: names of the settings that the user chose.  They stay; `model` among them means
            that nothing is taken over.
        recipe: the recipe's settings, which stay too but for the network and its norms.

    Raises:
        ValueError: the file says nothing, and its network is not one that is known here.
    """
    zero = source.norm_eps == 0.0 and settings.model.norm in (None, "frozen_batch")
    extra = {"norm_eps": 0.0} if zero else {}
    if "model" in given:
        return _with_options(settings, extra | _choices(source)), ""
    config, words = source.config, source.words or "its own settings"
    if config is None:
        raise ValueError(f"{source.path}: {words}")
    kept = set(given) | (set(recipe) - set(STRONGER_THAN_RECIPES))
    if kept & {"min_size", "max_size"}:
        kept |= {"min_size", "max_size"}  # one without the other may be impossible
    values: dict[str, Any] = {"model": config["model"]}
    options = dict(extra)
    for name, value in config.items():
        setting = NAMED.get(name)
        if name == "anchor_sizes" and not all(isinstance(size, int) for size in value):
            setting = None  # several to a level
        if NAMED.get(name) in kept or (name == "convention" and settings.model.convention):
            continue
        if setting is None and name not in NOT_TAKEN:
            options[name] = value
        elif setting is not None:
            values[setting] = tuple(value) if isinstance(value, list) else value
    if isinstance(values.get("min_size"), int):
        values["min_size"] = (values["min_size"],)
    model = dataclasses.replace(settings.model, **values)
    changed = _with_options(dataclasses.replace(settings, model=model), options)
    shown = {n: v for n, v in values.items() if n != "model"} | options
    listed = ", ".join(f"{n} {_shown(v)}" for n, v in shown.items())
    line = f"{source.name}: the network is {values['model']} ({words})"
    return changed, line + (f"; taken over with it: {listed}" if listed else "")


def start_model(
    settings: RunSettings,
    classes: tuple[str, ...],
    source: Source | None = None,
    skeleton: Skeleton | None = None,
) -> Start:
    """Build the model of a run, with the weights that the settings name.

    Args:
        settings: of the run.
        classes: to learn.
        source: the weights, if they were read already.
        skeleton: of the data, for a model that finds keypoints.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown model, or weights of another one.
    """
    from minimask.models import build

    named = None if skeleton is None else skeleton.as_dict()
    model = build(settings.model.config(classes, settings.train.seed, named))
    source = source or read_start(settings)
    if source is None:
        return Start(model)
    from minimask.weights import transfer_backbone, transfer_weights

    transfer = transfer_weights if settings.model.weights else transfer_backbone
    return Start(model, (str(transfer(model, source)),))


def _choices(source: Source) -> dict[str, Any]:
    """The convention that the weights of another system were trained with, as options."""
    from minimask.conventions import Convention

    if source.system in ("minimask", "torchvision") or source.config is None:
        return {}
    fields = {"convention", *(field.name for field in dataclasses.fields(Convention))}
    return {name: value for name, value in source.config.items() if name in fields}


def _with_options(settings: RunSettings, options: Mapping[str, Any]) -> RunSettings:
    """The settings with options of the model that no --option overrides."""
    there = {option.split("=", 1)[0].strip() for option in settings.model.options}
    new = tuple(f"{n}={json.dumps(v)}" for n, v in options.items() if n not in there)
    model = dataclasses.replace(settings.model, options=new + settings.model.options)
    return dataclasses.replace(settings, model=model)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
