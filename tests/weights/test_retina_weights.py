"""RetinaNet's files: older names, known again by their shapes, and rows for other classes."""

import numpy as np
import pytest

from minimask import load_weights, models, save_weights
from minimask.weights import recognise, transfer_weights
from minimask.weights.retina import SCORES
from minimask.weights.systems.torchvision import current_name

SMALL = {
    "layers": (1, 1, 1, 1), "block": "basic", "stem_channels": 8, "fpn_channels": 8,
    "head_depth": 2,
}  # fmt: skip
OLD = ("disk", "star", "moon")


def shapes_of(config):
    return {n: a.shape for n, a in models.build(config).state_dict().items()}


def network(classes, seed=0, **options):
    return models.retinanet(classes=classes, seed=seed, **{**SMALL, **options})


def older_name(name):
    """As the files of torchvision's first RetinaNet have it."""
    for head in ("classification", "regression"):
        for i in range(2):
            name = name.replace(f"{head}_head.conv.{i}.0.", f"{head}_head.conv.{2 * i}.")
    return name.replace("_blocks.0.0.", "_blocks.0.")


def test_older_names_load(tmp_path):
    model = network(OLD, seed=1)
    arrays = {older_name(n): a for n, a in model.state_dict().items()}
    assert "head.classification_head.conv.2.weight" in arrays
    np.savez(tmp_path / "old.npz", **arrays)
    other = network(OLD, seed=2)
    load_weights(other, tmp_path / "old.npz")
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name], err_msg=name)
        assert current_name(name) == name


@pytest.mark.parametrize(
    "config",
    [
        {"model": "retinanet_laptop"},
        {"model": "retinanet_resnet18_fpn", "norm": "batch"},
        {"model": "retinanet_resnet50_fpn"},
        {"model": "retinanet_resnet50_fpn_v2"},
        {"model": "retinanet", **SMALL, "norm": "group", "coarse_levels_from": "c5"},
        {"model": "retinanet", **SMALL, "fpn_channels": 32, "head_norm": "group"},
    ],
    ids=lambda c: f"{c['model']} {c.get('norm', '')}",
)
def test_recognised(config):
    shapes = shapes_of({**config, "num_classes": 4})
    found = recognise(shapes)
    assert found.config["model"] == config["model"] and found.config["num_classes"] == 4
    assert found.config.get("norm") == config.get("norm")
    assert shapes_of(found.config) == shapes
    assert "4 outputs" in found.words


def test_unusual_anchors_are_not_guessed():
    sizes = [[16], [32], [64], [128], [256]]
    with pytest.raises(ValueError, match=r"3 anchors at each place, whose sizes.*9 are usual"):
        recognise(shapes_of({"model": "retinanet", "num_classes": 3, "anchor_sizes": sizes}))


def rows(model):
    """The biases of the class scores: (anchors, outputs)."""
    return model.state_dict()[f"{SCORES}.bias"].reshape(9, -1)


def test_rows_go_by_the_classes_names(tmp_path):
    old = network(OLD)
    state = old.state_dict()
    state[f"{SCORES}.bias"] = np.arange(36, dtype=np.float32)  # anchor a, output k: 4 a + k
    old.load_state_dict(state)
    save_weights(old, tmp_path / "old.safetensors")
    new = network(("moon", "ring", "disk", "wave"), seed=1)
    before = rows(new).copy()
    report = transfer_weights(new, tmp_path / "old.safetensors", classes=OLD)
    four = 4 * np.arange(9)
    np.testing.assert_array_equal(rows(new)[:, 1], four + 3)
    np.testing.assert_array_equal(rows(new)[:, 3], four + 1)
    np.testing.assert_array_equal(rows(new)[:, 0], four)
    np.testing.assert_array_equal(rows(new)[:, [2, 4]], before[:, [2, 4]])
    assert str(report) == (
        "old.safetensors: 4 -> 5 outputs: class predictor starts anew but for 'moon', 'disk', "
        "which both know; all else taken"
    )
    weights = [m.state_dict()[f"{SCORES}.weight"].reshape(9, -1, 8, 3, 3) for m in (old, new)]
    np.testing.assert_array_equal(weights[1][:, 1], weights[0][:, 3])


def test_what_does_not_fit_is_said(tmp_path):
    path = tmp_path / "old.safetensors"
    save_weights(network(OLD), path)
    two = models.faster_rcnn(
        classes=OLD, layers=(1, 1, 1, 1), block="basic", stem_channels=8, fpn_channels=8
    )
    with pytest.raises(ValueError, match=r"file is of a RetinaNet, .* model is a network of two"):
        transfer_weights(two, path)
    sizes = [[16], [32], [64], [128], [256]]
    with pytest.raises(ValueError, match="the file has 9 anchors at each place, the model 3"):
        transfer_weights(network(OLD, anchor_sizes=sizes), path)
