"""Before Faster R-CNN, and its first stage alone: regions given, crops, proposals."""

import json

import numpy as np
import pytest

import minimask as mm
from minimask import functional as F
from minimask.autograd import Tensor
from minimask.data import Shapes
from minimask.evaluate import evaluate
from minimask.kernels.box_iou import box_iou
from minimask.models import GridProposer, read_proposals
from minimask.models.given_proposals import check_proposals
from minimask.models.rcnn import CHUNK, with_context
from minimask.train.loop import train
from minimask.train.run import open_run
from minimask.train.settings import TrainSettings

SMALL = {
    "rpn_laptop": {"stem_channels": 8, "fpn_channels": 16},
    "fastrcnn_laptop": {
        **{"stem_channels": 8, "fpn_channels": 16, "box_head_width": 32, "grid_limit": 80},
        "box_score_thresh": 0.0,
    },
    "rcnn_laptop": {
        **{"stem_channels": 8, "crop_size": 32, "crop_context": 2, "grid_limit": 80},
        "box_score_thresh": 0.0,
    },
}
REGION = ("fastrcnn_laptop", "rcnn_laptop")


@pytest.fixture(scope="module")
def data():
    return Shapes(6, (64, 80), seed=7)


def small(name, data, **options):
    return getattr(mm.models, name)(list(data.classes), **SMALL[name], **options)


@pytest.mark.parametrize("name", SMALL)
def test_trained_saved_opened_and_the_same(tmp_path, data, name):
    model = small(name, data)
    settings = TrainSettings(steps=10, batch=2, warmup=2, lr=3e-3, pictures=1, threads=1)
    train(model, data, settings, tmp_path / "run", val=data, progress=False)
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:3])
    opened = open_run(tmp_path / "run").model
    assert json.loads(json.dumps(opened.config)) == model.config
    (a,), (b,) = (m.predict([data[0].image]) for m in (model, opened))
    np.testing.assert_array_equal(a.boxes, b.boxes)
    assert len(a) > 5


# ---- regions


def test_the_grid_covers_objects_and_stays_inside():
    grid = GridProposer()
    for height, width in ((128, 160), (37, 300), (5, 4)):
        boxes = grid.windows(height, width)
        assert 20 < len(boxes) <= 2000 and boxes.dtype == np.float32
        check_proposals(boxes, "grid")
        assert (boxes >= 0).all() and (boxes[:, 2:] <= np.float32([width, height])).all()
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (200, 2))
    objects = np.concatenate([corner, corner + rng.uniform(20, 60, (200, 2))], 1)
    best = box_iou(objects.astype(np.float32), grid.windows(128, 128)).max(axis=1)
    assert (best > 0.5).mean() > 0.95


def test_of_too_many_windows_evenly_spread_ones_are_taken():
    few = GridProposer(limit=50).windows(128, 128)
    assert len(few) == 50
    assert len(np.unique(np.round(few[:, 2] - few[:, 0], 3))) > 10  # of all sizes and shapes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": ()}, "grid_sizes: expected positive numbers"),
        ({"aspect_ratios": (1, -1)}, "grid_aspect_ratios: expected positive"),
        ({"step": 0}, "grid_step: expected a positive share"),
        ({"limit": 0}, "grid_limit: expected at least 1"),
    ],
)
def test_grids_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        GridProposer(**options)


def test_regions_of_files(tmp_path):
    results = [
        {"image_id": 3, "category_id": 1, "bbox": [1, 2, 10, 20], "score": 0.1},
        {"image_id": "x", "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.7},
        {"image_id": 3, "category_id": 9, "bbox": [4, 4, 2, 2], "score": 0.9},
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(results))
    found = read_proposals(path)
    assert found[3].tolist() == [[4, 4, 6, 6], [1, 2, 11, 22]]
    assert found["x"].tolist() == [[0, 0, 5, 5]]
    np.savez(tmp_path / "found.npz", **{"3": found[3], "x": found["x"]})
    again = read_proposals(tmp_path / "found.npz")
    assert {k: v.tolist() for k, v in again.items()} == {k: v.tolist() for k, v in found.items()}


def test_damaged_files_of_regions(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no"):
        read_proposals(tmp_path / "none.json")
    for text, message in (
        ("{}", "expected COCO results, a list, got dict"),
        ('[{"image_id": 1}]', r"\[0\] is no region"),
        ('[{"image_id": 1, "bbox": [1, 2, 0, 3]}]', r"\[0\]: the box .* has no area"),
        ('[{"image_id": 1, "bbox": [1, 2, NaN, 3]}]', "found.json"),
    ):
        (tmp_path / "found.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_proposals(tmp_path / "found.json")
    np.savez(tmp_path / "found.npz", a=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"a: expected boxes \(R, 4\)"):
        read_proposals(tmp_path / "found.npz")
    (tmp_path / "found.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="no file of arrays"):
        read_proposals(tmp_path / "found.npz")


# ---- Fast R-CNN and R-CNN


@pytest.mark.parametrize("name", REGION)
def test_only_where_it_was_told_to_look(data, name):
    model = small(name, data)
    image = data[0].image
    region = np.float32([[10, 12, 40, 44]])
    (found,) = model.predict([image], [region])
    assert 1 <= len(found) <= len(data.classes)
    moved = box_iou(region, found.boxes)
    assert moved.min() > 0.4  # before training, boxes hardly move
    (nothing,) = model.predict([image], [np.zeros((0, 4))])
    assert len(nothing) == 0


@pytest.mark.parametrize("name", REGION)
def test_regions_are_in_pixels_of_the_image(data, name):
    """At another size of the network's input the same region is looked at."""
    same, twice = (small(name, data, min_size=s, max_size=None) for s in (64, 128))
    twice.load_state_dict(same.state_dict())
    region = np.float32([[10, 12, 40, 44]])
    stages = []
    for model in (same, twice):
        with mm.autograd.hooks.hooked(mm.autograd.hooks.Recorder()) as recorder:
            model.predict([data[0].image], [region])
        stages.append(recorder.values("det/boxes")[-1][0])
    ratio = stages[1][:, 2:].mean() / stages[0][:, 2:].mean()
    assert ratio == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("name", REGION)
def test_given_regions_and_the_proposers_are_the_same_thing(data, name):
    model = small(name, data)
    images, targets = [data[i].image for i in (0, 1)], [data[i].target for i in (0, 1)]
    regions = model.proposer.propose(images)
    assert repr(model.predict(images)) == repr(model.predict(images, regions))
    model.eval()
    one = model.losses(images, targets, rng=np.random.default_rng(1))
    two = model.losses(images, targets, rng=np.random.default_rng(1), proposals=regions)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}
    assert set(one) == {"loss_classifier", "loss_box_reg"}


def test_a_trained_proposal_network_may_be_the_proposer(data):
    model, rpn = small("fastrcnn_laptop", data), small("rpn_laptop", data)
    names = list(model.state_dict())
    model.proposer = rpn
    assert list(model.state_dict()) == names  # it is neither saved nor trained with the model
    (regions,) = rpn.propose([data[0].image])
    assert repr(model.predict([data[0].image])) == repr(model.predict([data[0].image], [regions]))
    with pytest.raises(TypeError, match=r"proposer: expected something with propose\(images\)"):
        model.proposer = 3


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([], "proposals: of 0 images, but there are 1"),
        ([np.zeros((3, 5))], r"proposals\[0\]: expected boxes \(R, 4\), got \(3, 5\)"),
        ([np.float32([[3, 3, 3, 9]])], r"proposals\[0\]: row 0 is no box with an area"),
        ([np.float32([[0, 0, np.nan, 9]])], r"proposals\[0\]: row 0 is no box"),
    ],
)
@pytest.mark.parametrize("name", REGION)
def test_regions_that_are_none(data, name, regions, message):
    model = small(name, data)
    with pytest.raises(ValueError, match=message):
        model.predict([data[0].image], regions)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=message):
        model.losses([data[0].image], [data[0].target], rng=rng, proposals=regions)


def test_a_crop_shows_the_region_and_its_surroundings():
    roi = np.float32([[0, 10, 20, 40, 80]])
    (grown,) = with_context(roi, 64, 4)
    # 56 of the 64 pixels are the region, 4 on each side are not
    np.testing.assert_allclose(grown[1:], [10 - 30 / 14, 20 - 60 / 14, 40 + 30 / 14, 80 + 60 / 14])
    y, x = np.mgrid[0:100, 0:60].astype(np.float32)
    image = Tensor(np.stack([x + 0.5, y + 0.5, x * 0])[None])
    crop = F.roi_align(image, grown[None], 64, sampling_ratio=2, aligned=True).data[0]
    columns, rows = crop[0, 32], crop[1, :, 32]
    assert np.interp(4, np.arange(64) + 0.5, columns) == pytest.approx(10, abs=0.1)
    assert np.interp(60, np.arange(64) + 0.5, rows) == pytest.approx(80, abs=0.1)


def test_a_crop_does_not_know_of_the_other_crops(data):
    """However many there are at once."""
    model = small("rcnn_laptop", data)
    image = data[0].image
    regions = GridProposer(limit=CHUNK + 9).windows(*image.shape[:2])
    with mm.autograd.hooks.hooked(mm.autograd.hooks.Recorder()) as recorder:
        model.predict([image], [regions])
        model.predict([image], [regions[-2:]])
    whole, last = (x.data for x in recorder.values("box/cls_logits"))
    assert len(whole) == CHUNK + 9
    np.testing.assert_allclose(whole[-2:], last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rcnn_laptop", {"crop_context": 32}, "crop_context: 32 pixels on each side leave nothing"),
        ("rcnn_laptop", {"crop_context": -1}, "crop_context: -1"),
        ("rcnn_laptop", {"features": "c4"}, "rcnn_laptop: no option 'features'"),
        ("rcnn_laptop", {"roi_op": "pool"}, "no option 'roi_op'"),
        ("fastrcnn_laptop", {"rpn_nms_thresh": 0.5}, "no option 'rpn_nms_thresh'"),
        ("fastrcnn_laptop", {"anchor_sizes": (8,)}, "no option 'anchor_sizes'"),
        ("fastrcnn_laptop", {"mask_head": "mlp"}, "no option 'mask_head'"),
        ("rpn_laptop", {"box_nms_thresh": 0.5}, "no option 'box_nms_thresh'"),
        ("rpn_laptop", {"mask_output": "softmax"}, "no option 'mask_output'"),
        ("rpn_laptop", {"paste": "matterport"}, "no option 'paste'"),
    ],
)
def test_options_that_do_not_fit(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(mm.models, name)(["a"], **options)


# ---- the first stage alone


def test_proposals_are_those_of_the_whole_detector(data):
    whole = mm.models.fasterrcnn_laptop(list(data.classes), stem_channels=8, fpn_channels=16)
    alone = small("rpn_laptop", data)
    state = whole.state_dict()
    alone.load_state_dict({n: a for n, a in state.items() if not n.startswith("roi_heads.")})
    stages, own = (dict(m.stages(data[0].image)) for m in (whole, alone))
    np.testing.assert_array_equal(own["rpn/proposals"], stages["rpn/proposals"])
    np.testing.assert_array_equal(own["out/scores"], stages["rpn/scores"])
    images, targets = [data[0].image], [data[0].target]
    a = whole.proposal_losses(images, targets, rng=np.random.default_rng(0))
    b = alone.losses(images, targets, rng=np.random.default_rng(0))
    assert {k: v.item() for k, v in a.items()} == {k: v.item() for k, v in b.items()}


def test_proposals_are_objects_and_measured_by_recall(data):
    model = small("rpn_laptop", data)
    (found,) = model.predict([data[0].image])
    assert found.classes == ("object",) and set(found.names) == {"object"}
    assert found.to_coco(1, [7])[0]["category_id"] == 7
    measured = evaluate(model, data, progress=False)
    assert set(measured.average_recall) >= {"AR@100", "AR@300", "AR@1000", "ARs@100"}
    assert 0 <= measured.average_recall["AR@100"] <= measured.average_recall["AR@1000"] <= 1


def test_attributes_have_their_names(data):
    with pytest.raises(AttributeError, match=r"what you want is model\.rpn\.nms_thresh"):
        small("rpn_laptop", data).rpn_nms_thresh = 0.3
    with pytest.raises(AttributeError, match=r"what you want is model\.roi_heads\.score_thresh"):
        small("fastrcnn_laptop", data).box_score_thresh = 0.3


def test_a_recipe_leaves_out_what_the_model_has_not():
    from minimask.tools.cli.train_settings import of_recipe

    assert of_recipe("demo", None)["anchors"] == of_recipe("demo", "rpn_laptop")["anchors"]
    for name in REGION:
        values = of_recipe("demo", name)
        assert "anchors" not in values and values["min_size"] == (128,)
    options = of_recipe("nuclei", "retinanet_laptop")["options"]
    assert not any(option.startswith("rpn_") for option in options)
    assert len(of_recipe("nuclei", "fasterrcnn_laptop")["options"]) > len(options)
