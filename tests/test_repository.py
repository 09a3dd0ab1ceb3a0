"""Files for forges and editors: they parse, agree with the rest, and name nobody's machine."""

from __future__ import annotations

import os
import pathlib
import re
import tomllib

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]_*.yml"))
FILES = [ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github").rglob("*.yml"))]
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def hooks():
    return {h["id"]: h for repo in read(FILES[0])["repos"] for h in repo["hooks"]}


def test_the_ruff_before_a_commit_is_that_of_the_checks():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pin,) = [d for d in project["project"]["optional-dependencies"]["dev"] if d.startswith("ruff")]
    for name in ("ruff-check", "ruff-format"):
        assert hooks()[name]["additional_dependencies"] == [pin]


def test_commands_of_hooks_name_files_and_tests_that_exist():
    for name, hook in hooks().items():
        for word in hook.get("entry", "").split():
            if word.endswith(".py"):
                assert (ROOT / word).is_file(), f"{name}: {word}"
    tests = (ROOT / "tests" / "test_tutorials.py").read_text(encoding="utf-8")
    (chosen,) = re.findall(r'-k "(.+)"', hooks()["notebooks"]["entry"])
    for word in chosen.split(" or "):
        assert re.search(rf"^def test_\w*{word}", tests, re.MULTILINE), word


def test_committed_notebooks_and_figures_pass_the_guard_of_large_files():
    (limit,) = hooks()["check-added-large-files"]["args"]
    most = int(limit.removeprefix("--maxkb=")) * 1024
    for path in (ROOT / "tutorials").glob("*.ipynb"):
        assert path.stat().st_size <= most, path.name


def test_the_workflow_runs_what_every_change_must_pass():
    workflow = read(ROOT / ".github" / "workflows" / "ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert ".ci/run" in runs and os.access(ROOT / ".ci" / "run", os.X_OK)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f">={min(job['strategy']['matrix']['python'])}" == project["requires-python"]
    for step in job["steps"]:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1"))


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_the_forge_takes_and_asks_for_the_doctor(form):
    content = read(form)
    assert {"name", "description", "body"} <= content.keys()
    ids = [part["id"] for part in content["body"]]
    assert len(set(ids)) == len(ids) and {p["type"] for p in content["body"]} <= KINDS
    assert all(part["attributes"]["label"] for part in content["body"])
    (doctor,) = [part for part in content["body"] if part["id"] == "doctor"]
    assert "minimask doctor" in doctor["attributes"]["label"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_private_machine_is_named(path):
    text = path.read_text(encoding="utf-8")
    assert read(path)
    assert not re.search(r"/(home|root|Users|work|tmp)/|localhost|\b\d+\.\d+\.\d+\.\d+\b", text)
    assert "secrets." not in text and set(re.findall(r"https?://([^/\s]+)", text)) <= {"github.com"}
