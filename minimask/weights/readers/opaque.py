"""Names and objects of a pickle that are not built: nothing can be done with them but say them."""

from __future__ import annotations

from minimask.weights.readers.contents import UnsafeFileError, short

# Of these a file of weights needs nothing at all, so one that names them is an attack or a joke
DANGEROUS_MODULES = frozenset(
    "os nt posix subprocess sys shutil socket importlib runpy pty ctypes _ctypes code codeop "
    "webbrowser urllib http ftplib smtplib requests pickle _pickle marshal inspect imp pip "
    "multiprocessing threading signal builtins.__dict__ commands pdb timeit cProfile profile "
    "asyncio platform site ensurepip venv zipimport pkgutil pydoc linecache".split()
)
DANGEROUS_BUILTINS = frozenset(
    "eval exec execfile compile open file input breakpoint globals locals vars setattr delattr "
    "apply reload exit quit memoryview".split()
)
BUILTINS = ("builtins", "__builtin__", "__builtins__")
HARMLESS = frozenset("set frozenset list dict tuple int float str bytes bytearray bool".split())
BESIDE_ARRAYS = ("torch.storage.UntypedStorage", "numpy.ndarray", "torch.Tensor")
ADVICE = "Save only the state dict: torch.save(model.state_dict(), path)"


class Global:
    """A name that a pickle mentions; it is never looked up."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Global):
            return NotImplemented
        return (self.module, self.name) == (other.module, other.name)

    def __hash__(self) -> int:
        return hash((self.module, self.name))

    def __str__(self) -> str:
        return short(f"{self.module}.{self.name}", 120)

    @property
    def title(self) -> str:
        """As in messages."""
        return str(self)

    @property
    def harmless(self) -> bool:
        """Whether it is a type of Python itself, or one that torch keeps beside every tensor."""
        torch_type = self.module == "torch" and self.name.endswith("Storage")
        torch_type |= str(self) in BESIDE_ARRAYS
        return torch_type or (self.module in BUILTINS and self.name in HARMLESS)


class Placeholder:
    """What a call or a class that is not known would have given; it has nothing in it."""

    __slots__ = ("title",)

    def __init__(self, title: str):
        self.title = title


class Unhashable:
    """Stands for a key of a dict that is neither text nor a number."""

    __slots__ = ()


class Refused(Placeholder):
    """An array that cannot be used as weights."""

    __slots__ = ("reason",)

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def asks_for(name: str) -> UnsafeFileError:
    """The refusal of a file because of one name in it."""
    return UnsafeFileError(
        f"the file asks for {name}, which no file of weights needs; it was not run. {ADVICE}"
    )


def refuse_dangerous(module: str, name: str) -> None:
    """Refuse names that serve to run commands or to reach outside.

    Raises:
        UnsafeFileError: such a name.
    """
    reaches = "__" in name or (module in BUILTINS and name.split(".")[0] in DANGEROUS_BUILTINS)
    if module.split(".")[0] in DANGEROUS_MODULES or reaches:
        raise asks_for(short(f"{module}.{name}", 120))
