"""`--convention NAME`: a model used with another system's choices than its weights say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from minimask.conventions import CONVENTIONS, get_convention
from minimask.tools.cli import WrongUse

CONVENTION = (
    f"Whose choices to follow: {', '.join(CONVENTIONS)}. What a model says of single choices stays."
)
ConventionOption = Annotated[
    str | None,
    typer.Option("--convention", metavar="NAME", help=CONVENTION, show_default="the weights' own"),
]


def check_convention(name: str | None) -> None:
    """Raise WrongUse unless the convention exists; None is fine."""
    if name is None:
        return
    try:
        get_convention(name)
    except ValueError as error:
        raise WrongUse(f"--{error}") from None


def under(config: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The config of a model with the convention that the option names; None: as it is."""
    return dict(config) if name is None else {**config, "convention": name}


def check_fit(
    source: Any, model: Any, shapes: Mapping[str, tuple[int, ...]], name: str | None
) -> None:
    """Raise unless weights of these shapes are those of a model built under the convention.

    Args:
        source: what messages begin with, a path.
        model: built with the config that `under` gives.
        shapes: of the weights, by the names of this package.
        name: of the convention; None: nothing to check.

    Raises:
        ValueError: a shape that only another convention has.
    """
    if name is None:
        return
    own = {key: array.shape for key, array in model.state_dict().items()}
    for key, shape in shapes.items():
        if key in own and tuple(shape) != tuple(own[key]):
            last = model.convention.background == "last"
            why = "the last class is background" if last else "the first class is background"
            raise ValueError(
                f"{source}: --convention {name} does not fit these weights: {key} has "
                f"{tuple(shape)} there and {tuple(own[key])} where {why}; leave --convention out, "
                "or name another"
            )
