"""The networks that detectors look through, one file per family, each after its paper's table."""

from __future__ import annotations

from collections.abc import Callable

from minimask.models.bodies.body import Body

# Bodies by name, besides "resnet", whose sizes are options of a factory.  A maker takes the
# generator of the weights and, by name, `norm`, `norm_eps` and `width` (a factor of all channels).
BODIES: dict[str, Callable[..., Body]] = {}

__all__ = ["BODIES", "Body"]
