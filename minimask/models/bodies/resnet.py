"""Residual networks (He et al. 2015): features at 1/4, 1/8, 1/16 and 1/32 of the image's size.

ResNeXt (Xie et al. 2016, table 1) splits the 3x3 convolutions of the bottlenecks into groups; a
wide ResNet (Zagoruyko et al. 2016) has bottlenecks of more inner channels.  The last stage may keep
1/16 with dilated convolutions instead, the "dilated C5" of Deformable ConvNets (Dai et al. 2017).

Letters: N images, H W height and width of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.models.bodies.body import Body
from minimask.models.initialization import conv
from minimask.nn import (
    BatchNorm2d,
    Conv2d,
    FrozenBatchNorm2d,
    GroupNorm,
    Module,
    Sequential,
    conv_norm,
)

NORMS = ("batch", "frozen_batch", "group")
STEM_CHANNELS = 64


def make_norm(kind: str, channels: int, eps: float) -> Module:
    """A normalization layer: trained "batch" norm, its "frozen_batch" form, or "group" norm."""
    if kind == "batch":
        return BatchNorm2d(channels, eps=eps)
    if kind == "frozen_batch":
        return FrozenBatchNorm2d(channels, eps=eps)
    if kind == "group":
        return GroupNorm(math.gcd(32, channels), channels, eps=eps)
    raise ValueError(f"norm: expected one of {', '.join(NORMS)}, got {kind!r}")


def inner_channels(channels: int, groups: int, width_per_group: int) -> int:
    """Of a bottleneck's 3x3 convolution: 4 per group in stage 1 is ResNeXt's "32x4d".

    Raises:
        ValueError: groups without a channel, or not so many groups.
    """
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups: expected a whole number from 1 up, got {groups!r}")
    width = channels * width_per_group // 64
    if width < 1:
        raise ValueError(
            f"width_per_group: {width_per_group} per 64 channels leaves a group of the first stage "
            f"({channels} channels) without any; it must be at least {-(-64 // channels)}"
        )
    return width * groups


class Shortcut(Sequential):
    """A 1x1 convolution that brings the input to the shape of the block's output."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str,
        eps: float,
        rng: np.random.Generator,
    ):
        super().__init__(
            conv(in_channels, out_channels, 1, rng, stride=stride, bias=False),
            make_norm(norm, out_channels, eps),
        )

    def forward(self, x: Tensor, **after: Any) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        convolution, norm = self
        assert isinstance(convolution, Conv2d)
        return conv_norm(convolution, norm, x, **after)


class BasicBlock(Module):
    """Two 3x3 convolutions beside a shortcut (ResNet, figure 5 left)."""

    default_expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        rng: np.random.Generator,
        *,
        norm: str,
        norm_eps: float = 1e-5,
        stride_in_1x1: bool = False,  # of bottlenecks
        dilation: int = 1,  # likewise
        expansion: int = 1,
        groups: int = 1,
        width_per_group: int = 64,
    ):
        if expansion != 1 or groups != 1 or width_per_group != 64:
            raise ValueError(
                "basic blocks have neither expansion, groups nor width_per_group; they are of "
                'block="bottleneck"'
            )
        self.conv1 = conv(in_channels, channels, 3, rng, stride=stride, bias=False)
        self.bn1 = make_norm(norm, channels, norm_eps)
        self.conv2 = conv(channels, channels, 3, rng, bias=False)
        self.bn2 = make_norm(norm, channels, norm_eps)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = Shortcut(in_channels, channels, stride, norm, norm_eps, rng)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = conv_norm(self.conv1, self.bn1, x, relu=True)
        return conv_norm(self.conv2, self.bn2, y, residual=shortcut, relu=True)


class Bottleneck(Module):
    """1x1 down, 3x3, 1x1 up, beside a shortcut (ResNet, figure 5 right)."""

    default_expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        rng: np.random.Generator,
        *,
        norm: str,
        norm_eps: float = 1e-5,
        stride_in_1x1: bool = False,  # in the first 1x1 convolution, not in the 3x3
        dilation: int = 1,  # of the 3x3 convolution
        expansion: int = 4,
        groups: int = 1,  # of the 3x3 convolution: ResNeXt's cardinality
        width_per_group: int = 64,  # inner channels of a group, per 64 channels
    ):
        width = inner_channels(channels, groups, width_per_group)
        out_channels = channels * expansion
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv(in_channels, width, 1, rng, stride=first, bias=False)
        self.bn1 = make_norm(norm, width, norm_eps)
        how: dict[str, Any] = {"stride": second, "dilation": dilation, "groups": groups}
        self.conv2 = conv(width, width, 3, rng, bias=False, **how)
        self.bn2 = make_norm(norm, width, norm_eps)
        self.conv3 = conv(width, out_channels, 1, rng, bias=False)
        self.bn3 = make_norm(norm, out_channels, norm_eps)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = Shortcut(in_channels, out_channels, stride, norm, norm_eps, rng)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, channels * expansion, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = conv_norm(self.conv1, self.bn1, x, relu=True)
        y = conv_norm(self.conv2, self.bn2, y, relu=True)
        return conv_norm(self.conv3, self.bn3, y, residual=shortcut, relu=True)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}


def residual_stage(
    index: int,
    count: int,
    in_channels: int,
    rng: np.random.Generator,
    *,
    block: str,
    expansion: int | None = None,
    stem_channels: int = STEM_CHANNELS,
    dilated: str | None = None,
    **options: Any,  # of the block: norm, norm_eps, stride_in_1x1, groups, width_per_group
) -> Sequential:
    """Stage `index` (0 .. 3) of the network: `count` blocks, the first of which halves the size.

    Stage 0 keeps the size, and so does a dilated one: its 3x3 convolutions look at every other cell
    instead, in "all" blocks or in all "but_first".  The output has stem_channels * 2^index *
    expansion channels.
    """
    if block not in BLOCKS:
        raise ValueError(f"block: expected one of {', '.join(BLOCKS)}, got {block!r}")
    if dilated and block == "basic":
        raise ValueError(
            'features: "dc5" dilates bottlenecks, and these are basic blocks; take '
            'block="bottleneck", or "c5" or "c4" with basic blocks'
        )
    make_block = BLOCKS[block]
    options["expansion"] = make_block.default_expansion if expansion is None else expansion
    channels, blocks = stem_channels << index, []
    for j in range(count):
        stride = 2 if index > 0 and j == 0 and dilated is None else 1
        options["dilation"] = 2 if dilated == "all" or (dilated and j > 0) else 1
        blocks.append(make_block(in_channels, channels, stride, rng, **options))
        in_channels = channels * options["expansion"]
    return Sequential(*blocks)


class ResNet(Body):
    """The stem and four stages of residual blocks; parameter names are torchvision's."""

    paper = "ResNet"
    formula = "y = relu(F(x) + x), F: two or three convolutions"

    def __init__(
        self,
        layers: Sequence[int],  # blocks per stage: (3, 4, 6, 3) is ResNet-50 with bottlenecks
        rng: np.random.Generator,
        *,
        block: str = "bottleneck",
        norm: str = "frozen_batch",
        norm_eps: float = 1e-5,
        expansion: int | None = None,  # default: 4 for bottlenecks
        stem_channels: int = STEM_CHANNELS,
        stem_pool_padding: str = "both",  # sides; "after": only bottom and right (TensorFlow)
        stages: int = 4,  # 3: up to C4; the fourth may serve as a head then
        dilated: str | None = None,  # of the fourth stage, see `residual_stage`
        **options: Any,  # of the blocks
    ):
        if len(layers) != 4 or min(layers) < 1:
            raise ValueError(f"layers: expected four numbers of blocks, got {list(layers)}")
        if dilated and stages != 4:
            raise ValueError(f"dilated: is of the fourth stage, and there are {stages}")
        self.pool_after = stem_pool_padding == "after"
        self.conv1 = conv(3, stem_channels, 7, rng, stride=2, bias=False)
        self.bn1 = make_norm(norm, stem_channels, norm_eps)
        options |= {"block": block, "norm": norm, "norm_eps": norm_eps, "expansion": expansion}
        self.strides = [4, 8, 16, 16 if dilated else 32][:stages]
        channels, self.out_channels, all_stages = stem_channels, [], []
        for i, count in enumerate(layers[:stages]):
            options["dilated"] = dilated if i == 3 else None
            blocks = residual_stage(i, count, channels, rng, stem_channels=stem_channels, **options)
            channels = (stem_channels << i) * (expansion or BLOCKS[block].default_expansion)
            self.out_channels.append(channels)
            all_stages.append(blocks)
        self.layer1, self.layer2, self.layer3 = all_stages[:3]
        self.layer4 = all_stages[3] if stages == 4 else None

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> C2 .. C5 at 1/4, 1/8, 1/16, 1/32 of the size (C5 dilated: 1/16).

        At three stages there is no C5.
        """
        x = conv_norm(self.conv1, self.bn1, images, relu=True)
        if self.pool_after:  # values are >= 0 after relu, so zeros never win
            x = F.max_pool2d(ops.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))), 3, stride=2, padding=0)
        else:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c2, c3, c4] if self.layer4 is None else [c2, c3, c4, self.layer4(c4)]

    def sections(self) -> list[list[Module]]:
        """The stem and the stages there are; the fourth may be a head elsewhere."""
        last: list[Module] = [] if self.layer4 is None else [self.layer4]
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], last]
