"""Execute the chapters and write their notebooks: `python tutorials/build.py [CHAPTER ...]`.

A chapter is a `.py` file in jupytext's percent format, which is edited, and the `.ipynb` made from
it here, which is read.  The notebook is the same after every build but for what its cells print.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import time

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode

from minimask.system.files import write_whole

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 600  # for one cell; a chapter takes under two minutes on two idle cores
METADATA = {
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WIDGET = "application/vnd.jupyter.widget-view+json"


def chapters() -> list[pathlib.Path]:
    """The sources of all chapters, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def read(source: pathlib.Path) -> NotebookNode:
    """A chapter's cells without outputs; the ids of the cells count them."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number:02}"
        cell.metadata = nbformat.from_dict({})
    return notebook


def execute(notebook: NotebookNode, seconds: int = SECONDS) -> NotebookNode:
    """Run every cell in a fresh kernel of this Python, in the tutorials' folder.

    Args:
        notebook: from `read`; the outputs are put into it.
        seconds: for one cell.

    Raises:
        CellExecutionError: a cell raised; the message shows cell and traceback.
        CellTimeoutError: a cell took too long.
    """
    client = NotebookClient(
        notebook,
        timeout=seconds,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=40"],  # not that its messages go through this machine
    )
    # progress bars and widgets are for people; what is kept should not depend on the terminal
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    client.execute(env=environment)
    notebook.metadata = nbformat.from_dict(METADATA)  # the kernel has added its version
    for cell in notebook.cells:
        if cell.cell_type == "code":  # a widget without its kernel is an empty place
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", ())]
    return notebook


def keep_outputs(notebook: NotebookNode, old: pathlib.Path) -> NotebookNode:
    """Take the outputs of the notebook there is, where only prose has changed.

    Raises:
        ValueError: code has changed too, or there is no notebook yet.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    before: list[NotebookNode] = []
    if old.is_file():
        cells = nbformat.read(old, as_version=4).cells
        before = [cell for cell in cells if cell.cell_type == "code"]
    if [cell.source for cell in code] != [cell.source for cell in before]:
        raise ValueError(f"{old.name}: its code is not that of the source; leave out --keep")
    for cell, executed in zip(code, before, strict=True):
        cell.outputs, cell.execution_count = executed.outputs, executed.execution_count
    return notebook


def build(source: pathlib.Path, *, keep: bool = False) -> pathlib.Path:
    """Write a chapter's notebook beside it, executed, or with the outputs there are."""
    notebook, target = read(source), source.with_suffix(".ipynb")
    notebook = keep_outputs(notebook, target) if keep else execute(notebook)
    nbformat.validate(notebook)
    write_whole(target, nbformat.writes(notebook).encode())
    return target


def main() -> None:
    """Build the chapters named on the command line, all by default."""
    parser = argparse.ArgumentParser(description="Execute chapters and write their notebooks.")
    parser.add_argument("chapter", nargs="*", help="how its name begins, e.g. 03; default: all")
    parser.add_argument("--keep", action="store_true", help="only prose has changed: keep outputs")
    arguments = parser.parse_args()
    wanted = arguments.chapter
    for name in wanted:
        if not any(source.name.startswith(name) for source in chapters()):
            names = ", ".join(source.stem for source in chapters())
            parser.error(f"no chapter {name!r}; there is {names}")
    for source in chapters():
        if not wanted or source.name.startswith(tuple(wanted)):
            began = time.perf_counter()
            try:
                target = build(source, keep=arguments.keep)
            except ValueError as error:
                parser.error(str(error))
            except (CellExecutionError, CellTimeoutError) as error:
                sys.exit(f"{source.name}: {error}")
            seconds, size = time.perf_counter() - began, target.stat().st_size / 1000
            sys.stdout.write(f"{target.name}: {seconds:.0f} s, {size:.0f} kB\n")


if __name__ == "__main__":
    main()
