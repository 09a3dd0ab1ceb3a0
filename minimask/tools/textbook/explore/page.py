"""The explorer as one HTML file that computes everything in the browser."""

from __future__ import annotations

import os

from minimask.tools.textbook.explore.mask_bound import Bound
from minimask.tools.textbook.explore.misalignment import Misalignment, measure
from minimask.tools.textbook.explore.scene import Scene
from minimask.tools.textbook.page import png_uri, write_page


def write_explorer(
    path: str | os.PathLike[str],
    scene: Scene,
    measured: Misalignment | None = None,
    bound: Bound | None = None,
) -> None:
    """Write the page.

    Args:
        path: of the HTML file; replaced when it exists.
        scene: what it shows first.
        measured: the table of misalignments; default: measured now, which takes a second.
        bound: what it does to masks; without it the page has no such figure.

    Raises:
        OSError: the file cannot be written.
    """
    measured = measured or measure()
    figure = None
    if bound is not None:
        from minimask.tools.textbook.explore.consequences import draw

        figure = png_uri(draw(measured, bound), colors=64)
    first = {name: getattr(scene, name) for name in ("box", "stride", "size", "ratio", "map")}
    context = {
        "scene": first,
        "misalignment": measured.rows,
        "boxes": measured.boxes,
        "seconds": measured.seconds,
        "figure": figure,
    }
    write_page(path, "explore/page.html.j2", context)
