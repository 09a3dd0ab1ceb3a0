"""Which options of a network go with which body: what does not fit is refused in a sentence."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

from minimask.models.architecture import OF_OTHERS, OF_RESNETS, Architecture
from minimask.models.bodies import BODIES, CAN_DILATE, Body

OF_BODIES = ("trainable_layers", *OF_OTHERS)


def check_body_options(a: Architecture) -> None:
    """Refuse an option that says nothing to the body that is asked for.

    Raises:
        ValueError: names the option, and whose it is.
    """
    given = {f.name for f in fields(a) if _as_tuple(getattr(a, f.name)) != _as_tuple(f.default)}
    if a.backbone == "resnet":
        _refuse(given & set(OF_OTHERS), "of the bodies that are no ResNets", "resnet")
    elif a.backbone not in BODIES:
        _refuse(given & {*OF_BODIES, *OF_RESNETS}, "of this package's bodies", a.backbone)
        if a.features != "fpn":
            raise ValueError(f"features: {a.features!r} is of bodies, not of {a.backbone!r}")
        if a.fpn_norm is not None:
            raise ValueError(f"fpn_norm: {a.backbone!r} comes with its own pyramid, if any")
    else:
        _refuse(given & set(OF_RESNETS), 'of backbone="resnet"', a.backbone)
        _check_width(a.width_multiplier)
        if a.returned_layers is not None and a.features != "fpn":
            raise ValueError(f'returned_layers: are of features="fpn", not of {a.features!r}')
        if a.features == "dc5" and a.backbone not in CAN_DILATE:
            raise ValueError(
                f'features: {a.backbone} has no "dc5", its conv5 has stride 16 as it is: use "c4"'
            )


def check_pyramid(a: Architecture, body: Body) -> None:
    """Refuse maps that no pyramid stands on, and anchors that are not as many as its levels.

    Raises:
        ValueError: says which strides there are, or how many sizes are needed.
    """
    strides = body.strides
    if any(after not in (s, 2 * s) for s, after in itertools.pairwise(strides)):
        raise ValueError(
            f"returned_layers: {list(a.returned_layers or ())} have the strides "
            f"{', '.join(map(str, strides))}, but each must be the one before or twice that"
        )
    if len(a.anchor_sizes) != len(strides) + 1:
        raise ValueError(
            f"anchor_sizes: the pyramid has {len(strides) + 1} levels (one for each of "
            f"{len(strides)} maps, and a coarser one), but there are {len(a.anchor_sizes)} entries"
        )


def _as_tuple(value: Any) -> Any:
    """Lists as the tuples they were before a file of JSON."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def _refuse(options: set[str], whose: str, backbone: str) -> None:
    for option in sorted(options):
        raise ValueError(f"{option}: is an option {whose}, not of {backbone!r}")


def _check_width(width: float) -> None:
    good = isinstance(width, int | float) and not isinstance(width, bool) and 0 < width <= 16
    if not good:
        raise ValueError(f"width_multiplier: expected a number above 0, up to 16, got {width!r}")
