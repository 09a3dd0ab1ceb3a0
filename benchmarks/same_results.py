"""Whether two versions of the code compute the same, to the last bit.

    python benchmarks/same_results.py --against CHECKOUT          this code and that one: compare
    python benchmarks/same_results.py --out now.json              record what the code computes
    python benchmarks/same_results.py --compare before.json now.json

Every factory, convention and switch of the models (`same_cases.py`): names and values of weights,
losses, gradients, stages, proposals, predictions, saved files, and short trainings
(`same_record.py`).  Two versions run in processes of their own, at the same time, with one thread
each.  Exit code 1: something differs, or is missing on one side.

`--core` is the part that the tests compare with tests/goldens/same_results.json; to renew that:

    PYTHONPATH=. python benchmarks/same_results.py --core --out tests/goldens/same_results.json
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import same_cases as cases  # noqa: E402  (found by the line above, from wherever this is started)

THREADS = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
TRAININGS = ("fpn", "c4")
SHOWN = 30  # differences


# ---- one version


def record(only: str, core: bool, threads: int) -> dict[str, Any]:
    """What the `minimask` on the path computes: {"about": ..., "results": {case: {key: value}}}."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    import minimask as mm

    mm.runtime.prepare()
    import same_record

    start, results, absent = time.perf_counter(), {}, {}
    for case in cases.all_cases():
        if only not in case.name or (core and not case.core):
            continue
        if lacks := same_record.lacks(case):  # an older version
            absent[case.name] = lacks
        else:
            results[case.name] = same_record.record(case)
    for features in TRAININGS:
        if only in (name := f"training {features}") and not core:
            results[name] = same_record.record_training(features)
    root = pathlib.Path(mm.__file__).resolve().parents[1]
    about = {
        "what": "results of benchmarks/same_results.py, which says how to renew this file",
        "commit": commit(root),
        "machine": fingerprint(threads),
        "absent": absent,
    }
    seconds = time.perf_counter() - start
    print(f"{count(results)} results of {len(results)} cases in {seconds:.0f} s", file=sys.stderr)
    return {"about": about, "root": str(root), "results": results}


def commit(root: pathlib.Path) -> str:
    """The commit that is checked out there, and whether its code was changed; "" without git."""
    git = ["git", "-C", str(root)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return ""
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no", "--", "minimask", "kernels"],
        capture_output=True,
        text=True,
    )
    return head.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def fingerprint(threads: int) -> dict[str, Any]:
    """What the last bits may depend on: processor, libraries, threads."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba
    import numpy as np
    import PIL
    import threadpoolctl

    features = sorted(name for name, on in llvm.get_host_cpu_features().items() if on)
    blas = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
    return {
        "processor": f"{platform.machine()} {llvm.get_host_cpu_name()}",
        "instructions": " ".join(features),
        "system": " ".join([platform.system(), *platform.libc_ver()]),
        "blas": sorted(f"{p['internal_api']} {p['version']} {p.get('architecture')}" for p in blas),
        "numpy": np.__version__,
        "numba": f"{numba.__version__}, llvmlite {llvmlite.__version__}",
        "pillow": PIL.__version__,
        "threads": threads,
    }


def save(path: pathlib.Path, recorded: Mapping[str, Any]) -> None:
    """One line per case; where the code lay is nobody's business."""
    content = {key: value for key, value in recorded.items() if key != "root"}
    lines = [f"{json.dumps(n)}: {json.dumps(r)}" for n, r in content["results"].items()]
    about = json.dumps(content["about"], indent=1)
    path.write_text(f'{{"about": {about},\n"results": {{\n' + ",\n".join(lines) + "\n}}\n")


# ---- two versions


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The single results in a record, with their keys."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flat(inner, f"{key} > {name}" if key else name)
    else:
        yield key, value


def count(results: Mapping[str, Any]) -> int:
    """How many single results."""
    return sum(1 for _ in flat(results))


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """A line for each result that is not the same in both, or is in one only."""
    left, right = dict(flat(a)), dict(flat(b))
    missing = "nothing"
    return [
        f"{key}: {left.get(key, missing)!r} and {right.get(key, missing)!r}"
        for key in [*left, *(k for k in right if k not in left)]
        if key not in left or key not in right or left[key] != right[key]
    ]


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> int:
    """Print how much is the same and what is not; gives the exit code."""
    absent = a.get("about", {}).get("absent", {}) | b.get("about", {}).get("absent", {})
    first, second = ({k: v for k, v in r["results"].items() if k not in absent} for r in (a, b))
    if absent:
        print(f"{len(absent)} cases that one of the two cannot build are left out:")
        print("\n".join(f"  {reason}" for reason in sorted(set(absent.values()))))
    lines = differences(first, second)
    total = len({key for key, _ in flat(first)} | {key for key, _ in flat(second)})
    touched = {line.split(" > ")[0] for line in lines}
    named = len({*first, *second})
    print(f"{total - len(lines)} of {total} results identical", end="")
    print(f"; in {named - len(touched)} of {named} cases all of them")
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  ... and {len(lines) - SHOWN} more, in: {', '.join(sorted(touched))}")
    return int(bool(lines) or total == 0)


def without_effect(results: Mapping[str, Any]) -> list[str]:
    """Cases whose switch changes nothing that is recorded, so that they prove nothing of it."""
    found = []
    for factory in (cases.MASK, cases.FASTER, cases.KEYPOINT):
        for switch, (_, values) in cases.SWITCHES.items():
            base = results.get(cases.base_of(factory, switch))
            for value in values:
                name = f"{switch}={value}"
                case = results.get(f"{factory} {name}")
                if base is None or case is None or name in cases.WITHOUT_EFFECT:
                    continue
                if computed(base) == computed(case):
                    found.append(f"{factory} {name}")
    return found


def computed(case: Mapping[str, Any]) -> dict[str, Any]:
    """All results but the configuration, in which the switch itself is named."""
    return {key: value for key, value in case.items() if key != "start/config"}


def run_both(checkouts: Sequence[pathlib.Path], words: Sequence[str]) -> list[dict[str, Any]]:
    """Record two checkouts, each with its own `minimask` first on the path."""
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / f"{i}.json" for i in range(len(checkouts))]
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--out", str(file), "--from", str(checkout), *words],
                env={**os.environ, "PYTHONPATH": str(checkout)},
            )
            for checkout, file in zip(checkouts, files, strict=True)
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit("same_results: one of the two did not run to its end; see above")
        return [json.loads(file.read_text()) for file in files]


def main(words: Sequence[str] | None = None) -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--out", type=pathlib.Path, metavar="FILE")
    way.add_argument("--against", type=pathlib.Path, metavar="CHECKOUT")
    way.add_argument("--compare", type=pathlib.Path, nargs=2, metavar="FILE")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this")
    parser.add_argument("--core", action="store_true", help="the part that the tests compare")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--from", dest="root", type=pathlib.Path, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.compare:
        first, second = (json.loads(path.read_text()) for path in given.compare)
        return compare(first, second)
    if given.against:
        passed = ["--only", given.only, "--threads", str(given.threads)]
        first, second = run_both(
            [given.against.resolve(), ROOT], [*passed, *["--core"] * given.core]
        )
        return compare(first, second)
    recorded = record(given.only, given.core, given.threads)
    if given.root and recorded["root"] != str(given.root):
        print(f"minimask is that of {recorded['root']}, not of {given.root}", file=sys.stderr)
        return 2
    for name in without_effect(recorded["results"]):
        print(f"note: the switch changes nothing in {name}", file=sys.stderr)
    save(given.out, recorded)
    return 0


if __name__ == "__main__":
    sys.exit(main())
