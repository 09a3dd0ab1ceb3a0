"""Models by name: what to build is a plain dict that fits in a JSON file."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from minimask.conventions import CONVENTIONS as NAMED
from minimask.conventions import Convention, get_convention
from minimask.models.architecture import OF_OTHERS, OF_RESNETS
from minimask.models.bodies import WITHOUT_NORMS
from minimask.models.coco_classes import COCO_91

MODELS: dict[str, Callable[..., Any]] = {}
NO_CHOICES = {"name", "hyperparameters", "sizes"}  # fields of `Convention` that are no options


@dataclass(frozen=True)
class Family:
    """A kind of model, of which presets are made.

    Attributes:
        title: as a reader calls it.
        options: what a factory takes besides the fields of `Convention`.
        assemble: makes the model from the names of its classes (without background), its
            convention, its options, the seed of its weights, and its config.
        unread: fields of `Convention` that such a model has no use for, and refuses as options.
        masks: whether its models learn from masks.
    """

    title: str
    options: frozenset[str]
    assemble: Callable[[Sequence[str], Convention, dict[str, Any], int, dict[str, Any]], Any]
    unread: frozenset[str] = frozenset()
    masks: bool = False

    @property
    def known(self) -> frozenset[str]:
        """Every option of its factories but the classes, the convention and the seed."""
        return self.options | fields_of(Convention) - NO_CHOICES - self.unread


FAMILIES: dict[str, Family] = {}  # of every model in `MODELS`


def learns_masks(name: str) -> bool:
    """Whether the model of this name learns from masks; of an unknown one: yes."""
    return name not in FAMILIES or FAMILIES[name].masks


def takes(name: str, option: str) -> bool:
    """Whether the model of this name has an option; of an unknown model: yes."""
    return name not in FAMILIES or option in FAMILIES[name].known


def fields_of(kind: type) -> set[str]:
    """The names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(kind)}


def preset(
    name: str,
    family: Family,
    *,
    # COCO, as torchvision counts it; or names of classes
    default_classes: int | Sequence[str] | None = 91,
    convention: str = "torchvision",
    **sizes: Any,
) -> Callable[..., Any]:
    """A function that builds the model of this name, which from now on is in `MODELS`.

    `convention` and `sizes`, options of the model, are its defaults.
    """

    def build_model(
        num_classes: int | None = None,
        *,
        classes: Sequence[str] | None = None,
        convention: str | Convention | Mapping[str, Any] = convention,
        seed: int = 0,
        **options: Any,
    ) -> Any:
        _check_options(name, options, family)
        if num_classes is None and classes is None:
            if isinstance(default_classes, int):
                num_classes = default_classes
            else:
                classes = default_classes
        names = class_names(num_classes, classes)
        base = get_convention(convention)
        config = {
            "model": name,
            "classes": list(names),
            "convention": _plain(base.name if NAMED.get(base.name) == base else asdict(base)),
            "seed": seed,
            **_plain(options),
        }
        usual = sizes
        if options.get("backbone", sizes.get("backbone")) != sizes.get("backbone"):
            # another body than the preset's: what sizes that one says nothing to this
            foreign = {*OF_RESNETS, *OF_OTHERS}
            foreign |= {"norm"} if options.get("backbone") in WITHOUT_NORMS else set()
            usual = {k: v for k, v in sizes.items() if k not in foreign}
        options = {**base.hyperparameters, **base.sizes, **usual, **options}
        base = replace(base, **among(options, fields_of(Convention)))
        return family.assemble(names, base, among(options, family.options), seed, config)

    numbers = ", ".join(f"{k}={v}" for k, v in sizes.items()) or "the sizes of ResNet-50-FPN"
    build_model.__name__ = build_model.__qualname__ = name
    build_model.defaults = {"convention": convention, **sizes}  # type: ignore[attr-defined]
    build_model.__doc__ = f"""{family.title} with {numbers}.

    Args:
        num_classes: outputs of the network, background included.
        classes: names without background, instead of `num_classes`; default {default_classes}.
        convention: whose choices to follow: a name, a `Convention`, or a dict of its fields.
        seed: of the random weights.
        **options: fields of `Convention` and the options of the network and its stages to change.
    """
    MODELS[name] = build_model
    FAMILIES[name] = family
    return build_model


def _check_options(name: str, options: Mapping[str, Any], family: Family) -> None:
    """Refuse an option that does not exist, in a sentence that says which do."""
    known = family.known
    for option in sorted(set(options) - known):
        close = difflib.get_close_matches(option, known, n=1)
        elsewhere = [other for other, its in FAMILIES.items() if option in its.known]
        if elsewhere:
            raise ValueError(f"{name}: no option {option!r}, which {elsewhere[0]} has")
        every = f"  Options: {', '.join(sorted(known))}"
        hint = f"; did you mean {close[0]!r}?" if close else every
        raise ValueError(f"{name}: no option {option!r}{hint}")


def among(options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The options of these names."""
    return {name: value for name, value in options.items() if name in names}


def build(config: Mapping[str, Any]) -> Any:
    """The model a `model.config` describes: {"model": name, "classes": [...], ...options}.

    Raises:
        ValueError: no model of that name, or options it does not have.
    """
    options = dict(config)
    name = options.pop("model", None)
    if name not in MODELS:
        raise ValueError(f"config: model {name!r} is none of {', '.join(MODELS)}")
    return MODELS[name](**options)


def class_names(num_classes: int | None, classes: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the classes without background, from names or from their number.

    Raises:
        ValueError: neither given, both given and in disagreement, empty or repeated names.
    """
    if classes is None:
        if num_classes is None:
            raise ValueError("classes: give the names of your classes, e.g. classes=['cell']")
        if num_classes < 2:
            raise ValueError(
                f"num_classes: counts background, so it is at least 2; got {num_classes}"
            )
        return COCO_91 if num_classes == 91 else tuple(str(i + 1) for i in range(num_classes - 1))
    names = tuple(classes)
    if isinstance(classes, str) or not names or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"classes: expected a list of names, got {classes!r}")
    repeated = sorted(n for n, count in Counter(names).items() if count > 1 and n != "N/A")
    if repeated:
        raise ValueError(f"classes: {', '.join(repeated)} occur more than once")
    if num_classes is not None and num_classes != len(names) + 1:
        raise ValueError(
            f"num_classes is {num_classes}, but {len(names)} classes and background "
            f"are {len(names) + 1}; leave num_classes out"
        )
    return names


def _plain(value: Any) -> Any:
    """The same as JSON would give it back: lists for tuples, Python numbers."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
