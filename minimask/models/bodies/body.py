"""What pyramids and heads ask of the network below them."""

from __future__ import annotations

from minimask.autograd import Tensor
from minimask.nn import BatchNorm2d, Module, Sequential


class Body(Module):
    """A classification network without its classifier: images to maps of ever smaller size.

    Attributes:
        out_channels: of each map.
        strides: pixels of the image per cell, of each map; finest first.
        paper: where it comes from.
        formula: what most of its layers compute.
    """

    paper: str = ""
    formula: str = ""
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
        ones.  The others learn from now on, whatever was said before.

        Raises:
            ValueError: there are not so many sections.
        """
        sections = self.sections()
        count = len(sections) if trainable_layers is None else trainable_layers
        if not 0 <= count <= len(sections):
            raise ValueError(f"trainable_layers: expected 0 .. {len(sections)}, got {count}")
        for i, modules in enumerate(sections):
            frozen = i < len(sections) - count
            for module in modules:
                module.requires_grad_(not frozen)
                for norm in module.modules():
                    if isinstance(norm, BatchNorm2d):
                        norm.fixed = frozen

    def recompute(self, stages: int | None) -> None:
        """Keep nothing inside the blocks of the first `stages` stages for the backward pass.

        It computes them again: less memory, more time.  The first stages have the largest maps.
        The stem, a layer or two, is no stage; its result is kept.

        Args:
            stages: how many, from the image on; 0: none; None: all there are.

        Raises:
            ValueError: there are not so many stages, or one of them has no blocks.
        """
        parts = [[b for m in modules for b in _blocks(m)] for modules in self.sections()[1:]]
        while parts and not parts[-1] and not self.sections()[len(parts)]:
            parts.pop()  # a stage that is a head elsewhere
        count = len(parts) if stages is None else stages
        if not 0 <= count <= len(parts):
            raise ValueError(f"this network has {len(parts)} stages after its stem, not {count}")
        for i, blocks in enumerate(parts):
            if i < count and not blocks:
                raise ValueError(f"stage {i + 1} of this network has no blocks to compute again")
            for block in blocks:
                block.recomputed = i < count


def _blocks(module: Module) -> list[Module]:
    """The parts of a stage that consist of several layers: the smallest that are worth it."""
    children = [child for _, child in module.named_children()]
    if isinstance(module, Sequential) and children and all(map(_several, children)):
        return children
    return [module] if _several(module) else []


def _several(module: Module) -> bool:
    return next(module.named_children(), None) is not None
