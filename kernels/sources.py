"""The `.cu` files as text: read with what they include, and searched for the kernels in them.

A launch is checked against the kernel's own signature, so that there is no second list of its
arguments to keep true.
"""

from __future__ import annotations

import functools
import math
import pathlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent

# the names of C types in kernel signatures, and what an array or a number must be for them
TYPES = {
    "float": np.float32,
    "float2": np.float32,
    "float4": np.float32,
    "half": np.float16,
    "int": np.int32,
    "i64": np.int64,
    "u32": np.uint32,
    "u64": np.uint64,
    "bool": np.bool_,
    "unsigned char": np.uint8,
}
WIDE = {"float2": 8, "float4": 16}  # a pointer to these must be aligned to their size

_KERNEL = re.compile(
    r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)\s*\{"
)
_INCLUDE = re.compile(r'^#include "([\w./]+)"[^\n]*$', re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Parameter:
    """One argument of a kernel, as its signature declares it."""

    name: str
    type: str  # a name in TYPES
    pointer: bool
    const: bool

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:
        """What an array for it holds."""
        return np.dtype(TYPES[self.type])

    @functools.cached_property
    def range(self) -> tuple[float, float]:
        """The least and the largest number it takes."""
        if self.dtype.kind not in "iu":
            return -math.inf, math.inf
        limits = np.iinfo(TYPES[self.type])
        return limits.min, limits.max

    def fits(self, argument: Any) -> bool:
        """Whether an argument needs no closer look; made to be quick, as every launch asks."""
        if not self.pointer:
            low, high = self.range
            kinds = (int, float) if self.dtype.kind == "f" else (int, bool)
            return type(argument) in kinds and low <= argument <= high
        return (
            getattr(argument, "dtype", None) == self.dtype
            and argument.flags.c_contiguous
            and (self.type not in WIDE or address(argument) % WIDE[self.type] == 0)
        )


def address(array: Any) -> int:
    """Where an array begins, on its device."""
    return array.data.ptr if hasattr(array.data, "ptr") else array.ctypes.data


@functools.cache
def read_source(path: pathlib.Path) -> str:
    """A `.cu` file with its `#include "..."` lines replaced by the files, each once.

    Files are looked for beside the one that includes them, then in `kernels/`.  Compilers are told
    by `#line` what every line was, so that their messages name the file and line a reader sees.

    Raises:
        FileNotFoundError: a file that is included does not exist.
        ValueError: a file is no text.
    """
    return _inline(path, set())


def _inline(path: pathlib.Path, seen: set[pathlib.Path]) -> str:
    seen.add(path)
    lines = [f'#line 1 "{path.name}"']
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected CUDA C++, this is no text ({error})") from None
    for number, line in enumerate(text.splitlines(), 1):
        include = _INCLUDE.match(line)
        if include is None:
            lines.append(line)
            continue
        candidates = (path.parent / include[1], ROOT / include[1])
        found = next((c.resolve() for c in candidates if c.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"{path}:{number}: includes {include[1]}, which does not exist")
        if found not in seen:
            lines.append(_inline(found, seen))
        lines.append(f'#line {number + 1} "{path.name}"')
    return "\n".join(lines) + "\n"


@functools.cache
def signatures(source: str) -> dict[str, tuple[Parameter, ...]]:
    """Every `__global__` kernel of a source with its parameters, in the order of the file."""
    text = _COMMENT.sub("", source)
    return {
        match[1]: tuple(_parameter(match[1], part) for part in match[2].split(",") if part.strip())
        for match in _KERNEL.finditer(text)
    }


def _parameter(kernel: str, text: str) -> Parameter:
    words = text.replace("*", " * ").replace("__restrict__", " ").split()
    pointer, const = "*" in words, "const" in words
    words = [w for w in words if w not in ("*", "const")]
    kind, name = " ".join(words[:-1]), words[-1]
    if kind not in TYPES:
        raise ValueError(
            f"kernel {kernel}: parameter {text.strip()!r} has a type the launcher does not know; "
            f"it knows {', '.join(TYPES)} and pointers to them"
        )
    return Parameter(name, kind, pointer, const)
