"""The pages of docs/how_to work: their code is short, and it runs as it stands there."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from minimask.kernels.host_shim import build

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "how_to"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
MOST_LINES = 15
BLOCK = re.compile(r"^```(\w+)(?: +([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"<!-- needs: (.+?) -->")
NEEDS_COMPILER = "<!-- needs g++ -->"
# Python blocks share their names; a command runs between them, in the same folder.
RUNNER = """
import subprocess, sys
names = {"__name__": "__main__"}
for step in sys.argv[1:]:
    if step.endswith(".py") and " " not in step:
        exec(compile(open(step, encoding="utf-8").read(), step, "exec"), names)
    else:
        subprocess.run(step, shell=True, check=True)
"""


def blocks(text):
    """Language, options and body of each block of code."""
    found = [(language, options or "", body) for language, options, body in BLOCK.findall(text)]
    for language, options, _ in found:
        known = {"python": r"(use|file=[\w/.]+)?", "console": ""}.get(language, r"file=[\w/.]+")
        assert re.fullmatch(known, options), f"a block that nobody runs: ```{language} {options}"
    return found


def lines_to_write(text):
    """Lines of code that the reader of the page writes, without comments and empty lines."""
    bodies = [body for language, o, body in blocks(text) if language != "console" and o != "use"]
    lines = [line.strip() for body in bodies for line in body.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def prepare(text, folder):
    """Lay out the page's files in `folder`; what is to be run, in order."""
    for needed in " ".join(NEEDS.findall(text)).split():
        (folder / needed).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / needed, folder / needed)
    steps = []
    for i, (language, options, body) in enumerate(blocks(text)):
        if options.startswith("file="):
            path = folder / options.removeprefix("file=")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
        elif language == "python":
            (folder / f"block_{i}.py").write_text(body, encoding="utf-8")
            steps.append(f"block_{i}.py")
        else:
            steps += [line[2:] for line in body.splitlines() if line.startswith("$ ")]
    return steps


def run(text, folder):
    """Do what a page says; returns the finished process."""
    programs = folder / "bin"  # `python` and `minimask` are this environment's
    programs.mkdir()
    for name, command in (("python", ""), ("minimask", "-m minimask ")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}"$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
    }
    command = [sys.executable, "-c", RUNNER, *prepare(text, folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_takes_few_lines(page):
    lines = lines_to_write(page.read_text(encoding="utf-8"))
    assert 0 < len(lines) <= MOST_LINES, f"{len(lines)} lines to write"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_does_what_it_says(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    shown = [body for _, options, body in blocks(text) if options == "use"]
    assert shown and "assert" in shown[-1], "the page does not show that it worked"
    if NEEDS_COMPILER in text and build.why_not():
        pytest.skip(build.why_not())
    done = run(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_in_the_list():
    listed = re.findall(r"\((\w+\.md)\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == [page.name for page in PAGES]


PAGE = """<!-- needs: setup.py -->
```python
# a comment
x = 1

```
```python file=mine/a.py
y = 2
```
```console
$ python mine/a.py && minimask --version > version
```
```python use
assert x == 1 and open("version").read().startswith("minimask") and open("setup.py")
```
"""


def test_blocks_are_counted_and_run_in_order(tmp_path):
    assert lines_to_write(PAGE) == ["x = 1", "y = 2"]
    done = run(PAGE, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("x == 1", "x == 2", "AssertionError"),
        ("mine/a.py &&", "mine/b.py &&", "mine/b.py"),
        ("y = 2", "y = (", "SyntaxError"),
    ],
)
def test_a_page_that_does_not_work_is_noticed(tmp_path, old, new, reason):
    done = run(PAGE.replace(old, new), tmp_path)
    assert done.returncode != 0 and reason in done.stderr


def test_a_block_that_would_not_run_is_refused():
    with pytest.raises(AssertionError, match="a block that nobody runs: ```bash"):
        blocks("```bash\nls\n```\n")
