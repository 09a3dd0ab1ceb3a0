"""Switching choices: every field of every convention, what changes, and the page that shows it.

A handful of switches is tried here. With MINIMASK_ALL_SWITCHES=1 in the environment it is every one
of every convention, some 700 in a quarter of an hour; each must be seen somewhere.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import os

import numpy as np
import pytest
from PIL import Image

from minimask import models
from minimask.conventions import CONVENTIONS
from minimask.data.shapes import DEFAULT_CLASSES, Shapes
from minimask.models.detections import Detections
from minimask.models.roi_pooling import pyramid_levels
from minimask.tools.textbook.compare import compare_detections, compare_networks, fields, scenes
from minimask.tools.textbook.compare.demonstrate import Elsewhere
from minimask.tools.textbook.compare.flip import Flipped, flip, open_base
from minimask.tools.textbook.compare.page import _cells, write_flip_page, write_networks_page
from minimask.tools.textbook.compare.pictures import AFTER, BEFORE
from minimask.tools.textbook.compare.report import effect
from minimask.tools.textbook.compare.training import overlap_of, two
from minimask.tools.textbook.compare.variant import variant

ALL = os.environ.get("MINIMASK_ALL_SWITCHES") == "1"

SMALL = {
    "min_size": 64,
    "max_size": 96,
    "anchor_sizes": [8, 16, 32, 48, 64],
    "fpn_channels": 16,
    "box_head_width": 32,
    "mask_head_channels": [16],
    "mask_predictor_channels": 16,
    "rpn_post_nms_top_n_test": 50,
    "rpn_post_nms_top_n_train": 50,
}


def network(convention="exact"):
    return models.maskrcnn_laptop(["a", "b"], convention=convention, seed=2, **SMALL).eval()


@pytest.fixture(scope="module")
def base():
    sample = Shapes(1, (70, 90), seed=4)[0]
    return open_base(network(), sample.image)


@pytest.fixture(scope="module")
def elsewhere(base):
    return Elsewhere(base)


def switch_of(model, field, after=None):
    switched = fields.switches(model, field)
    return next(s for s in switched if after is None or fields.said(s.after) == after)


def found(boxes, scores, labels, masks=None):
    count = len(boxes)
    masks = np.ones((count, 8, 8), np.float32) if masks is None else masks
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.array(scores, np.float32)
    return Detections(boxes, np.array(labels, np.int64), scores, masks, (100, 100), ("a", "b"))


def test_detections_are_paired_by_overlap_and_class():
    a = found([[0, 0, 10, 10], [50, 50, 70, 70], [80, 0, 90, 9]], [0.9, 0.8, 0.7], [0, 1, 0])
    b = found([[50, 51, 70, 70], [0, 0, 10, 12], [0, 0, 10, 10]], [0.75, 0.9, 0.4], [1, 0, 1])
    change = compare_detections(a, b, 0.5)
    assert change.pairs.tolist() == [[0, 1], [1, 0]] and change.relabelled == 0
    assert (change.before, change.after, change.matched) == (3, 2, 2)
    assert change.lost.tolist() == [2] and change.new.tolist() == []
    assert change.box == 2 and change.score == pytest.approx(0.05)
    assert 0.8 < change.mask_iou < 0.9 and change.worst == 0
    assert compare_detections(a, a).nothing and "last bit" in compare_detections(a, a).in_words()
    none = compare_detections(found([], [], []), b, 0.5)
    assert none.matched == 0 and len(none.new) == 2 and none.worst is None


def test_masks_of_objects_that_are_not_found_again_are_not_called_the_same(base):
    apart = found([[0, 0, 9, 9]], [0.9], [0]), found([[50, 50, 70, 70]], [0.9], [0])
    change = compare_detections(*apart)
    assert change.matched == 0 and change.mask_iou is None and "mask" not in change.in_words()
    cells = _cells(Flipped(switch_of(base.model, "paste"), base, change=change))
    assert (cells["mask"], cells["box"], cells["matched"]) == ("–", "–", "0 of 1")


def test_numbers_are_written_so_that_they_differ():
    assert two(1.30441, 1.30442) == "1.30441 → 1.30442" and two(0.5, 1) == "0.5 → 1"


def test_boxes_in_one_list_or_both():
    a, b = np.array([[0, 0, 1, 1], [2, 2, 3, 3.0]]), np.array([[2, 2, 3, 3.0]])
    assert overlap_of(a, b) == (1, 0, 1)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_field_of_every_convention_can_be_switched(convention):
    model = network(convention)
    switched = fields.switches(model)
    names = {f.name for f in dataclasses.fields(CONVENTIONS[convention])}
    assert {s.field for s in switched} >= names - {"name", "hyperparameters", "sizes"}
    for s in switched:
        assert not fields.same(s.before, s.after) and fields.sentence(s.field).endswith(".")
        assert fields.part_of(s.field) == s.part
    chosen = {s.field for s in switched for who in s.systems if who}
    assert "roi_aligned" in chosen and "box_nms_thresh" in chosen


def test_the_same_network_again_is_the_same(base):
    again = variant(base.model, {})
    (found_again,) = again.predict([base.image])
    assert compare_detections(base.detections, found_again).nothing


def test_a_choice_of_prediction_moves_what_is_found(base):
    (switch,) = fields.switches(base.model, "roi_aligned")
    result = flip(base, switch)
    assert result.kind == "prediction" and result.begins == "box/pooled"
    assert result.change.box > 0 and result.problem is None


def test_a_choice_of_training_changes_losses_alone(base):
    hard = next(s for s in fields.switches(base.model, "mask_target") if s.after == "hard")
    result = flip(base, hard)
    assert result.kind == "training" and result.change.nothing and result.begins is None
    assert list(result.training.losses) == ["loss_mask"] and result.training.cells > 0


def test_another_order_of_classes_reads_rows_as_they_are(base):
    (switch,) = fields.switches(base.model, "background")
    other = variant(base.model, {"background": switch.after})
    ours, theirs = (
        m.state_dict()["roi_heads.box_predictor.bbox_pred.weight"] for m in (base.model, other)
    )
    np.testing.assert_array_equal(theirs, ours[:8])
    assert flip(base, switch).problem is None


@pytest.mark.parametrize(
    ("field", "after", "where", "kind"),
    [
        ("crowds", None, "annotated as crowds", "training"),
        ("max_size", "1024", "wide image", "prediction"),
        ("stride_in_1x1", None, "of bottlenecks", "prediction"),
        ("level_rule", "paper", "limit between two levels", "training"),
        ("active_classes_only", None, "never annotated", "training"),
        ("keypoint_score", None, "Keypoint R-CNN", "prediction"),
    ],
)
def test_what_a_network_lacks_is_shown_on_another(base, elsewhere, field, after, where, kind):
    result = elsewhere.show(switch_of(base.model, field, after))
    assert result.kind == kind and where in result.instead
    assert effect(result).startswith(f"nothing here ({result.why}); {result.instead}: ")


@pytest.mark.skipif(not ALL, reason="every switch of every convention: MINIMASK_ALL_SWITCHES=1")
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_switch_of_every_convention_can_be_seen(convention):
    model = models.maskrcnn_laptop(DEFAULT_CLASSES, convention=convention, seed=2, **SMALL).eval()
    tried = Elsewhere(open_base(model, *scenes.friendly(model)))
    seen = {s.key: tried.show(s).kind for s in fields.switches(model)}
    assert {key: k for key, k in seen.items() if k not in ("prediction", "training")} == {}


def test_sizes_of_weights_are_not_switched(base):
    assert "rpn_channels" not in {s.field for s in fields.switches(base.model)}
    with pytest.raises(ValueError, match="rpn_channels decides the shapes of weights"):
        fields.switches(base.model, "rpn_channels")
    assert "512 in matterport" in " ".join(fields.not_switched())


def test_level_rules_that_are_not_switched_agree_in_every_digit():
    limits = np.float32([56, 112, 224])[:, None]
    sides = (limits + np.arange(-200, 201) * np.spacing(limits / 2)).astype(np.float32).ravel()
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
    a, b = (pyramid_levels(boxes, rule) for rule in sorted(fields.EQUAL["level_rule"]))
    np.testing.assert_array_equal(a, b)
    assert (pyramid_levels(boxes, "torchvision") != a).any()
    assert "paper" not in {s.after for s in fields.switches(network("detectron2"), "level_rule")}


def test_the_page_shows_before_and_after(base, elsewhere, tmp_path, open_page):
    fields_shown = ("roi_aligned", "mask_target", "crowds")
    results = [elsewhere.show(switch_of(base.model, name)) for name in fields_shown]
    write_flip_page(tmp_path / "a.html", base, results, "Choices", "a small network")
    page = open_page(tmp_path / "a.html", color_scheme="dark")
    assert page.locator("article").count() == len(results)
    for image in page.locator("img").all():
        assert len(image.get_attribute("alt")) > 20
        assert image.evaluate("i => i.complete && i.naturalWidth > 0")
    assert page.locator("h2", has_text="Masks").count() == 1
    for picture in page.locator("article img").all():
        colors = colors_in(picture.get_attribute("src"))
        assert colors >= {BEFORE, AFTER}, "the caption's blue and orange"


def colors_in(uri):
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    return {"#{:02x}{:02x}{:02x}".format(*color) for _, color in picture.getcolors(1 << 20)}


def test_two_networks_are_compared_array_by_array(base, tmp_path):
    other = variant(base.model, {})
    other.rpn.head.cls_logits.bias.data[...] += 1
    comparison = compare_networks(base.model, other, base.image)
    apart = [d for d in comparison.arrays if not d.equal]
    assert [d.name for d in apart] == ["rpn.head.cls_logits.bias"] and apart[0].largest == 1
    stages = {s.name: s.relative for s in comparison.stages}
    assert stages["transform/image"] == stages["fpn/0"] == 0 < stages["rpn/objectness/0"]
    write_networks_page(tmp_path / "b.html", comparison, ("one", "other"), ("a", "b"))
    assert "rpn.head.cls_logits.bias" in (tmp_path / "b.html").read_text()


def test_scenes_need_resizing_and_rounding():
    for model in (network(), models.maskrcnn_laptop(["a"], min_size=128, max_size=128)):
        height, width = scenes.image_size(model)
        image, target = scenes.difficult(model)
        assert image.shape == (height, width, 3) and len(target.boxes) >= 8
        assert (np.asarray(target.masks).sum(axis=(1, 2)) > 0).all()
