"""The options of `minimask train` as the settings of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minimask.data import registry
from minimask.tools.cli import WrongUse
from minimask.tools.cli.sources import white_value
from minimask.tools.cli.train_words import WEIGHTS
from minimask.train.recipes import RECIPES
from minimask.train.settings import RunSettings, option_name
from minimask.train.stage_plan import total


def choose_settings(given: dict[str, Any], out: Path, resume: bool) -> RunSettings:
    """The run's settings: defaults, then the recipe's or the resumed run's, then the given ones.

    Raises:
        WrongUse: a value that cannot be, or options that exclude each other.
    """
    from minimask.train import folder

    values: dict[str, Any] = {}
    if resume and folder.is_run(out):
        before = RunSettings.read(out / folder.SETTINGS)
        if not given:
            return before
        values |= before.flat()
    try:
        recipe = given.pop("recipe", None)
        if recipe is not None and recipe not in RECIPES:
            raise ValueError(f"--recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}")
        values |= of_recipe(recipe, given.get("model"))
        values |= _expanded(given)
        settings = RunSettings.of(values)
        if "shapes_size" in given:
            registry.check_options(
                settings.data.data, settings.data.given() | {"size": ...}, option_name
            )
        return settings
    except ValueError as error:
        raise WrongUse(str(error)) from error


def of_recipe(name: str | None, model: str | None) -> dict[str, Any]:
    """A recipe's settings, without options that the model chosen instead of its own has not."""
    values = dict(RECIPES.get(name, {})) if name else {}
    if not values or model is None or model == values.get("model"):
        return values
    from minimask.models.factory import takes
    from minimask.train.start import NAMED

    for option, setting in NAMED.items():
        if not takes(model, option):
            values.pop(setting, None)
    words = values.get("options", ())
    values["options"] = tuple(w for w in words if takes(model, w.partition("=")[0]))
    return values


def _expanded(given: dict[str, Any]) -> dict[str, Any]:
    """The options as settings: lists split, paths made absolute, short forms written out."""
    values = dict(given)
    if "white" in values:
        values["white"] = white_value(values["white"])
    for name in ("augment", "classes", "anchors", "milestones", "min_size", "stages"):
        if name in values:
            words = [w.strip() for w in values[name].split(",") if w.strip()]
            words = [] if words == ["none"] else words
            numbers = name in ("anchors", "milestones", "min_size")
            values[name] = tuple(_whole_number(name, w) for w in words) if numbers else tuple(words)
    for name in ("annotations", "images", "val_annotations", "val_images", "proposals", *WEIGHTS):
        if name in values:
            values[name] = str(values[name].resolve())
    if values.get("stages"):
        values.setdefault("steps", total(values["stages"]))
        values.setdefault("trainable_layers", None)  # a recipe's
    if values.get("checkpoint_stages", "all") != "all":
        values["checkpoint_stages"] = _whole_number(
            "checkpoint_stages", values["checkpoint_stages"], "all or a whole number"
        )
    for name in ("option", "data_option"):
        if name in values:
            values[f"{name}s"] = tuple(values.pop(name))
    if "size" in values:
        if "min_size" in values or "max_size" in values:
            raise ValueError("--size stands for --min-size and --max-size: give it alone")
        side = values.pop("size")
        values |= {"min_size": (side,), "max_size": side}
    return values


def _whole_number(name: str, word: str, expected: str = "whole numbers with commas") -> int:
    try:
        return int(word)
    except ValueError:
        option = name.replace("_", "-")
        raise ValueError(f"--{option}: expected {expected}, got {word!r}") from None
