"""The epsilon of torchvision's first files: known by content, kept in the config, not leaked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from published import Widths, as_array
from published_torchvision import retinanet, torchvision

from minimask import models
from minimask.nn import FrozenBatchNorm2d
from minimask.weights import load_weights, read_source, save_weights, transfer_weights

NARROW = Widths(stem=4, pyramid=16, box=32, conv=16, keypoint=16)
SIZES = {
    "stem_channels": 4, "expansion": 4, "fpn_channels": 16, "box_head_width": 32,
    "mask_head_channels": [16] * 4, "mask_predictor_channels": 16,
}  # fmt: skip


def write(path, shapes):
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        array = np.array(as_array(name, shape))
        if array.dtype == np.float32 and not name.endswith("running_var"):
            array = rng.normal(0, 0.1, shape).astype(np.float32)
        arrays[name] = array
    np.savez(path, **arrays)
    return path


def epsilons(model):
    return {m.eps for m in model.modules() if isinstance(m, FrozenBatchNorm2d)}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A file as torchvision published it in 2019, under a name of one's own."""
    shapes = torchvision(classes=7, old=True, w=NARROW)
    assert len(shapes) == 307
    return write(tmp_path_factory.mktemp("first") / "mine.npz", shapes)


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    shapes = torchvision(classes=7, w=NARROW)
    return write(tmp_path_factory.mktemp("later") / "maskrcnn_resnet50_fpn_coco-1.npz", shapes)


@pytest.fixture
def model():
    return models.mask_rcnn(7, **SIZES)


def test_it_is_known_by_content_and_said(first, later):
    source = read_source(first)
    assert source.norm_eps == 0.0 and source.config["norm_eps"] == 0.0
    assert "norms without an epsilon" in source.words
    assert read_source(later).norm_eps is None  # its name says otherwise, and does not count


@pytest.mark.parametrize(
    ("shapes", "count"),
    [
        (torchvision(mask=False, classes=7, old=True, w=NARROW), 295),
        (torchvision(mask=False, keypoints=True, classes=2, old=True, w=NARROW), 313),
        (retinanet(w=NARROW), 301),
    ],
    ids=["faster", "keypoints", "retinanet"],
)
def test_the_other_first_files_too(shapes, count, tmp_path):
    assert len(shapes) == count
    assert read_source(write(tmp_path / "a.npz", shapes)).norm_eps == 0.0


def test_counters_or_another_network_are_no_first_file(tmp_path):
    shapes = torchvision(classes=7, old=True, w=NARROW)
    counted = shapes | {"backbone.body.bn1.num_batches_tracked": ()}
    assert read_source(write(tmp_path / "a.npz", counted)).norm_eps == 1e-5
    fewer = {n: s for n, s in shapes.items() if "layer3.5" not in n}
    assert read_source(write(tmp_path / "b.npz", fewer)).norm_eps == 1e-5


def test_the_legacy_keypoint_file_has_one(tmp_path):
    shapes = torchvision(mask=False, keypoints=True, classes=2, old=True, w=NARROW)
    path = write(tmp_path / "keypointrcnn_resnet50_fpn_coco-9f466800.npz", shapes)
    assert read_source(path).norm_eps == 1e-5


def test_the_config_keeps_it(first, model, tmp_path):
    load_weights(model, first)
    assert epsilons(model) == {0.0} and model.config["norm_eps"] == 0.0
    save_weights(model, tmp_path / "saved.safetensors")
    source = read_source(tmp_path / "saved.safetensors")
    assert source.system == "minimask" and source.norm_eps == 0.0
    again = models.build(json.loads(json.dumps(source.config)))
    assert epsilons(again) == {0.0}
    load_weights(again, source)
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    batch = model.eval().prepare([image])
    ours, theirs = (m.eval().backbone.body.conv1(batch_tensor(batch)).data for m in (model, again))
    np.testing.assert_array_equal(ours, theirs)


def batch_tensor(batch):
    from minimask.autograd import Tensor

    return Tensor(batch.images)


def test_it_does_not_leak_into_what_is_loaded_later(first, later, model, tmp_path):
    load_weights(model, first)
    load_weights(model, later)
    assert epsilons(model) == {1e-5} and "norm_eps" not in model.config
    load_weights(model, first)
    save_weights(models.mask_rcnn(7, **SIZES), tmp_path / "own.safetensors")
    load_weights(model, tmp_path / "own.safetensors")
    assert epsilons(model) == {1e-5} and "norm_eps" not in model.config


def test_a_model_that_was_built_with_another_keeps_it(later):
    model = models.mask_rcnn(7, **SIZES, norm_eps=1e-4)
    load_weights(model, later)
    assert epsilons(model) == {1e-4} and model.config["norm_eps"] == 1e-4


def test_fine_tuning_takes_it_over(first):
    model = models.mask_rcnn(classes=["cell", "dust"], **SIZES)
    transfer_weights(model, first)
    assert epsilons(model) == {0.0} and model.config["norm_eps"] == 0.0
    trained = models.mask_rcnn(7, **SIZES, norm="batch")
    transfer_weights(trained, first)
    assert "norm_eps" not in trained.config  # its norms measure variances anew
