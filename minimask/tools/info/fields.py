"""How much of the image a cell of a feature map sees: its receptive field.

A layer with a window of k cells adds (k - 1) times the step of the map it reads; a layer with
stride s makes the step s times as long.  Of paths that meet again, as beside a shortcut, the
widest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from minimask.autograd.hooks import Hook

Pair = tuple[int, int]


class Field(NamedTuple):
    """What the cells of a map see, vertically and horizontally, in pixels."""

    size: Pair = (1, 1)  # of what one cell sees
    stride: Pair = (1, 1)  # from one cell to the next

    def through(self, window: Any, stride: Any = 1, dilation: Any = 1) -> Self:
        """The field behind a layer with such a window; numbers or (vertical, horizontal)."""
        sides, steps, gaps = _pair(window), _pair(stride), _pair(dilation)
        down, across = (
            (self.size[a] + (sides[a] - 1) * gaps[a] * self.stride[a], self.stride[a] * steps[a])
            for a in range(2)
        )
        return self._replace(size=(down[0], across[0]), stride=(down[1], across[1]))

    def beside(self, other: Field) -> Field:
        """The field of a sum of two maps of the same stride."""
        return Field(tuple(map(max, self.size, other.size)), self.stride)  # type: ignore[arg-type]


def receptive_field(layers: Sequence[tuple[int, int, int]]) -> int:
    """Side in pixels of what one cell sees behind layers (window, stride, padding)."""
    field = Field()
    for window, stride, _ in layers:
        field = field.through(window, stride)
    return field.size[0]


class FieldHook(Hook):
    """Follows the fields of all maps that are computed from the image's.

    Only operations whose result has a cell for every cell (or every few cells) of what they read
    have a field: no resized maps, no means over whole maps.  The gates of squeeze-and-excitation,
    which see everything, are not counted.
    """

    def __init__(self, image: Any) -> None:
        self.fields: dict[int, Field] = {id(image): Field()}
        self._arrays = [image]  # so that no identity is used again

    def of(self, array: Any) -> Field | None:
        """What a cell of this map sees; None: it has no field of fixed size."""
        return self.fields.get(id(array))

    def forward(self, ctx: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
        """Run an operation and note the field of its result."""
        out = super().forward(ctx, arrays, options)
        field = self._behind(ctx.fn.__name__, arrays, options, out)
        if field is not None:
            self.fields[id(out)] = field
            self._arrays.append(out)
        return out

    def _behind(
        self, name: str, arrays: list[Any], options: dict[str, Any], out: Any
    ) -> Field | None:
        known = [self.fields[id(a)] for a in arrays if id(a) in self.fields]
        if not known or out.ndim != 4:
            return None
        field = known[0]
        if "kernel_size" in options:  # pooling
            stride = options.get("stride") or options["kernel_size"]
            field = field.through(options["kernel_size"], stride)
        elif name.startswith("Conv2d") or name.startswith("Depthwise"):
            window = arrays[1].shape[2:]
            dilation = options.get("dilation", 1)
            field = field.through(window, options.get("stride", 1), dilation)
        elif name != "Pad" and any(
            a.shape[2:] != out.shape[2:] for a in arrays if id(a) in self.fields
        ):
            return None
        for other in known[1:]:
            field = field.beside(other)
        return field


def _pair(value: Any) -> Pair:
    return (value[0], value[1]) if isinstance(value, tuple | list) else (value, value)
