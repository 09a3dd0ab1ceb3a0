"""The hook that takes the times: a stopwatch with one hand.

The hand always points at one place: an operation, the Python between operations of a stage, or
the observer itself.  Every nanosecond is counted once, so the parts add up to the whole.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minimask.autograd.hooks import Hook, hooked
from minimask.tools.profile.costs import Call, cost_of
from minimask.tools.profile.stages import REST, STAGE_OF_MODULE

if TYPE_CHECKING:
    from minimask.autograd import Context

FORWARD, BACKWARD = "forward", "backward"


class Place(NamedTuple):
    """Where the model is."""

    stage: str
    layer: str  # a module's path, else the stage
    phase: str  # FORWARD or BACKWARD
    since: int = 0  # ns


@dataclass(slots=True)
class Record:
    """One operation that ran, forward or backward; it holds no arrays."""

    call: Call
    place: Place
    start: int  # ns, like `end`
    end: int
    made: int  # bytes of new arrays that it returned
    kept: int  # bytes that stay for the backward pass because of it
    moved: int  # bytes that it had to read and write


class Observer(Hook):
    """Notes every operation that runs inside `with observer.watch():`, once.

    Args:
        model: whose modules give the stages and layers their names; None: there are none.
        clock: gives nanoseconds.

    Attributes:
        records: the operations, in the order they ran.
        between: nanoseconds outside operations, by stage and phase.
        own: nanoseconds that the observer took.
        spans: stages and modules with the time they began and ended.
        start: when watching began; `end` likewise.
    """

    def __init__(self, model: Any = None, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.records: list[Record] = []
        self.between: dict[tuple[str, str], int] = defaultdict(int)
        self.own = self.start = self.end = self._since = 0
        self.spans: list[tuple[Place, int]] = []
        self._clock = clock
        self._paths = {} if model is None else {id(m): n for n, m in model.named_modules()}
        self._stack: list[Place] = []  # the last: where the hand points between operations
        self._open: list[Place] = []  # as `_stack`, but without what backward passes change there
        self._busy = False  # inside an operation: what that calls is part of it
        self._made: dict[int, Record] = {}  # by the Context, for its backward pass
        self._seen: dict[int, weakref.ref[Any]] = {}  # buffers counted as kept
        self._keeps: list[tuple[Record, weakref.ref[Any], int]] = []
        if model is not None:
            own = [*(p.data for p in model.parameters()), *(b for _, b in model.named_buffers())]
            for array in own:
                self._is_new(owner(array))

    @property
    def total(self) -> int:
        """Nanoseconds watched."""
        return self.end - self.start

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Look on inside the block."""
        if self.end:
            raise RuntimeError("this observer has watched already: make a new one")
        self._stack = [Place(REST, REST, FORWARD)]
        self.start = self._since = self._clock()
        try:
            with hooked(self):
                yield
        finally:
            self.end = self._stop()

    def _stop(self) -> int:
        """End the time between operations; the time now."""
        now, place = self._clock(), self._stack[-1]
        self.between[place.stage, place.phase] += now - self._since
        return now

    def _go_on(self, since: int) -> None:
        """What has passed since then was the observer's; from now on it is the model's again."""
        self._since = self._clock()
        self.own += self._since - since

    def enter(self, stage: str | None, module: Any = None) -> None:
        """A stage begins, or with None the forward pass of a module."""
        now, outer = self._stop(), self._stack[-1]
        layer = stage or self._paths.get(id(module), outer.layer)
        stage = stage or STAGE_OF_MODULE.get(layer, outer.stage)
        phase = BACKWARD if stage == BACKWARD else outer.phase
        self._stack.append(Place(stage, layer, phase, now))
        self._open.append(self._stack[-1])
        if stage == BACKWARD:
            self._take_back()
        super().enter(stage if module is None else None, module)
        self._go_on(now)

    def leave(self) -> None:
        """What was entered last has ended."""
        now = self._stop()
        self._stack.pop()
        self.spans.append((self._open.pop(), now))
        super().leave()
        self._go_on(now)

    def _timed(
        self, run: Callable[..., Any], /, *args: Any, **options: Any
    ) -> tuple[Any, int, int]:
        """The result of `run(*args, **options)`, and when it began and ended."""
        arrived = self._stop()
        self._busy = True
        self._go_on(arrived)
        start = self._since
        try:
            result = run(*args, **options)
            end = self._clock()
        finally:
            self._busy = False
        return result, start, end

    def forward(self, ctx: Context, arrays: list[Any], options: dict[str, Any]) -> Any:
        """Run and note an operation."""
        if self._busy:
            return super().forward(ctx, arrays, options)
        out, start, end = self._timed(super().forward, ctx, arrays, options)
        given = [a for a in arrays if a is not None]  # an optional input may be None
        record = self._note(ctx.fn.__name__, given, out, options, ctx.needs_grad, start, end)
        if True in ctx.needs_grad:
            self._keep(record, arrays_in((out, ctx._saved)))
            self._made[id(ctx)] = record
        self._go_on(end)
        return out

    def kernel(self, name: str, run: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
        """Run a kernel, and note it unless it is part of an operation."""
        if self._busy:
            return super().kernel(name, run, *arrays, **options)
        out, start, end = self._timed(super().kernel, name, run, *arrays, **options)
        self._note(f"{name} (kernel)", list(arrays_in(arrays)), out, options, [], start, end)
        self._go_on(end)
        return out

    def _note(
        self,
        name: str,
        arrays: list[Any],
        out: Any,
        options: dict[str, Any],
        needs: list[bool],
        start: int,
        end: int,
    ) -> Record:
        results = list(arrays_in(out))
        first = results[0] if results else np.zeros(0, np.float32)
        plain = {k: v for k, v in options.items() if _is_plain(v)}
        shapes = tuple(tuple(a.shape) for a in arrays)
        call = Call(name, shapes, tuple(first.shape), plain, tuple(needs), first.itemsize)
        made, cost = new_bytes(results, arrays), cost_of(call)
        reads = cost.reads
        read = sum({id(a): a.nbytes for a in arrays}.values()) if reads is None else reads(call)
        written = made + sum(arrays[i].nbytes for i in cost.overwrites)
        moved = int(written + read) if written else 0  # a view of its input moves nothing
        record = Record(call, self._stack[-1], start, end, made, 0, moved)
        self.records.append(record)
        return record

    def backward(self, ctx: Context, grad: Any) -> Any:
        """Run and note the backward pass of an operation, at the place of its forward pass."""
        if self._busy:
            return super().backward(ctx, grad)
        out, start, end = self._timed(super().backward, ctx, grad)
        arrays = [grad, *arrays_in(ctx._saved)]
        made = new_bytes(list(arrays_in(out)), arrays)
        read = sum({id(a): a.nbytes for a in arrays}.values())
        first, place = self._made.get(id(ctx)), self._stack[-1]
        if first is None:  # its forward pass was not watched
            call = Call(ctx.fn.__name__, (), tuple(grad.shape), {}, tuple(ctx.needs_grad))
        else:
            call, place = first.call, first.place._replace(phase=BACKWARD, since=place.since)
        self.records.append(Record(call, place, start, end, made, 0, made + read if made else 0))
        # what follows, until the next operation, adds these gradients to others
        self._stack[-1] = place
        self._go_on(end)
        return out

    def _keep(self, record: Record, arrays: Iterator[Any]) -> None:
        """Count the buffers of these arrays as kept because of an operation."""
        for buffer in map(owner, arrays):
            if self._is_new(buffer):
                record.kept += buffer.nbytes
                self._keeps.append((record, self._seen[id(buffer)], buffer.nbytes))

    def _take_back(self) -> None:
        """As the backward pass begins: what has been freed by now was not kept for it."""
        for record, buffer, size in self._keeps:
            if buffer() is None:
                record.kept -= size
        self._keeps.clear()

    def _is_new(self, buffer: Any) -> bool:
        """Whether a buffer was not seen before; a weak reference, as addresses are used again."""
        if not isinstance(buffer, np.ndarray):
            return False
        known = self._seen.get(id(buffer))
        if known is not None and known() is buffer:
            return False
        self._seen[id(buffer)] = weakref.ref(buffer)
        return True


def arrays_in(value: Any) -> Iterator[Any]:
    """The arrays in a value and in the tuples, lists and dicts it is made of."""
    if isinstance(value, np.ndarray | np.generic):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from arrays_in(item)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def owner(array: Any) -> Any:
    """The array that holds the memory of a view; of any other array itself."""
    while isinstance(getattr(array, "base", None), np.ndarray):
        array = array.base
    return array


def new_bytes(results: list[Any], inputs: list[Any]) -> int:
    """Bytes of the results, without views of the inputs; an array given twice counts once."""
    old = {id(owner(a)) for a in inputs}
    return sum({id(r): r.nbytes for r in results if id(owner(r)) not in old}.values())


def _is_plain(value: Any) -> bool:
    """Whether an option can be kept without keeping an array alive."""
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, bool | int | float | str)
