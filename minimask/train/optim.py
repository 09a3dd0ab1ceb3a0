"""From gradients to better weights: SGD with momentum, AdamW, gradient clipping, averaged weights.

The update rules are elementwise, so memory limits them, not arithmetic.  Each rule is therefore
one kernel (`minimask.kernels.optimizer`), which reads every value once and writes it once.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minimask.autograd.arrays import array_module, as_contiguous
from minimask.autograd.hooks import stage
from minimask.kernels.optimizer import adamw_step, sgd_step
from minimask.system.device import download, upload

if TYPE_CHECKING:
    from minimask.autograd import Tensor
    from minimask.nn import Module

Named = Sequence[tuple[str, "Tensor"]]
Array = np.ndarray[Any, Any]


def decays(parameter: Tensor) -> bool:
    """Whether weight decay applies: to weight matrices and filters, not to norms and biases.

    Pulling a bias or the scale of a norm towards 0 limits no complexity; it only shifts what the
    layer must learn.  Both are vectors, so the number of axes tells them apart.
    """
    return parameter.data.ndim > 1


class Optimizer:
    """What SGD and AdamW share: the parameters, their state arrays, which of them decay.

    Args:
        parameters: (name, tensor) pairs, as `model.named_parameters()` gives them; tensors that
            need no gradient are left out.
        lr: learning rate of a step whose schedule factor is 1.
        weight_decay: how much of every decaying weight each step removes, times the rate.
    """

    slots: tuple[str, ...] = ()  # names of the state arrays every parameter has

    def __init__(self, parameters: Named, lr: float, weight_decay: float) -> None:
        self.parameters = [(name, p) for name, p in parameters if p.requires_grad]
        if not self.parameters:
            raise ValueError("parameters: no tensor requires a gradient, so nothing can be trained")
        for label, value in [("lr", lr), ("weight_decay", weight_decay)]:
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{label}: expected a number >= 0, got {value}")
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.missed: dict[str, int] = {}  # steps in which a parameter was frozen, by its name
        self.state = {
            slot: {name: _zeros(p.data) for name, p in self.parameters} for slot in self.slots
        }

    @stage("optimizer")
    def step(self, lr: float | None = None) -> None:
        """Update every parameter from its `.grad`; parameters without a gradient stay as they are.

        Args:
            lr: this step's learning rate; default: the one given at the start.
        """
        self.steps += 1
        rate = self.lr if lr is None else lr
        for name, parameter in self.parameters:
            if parameter.grad is None:
                continue
            parameter.data = as_contiguous(parameter.data)  # a copy, once, if it was not
            state = [self.state[slot][name] for slot in self.slots]
            decay = self.weight_decay if decays(parameter) else 0.0
            took_part = self.steps - self.missed.get(name, 0)
            grad = as_contiguous(parameter.grad)
            self.update(parameter.data, grad, *state, rate, decay, took_part)

    def update(self, weight: Array, grad: Array, *state_rate_decay_steps: Any) -> None:
        """The rule for one parameter, in place, all its arrays C-contiguous (subclasses).

        Its state arrays follow, the rate, the decay, and in how many steps it has taken part.
        """
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget all gradients, before the next backward pass adds to them."""
        for _, parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Array]:
        """All that a later step depends on, as one flat dictionary of arrays on the CPU.

        Not copies, unless they had to be read back from a GPU.
        """
        arrays = {
            f"{slot}.{name}": download(array, name)
            for slot, by_name in self.state.items()
            for name, array in by_name.items()
        }
        return {"steps": np.array([self.steps], np.int64), **arrays}

    def load_state_dict(self, arrays: dict[str, Array]) -> None:
        """Continue from what `state_dict` gave.

        Raises:
            ValueError: the arrays belong to another optimizer or another model.
        """
        own = self.state_dict()
        problems = [f"{key} is missing" for key in own.keys() - arrays.keys()]
        problems += [f"{key} is unknown here" for key in arrays.keys() - own.keys()]
        problems += [
            f"{key} is {own[key].shape} here, {arrays[key].shape} in the file"
            for key in own.keys() & arrays.keys()
            if own[key].shape != arrays[key].shape
        ]
        if problems:
            listed = "; ".join(sorted(problems)[:3])
            raise ValueError(
                f"{type(self).__name__}: the saved state does not fit ({len(problems)} problems): "
                f"{listed}"
            )
        self.steps = int(arrays["steps"][0])
        for slot, by_name in self.state.items():
            for name, array in by_name.items():
                array[...] = upload(arrays[f"{slot}.{name}"], array)


def _zeros(like: Array) -> Array:
    """Zeros of a weight's shape and dtype, where it is, in the order in which kernels walk."""
    zeros: Array = array_module(like).zeros(like.shape, like.dtype)
    return zeros


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: the paper's optimizer.

    Velocity is a running sum of gradients that forgets at rate `momentum`; the weights move
    along it: v = momentum v + (grad + decay w), w = w - lr v.
    """

    slots = ("velocity",)

    def __init__(
        self,
        parameters: Named,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")
        self.momentum = momentum

    def update(self, weight: Array, grad: Array, *state_rate_decay_steps: Any) -> None:
        """V = momentum v + grad + decay w, then w = w - lr v."""
        velocity, lr, decay, _ = state_rate_decay_steps
        sgd_step(weight, grad, velocity, lr=lr, momentum=self.momentum, weight_decay=decay)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    Every weight moves by about `lr` whatever the size of its gradient: the running mean of the
    gradient is divided by the root of the running mean of its square.  Both means start at 0,
    and `1 - beta ** steps` corrects the bias towards 0 that this gives the first steps.
    """

    slots = ("mean", "square")

    def __init__(
        self,
        parameters: Named,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), got {betas}")
        self.betas, self.eps = betas, eps

    def update(self, weight: Array, grad: Array, *state_rate_decay_steps: Any) -> None:
        """W = w (1 - lr decay), then w = w - lr m / (sqrt(s) + eps) with m and s unbiased."""
        mean, square, lr, decay, steps = state_rate_decay_steps
        beta_mean, beta_square = self.betas
        adamw_step(
            weight,
            grad,
            mean,
            square,
            lr=lr,
            beta_mean=beta_mean,
            beta_square=beta_square,
            mean_bias=1 - beta_mean**steps,
            square_bias=1 - beta_square**steps,
            eps=self.eps,
            weight_decay=decay,
        )


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW}


def grad_norm(parameters: Iterable[tuple[str, Tensor]]) -> float:
    """Length of all gradients taken as one long vector; NaN or inf where a gradient is."""
    squares = sum_of_squares(parameters)
    total = math.fsum(download(squares, "gradient norm")) if len(squares) else 0.0
    return math.sqrt(total) if math.isfinite(total) else total


def sum_of_squares(parameters: Iterable[tuple[str, Tensor]]) -> Array:
    """Of every gradient, where the gradients are: one number for each parameter that has one."""
    flat = [p.grad.reshape(-1) for _, p in parameters if p.grad is not None]
    return array_module(*flat).stack([g @ g for g in flat]) if flat else np.zeros(0)


def clip_grad_norm(parameters: Iterable[tuple[str, Tensor]], max_norm: float) -> float:
    """Scale the gradients, all by one factor, so that their joint length is at most `max_norm`.

    One unlucky batch then cannot throw the weights far away, and the direction stays the same.

    Returns:
        The length before clipping.  Gradients of non-finite length are left as they are.
    """
    parameters = list(parameters)
    norm = grad_norm(parameters)
    scale_gradients(parameters, norm, max_norm)
    return norm


@stage("optimizer")
def scale_gradients(parameters: Iterable[tuple[str, Tensor]], norm: float, max_norm: float) -> None:
    """Scale gradients of joint length `norm` down to `max_norm`, if they are longer and finite."""
    if math.isfinite(norm) and norm > max_norm:
        for _, parameter in parameters:
            if parameter.grad is not None:
                parameter.grad *= max_norm / norm


class EMA:
    """An exponential moving average of the weights: evaluated in their place, it scatters less.

    Running statistics of batch norm are averaged with the weights they belong to.  Early on the
    decay is smaller, (1 + steps) / (10 + steps), so that the random start is soon forgotten.

    Args:
        model: whose parameters and buffers are averaged.
        decay: share of the average that one step keeps, e.g. 0.999: about the last 1000 steps.
    """

    def __init__(self, model: Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay: expected a number between 0 and 1, got {decay}")
        self.model, self.decay, self.steps = model, decay, 0
        self.average = {name: array.copy() for name, array in self._weights()}

    def update(self) -> None:
        """Move the average a little towards the present weights: a = a + (1 - decay) (w - a)."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, array in self._weights():
            average = self.average[name]
            if average.dtype.kind == "f":
                average += (1 - keep) * (array - average)
            else:
                average[...] = array  # counters

    def _weights(self) -> Iterator[tuple[str, Array]]:
        """All that is averaged, where the model is."""
        yield from ((name, p.data) for name, p in self.model.named_parameters())
        yield from self.model.named_buffers()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model holds the averaged weights; afterwards its own again."""
        own = {name: array.copy() for name, array in self._weights()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def state_dict(self) -> dict[str, Array]:
        """The averaged arrays under the model's names, and the number of updates."""
        return {**self.weights(), "ema.steps": np.array([self.steps], np.int64)}

    def weights(self) -> dict[str, Array]:
        """The averaged arrays under the model's names, on the CPU."""
        return {name: download(array, name) for name, array in self.average.items()}

    def load_state_dict(self, arrays: dict[str, Array]) -> None:
        """Continue from what `state_dict` gave; ValueError if the names differ."""
        if arrays.keys() != self.state_dict().keys():
            raise ValueError("EMA: the saved average belongs to another model")
        self.steps = int(arrays["ema.steps"][0])
        for name, average in self.average.items():
            average[...] = upload(arrays[name], average)
