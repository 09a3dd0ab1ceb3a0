"""FCN and U-Net by name, and how they are put together from their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimask.conventions import Convention
from minimask.models.architecture import Architecture
from minimask.models.factory import NO_CHOICES, Family, among, fields_of, preset
from minimask.models.fcn import FCN, FINEST
from minimask.models.semantic import PixelNetwork, SemanticSegmenter
from minimask.models.two_stage import make_body
from minimask.models.unet import WIDTHS, UNet

Numbers = Sequence[int]
# what an FCN takes of a detector's sizes: those of its body
OF_BODY = frozenset({"backbone", "block", "layers", "expansion", "groups", "width_per_group"})
OF_BODY |= {"stem_channels", "width_multiplier", "norm", "trainable_layers"}
OF_BODY &= fields_of(Architecture)


@dataclass(frozen=True)
class FCNSizes:
    """The sizes of an FCN above its body; the defaults are the paper's."""

    finest: int = 8  # pixels: stride of the finest map that is scored; 32, 16 or 8
    head_channels: Numbers = (4096, 4096)  # of fc6 and fc7; (): the coarsest map is scored
    head_kernel: int = 7  # of fc6
    dropout: float = 0.5  # after fc6 and fc7
    min_size: int | Numbers | None = None  # pixels of the short side; None: as it is
    max_size: int | None = None  # limit of the long side


@dataclass(frozen=True)
class UNetSizes:
    """The sizes of a U-Net; the defaults are the paper's."""

    widths: Numbers = WIDTHS  # channels at each size, the finest first
    norm: str = "none"  # or "batch", "frozen_batch", "group"
    dropout: float = 0.5  # of the coarsest map
    min_size: int | Numbers | None = None
    max_size: int | None = None


def assemble_fcn(
    classes: Sequence[str],
    c: Convention,
    options: dict[str, Any],
    seed: int,
    config: dict[str, Any],
) -> SemanticSegmenter:
    """Make the body, then the scores on it.

    Raises:
        ValueError: an option that cannot be, or a body without maps of the strides needed.
    """
    sizes = FCNSizes(**among(options, fields_of(FCNSizes)))
    if sizes.finest not in FINEST:
        raise ValueError(f"finest: expected 32, 16 or 8, got {sizes.finest!r}")
    _check(sizes)
    rng = np.random.default_rng(seed)
    body_sizes = Architecture(**among(options, OF_BODY))
    body = make_body(body_sizes, c, rng)
    body.freeze(body_sizes.trainable_layers)
    network = FCN(
        body,
        len(classes) + 1,
        rng,
        finest=sizes.finest,
        head_channels=sizes.head_channels,
        head_kernel=sizes.head_kernel,
        dropout=sizes.dropout,
        pooled=body_sizes.backbone.startswith("vgg"),
    )
    return _segmenter(network, classes, c, sizes, config)


def assemble_unet(
    classes: Sequence[str],
    c: Convention,
    options: dict[str, Any],
    seed: int,
    config: dict[str, Any],
) -> SemanticSegmenter:
    """Make a U-Net.

    Raises:
        ValueError: an option that cannot be.
    """
    sizes = UNetSizes(**among(options, fields_of(UNetSizes)))
    _check(sizes)
    network = UNet(
        len(classes) + 1,
        np.random.default_rng(seed),
        widths=sizes.widths,
        norm=sizes.norm,
        norm_eps=c.norm_eps,
        dropout=sizes.dropout,
    )
    return _segmenter(network, classes, c, sizes, config)


def _check(sizes: FCNSizes | UNetSizes) -> None:
    if not 0 <= sizes.dropout < 1:
        raise ValueError(f"dropout: expected 0 to less than 1, got {sizes.dropout}")


def _segmenter(
    network: PixelNetwork,
    classes: Sequence[str],
    c: Convention,
    sizes: FCNSizes | UNetSizes,
    config: Mapping[str, Any],
) -> SemanticSegmenter:
    return SemanticSegmenter(
        network,
        classes=classes,
        convention=c,
        min_size=sizes.min_size,
        max_size=sizes.max_size,
        config=dict(config),
    )


# What a `Convention` says of images and of bodies; all else is of detectors.
OF_IMAGES = frozenset(
    {
        *("channels", "pixel_mean", "pixel_std", "image_resize", "size_rounding"),
        *("pad_square", "pad_with", "size_divisor", "norm_eps"),
    }
)
OF_RESNETS = frozenset({"stride_in_1x1", "stem_pool_padding"})
OF_DETECTORS = frozenset(fields_of(Convention)) - OF_IMAGES - OF_RESNETS - NO_CHOICES
FCN_FAMILY = Family(
    "FCN", frozenset(fields_of(FCNSizes)) | OF_BODY, assemble_fcn, unread=OF_DETECTORS
)
UNET_FAMILY = Family(
    "U-Net", frozenset(fields_of(UNetSizes)), assemble_unet, unread=OF_DETECTORS | OF_RESNETS
)

_OWN: dict[str, Any] = {"default_classes": None}  # their classes are always one's own
_PAPER: dict[str, Any] = {**_OWN, "backbone": "vgg16"}
fcn32s = preset("fcn32s", FCN_FAMILY, **_PAPER, finest=32)
fcn16s = preset("fcn16s", FCN_FAMILY, **_PAPER, finest=16)
fcn8s = preset("fcn8s", FCN_FAMILY, **_PAPER, finest=8)
unet = preset("unet", UNET_FAMILY, **_OWN, widths=WIDTHS)

# Small ones that train from random weights on two cores in minutes, like `maskrcnn_laptop`.
_SMALL: dict[str, Any] = {**_OWN, "convention": "exact", "dropout": 0.0, "max_size": 1024}
fcn8s_laptop = preset(
    "fcn8s_laptop",
    FCN_FAMILY,
    **_SMALL,
    block="basic",
    layers=(1, 1, 1, 1),
    norm="batch",
    head_channels=(256,),
    head_kernel=3,
)
unet_laptop = preset(
    "unet_laptop", UNET_FAMILY, **_SMALL, widths=(16, 32, 64, 128, 256), norm="batch"
)
