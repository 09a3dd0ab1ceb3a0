"""Every operation has a page, and the ladder on it is the one the code has."""

import importlib
import pathlib

import pytest

from minimask.kernels import OPERATIONS
from minimask.kernels.dispatch import ARRAY_KINDS

KERNELS = pathlib.Path(__file__).resolve().parents[2] / "kernels"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_page_shows_the_ladder_of_the_code(operation):
    variants = importlib.import_module(f"minimask.kernels.{operation}").VARIANTS
    rows = [f"| {name} | {ARRAY_KINDS[v.device]} | {v.idea} |" for name, v in variants.items()]
    page = (KERNELS / operation / "README.md").read_text(encoding="utf-8")
    _, ladder, _ = page.split("<!-- ladder -->")
    assert ladder.strip().splitlines()[2:] == rows


def test_every_folder_is_an_operation():
    folders = {p.name for p in KERNELS.iterdir() if (p / "reference.py").is_file()}
    assert folders == set(OPERATIONS)
