"""Where recordings of other systems are: copies in tests/goldens, the rest beside the checkout."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("MINIMASK_SHARED") or ROOT.parent / "shared")
COPIES = ROOT / "tests" / "goldens"


class Recordings(type(pathlib.Path())):  # type: ignore[misc]
    """A folder of recordings: a test that asks for a file it does not have is skipped."""

    def __truediv__(self, name):
        path = super().__truediv__(name)
        if path.suffix and not path.exists():
            pytest.skip(f"needs the recording {path.name} (MINIMASK_GOLDENS, or {SHARED}/goldens)")
        return path


def all_recordings(sources, folder):
    """A folder with links to the files of all sources; the first source that has a file counts."""
    for source in sources:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            link = folder / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(path)
    return Recordings(folder)
