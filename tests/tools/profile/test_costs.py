"""Multiply-adds counted by hand, and what is measured of the machine."""

from __future__ import annotations

import numpy as np
import pytest

from minimask import functional as F
from minimask.autograd import Tensor, ops
from minimask.tools.profile import Machine, Observer, Row, measure_machine, summarize
from minimask.tools.profile.costs import COSTS, Call, cost_of
from minimask.tools.profile.machine import peak_memory
from minimask.tools.profile.stages import sorted_stages
from minimask.train import SGD, AdamW

MACHINE = Machine(matrix_rate=1e9, bandwidth=1e9, threads=1)


def tensor(*shape: int, grad: bool = True) -> Tensor:
    return Tensor(np.ones(shape, np.float32), requires_grad=grad)


def rows_of(run) -> dict[str, Row]:
    """What `run` costs forward, and with its backward pass, by kind of operation."""
    observer = Observer()
    with observer.watch():
        out = run()
        if out.requires_grad:
            out.backward(np.ones(out.shape, np.float32))
    return {row.name: row for row in summarize(observer, MACHINE).operations}


def test_a_convolution_by_hand() -> None:
    # 2 images, 3 -> 4 channels, 5 x 6 pixels kept by padding 1: 2 * 4 * 5 * 6 = 240 values, each
    # the sum of 3 * 3 * 3 = 27 products
    x, weight = tensor(2, 3, 5, 6, grad=False), tensor(4, 3, 3, 3)
    row = rows_of(lambda: F.conv2d(x, weight, padding=1))["Conv2d 3x3 s1"]
    assert row.flop == 2 * 240 * 27 * (1 + 1)  # forward, and for the weight alone
    assert row.calls == 1
    inputs, output = 4 * (180 + 108), 4 * 240
    backward = output + inputs + 4 * 108  # gradient, what was saved, the weight's gradient
    assert row.moved == inputs + output + backward
    assert row.made == output + 4 * 108
    floors = max(12960, inputs + output) + max(12960, backward)
    assert row.floor == pytest.approx(floors / 1e9)


@pytest.mark.parametrize(("kind", "bytes_moved"), [(SGD, 20), (AdamW, 28)])
def test_an_optimizers_step_moves_what_it_reads_and_overwrites(kind, bytes_moved) -> None:
    weight = tensor(5, 7)
    weight.grad = np.ones((5, 7), np.float32)
    optimizer, observer = kind([("weight", weight)], 0.1), Observer()
    with observer.watch():
        optimizer.step()
    name = f"{kind.__name__.lower()}_step (kernel)"
    (row,) = (row for row in summarize(observer, MACHINE).operations if row.name == name)
    assert (row.calls, row.moved, row.made, row.flop) == (1, 35 * bytes_moved, 0, 0)


def test_strides_groups_and_gradients_of_a_convolution() -> None:
    both = rows_of(lambda: F.conv2d(tensor(1, 4, 8, 8), tensor(6, 2, 1, 1), stride=2, groups=2))
    assert both["Conv2d 1x1 s2"].flop == 3 * 2 * (6 * 4 * 4) * 2
    none = rows_of(lambda: F.conv2d(tensor(1, 2, 4, 4, grad=False), tensor(3, 2, 3, 3, grad=False)))
    assert none["Conv2d 3x3 s1"].flop == 2 * (3 * 2 * 2) * 18


def test_other_products_by_hand() -> None:
    transposed = rows_of(
        lambda: F.conv_transpose2d(tensor(1, 3, 4, 4), tensor(3, 5, 2, 2), stride=2)
    )
    assert transposed["ConvTranspose2d 2x2 s2"].flop == 3 * 2 * (3 * 16) * (5 * 4)
    linear = rows_of(lambda: F.linear(tensor(7, 3), tensor(5, 3), tensor(5)))
    assert linear["Linear"].flop == 3 * 2 * 7 * 5 * 3
    product = rows_of(lambda: ops.matmul(tensor(2, 3, 4), tensor(4, 5)))
    assert product["MatMul"].flop == 3 * 2 * (2 * 3 * 5) * 4
    rois = np.array([[0, 0, 0, 8, 8]], np.float32)
    pooled = rows_of(lambda: F.roi_align(tensor(1, 2, 64, 64), rois, 3, sampling_ratio=2))
    assert pooled["RoIAlign"].flop == 2 * 2 * (2 * 9) * 4 * 4
    as_many_as_pixels = rows_of(lambda: F.roi_align(tensor(1, 2, 64, 64), rois, 3))
    assert as_many_as_pixels["RoIAlign"].flop == 0  # each region has its own number of samples


def test_reading_a_part_costs_a_part() -> None:
    picked = rows_of(lambda: tensor(1000, 4, grad=False)[np.array([1, 5])])
    assert picked["GetItem"].moved == 2 * 32
    rois = np.array([[0, 0, 0, 8, 8]], np.float32)
    x = tensor(1, 2, 64, 64, grad=False)
    pooled = rows_of(lambda: F.roi_align(x, rois, 3, sampling_ratio=2))["RoIAlign"]
    assert pooled.moved == 4 * (18 * 16 + 18)  # 16 pixels a value, not the 8192 of all features


def test_a_line_in_the_dict_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(
        "ConvNew", ((1, 3, 8, 8), (4, 3, 3, 3)), (1, 4, 8, 8), {"stride": (2, 1)}, (True,) * 2
    )
    assert cost_of(call).forward(call) == cost_of(call).backward(call) == 0
    monkeypatch.setitem(COSTS, "ConvNew", COSTS["Conv2d"])
    assert cost_of(call).forward(call) == 2 * 256 * 27
    assert cost_of(call).label(call) == "ConvNew 3x3 s2"


def test_the_floor_is_the_greater_of_both() -> None:
    machine = Machine(matrix_rate=100.0, bandwidth=10.0, threads=1)
    assert machine.floor(flop=200, moved=10) == 2.0
    assert machine.floor(flop=200, moved=50) == 5.0


def test_the_machine_is_measured() -> None:
    machine = measure_machine(side=64, copied=2**16)
    assert machine.matrix_rate == machine.other_rate > 0 and not machine.disturbed
    assert machine.bandwidth > 0 and machine.threads >= 1
    before = measure_machine(1e18, side=64, copied=2**16)  # nobody is that fast
    assert before.matrix_rate == 1e18 and before.disturbed
    peak = peak_memory()
    assert peak is None or peak > 2**20


def test_stages_from_the_image_to_the_result() -> None:
    assert sorted_stages({"FPN", "mine", "image transform"}) == ["image transform", "FPN", "mine"]
