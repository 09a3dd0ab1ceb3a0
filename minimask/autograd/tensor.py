"""The two classes of the engine: an array with a memory, and a differentiable operation.

A `Tensor` is an array plus the recipe that made it.  A `Function` is one differentiable
operation: `forward` turns arrays into an array, `backward` turns the gradient of the output into
one gradient per input.  `Tensor.backward` walks the recipes in reverse (`backward.py`).

Functions see plain arrays, not Tensors, so there are no second derivatives; Mask R-CNN needs none.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import operator
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import numpy as np

from minimask.autograd import backward, hooks
from minimask.autograd.arrays import Array, array_module, as_arrays

# A context variable, not a global: a thread that predicts must not stop another from training.
_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("recording", default=True)

_COMPARABLE = (int, float, list, tuple)  # beside Tensors, and arrays and numbers of NumPy and CuPy
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording recipes: for inference and for optimizer steps."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def is_recording() -> bool:
    """Whether operations record recipes now: everywhere but under `no_grad`."""
    return _recording.get()


class Context:
    """What one call of a Function leaves behind for `backward`."""

    __slots__ = ("_saved", "fn", "needs_grad", "parents", "where")

    def __init__(
        self, fn: type[Function], parents: list[Tensor | None], needs_grad: list[bool]
    ) -> None:
        self.fn = fn
        self.parents = parents  # None for inputs that need no gradient
        self.needs_grad = needs_grad  # where this is False, backward may return None
        # None: freed; a function: a checkpoint computes it again
        self._saved: tuple[Any, ...] | Callable[[], Any] | None = ()
        self.where: str | None = None  # the calling line of code, noted by detect_anomaly

    def save(self, *values: Any) -> None:
        """Keep arrays, shapes or options for `backward`."""
        self._saved = values

    @property
    def saved(self) -> tuple[Any, ...]:
        """What `forward` saved."""
        while callable(self._saved):  # a checkpoint inside another gives a function again
            self._saved = self._saved()
        if self._saved is None:
            raise RuntimeError(
                f"{self.fn.__name__}: the saved arrays were freed by an earlier backward(). "
                "Recompute the loss, or call backward(retain_graph=True) the first time."
            )
        return self._saved

    def free(self) -> None:
        """Let go of everything `backward` needed, and of the graph behind it."""
        self._saved, self.parents = None, []


class Function:
    """One differentiable operation: subclass it with two static methods on plain arrays.

    `forward(ctx, *inputs, **options)` returns one array; positional arguments are the inputs,
    keywords are options.  `backward(ctx, grad)` returns one gradient per input (None for inputs
    that need none) and must not write into `grad`, which others may share.

    An input with the default None in `forward` is optional: the caller may pass None or leave it
    out, `forward` gets None, and `backward` returns None in its place.
    """

    changes_dtype = False  # casts set this; elsewhere a changed dtype means mixed-up inputs
    _optional: frozenset[int] = frozenset()  # which inputs may be None, by their place

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        inputs = list(inspect.signature(cls.forward).parameters.values())[1:]
        cls._optional = frozenset(
            i for i, p in enumerate(inputs) if p.kind in _POSITIONAL and p.default is None
        )

    @staticmethod
    def forward(ctx: Context, *args: Any, **options: Any) -> Any:
        """Compute the output array; `ctx.save(...)` what backward will need."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Context, grad: Array) -> Any:
        """Turn the gradient of the output into one gradient per input."""
        raise NotImplementedError

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Tensor:
        """Run `forward` and record it; inputs may be Tensors, arrays or numbers.

        Raises:
            TypeError: an input is None and not optional.
        """
        recording = _recording.get()
        arrays, parents, needs, all_numpy = [], [], [], True
        while len(inputs) in cls._optional:  # those left out at the end
            inputs += (None,)
        for value in inputs:
            need = False
            if isinstance(value, Tensor):
                need, array = recording and value.requires_grad, value.data
            else:
                array = value
            arrays.append(array)
            needs.append(need)
            parents.append(value if need else None)
            if type(array) is not np.ndarray:
                if array is not None:
                    all_numpy = False
                elif len(arrays) - 1 not in cls._optional:
                    raise TypeError(cls._none_refused(len(arrays) - 1))
        if not all_numpy:
            dtypes = [t.data.dtype for t in inputs if isinstance(t, Tensor)]
            arrays = as_arrays(arrays, dtypes[0] if dtypes else np.dtype(np.float32))
        ctx, hook = Context(cls, parents, needs), hooks.active.get()
        try:
            if hook is None:
                out = Tensor(cls.forward(ctx, *arrays, **options))
            else:
                out = Tensor(hook.forward(ctx, arrays, options))
        except (ValueError, TypeError, IndexError) as error:
            error.add_note(f"in {cls.describe(arrays, options)}")
            raise
        if True in needs:
            out._ctx, out.requires_grad = ctx, True
            if not cls.changes_dtype:
                cls._check_dtype(out, parents, arrays, options)
        return out

    @classmethod
    def _none_refused(cls, place: int) -> str:
        """What to say when the input at `place`, which is not optional, is None."""
        names = cls.input_names(place + 1)
        optional = [cls.input_names(i + 1)[i] for i in sorted(cls._optional)]
        hint = f"; only {' and '.join(optional)} may be None" if optional else ""
        return (
            f"{cls.__name__}: an input is None: `{names[place]}`, where a Tensor, an array or a "
            f"number is needed{hint}"
        )

    @classmethod
    def _check_dtype(
        cls, out: Tensor, parents: list[Any], arrays: list[Array], options: dict[str, Any]
    ) -> None:
        """Refuse mixed float types here, where the line of code is at fault, not in backward."""
        for parent in parents:
            if parent is not None and parent.data.dtype != out.data.dtype:
                raise TypeError(
                    f"{cls.describe(arrays, options)} gives {out.dtype}, but an input that "
                    f"requires a gradient is {parent.dtype}; convert the inputs to one dtype "
                    f"first, e.g. array.astype({str(parent.dtype)!r})"
                )

    @classmethod
    def input_names(cls, count: int) -> list[str]:
        """The names of the first `count` inputs, read from `forward`'s signature."""
        names: list[str] = []
        for p in list(inspect.signature(cls.forward).parameters.values())[1:]:
            if p.kind is p.VAR_POSITIONAL:
                names += [f"{p.name}[{i}]" for i in range(count - len(names))]
            elif p.kind in _POSITIONAL:
                names.append(p.name)
        return (names + [f"input {i}" for i in range(len(names), count)])[:count]

    @classmethod
    def describe(cls, arrays: list[Array], options: dict[str, Any]) -> str:
        """One call in one line: `Add(a(2, 3):float64, b(4,):float64)`; without what is None."""
        inputs = zip(cls.input_names(len(arrays)), arrays, strict=True)
        parts = [f"{n}{tuple(a.shape)}:{a.dtype}" for n, a in inputs if a is not None]
        parts += [f"{name}={value!r}" for name, value in options.items()]
        return f"{cls.__name__}({', '.join(parts)})"


def _operation(name: str, swapped: bool = False) -> Callable[..., Tensor]:
    """A Tensor method that calls `minimask.autograd.ops.<name>`.

    The import waits for the first call, because the operations themselves are made of Tensors.
    """

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        from minimask.autograd import ops

        function = getattr(ops, name)
        return function(*args, self) if swapped else function(self, *args, **options)

    method.__name__, method.__doc__ = name, f"See `minimask.autograd.ops.{name}`."
    return method


def _comparison(name: str, sign: str) -> Callable[[Tensor, Any], Any]:
    """A Tensor method that compares element by element, as NumPy does."""
    compare = getattr(operator, name)

    def method(self: Tensor, other: Any) -> Any:
        if isinstance(other, Tensor):
            other = other.data
        elif not isinstance(other, _COMPARABLE) and not hasattr(other, "dtype"):
            return NotImplemented  # Python's answer: not equal, and no order
        return compare(*as_arrays([self.data, other], self.data.dtype))

    method.__name__ = f"__{name}__"
    method.__doc__ = f"Where self {sign} other, element by element: a bool array, no gradient."
    return method


class Tensor:
    """An array that remembers how it was made.

    Args:
        data: an array (kept, not copied), or numbers in lists, which become float32.
        requires_grad: whether `backward` should fill `.grad`; float arrays only.
        name: shown in messages and drawings.
    """

    __array_ufunc__ = None  # `ndarray * Tensor` calls Tensor.__rmul__, no loop over elements
    __slots__ = ("__weakref__", "_ctx", "data", "grad", "name", "requires_grad")

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None) -> None:
        if type(data) is not np.ndarray and not hasattr(data, "__cuda_array_interface__"):
            if isinstance(data, Tensor):
                raise TypeError(
                    "Tensor(tensor) is ambiguous: use tensor.detach() to cut the graph, or the "
                    "tensor itself"
                )
            is_array = hasattr(data, "dtype")
            data = np.asarray(data)
            if not is_array and data.dtype == np.float64:
                data = data.astype(np.float32)
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(
                f"only float tensors can require gradients, got dtype {data.dtype}"
                + (f" for {name!r}" if name else "")
            )
        self.data: Array = data
        self.grad: Array | None = None
        self.requires_grad = requires_grad
        self.name = name
        self._ctx: Context | None = None

    shape = property(attrgetter("data.shape"), doc="The lengths of the axes.")
    dtype = property(attrgetter("data.dtype"), doc="The element type.")
    ndim = property(attrgetter("data.ndim"), doc="The number of axes.")
    size = property(attrgetter("data.size"), doc="The number of elements.")
    T = property(_operation("transpose"), doc="The tensor with its axes reversed.")

    def detach(self) -> Tensor:
        """The same values as a new leaf: gradients stop here."""
        return Tensor(self.data)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array; on the CPU it shares memory with the tensor."""
        return self.data if isinstance(self.data, np.ndarray) else self.data.get()

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number."""
        return self.data.item()

    def backward(self, grad: Any = None, retain_graph: bool = False) -> None:
        """Add to `.grad` of every leaf tensor that `self` depends on.

        Args:
            grad: gradient of the loss with respect to `self`; left out where `self` is the loss.
            retain_graph: keep what was recorded, so that `backward` can be called again.
        """
        start = grad.data if isinstance(grad, Tensor) else grad
        backward.run(self, start, retain_graph)

    def __repr__(self) -> str:
        made = f", made by {self._ctx.fn.__name__}" if self._ctx else ""
        leaf = ", requires_grad" if self.requires_grad and not self._ctx else ""
        values = f" {self.data!s}" if self.size <= 8 else ""
        name = f" {self.name!r}" if self.name else ""
        return f"Tensor{name}{self.shape}({self.dtype}{made}{leaf}){values}"

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(f"a Tensor of shape {self.shape} has no single truth value")
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.data.item())

    def __len__(self) -> int:
        if self.data.ndim == 0:
            raise TypeError("a Tensor without axes has no len()")
        return len(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        raise TypeError(
            "a Tensor is no NumPy array, and converting it silently would lose its gradient: "
            "use tensor.numpy(), or the operations in minimask.autograd.ops"
        )

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "Tensors cannot be assigned into: the old value is still needed for gradients. "
            "Build the result with ops.where(), ops.concatenate() or ops.stack()."
        )

    __getitem__ = _operation("getitem")
    __add__ = __radd__ = _operation("add")
    __sub__, __rsub__ = _operation("sub"), _operation("sub", swapped=True)
    __mul__ = __rmul__ = _operation("mul")
    __truediv__, __rtruediv__ = _operation("div"), _operation("div", swapped=True)
    __matmul__, __rmatmul__ = _operation("matmul"), _operation("matmul", swapped=True)
    __pow__, __neg__, __abs__ = _operation("power"), _operation("neg"), _operation("abs")
    # Comparisons give bool arrays, not Tensors: a yes or no has no gradient.
    __eq__, __ne__ = _comparison("eq", "=="), _comparison("ne", "!=")
    __lt__, __le__ = _comparison("lt", "<"), _comparison("le", "<=")
    __gt__, __ge__ = _comparison("gt", ">"), _comparison("ge", ">=")
    __hash__ = object.__hash__  # by identity, for sets and dictionaries of Tensors
    exp, log, sqrt, abs = map(_operation, ("exp", "log", "sqrt", "abs"))
    sum, mean, max, min = map(_operation, ("sum", "mean", "max", "min"))
    reshape, transpose, clip, astype = map(_operation, ("reshape", "transpose", "clip", "astype"))


def zero_like(tensor: Tensor) -> Tensor:
    """A constant 0 of the device and dtype of `tensor`: a loss with nothing to learn from."""
    return Tensor(array_module(tensor.data).zeros((), tensor.dtype))
