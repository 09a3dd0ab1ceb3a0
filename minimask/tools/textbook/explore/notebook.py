"""The explorer in a notebook: sliders of ipywidgets beside the static figure's pictures."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from typing import Any

from minimask.tools.textbook.explore.figure import all_lines, draw
from minimask.tools.textbook.explore.operations import OPERATIONS
from minimask.tools.textbook.explore.scene import MAPS, MOST_BINS, STRIDES, Scene

MISSING = (
    "the panel needs ipywidgets, which is not installed: pip install 'minimask[tutorials]'; "
    "without it, `minimask explore --out explorer.html` writes the explorer as a page"
)
CORNERS = ("x0", "y0", "x1", "y1")
LIMITS = {"x0": (-64, 320), "y0": (-64, 256), "x1": (-64, 320), "y1": (-64, 256)}
SAMPLES = {"as many as cells": 0, "1": 1, "2": 2, "3": 3, "4": 4}


def build(scene: Scene) -> Any:
    """The panel, a `VBox`: `.controls` holds its widgets by name, `.picture` the picture.

    Args:
        scene: what is shown first.

    Raises:
        ImportError: without ipywidgets.
    """
    try:
        ipywidgets = importlib.import_module("ipywidgets")
    except ImportError:
        raise ImportError(MISSING) from None
    controls = _controls(ipywidgets, scene)
    picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))

    def show(_: object = None) -> None:
        picture.value = png_of({name: control.value for name, control in controls.items()})

    for control in controls.values():
        control.observe(show, names="value")
    show()
    names = list(controls)
    columns = [
        ipywidgets.VBox([controls[name] for name in part]) for part in (names[:4], names[4:])
    ]
    panel = ipywidgets.VBox([ipywidgets.HBox(columns), picture])
    panel.controls, panel.picture = controls, picture
    return panel


def _controls(ipywidgets: Any, scene: Scene) -> dict[str, Any]:
    """The widgets by name, in the order they are shown."""
    controls: dict[str, Any] = {}
    for name, value in zip(CORNERS, scene.box, strict=True):
        low, high = LIMITS[name]
        controls[name] = ipywidgets.FloatSlider(
            value=value,
            min=min(low, value),
            max=max(high, value),
            step=0.1,
            description=name,
            readout_format=".1f",
        )
    samples = {str(scene.ratio): scene.ratio} if scene.ratio not in SAMPLES.values() else {}
    options = {
        "operation": ["all", *(operation.name for operation in OPERATIONS)],
        "map": list(MAPS),
        "stride": list(STRIDES),
        "samples": list((SAMPLES | samples).items()),
    }
    first = {
        "operation": "all",
        "map": scene.map,
        "stride": scene.stride,
        "samples": scene.ratio,
    }
    for name, choices in options.items():
        controls[name] = ipywidgets.Dropdown(options=choices, value=first[name], description=name)
    controls["bins"] = ipywidgets.IntSlider(
        value=scene.size, min=1, max=MOST_BINS, description="bins P"
    )
    return controls


def png_of(values: Mapping[str, Any]) -> bytes:
    """The picture for the controls' values, as PNG."""
    scene = Scene(
        box=(values["x0"], values["y0"], values["x1"], values["y1"]),
        stride=values["stride"],
        size=values["bins"],
        ratio=values["samples"],
        map=values["map"],
    )
    lines = [
        line
        for line in all_lines(scene.ratio)
        if values["operation"] in ("all", line.operation.name)
    ]
    content = io.BytesIO()
    draw(scene, lines).savefig(content, format="png", dpi=72)
    return content.getvalue()
