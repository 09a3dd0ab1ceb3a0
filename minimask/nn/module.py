"""Module: a tree of named tensors, found by looking at attributes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from minimask.autograd import Tensor, checkpoint, hooks
from minimask.autograd.arrays import Array
from minimask.system.device import download, find, move, on_gpu, upload

# Counts batches and changes no result: older files lack it, files of frozen layers may have it.
_OPTIONAL = "num_batches_tracked"


class Module:
    """A part of a network; assign tensors and other modules to attributes, write `forward`.

    Every Tensor in an attribute is a parameter, whether or not it requires a gradient; modules in
    lists and tuples are found too, under `name.0`, `name.1` ...  Attributes that begin with an
    underscore are private and not looked at.  Arrays that are saved but not learned, such as
    running means, are announced with `register_buffer`.
    """

    training: bool = True
    recomputed: bool = False  # keep nothing inside for the backward pass: see `checkpoint`
    forward: Callable[..., Any]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run `forward`."""
        forward: Callable[..., Any] = self.forward
        if self.recomputed:
            forward = functools.partial(checkpoint, functools.partial(forward, **options))
            options = {}
        hook = hooks.active.get()
        if hook is None:
            return forward(*args, **options)
        hook.enter(None, self)
        try:
            return forward(*args, **options)
        finally:
            hook.leave()

    def register_buffer(self, name: str, array: Array) -> None:
        """Keep `array` in the attribute `name` and in the state dict, without a gradient."""
        self.__dict__.setdefault("_buffers", []).append(name)
        setattr(self, name, array)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules in the attributes, with the names they have in a state dict."""
        for name, value in self._public():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list | tuple):
                for i, item in enumerate(value):
                    if isinstance(item, Module):
                        yield f"{name}.{i}", item

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all modules inside it, outer ones first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all modules inside it."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter once, with its name in the state dict."""
        seen: set[int] = set()
        for name, value in self._named_state():
            if isinstance(value, Tensor) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Tensor]:
        """Every parameter once."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Every array that is saved but not learned, with its name in the state dict."""
        for name, value in self._named_state():
            if not isinstance(value, Tensor):
                yield name, value

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name, e.g. `backbone.body.conv1.weight`."""
        arrays = {n: v.data if isinstance(v, Tensor) else v for n, v in self._named_state()}
        return {n: np.array(download(a, n), copy=not on_gpu(a)) for n, a in arrays.items()}

    def load_state_dict(self, arrays: Mapping[str, Any], strict: bool = True) -> list[str]:
        """Copy arrays into the parameters and buffers of the same names.

        Args:
            arrays: arrays by name, as `state_dict` gives them; other dtypes are converted.
            strict: whether every name must be on both sides.

        Returns:
            The names on one side only, as "missing ..." and "unexpected ..."; empty if strict.

        Raises:
            ValueError: names (if strict) or shapes do not fit; the message lists all of them, and
                nothing was copied.
        """
        own = dict(self._named_state())
        names = [f"missing {n} {tuple(v.shape)}" for n, v in own.items() if n not in arrays]
        names += [
            f"unexpected {n} {np.shape(arrays[n])}"
            for n in arrays
            if n not in own and not n.endswith(_OPTIONAL)
        ]
        names = [n for n in names if not n.startswith("missing") or _OPTIONAL not in n]
        shapes = [
            f"{n} is {tuple(v.shape)} here, {np.shape(arrays[n])} in the file"
            for n, v in own.items()
            if n in arrays and tuple(v.shape) != np.shape(arrays[n])
        ]
        if shapes or (strict and names):
            problems = sorted(shapes + names * strict)
            raise ValueError(
                f"{type(self).__name__}: the weights do not fit:\n  " + "\n  ".join(problems)
            )
        for name in own.keys() & arrays.keys():
            value = own[name]
            target = value.data if isinstance(value, Tensor) else value
            given = arrays[name]
            target[...] = given if on_gpu(given) else upload(np.asarray(given), target, name)
        return sorted(names)

    def train(self, mode: bool = True) -> Self:
        """Switch to training: batch norm measures its statistics."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to prediction: batch norm uses the statistics it has collected."""
        return self.train(False)

    def to(self, device: str) -> Self:
        """Move all parameters and buffers to "cpu", "cuda" or "cuda:1", and compute there.

        Make optimizers afterwards: they keep their state where the parameters are.

        Raises:
            DeviceError: there is no such device, or it cannot be used; says what to do.
        """
        find(device)
        for module in self.modules():
            for name, value in module._own_state():
                if isinstance(value, Tensor):
                    value.data = move(value.data, device)
                    value.grad = None if value.grad is None else move(value.grad, device)
                else:
                    setattr(module, name, move(value, device))
        return self

    @property
    def device(self) -> str:
        """Where the parameters are: "cpu", or "cuda:0" for the first GPU."""
        first = next(self.parameters(), None)
        if first is None or not on_gpu(first.data):
            return "cpu"
        return f"cuda:{first.data.device.id}"

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze all parameters (False) or let them learn (True)."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def astype(self, dtype: Any) -> Self:
        """Convert float parameters and buffers, e.g. to float64 for gradient checks."""
        for module in self.modules():
            for name, value in module._own_state():
                if value.dtype.kind != "f":
                    continue
                if isinstance(value, Tensor):
                    value.data, value.grad = value.data.astype(dtype), None
                else:
                    setattr(module, name, value.astype(dtype))
        return self

    def count_parameters(self, trainable_only: bool = False) -> int:
        """How many numbers the parameters hold."""
        return sum(p.size for p in self.parameters() if p.requires_grad or not trainable_only)

    def describe(self) -> str:
        """What `repr` says about this layer in parentheses; layers overwrite it."""
        return ""

    def __repr__(self) -> str:
        """The tree of layers with the number of parameters of each."""
        count = self.count_parameters()
        line = f"{type(self).__name__}({self.describe()})" + (f"  {count:,}" if count else "")
        for name, child in self.named_children():
            line += f"\n  {name}: " + repr(child).replace("\n", "\n  ")
        return line

    def _public(self) -> list[tuple[str, Any]]:
        return [(n, v) for n, v in vars(self).items() if not n.startswith("_")]

    def _own_state(self) -> Iterator[tuple[str, Any]]:
        """Parameters, then buffers, of this module alone."""
        for name, value in self._public():
            if isinstance(value, Tensor):
                yield name, value
            elif isinstance(value, list | tuple):
                yield from ((f"{name}.{i}", t) for i, t in enumerate(value) if type(t) is Tensor)
        for name in vars(self).get("_buffers", ()):
            yield name, getattr(self, name)

    def _named_state(self) -> Iterator[tuple[str, Any]]:
        for prefix, module in self.named_modules():
            for name, value in module._own_state():
                yield f"{prefix}.{name}" if prefix else name, value


class ModuleList(Module):
    """Modules under the names 0, 1, 2 ...; `forward` is up to whoever holds it."""

    def __init__(self, modules: Any = ()) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        setattr(self, str(len(self)), module)

    def __len__(self) -> int:
        return len(list(self.named_children()))

    def __iter__(self) -> Iterator[Module]:
        return iter([child for _, child in self.named_children()])

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]


class Sequential(ModuleList):
    """Modules one after the other; children are named 0, 1, 2 ... or by keyword.

    Sequential(conv, relu)             parameters 0.weight, 0.bias
    Sequential(conv=conv, relu=relu)   parameters conv.weight, conv.bias
    """

    def __init__(self, *modules: Module, **named: Module) -> None:
        super().__init__(modules)
        for name, module in named.items():
            setattr(self, name, module)

    def forward(self, x: Any, **last: Any) -> Any:
        """Pass x through every module in turn; options are for the last one."""
        modules = list(self)
        for module in modules[:-1]:
            x = module(x)
        return modules[-1](x, **last) if modules else x
