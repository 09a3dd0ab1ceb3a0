"""What pyramids and heads ask of the network below them."""

from __future__ import annotations

from minimask.autograd import Tensor
from minimask.nn import BatchNorm2d, Module


class Body(Module):
    """A classification network without its classifier: images to maps of ever smaller size.

    Attributes:
        out_channels: of each map.
        strides: pixels of the image per cell, of each map; finest first.
    """

    out_channels: list[int]
    strides: list[int]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> maps (N, C, H / stride, W / stride), finest first."""
        raise NotImplementedError

    def sections(self) -> list[list[Module]]:
        """The parts it is frozen, trained and recomputed by, from the image on: stem, stages."""
        raise NotImplementedError

    def freeze(self, trainable_layers: int | None) -> None:
        """Keep all but the last `trainable_layers` sections as they are; None: train all.

        The norms of frozen ones use the statistics they have, in training too, and collect no new
        ones.

        Raises:
            ValueError: there are not so many sections.
        """
        sections = self.sections()
        if trainable_layers is None:
            return
        if not 0 <= trainable_layers <= len(sections):
            raise ValueError(
                f"trainable_layers: expected 0 .. {len(sections)}, got {trainable_layers}"
            )
        for modules in sections[: len(sections) - trainable_layers]:
            for module in modules:
                module.requires_grad_(False)
                for norm in module.modules():
                    if isinstance(norm, BatchNorm2d):
                        norm.fixed = True
