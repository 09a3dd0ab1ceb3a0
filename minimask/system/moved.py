"""Old import paths of modules that moved: `from minimask.watch import stage` goes on working.

An old name is the very module of the new one, so classes are the same whichever path they came by.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

NEW_NAME = {
    "minimask.anomaly": "minimask.autograd.anomaly",
    "minimask.arrays": "minimask.autograd.arrays",
    "minimask.backpropagation": "minimask.autograd.backward",
    "minimask.blas": "minimask.system.blas",
    "minimask.cli": "minimask.tools.cli",
    "minimask.device": "minimask.system.device",
    "minimask.environment": "minimask.system.environment",
    "minimask.files": "minimask.system.files",
    "minimask.functional.regions": "minimask.functional.roi_ops",
    "minimask.graph": "minimask.autograd.graph",
    "minimask.kernel_lab": "minimask.tools.kernel_lab",
    "minimask.models.resnet": "minimask.models.bodies.resnet",
    "minimask.ops": "minimask.autograd.ops",
    "minimask.profile": "minimask.tools.profile",
    "minimask.runtime": "minimask.system.runtime",
    "minimask.testing": "minimask.tools.testing",
    "minimask.textbook": "minimask.tools.textbook",
    "minimask.watch": "minimask.autograd.hooks",
}


def new_name(name: str) -> str | None:
    """Where the module of an old name is now; None if it never moved."""
    if not name.startswith("minimask."):
        return None
    for old, new in NEW_NAME.items():
        if name == old or name.startswith(old + "."):
            return new + name[len(old) :]
    return None


class _Redirect(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a moved module by its old name and hands out the module itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        new = new_name(fullname)
        return None if new is None else importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = new_name(spec.name)
        assert new is not None
        module = importlib.import_module(new)
        # The import system is about to write the old name's spec into the module: keep its own.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        old = module.__spec__
        assert old is not None
        module.__spec__ = old.loader_state


def install() -> None:
    """Let the import system know the old names; once is enough."""
    if not any(isinstance(finder, _Redirect) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Redirect())  # before the search of a moved package's own folder
