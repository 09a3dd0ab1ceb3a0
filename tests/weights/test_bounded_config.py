"""A file's description of its network is believed only as far as its arrays go."""

import json
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

import minimask as mm
from minimask.models.bounded import build_for
from minimask.nn.budget import BudgetExceeded, numbers_at_most
from minimask.tools.cli.sources import open_model

BASE = {"model": "mask_rcnn", "classes": ["a"], "convention": "torchvision", "seed": 0}
ABSURD = [
    {"layers": [3, 4, 2_000_000, 3]},
    {"layers": [3, 4, 900, 3]},
    {"fpn_channels": 1_000_000},
    {"fpn_channels": 0, "rpn_conv_depth": 10**9},
    {"fpn_channels": 0, "rpn_conv_depth": 90},
    {"num_classes": 10**15, "classes": None},
    {"num_classes": 90_000, "classes": None},
    {"classes": [f"class {i}" for i in range(50_000)]},
    {"classes": ["a"] * 20_000},
    {"stem_channels": 10**9},
    {"width_multiplier": 1e308, "backbone": "mobilenet_v3_large"},
    {"box_head_width": 900_000},
    {"mask_head_channels": [0] * 50_000},
    {"anchor_sizes": [[8] * 20_000] * 5},
    {"min_size": 10**9},
    {"max_size": 10**7},
    {"sampling_ratio": 10**6},
    {"size_divisor": 10**9},
    {"convention": {"name": "x", "size_divisor": 10**9}},
    {"rpn_pre_nms_top_n_test": 10**12},
    {"box_detections_per_img": 2**70},
    {"model": "fastrcnn_laptop", "grid_step": 1e-9},
    {"model": "keypointrcnn_laptop", "num_keypoints": 10**12},
    {"model": "fcn8s", "head_kernel": 10**6},
    {"model": "rcnn_resnet50", "crop_size": 10**6},
    {"groups": 0},
    {"expansion": -3},
    {"layers": "many"},
    {"model": []},
    {"convention": [1]},
    {"classes": {"a": 1}},
]


@pytest.mark.parametrize("extra", ABSURD, ids=lambda extra: str(extra)[:40])
def test_an_absurd_config_is_refused_at_once(tmp_path, extra):
    path = tmp_path / "x.safetensors"
    about = {"minimask": json.dumps({"model": BASE | extra})}
    save_file({"x": np.zeros(3, np.float32)}, path, metadata=about)
    start = time.process_time()
    with pytest.raises(ValueError) as caught:
        open_model(path)
    assert time.process_time() - start < 20  # without a bound: minutes, or all memory
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and len(text) < 700 and "\n" not in text


def test_the_same_in_a_runs_folder(tmp_path):
    from minimask.train import RunSettings, open_run

    (tmp_path / "settings.json").write_text(json.dumps(RunSettings().to_json()))
    about = {"minimask": json.dumps({"model": BASE | {"fpn_channels": 1_000_000}})}
    path = tmp_path / "model.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, path, metadata=about)
    with pytest.raises(ValueError, match=r"model\.safetensors: .*more numbers than the 3"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    "name", ["maskrcnn_laptop", "retinanet_laptop", "rcnn_laptop", "rpn_laptop", "unet_laptop"]
)
def test_every_kind_of_network_may_be_as_large_as_its_own_arrays(name):
    model = mm.models.MODELS[name](classes=["a", "b"])
    shapes = {n: a.shape for n, a in model.state_dict().items()}
    again = build_for(model.config, shapes)
    assert {n: a.shape for n, a in again.state_dict().items()} == shapes


def test_layers_are_counted_before_they_take_memory():
    rng = np.random.default_rng(0)
    with numbers_at_most(1000):
        mm.nn.Linear(10, 50, rng=rng)
        with pytest.raises(BudgetExceeded):
            mm.nn.Conv2d(10**6, 10**6, 3, rng=rng)
        with pytest.raises(BudgetExceeded):
            mm.nn.BatchNorm2d(10**12)
    mm.nn.Linear(100, 500, rng=rng)  # outside there is no limit
