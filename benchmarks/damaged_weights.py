"""Whether damaged files of weights give a sentence, never a traceback, a hang or a full memory.

    python benchmarks/damaged_weights.py                       20 000 files of all containers
    python benchmarks/damaged_weights.py --kinds hdf5 --count 300 --seed 5
    python benchmarks/damaged_weights.py --kinds hdf5 --only 117    one, with its traceback
    python benchmarks/damaged_weights.py --out benchmarks/results   also writes the page

A small file of each container is damaged (weight_damage.py) and read with `read_weights`.  Right
is: arrays, or ValueError in one line that begins with the path.  Wrong is any other error, more
than `--seconds` for one, more memory than 2.5 x the file + 50 MB, and a whole file that afterwards
reads otherwise than before.  Exit code 1: something was wrong.

Each container runs in processes of their own with a limited address space, started anew behind a
file that ended one.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import faulthandler
import json
import pathlib
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from random import Random
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import weight_damage  # noqa: E402  (found by the line above)

LONGEST = 900  # characters of a sentence
SHARE, FLOOR = 2.5, 50 << 20  # of a file's size, and bytes beyond it, that reading may take
RIGHT = ("read", "refused")
Outcome = tuple[int, str, str, float, int, int]  # number, what, words, seconds, bytes, file's bytes


class Late(BaseException):
    """One file took too long."""


def read(path: pathlib.Path, seconds: float) -> tuple[str, str]:
    """Read a file: "read" or "refused", else what went wrong; and the words of it."""
    from minimask.weights import read_weights

    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        arrays = read_weights(path)
        return "read", f"{len(arrays)} arrays"
    except ValueError as error:
        text = str(error)
        if not text.startswith(f"{path}: ") or len(text) > LONGEST or "\n" in text:
            return "no sentence", text[:300]
        return "refused", text.removeprefix(f"{path}: ")
    except Late:
        return "too slow", _place()
    except Exception as error:
        return "foreign exception", f"{type(error).__name__}: {str(error)[:200]}{_place()}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _place() -> str:
    """Where in minimask the error arose that is being handled."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    inside = [frame for frame in frames if "minimask" in frame.filename] or frames
    return f" ({pathlib.Path(inside[-1].filename).name}:{inside[-1].lineno})" if inside else ""


def _late(*_: Any) -> None:
    raise Late


def run(kind: str, numbers: range, seed: int, seconds: float) -> Iterator[Outcome]:
    """Damage a file in several ways and read it, in this process."""
    signal.signal(signal.SIGALRM, _late)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        whole = weight_damage.whole_files(folder)[kind]
        path, good = folder / "weights", folder / "whole"
        good.write_bytes(whole)
        before = _content(good)
        for number in numbers:
            random = Random(f"{kind} {seed} {number}")
            path.write_bytes(random.choice(weight_damage.damages(kind))(whole, random))
            size = path.stat().st_size
            tracemalloc.start()
            start = time.perf_counter()
            what, words = read(path, seconds)
            took = time.perf_counter() - start
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if what in RIGHT and peak > SHARE * size + FLOOR:
                what, words = "too much memory", f"{peak} bytes for {size}"
            if number % 100 == 99 and _content(good) != before:
                what, words = "poisoned", "the whole file reads otherwise than before"
            yield number, what, words, took, peak, size


def _content(path: pathlib.Path) -> dict[str, bytes]:
    from minimask.weights import read_weights

    return {name: array.tobytes() for name, array in read_weights(path).items()}


def _child(options: argparse.Namespace) -> None:
    """Print a line of JSON for each file that was read."""
    import minimask.weights  # noqa: F401  (its stacks are no part of the limit)

    limit = int(options.gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    numbers = range(options.first, options.count)
    for outcome in run(options.kinds[0], numbers, options.seed, options.seconds):
        print(json.dumps(outcome), flush=True)
        # a hang in C code does not see the alarm
        faulthandler.dump_traceback_later(4 * options.seconds + 20, exit=True)


def watch(options: argparse.Namespace, kind: str, count: int) -> list[Outcome]:
    """Read `count` damaged files of one kind in processes of their own."""
    found: list[Outcome] = []
    first = 0
    while first < count:
        words = [sys.executable, __file__, "--child", "--kinds", kind, "--first", str(first)]
        words += ["--count", str(count)]
        for name in ("seed", "seconds", "gigabytes"):
            words += [f"--{name}", str(getattr(options, name))]
        process = subprocess.run(words, capture_output=True, text=True)
        found += [tuple(json.loads(line)) for line in process.stdout.splitlines()]
        last = found[-1][0] if found else -1
        if last + 1 >= count:
            break
        end = " ".join(process.stderr.split()[-40:])
        found.append(
            (last + 1, "crash", f"ended the process ({process.returncode}): {end}", 0, 0, 1)
        )
        if last < first and process.returncode == 1:
            break  # not the file: it cannot even start
        first = last + 2
    return found


def row(kind: str, outcomes: list[Outcome]) -> str:
    """A line of the table."""
    counts = collections.Counter(outcome[1] for outcome in outcomes)
    foreign = sum(n for what, n in counts.items() if what not in RIGHT)
    slowest = max(outcome[3] for outcome in outcomes)
    peak, of = max((outcome[4], outcome[5]) for outcome in outcomes)
    return (
        f"| {kind} | {len(outcomes)} | {counts['refused']} | {counts['read']} | {foreign} | "
        f"{slowest:.2f} s | {peak / 2**20:.2f} MB of a file of {of / 2**20:.3f} MB |"
    )


HEAD = """| container | files | one sentence with path | read | wrong | slowest | largest peak |
|---|---|---|---|---|---|---|"""


def page(rows: list[str], wrong: list[str], options: argparse.Namespace, sizes: list[str]) -> str:
    """The page of results."""
    total = f"{options.count} damaged files, seed {options.seed}: {len(wrong)} were wrong."
    listing = "".join(f"\n- {line}" for line in wrong[:50])
    return f"""# Damaged files of weights, and large ones

`python benchmarks/damaged_weights.py --count {options.count}`, {platform.machine()},
Python {platform.python_version()}.

{total}{listing}

{HEAD}
{chr(10).join(rows)}

"Read" are files whose damage lies in the numbers, of which safetensors, pickles, HDF5 and torch's
old layout keep no checksum, or in what is not needed.  The peak is what Python and NumPy took
(`tracemalloc`) while one file was read.  "Wrong" are foreign exceptions, crashes, files that took
more than {options.seconds:g} s or more memory than 2.5 x the file + 50 MB, and a whole file that
reads otherwise after the damaged ones.

## A file of 170 MB

Read in a process of its own, twice; the second time counts, as the file is then in the system's
memory.  The peak is that of the process above what it had after its imports.

| container | file | seconds | of a processor | peak / file |
|---|---|---|---|---|
{chr(10).join(sizes)}
"""


def main() -> int:
    """Run what the command line says."""
    import large_weights

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kinds", nargs="*", help="containers; default: all")
    parser.add_argument("--count", type=int, default=20_000, help="files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10, help="that one may take")
    parser.add_argument("--gigabytes", type=float, default=3, help="of address space")
    parser.add_argument("--out", type=pathlib.Path, help="folder for the page of results")
    parser.add_argument("--only", type=int, help="one number, in this process")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        kinds = options.kinds or list(weight_damage.whole_files(pathlib.Path(folder)))
    if options.only is not None:
        only = range(options.only, options.only + 1)
        print(*run(kinds[0], only, options.seed, options.seconds))
        return 0
    rows, wrong = [], []
    print(HEAD)
    for kind in kinds:
        outcomes = watch(options, kind, -(-options.count // len(kinds)))
        rows.append(row(kind, outcomes))
        print(rows[-1], flush=True)
        bad = [o for o in outcomes if o[1] not in RIGHT]
        wrong += [f"{kind} {number}: {what}: {words}" for number, what, words, *_ in bad]
    print("\n".join(wrong[:50]))
    if options.out is not None:
        sizes = large_weights.measured()
        print("\n".join(sizes))
        day = datetime.date.today().isoformat()
        text = page(rows, wrong, options, sizes)
        (options.out / f"{day}-damaged-weights.md").write_text(text)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
