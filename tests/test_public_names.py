"""What Tab offers: every package lists its public names before they are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

PACKAGES = ("minimask", "minimask.data", "minimask.train", "minimask.models", "minimask.draw")
PACKAGES += ("minimask.evaluate", "minimask.weights", "minimask.nn", "minimask.autograd")


@pytest.mark.parametrize("package", ["minimask", "minimask.data", "minimask.train"])
def test_lazy_packages_list_their_names_in_a_fresh_process(package) -> None:
    code = (
        f"import importlib; m = importlib.import_module({package!r}); "
        "assert set(m.__all__) <= set(dir(m)), set(m.__all__) - set(dir(m)); "
        "assert all(hasattr(m, name) for name in m.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_all_packages_list_their_names(package) -> None:
    module = __import__(package, fromlist=["_"])
    assert set(getattr(module, "__all__", ())) <= set(dir(module))
