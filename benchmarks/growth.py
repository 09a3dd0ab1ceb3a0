"""How cost grows: images per second against image size, regions per image and batch.

    python benchmarks/growth.py --picture growth.png [--json FILE] [--peer-python ENV/bin/python]
    python benchmarks/growth.py --from-json FILE --picture growth.png

Training step and inference, each with one thread and with all, in about five minutes on two cores;
with `--peer-python` torchvision beside one of the curves.  Every line is a process of its own.
Prints a table in Markdown; what is being measured goes to stderr.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import growth_curves  # noqa: E402  (found by the line above, from wherever this is started)
from cpu import BEST, problem_of_peer  # noqa: E402
from cpu_report import cores, machine  # noqa: E402
from growth_curves import (  # noqa: E402
    CURVES,
    OURS,
    PEER,
    PEER_CURVE,
    Call,
    Curve,
    count,
    images_per_second,
)

# calls of a point, and seconds for all of them, whichever takes longer
FULL, SLOW, QUICK = (5, 1.5), (3, 1.5), (2, 0.3)

Line = dict[str, Any]  # curve, side, threads, points: [{x, images, seconds: [...]}]


# ---- one line, in its own process


def serve(options: argparse.Namespace) -> None:
    """Measure one line: a JSON object per point on stdout, as soon as it is known."""
    curve = find(options.serve)
    if options.side == OURS:
        from minimask.system import runtime

        runtime.prepare()
        runtime.use_threads(options.threads)
    else:
        import torch

        torch.set_num_threads(options.threads)
    kind = QUICK if options.quick else FULL if options.side == OURS else SLOW
    for x in curve.quick if options.quick else curve.points:
        call = make(curve, x, options)
        call()  # compiles, and fills caches and pools of memory
        seconds = measure(call, *kind)
        point = {"x": x, "images": curve.images(x), "seconds": seconds}
        print(json.dumps(point), flush=True)


def find(name: str) -> Curve:
    """The curve of this name."""
    return next(curve for curve in CURVES if curve.name == name)


def make(curve: Curve, x: int, options: argparse.Namespace) -> Call:
    """The call to time; the peer has one curve."""
    if options.side == OURS:
        return curve.make(x)
    return growth_curves.peer_infer_size(x, options.weights)


def measure(call: Call, least: int, limit: float) -> list[float]:
    """Seconds of single calls: at least so many, and until they took `limit` seconds together."""
    times: list[float] = []
    while len(times) < least or sum(times) < limit:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


# ---- all lines


def run(options: argparse.Namespace) -> Iterator[Line]:
    """All lines whose curve was asked for; the peer with all threads, as it takes its time."""
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder) / "weights.npz"
        for curve in CURVES:
            if options.only not in curve.name:
                continue
            for threads in sorted({1, cores()}):
                yield line(curve, OURS, threads, weights, options)
            if options.peer_python and curve.name == PEER_CURVE:
                growth_curves.write_weights(weights)
                yield line(curve, PEER, cores(), weights, options)


def line(
    curve: Curve, side: str, threads: int, weights: pathlib.Path, options: argparse.Namespace
) -> Line:
    """Start the process that measures a line and collect its points.

    Raises:
        SystemExit: it failed; what it said is on stderr.
    """
    python = sys.executable if side == OURS else options.peer_python
    words = [python, __file__, "--serve", curve.name, "--side", side, "--threads", str(threads)]
    words += ["--weights", str(weights)] + ["--quick"] * options.quick
    environment = {**os.environ, **(BEST if side == PEER else {})}
    points = []
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for text in process.stdout:
            points.append(json.loads(text))
            x, speed = points[-1]["x"], images_per_second(points[-1])
            what = f"{curve.name} {x}, {side}, {count(threads)}"
            print(f"{what}: {speed:.3g} images/s", file=sys.stderr, flush=True)
    if process.returncode:
        raise SystemExit(f"{curve.name}, {side}: its process ended with {process.returncode}")
    return {"curve": curve.name, "side": side, "threads": threads, "points": points}


# ---- all of it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, help="write all times there")
    parser.add_argument("--picture", type=pathlib.Path, help="draw all lines there: .png or .svg")
    parser.add_argument("--from-json", type=pathlib.Path, help="measure nothing, read these times")
    parser.add_argument("--quick", action="store_true", help="few points and calls: a trial")
    parser.add_argument("--only", default="", help="curves whose name contains this")
    parser.add_argument("--peer-python", help="where torchvision is, for a line beside ours")
    for hidden in ("--serve", "--side"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options)
        return 0
    if options.picture and options.picture.suffix not in (".png", ".svg"):
        parser.error(f"--picture {options.picture}: expected a name that ends in .png or .svg")
    if not any(options.only in curve.name for curve in CURVES):
        names = "; ".join(curve.name for curve in CURVES)
        parser.error(f"--only {options.only!r}: no such curve; there are {names}")
    if options.peer_python and (problem := problem_of_peer(options.peer_python)):
        parser.error(problem)
    show(options, read(options))
    return 0


def read(options: argparse.Namespace) -> dict[str, Any]:
    """The measurements, from a file or made now and written to one."""
    if options.from_json:
        try:
            content: dict[str, Any] = json.loads(options.from_json.read_text())
            content["lines"], content["date"]
        except OSError as error:
            raise SystemExit(f"--from-json {options.from_json}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(
                f"--from-json {options.from_json}: not a file that --json has written ({error})"
            ) from error
        return content
    began = time.perf_counter()
    content = {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "cores": cores(),
        "quick": options.quick,
        "lines": list(run(options)),
    }
    print(f"measured in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if options.json:
        from minimask.system.files import write_whole

        write_whole(options.json, json.dumps(content, indent=1).encode())
    return content


def show(options: argparse.Namespace, content: dict[str, Any]) -> None:
    """The table, and the picture if it was asked for."""
    import growth_report  # not above: it imports NumPy, which waits for `runtime.prepare`

    print(f"{content['machine']}, {content['date']}\n\n{growth_report.table(content)}")
    if options.picture:
        growth_report.draw(content, options.picture)


if __name__ == "__main__":
    sys.exit(main())
