"""Bodies whose layers follow one another: all but residual networks.

Letters: N images, C channels of a map, H W height and width of the input.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple, Self

from minimask.autograd import Tensor
from minimask.autograd.hooks import stage
from minimask.models.bodies.body import Body
from minimask.nn import Module


class Layer(NamedTuple):
    """One entry of a torchvision network's `features`."""

    module: Module
    channels: int  # of its output
    stride: int  # of the whole network up to its output


class StackedBody(Body):
    """A body whose layers follow one another, named 0, 1, 2 ... as in torchvision's `features`.

    Args:
        layers: from the image on.
        starts: the first layer of every section.
        outputs: the layer of every section whose output is the section's map; None: it has none.
    """

    def __init__(
        self, layers: Sequence[Layer], starts: Sequence[int], outputs: Sequence[int | None]
    ):
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer.module)
        self._sizes = [(layer.channels, layer.stride) for layer in layers]
        self._starts, self._outputs = list(starts), list(outputs)
        self.use([i for i, layer in enumerate(outputs) if layer is not None])

    def use(self, sections: Sequence[int]) -> Self:
        """Give the maps of these sections, 0 the first, instead of all there are.

        Raises:
            ValueError: no such section, or one without a map.
        """
        maps = [i for i, layer in enumerate(self._outputs) if layer is not None]
        if not sections or list(sections) != sorted({*sections} & {*maps}):
            raise ValueError(
                f"returned_layers: expected some of {', '.join(map(str, maps))}, the smallest "
                f"first, got {list(sections)}"
            )
        self._give([layer for i in sections if (layer := self._outputs[i]) is not None])
        return self

    def _give(self, layers: list[int]) -> None:
        self._maps = layers
        self.out_channels = [self._sizes[i][0] for i in layers]
        self.strides = [self._sizes[i][1] for i in layers]

    def cut(self, stride: int) -> list[Layer]:
        """End with the last layer of this stride, whose map is the only one then.

        Returns:
            The layers after it, which may serve as a head.
        """
        last = max(i for i, (_, s) in enumerate(self._sizes) if s == stride)
        after = range(last + 1, len(self._sizes))
        rest = [Layer(self._layer(i), *self._sizes[i]) for i in after]
        for i in after:
            delattr(self, str(i))
        del self._sizes[last + 1 :]
        self._outputs = []
        self._give([last])
        return rest

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> maps (N, C, H / stride, W / stride), finest first."""
        x, maps = images, []
        for i in range(self._maps[-1] + 1):
            section = bisect.bisect_right(self._starts, i) - 1
            with stage(f"backbone layer{section}" if section else "backbone stem"):
                x = self.step(i, x)
            if i in self._maps:
                maps.append(x)
        return maps

    def step(self, i: int, x: Tensor) -> Tensor:
        """Layer `i` of what comes out of the one before."""
        result: Tensor = self._layer(i)(x)
        return result

    def sections(self) -> list[list[Module]]:
        """From every layer that halves the size to the next one; empty ones where it was cut."""
        count = len(self._sizes)
        pairs = zip(self._starts, [*self._starts[1:], count], strict=True)
        return [[self._layer(i) for i in range(start, min(end, count))] for start, end in pairs]

    def _layer(self, i: int) -> Module:
        module: Module = getattr(self, str(i))
        return module
