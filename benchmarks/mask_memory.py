"""What the masks of many objects on a large photo cost a training step in memory and in time.

    python benchmarks/mask_memory.py                 one step with 5 and with 450 objects
    python benchmarks/mask_memory.py --loading       time to load a sample, small and large images

The photo has 4032 x 3024 pixels, the network's input 512.  Each run is a process of its own; its
peak memory is what the system says of it.  Both numbers are printed, and their difference: what
445 objects more need.  Exit code 1: it is over --limit.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

HEIGHT, WIDTH = 3024, 4032
COUNTS = (5, 450)
TRAIN = "--steps 1 --batch 1 --size 512 --warmup 0 --pictures 0 --quiet"
# runs the command in a process of its own and says how much memory it took: ru_maxrss is in KiB
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(done.returncode)
"""


def make_photos(
    folder: pathlib.Path, count: int, height: int, width: int, images: int = 1
) -> pathlib.Path:
    """Photos with a grid of `count` squares each; returns the annotation file."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    columns = int(np.ceil(np.sqrt(count * width / height)))
    cell = width // columns
    side = cell * 3 // 4
    squares = [(i % columns * cell + 2, i // columns * cell + 2) for i in range(count)]
    pixels = np.full((height, width, 3), 60, np.uint8)
    for x, y in squares:
        pixels[y : y + side, x : x + side] = (200, 150, 80)
    content: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "log"}],
    }
    for k in range(images):
        name = f"{k}.jpg"
        Image.fromarray(pixels).save(folder / name)
        content["images"].append({"id": k, "file_name": name, "width": width, "height": height})
        for x, y in squares:
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": k,
                    "category_id": 1,
                    "segmentation": [corners],
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                }
            )
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    return path


def peak_of_a_step(folder: pathlib.Path, count: int) -> int:
    """Peak memory in bytes of a training of one step on a photo with `count` objects."""
    annotations = make_photos(folder / str(count), count, HEIGHT, WIDTH)
    words = [
        *(sys.executable, "-m", "minimask", "train", *TRAIN.split()),
        *("--annotations", str(annotations), "--images", str(annotations.parent)),
        *("--out", str(folder / f"run{count}")),
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout)


def loading_times(folder: pathlib.Path) -> None:
    """Milliseconds from file to sample, the fastest of several."""
    from minimask.data import CocoDataset

    for name, count, height, width in (("nuclei", 40, 256, 320), ("photo", 450, HEIGHT, WIDTH)):
        path = make_photos(folder / name, count, height, width)
        data = CocoDataset(path, path.parent)
        times = []
        for _ in range(30 if height < 1000 else 4):
            start = time.perf_counter()
            sample = data[0].contiguous()
            times.append(time.perf_counter() - start)
        kept = sample.masks.nbytes / 1e6
        print(
            f"{name}: {count} objects, {width} x {height}: {min(times) * 1e3:.1f} ms a sample, "
            f"masks {kept:.1f} MB"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loading", action="store_true", help="time to load a sample instead")
    parser.add_argument("--limit", type=float, default=1000, help="MB that the objects may need")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if options.loading:
            loading_times(folder)
            return
        few, many = (peak_of_a_step(folder, count) / 1e6 for count in COUNTS)
    print(f"peak memory of a step: {few:.0f} MB with {COUNTS[0]} objects, ", end="")
    print(f"{many:.0f} MB with {COUNTS[1]}; the difference is {many - few:.0f} MB")
    sys.exit(many - few > options.limit)


if __name__ == "__main__":
    main()
