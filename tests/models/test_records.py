"""What a model says of its work is heard by those who asked, and by nobody else."""

import contextlib
import itertools
import threading

import numpy as np
import pytest

import minimask as mm
from minimask.autograd import detect_anomaly
from minimask.autograd.hooks import Recorder, active, hooked, record
from minimask.models import Target
from minimask.tools.profile.observer import Observer

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
MASK = np.zeros((1, 64, 64), bool)
MASK[0, 8:50, 5:40] = True
TARGET = Target(np.array([[5, 8, 40, 50]], np.float32), np.array([0]), MASK)


@pytest.fixture(scope="module")
def model():
    return mm.models.maskrcnn_laptop(["a"], box_score_thresh=0.0, box_detections_per_img=5)


def names(recorder):
    return [name for name, _ in recorder.entries]


def test_a_prediction_is_told_from_the_image_to_the_result(model):
    with hooked(Recorder()) as recorder:
        (found,) = model.predict([IMAGE])
    heard = names(recorder)
    assert heard[:2] == ["transform/batch", "transform/image"] and heard[-1] == "out/masks"
    assert {"rpn/filter", "det/candidates"} < set(heard)
    np.testing.assert_array_equal(recorder.values("out/boxes")[0], found.boxes)
    (stages,) = recorder.values("rpn/filter")
    best = stages.clipped.reshape(-1, 4)[stages.kept[0]]
    np.testing.assert_array_equal(best, recorder.values("rpn/proposals")[0][0][0])


def test_the_cuts_of_a_prediction_lead_to_its_detections(model):
    with hooked(Recorder()) as recorder:
        model.predict([IMAGE])
    ((candidates,),) = recorder.values("det/candidates")
    kept = candidates.kept[: model.roi_heads.detections_per_img]
    np.testing.assert_array_equal(candidates.boxes[kept], recorder.values("det/boxes")[0][0])
    np.testing.assert_array_equal(candidates.scores[kept], recorder.values("det/scores")[0][0])
    np.testing.assert_array_equal(candidates.labels[kept], recorder.values("det/labels")[0][0])
    assert candidates.valid[candidates.kept].all()
    np.testing.assert_allclose(candidates.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_training_step_tells_what_it_learns_from(model):
    with hooked(Recorder()) as recorder:
        losses = model.losses([IMAGE], [TARGET], rng=np.random.default_rng(0))
    assert np.isfinite(sum(loss.item() for loss in losses.values()))
    heard = set(names(recorder))
    assert {"rpn/matches", "rpn/sampled", "rpn/target_deltas", "roi/candidates"} < heard
    assert {"roi/sampled", "mask/sampled", "mask/targets", "transform/targets"} < heard
    ((positive, negative),) = recorder.values("rpn/sampled")[0]
    (matches,) = recorder.values("rpn/matches")[0]
    assert (matches[positive] >= 0).all() and (matches[negative] == -1).all()
    (sampled,) = recorder.values("mask/sampled")[0]
    assert len(recorder.values("mask/targets")[0]) == sampled.positive.sum() > 0


def test_other_threads_and_later_predictions_are_not_heard(model):
    results = []
    with hooked(Recorder()) as recorder:
        elsewhere = threading.Thread(target=lambda: results.append(model.predict([IMAGE])))
        elsewhere.start()
        elsewhere.join()
        assert len(results) == 1 and names(recorder) == []
    model.predict([IMAGE])
    assert names(recorder) == [] and active.get() is None


def test_a_hook_set_in_another_thread_hears_that_thread_alone(model):
    inside, done = threading.Event(), threading.Event()
    recorders = []

    def listen():
        with hooked(Recorder()) as recorder:
            recorders.append(recorder)
            inside.set()
            done.wait(60)

    listener = threading.Thread(target=listen)
    listener.start()
    assert inside.wait(60)
    model.predict([IMAGE])
    done.set()
    listener.join()
    assert names(recorders[0]) == []


def test_a_record_without_a_listener_computes_nothing():
    def computed():
        raise AssertionError("nobody asked")

    record("name", computed)
    with hooked(Recorder()) as recorder:
        record("name", lambda: 3)
    assert recorder.entries == [("name", 3)]


ORDERS = list(itertools.permutations(["recorder", "anomaly", "observer"]))


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_listeners_can_be_nested_in_any_order(model, order):
    model.eval()
    quiet = {n: x.item() for n, x in model.losses([IMAGE], [TARGET], rng=_rng()).items()}
    with hooked(Recorder()) as alone:
        model.losses([IMAGE], [TARGET], rng=_rng())
    recorder, observer = Recorder(), Observer(model)
    make = {
        "recorder": lambda: hooked(recorder),
        "anomaly": detect_anomaly,
        "observer": observer.watch,
    }
    with contextlib.ExitStack() as stack:
        for name in order:
            stack.enter_context(make[name]())
        losses = model.losses([IMAGE], [TARGET], rng=_rng())
        sum(losses.values()).backward()
    assert {n: x.item() for n, x in losses.items()} == quiet
    assert names(recorder) == names(alone) and len(recorder.entries) > 30
    assert len(observer.records) > 50
    assert active.get() is None


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_an_error_leaves_no_listener_behind(model, order):
    weight = model.roi_heads.mask_predictor.mask_fcn_logits.bias
    before = weight.data.copy()
    make = {
        "recorder": lambda: hooked(Recorder()),
        "anomaly": detect_anomaly,
        "observer": lambda: Observer(model).watch(),
    }
    weight.data[...] = np.nan
    try:
        with pytest.raises(FloatingPointError, match="NaN"), contextlib.ExitStack() as stack:
            for name in order:
                stack.enter_context(make[name]())
            model.losses([IMAGE], [TARGET], rng=_rng())
    finally:
        weight.data[...] = before
    assert active.get() is None


def _rng():
    return np.random.default_rng(0)
