"""What weights are worth: AP against steps from random numbers and from another network.

    python benchmarks/finetune.py --out FOLDER [--weights RUN]

The network of `--recipe demo` has learned circles, squares, triangles and stars. Here it shall
learn moons and crosses: once from random weights with the demo's own settings, and with `--recipe
finetune` from the demo's weights, as `minimask train` would do both. AP is that of masks on 100
generated images. Without --weights the demo is trained first. Ten minutes on two cores; FOLDER
keeps the runs, so that a second call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
from pathlib import Path
from typing import Any

from minimask._version import __version__
from minimask.system import runtime

CLASSES = ("moon", "cross")  # no shape that the demo has seen
STEPS = (50, 100, 150, 300, 450)
SHORT = (150,)  # lengths of whole runs with --recipe finetune
IMAGES = 100
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Train, measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--weights", type=Path, help="run of the demo (default: trained here)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    runtime.prepare()
    start = arguments.weights or demo(arguments.out / "demo")
    scratch = learning_curve(arguments.out / "scratch", "demo", STEPS[-1], None)
    whole = {n: learning_curve(arguments.out / f"{n}", "finetune", n, start)[n] for n in SHORT}
    finetune = learning_curve(arguments.out / "finetune", "finetune", STEPS[-1], start)
    table = [
        {"steps": n, "scratch": scratch[n], "finetune": finetune[n], "whole": whole.get(n)}
        for n in STEPS
    ]
    text = report(table, scratch)
    print(text)
    write(arguments.results, table, text)


def demo(out: Path) -> Path:
    """The network to start from."""
    train("demo", out, {})
    return out


def learning_curve(out: Path, recipe: str, steps: int, weights: Path | None) -> dict[int, float]:
    """Mask AP of a run on the new classes, after every 50 steps."""
    changes: dict[str, Any] = {
        "data": "shapes",
        "classes": CLASSES,
        "steps": steps,
        "eval_every": STEPS[0],
        "val_count": IMAGES,
        "val_limit": IMAGES,
        "pictures": 0,
    }
    train(recipe, out, changes | ({"weights": str(weights.resolve())} if weights else {}))
    with open(out / "ap.csv", newline="") as file:
        return {int(row["step"]): float(row["mask_AP"]) for row in csv.DictReader(file)}


def train(recipe: str, out: Path, changes: dict[str, Any]) -> None:
    """One run, or what is left of it."""
    from minimask.train import RunSettings, open_data
    from minimask.train import train as train_model
    from minimask.train.recipes import RECIPES
    from minimask.train.start import adopt, read_start, start_model

    settings = RunSettings.of(RECIPES[recipe] | changes)
    source = read_start(settings)
    if source is not None:
        settings, line = adopt(settings, source, set(changes), RECIPES[recipe])
        print(line)
    dataset, val = open_data(settings)
    start = start_model(settings, dataset.classes, source)
    print(out, *start.said, sep="\n")
    train_model(start.model, dataset, settings, out, val=val, resume=True)


def report(table: list[dict[str, Any]], scratch: dict[int, float]) -> str:
    """The table in Markdown, and which number of steps reaches what scratch reaches at its end."""
    goal = scratch[STEPS[-1]]
    lines = [
        "| steps | from random weights | `--recipe finetune`, on the way to 450 | a whole run |",
        "|---:|---:|---:|---:|",
    ]
    for row in table:
        whole = "" if row["whole"] is None else f"{row['whole']:.3f}"
        lines.append(f"| {row['steps']} | {row['scratch']:.3f} | {row['finetune']:.3f} | {whole} |")
    reached = [row["steps"] for row in table if max(row["finetune"], row["whole"] or 0) >= goal]
    first = f"{reached[0]} steps" if reached else f"more than {STEPS[-1]} steps"
    lines += ["", f"The AP of {STEPS[-1]} steps from random weights ({goal:.3f}): in {first}."]
    return "\n".join(lines)


def write(folder: Path, table: list[dict[str, Any]], text: str) -> None:
    """The dated results, for people and for programs."""
    day = datetime.date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    content = {"date": day, "minimask": __version__, "classes": CLASSES, "rows": table}
    (folder / f"{day}-finetune.json").write_text(json.dumps(content, indent=2) + "\n")
    title = (
        f"# Fine-tuning, {day}\n\n`python benchmarks/finetune.py --out FOLDER`: mask AP on "
        f"{IMAGES} generated images of {' and '.join(CLASSES)}; the demo's network knows circle, "
        "square, triangle and star.\n\n"
    )
    (folder / f"{day}-finetune.md").write_text(f"{title}{text}\n")


if __name__ == "__main__":
    main()
