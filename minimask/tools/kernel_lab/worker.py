"""A process of its own for the tiers that need one: the sanitizers, the simulator.

Run by `processes.py`; prints one line of JSON at the end.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from minimask.kernels.host_shim import emulator
from minimask.tools.kernel_lab import values
from minimask.tools.kernel_lab.mutants import Mutant, mutated


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Check the small cases of one operation's variants; a wrong value ends a variant's run.

    Args:
        request: `op`; `variants`, the names; `kind`, of the shim's build, "" for the simulator,
            "gpu" for a GPU, where compute-sanitizer may be watching;
            `seeds`, orders of threads; `cases`, their names, or None for all small ones;
            `mutant`, the fields of one to put in, or none.
    """
    report: dict[str, Any] = {}
    gpu = request["kind"] == "gpu"
    chosen = [c for c in values.cases(request["op"], small=True)]
    if request.get("cases"):
        chosen = [c for c in chosen if c.name in request["cases"]]
    for variant in request["variants"]:
        report[variant] = {"cases": 0, "wrong": None}
        rounding = values.rounding(request["op"], variant)
        mine = [c for c in chosen if values.has(request["op"], variant, c.function)]
        try:
            for case in mine:
                wanted = values.expected(case)
                for seed in request["seeds"]:
                    with emulator.running(seed=seed, kind=None if gpu else request["kind"] or None):
                        found = values.compute(case, variant, gpu=gpu)
                        values.compare(case, found, wanted, rounding)
                report[variant]["cases"] += 1
        except (values.Wrong, emulator.KernelError, IndexError) as error:
            report[variant]["wrong"] = str(error)
    return report


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    mutant = wanted.get("mutant")
    with mutated(Mutant(**mutant)) if mutant else contextlib.nullcontext():
        print(json.dumps(main(wanted)), flush=True)
