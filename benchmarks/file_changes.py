"""How often a reader who follows one training step must change file in `minimask/models/`.

    python benchmarks/file_changes.py [CHECKOUT]

Counted while the small Mask R-CNN runs on one generated image: each time a function of another
file of the model is entered or returned to.  Files outside `minimask/models/` are passed over, and
so is the backbone (ResNet and pyramid), which is a box of its own.  Every call counts, helpers as
well as steps, so the number is for comparing versions, not for its own sake.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
BACKBONE = ("resnet.py", "fpn.py")


def without_repeats(files: Iterable[str]) -> list[str]:
    """The files in their order, one entry where several in a row are the same."""
    return [name for name, _ in itertools.groupby(files)]


def files_entered(run: Callable[[], Any], package: pathlib.Path, folder: str) -> list[str]:
    """The files of one folder of a package in the order in which a run enters or returns to them.

    Args:
        run: what is watched.
        package: only its functions count; those of others are passed through.
        folder: names are relative to it, and files elsewhere in the package are left out.
    """
    prefix, inside = f"{package}{os.sep}", f"{package / folder}{os.sep}"
    entered: list[str] = []

    def note(path: str) -> None:
        if path.startswith(inside):
            entered.append(path[len(inside) :])

    def watch(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if not path.startswith(prefix):
            return
        if event == "call":
            note(path)
        elif event == "return":
            caller = frame.f_back
            while caller is not None and not caller.f_code.co_filename.startswith(prefix):
                caller = caller.f_back
            if caller is not None:
                note(caller.f_code.co_filename)

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return without_repeats(entered)


def measure() -> None:
    """Print the counts of the `minimask` on the path."""
    import minimask as mm

    mm.runtime.prepare()
    import numpy as np

    from minimask.data import Shapes
    from minimask.models import Target

    package = pathlib.Path(mm.__file__).resolve().parent
    shapes = Shapes(4, size=96)
    sample, target = shapes[0], Target(shapes[0].boxes, shapes[0].labels, shapes[0].masks)
    model = mm.models.maskrcnn_laptop(list(shapes.classes), min_size=96, max_size=96)
    model.train()
    runs: dict[str, Callable[[], Any]] = {
        "training step": lambda: model.losses(
            [sample.image], [target], rng=np.random.default_rng(0)
        ),
        "prediction": lambda: model.predict([sample.image]),
    }
    for run in runs.values():  # what is computed once and remembered
        run()
    print(f"file changes in {package / 'models'}, backbone left out:")
    for name, run in runs.items():
        entered = files_entered(run, package, "models")
        route = without_repeats(f for f in entered if pathlib.Path(f).name not in BACKBONE)
        print(f"{name}: {max(len(route) - 1, 0)} over {len(set(route))} files")
        print("  " + " > ".join(name.removesuffix(".py") for name in route))


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=pathlib.Path, nargs="?", default=ROOT)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        measure()
        return 0
    checkout = given.checkout.resolve()
    if not (checkout / "minimask" / "models").is_dir():
        print(f"{checkout}: no folder minimask/models in it", file=sys.stderr)
        return 2
    words = [sys.executable, __file__, "--here"]
    return subprocess.call(words, env={**os.environ, "PYTHONPATH": str(checkout)})


if __name__ == "__main__":
    sys.exit(main())
