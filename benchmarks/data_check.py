"""How long `minimask data check` and the look before training take on a large set.

    python benchmarks/data_check.py [--images 10000] [--objects 10] [--side 640x480]

Images are JPEG files of noise and patches; every object is a polygon of 24 points.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

PICTURES = 50  # different ones; the others are copies of these


def make(folder: pathlib.Path, images: int, objects: int, width: int, height: int) -> None:
    """Images and their COCO file."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    pictures = []
    for i in range(min(PICTURES, images)):
        small = Image.fromarray(rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8))
        pictures.append(folder / "images" / f"{i:06d}.jpg")
        small.resize((width, height)).save(pictures[-1], quality=85)
    entries, annotations = [], []
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for i in range(images):
        if i >= len(pictures):
            shutil.copy(pictures[i % len(pictures)], folder / "images" / f"{i:06d}.jpg")
        entries.append({"id": i, "file_name": f"{i:06d}.jpg", "width": width, "height": height})
        for _ in range(objects):
            x, y, r = rng.uniform(40, width - 40), rng.uniform(40, height - 40), rng.uniform(5, 35)
            points = np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], 1).round(2)
            box = [x - r, y - r, 2 * r, 2 * r]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i, "category_id": 1, "iscrowd": 0}
                | {"segmentation": [points.ravel().tolist()], "bbox": box, "area": 3 * r * r}
            )
    content = {"images": entries, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "thing"}]
    (folder / "instances.json").write_text(json.dumps(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--side", default="640x480")
    given = parser.parse_args()
    width, height = map(int, given.side.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(folder, given.images, given.objects, width, height)
        words = [str(folder / "instances.json"), "--images", str(folder / "images")]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "minimask", "data", "check", *words], check=True)
        print(f"data check: {time.perf_counter() - began:.1f} s")
        from minimask.data import open_annotations
        from minimask.data.look import look

        began = time.perf_counter()
        data = open_annotations(words[0], words[2])
        opened = time.perf_counter()
        findings = look(data)
        looked = time.perf_counter()
        print(
            f"open: {opened - began:.1f} s; look: {looked - opened:.1f} s; {len(findings)} findings"
        )


if __name__ == "__main__":
    main()
