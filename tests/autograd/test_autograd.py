"""The engine: recording, the walk back, broadcasting, memory, messages, anomaly mode, drawing."""

from __future__ import annotations

import gc
import pathlib
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from minimask import functional as F
from minimask.autograd import (
    AnomalyError,
    Function,
    Tensor,
    detect_anomaly,
    no_grad,
    ops,
    topological_order,
    unbroadcast,
)
from minimask.autograd.arrays import array_module
from minimask.autograd.graph import graph


def leaf(*values: float, name: str | None = None) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True, name=name)


# Gradients worked out by hand


def test_a_value_used_twice_gets_both_gradients() -> None:
    x = leaf(3.0)
    a = 2 * x  # 6
    b = a + 1  # 7
    y = a * b  # 42; dy/da = b + a = 13, so dy/dx = 26
    y.backward(np.ones(1))
    assert y.data.tolist() == [42]
    assert x.grad.tolist() == [26]


def test_a_diamond_of_many_layers() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(60):  # every path by itself would be 2^60 walks
        y = y + y
    y.backward(np.ones(1))
    assert x.grad.tolist() == [2.0**60]


def test_the_example_of_the_docstring_needs_the_order() -> None:
    x = leaf(1.0)
    a = 2 * x
    b = a + 1
    y = a * b
    names = [t._ctx.fn.__name__ for t in topological_order(y)]
    assert names == ["Mul", "Add", "Mul"]
    order = topological_order(y)
    assert [id(t) for t in order] == [id(a), id(b), id(y)]


def test_backward_adds_to_what_is_there() -> None:
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    (3 * x).sum().backward()
    assert x.grad.tolist() == [5, 7]


def test_backward_of_a_leaf_is_its_own_gradient() -> None:
    x = leaf(1.0, 2.0)
    start = np.array([5.0, 6.0])
    x.backward(start)
    x.backward(start)
    assert x.grad.tolist() == [10, 12]
    assert start.tolist() == [5, 6]


def test_gradients_do_not_reach_constants_and_frozen_tensors() -> None:
    x, frozen = leaf(2.0), Tensor(np.array([5.0]))
    y = x * frozen + frozen
    y.backward(np.ones(1))
    assert x.grad.tolist() == [5]
    assert frozen.grad is None
    assert not (frozen * 2).requires_grad


def test_detach_stops_the_gradient() -> None:
    x = leaf(3.0)
    (x * x.detach()).backward(np.ones(1))
    assert x.grad.tolist() == [3]


# Depth, order, threads


def test_a_chain_of_50000_operations() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = y + 1.0
    y.backward(np.ones(1))
    assert x.grad.tolist() == [1]


def test_a_long_chain_is_freed_without_backward() -> None:
    y = leaf(1.0)
    for _ in range(200_000):
        y = y + 1.0
    del y  # a recursive free would overflow the C stack here


def test_no_grad_records_nothing_and_ends() -> None:
    x = leaf(1.0)
    with no_grad():
        y = x * 2
        with no_grad():
            pass
        z = x * 2
    assert not y.requires_grad
    assert not z.requires_grad
    assert (x * 2).requires_grad


def test_no_grad_ends_after_an_error() -> None:
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (leaf(1.0) * 2).requires_grad


def test_no_grad_in_one_thread_leaves_another_recording() -> None:
    inside, done, seen = threading.Event(), threading.Event(), []

    def predict() -> None:
        with no_grad():
            inside.set()
            done.wait(5)
            seen.append((leaf(1.0) * 2).requires_grad)

    thread = threading.Thread(target=predict)
    thread.start()
    assert inside.wait(5)
    assert (leaf(1.0) * 2).requires_grad
    done.set()
    thread.join()
    assert seen == [False]


def test_threads_train_side_by_side() -> None:
    results: dict[int, float] = {}

    def work(seed: int) -> None:
        x = leaf(float(seed))
        y = x
        for _ in range(300):
            y = y + x
        y.backward(np.ones(1))
        results[seed] = x.grad.item()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: 301.0 for i in range(6)}


# Broadcasting


@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3))
def test_unbroadcast_is_the_adjoint_of_broadcasting(shapes) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shapes.input_shapes[0])
    grad = rng.standard_normal(shapes.result_shape)
    back = unbroadcast(grad, a.shape)
    assert back.shape == a.shape
    stretched = np.broadcast_to(a, grad.shape)  # <stretch(a), grad> = <a, unstretch(grad)>
    np.testing.assert_allclose((stretched * grad).sum(), (a * back).sum(), atol=1e-9)


def test_unbroadcast_by_hand() -> None:
    grad = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert unbroadcast(grad, (3,)).tolist() == [5, 7, 9]
    assert unbroadcast(grad, (2, 1)).tolist() == [[6], [15]]
    assert unbroadcast(grad, ()).tolist() == 21
    assert unbroadcast(grad, (2, 3)) is grad


# Types


@pytest.mark.parametrize("number", [0.5, 2, np.float64(0.5), np.float32(0.5), True])
def test_numbers_adopt_the_float_type_of_the_tensor(number) -> None:
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    for y in (x * number, number * x, x + number, number - x, x / number, number / x):
        assert y.dtype == np.float32
        assert y.requires_grad


def test_a_number_is_not_rounded_to_an_integer_tensors_type() -> None:
    assert (Tensor(np.array([1, 2])) * 0.5).data.tolist() == [0.5, 1.0]


def test_lists_become_float32() -> None:
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(1.5).shape == ()
    assert Tensor([1, 2]).dtype.kind == "i"
    assert Tensor(np.array([1.0])).dtype == np.float64


def test_an_array_times_a_tensor_is_a_tensor() -> None:
    x = leaf(1.0, 2.0)
    y = np.array([3.0, 4.0]) * x
    assert isinstance(y, Tensor)
    assert y.data.tolist() == [3, 8]
    z = np.ones((1, 2)) @ Tensor(np.ones((2, 2)), requires_grad=True)
    assert isinstance(z, Tensor)


def test_mixed_float_types_are_refused_where_they_happen() -> None:
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    with pytest.raises(TypeError, match=r"Mul\(a\(3,\):float32, b\(3,\):float64\) gives float64"):
        x * np.ones(3)
    with no_grad():
        assert (x * np.ones(3)).dtype == np.float64  # harmless without a gradient


# Ownership and memory


def test_leaf_gradients_share_no_memory() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    start = np.ones(2)
    (a + b).backward(start)  # Add hands the same array to both
    a.grad[:] = 0
    assert b.grad.tolist() == [1, 1]
    assert start.tolist() == [1, 1]


def test_a_leaf_copies_the_gradient_that_arrived() -> None:
    a, start = leaf(1.0, 2.0), np.ones(2)
    (a + 1.0).backward(start)  # Add hands on the very array
    a.grad[:] = 0
    assert start.tolist() == [1, 1]


def test_leaves_copy_a_gradient_that_a_function_gives_to_both() -> None:
    class Twice(Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, grad):
            new = grad * 1.0
            return new, new

    a, b = leaf(1.0), leaf(2.0)
    Twice.apply(a, b).backward(np.ones(1))
    a.grad[:] = 0
    assert b.grad.tolist() == [1]


def test_a_leaf_keeps_a_new_array_without_a_copy() -> None:
    made = []

    class New(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            made.append(grad * 2)
            return made[0]

    a = leaf(1.0)
    New.apply(a).backward(np.ones(1))
    assert a.grad is made[0]


def test_gradients_that_were_copied_are_gone_at_the_next_step() -> None:
    original: list[weakref.ref] = []

    class Copied(Function):
        @staticmethod
        def forward(ctx, x, weight):
            return x * weight

        @staticmethod
        def backward(ctx, grad):
            whole = np.ones((2, 1))
            original.append(weakref.ref(whole))
            return grad * 1, whole[0]  # a view: the leaf takes a copy

    class Watch(Function):
        @staticmethod
        def forward(ctx, x):
            return x + 1

        @staticmethod
        def backward(ctx, grad):
            assert original[0]() is None
            return grad * 1

    x, weight = leaf(1.0), leaf(2.0)
    Copied.apply(Watch.apply(x), weight).backward(np.ones(1))
    assert weight.grad.tolist() == [1]


def test_leaf_gradients_can_be_written() -> None:
    a = leaf(1.0, 2.0)
    a.sum().backward()  # Sum hands on a read-only view
    a.grad *= 0.5
    assert a.grad.tolist() == [0.5, 0.5]


class KeepsItsResult(Function):
    """Returns an array that it has saved: a leaf must not keep that one."""

    kept = np.array([7.0])

    @staticmethod
    def forward(ctx, x):
        ctx.save(KeepsItsResult.kept)
        return x

    @staticmethod
    def backward(ctx, grad):
        return ctx.saved[0]


def test_a_leaf_copies_an_array_that_the_function_still_holds() -> None:
    a = leaf(1.0)
    KeepsItsResult.apply(a).backward(np.ones(1))
    a.grad += 1
    assert KeepsItsResult.kept.tolist() == [7]


def test_a_gradient_used_by_two_is_not_added_into() -> None:
    # z's gradient array reaches both p and q; q then receives a second part
    x = leaf(1.0)
    p, q = x * 2, x * 3
    z = p + q
    w = z + q
    w.backward(np.ones(1))
    assert x.grad.tolist() == [2 + 3 + 3]


def test_backward_frees_activations_and_gradients_while_it_walks() -> None:
    alive: list[int] = []
    references: list[weakref.ref] = []

    class Probe(Function):
        @staticmethod
        def forward(ctx, x):
            out = x + 1
            references.append(weakref.ref(out))
            ctx.save(out)
            return out

        @staticmethod
        def backward(ctx, grad):
            alive.append(sum(r() is not None for r in references))
            return grad * 1

    y = leaf(1.0)
    for _ in range(10):
        y = Probe.apply(y)
    loss = y.sum()
    del y
    loss.backward()
    assert alive == list(range(10, 0, -1))
    gc.collect()
    assert all(r() is None for r in references)
    assert loss.item() == 11


def test_no_grad_keeps_no_activations() -> None:
    with no_grad():
        y = ops.exp(leaf(1.0))
        reference = weakref.ref(y.data)
        z = y * 2
        del y
    assert reference() is None
    assert z._ctx is None


def test_peak_memory_of_a_deep_network_is_that_of_its_activations() -> None:
    import tracemalloc

    x = Tensor(np.ones(100_000, np.float32), requires_grad=True)  # 0.4 MB
    F.relu(x).sum().backward()  # a kernel's first call loads its compiled form
    x.grad = None
    tracemalloc.start()
    y = x
    for _ in range(20):
        y = F.relu(y)
    loss = y.sum()
    del y
    forward, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    loss.backward()
    _, peak = tracemalloc.get_traced_memory()
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < forward + 4 * 400_000  # not another 20 arrays of gradients
    assert left < 3 * 400_000  # the activations are gone although the loss is still here


def test_a_second_backward_is_refused_unless_the_graph_was_kept() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward\(\)"):
        y.backward()


def test_a_second_loss_over_a_freed_part_is_refused() -> None:
    x = leaf(2.0)
    shared = ops.exp(x)
    first, second = shared.sum(), (shared * 2).sum()
    first.backward()
    with pytest.raises(RuntimeError, match="Exp: the saved arrays were freed"):
        second.backward()


# Messages


def test_a_failing_operation_is_named_with_its_inputs() -> None:
    with pytest.raises(ValueError, match="broadcast") as info:
        Tensor(np.ones((2, 3))) + np.ones(4)
    assert info.value.__notes__ == ["in Add(a(2, 3):float64, b(4,):float64)"]
    with pytest.raises(ValueError, match="reshape") as info:
        ops.reshape(Tensor(np.ones((2, 3))), 4)
    assert info.value.__notes__ == ["in Reshape(x(2, 3):float64, shape=(4,))"]
    with pytest.raises(ValueError, match="dimension") as info:
        ops.concatenate([np.ones((2, 3)), np.ones((2, 4))])
    assert "arrays[0](2, 3):float64, arrays[1](2, 4):float64" in info.value.__notes__[0]


def bad(backward) -> type[Function]:
    class Bad(Function):
        @staticmethod
        def forward(ctx, features, boxes):
            return features * 2

        @staticmethod
        def backward(ctx, grad):
            return backward(grad)

    return Bad


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda g: g, r"Bad.backward returned 1 gradients for 2 inputs \(features, boxes\)"),
        (lambda g: (g[0], g), r"the gradient of `features` has shape \(3,\), but .* \(2, 3\)"),
        (lambda g: (None, g), "Bad.backward returned None for `features`, which requires"),
        (
            lambda g: (g.astype(np.float32), g),
            "the gradient of `features` is float32, but `features` is float64",
        ),
    ],
)
def test_a_wrong_backward_is_named(backward, message) -> None:
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    y = bad(backward).apply(x, np.ones((2, 3)))
    with pytest.raises(TypeError, match=message):
        y.backward(np.ones((2, 3)))


def test_backward_needs_a_scalar_or_a_gradient() -> None:
    x = leaf(1.0, 2.0, 3.0)
    with pytest.raises(RuntimeError, match=r"needs a scalar, got shape \(3,\); reduce it first"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"expected the tensor's shape \(3,\), got \(2,\)"):
        (x * 2).backward(np.ones(2))
    with pytest.raises(RuntimeError, match="does not require gradients"):
        Tensor(np.ones(())).backward()


def test_backward_takes_a_tensor_as_gradient() -> None:
    x = leaf(1.0, 2.0)
    (x * 2).backward(Tensor(np.array([1.0, 10.0])))
    assert x.grad.tolist() == [2, 20]


def test_integer_tensors_cannot_require_gradients() -> None:
    with pytest.raises(TypeError, match="got dtype int64 for 'labels'"):
        Tensor(np.array([1, 2]), requires_grad=True, name="labels")


def test_tensors_cannot_be_assigned_into() -> None:
    x = leaf(1.0)
    with pytest.raises(TypeError, match=r"cannot be assigned into.* ops.where\(\)"):
        x[0] = 5.0


def test_a_tensor_of_a_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="detach"):
        Tensor(leaf(1.0))


def test_numpy_does_not_take_a_tensor_silently() -> None:
    with pytest.raises(TypeError, match=r"tensor.numpy\(\)"):
        np.asarray(leaf(1.0))
    assert leaf(1.0).numpy().tolist() == [1]


def test_truth_and_length() -> None:
    assert bool(Tensor(np.array([1.0])))
    assert not Tensor(np.array(0.0))
    with pytest.raises(ValueError, match=r"shape \(2,\) has no single truth value"):
        bool(leaf(1.0, 2.0))
    assert len(leaf(1.0, 2.0)) == 2
    with pytest.raises(TypeError, match="without axes"):
        len(Tensor(np.array(1.0)))
    assert [row.item() for row in leaf(1.0, 2.0)] == [1, 2]
    assert float(leaf(2.5)) == 2.5


def test_repr_says_where_it_comes_from() -> None:
    x = leaf(1.0, 2.0, name="x")
    assert repr(x) == "Tensor 'x'(2,)(float64, requires_grad) [1. 2.]"
    assert repr(x * 2) == "Tensor(2,)(float64, made by Mul) [2. 4.]"


class FakeGpuArray:
    """Looks like an array of the other device."""

    __module__ = "cupy"
    dtype, shape, ndim = np.dtype(np.float32), (3,), 1
    __cuda_array_interface__ = ()


def test_arrays_of_two_devices_are_refused() -> None:
    with pytest.raises(TypeError, match=r"got cupy and numpy; move them to one device"):
        array_module(np.ones(3), FakeGpuArray())
    with pytest.raises(TypeError, match="got cupy and numpy"):
        ops.add(leaf(1.0), FakeGpuArray())


def test_none_as_an_input_is_refused() -> None:
    with pytest.raises(TypeError, match="an input is None"):
        ops.add(leaf(1.0), None)


# Anomaly mode


def line_of(text: str) -> str:
    """The file:line of this file where `text` stands for the first time."""
    lines = pathlib.Path(__file__).read_text().splitlines()
    return f"{__file__}:{next(i for i, s in enumerate(lines, 1) if s.strip().startswith(text))}"


def test_anomaly_in_forward_names_operation_and_line() -> None:
    x = leaf(0.0, 1.0)
    with detect_anomaly(), pytest.raises(AnomalyError) as info:
        bad_line = ops.log(x)
        bad_line.sum()
    error = info.value
    assert (error.op, error.phase) == ("Log", "forward")
    assert error.where == line_of("bad_line = ops.log(x)")
    assert "Log produced 1 infinite of 2 values in forward; its inputs are finite" in str(error)
    assert "x(2,):float64" in str(error)
    assert "bad_line = ops.log(x)" in str(error)
    assert isinstance(error, FloatingPointError)


def test_anomaly_names_the_line_of_the_caller_of_a_layer() -> None:
    from minimask import nn

    layer = nn.Linear(2, 2, rng=np.random.default_rng(0))
    x = Tensor(np.array([[np.nan, 1.0]], np.float32))
    with detect_anomaly(), pytest.raises(AnomalyError, match="its input `x` has 1 NaN") as info:
        through_a_layer = nn.Sequential(layer)(x)
        through_a_layer.sum()
    assert info.value.where == line_of("through_a_layer = nn.Sequential(layer)(x)")
    assert info.value.op == "Linear"


def test_anomaly_in_backward_names_the_line_of_the_forward_pass() -> None:
    x = leaf(0.0, 1.0)
    with detect_anomaly(), pytest.raises(AnomalyError) as info:
        infinite_slope = ops.sqrt(x)
        (infinite_slope * 2).sum().backward()
    error = info.value
    assert (error.op, error.phase) == ("Sqrt", "backward")
    assert error.where == line_of("infinite_slope = ops.sqrt(x)")
    assert "in the gradient of `x`" in str(error)
    assert "what arrived was finite" in str(error)


def test_anomaly_in_backward_alone_says_how_to_see_the_line() -> None:
    y = ops.sqrt(leaf(0.0, 1.0)).sum()
    with detect_anomaly(), pytest.raises(AnomalyError, match="run the forward pass inside"):
        y.backward()


def test_anomaly_finds_the_first_not_the_last() -> None:
    with detect_anomaly(), pytest.raises(AnomalyError) as info:
        F.relu(ops.exp(leaf(1000.0)) * 0).sum()
    assert info.value.op == "Exp"


def test_anomaly_works_under_no_grad_and_stops_afterwards() -> None:
    with detect_anomaly(), no_grad(), pytest.raises(AnomalyError):
        ops.log(leaf(-1.0))
    with np.errstate(divide="ignore"):
        assert ops.log(leaf(0.0)).data.tolist() == [-np.inf]


def test_a_sound_computation_passes_anomaly_mode() -> None:
    x = leaf(1.0, 2.0)
    with detect_anomaly():
        (ops.log(x) * x).sum().backward()
    np.testing.assert_allclose(x.grad, np.log([1, 2]) + 1)


# Drawing


def small_graph() -> Tensor:
    x = Tensor(np.ones((2, 3)), requires_grad=True, name="x")
    w = Tensor(np.ones((3, 4)), requires_grad=True, name="w")
    a = F.relu(x @ w)
    return (a * a + ops.sigmoid(a)).sum()


def test_the_graph_as_a_tree() -> None:
    assert str(graph(small_graph())).splitlines() == [
        "Sum (scalar) <- Add (2 x 4)",
        "  Mul (2 x 4)",
        "    ReLU (2 x 4) #4 <- MatMul (2 x 4)",
        "      x (2 x 3)",
        "      w (3 x 4)",
        "    ReLU (2 x 4) (see #4)",
        "  Sigmoid (2 x 4) <- ReLU (2 x 4) (see #4)",
    ]


def test_the_graph_as_dot_and_picture() -> None:
    g = graph(small_graph())
    assert g.dot.startswith("digraph {") and g.dot.endswith("}")
    assert '[label="MatMul (2 x 4)"' in g.dot
    assert g.dot.count("->") == len(g.edges) == 9
    assert g.depths() == [5, 4, 3, 3, 2, 1, 0, 0]
    assert "<svg" in g._repr_svg_()


def test_the_graph_of_a_leaf_and_of_a_long_chain() -> None:
    assert str(graph(leaf(1.0, name="w"))) == "w (1)"
    y = leaf(1.0)
    for _ in range(3000):
        y = y + 1.0
    g = graph(y)
    assert g.depths()[0] == 3000
    assert str(g).count("Add") == 3000


# Cost


def test_recording_an_operation_takes_microseconds() -> None:
    a, b = leaf(1.0), leaf(2.0)

    def seconds(repeat: int) -> float:
        start = time.perf_counter()
        for _ in range(repeat):
            ops.add(a, b)
        return (time.perf_counter() - start) / repeat

    best = min(seconds(2000) for _ in range(10))
    assert best < 40e-6, f"{best * 1e6:.1f} microseconds"  # 3 on an idle machine


def test_importing_the_engine_loads_neither_numba_nor_matplotlib() -> None:
    code = (
        "import sys, minimask.autograd, minimask.autograd.ops, minimask.functional, minimask.nn\n"
        "import minimask.autograd.graph\n"
        "heavy = {'numba', 'scipy', 'matplotlib', 'PIL', 'pycocotools', 'torch'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@given(
    st.lists(st.sampled_from(["+", "*", "softmax", "sum_rows"]), max_size=12), st.integers(0, 99)
)
def test_random_graphs_match_the_difference_quotient(program, seed) -> None:
    """Random programs over a stack of values, where results are used again and again."""
    from minimask.tools.testing import gradcheck

    def run(x: Tensor, w: Tensor) -> Tensor:
        rng = np.random.default_rng(seed)
        values = [x, w]
        for step in program:
            i, j = rng.integers(0, len(values), 2)
            if step == "+":
                values.append(values[i] + values[j])
            elif step == "*":
                values.append(values[i] * values[j] * 0.5)
            elif step == "softmax":
                values.append(ops.softmax(values[i]))
            else:
                values.append(ops.sum(values[i], axis=0, keepdims=True))
        return ops.sum(ops.concatenate([v * 1.5 for v in values], axis=0), axis=0)

    rng = np.random.default_rng(seed)
    gradcheck(run, rng.uniform(0.2, 1, (2, 3)), rng.uniform(0.2, 1, (1, 3)), rtol=1e-5)
