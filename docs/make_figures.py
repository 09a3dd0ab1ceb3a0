"""The pictures of the README, drawn from finished runs.

    python docs/make_figures.py runs/demo docs/figures/demo.png
    python docs/make_figures.py runs/nuclei docs/figures/nuclei.png

Three rows of validation images: as they are, as annotated, and what the run's model finds.

Those of RoIPool and RoIAlign need no run, and have a command of their own:

    minimask explore --size 3 --out docs/figures/roi_explorer.png
    minimask explore --size 3 --map ramp --out docs/figures/roi_explorer.gif
    minimask explore --measure --out docs/figures/misalignment.png
"""

from __future__ import annotations

import argparse
import pathlib

from minimask import open_run
from minimask.draw import contact_sheet, draw_target, overlay, save_image
from minimask.train.run import open_data

SIDE = 256  # pixels of one picture, at least


def main() -> None:
    """Draw one sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("png", type=pathlib.Path)
    parser.add_argument("--images", type=int, nargs="+", default=[0, 1, 2, 3])
    arguments = parser.parse_args()

    run = open_run(arguments.run)
    _, validation = open_data(run.settings)
    if validation is None:
        parser.error(f"{arguments.run} has no validation images")
    samples = [validation[i] for i in arguments.images]
    found = run.model.predict([sample.image for sample in samples])
    pairs = list(zip(samples, found, strict=True))
    rows = [
        [overlay(s.image, f, min_score=2, size=SIDE) for s, f in pairs],
        [draw_target(s.image, s, validation.classes, size=SIDE) for s in samples],
        [overlay(s.image, f, min_score=0.5, size=SIDE) for s, f in pairs],
    ]
    counts = [f"found: {(f.scores >= 0.5).sum()}" for f in found]
    titles = ["image"] * len(samples) + [f"annotated: {len(s)}" for s in samples] + counts
    pictures = [picture for row in rows for picture in row]
    save_image(arguments.png, contact_sheet(pictures, titles, columns=len(samples)))


if __name__ == "__main__":
    main()
