"""A machine that follows a pickle and can build nothing but plain containers and descriptions.

Python's own machine imports what a pickle names, calls it and writes into the result.  This one
imports and calls nothing: a name is an opaque `Global`, what a call gives is decided by a short
table (`calls`), and of anything else only a `Placeholder` remains.  All of it belongs to one
file, so that no file can change how another one is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

from minimask.weights.readers.calls import CALLS, hashable
from minimask.weights.readers.contents import UnsafeFileError, short
from minimask.weights.readers.described import DescribedArray, DescribedDtype, Storage
from minimask.weights.readers.described import storage as described_storage
from minimask.weights.readers.opaque import Global, Placeholder, refuse_dangerous
from minimask.weights.readers.opcodes import instructions, scan

ASKED = 20  # names of things that are not built, kept for the remarks
_MARK = object()


class Machine:
    """Follows the pickles of one file.

    Attributes:
        storages: what the pickles say about runs of numbers elsewhere in the file, by key.
        asked: names that were not built, in the order of their first mention.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.asked: list[str] = []
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.items = self.most = 0  # in the arguments of calls, which may be copied

    def run(self, file: IO[bytes], end: int) -> Any:
        """The value of the pickle at the file's position; the file is left behind it.

        Args:
            file: open for reading.
            end: the position that the pickle cannot go beyond.

        Raises:
            UnsafeFileError: it asks for something that no file of weights needs.
            ValueError: it is damaged.
        """
        self.items, self.most = 0, scan(file, end)
        self.stack, self.memo = [], {}
        for code, argument in instructions(file, end):
            _STEPS[code](self, argument)
        value, self.memo = self.pop(), {}
        return value

    def pop(self) -> Any:
        """Take the topmost value off the stack."""
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("damaged pickle: it takes more than there is")
        return self.stack.pop()

    def top(self) -> Any:
        """The topmost value, which stays."""
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                values = self.stack[i + 1 :]
                del self.stack[i:]
                return values
        raise ValueError("damaged pickle: a mark is missing")

    def get(self, index: int) -> None:
        """Put a remembered value on the stack."""
        if index not in self.memo:
            raise ValueError("damaged pickle: it refers to what is not there")
        self.stack.append(self.memo[index])

    def name(self, module: Any, name: Any) -> Global:
        """A name, which is not looked up."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("damaged pickle: a name that is none")
        refuse_dangerous(module, name)
        found = Global(module, name)
        if found not in CALLS and not found.harmless and len(self.asked) < ASKED:
            if str(found) not in self.asked:
                self.asked.append(str(found))
        return found

    def call(self, function: Any, arguments: Any) -> None:
        """Put on the stack what a call stands for."""
        if not isinstance(arguments, tuple):
            raise ValueError("damaged pickle: a call without arguments")
        self.items += sum(len(a) for a in arguments if isinstance(a, list | tuple))
        if self.items > self.most:
            raise UnsafeFileError("a pickle that copies the same list many times")
        known = CALLS.get(function) if isinstance(function, Global) else None
        if known is not None:
            self.stack.append(known(*arguments[:8]))
        elif isinstance(function, Global | Placeholder):
            self.stack.append(Placeholder(function.title))
        else:
            raise ValueError("damaged pickle: a call of something that cannot be called")

    def build(self) -> None:
        """Give the topmost object its state, which only arrays and their types take."""
        state = self.pop()
        thing = self.top()
        if isinstance(thing, DescribedArray | DescribedDtype):
            thing.complete(state)

    def set_items(self, values: list[Any]) -> None:
        """Add keys and values to the topmost dict."""
        if len(values) % 2:
            raise ValueError("damaged pickle: a key without a value")
        into = self.top()
        if isinstance(into, dict):
            for i in range(0, len(values), 2):
                into[hashable(values[i])] = values[i + 1]
        elif not isinstance(into, Placeholder):
            raise ValueError("damaged pickle: items of something that has none")

    def append(self, values: list[Any]) -> None:
        """Add values to the topmost list or set."""
        into = self.top()
        if isinstance(into, list):
            into.extend(values)
        elif not isinstance(into, Placeholder):
            raise ValueError("damaged pickle: items of something that has none")

    def put(self, index: int) -> None:
        """Remember the topmost value."""
        self.memo[index] = self.top()

    def new(self, arguments: int) -> None:
        """Make an object of a class, `arguments` values below which the class lies."""
        values = [self.pop() for _ in range(arguments)]
        self.call(self.pop(), values[-1])

    def refer(self) -> None:
        """Turn a reference into the storage that it describes."""
        found = described_storage(self.pop())
        if self.storages.setdefault(found.key, found).differs(found):
            raise UnsafeFileError(f"two kinds of numbers in storage {short(found.key)!r}")
        self.stack.append(self.storages[found.key])


def _tuple(count: int) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))

    return step


def _push(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _set_item(machine: Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _append_one(machine: Machine, _: Any) -> None:
    machine.append([machine.pop()])


def _dict_to_mark(machine: Machine, _: Any) -> None:
    values = machine.pop_to_mark()
    machine.stack.append({})
    machine.set_items(values)


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(machine.name(module, name))


def _argument(machine: Machine, argument: Any) -> None:
    machine.stack.append(argument)


_STEPS: dict[int, Callable[[Machine, Any], Any]] = {
    **{code: _argument for code in b"KMJG\x8a\x8bILFUTX\x8c\x8dCB\x8e\x96SV"},
    **{code: lambda machine, _: None for code in b"\x80\x95."},  # protocol, frame, end
    ord("("): _push(lambda: _MARK),
    ord("0"): lambda machine, _: machine.pop(),
    ord("1"): lambda machine, _: machine.pop_to_mark(),
    ord("2"): lambda machine, _: machine.stack.append(machine.top()),
    ord("N"): _push(lambda: None),
    0x88: _push(lambda: True),
    0x89: _push(lambda: False),
    ord("]"): _push(list),
    ord("}"): _push(dict),
    ord(")"): _push(tuple),
    0x8F: _push(list),  # a set, kept as a list: its items' hashes are never asked for
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    ord("l"): lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    0x91: lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    ord("d"): _dict_to_mark,
    ord("a"): _append_one,
    ord("e"): lambda machine, _: machine.append(machine.pop_to_mark()),
    0x90: lambda machine, _: machine.append(machine.pop_to_mark()),
    ord("s"): _set_item,
    ord("u"): lambda machine, _: machine.set_items(machine.pop_to_mark()),
    ord("c"): lambda machine, names: machine.stack.append(machine.name(*names)),
    0x93: _stack_global,
    ord("R"): lambda machine, _: machine.new(1),
    0x81: lambda machine, _: machine.new(1),
    0x92: lambda machine, _: machine.new(2),
    ord("b"): lambda machine, _: machine.build(),
    ord("Q"): lambda machine, _: machine.refer(),
    0x94: lambda machine, _: machine.put(len(machine.memo)),
    **{code: lambda machine, index: machine.put(index) for code in b"qrp"},
    **{code: lambda machine, index: machine.get(index) for code in b"hjg"},
}
