"""Draws the map of `docs/architecture.md` and brings its table and its line numbers up to date.

    python docs/make_architecture.py            # write
    python docs/make_architecture.py --check    # only say what is out of date; exit code 1

A place in the code is a link whose title is the name of what stands there:

    [`RPN.forward` rpn.py:56](../minimask/models/rpn.py#L56 "minimask.models.rpn.RPN.forward")

Text, file and line are filled in from the name, so that they cannot be wrong: a name that is gone
is an error.  A new link may be written as [](? "minimask.boxes.area").
"""

from __future__ import annotations

import argparse
import ast
import pathlib
import re
import sys

from draw_map import draw_map
from import_graph import ROOT, Import, find_modules, read_imports
from rooms import ROOMS, USE, room_of

PAGE = ROOT / "docs" / "architecture.md"
MAP = ROOT / "docs" / "figures" / "architecture.svg"
PLACE = re.compile(r'\[[^\]]*\]\([^)\s]* "(minimask[\w.]*)"\)')
TABLE = re.compile(r"(<!-- rooms: [^>]*-->\n).*?(<!-- end of rooms -->)", re.DOTALL)


def find_symbol(name: str, modules: dict[str, pathlib.Path]) -> tuple[pathlib.Path, int]:
    """File and line of a class, function, method or constant, found in the source.

    Raises:
        LookupError: there is nothing of that name.
    """
    module = name
    while module not in modules:
        module = module.rpartition(".")[0]
        if not module:
            raise LookupError(f"{name}: no such module")
    path = modules[module]
    body, line = ast.parse(path.read_text(encoding="utf-8")).body, 1
    for part in name[len(module) + 1 :].split(".") if name != module else ():
        for statement in body:
            if part in _names(statement):
                body, line = getattr(statement, "body", []), statement.lineno
                break
        else:
            raise LookupError(f"{name}: no {part!r} in {path.relative_to(ROOT)}")
    return path, line


def _names(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return {statement.target.id}
    return set()


def with_places(text: str, modules: dict[str, pathlib.Path]) -> str:
    """The page with the file and line of every place in the code.

    Raises:
        LookupError: names that are nowhere in the code, all of them.
    """
    gone = []

    def place(match: re.Match[str]) -> str:
        name = match[1]
        try:
            path, line = find_symbol(name, modules)
        except LookupError as error:
            gone.append(str(error))
            return match[0]
        last = [part for part in name.split(".")[-2:-1] if part[0].isupper()] + [
            name.split(".")[-1]
        ]
        text = f"`{'.'.join(last)}` {path.name}:{line}"
        return f'[{text}](../{path.relative_to(ROOT)}#L{line} "{name}")'

    text = PLACE.sub(place, text)
    if gone:
        raise LookupError("docs/architecture.md names what is not there:\n" + "\n".join(gone))
    return text


def rooms_table(imports: list[Import]) -> str:
    """Who may import whom, as Markdown; what `docs/rooms.py` allows and nobody does is in ()."""
    used = {(room_of(e.importer).name, room_of(e.imported).name) for e in imports}
    rows = ["| room | modules | may import |", "|---|---|---|"]
    for room in ROOMS:
        modules = ", ".join(f"`{name}`" for name in room.modules)
        low = USE if set(USE) <= set(room.may) else ()
        may = [f"({n})" * ((room.name, n) not in used) or n for n in room.may if n not in low]
        may += ["everything from train down"] if low else []
        rows.append(f"| **{room.name}** | {modules} | {', '.join(may) or 'nothing of ours'} |")
    return "\n".join(rows) + "\n"


def with_table(text: str, imports: list[Import]) -> str:
    """The page with the table of rooms.

    Raises:
        LookupError: the page has no place for it.
    """
    if not TABLE.search(text):
        raise LookupError("docs/architecture.md: the comments around the table of rooms are gone")
    return TABLE.sub(lambda match: match[1] + rooms_table(imports) + match[2], text)


def new_files() -> dict[pathlib.Path, str]:
    """What page and map should hold now.

    Raises:
        LookupError: the page names something that is not in the code.
    """
    imports = read_imports()
    page = with_table(PAGE.read_text(encoding="utf-8"), imports)
    return {MAP: draw_map(imports), PAGE: with_places(page, find_modules())}


def main() -> None:
    """Write page and map, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    try:
        files = new_files()
    except LookupError as error:
        sys.exit(str(error))
    old = [p for p, t in files.items() if not p.exists() or p.read_text(encoding="utf-8") != t]
    for path in old:
        print(path.relative_to(ROOT), "is out of date" if check else "written")
        if not check:
            path.write_text(files[path], encoding="utf-8")
    sys.exit(bool(check and old))


if __name__ == "__main__":
    main()
