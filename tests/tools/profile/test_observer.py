"""The observer counts every nanosecond once, names the places, and leaves no trace."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

from minimask import functional as F
from minimask.autograd import Function, Tensor, hooks, ops
from minimask.autograd.hooks import stage
from minimask.kernels import box_iou
from minimask.models import Target, build
from minimask.nn import Conv2d, Module, ReLU, Sequential
from minimask.tools.profile import (
    Machine,
    Measured,
    Observer,
    as_json,
    as_trace,
    closing,
    summarize,
    table,
)

MACHINE = Machine(matrix_rate=100e9, bandwidth=10e9, threads=2)
SIDE = 64
NETWORK = {
    "model": "maskrcnn_laptop",
    "classes": ["circle", "square"],
    "min_size": SIDE,
    "max_size": SIDE,
    "anchor_sizes": [8, 16, 32, 48, 64],
    "fpn_channels": 16,
    "box_head_width": 32,
    "mask_head_channels": [16],
    "mask_predictor_channels": 16,
    "box_detections_per_img": 5,
    "box_score_thresh": 0.0,
}


def ticking():
    """A clock that is one nanosecond further, then three more, and so on, at each look."""
    return map(lambda n: n * (n + 1) // 2, itertools.count()).__next__


def losses_of(model) -> dict[str, Tensor]:
    image = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    box = np.array([[8, 8, 40, 44]], np.float32)
    mask = np.zeros((1, SIDE, SIDE), bool)
    mask[0, 8:44, 8:40] = True
    target = Target(box, np.zeros(1, np.int64), mask)
    return model.losses([image], [target], rng=np.random.default_rng(0))


def backward_of(model) -> list[np.ndarray]:
    """The losses and all gradients of one step."""
    losses = losses_of(model)
    sum(losses.values(), start=Tensor(np.zeros((), np.float32))).backward()
    gradients = [p.grad for p in model.parameters()]
    model.zero_grad()
    return [*(loss.data for loss in losses.values()), *gradients]


@pytest.fixture(scope="module")
def watched():
    """The profile of one backward pass of the whole model, by a clock that only counts."""
    model = build(NETWORK)
    observer = Observer(model, clock=ticking())
    with observer.watch():
        backward_of(model)
    return summarize(observer, MACHINE)


def nanoseconds(rows) -> int:
    return sum(row.forward + row.backward for row in rows)


def test_rows_add_up_to_the_whole(watched) -> None:
    assert watched.total > 0
    assert nanoseconds(watched.stages) == nanoseconds(watched.operations) == watched.total
    for name in ("calls", "flop", "moved", "made", "kept"):
        by_stage, by_kind, by_layer = (
            sum(getattr(row, name) for row in rows)
            for rows in (watched.stages, watched.operations, watched.layers)
        )
        assert by_stage == pytest.approx(by_kind) == pytest.approx(by_layer) and by_stage > 0, name


def test_stages_are_the_boxes_of_the_figure(watched) -> None:
    by_name = {row.name: row for row in watched.stages if row.calls}
    for name in ("backbone stem", "backbone layer1", "backbone layer4", "FPN", "RPN head"):
        row = by_name[name]
        assert row.calls and row.forward and row.backward and row.flop and row.kept, name
    for name in ("RoI pooling, box", "box head", "RoI pooling, mask", "mask head", "mask loss"):
        assert by_name[name].forward and by_name[name].backward, name
    assert by_name["proposals"].backward == 0  # nothing flows through their coordinates
    stages = {row.stage for row in watched.stages}
    assert {"image transform", "anchors, matching", "RoI sampling", "backward"} <= stages
    kinds = {row.name for row in watched.operations}
    assert {"Conv2d 3x3 s1", "Conv2d 7x7 s2", "ConvTranspose2d 2x2 s2", "Linear"} <= kinds
    assert {"nms_padded (kernel)", "best_overlaps (kernel)"} <= kinds
    (first,) = (row for row in watched.layers if row.name == "Conv2d 7x7 s2")
    assert first.calls == 1 and first.stage.startswith("backbone.body")


def test_a_prediction_has_no_backward_and_keeps_nothing() -> None:
    model = build(NETWORK)
    observer = Observer(model)
    with observer.watch():
        (found,) = model.predict([np.zeros((SIDE, SIDE, 3), np.uint8)])
    profile = summarize(observer, MACHINE)
    assert nanoseconds(profile.stages) == profile.total
    assert sum(row.backward for row in profile.stages) == profile.kept == 0
    assert len(found) and {"mask head", "box results"} <= {row.stage for row in profile.stages}


def test_watching_changes_no_bit_and_leaves_nothing() -> None:
    plain = backward_of(build(NETWORK))
    model = build(NETWORK)
    observer = Observer(model)
    with observer.watch():
        seen = backward_of(model)
    count = len(observer.records)
    assert hooks.active.get() is None
    afterwards = backward_of(build(NETWORK))
    assert len(observer.records) == count > 100
    for a, b, c in zip(plain, seen, afterwards, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    with pytest.raises(RuntimeError, match="make a new one"), observer.watch():
        pass


def test_an_error_inside_ends_the_watching() -> None:
    observer = Observer(Sequential(ReLU()), clock=ticking())
    with pytest.raises(ValueError), observer.watch(), stage("here"):
        ops.reshape(Tensor(np.zeros(3, np.float32)), (2,))
    assert hooks.active.get() is None and observer.end > observer.start
    assert nanoseconds(summarize(observer, MACHINE).stages) == observer.total


def test_backward_belongs_to_the_stage_of_its_forward() -> None:
    weight = Tensor(np.ones((4, 3), np.float32), requires_grad=True)
    observer = Observer()
    with observer.watch():
        with stage("first"):
            y = F.linear(np.ones((2, 3), np.float32), weight)
        with stage("second"):
            loss = F.relu(y).sum()
        loss.backward()
    rows = {row.name: row for row in summarize(observer, MACHINE).stages}
    assert rows["first"].backward > 0 and rows["second"].backward > 0
    assert rows["first"].calls == 1 and rows["second"].calls == 2
    places = [(r.call.name, r.place.stage) for r in observer.records if r.place.phase == "backward"]
    assert places == [("Sum", "second"), ("ReLU", "second"), ("Linear", "first")]


class Twice(Function):
    """An operation that the costs know nothing of; it calls a kernel and another operation."""

    @staticmethod
    def forward(ctx, x):
        ctx.save({"parts": [x]})
        box_iou(np.ones((2, 4), np.float32), np.ones((2, 4), np.float32))
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


def test_an_unknown_operation_has_bytes_only() -> None:
    x = Tensor(np.ones((10, 10), np.float32), requires_grad=True)
    observer = Observer()
    with observer.watch():
        Twice.apply(x).backward(np.ones((10, 10), np.float32))
    (row,) = summarize(observer, MACHINE).layers  # the kernel inside is part of it
    assert (row.name, row.calls, row.flop, row.made) == ("Twice", 1, 0, 800)
    assert row.moved == 800 + 1200  # in, out; gradient in, saved, gradient out
    assert row.floor == pytest.approx(2000 / 10e9)
    assert row.kept == 800  # its output and, saved inside a dict and a list, its input


def test_views_move_nothing_and_buffers_count_once() -> None:
    x = Tensor(np.ones((4, 6), np.float32), requires_grad=True)
    parameter = Conv2d(3, 2, 1, rng=np.random.default_rng(0))
    image = np.ones((1, 3, 5, 5), np.float32)
    observer = Observer(parameter)
    with observer.watch():
        flat = ops.reshape(x, (24,))
        flat.sum().backward()
        both = parameter(image)
        F.relu(both)
    rows = {row.name: row for row in summarize(observer, MACHINE).operations}
    assert rows["Reshape"].moved == rows["Reshape"].made == 0
    kept = rows["Conv2d 1x1 s1"].kept
    assert kept == image.nbytes + both.data.nbytes  # not the weights, which are there anyway
    assert rows["ReLU"].kept == both.data.nbytes  # its output; its input was counted


def test_what_is_freed_before_the_backward_pass_was_not_kept() -> None:
    x = Tensor(np.ones(100, np.float32), requires_grad=True)
    observer = Observer()
    with observer.watch():
        ops.neg(x)  # nobody uses it
        loss = ops.neg(x).sum()
        loss.backward()
    rows = {row.name: row for row in summarize(observer, MACHINE).operations}
    assert rows["Neg"].calls == 2 and rows["Neg"].made == 3 * 400  # and a gradient
    assert rows["Neg"].kept == 400


def test_a_layer_has_the_path_of_its_module() -> None:
    class Net(Module):
        def __init__(self):
            self.body = Sequential(Sequential(ReLU()))

        def forward(self, x):
            return self.body(x)

    model, observer = Net(), None
    observer = Observer(model)
    with observer.watch():
        model(Tensor(np.ones(3, np.float32)))
    assert [r.place.layer for r in observer.records] == ["body.0.0"]


def test_json_and_trace(watched) -> None:
    content = json.loads(json.dumps(as_json(watched), allow_nan=False))
    total = sum(row["forward_ms"] + row["backward_ms"] for row in content["stages"])
    assert total == pytest.approx(content["total_ms"])
    assert content["machine"]["threads"] == 2
    events = json.loads(json.dumps(as_trace(watched.observer), allow_nan=False))["traceEvents"]
    assert {e["ph"] for e in events} == {"X"} and all(e["dur"] >= 0 <= e["ts"] for e in events)
    end = watched.total / 1e3
    assert max(e["ts"] + e["dur"] for e in events) <= end
    open_until: list[float] = []  # every event lies inside the one around it
    for event in events:
        while open_until and event["ts"] >= open_until[-1]:
            open_until.pop()
        assert not open_until or event["ts"] + event["dur"] <= open_until[-1]
        open_until.append(event["ts"] + event["dur"])


def test_the_table_fits_and_names_everything(watched) -> None:
    text = table(watched, top=3)
    assert max(map(len, text.splitlines())) <= 100
    for words in ("by stage", "by operation", "the 3 slowest layers", "\n  between", "Conv2d 3x3"):
        assert words in text, words
    lines = text.splitlines()
    assert sum(line.startswith("whole ") for line in lines) == 2
    (transform,) = (line for line in lines if line.startswith("image transform"))
    assert (
        transform.split()[2].replace(".", "").isdigit()
    )  # no operations: its own time in the line
    assert "slowest layers" not in table(watched, top=0)


def test_what_is_said_at_the_end(watched) -> None:
    measured = Measured(
        watched.observer, plain=[0.3, 0.1, 0.2], observed=[0.21] * 3, peak=5 * 10**8
    )
    text = closing(watched, measured)
    assert "without the profile 200.0 ms, with it 210.0 ms (+5.0 %); medians of 3" in text
    assert "peak memory of this process 500 MB" in text and "other programs" not in text
    disturbed = dataclasses.replace(MACHINE, other_rate=50e9)
    text = closing(dataclasses.replace(watched, machine=disturbed), measured)
    assert "was at 50 GFLOP/s the other time" in text
