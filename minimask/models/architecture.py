"""The sizes of a two-stage detector's network, as options of a factory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minimask.models.bodies.resnet import STEM_CHANNELS

FEATURES = ("fpn", "c4", "c5", "dc5")
BOX_HEADS = ("mlp", "conv")
MASK_HEADS = ("fcn", "mlp")
Numbers = Sequence[int]
# Which of the fields below are of residual networks alone, and which of other bodies alone.
OF_RESNETS = ("block", "layers", "expansion", "groups", "width_per_group", "stem_channels")
OF_OTHERS = ("width_multiplier", "returned_layers")


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network; the defaults are those of the paper's ResNet-50-FPN."""

    # "resnet" or another of `minimask.models.bodies.BODIES`, or of `register_backbone`
    backbone: str = "resnet"
    block: str = "bottleneck"  # or "basic"
    layers: Numbers = (3, 4, 6, 3)  # blocks per stage
    expansion: int | None = None  # outputs of a bottleneck per channel; default 4
    groups: int = 1  # of a bottleneck's 3x3 convolution; 32: ResNeXt
    width_per_group: int = 64  # inner channels of a bottleneck's group, per 64; 128: wide ResNet
    stem_channels: int = STEM_CHANNELS  # of the first convolution; all stages follow
    width_multiplier: float = 1.0  # a factor of all channels of a body that is no ResNet
    norm: str = "frozen_batch"  # "batch": trained; "frozen_batch": as loaded; "group"
    # of the body's sections (a ResNet's stem and four stages), counted from the end; None: all
    trainable_layers: int | None = None
    # the sections whose maps the pyramid stands on, the stem is 0; None: C2 .. C5
    returned_layers: Numbers | None = None
    # "fpn"; or one map: "c4" (stride 16, the last stage is the head), "c5" (stride 32), "dc5"
    # (C5 with dilated convolutions, stride 16, all of its channels)
    features: str = "fpn"
    fpn_channels: int = 256  # also of C5's map
    fpn_norm: str | None = None  # after the pyramid's convolutions: as `norm`; None: none
    # pixels, one (or several) per level; of a single map all of them
    anchor_sizes: Sequence[Any] = (32, 64, 128, 256, 512)
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)  # height / width
    rpn_conv_depth: int = 1  # 3x3 convolutions before the RPN's two outputs
    rpn_channels: int | None = None  # of these convolutions; None: as many as the pyramid's
    # "mlp": two fully connected layers (FPN, section 4.2); "conv": convolutions and one layer
    box_head: str = "mlp"
    box_head_width: int = 1024  # of the fully connected layers
    box_head_channels: Numbers = (256, 256, 256, 256)  # Group Normalization, section 4.2
    box_head_norm: str | None = None
    mask_head: str = "fcn"  # or "mlp": fully connected (Mask R-CNN, table 2e); not for C4
    mask_head_channels: Numbers = (256, 256, 256, 256)  # Mask R-CNN, figure 4 right
    mask_head_norm: str | None = None
    mask_mlp_widths: Numbers = (1024, 1024)
    mask_predictor_channels: int = 256
    keypoint_head_channels: Numbers = (512,) * 8  # Mask R-CNN, section 5
    min_size: int | Sequence[int] | None = 800  # pixels of the short side; None: as it is
    max_size: int | None = 1333  # limit of the long side
