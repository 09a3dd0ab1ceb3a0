"""NumPy's numbers are numbers wherever one is taken; comparisons are elementwise."""

from __future__ import annotations

import numpy as np
import pytest

from minimask import functional as F
from minimask import nn
from minimask.autograd import Tensor, ops
from minimask.autograd.arrays import constant
from minimask.train.optim import SGD, AdamW


def leaf(values, dtype=np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


# NumPy's scalars are numbers wherever a number is taken

SCALARS = [np.int8, np.int64, np.uint8, np.float16, np.float32, np.float64]
X = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
IMAGES = np.arange(2 * 4 * 6 * 6, dtype=np.float32).reshape(2, 4, 6, 6) / 100
SCALE, ROIS = np.ones(4, np.float32), np.array([[1, 0.5, 0, 4, 3]], np.float32)


@pytest.mark.parametrize("kind", [*SCALARS, np.asarray], ids=lambda k: k.__name__)
@pytest.mark.parametrize(
    "fn",
    [
        lambda x, two: x**two,
        lambda x, two: ops.clip(x, two, None),
        lambda x, two: x.clip(high=two),
        lambda x, two: F.smooth_l1(x, np.zeros_like(X), beta=two),
    ],
)
def test_a_number_may_be_numpys(fn, kind) -> None:
    x, plain = leaf(X, np.float32), leaf(X, np.float32)
    y, want = fn(x, kind(2)), fn(plain, 2)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data, want.data)
    y.backward(np.ones(y.shape))
    want.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad, plain.grad)


@pytest.mark.parametrize("kind", SCALARS, ids=lambda k: k.__name__)
@pytest.mark.parametrize(
    "fn",
    [
        lambda x, two: x * two,
        lambda x, two: two - x,
        lambda x, two: two / x,
        lambda x, two: ops.maximum(x, two),
        lambda x, two: ops.where(X > 3, x, two),
        lambda x, two: F.group_norm(IMAGES, 2, SCALE, SCALE, eps=two) + x[0, 0],
        lambda x, two: F.batch_norm_train(IMAGES, SCALE, SCALE, eps=two)[0] + x[0, 0],
        lambda x, two: F.batch_norm(IMAGES, SCALE, SCALE, SCALE, SCALE, eps=two) + x[0, 0],
        lambda x, two: F.roi_align(IMAGES, ROIS, 2, spatial_scale=two) + x[0, 0],
        lambda x, two: F.roi_pool(IMAGES, ROIS, 2, spatial_scale=two) + x[0, 0],
        lambda x, two: F.roi_warp(IMAGES, ROIS, 2, spatial_scale=two) + x[0, 0],
    ],
)
def test_a_numpy_number_meets_an_array_as_pythons_does(fn, kind) -> None:
    y, want = fn(leaf(X, np.float32), kind(2)), fn(leaf(X, np.float32), 2)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data, want.data)


@pytest.mark.parametrize("kind", [np.int64, np.int16, np.uint8], ids=lambda k: k.__name__)
@pytest.mark.parametrize(
    "fn",
    [
        lambda x, k: x.sum(k(1)),
        lambda x, k: x.mean((k(0), k(1)), keepdims=True),
        lambda x, k: x.max(k(1)) + x.min(k(1)),
        lambda x, k: ops.softmax(x, k(0)),
        lambda x, k: ops.log_softmax(x, k(0)),
        lambda x, k: x.reshape(k(3), k(2)),
        lambda x, k: x.transpose(k(1), k(0)),
        lambda x, k: ops.broadcast_to(x, (k(2), k(2), k(3))),
        lambda x, k: ops.broadcast_to(x[0, :1], k(3)),
        lambda x, k: ops.concatenate([x, x], k(1)),
        lambda x, k: ops.stack([x, x], k(1)),
        lambda x, k: ops.take(x, k(1), k(1)),
        lambda x, k: x[k(1), k(0) : k(2)],
        lambda x, k: ops.flatten(x, k(0)),
        lambda x, k: ops.pad(x, ((k(1), k(0)), (k(0), k(1)))),
        lambda x, k: F.conv2d(
            IMAGES, np.ones((4, 2, 3, 3), "f4"), stride=k(2), padding=(k(1), k(1)), groups=k(2)
        ),
        lambda x, k: F.conv_transpose2d(IMAGES, np.ones((4, 1, 2, 2), "f4"), stride=k(2)),
        lambda x, k: F.max_pool2d(IMAGES, k(3), stride=k(2), padding=k(1)),
        lambda x, k: F.resize(IMAGES, (k(3), k(9))),
        lambda x, k: F.group_norm(IMAGES, k(2), SCALE, SCALE),
        lambda x, k: F.roi_align(IMAGES, ROIS, k(2), sampling_ratio=k(2), reduce="max"),
        lambda x, k: F.roi_pool(IMAGES, ROIS, (k(2), k(1))),
        lambda x, k: nn.Conv2d(
            k(4), k(6), k(3), padding=k(1), groups=k(2), rng=np.random.default_rng(0)
        )(IMAGES),
        lambda x, k: nn.Linear(k(3), k(2), rng=np.random.default_rng(0))(x),
    ],
)
def test_axes_sizes_and_steps_may_be_numpys_integers(fn, kind) -> None:
    np.testing.assert_array_equal(fn(Tensor(X), kind).data, fn(Tensor(X), int).data)


@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_a_learning_rate_may_be_numpys(optimizer) -> None:
    weights = []
    for kind in (float, np.float64):
        p = leaf([[0.3, -1.7]], np.float32)
        p.grad = np.array([[0.1, 0.7]], np.float32)
        optimizer([("p", p)], lr=kind(0.1), weight_decay=kind(0.01)).step(kind(0.03))
        weights.append(p.data)
    assert weights[1].dtype == np.float32
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leaf([1]) ** "2", "power: `exponent` must be a number, got str"),
        (lambda: leaf([1]) ** leaf(2), r"got Tensor; for a varying exponent write ops.exp"),
        (lambda: leaf([1]).clip(np.ones(2)), "clip: `low` must be a number, got ndarray"),
        (lambda: ops.clip(leaf([1]), 0, leaf(2)), "clip: `high` must be a number, got Tensor"),
        (lambda: ops.take(leaf([1]), 0, axis=1), r"take: axis 1 of an array of shape \(1,\)"),
        (lambda: leaf([1]).sum(1.0), "'float' object cannot be interpreted as an integer"),
    ],
)
def test_what_is_no_number_is_refused(call, message) -> None:
    with pytest.raises((TypeError, IndexError), match=message):
        call()


def test_constants_are_not_cut_to_the_integers_they_meet() -> None:
    for dtype, want in [("u1", "f4"), ("i2", "f4"), ("i8", "f8"), ("f2", "f2"), ("f4", "f4")]:
        factors = constant((0.5, -3.25), np.zeros(2, dtype))
        assert (factors.tolist(), factors.dtype) == ([0.5, -3.25], np.dtype(want))


# Comparisons


def test_comparisons_are_elementwise_and_have_no_gradient() -> None:
    x, y = leaf([1, 2, 3]), leaf([3, 2, 1])
    for got, want in [
        (x == y, [False, True, False]),
        (x != y, [True, False, True]),
        (x < y, [True, False, False]),
        (x <= 2, [True, True, False]),
        (x > np.float64(2), [False, False, True]),
        (np.array([1, 3, 3]) == x, [True, False, True]),
        (2 >= x, [True, True, False]),
        (x == [1, 0, 3], [True, False, True]),
    ]:
        assert type(got) is np.ndarray
        assert got.tolist() == want
    assert ops.where(x > y, x, 0.0).data.tolist() == [0, 0, 3]
    assert x[x != 2].data.tolist() == [1, 3]
    # a number is rounded to the tensor's type, as in arithmetic
    assert (leaf([0.1], np.float32) == 0.1).all()


def test_comparisons_with_what_is_no_number() -> None:
    x = leaf([1, 2])
    assert (x == None) is False  # noqa: E711  and not an array of False
    assert (x != "1") is True
    with pytest.raises(
        TypeError, match="'>' not supported between instances of 'Tensor' and 'str'"
    ):
        x > "1"  # noqa: B015
    with pytest.raises(ValueError, match="broadcast"):
        x == leaf([1, 2, 3])  # noqa: B015


def test_tensors_are_kept_in_sets_by_identity() -> None:
    x, same = leaf([1, 2]), leaf([1, 2])
    assert len({x, same, x}) == 2
    assert {x: "x", same: "same"}[x] == "x"
