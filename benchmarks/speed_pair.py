"""Whether one version of the code is as fast as another: whole models, in turns.

    python benchmarks/speed_pair.py CHECKOUT [--only TEXT] [--rounds N]

CHECKOUT is the version before; it and this one run the same functions of `cpu_minimask.py`, each in
a process that lives as long as a case does.  They take turns of one call, and the order changes
from round to round.  A line has the medians of both times and the median of the rounds' ratios, new
by old: below 1 is faster.  "spread" is half the distance of the ratios' quartiles; a difference
smaller than that says nothing.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cpu_cases import MODELS, Case, Files, write_images  # noqa: E402  (found by the line above)

ROUNDS = {"laptop_step": 40, "resnet18_step": 20, "resnet50_inference": 12, "resnet50_step": 8}
BUILD: dict[str, tuple[str, dict[str, Any]]] = {  # as in cpu_minimask.py, which loads the weights
    "laptop_step": ("maskrcnn_laptop", {"num_classes": 4, "convention": "torchvision"}),
    "resnet18_step": ("maskrcnn_resnet18_fpn", {"num_classes": 4, "norm": "batch"}),
    "resnet50_inference": ("maskrcnn_resnet50_fpn", {"num_classes": 91, "norm": "batch"}),
    "resnet50_step": ("maskrcnn_resnet50_fpn", {"num_classes": 91, "norm": "batch"}),
}


def serve(index: int, folder: pathlib.Path, threads: int) -> None:
    """Run the case once for each line on stdin and print its seconds."""
    import minimask as mm

    mm.runtime.prepare()
    import cpu_minimask

    cpu_minimask.set_threads(threads)
    case = MODELS[index]
    files = Files(folder / "images.npz", folder / "weights.npz")
    call = getattr(cpu_minimask, case.kind)(case.options, case.backward, files)
    for _ in range(2):  # compiles, and fills the allocator
        call()
    print(mm.__file__, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        call()
        print(time.perf_counter() - start, flush=True)


def write_weights(case: Case, folder: pathlib.Path) -> None:
    """The same random weights for both sides."""
    import numpy as np

    from minimask import models

    name, options = BUILD[case.kind]
    np.savez(folder / "weights.npz", **getattr(models, name)(**options).state_dict())


class Side:
    """One version in a process of its own."""

    def __init__(self, checkout: pathlib.Path, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "-", *words],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = self._read()
        if not found.startswith(str(checkout)):
            raise SystemExit(f"minimask is {found.strip()}, not that of {checkout}")

    def seconds(self) -> float:
        """The time of one call."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout
        if not (line := self.process.stdout.readline()):
            raise SystemExit("a side ended; its message is above")
        return line


def compare(case: Case, checkouts: Sequence[pathlib.Path], rounds: int, threads: int) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_images(folder / "images.npz")
        write_weights(case, folder)
        words = ["--serve", str(MODELS.index(case)), name, "--threads", str(threads)]
        old, new = sides = [Side(checkout, words) for checkout in checkouts]
        times: dict[Side, list[float]] = {old: [], new: []}
        for i in range(rounds):
            for side in sides if i % 2 else sides[::-1]:
                times[side].append(side.seconds())
        for side in sides:
            side.close()
    ratios = [b / a for a, b in zip(times[old], times[new], strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    before, after = (1e3 * statistics.median(times[side]) for side in sides)
    return (
        f"| {case.name} | {before:.1f} | {after:.1f} | {middle:.3f} | {(upper - lower) / 2:.3f} |"
    )


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this")
    parser.add_argument("--rounds", type=int, help="at least 2; default: by the case")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(int(given.serve[0]), pathlib.Path(given.serve[1]), given.threads)
        return
    checkouts = [given.checkout.resolve(), HERE.parent]
    sys.path.insert(0, str(HERE.parent))
    print("| what | old ms | new ms | new / old | spread |\n|---|---:|---:|---:|---:|")
    for case in MODELS:
        if given.only in case.name:
            print(compare(case, checkouts, given.rounds or ROUNDS[case.kind], given.threads))


if __name__ == "__main__":
    main()
