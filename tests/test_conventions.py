"""The switches: names, overrides, and that each one is read somewhere."""

import dataclasses
import inspect
import json
import pathlib

import pytest

import minimask
from minimask.conventions import (
    CONVENTIONS,
    HYPERPARAMETERS,
    TORCHVISION,
    Convention,
    get_convention,
)
from minimask.conventions.words import FIELD_WORDS, described, who_chooses
from minimask.models.roi_heads import RoIHeads
from minimask.models.rpn import RPN
from minimask.models.system_configs import SYSTEM_CONFIGS


def test_the_default_is_torchvisions():
    assert Convention() == TORCHVISION == get_convention("torchvision")


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_instance_is_found_by_name_and_survives_json(name):
    convention = get_convention(name)
    assert convention.name == name
    again = get_convention(json.loads(json.dumps(dataclasses.asdict(convention))))
    assert again == convention


def test_instances_differ_from_each_other_in_more_than_the_name():
    renamed = {dataclasses.replace(c, name="") for c in CONVENTIONS.values()}
    assert len(renamed) == len(CONVENTIONS)


def test_facts_that_decide_whether_weights_work():
    """Numbers of features tables, one per system, that are easy to get wrong."""
    d2, mmdet, mp = (get_convention(n) for n in ("detectron2", "mmdet", "matterport"))
    assert TORCHVISION.sampling_ratio == 2 and not TORCHVISION.roi_aligned
    assert d2.sampling_ratio == 0 and d2.roi_aligned and d2.channels == "bgr"
    assert mmdet.delta_clamp == "both" and mmdet.rpn_best_iou_min == 0.3
    assert mp.hyperparameters["box_score_thresh"] == 0.7 and mp.rpn_box_weights == (10, 10, 5, 5)
    assert {c.background for c in (d2, mmdet)} == {"last"}


def test_exact_is_torchvision_but_for_half_pixels():
    exact = dataclasses.asdict(get_convention("exact"))
    changed = {k for k, v in dataclasses.asdict(TORCHVISION).items() if exact[k] != v}
    assert changed == {"name", "roi_aligned", "mask_target_aligned", "paste", "keypoint_score"}
    assert get_convention("exact").paste == get_convention("detectron2").paste


def test_unknown_names_get_a_hint():
    with pytest.raises(ValueError, match="did you mean 'detectron2'"):
        get_convention("detectron")
    with pytest.raises(ValueError, match="no such field: rio_aligned"):
        get_convention({"rio_aligned": True})
    with pytest.raises(ValueError, match="no such field: rpn_nms_tresh"):
        get_convention({"hyperparameters": {"rpn_nms_tresh": 0.5}})
    with pytest.raises(ValueError, match="delta_clamp: expected one of upper, both, none"):
        dataclasses.replace(TORCHVISION, delta_clamp="lower")


def test_no_switch_is_idle():
    """A field that no code reads would promise a behavior that does not exist."""
    package = pathlib.Path(minimask.__file__).parent
    code = "".join(p.read_text() for p in (package / "models").glob("*.py"))
    idle = [f.name for f in dataclasses.fields(Convention) if f".{f.name}" not in code]
    assert idle == []


def test_every_field_is_described_in_a_sentence_with_its_source():
    fields = described()
    assert set(FIELD_WORDS) == set(fields)
    for field in fields:
        words = FIELD_WORDS[field]
        assert words.sentence[0].isupper() and words.sentence.endswith(".") and words.source
        assert words.sentence.count(". ") == 0
        assert who_chooses(field)["torchvision"] == getattr(TORCHVISION, field)


def test_every_configuration_of_a_system_builds():
    """Each names a convention and options that a factory takes, and the file that says so."""
    for name, known in SYSTEM_CONFIGS.items():
        system = "mmdetection" if name.startswith("mmdet/") else "detectron2"
        assert known.source.startswith(system) and known.convention in CONVENTIONS
        keypoints = "keypoint" in name
        factory = minimask.models.keypoint_rcnn if keypoints else minimask.models.mask_rcnn
        model = factory(layers=(1, 1, 1, 1), stem_channels=4, fpn_channels=8, **known.config())
        for option, value in known.options.items():
            assert model.config[option] == (list(value) if isinstance(value, tuple) else value)


def test_facts_of_the_profiles():
    caffe, x101 = get_convention("mmdet_caffe"), get_convention("detectron2_3x3")
    assert caffe.channels == "bgr" and caffe.pixel_std == (1, 1, 1) and caffe.stride_in_1x1
    assert x101.channels == "bgr" and x101.pixel_std == (57.375, 57.12, 58.395)
    assert not x101.stride_in_1x1 and not get_convention("detectron2_torchvision").stride_in_1x1
    lvis = SYSTEM_CONFIGS["detectron2/lvis"].options
    assert lvis["box_score_thresh"] == 0.0001 and lvis["box_detections_per_img"] == 300
    assert (
        get_convention("paper").rpn_border
        == 0
        == SYSTEM_CONFIGS["mmdet/caffe-c4"].options["rpn_border"]
    )


# Parts and sizes that a factory works out from the architecture: no options of their own
OF_THE_ARCHITECTURE = {
    *("pooled_size", "pooled_levels", "mask_head", "mask_predictor", "mask_size"),
    *("keypoint_head", "keypoint_predictor", "num_keypoints"),
}


def keyword_only(function):
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def test_every_hyperparameter_of_the_parts_is_an_option():
    """A new one in a signature must be listed, and one that is gone must not."""
    of_rpn = [f"rpn_{name}" for name in keyword_only(RPN.__init__)]
    of_roi_heads = [
        name if name.startswith(("roi_", "mask_", "keypoint_")) else f"box_{name}"
        for name in keyword_only(RoIHeads.__init__)
        if name not in OF_THE_ARCHITECTURE
    ]
    assert len(of_rpn) == 10 and len(of_roi_heads) == 14
    assert len(HYPERPARAMETERS) == len(set(HYPERPARAMETERS))
    assert set(HYPERPARAMETERS) == {*of_rpn, *of_roi_heads}
    assert not set(HYPERPARAMETERS) & {f.name for f in dataclasses.fields(Convention)}
