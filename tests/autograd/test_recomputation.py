"""Gradient checkpointing: the same bits, less memory, and nothing done twice that must not be."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from minimask import functional as F
from minimask.autograd import AnomalyError, Tensor, checkpoint, detect_anomaly, no_grad, ops
from minimask.autograd.graph import graph
from minimask.autograd.hooks import Hook, Recorder, hooked, record
from minimask.nn import BatchNorm2d, Conv2d, Module, conv_norm


class Block(Module):
    """Two convolutions beside a shortcut, which uses its input three times."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.conv1 = Conv2d(4, 4, 3, padding=1, bias=False, rng=rng)
        self.bn1 = BatchNorm2d(4)
        self.conv2 = Conv2d(4, 4, 3, padding=1, bias=False, rng=rng)
        self.bn2 = BatchNorm2d(4)

    def forward(self, x):
        y = conv_norm(self.conv1, self.bn1, x, relu=True)
        record("middle", y.data)
        return conv_norm(self.conv2, self.bn2, y, residual=x, relu=True) + F.relu(x)


def plainly(function, *inputs):
    return function(*inputs)


def image(requires_grad=False):
    values = np.random.default_rng(1).normal(size=(2, 4, 9, 8)).astype("f4")
    return Tensor(values, requires_grad=requires_grad)


def run(call, x, fixed=False, repeats=1):
    """Gradients and statistics of three blocks, of which `call` runs the second and third.

    The result of the first has users outside of the checkpoint too, as a pyramid's maps have.
    """
    blocks = [Block(seed) for seed in range(3)]
    for block in blocks:
        block.bn1.fixed = fixed
    for _ in range(repeats):
        first = blocks[0](x)
        second = call(blocks[1], first)
        third = call(blocks[2], second)
        loss = (third * third).sum() + (first * 0.3).sum() + (second * first).mean()
        loss.backward()
    arrays = {f"{i}.{n}": a for i, b in enumerate(blocks) for n, a in b.state_dict().items()}
    for i, block in enumerate(blocks):
        arrays |= {f"{i}.{n}.grad": p.grad for n, p in block.named_parameters()}
    return arrays | {"x": x.grad, "loss": loss.data}


def equal(a, b):
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert (array is None) == (b[name] is None), name
        assert array is None or array.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("fixed", [True, False])
def test_gradients_and_statistics_are_the_same_bit_for_bit(fixed, learned):
    equal(
        run(plainly, image(learned), fixed, repeats=2),
        run(checkpoint, image(learned), fixed, repeats=2),
    )


def test_checkpoints_inside_checkpoints():
    def nested(function, x):
        return checkpoint(lambda y: checkpoint(lambda z: checkpoint(function, z), y), x)

    equal(run(plainly, image()), run(nested, image()))


def test_a_checkpoint_of_several_blocks_with_checkpoints_inside():
    x, results = image(True), []
    for outer, inner in ((plainly, plainly), (checkpoint, plainly), (checkpoint, checkpoint)):
        blocks = [Block(seed) for seed in range(3)]

        def all_three(y, blocks=blocks, inner=inner):
            for block in blocks:
                y = inner(block, y)
            return y

        x.grad = None
        outer(all_three, x).sum().backward()
        grads = {f"{i}.{n}": p.grad for i, b in enumerate(blocks) for n, p in b.named_parameters()}
        state = {f"{i}.{n}": a for i, b in enumerate(blocks) for n, a in b.named_buffers()}
        results.append(grads | state | {"x": x.grad})
    equal(results[0], results[1])
    equal(results[0], results[2])


def test_several_outputs_of_which_one_is_also_a_step_to_the_next():
    def two(block, x):
        first = block(x)
        return [first, block.conv1(first)]

    x, results = image(True), []
    for call in (plainly, checkpoint):
        for used in ((0, 1), (0,), (1,)):
            x.grad, block = None, Block()
            outputs = call(two, block, x)
            assert isinstance(outputs, list)
            loss = sum(((outputs[i] * (i + 1)).sum() for i in used), Tensor(np.float32(0)))
            loss.backward()
            results.append({n: p.grad for n, p in block.named_parameters()} | {"x": x.grad})
    for plain, checkpointed in zip(results[:3], results[3:], strict=True):
        equal(plain, checkpointed)


def test_nothing_between_input_and_output_stays_until_the_backward_pass():
    made = []

    def watched(x):
        y = ops.exp(x)
        z = ops.exp(y * 0.5)
        made.extend(map(weakref.ref, (y.data, z.data)))
        return z + 1

    x = Tensor(np.ones(1000), requires_grad=True)
    y = checkpoint(watched, x)
    gc.collect()
    assert [ref() for ref in made] == [None, None]
    y.sum().backward()
    gc.collect()
    assert len(made) == 4 and {ref() for ref in made} == {None}
    np.testing.assert_array_equal(x.grad, 0.5 * np.exp(1) * np.exp(0.5 * np.exp(1)) * np.ones(1000))


def test_a_part_of_the_network_is_kept_as_inputs_and_outputs_only():
    """What a loss holds, with every part checkpointed, is a fraction of what it holds without."""

    def held(call):
        x, refs = image(True), []

        class Sees(Hook):
            def forward(self, ctx, arrays, options):
                out = super().forward(ctx, arrays, options)
                refs.append(weakref.ref(out))
                return out

        blocks, y = [Block(seed) for seed in range(3)], x
        with hooked(Sees()):
            for block in blocks:
                y = call(block, y)
        gc.collect()
        return sum(ref().nbytes for ref in refs if ref() is not None and ref().ndim == 4)

    assert held(checkpoint) * 4 < held(plainly)


def test_without_recording_nothing_happens_and_chance_is_fine():
    calls = []

    def once(x):
        calls.append(1)
        return x + float(np.random.default_rng().random())

    with no_grad():
        y = checkpoint(once, image(True))
    assert not y.requires_grad and calls == [1]
    assert not checkpoint(once, image()).requires_grad  # nothing to learn inside


def test_a_function_that_computes_something_else_the_second_time_is_refused():
    calls = []

    def fickle(x):
        calls.append(1)
        return ops.exp(x) if len(calls) == 1 else ops.log(x)

    y = checkpoint(fickle, Tensor(np.ones(3), requires_grad=True))
    with pytest.raises(RuntimeError, match=r"operation 1 .* was Exp \(3,\) .* and Log \(3,\) when"):
        y.sum().backward()
    calls.clear()
    y = checkpoint(lambda x: fickle(x) if not calls else x, Tensor(np.ones(3), requires_grad=True))
    with pytest.raises(RuntimeError, match=r"was Exp \(3,\) in the forward pass and nothing when"):
        y.sum().backward()


@pytest.mark.parametrize("result", [None, {"a": 1}, [Tensor(np.ones(1)), np.ones(1)]])
def test_what_is_no_tensor_is_refused(result):
    with pytest.raises(TypeError, match="must return a Tensor or a list of Tensors, got"):
        checkpoint(lambda x: result, image(True))


def test_an_error_inside_leaves_no_hook_behind():
    def broken(x):
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        checkpoint(broken, image(True))
    x = image(True)
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad, np.float32(2))


def test_an_error_in_the_second_pass_comes_out_of_backward_and_can_be_overcome():
    broken, x = [False], Tensor(np.ones(3), requires_grad=True)

    def sometimes(x):
        if broken[0]:
            raise OSError("memory is short")
        return ops.exp(x)

    y = checkpoint(sometimes, x)
    broken[0] = True
    with pytest.raises(OSError, match="memory is short"):
        y.sum().backward()
    broken[0] = False
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.exp(np.ones(3)))


def test_a_second_backward_pass_needs_the_graph_as_always():
    x = Tensor(np.ones(3), requires_grad=True)
    y = checkpoint(ops.exp, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, 2 * np.exp(np.ones(3)))
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        y.backward()


def test_a_tensor_that_leaks_out_still_gets_its_gradient():
    leaked, x = [], Tensor(np.ones(3), requires_grad=True)

    def leaking(x):
        y = ops.exp(x)
        if not leaked:
            leaked.append(y)
        return y * y

    y = checkpoint(leaking, x)
    np.testing.assert_array_equal(leaked[0].data, np.exp(np.ones(3)))
    (y + leaked[0]).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * np.exp(2) + np.exp(1), rtol=1e-12)


def test_anomaly_mode_names_the_line_inside():
    def bad(x):
        return ops.sqrt(x * 0.0)

    with pytest.raises(AnomalyError, match="Sqrt produced 3 infinite") as caught, detect_anomaly():
        y = checkpoint(bad, Tensor(np.ones(3), requires_grad=True))
        y.sum().backward()
    assert caught.value.phase == "backward" and "return ops.sqrt(x * 0.0)" in str(caught.value)


def test_what_the_model_records_is_recorded_once():
    block, x = Block(), image(True)
    with hooked(Recorder()) as recorder:
        checkpoint(block, x).sum().backward()
    assert len(recorder.values("middle")) == 1


def test_the_graph_can_still_be_drawn():
    y = checkpoint(lambda x: ops.exp(x * 2), Tensor(np.ones((2, 3)), requires_grad=True, name="x"))
    assert str(graph(y)) == "Exp (2 x 3) <- Mul (2 x 3) <- x (2 x 3)"


def test_the_second_pass_has_the_kernels_that_were_wanted_the_first_time():
    from minimask.kernels.dispatch import using

    seen = []

    class Sees(Hook):
        def kernel(self, name, run, *arrays, **options):
            seen.append((name, run.__module__))
            return super().kernel(name, run, *arrays, **options)

    with hooked(Sees()):
        with using("reference"):
            y = checkpoint(F.relu, image(True))
        y.sum().backward()
    assert seen[0] == seen[1] and "reference" in seen[0][1]


def test_a_hook_of_the_backward_pass_alone_sees_the_second_pass():
    seen = []

    class Sees(Hook):
        def forward(self, ctx, arrays, options):
            seen.append(ctx.fn.__name__)
            return super().forward(ctx, arrays, options)

    y = checkpoint(ops.exp, image(True)).sum()
    with hooked(Sees()):
        y.backward()
    assert seen == ["Exp"]


def test_a_checkpoint_inside_another_does_not_hold_what_came_before_it():
    """In the second pass the input of the inner one must not drag its whole history along."""
    alive, saved = [], []

    class Keeps(Hook):
        def forward(self, ctx, arrays, options):
            out = super().forward(ctx, arrays, options)
            if isinstance(out, np.ndarray):
                saved.append(weakref.ref(out))
            return out

        def backward(self, ctx, grad):
            gc.collect()
            alive.append(sum(ref() is not None for ref in saved))
            return super().backward(ctx, grad)

    def outer(x):
        for _ in range(5):
            x = ops.exp(x * 0.0 + 1)  # exp saves its result; nothing saves the sum and product
        return checkpoint(lambda y: ops.exp(ops.exp(y)), x)

    y = checkpoint(outer, image(True))
    with hooked(Keeps()):
        y.sum().backward()
    assert max(alive) <= 5 + 2 + 1  # those saved, those of the inner one, the result
    assert alive[-1] <= 1
