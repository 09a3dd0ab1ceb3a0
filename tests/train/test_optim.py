"""Update rules against numbers worked out by hand, against float64 formulas, and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimask.autograd import Tensor
from minimask.kernels import using
from minimask.train.optim import EMA, SGD, AdamW, clip_grad_norm, decays, grad_norm


def parameter(values, grad=None, dtype="f4"):
    tensor = Tensor(np.array(values, dtype), requires_grad=True)
    tensor.grad = None if grad is None else np.array(grad, dtype)
    return tensor


def test_sgd_by_hand():
    # lr 0.1, momentum 0.5, gradient 2 every time: v = 2, 3, 3.5 and w = 1 - .2 - .3 - .35
    w = parameter([1.0], [2.0])
    optimizer = SGD([("w", w)], 0.1, momentum=0.5, weight_decay=0.0)
    seen = []
    for _ in range(3):
        optimizer.step()
        seen.append(float(w.data[0]))
    np.testing.assert_allclose(seen, [0.8, 0.5, 0.15], rtol=1e-6)


def test_sgd_decay_by_hand():
    # gradient 0: v = decay w = 0.5 * 2 = 1, w = 2 - 0.1
    w = parameter([[2.0]], [[0.0]])
    SGD([("w", w)], 0.1, momentum=0.9, weight_decay=0.5).step()
    np.testing.assert_allclose(w.data, [[1.9]], rtol=1e-6)


def test_adamw_by_hand():
    # whatever the gradient's size, the first step is lr long: the bias corrections cancel
    for size in (1e-3, 1.0, 1e4):
        w = parameter([1.0, 1.0], [size, -size])
        AdamW([("w", w)], 0.01, weight_decay=0.0).step()
        np.testing.assert_allclose(w.data, [0.99, 1.01], rtol=1e-5)


def test_adamw_decay_does_not_pass_through_the_mean():
    # decoupled: w = w (1 - lr decay), exactly, when the gradient is 0
    w = parameter([[4.0]], [[0.0]])
    optimizer = AdamW([("w", w)], 0.1, weight_decay=0.5)
    optimizer.step()
    optimizer.step()
    np.testing.assert_allclose(w.data, [[4 * 0.95**2]], rtol=1e-6)


def adamw_formula(w, grads, lr, betas, eps, decay):
    """Algorithm 2 of the AdamW paper, line by line, in float64."""
    w, m, v = w.astype("f8"), 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        g = g.astype("f8")
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        w = w - lr * m_hat / (np.sqrt(v_hat) + eps) - lr * decay * w
    return w


@given(st.integers(0, 1000), st.integers(1, 7))
def test_adamw_is_the_papers_formula(seed, steps):
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((5, 3)).astype("f4")
    grads = [rng.standard_normal((5, 3)).astype("f4") for _ in range(steps)]
    w = parameter(start)
    optimizer = AdamW([("w", w)], 0.05, (0.8, 0.95), 1e-6, 0.1)
    for g in grads:
        w.grad = g
        optimizer.step()
    expected = adamw_formula(start, grads, 0.05, (0.8, 0.95), 1e-6, 0.1)
    np.testing.assert_allclose(w.data, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_the_compiled_step_has_the_bits_of_the_formula(kind):
    rng = np.random.default_rng(0)
    start, *grads = rng.standard_normal((4, 31, 9)).astype("f4")

    def after(variant):
        w = parameter(start)
        optimizer = kind([("w", w)], 0.1)
        with using(variant):
            for w.grad in grads:
                optimizer.step()
        return w.data

    np.testing.assert_array_equal(after("cpu"), after("reference"))


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_state_dict_continues_exactly(kind):
    rng = np.random.default_rng(1)
    grads = rng.standard_normal((6, 4, 4)).astype("f4")

    def run(optimizer, w, some):
        for g in some:
            w.grad = g
            optimizer.step()

    w = parameter(np.ones((4, 4)))
    first = kind([("w", w)], 0.1)
    run(first, w, grads[:3])
    saved = {name: array.copy() for name, array in first.state_dict().items()}
    other = parameter(w.data.copy())
    run(first, w, grads[3:])
    second = kind([("w", other)], 0.1)
    second.load_state_dict(saved)
    run(second, other, grads[3:])
    np.testing.assert_array_equal(w.data, other.data)


def test_state_of_another_optimizer_is_refused():
    w = parameter([[1.0]])
    with pytest.raises(ValueError, match=r"velocity\.w is unknown here"):
        AdamW([("w", w)], 0.1).load_state_dict(SGD([("w", w)], 0.1).state_dict())
    with pytest.raises(ValueError, match=r"velocity.w is \(1, 1\) here, \(2,\) in the file"):
        SGD([("w", w)], 0.1).load_state_dict(SGD([("w", parameter([1, 2]))], 0.1).state_dict())


def test_norm_and_bias_do_not_decay():
    for shape, expected in [((3,), False), ((), False), ((2, 2), True), ((2, 2, 1, 1), True)]:
        assert decays(parameter(np.ones(shape))) is expected
    bias, weight = parameter([1.0], [0.0]), parameter([[1.0]], [[0.0]])
    AdamW([("bias", bias), ("weight", weight)], 0.1, weight_decay=0.5).step()
    assert bias.data[0] == 1.0
    assert weight.data[0, 0] < 1.0


def test_parameters_without_gradient_stay():
    frozen, idle = Tensor(np.ones(2, "f4")), parameter([1.0, 1.0])
    optimizer = AdamW([("frozen", frozen), ("idle", idle)], 0.1)
    optimizer.step()
    assert [name for name, _ in optimizer.parameters] == ["idle"]
    np.testing.assert_array_equal(idle.data, [1, 1])
    with pytest.raises(ValueError, match="nothing can be trained"):
        SGD([("frozen", frozen)], 0.1)


def test_non_contiguous_weights_are_updated():
    w = parameter(np.ones((2, 3)))
    w.data, w.grad = np.ones((3, 2), "f4").T, np.ones((3, 2), "f4").T
    SGD([("w", w)], 0.5).step()
    assert (w.data < 1).all()


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_the_order_in_memory_changes_nothing(kind):
    rng = np.random.default_rng(3)
    start, *grads = rng.standard_normal((4, 5, 3)).astype("f4")

    def after(layout):
        w = parameter(layout(start))
        w.data = layout(start)
        optimizer = kind([("w", w)], 0.1)
        for grad in grads:
            w.grad = layout(grad)
            optimizer.step()
        return w.data

    np.testing.assert_array_equal(after(np.asfortranarray), after(np.array))


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_single_number_is_trained_too(kind):
    w = parameter(1.0, 2.0)
    optimizer = kind([("w", w)], 0.1)
    optimizer.step()
    optimizer.step()
    assert w.data.shape == ()
    assert w.data < 0.9


def test_clipping_by_hand():
    a, b = parameter([0.0], [3.0]), parameter([0.0, 0.0], [4.0, 0.0])
    named = [("a", a), ("b", b)]
    assert clip_grad_norm(named, 10.0) == pytest.approx(5.0)
    assert a.grad[0] == 3.0  # short enough: untouched
    assert clip_grad_norm(named, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose([a.grad[0], b.grad[0]], [0.6, 0.8], rtol=1e-6)
    assert grad_norm(named) == pytest.approx(1.0)
    assert clip_grad_norm(named, 0.9) == pytest.approx(1.0)  # a little too long is too long
    assert grad_norm(named) == pytest.approx(0.9)


def test_clipping_leaves_nan_to_be_reported():
    a = parameter([0.0, 0.0], [np.nan, 1.0])
    assert np.isnan(clip_grad_norm([("a", a)], 1.0))
    assert a.grad[1] == 1.0


def test_ema_by_hand(tiny):
    model = tiny()
    start = model.weight.data.copy()
    ema = EMA(model, 0.999)
    model.weight.data += 1.0
    ema.update()  # early on it keeps only 2/11
    np.testing.assert_allclose(ema.average["weight"], start + 9 / 11, rtol=1e-5)
    with ema.applied():
        np.testing.assert_allclose(model.weight.data, start + 9 / 11, rtol=1e-5)
    np.testing.assert_array_equal(model.weight.data, start + 1.0)
    with pytest.raises(ValueError, match="another model"):
        ema.load_state_dict({"weight": start})


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_minimizes_a_parabola(kind):
    w = parameter([[3.0, -2.0]])
    optimizer = kind([("w", w)], 0.05, weight_decay=0.0)
    for step in range(300):
        w.grad = 2 * w.data * np.array([1, 10], "f4") / 10
        optimizer.step(0.05 * (1 - step / 300))
    assert np.abs(w.data).max() < 0.05


def test_bad_values_are_named():
    w = parameter([1.0])
    for options, name in [({"lr": -1}, "lr"), ({"lr": 1, "weight_decay": np.nan}, "weight_decay")]:
        with pytest.raises(ValueError, match=name):
            SGD([("w", w)], **options)
    with pytest.raises(ValueError, match="betas"):
        AdamW([("w", w)], 1, betas=(1.0, 0.9))
