"""`minimask trace` writes the book and the notebook; wrong use is a sentence."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from tracing import CLASSES, SIDE, SMALL
from typer.testing import CliRunner, Result

from minimask.data.sample import coco_ground_truth
from minimask.data.shapes import Shapes
from minimask.models import build
from minimask.tools.cli import make_app
from minimask.tools.textbook.trace.truth import gt_objects
from minimask.train.checkpoint import write_arrays

OPTIONS = [
    word
    for name, value in SMALL.items()
    for word in ("--option", f"{name}={json.dumps(value)}")
    if name != "min_size"
]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(make_app(), [str(word) for word in words])


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> pathlib.Path:
    """Two images with their COCO file, whose file names have a folder before them."""
    folder = tmp_path_factory.mktemp("photos")
    data = Shapes(2, SIDE, seed=5)
    samples = [data[i] for i in range(2)]
    truth = coco_ground_truth(samples, data.classes, data.category_ids)
    for i, (sample, entry) in enumerate(zip(samples, truth["images"], strict=True)):
        Image.fromarray(sample.image).save(folder / f"{i}.png")
        entry["file_name"] = f"train/{i}.png"
    (folder / "instances.json").write_text(json.dumps(truth))
    return folder


def test_generated_image_and_notebook(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "new" / "book"
    result = invoke("trace", "--out", out, "--notebook", "--seed", 2, "--size", "64x96", *OPTIONS)
    assert result.exit_code == 0, result.output
    assert "33 steps" in result.stdout and str(out / "index.html") in result.stdout
    assert "tracing generated image 2" in result.stderr
    page = (out / "index.html").read_text()
    assert 'id="gradients"' in page and "64 × 96" in page
    notebook = json.loads((out / "trace.ipynb").read_text())
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    names: dict[str, object] = {}
    for lines in code[:4]:
        exec(compile(lines, "cell", "exec"), names)
    run = names["run"]
    # the notebook's trace is the command's
    values = run["loss"].facts[0][1]  # type: ignore[index]
    assert values in page
    assert all(f'run["{step.key}"]' in "\n".join(code) for step in run.steps)  # type: ignore


def test_photo_with_and_without_gt_objects(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image, gt = photos / "1.png", photos / "instances.json"
    plain = invoke("trace", image, "--out", tmp_path / "a", "--quiet", *OPTIONS)
    assert plain.exit_code == 0, plain.output
    assert plain.stderr == "" and "--gt" in plain.stdout
    assert 'id="gradients"' not in (tmp_path / "a" / "index.html").read_text()
    known = invoke("trace", image, "--gt", gt, "--size", 64, "--out", tmp_path / "b", *OPTIONS)
    assert known.exit_code == 0, known.output
    assert 'id="gradients"' in (tmp_path / "b" / "index.html").read_text()
    again = invoke("trace", image, "--out", tmp_path / "b", *OPTIONS)
    assert again.exit_code == 1 and "add --force" in again.stderr


def test_gt_objects_are_those_of_the_file(photos: pathlib.Path) -> None:
    sample = Shapes(2, SIDE, seed=5)[1]
    classes = (*reversed(CLASSES), "more")
    target, strange = gt_objects(photos / "instances.json", photos / "1.png", classes)
    assert strange == [] and np.array_equal(target.masks, sample.masks)
    assert [classes[k] for k in target.labels] == [CLASSES[k] for k in sample.labels]
    some = CLASSES[sample.labels[0]]
    target, strange = gt_objects(photos / "instances.json", photos / "1.png", [some])
    assert set(strange) == {CLASSES[k] for k in sample.labels} - {some}
    assert len(target.labels) == (sample.labels == sample.labels[0]).sum()


def test_a_folder_of_masks(tmp_path: pathlib.Path) -> None:
    sample = Shapes(1, SIDE, seed=5)[0]
    Image.fromarray(sample.image).save(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    for i, mask in enumerate(sample.masks):
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / f"{i}.png")
    target, _ = gt_objects(tmp_path / "masks", tmp_path / "a.png", ["cell"])
    assert np.array_equal(target.masks, sample.masks) and np.array_equal(target.boxes, sample.boxes)
    with pytest.raises(ValueError, match="do not say their class"):
        gt_objects(tmp_path / "masks", tmp_path / "a.png", CLASSES)
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "masks" / "b.png")
    with pytest.raises(ValueError, match="5 x 4 pixels, but"):
        gt_objects(tmp_path / "masks", tmp_path / "a.png", ["cell"])


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    (
        ((), 2, "where to?"),
        (("--out", "OUT", "--gt", "a.json"), 2, "--gt belongs to an image"),
        (("--out", "OUT", "--seed", "-1"), 2, "--seed: expected at least 0"),
        (("--out", "OUT", "--size", "8"), 2, "at least 32 pixels"),
        (("--out", "OUT", "--model", "nonsense"), 2, "--model: expected one of"),
        (("--out", "OUT", "--threads", "0"), 2, "--threads: expected at least 1"),
        (("--out", "OUT", "--option", "nonsense"), 2, "expected NAME=VALUE"),
        (("--out", "FILE"), 1, "is a file; name a folder"),
        (("missing.png", "--out", "OUT"), 1, "missing.png"),
        (("--out", "FILE/below", *OPTIONS), 1, "file.txt/below: Not a directory"),
        (("FILE", "--out", "OUT"), 1, "not an image file"),
        (("PHOTO", "--out", "OUT", "--gt", "missing.json"), 1, "missing.json"),
        (("PHOTO", "--out", "OUT", "--gt", "FILE"), 1, "broken JSON"),
        (("PHOTO", "--out", "OUT", "--weights", "missing"), 1, "missing"),
    ),
)
def test_wrong_use(
    photos: pathlib.Path, tmp_path: pathlib.Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    (tmp_path / "file.txt").write_text("nothing")
    names = {"OUT": tmp_path / "out", "FILE": tmp_path / "file.txt", "PHOTO": photos / "0.png"}
    result = invoke("trace", *(_path(word, names) for word in words))
    assert result.exit_code == code, result.output
    assert sentence in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def _path(word: str, names: dict[str, pathlib.Path]) -> str | pathlib.Path:
    name, _, rest = word.partition("/")
    return names[name] / rest if name in names else word


def test_objects_the_model_cannot_know(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    words = ("trace", photos / "0.png", "--gt", photos / "instances.json", "--out", tmp_path / "o")
    run = tmp_path / "nuclei.safetensors"
    model = build({"model": "faster_rcnn", "classes": ["nucleus"], **SMALL})
    arrays = {name: np.asarray(array) for name, array in model.state_dict().items()}
    write_arrays(run, arrays, {"minimask": json.dumps({"model": model.config})})
    result = invoke(*words, "--weights", run)
    assert result.exit_code == 1 and "none of which the model has" in result.stderr
    other = photos / "other.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(other)
    listed = invoke("trace", other, "--gt", photos / "instances.json", "--out", tmp_path / "o")
    assert listed.exit_code == 1 and "lists no image of the name 'other.png'" in listed.stderr
