"""A run's folder without the training: random weights, written as a run writes them."""

from __future__ import annotations

import json
import pathlib

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from minimask.data.sample import coco_ground_truth
from minimask.data.shapes import DEFAULT_CLASSES, Shapes
from minimask.tools.cli import make_app

SIDE = 64
NETWORK = {
    "model": "maskrcnn_laptop",
    "min_size": SIDE,
    "max_size": SIDE,
    "anchor_sizes": [8, 16, 32, 48, 64],
    "fpn_channels": 16,
    "box_head_width": 32,
    "mask_head_channels": [16],
    "mask_predictor_channels": 16,
    "box_detections_per_img": 5,
}


def invoke(*words: object) -> Result:
    """Run a command line in this process: its `.stdout`, `.stderr` and `.exit_code`."""
    return CliRunner().invoke(make_app(), [str(word) for word in words])


def make_coco(folder: pathlib.Path, count: int = 3, **changes: object) -> pathlib.Path:
    """Generated images as files, with their COCO JSON: folder/instances.json, folder/images."""
    data = Shapes(count, SIDE, seed=5)
    samples = [data[i] for i in range(count)]
    truth = {**coco_ground_truth(samples, data.classes, data.category_ids), **changes}
    (folder / "images").mkdir(parents=True)
    for sample, image in zip(samples, truth["images"], strict=True):
        Image.fromarray(sample.image).save(folder / "images" / image["file_name"])
    (folder / "instances.json").write_text(json.dumps(truth))
    return folder


def make_folders(folder: pathlib.Path, count: int = 3) -> pathlib.Path:
    """Generated images of squares as folders: folder/ID/images/ID.png, folder/ID/masks/0.png."""
    data = Shapes(count, SIDE, seed=5, classes=("square",))
    for i in range(count):
        for kind in ("images", "masks"):
            (folder / f"cell{i}" / kind).mkdir(parents=True)
        Image.fromarray(data[i].image).save(folder / f"cell{i}" / "images" / f"cell{i}.png")
        for j, mask in enumerate(data[i].masks):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(folder / f"cell{i}" / "masks" / f"{j}.png")
    return folder


def make_run(
    folder: pathlib.Path, classes: tuple[str, ...] = DEFAULT_CLASSES, **data: object
) -> pathlib.Path:
    """A finished run of an untrained network, on generated images unless `data` says another."""
    from minimask.models import build
    from minimask.train import RunSettings, checkpoint

    settings = RunSettings.of(
        {"data": "shapes", "shapes_size": SIDE, "val_count": 4, "classes": classes, **data}
    )
    model = build({**NETWORK, "classes": list(classes)})
    weights = {name: np.asarray(array) for name, array in model.state_dict().items()}
    folder.mkdir(parents=True)
    checkpoint.write_json(folder / "settings.json", settings.to_json())
    about = {"minimask": json.dumps({"model": model.config})}
    checkpoint.write_arrays(folder / "model.safetensors", weights, about)
    checkpoint.save(folder, 7, {"model": weights}, {"model": model.config})
    return folder


def files_in(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
