"""Who imports whom, read from the source with `ast`: nothing is run, no import is missed.

Counted is every import of our own modules, wherever it stands: at the top of a file ("top"),
inside a function ("late"), or for types only, under `if TYPE_CHECKING:` ("types").  The tests of
the architecture and its map both read this.  To see the graph:

    python docs/import_graph.py                       # circles, and how many imports there are
    python docs/import_graph.py minimask.models.rpn   # who imports it, what it imports
"""

from __future__ import annotations

import argparse
import ast
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOP, LATE, TYPES = "top", "late", "types"


@dataclass(frozen=True)
class Import:
    """One import of one of our modules by another."""

    importer: str
    imported: str
    kind: str  # TOP, LATE or TYPES
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported} ({self.kind})"


def find_modules(root: pathlib.Path = ROOT) -> dict[str, pathlib.Path]:
    """Name and file of every module of the package.

    `kernels/` is `minimask.kernels`; the link to it inside `minimask/` is not followed.
    """
    modules = {}
    for folder, package in (
        (root / "minimask", "minimask"),
        (root / "kernels", "minimask.kernels"),
    ):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            modules[".".join((package, *parts))] = path
    return modules


def read_imports(modules: Mapping[str, pathlib.Path] | None = None) -> list[Import]:
    """Every import between our modules, in the order of files and lines."""
    modules = find_modules() if modules is None else modules
    found = []
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        found += imports_of(name, tree, modules)
    return found


def imports_of(name: str, tree: ast.Module, modules: Iterable[str]) -> Iterator[Import]:
    """The imports of one module, given its syntax tree and the names of all modules."""
    known = set(modules)
    for node, kind in _import_statements(tree, TOP):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            targets = [f"{_absolute(name, node)}.{alias.name}" for alias in node.names]
        for target in sorted({_module_of(target, known) for target in targets} - {None, name}):
            yield Import(name, target, kind, node.lineno)


def _import_statements(
    tree: ast.AST, kind: str
) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, kind
        elif isinstance(child, ast.If) and _asks_for_types(child.test):
            for statement in child.body:
                yield from _import_statements(ast.Module([statement], []), TYPES)
            for statement in child.orelse:
                yield from _import_statements(ast.Module([statement], []), kind)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _import_statements(child, TYPES if kind == TYPES else LATE)
        else:
            yield from _import_statements(child, kind)


def _asks_for_types(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if node.level:
        raise ValueError(f"{name}:{node.lineno}: a relative import; this project's are absolute")
    return node.module or ""


def _module_of(target: str, known: set[str]) -> str | None:
    """The module a dotted name lies in, "minimask.boxes" for "minimask.boxes.area"."""
    while target and target not in known:
        target = target.rpartition(".")[0]
    return target or None


def circles(imports: Iterable[Import]) -> list[list[str]]:
    """Groups of modules that import each other, however long the way round; sorted.

    Two modules are in one group if each can be reached from the other: the strongly connected
    components with more than one module (Tarjan's algorithm).
    """
    graph: dict[str, set[str]] = {}
    for edge in imports:
        graph.setdefault(edge.importer, set()).add(edge.imported)
        graph.setdefault(edge.imported, set())
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in number:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return sorted(groups)


def main() -> None:
    """Print the graph, or one module's place in it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("module", nargs="?", help="for example minimask.models.rpn")
    module = parser.parse_args().module
    imports = read_imports()
    if module is not None:
        if module not in find_modules():
            parser.error(f"there is no module {module!r}")
        for edge in imports:
            if module in (edge.importer, edge.imported):
                print(edge)
        return
    for group in circles(imports):
        print("a circle:", ", ".join(group))
        for edge in imports:
            if edge.importer in group and edge.imported in group:
                print("   ", edge)
    print(f"{len(find_modules())} modules, {len(imports)} imports, {len(circles(imports))} circles")


if __name__ == "__main__":
    main()
