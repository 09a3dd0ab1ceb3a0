"""The course's chapters: every notebook is its source, executed; and its form is the course's."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import nbformat
import pytest

import minimask
from minimask.kernels.host_shim import build as shim

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tutorials"
CHAPTERS = ("01_roi_pool_and_roi_align", "02_mask_rcnn_step_by_step", "03_a_kernel_without_a_gpu")
MOST_CELLS = 40
MOST_WORDS = 120
MOST_BYTES = 1_000_000
needs_compiler = pytest.mark.skipif(bool(shim.why_not()), reason=f"{shim.why_not()}")
RUN = [*CHAPTERS[:2], pytest.param(CHAPTERS[2], marks=needs_compiler)]


@pytest.fixture(scope="module")
def builder():
    """tutorials/build.py, which is a script and no module of a package."""
    spec = importlib.util.spec_from_file_location("tutorials_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(chapter):
    return nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4)


def contents(notebook):
    """What a chapter says, without what it printed."""
    return [(cell.cell_type, cell.source, cell.id) for cell in notebook.cells]


def kinds(notebook):
    """For each code cell which sorts of output it has: text, picture, ..."""
    return [
        {kind for output in cell.outputs for kind in output.get("data", {"text": ""})}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def texts(notebook):
    """Everything in the outputs that can be read, pictures left out."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            for kind, value in output.get("data", {}).items():
                if not kind.startswith("image/"):
                    yield re.sub(r"data:[a-z/+]+;base64,[\w+/=]+", "", str(value))


def test_all_chapters_are_there(builder):
    assert [source.stem for source in builder.chapters()] == list(CHAPTERS)
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(CHAPTERS)
    assert sorted(path.stem for path in (FOLDER / "solutions").glob("*.py")) == list(CHAPTERS)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_notebook_is_that_of_the_source(builder, chapter):
    notebook, source = committed(chapter), builder.read(FOLDER / f"{chapter}.py")
    again = f"they differ: python tutorials/build.py {chapter[:2]}"
    assert contents(notebook) == contents(source), again
    assert json.loads(json.dumps(notebook.metadata)) == builder.METADATA, again


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_notebook_has_been_executed(chapter):
    notebook = committed(chapter)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(found) for found in kinds(notebook)) > len(code) / 2
    assert any("image/png" in found for found in kinds(notebook))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_notebook_is_small_and_says_nothing_of_who_made_it(chapter):
    assert (FOLDER / f"{chapter}.ipynb").stat().st_size < MOST_BYTES
    for text in texts(committed(chapter)):
        for folder in (str(ROOT), str(pathlib.Path.home()) + "/", "/home/", "/Users/", "/tmp/"):
            assert folder not in text, f"{folder} in: {text[:300]}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_the_form_of_the_course(builder, chapter):
    cells = builder.read(FOLDER / f"{chapter}.py").cells
    assert len(cells) <= MOST_CELLS
    assert cells[0].source.startswith(f"# {chapter[:2]} · ")
    assert "**Needs**" in cells[0].source
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    assert len([line for line in first.splitlines() if line]) <= 6
    assert first.endswith("mm.hello()")
    for cell in cells:
        if cell.cell_type == "markdown":
            words = len(cell.source.split())
            assert words <= MOST_WORDS, f"{words} words: {cell.source[:60]}"
    assert f"solutions/{chapter}.py" in cells[-1].source
    assert "gradcheck" in "".join(cell.source for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("chapter", RUN)
def test_a_chapter_runs_and_shows_what_the_notebook_shows(builder, chapter):
    executed = builder.execute(builder.read(FOLDER / f"{chapter}.py"))
    again = f"outputs are missing: python tutorials/build.py {chapter[:2]}"
    assert kinds(committed(chapter)) == kinds(executed), again


@pytest.mark.slow
@pytest.mark.parametrize("chapter", RUN)
def test_the_solutions_solve(chapter):
    command = [sys.executable, FOLDER / "solutions" / f"{chapter}.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_outputs_are_kept_only_while_the_code_is_the_same(builder, tmp_path):
    source = tmp_path / "09_example.py"
    source.write_text("# %% [markdown]\n# Words\n\n# %%\nprint(6 * 7)\n")
    with pytest.raises(ValueError, match="leave out --keep"):
        builder.build(source, keep=True)
    notebook = builder.read(source)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="42\n")]
    notebook.cells[1].execution_count = 1
    source.with_suffix(".ipynb").write_text(nbformat.writes(notebook))

    source.write_text("# %% [markdown]\n# Better words\n\n# %%\nprint(6 * 7)\n")
    kept = nbformat.read(builder.build(source, keep=True), as_version=4)
    assert kept.cells[0].source == "Better words"
    assert kept.cells[1].outputs[0].text == "42\n"

    source.write_text("# %% [markdown]\n# Better words\n\n# %%\nprint(6 * 8)\n")
    with pytest.raises(ValueError, match="leave out --keep"):
        builder.build(source, keep=True)


def test_a_chapter_that_is_not_there_is_named(builder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["build.py", "77"])
    with pytest.raises(SystemExit) as stopped:
        builder.main()
    assert stopped.value.code == 2
    assert "no chapter '77'; there is 01_roi_pool" in capsys.readouterr().err


def test_hello_says_where_gpu_kernels_run(capsys, monkeypatch):
    from minimask.system import environment

    minimask.hello()
    versions, _, kernels = capsys.readouterr().out.splitlines()
    assert versions.startswith(f"minimask {minimask.__version__}, Python 3.")
    assert kernels.startswith("GPU kernels: ")

    monkeypatch.setattr(environment, "cuda_devices", lambda: ([], "nobody built one in"))
    monkeypatch.setattr(shim, "why_not", lambda: "g++ is not here")
    minimask.hello()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "GPU kernels: not at all: g++ is not here; no GPU here: nobody built one in"

    monkeypatch.setattr(environment, "cuda_devices", lambda: (["H1, 8 GiB, capability 9"], ""))
    monkeypatch.setattr(shim, "why_not", lambda: None)
    minimask.hello()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("GPU kernels: on H1 with CuPy arrays; with NumPy arrays on this CPU")
