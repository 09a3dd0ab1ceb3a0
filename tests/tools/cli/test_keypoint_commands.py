"""Keypoints from `data check` to `predict`: generated people, and a file with names of its own."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from runs import invoke

from minimask.data.skeleton import COCO_PERSON

CORNERS = ["top_left", "top_right", "bottom_right", "bottom_left"]
SMALL = [
    *("--option", "fpn_channels=16", "--option", "box_head_width=32"),
    *("--option", "keypoint_head_channels=[16]", "--option", "keypoint_batch_size_per_image=2"),
    *("--batch", 2, "--steps", 1, "--quiet", "--size", 64),
]


def make_cards(folder, names=CORNERS, count=3):
    """White cards on grey with their four corners, as a COCO file without masks."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(count):
        x, y = rng.uniform(8, 24, 2).round(1)
        corners = [(x, y), (x + 30, y + 3), (x + 28, y + 23), (x - 2, y + 20)]
        picture = Image.new("RGB", (64, 64), (90, 90, 90))
        ImageDraw.Draw(picture).polygon(corners, fill="white")
        picture.save(folder / "images" / f"{i}.png")
        images.append({"id": i + 1, "file_name": f"{i}.png", "width": 64, "height": 64})
        points = [value for corner in corners for value in (*corner, 2)]
        annotations.append(
            {
                "id": i + 1,
                "image_id": i + 1,
                "category_id": 1,
                "bbox": [x - 2, y, 32, 23],
                "area": 600,
                "iscrowd": 0,
                "keypoints": points[: 3 * max(len(names), 1)],
                "num_keypoints": max(len(names), 1),
            }
        )
    limbs = [[1, 2], [2, 3], [3, 4], [4, 1]] if len(names) == 4 else []
    category = {"id": 1, "name": "card", "keypoints": names, "skeleton": limbs}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "cards.json").write_text(json.dumps(content))
    return folder


def data_of(folder):
    return ["--annotations", folder / "cards.json", "--images", folder / "images"]


def train(out, *words):
    return invoke("train", "--model", "keypointrcnn_laptop", "--out", out, *words, *SMALL)


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    return make_cards(tmp_path_factory.mktemp("cards") / "data")


@pytest.fixture(scope="module")
def run(cards):
    """A run of one step on the cards."""
    out = cards.parent / "run"
    val = ["--val-annotations", cards / "cards.json", "--val-images", cards / "images"]
    done = train(out, *data_of(cards), *val)
    assert done.exit_code == 0, done.stderr
    return out


def test_check_counts_keypoints(cards):
    done = invoke("data", "check", cards / "cards.json", "--images", cards / "images")
    assert (
        "4 keypoints (top_left, top_right, bottom_right, bottom_left) on 3 objects" in done.stdout
    )
    assert "boxes and keypoints only" in done.stdout and done.exit_code == 0


def test_show_draws_them(cards, tmp_path):
    pictures = []
    for name in ("cards.json", "plain.json"):
        content = json.loads((cards / "cards.json").read_text())
        if name == "plain.json":
            for annotation in content["annotations"]:
                del annotation["keypoints"]
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        (tmp_path / name).write_text(json.dumps(content))
        out = tmp_path / f"{name}.png"
        source = tmp_path / name
        done = invoke("data", "show", source, "--images", cards / "images", "--out", out)
        assert done.exit_code == 0, done.stderr
        pictures.append(np.asarray(Image.open(out)))
    assert (pictures[0] != pictures[1]).any()


def test_the_run_learned_the_files_own_keypoints(run):
    from minimask.train import open_run

    model = open_run(run).model
    assert list(model.skeleton.names) == CORNERS
    assert model.skeleton.flip == (1, 0, 3, 2)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["keypoint_objects"] == 3
    assert set(metrics["keypoints"]) >= {"AP", "AP50", "AP75"}
    assert "loss_keypoint" in (run / "log.csv").read_text()
    header, line = (run / "ap.csv").read_text().splitlines()
    assert dict(zip(header.split(","), line.split(","), strict=True))["keypoints_AP"]


def test_predict_names_keypoints_and_evaluate_reads_them_back(run, cards, tmp_path):
    results = tmp_path / "results.json"
    done = invoke(
        *("predict", cards / "images", "--weights", run, "--out", tmp_path / "found"),
        *("--score", 0, "--results", results, "--annotations", cards / "cards.json"),
        *("--keypoint-score", 0.9, "--quiet"),
    )
    assert done.exit_code == 0, done.stderr
    first = json.loads((tmp_path / "found" / "predictions.json").read_text())[0]["objects"][0]
    assert list(first["keypoints"]) == CORNERS
    assert len(first["keypoints"]["top_left"]) == 3
    assert len(json.loads(results.read_text())[0]["keypoints"]) == 12
    done = invoke("evaluate", "--detections", results, "--annotations", cards / "cards.json")
    assert done.exit_code == 0, done.stderr
    assert "all, keypoints" in done.stdout
    again = invoke("evaluate", run, "--out", tmp_path / "ev", "--pictures", 1, "--quiet")
    assert "all, keypoints" in again.stdout
    assert (tmp_path / "ev" / "pr.png").is_file()


def one_sentence(done, code=1):
    assert done.exit_code == code, done.output
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.output
    return lines[-1]


def test_a_model_with_keypoints_on_data_without(tmp_path):
    said = one_sentence(train(tmp_path / "run", "--data", "shapes"))
    assert "keypointrcnn_laptop learns keypoints, but the training data has none" in said
    assert not (tmp_path / "run").exists()


def test_keypoints_without_names_are_named_as_the_reason(tmp_path):
    cards = make_cards(tmp_path / "data", names=[])
    done = train(tmp_path / "run", *data_of(cards))
    said = one_sentence(done)
    assert "the category 'card' names no keypoints" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("num_keypoints=5", "the model has 5 keypoints (1, 2, 3, ...), the data 4 (top_left,"),
        (
            'skeleton={"names": ["a", "b", "c", "d"], "limbs": []}',
            "the model has 'a' as keypoint 1 of 4, the data 'top_left'",
        ),
    ],
)
def test_a_head_for_other_keypoints(cards, tmp_path, option, says):
    said = one_sentence(train(tmp_path / "run", *data_of(cards), "--option", option))
    assert says in said
    assert not (tmp_path / "run").exists()


def test_evaluating_on_other_keypoints(run, tmp_path):
    done = invoke("evaluate", run, "--data", "sticks", "--count", 1, "--classes", "card")
    assert done.exit_code != 0
    person = make_cards(tmp_path / "data", names=CORNERS[:2])
    done = invoke("evaluate", run, *data_of(person), "--out", tmp_path / "ev")
    assert "the model has 4 keypoints (top_left, top_right, bottom_right, ...), the data 2" in (
        one_sentence(done)
    )


def test_a_model_without_keypoints_says_that_it_leaves_them(tmp_path):
    done = invoke(
        *("train", "--data", "sticks", "--out", tmp_path / "run", "--batch", 1, "--steps", 1),
        *("--size", 64, "--val-limit", 1, "--option", "fpn_channels=16"),
        *("--option", "box_head_width=32", "--option", "mask_head_channels=[16]"),
    )
    assert done.exit_code == 0, done.stderr
    assert (
        f"the data's {len(COCO_PERSON)} keypoints are not learned: maskrcnn_laptop" in done.stderr
    )
    assert "all, keypoints" not in done.stdout


def test_keypoint_score_of_a_model_without(tmp_path):
    from runs import make_run

    run = make_run(tmp_path / "run")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    done = invoke(
        *("predict", tmp_path / "a.png", "--weights", run, "--out", tmp_path / "found"),
        *("--keypoint-score", 0.5),
    )
    assert "--keypoint-score: this model finds no keypoints" in one_sentence(done, 2)
