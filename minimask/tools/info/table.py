"""The summary as text, 100 columns wide, and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minimask._version import __version__
from minimask.tools.info.fields import Field
from minimask.tools.info.summary import Bytes, Layer, Summary

COUNTED = (
    "multiply-adds: of convolutions and matrix products, one for each weight and place; not "
    "counted are norms,\nactivations, RoIAlign, resizing, and choosing boxes"
)


def table(summary: Summary, layers: bool = True) -> str:
    """The parts of the network, what they cost, what its cells see, how much memory it takes."""
    parts = [_head(summary)]
    if layers:
        parts.append("\n".join(_layer_lines(summary)))
    parts += ["\n".join(_stage_lines(summary)), "\n".join(_map_lines(summary))]
    parts += ["\n".join(_memory_lines(summary)), COUNTED]
    return "\n\n".join(part for part in parts if part)


def _head(s: Summary) -> str:
    frozen = "" if s.trainable == s.parameters else f", {s.trainable:,} of them learn"
    return (
        f"{s.name}: {s.parameters:,} parameters{frozen}; "
        f"{s.multiply_adds / 1e9:.2f} G multiply-adds for {s.images} x {s.size[0]} x {s.size[1]} "
        f"pixels{_regions(s)}"
    )


def _regions(s: Summary) -> str:
    if not s.counts.proposals:
        return ""
    return f", {s.counts.proposals} proposals and {s.counts.objects} objects"


def _layer_lines(s: Summary) -> Iterator[str]:
    yield f"{'layer':46}{'output':>22}{'parameters':>15}{'M mult-adds':>17}"
    for layer in s.layers:
        shape = " x ".join(map(str, layer.output)) if layer.output else _why_not(layer)
        shape += f" ({layer.calls}x)" if layer.calls > 1 else ""
        products = f"{layer.multiply_adds / 1e6:,.1f}" if layer.multiply_adds else ""
        count = f"{layer.parameters:,}" if layer.parameters else ""
        yield f"{_name(layer):46}{shape:>22}{count:>15}{products:>17}".rstrip()


def _why_not(layer: Layer) -> str:
    """Prediction folds batch norms into the convolutions before them."""
    return "in its convolution" if "BatchNorm2d" in layer.kind else "not called"


def _name(layer: Layer) -> str:
    kind = layer.kind.replace("()", "")
    text = f"{layer.path}  {kind}"
    return text if len(text) <= 46 else layer.path if len(layer.path) <= 46 else layer.path[-46:]


def _stage_lines(s: Summary) -> Iterator[str]:
    yield f"{'multiply-adds by stage':46}{'G':>12}{'%':>8}"
    for stage, products in s.stages.items():
        yield f"{stage:46}{products / 1e9:12.2f}{100 * products / s.multiply_adds:8.1f}"
    yield f"{'whole':46}{s.multiply_adds / 1e9:12.2f}"
    if s.training is not None:
        yield f"{'training step, forward and backward':46}{s.training_multiply_adds / 1e9:12.2f}"


def _map_lines(s: Summary) -> Iterator[str]:
    if not s.maps:
        return
    yield f"{'map of the body':26}{'stride':>10}{'a cell sees':>16}{'behind a 3x3 (the RPN):':>28}"
    for level in s.maps:
        shape = " x ".join(map(str, level.shape))
        stride = _pair(level.field.stride) if level.field else "?"
        yield (f"{shape:26}{stride:>10}{_pixels(level.field):>16}{_pixels(level.rpn_field):>28}")


def _pixels(field: Field | None) -> str:
    return "all, or varies" if field is None else f"{_pair(field.size)} pixels"


def _pair(value: tuple[int, int]) -> str:
    return str(value[0]) if value[0] == value[1] else f"{value[0]} x {value[1]}"


def _memory_lines(s: Summary) -> Iterator[str]:
    images = f"{s.images} x {s.size[0]} x {s.size[1]} pixels"
    yield f"memory in MB, for {images}, beside Python and packages (about 150)"
    yield f"  prediction: {_of(s.inference)}"
    if s.training is not None:
        kept = f", of which {s.training.kept / 1e6:.0f} wait for the backward pass"
        yield f"  training step: {_of(s.training)}{kept}"
        if s.counts.positives:
            yield (
                f"  with {s.counts.sampled} regions of each image, {s.counts.positives} of them "
                "with an object: the most there can be"
            )


def _of(b: Bytes) -> str:
    states = f" + optimizer {b.states / 1e6:.0f}" if b.states else ""
    return (
        f"{b.total / 1e6:.0f} = weights {b.weights / 1e6:.0f}{states} + arrays, at their most, "
        f"{b.peak / 1e6:.0f}"
    )


def as_json(s: Summary) -> dict[str, Any]:
    """Everything the table shows, exact numbers."""
    return {
        "minimask": __version__,
        "model": s.name,
        "images": s.images,
        "size": list(s.size),
        "regions_per_image": vars(s.counts),
        "parameters": s.parameters,
        "trainable_parameters": s.trainable,
        "multiply_adds": s.multiply_adds,
        "multiply_adds_by_stage": s.stages,
        "training_multiply_adds": s.training_multiply_adds or None,
        "layers": [vars(layer) | {"output": _list(layer.output)} for layer in s.layers],
        "maps": [
            {
                "shape": list(m.shape),
                "stride": m.field and list(m.field.stride),
                "receptive_field": m.field and list(m.field.size),
                "receptive_field_of_3x3": m.rpn_field and list(m.rpn_field.size),
            }
            for m in s.maps
        ],
        "memory_bytes": {
            "prediction": vars(s.inference) | {"total": s.inference.total},
            "training": s.training and vars(s.training) | {"total": s.training.total},
        },
    }


def _list(shape: tuple[int, ...] | None) -> list[int] | None:
    return None if shape is None else list(shape)
