"""The start from other weights: which rows are kept, which start anew, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import minimask as mm
from minimask.models.coco_classes import COCO_91
from minimask.weights import read_source, transfer_backbone, transfer_weights

SMALL = {
    "stem_channels": 8,
    "fpn_channels": 8,
    "box_head_width": 16,
    "mask_head_channels": (8,),
    "mask_predictor_channels": 8,
}
OLD = ("square", "disk", "star", "moon")
CLS = "roi_heads.box_predictor.cls_score"
BOX = "roi_heads.box_predictor.bbox_pred"
MASK = "roi_heads.mask_predictor.mask_fcn_logits"


def network(classes, seed=0, **options):
    return mm.models.maskrcnn_laptop(list(classes), seed=seed, **(SMALL | options))


def marked(model):
    """The model with numbers in its last layers that say whose row they are in: 100 + class."""
    first = 1 if model.convention.background == "first" else 0
    values = model.state_dict()
    for name, per_row in ((CLS, 1), (BOX, 4), (MASK, 1)):
        for kind in ("weight", "bias"):
            array = values.get(f"{name}.{kind}")
            if array is None:
                continue
            rows = array.reshape(-1, per_row, *array.shape[1:])
            for i in range(len(rows)):
                rows[i] = 100 + i - first  # background: 99, or 100 + the number of classes
    model.load_state_dict(values)
    return model


def written(model, path, config=True):
    about = {"minimask": json.dumps({"model": model.config})} if config else None
    save_file(model.state_dict(), path, metadata=about)
    return path


def rows(model, name):
    """What stands in each class's row of a layer, by class; background's under ""."""
    array = model.state_dict()[f"{name}.bias"]
    per_row = 4 if name == BOX else 1
    array = array.reshape(-1, per_row)[:, 0]
    classes = list(model.classes)
    if len(array) == len(classes):
        return dict(zip(classes, array, strict=True))
    order = ["", *classes] if model.convention.background == "first" else [*classes, ""]
    return dict(zip(order, array, strict=True))


@pytest.mark.parametrize("there", ["exact", "detectron2"])
@pytest.mark.parametrize("here", ["exact", "detectron2"])
def test_rows_go_by_name_whatever_the_order_and_the_convention(tmp_path, there, here):
    path = written(marked(network(OLD, convention=there)), tmp_path / "old.safetensors")
    model = network(("ring", "moon", "disk"), seed=3, convention=here)
    before = model.state_dict()
    report = transfer_weights(model, path)
    fresh = {name: rows(network(model.classes, 3, convention=here), name) for name in (CLS, BOX)}
    for name in (CLS, BOX, MASK):
        found = rows(model, name)
        assert (found["moon"], found["disk"]) == (103, 101)
        if name != MASK:
            assert found["ring"] == fresh[name]["ring"]
    assert rows(model, CLS)[""] == (99 if there == "exact" else 104)
    after, source = model.state_dict(), read_source(path).arrays
    for name, array in after.items():
        if not name.startswith((CLS, BOX, MASK)):
            np.testing.assert_array_equal(array, source[name], err_msg=name)
    # a new class keeps the model's own random rows
    row = 1 if here == "exact" else 0
    np.testing.assert_array_equal(after[f"{CLS}.weight"][row], before[f"{CLS}.weight"][row])
    assert report.kept == ("moon", "disk") and report.outputs == (5, 4)
    assert str(report) == (
        "old.safetensors: 5 -> 4 outputs: box and mask predictor start anew but for 'moon', "
        "'disk', which both know; all else taken"
    )


def test_the_same_number_of_classes_with_other_names_is_no_trap(tmp_path):
    path = written(marked(network(OLD)), tmp_path / "old.safetensors")
    other = network(("a", "b", "c", "d"), seed=1)
    before = other.state_dict()
    report = transfer_weights(other, path)
    assert "5 -> 5 outputs with other names: box and mask predictor start anew" in str(report)
    for name in (CLS, BOX, MASK):
        np.testing.assert_array_equal(other.state_dict()[f"{name}.bias"], before[f"{name}.bias"])
    turned = network(OLD[::-1])
    assert "in another order" in str(transfer_weights(turned, path))
    assert rows(turned, CLS) == {"": 99, "square": 100, "disk": 101, "star": 102, "moon": 103}
    same = network(OLD, seed=2)
    assert str(transfer_weights(same, path)) == "old.safetensors: all taken"
    for name, array in same.state_dict().items():
        np.testing.assert_array_equal(array, read_source(path).arrays[name])


def test_a_file_that_does_not_name_its_classes(tmp_path):
    path = written(marked(network(OLD)), tmp_path / "old.safetensors", config=False)
    model = network(("a", "b", "c", "d"))
    report = transfer_weights(model, path)
    assert "it does not name its classes, so its 5 outputs were taken for" in str(report)
    assert rows(model, BOX)["d"] == 103
    fewer = network(("a", "b"))
    assert "5 -> 3 outputs: box and mask predictor start anew; all" in str(
        transfer_weights(fewer, path)
    )
    named = network(("moon",))
    assert transfer_weights(named, path, classes=OLD).kept == ("moon",)
    assert rows(named, MASK)["moon"] == 103
    with pytest.raises(ValueError, match=r"old\.safetensors: 2 names of classes, but 5 outputs"):
        transfer_weights(network(("a",)), path, classes=("a", "b"))


def test_91_outputs_are_cocos_classes(tmp_path):
    coco = marked(network(COCO_91))
    path = written(coco, tmp_path / "coco.safetensors", config=False)
    model = network(("cell", "dog", "N/A"))
    report = transfer_weights(model, path)
    assert report.kept == ("dog",)
    assert "91 -> 4 outputs (taken for COCO's): box and mask" in str(report)
    assert rows(model, CLS)["dog"] == 100 + COCO_91.index("dog")
    assert rows(model, CLS)[""] == 99


def test_a_mask_for_all_classes_alike_is_taken_whole(tmp_path):
    old = network(OLD, mask_output="agnostic")
    path = written(old, tmp_path / "old.safetensors")
    model = network(("ring",), seed=4, mask_output="agnostic")
    transfer_weights(model, path)
    np.testing.assert_array_equal(
        model.state_dict()[f"{MASK}.weight"], old.state_dict()[f"{MASK}.weight"]
    )
    per_class = network(("ring",), seed=4)
    before = per_class.state_dict()[f"{MASK}.weight"]
    transfer_weights(per_class, path)
    np.testing.assert_array_equal(per_class.state_dict()[f"{MASK}.weight"], before)


def test_fully_connected_masks_have_a_row_for_every_pixel(tmp_path):
    options = {"mask_head": "mlp", "mask_mlp_widths": (4,)}
    old = network(OLD, **options)
    path = written(old, tmp_path / "old.safetensors")
    model = network(("star",), seed=4, **options)
    transfer_weights(model, path)
    name = "roi_heads.mask_predictor.mask_logits.weight"
    there = old.state_dict()[name].reshape(5, 28 * 28, 4)
    here = model.state_dict()[name].reshape(2, 28 * 28, 4)
    np.testing.assert_array_equal(here[1], there[3])


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_every_shared_class_keeps_its_row_and_no_other(tmp_path_factory, data):
    names = "abcdefg"
    old = data.draw(st.permutations(names))[: data.draw(st.integers(1, 6))]
    new = data.draw(st.permutations(names))[: data.draw(st.integers(1, 6))]
    path = tmp_path_factory.mktemp("w") / "old.safetensors"
    written(marked(network(old)), path)
    model = network(new, seed=1)
    fresh = rows(model, CLS)
    transfer_weights(model, path)
    shared = set(old) & set(new)
    for label, value in rows(model, CLS).items():
        if label == "":
            assert value == (99 if shared else fresh[""])
        else:
            assert value == (100 + old.index(label) if label in shared else fresh[label])


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"layers": (2, 2, 2, 2)}, "the model is a ResNet-18 (stage 1 has 2 basic blocks, 8 chan"),
        ({"norm": "group"}, "12 norms of the file's backbone have running statistics"),
        ({"fpn_channels": 16}, "the file's feature maps have 8 channels, the model's 16"),
        ({"box_head_width": 8}, "the file's box head is 16 wide, the model's 8"),
        ({"mask_head_channels": (8, 8, 8, 8)}, "the file's mask head is fcn of 8 and 8 channels"),
        ({"features": "c4"}, "the file's heads look at a feature pyramid, the model's at the map"),
        ({"anchor_sizes": [[8, 12]] * 5}, "the file has 3 anchors at each place, the model 6"),
    ],
)
def test_what_does_not_fit_is_said_by_its_cause(tmp_path, options, cause):
    path = written(network(OLD), tmp_path / "old.safetensors")
    model = network(("a",), **options)
    before = model.state_dict()
    with pytest.raises(ValueError) as caught:
        transfer_weights(model, path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: the weights do not fit:"
    assert cause in str(caught.value) and len(lines) <= 10
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_group_norm_in_the_file_and_missing_branches(tmp_path):
    path = written(network(OLD, norm="group"), tmp_path / "group.safetensors")
    with pytest.raises(ValueError, match=r"12 norms of the backbone have no running.*norm group"):
        transfer_weights(network(OLD), path)
    boxes = mm.models.fasterrcnn_laptop(
        ["a"], **{k: v for k, v in SMALL.items() if "mask" not in k}
    )
    with_masks = written(network(OLD, mask_head_channels=(8,) * 4), tmp_path / "mask.safetensors")
    with pytest.raises(ValueError, match=r"has a mask branch, the model .a Faster R-CNN. none"):
        transfer_weights(boxes, with_masks)
    save_file(boxes.state_dict(), tmp_path / "boxes.safetensors")
    with pytest.raises(ValueError, match=r"no mask branch .a Faster R-CNN., the model has one"):
        transfer_weights(network(OLD, mask_head_channels=(8,) * 4), tmp_path / "boxes.safetensors")


def test_numbers_that_no_network_has(tmp_path):
    values = network(OLD).state_dict()
    stem = "backbone.body.conv1.weight"
    hole = values[stem].copy()
    hole[0, 0, 0, 0] = np.nan
    cases = {
        "holds int8 numbers": (stem, values[stem].astype(np.int8)),
        "1 of 1176 values that are NaN": (stem, hole),
        "negative variances": ("backbone.body.bn1.running_var", np.full(8, -1, "f4")),
        "NaN or infinite": (stem, np.full((8, 3, 7, 7), 1e300)),
    }
    for message, (name, array) in cases.items():
        path = tmp_path / "bad.npz"
        np.savez(path, **{**values, name: array})
        for load in (transfer_weights, transfer_backbone, mm.load_weights):
            model = network(OLD, seed=1)
            before = model.state_dict()
            with pytest.raises(ValueError, match=message) as caught:
                load(model, path)
            assert str(path) in str(caught.value) and name in str(caught.value)
            np.testing.assert_array_equal(model.state_dict()[stem], before[stem])


def test_shorter_numbers_are_widened(tmp_path):
    import struct

    values = network(OLD).state_dict()
    half = {n: a.astype(np.float16) if a.dtype.kind == "f" else a for n, a in values.items()}
    save_file(half, tmp_path / "half.safetensors")
    model = network(OLD, seed=1)
    transfer_weights(model, tmp_path / "half.safetensors")
    np.testing.assert_array_equal(
        model.state_dict()[f"{CLS}.weight"], half[f"{CLS}.weight"].astype(np.float32)
    )
    # bfloat16: the upper halves of float32; beside it an array of another type
    numbers = np.array([1.5, -2.0, 0.0078125], "<f4")
    upper = (numbers.view("<u4") >> 16).astype("<u2").tobytes()
    header = {
        "short": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]},
        "long": {"dtype": "I64", "shape": [1], "data_offsets": [6, 14]},
    }
    text = json.dumps(header).encode()
    raw = struct.pack("<Q", len(text)) + text + upper + struct.pack("<q", 7)
    (tmp_path / "b.safetensors").write_bytes(raw)
    found = read_source(tmp_path / "b.safetensors").arrays
    np.testing.assert_array_equal(found["short"], numbers)
    assert found["short"].dtype == np.float32 and found["long"] == 7


# --- runs, checkpoints, folders -------------------------------------------------------------------


def test_runs_and_checkpoints_are_sources(tmp_path):
    model = network(OLD)
    step = tmp_path / "run" / "checkpoints" / "step-000010"
    step.mkdir(parents=True)
    (tmp_path / "run" / "settings.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="this run has no weights yet"):
        read_source(tmp_path / "run")
    (step / "state.json").write_text(json.dumps({"step": 10, "model": model.config}))
    save_file(model.state_dict(), step / "model.safetensors")
    for source in (step, tmp_path / "run"):
        found = read_source(source)
        assert found.classes == OLD and found.path == step / "model.safetensors"
    averaged = {**model.state_dict(), "ema.steps": np.array([3])}
    save_file(averaged, step / "ema.safetensors")
    assert read_source(step).path.name == "ema.safetensors"
    assert "ema.steps" not in read_source(step).arrays
    final = written(model, tmp_path / "run" / "model.safetensors")
    assert read_source(tmp_path / "run").path == final
    assert transfer_weights(network(("disk",)), tmp_path / "run").kept == ("disk",)
    (step / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state\.json: damaged"):
        read_source(step)


def test_folders_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a folder without weights \(empty\)"):
        read_source(tmp_path)
    for i in range(5):
        (tmp_path / f"{i}.png").write_text("")
    with pytest.raises(FileNotFoundError, match=r"it holds 0.png, 1.png, 2.png, \.\.\.\)"):
        read_source(tmp_path)


# --- only the backbone ----------------------------------------------------------------------------


def as_classifier(model):
    values = {
        n.removeprefix("backbone.body."): a
        for n, a in model.state_dict().items()
        if n.startswith("backbone.body.")
    }
    return values | {"fc.weight": np.zeros((10, 64), "f4"), "fc.bias": np.zeros(10, "f4")}


@pytest.mark.parametrize("prefix", ["", "body.", "backbone.body."])
def test_a_classifier_fills_the_body(tmp_path, prefix):
    old = network(OLD)
    values = {
        n if n.startswith("fc.") else prefix + n: a
        for n, a in as_classifier(old).items()
        if not prefix or not n.startswith("fc.")
    }
    save_file(values, tmp_path / "resnet.safetensors")
    model = network(("a",), seed=1)
    before = model.state_dict()
    report = transfer_backbone(model, tmp_path / "resnet.safetensors")
    assert str(report) == (
        "resnet.safetensors: the backbone, a residual network of 1, 1, 1, 1 blocks (stage 1 has 1 "
        "basic block, 8 channels), was taken; all else starts anew"
    )
    expected = {n: a for n, a in old.state_dict().items() if n.startswith("backbone.body.")}
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, expected.get(name, before[name]), err_msg=name)


def test_of_a_detector_the_pyramid_is_taken_where_it_fits(tmp_path):
    old = network(OLD)
    save_file(old.state_dict(), tmp_path / "old.safetensors")
    inner = "backbone.fpn.inner_blocks.0.0.weight"
    same, wider = network(("a",), seed=1), network(("a",), seed=1, fpn_channels=16)
    assert "with its feature pyramid" in str(transfer_backbone(same, tmp_path / "old.safetensors"))
    np.testing.assert_array_equal(same.state_dict()[inner], old.state_dict()[inner])
    assert "pyramid" not in str(transfer_backbone(wider, tmp_path / "old.safetensors"))
    # on C4 the fourth stage is the head's
    c4 = network(("a",), seed=1, features="c4")
    transfer_backbone(c4, tmp_path / "old.safetensors")
    name = "0.conv1.weight"
    np.testing.assert_array_equal(
        c4.state_dict()[f"roi_heads.box_head.res5.{name}"],
        old.state_dict()[f"backbone.body.layer4.{name}"],
    )
    save_file(c4.state_dict(), tmp_path / "c4.safetensors")
    back = network(("a",), seed=2)
    transfer_backbone(back, tmp_path / "c4.safetensors")
    np.testing.assert_array_equal(
        back.state_dict()[f"backbone.body.layer4.{name}"],
        old.state_dict()[f"backbone.body.layer4.{name}"],
    )


def test_another_backbone_is_refused(tmp_path):
    save_file(as_classifier(network(OLD, layers=(2, 2, 2, 2))), tmp_path / "r.safetensors")
    with pytest.raises(ValueError, match=r"the file is a ResNet-18 .*, the model is a residual"):
        transfer_backbone(network(OLD), tmp_path / "r.safetensors")
    save_file({"features.0.weight": np.zeros((8, 3, 3, 3), "f4")}, tmp_path / "v.safetensors")
    with pytest.raises(ValueError, match=r"v.safetensors: names as in a VGG"):
        transfer_backbone(network(OLD), tmp_path / "v.safetensors")
    save_file(as_classifier(network(OLD)), tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="12 norms of the file's backbone have running stat"):
        transfer_backbone(network(OLD, norm="group"), tmp_path / "b.safetensors")
