"""How a student's kernel is launched: a line of its file, `// launch: block=(16,16) grid=(...)`.

The expressions are arithmetic on the sizes of the operation, with whole numbers: `/` divides as in
C.  They are evaluated here, node by node, and never by Python.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^[ \t]*(?://|#)[ \t]*launch:(.*)$", re.MULTILINE)
_KEY = re.compile(r"\b(block|grid|shared)\s*=")
_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {"min": min, "max": max}


@dataclass(frozen=True)
class Shape:
    """Grid and block along x, y, z, and bytes of dynamic shared memory."""

    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int


def read(text: str, sizes: Mapping[str, int], threads: int, block: int = 256) -> Shape:
    """The launch a file asks for; by default blocks of `block`, as many as hold `threads`.

    Args:
        text: of the file.
        sizes: letters that may be used, with their values.
        threads: how many the default is to have, usually one for each output value.
        block: threads of a block by default.

    Raises:
        ValueError: a launch line that makes no sense; the message says what may stand there.
    """
    given: dict[str, tuple[int, ...]] = {}
    for line in _LINE.findall(text):
        parts = _KEY.split(line.strip())
        if parts[0].strip() or len(parts) < 3:
            raise ValueError(
                f"launch:{line}: expected block=(...), grid=(...) and shared=..., for example "
                "block=(16, 16) grid=((B + 15) / 16, (A + 15) / 16) shared=0"
            )
        for key, expression in zip(parts[1::2], parts[2::2], strict=True):
            given[key] = _numbers(expression.strip().rstrip(","), sizes)
    shape = given.get("block", (block,))
    area = 1
    for side in shape:
        area *= max(side, 1)
    grid = given.get("grid", (-(-threads // area),))
    return Shape(grid, shape, given.get("shared", (0,))[0])


def _numbers(expression: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise ValueError(f"launch: {expression!r} is no arithmetic expression") from None
    nodes = node.elts if isinstance(node, ast.Tuple) else [node]
    if not 1 <= len(nodes) <= 3:
        raise ValueError(f"launch: {expression!r}: expected one to three numbers")
    return tuple(_value(n, sizes, expression) for n in nodes)


def _value(node: ast.expr, sizes: Mapping[str, int], whole: str) -> int:
    def inner(part: ast.expr) -> int:
        return _value(part, sizes, whole)

    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name) and node.id in sizes:
        return sizes[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = inner(node.left), inner(node.right)
        if right == 0 and isinstance(node.op, ast.Div | ast.FloorDiv | ast.Mod):
            raise ValueError(f"launch: {whole!r} divides by zero")
        return _OPERATIONS[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id in _FUNCTIONS and len(node.args) >= 2:
            return _FUNCTIONS[node.func.id](*(inner(a) for a in node.args))
    raise ValueError(
        f"launch: {whole!r}: {ast.unparse(node)!r} is not understood; there are whole numbers, "
        f"{', '.join(sizes)}, + - * / % and min, max"
    )
