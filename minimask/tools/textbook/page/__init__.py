"""Self-contained HTML pages: no network, no server, light and dark, readable on a phone.

A page is one file: styles, scripts and pictures are inside it.  Templates escape what they are
given unless it is marked as HTML (`markupsafe.Markup`).
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from minimask.system.files import write_whole

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure
    from PIL import Image


def write_page(path: str | os.PathLike[str], template: str, context: Mapping[str, Any]) -> None:
    """Render a template into a file, whole or not at all.

    Args:
        path: of the HTML file.
        template: as for `render`.
        context: as for `render`.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, render(template, context).encode())


def render(template: str, context: Mapping[str, Any]) -> str:
    """The text of a page.

    Args:
        template: its path inside the textbook's folder, e.g. "trace/book.html.j2".  It begins with
            `{% extends "page/base.html.j2" %}` and fills the blocks title, style, main, script.
        context: what the template names.
    """
    return _environment().get_template(template).render(**context)


def png_uri(
    picture: np.ndarray | Figure, *, colors: int | None = None, keep: Sequence[str] = ()
) -> str:
    """A picture as a `data:` address, for the `src` of an `img`.

    Args:
        picture: (H, W, 3) uint8, or a Matplotlib figure, which is drawn at its own dpi.
        colors: of a palette the picture is reduced to, e.g. 64: a third of the bytes for drawings.
        keep: colors such as "#0072b2" that stay exactly as they are, however few pixels have them.
    """
    from PIL import Image

    if not isinstance(picture, np.ndarray):
        drawn = io.BytesIO()
        picture.savefig(drawn, format="png")
        image = Image.open(drawn).convert("RGB")
    else:
        image = Image.fromarray(picture)
    if colors is not None:
        image = _reduced(image, colors, keep)
    encoded = io.BytesIO()
    image.save(encoded, format="png", optimize=True)
    return data_uri("image/png", encoded.getvalue())


def _reduced(image: Image.Image, colors: int, keep: Sequence[str]) -> Image.Image:
    """An RGB image with a palette."""
    from PIL import Image, ImageColor

    usual = image.quantize(colors - len(keep), dither=Image.Dither.NONE)
    if not keep:
        return usual
    values = (usual.getpalette() or [])[: 3 * (colors - len(keep))]
    palette = Image.new("P", (1, 1))
    kept = [ImageColor.getrgb(color)[:3] for color in keep]
    palette.putpalette([*values, *(v for color in kept for v in color)])
    reduced = np.array(image.quantize(palette=palette, dither=Image.Dither.NONE))
    pixels = np.asarray(image)
    for k, color in enumerate(kept, len(values) // 3):  # near ones may have been taken for them
        reduced[(pixels == np.array(color)).all(axis=2)] = k
    made = Image.fromarray(reduced, "P")
    made.putpalette(palette.getpalette() or [])
    return made


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as an address that holds them, `data:KIND;base64,...`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("minimask.tools.textbook", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["include_raw"] = _include_raw
    return environment


def _include_raw(name: str) -> Markup:
    """A style sheet or a script of ours, as it is."""
    loader = _environment().loader
    assert loader is not None
    source, _, _ = loader.get_source(_environment(), name)
    return Markup(source)
