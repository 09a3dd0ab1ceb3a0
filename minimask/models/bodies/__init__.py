"""The networks that detectors look through, one file per family, each after its paper's table."""

from __future__ import annotations

from collections.abc import Callable

from minimask.models.bodies import efficientnet, mobilenet_v3, vgg
from minimask.models.bodies.body import Body
from minimask.models.bodies.stacked import StackedBody

# Bodies by name, besides "resnet", whose sizes are options of a factory.  A maker takes the
# generator of the weights and, by name, `norm`, `norm_eps` and `width` (a factor of all channels);
# those of `CAN_DILATE` also `dilated`: whether the last stage keeps stride 16.
BODIES: dict[str, Callable[..., StackedBody]] = {
    **{f"vgg{depth}": vgg.maker(depth, with_norms=False) for depth in vgg.DEPTHS},
    **{f"vgg{depth}_bn": vgg.maker(depth, with_norms=True) for depth in vgg.DEPTHS},
    **{f"efficientnet_{scale}": efficientnet.maker(scale) for scale in efficientnet.SCALES},
    "mobilenet_v3_large": mobilenet_v3.maker(mobilenet_v3.LARGE),
    "mobilenet_v3_small": mobilenet_v3.maker(mobilenet_v3.SMALL),
}
WITHOUT_NORMS = tuple(f"vgg{depth}" for depth in vgg.DEPTHS)
CAN_DILATE = tuple(name for name in BODIES if not name.startswith("vgg"))

__all__ = ["BODIES", "CAN_DILATE", "WITHOUT_NORMS", "Body", "StackedBody"]
