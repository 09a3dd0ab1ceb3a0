"""The trace shows what the model computes: its own boxes, masks, losses, and nothing else."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from markupsafe import escape
from tracing import CLASSES, SIDE, small, subject

from minimask.autograd import hooks
from minimask.models import Detections, Target
from minimask.tools.textbook.trace import Step, Trace, trace
from minimask.tools.textbook.trace.chapter_masks import verdict
from minimask.tools.textbook.trace.decisions import CUT_OFF
from minimask.tools.textbook.trace.steps import ROOT, ArrayFacts
from minimask.tools.textbook.trace.terms import take_apart

ALWAYS = {
    *("input", "weights", "body", "anchors", "rpn-scores", "rpn-deltas", "rpn-funnel"),
    *("rpn-proposals", "box-pooled", "class-scores", "box-refinement", "score-threshold"),
    *("class-nms", "final-boxes", "result"),
}
PYRAMID = {"fpn", "levels"}
MASKS = {"mask-pooled", "mask-logits", "mask-pasted"}
TRAINING = {
    *("anchor-matching", "rpn-targets", "sampled-regions", "box-targets", "loss-objectness"),
    *("loss-rpn-box-reg", "loss-classifier", "loss-box-reg", "loss", "gradients"),
}
MASK_TRAINING = {"mask-targets", "loss-mask"}
VARIANTS = {
    "pyramid": ({}, ALWAYS | PYRAMID | MASKS | TRAINING | MASK_TRAINING | {"roi-align"}),
    "boxes only": ({"name": "faster_rcnn"}, ALWAYS | PYRAMID | TRAINING | {"roi-align"}),
    "c4": ({"features": "c4"}, ALWAYS | MASKS | TRAINING | MASK_TRAINING | {"roi-align"}),
    "c5, RoIPool": (
        {"features": "c5", "roi_op": "pool"},
        ALWAYS | MASKS | TRAINING | MASK_TRAINING,
    ),
}
OTHERS = {
    "softmax masks": {"mask_output": "softmax"},
    "one mask": {"mask_output": "agnostic"},
    "masks on proposals": {"mask_on": "proposals"},
    "mask MLP": {"mask_head": "mlp", "mask_mlp_widths": [16]},
    "detectron2": {"convention": "detectron2", "box_score_thresh": 0.05},
    "matterport": {
        "convention": "matterport",
        "box_score_thresh": 0.0,
        "max_size": 128,
        "append_gt_boxes": True,  # without, untrained weights give no region to learn from
    },
    "few left": {"box_nms_thresh": 0.05, "box_detections_per_img": 2, "rpn_nms_thresh": 0.3},
}


@pytest.fixture(scope="module")
def whole() -> Trace:
    image, target = subject()
    return trace(small(), image, target, title="a title", about="about it")


def same_as_predict(made: Trace) -> None:
    (found,) = made.context.model.predict([made.context.image])
    assert np.array_equal(made.out.boxes, found.boxes)
    assert np.array_equal(made.out.labels, found.labels)
    assert np.array_equal(made.out.scores, found.scores)
    cuts, outcome = made.context.proposal_filter, made.context.outcome
    assert np.array_equal(cuts[-1].boxes, made.rpn.proposals)
    assert np.array_equal(cuts[-1].scores, made.rpn.scores)
    assert outcome is not None and len(outcome.kept) > 0
    assert np.array_equal(outcome.boxes[outcome.kept], made.det.boxes)
    assert np.array_equal(outcome.labels[outcome.kept], made.det.labels)
    assert np.array_equal(outcome.scores[outcome.kept], made.det.scores)
    if found.mask_probs is not None:
        assert np.array_equal(made["out/masks"][:, 0] >= 0.5, found.masks)


def same_as_losses(made: Trace, seed: int = 0) -> None:
    context, training = made.context, made.training
    assert training is not None and context.target is not None
    model = context.model.train()
    fresh = model.losses([context.image], [context.target], rng=np.random.default_rng(seed))
    assert training.losses == {name: float(loss.data) for name, loss in fresh.items()}
    parts = take_apart(training, model)
    assert [part.name for part in parts] == list(fresh)
    for part in parts:
        assert part.quotient == pytest.approx(part.value, rel=1e-5, abs=1e-9)
        assert len(part.owners) == len(part.shares) == len(part.positive)


@pytest.mark.parametrize("kind", VARIANTS)
def test_every_step_is_there_and_is_the_models(kind: str) -> None:
    options, steps = VARIANTS[kind]
    image, target = subject()
    made = trace(small(**options), image, target)
    keys = [step.key for step in made.steps]
    assert len(keys) == len(set(keys)) and set(keys) == steps
    same_as_predict(made)
    same_as_losses(made)
    for step in made.steps:
        assert step.title and step.words and step.text and (step.pictures or step.tables)
        assert all(array is made.arrays[name] for name, array in step.arrays.items())


@pytest.mark.parametrize("kind", OTHERS)
def test_conventions_and_switches(kind: str) -> None:
    image, target = subject(seed=7, size=(80, 110))
    made = trace(small(**OTHERS[kind]), image, target, seed=3)
    same_as_predict(made)
    same_as_losses(made, seed=3)
    for step in made.steps:
        assert step.pictures or step.tables, step.key


def test_gradients_are_those_of_a_backward_pass(whole: Trace) -> None:
    image, target = subject()
    model = small().train()
    sum(model.losses([image], [target], rng=np.random.default_rng(0)).values()).backward()
    assert whole.training is not None
    for name, parameter in model.named_parameters():
        assert whole.training.gradients[name] == pytest.approx(
            float(np.linalg.norm(parameter.grad.astype(np.float64))), rel=1e-6
        )


def test_the_model_stays_as_it_was() -> None:
    def state(model) -> str:
        arrays = model.state_dict()
        return hashlib.sha256(b"".join(arrays[n].tobytes() for n in sorted(arrays))).hexdigest()

    image, target = subject()
    for training in (False, True):
        model = small().train(training)
        gradient = np.ones_like(next(model.parameters()).data)
        next(model.parameters()).grad = gradient
        before = state(model)
        trace(model, image, target)
        assert state(model) == before and model.training == training
        assert next(model.parameters()).grad is gradient
        assert all(p.grad is None for p in list(model.parameters())[1:])


def test_an_error_in_the_model_leaves_nothing_behind(monkeypatch) -> None:
    image, target = subject()
    model = small()
    monkeypatch.setattr(model.roi_heads, "box_losses", None)
    with pytest.raises(TypeError):
        trace(model, image, target)
    assert hooks.active.get() is None and not model.training


def test_without_gt_objects() -> None:
    image, target = subject()
    made = trace(small(), image)
    missing = TRAINING | MASK_TRAINING
    assert {step.key for step in made.steps} == VARIANTS["pyramid"][1] - missing
    assert made.training is None and "recall" not in made["rpn-funnel"].tables[0].header
    # without masks a model with masks has nothing to learn from, but boxes can be compared
    boxes = trace(small(), image, Target(target.boxes, target.labels, None))
    assert boxes.training is None
    assert boxes["rpn-funnel"].tables[0].header[-1] == "recall at IoU 0.5"
    assert "ground truth" in boxes["result"].title


def test_an_image_without_objects() -> None:
    image = np.full((64, 64), 128, np.uint8)  # gray
    nothing = Target(
        np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros((0, 64, 64), bool)
    )
    made = trace(small(), image, nothing)
    keys = {step.key for step in made.steps}
    assert "loss-objectness" in keys and "loss-mask" not in keys
    assert made["rpn-funnel"].tables[0].rows[-1][-1] == "no objects"
    assert all(str(escape(step.title)) in step._repr_html_() for step in made.steps)


def test_nothing_found() -> None:
    image, target = subject()
    made = trace(small(box_score_thresh=0.999), image, target)
    assert len(made.out.boxes) == 0 and not MASKS & {step.key for step in made.steps}
    assert all(str(escape(step.title)) in step._repr_html_() for step in made.steps)


@pytest.mark.parametrize(
    "name", ("backbone.body.layer2.0.conv1.weight", "rpn.head.bbox_pred.weight")
)
def test_a_broken_model_can_be_looked_at(name: str) -> None:
    image, target = subject()
    model = small()
    dict(model.named_parameters())[name].data.flat[3:7] = (np.nan, np.inf, -np.inf, 1e30)
    made = trace(model, image, target)
    assert all(str(escape(step.title)) in step._repr_html_() for step in made.steps)
    flagged = made["weights"].tables[0]
    assert flagged.caption == "Flagged" and [row[0] for row in flagged.rows] == [name]
    assert flagged.rows[0][-1] == "not finite"
    bad = {facts.name for step in made.steps for facts in step.statistics if facts.not_finite}
    assert bad >= {"rpn/deltas/0"}


def test_verdicts() -> None:
    found = Detections(
        np.zeros((5, 4), np.float32),
        np.array([0, 0, 1, 0, 0]),
        np.linspace(1, 0.5, 5),
        None,
        (9, 9),
        CLASSES,
    )
    target = Target(np.zeros((2, 4), np.float32), np.array([0, 0]), None)
    overlaps = np.array([[0.9, 0.6], [0.8, 0.55], [0.7, 0], [0.95, 0.1], [0.49, 0.3]])
    said = [line.split(":")[0] for line in verdict(found, target, overlaps)]
    assert said == ["right", "right", "wrong class", "double", "nothing there"]


def test_suppression_names_a_better_box_of_the_same_class() -> None:
    image, _ = subject()
    outcome = trace(small(box_detections_per_img=3), image).context.outcome
    assert outcome is not None
    lost = np.flatnonzero(outcome.suppressed_by >= 0)
    by = outcome.suppressed_by[lost]
    assert len(lost) and (outcome.suppressed_by == CUT_OFF).any()
    assert (outcome.labels[lost] == outcome.labels[by]).all()
    assert (outcome.scores[lost] <= outcome.scores[by]).all()
    assert (outcome.suppressed_by[by] < 0).all() and (
        outcome.suppressed_by[outcome.kept] == -1
    ).all()


def test_names_lead_to_arrays_and_steps(whole: Trace) -> None:
    assert whole.rpn.proposals is whole["rpn/proposals"]
    assert whole.body[0] is whole["body/0"] and whole.rpn.objectness[4] is whole["rpn/objectness/4"]
    assert isinstance(whole["rpn-proposals"], Step)
    assert "rpn" in dir(whole) and "proposals" in dir(whole.rpn) and "proposals" in repr(whole.rpn)
    assert repr(whole).startswith("Trace('a title'") and "rpn-proposals" in repr(
        whole["rpn-proposals"]
    )
    for wrong in ("nonsense", "rpn/nonsense"):
        with pytest.raises(KeyError, match="no step or array"):
            whole[wrong]
    with pytest.raises(AttributeError, match="no 'nonsense'"):
        _ = whole.nonsense
    with pytest.raises(AttributeError, match="has no 'nonsense'"):
        _ = whole.rpn.nonsense


def test_code_is_the_source_itself(whole: Trace) -> None:
    for step in whole.steps:
        for code in step.code:
            lines = (ROOT / code.file).read_text().splitlines()
            first = code.text.splitlines()[0].strip()
            assert first in lines[code.line - 1], (step.key, code)
            assert re.match(r"(@|def |class )", first)


def test_notebooks_show_steps_and_the_list_of_them(whole: Trace) -> None:
    listed = whole._repr_html_()
    assert all(step.key in listed for step in whole.steps) and "<script" not in listed
    shown = whole["rpn-funnel"]._repr_html_()
    assert "data:image/webp" in shown and "<svg" in shown and "filter_proposals" in shown


def test_statistics_count_what_is_finite() -> None:
    facts = ArrayFacts.of("a", np.array([0, 1, 3, np.nan, np.inf], np.float32))
    assert (facts.low, facts.high, facts.not_finite) == (0, 3, pytest.approx(0.4))
    assert facts.mean == pytest.approx(4 / 3) and facts.zeros == pytest.approx(0.2)
    assert np.isnan(ArrayFacts.of("b", np.zeros((0, 4))).mean)
    assert ArrayFacts.of("c", np.array([True, False])).mean == 0.5


def test_wrong_targets_are_refused() -> None:
    image, target = subject()
    with pytest.raises(ValueError, match=r"target.labels: expected 0 \.\. 3"):
        trace(small(), image, Target(target.boxes, target.labels + 9, target.masks))
    with pytest.raises(ValueError, match=r"target.masks: expected shape"):
        trace(small(), image, Target(target.boxes, target.labels, target.masks[:, 1:]))
    with pytest.raises(TypeError, match="expected uint8"):
        trace(small(), image / 255, target)
    assert len(CLASSES) == 4 and SIDE == 96
