"""What a detector asks of a backbone, and the place where others than ResNets are named.

    class Tiny(Module):
        channels = 32                                    # of every feature map

        def forward(self, images):                       # (N, 3, H, W)
            return [self.conv(images)]                   # maps (N, 32, H / s, W / s), finest first

    register_backbone("tiny", lambda rng: Tiny(rng))
    model = mm.models.mask_rcnn(classes=["cell"], backbone="tiny", anchor_sizes=[[16, 32, 64]])

A model built by name is saved and opened again like any other, where the name is registered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minimask.autograd import Tensor, no_grad
from minimask.models.bodies import BODIES
from minimask.nn import Module

MakeBackbone = Callable[[np.random.Generator], Module]

BACKBONES: dict[str, MakeBackbone] = {}


class Backbone(Module):
    """A backbone of this package, known to give what a detector asks for.

    Attributes:
        channels: of every feature map.
    """

    channels: int


def register_backbone(name: str, make: MakeBackbone) -> None:
    """Let factories build detectors on this backbone: `mask_rcnn(..., backbone=name)`.

    Args:
        name: stands in `model.config` and in the settings of runs.
        make: draws the weights from a generator and returns a module with an int attribute
            `channels` whose `forward` turns images (N, 3, H, W) into a list of feature maps
            (N, channels, H / stride, W / stride), finest first, strides powers of two.

    Raises:
        ValueError: the name is taken.
    """
    if name in BACKBONES or name == "resnet" or name in BODIES:
        raise ValueError(f"backbone: {name!r} is registered already")
    BACKBONES[name] = make


def make_backbone(name: str, rng: np.random.Generator) -> Module:
    """A registered backbone, with its weights drawn.

    Raises:
        ValueError: no such name, or the module lacks what a detector needs.
    """
    if name not in BACKBONES:
        known = ", ".join(["resnet", *BODIES, *BACKBONES])
        raise ValueError(
            f"backbone: {name!r} is none of {known}; if it is your own, import the module that "
            "calls minimask.models.register_backbone before the model is built or opened"
        )
    backbone = BACKBONES[name](rng)
    check_backbone(backbone, name)
    return backbone


def check_backbone(
    backbone: Module, name: str = "backbone", maps: int | None = None, side: int = 128
) -> None:
    """Run a backbone on one small image and look whether a detector can use what it gives.

    Args:
        backbone: the module.
        name: for messages.
        maps: how many feature maps there should be; None: any number.
        side: height and width of the image; at least the coarsest stride.

    Raises:
        ValueError: what it lacks, in one sentence.
    """
    channels = getattr(backbone, "channels", None)
    if not isinstance(backbone, Module) or not isinstance(channels, int | np.integer):
        raise ValueError(
            f"{name}: expected a minimask.nn.Module with an int attribute `channels`, the channels "
            f"of its feature maps; got {type(backbone).__name__} with {channels!r}"
        )
    was_training = backbone.training
    try:
        with no_grad():
            found = backbone.eval()(Tensor(np.zeros((1, 3, side, side), np.float32)))
    finally:
        backbone.train(was_training)
    items = list(found) if isinstance(found, list | tuple) else []
    if not items or not all(isinstance(level, Tensor) for level in items):
        kinds = ", ".join(dict.fromkeys(type(item).__name__ for item in items)) or "nothing"
        got = f"{type(found).__name__} of {kinds}"
        raise ValueError(f"{name}: forward must return a list of Tensors, got {got}")
    sides = [level.shape[-1] for level in items]
    for i, (level, n) in enumerate(zip(items, sides, strict=True)):
        stride = side // n if n and side % n == 0 else 0
        if level.shape != (1, channels, n, n) or stride == 0 or stride & (stride - 1):
            raise ValueError(
                f"{name}: feature map {i} of a {side} x {side} image should have the shape "
                f"(1, {channels}, {side} / stride, {side} / stride) with a power of two as its "
                f"stride, got {level.shape}"
            )
    if sides != sorted(set(sides), reverse=True):
        raise ValueError(f"{name}: feature maps must come finest first, got sides {sides}")
    if maps is not None and len(items) != maps:
        raise ValueError(
            f"{name}: gives {len(items)} feature maps, but anchor_sizes has {maps} entries; give "
            "one (a size or a list of sizes) for each map"
        )
