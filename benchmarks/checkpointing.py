"""What gradient checkpointing saves and costs: peak memory and time of a training step.

    python benchmarks/checkpointing.py --out benchmarks/results/DATE-checkpointing

Each setting of --checkpoint-stages has a process of its own, as peaks do not go down again.  The
processes take turns, one step each, so that what else the machine does falls on all of them;
times are medians, and compared within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

SETTINGS = (0, 1, 2, "all")
CLASSES = ["circle", "square", "triangle", "star"]


def serve(stages: str, options: argparse.Namespace) -> None:
    """Do one step for every line that arrives; say how long it took and the memory so far."""
    from minimask import models
    from minimask.tools.info import work
    from minimask.tools.profile.machine import peak_memory
    from minimask.tools.profile.work import generated
    from minimask.train.settings import TrainSettings
    from minimask.train.step import Trainer

    size = (options.height, options.width)
    model = models.build({"model": options.model, "classes": CLASSES, "norm": options.norm})
    count = stages if stages == "all" else int(stages)
    how = TrainSettings(batch=options.batch, checkpoint_stages=count, optimizer="sgd")
    samples = generated(size, options.batch, len(CLASSES))
    with work.at_size(model, size):
        trainer = Trainer(model, how)
        for _ in sys.stdin:
            began = time.perf_counter()
            row = trainer.advance([samples])
            seconds = time.perf_counter() - began
            found = {"seconds": seconds, "peak": peak_memory(), "loss": row["loss"]}
            print(json.dumps(found), flush=True)


def measure(options: argparse.Namespace) -> dict[str, list[dict]]:
    """The rounds of all settings, after one to warm up."""
    given = ["--height", options.height, "--width", options.width, "--batch", options.batch]
    given += ["--model", options.model, "--norm", options.norm]
    command = [sys.executable, __file__, *map(str, given), "--serve"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = {str(s): subprocess.Popen([*command, str(s)], **pipes) for s in SETTINGS}
    rows: dict[str, list[dict]] = {name: [] for name in started}
    for number in range(options.rounds + 1):
        for name, process in started.items():
            process.stdin.write("step\n")
            process.stdin.flush()
            rows[name].append(json.loads(process.stdout.readline()))
        print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
    for process in started.values():
        process.stdin.close()
        process.wait()
    return rows


def report(rows: dict[str, list[dict]], options: argparse.Namespace) -> str:
    """The table of the results page."""
    plain = rows["0"]
    lines = [
        "# Gradient checkpointing: memory against time",
        "",
        f"`python benchmarks/checkpointing.py`: {options.model}, norm {options.norm}, SGD, "
        f"{options.batch} images of",
        f"{options.height} x {options.width}; {platform.machine()}, {os.cpu_count()} cores. Peak "
        "memory of the whole process; times are medians of",
        f"{options.rounds} rounds in which the settings take turns, ratios those within a round. "
        "The losses of all settings are",
        "equal in every digit: " + str(_all_equal(rows)) + ".",
        "",
        "| --checkpoint-stages | peak MB | saved | step s | times as long |",
        "|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        seconds = statistics.median(row["seconds"] for row in found[1:])
        pairs = zip(found[1:], plain[1:], strict=True)
        ratio = statistics.median(row["seconds"] / other["seconds"] for row, other in pairs)
        peak, before = found[-1]["peak"], plain[-1]["peak"]
        lines.append(
            f"| {name} | {peak / 1e6:.0f} | {100 * (1 - peak / before):.0f} % | {seconds:.2f} | "
            f"{ratio:.2f} |"
        )
    return "\n".join([*lines, ""])


def _all_equal(rows: dict[str, list[dict]]) -> bool:
    losses = [[row["loss"] for row in found] for found in rows.values()]
    return all(other == losses[0] for other in losses)


def main() -> None:
    """Measure all settings, or be the process of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="maskrcnn_resnet50_fpn")
    parser.add_argument("--norm", default="batch")
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help="be the process of this setting")
    parser.add_argument("--out", type=pathlib.Path, help="results, without .md and .json")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options)
        return
    rows = measure(options)
    print(report(rows, options))
    if options.out:
        options.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(report(rows, options))


if __name__ == "__main__":
    main()
