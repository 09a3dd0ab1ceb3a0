"""Well-known files of weights: where they are, how large, and how to know them.

`files.toml` lists them; nothing is fetched unless `fetch` (minimask/weights/published/fetch.py) is
asked to.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SHORT_HASH = re.compile(r"[-_]([0-9a-f]{6,8})\.\w+$")


@dataclass(frozen=True)
class Published:
    """A file that somebody offers.

    Attributes:
        name: what it is asked for by.
        system: whose it is: "torchvision", "detectron2", "imagenet", "mmdet", "matterport".
        what: network and data in a few words.
        address: of the file.
        size: bytes; None: not known exactly.
        about: bytes as far as the publisher rounds them; None: not known.
        hashed: "sha256" or "md5", whichever `digest` is of; None: no hash is known.
        digest: the whole hash in hexadecimal, or as many of its first digits as are known.
    """

    name: str
    system: str
    what: str
    address: str
    size: int | None = None
    about: int | None = None
    hashed: str | None = None
    digest: str | None = None

    @property
    def file(self) -> str:
        """Its name on the disk."""
        return self.address.rpartition("/")[2]

    @property
    def sha256(self) -> str | None:
        """The whole SHA-256; None where it is not known."""
        return self.digest if self.hashed == "sha256" and len(self.digest or "") == 64 else None

    def as_json(self) -> dict[str, Any]:
        """Everything, None for what is not known."""
        names = ("name", "system", "what", "address", "size", "about", "sha256", "hashed", "digest")
        return {"file": self.file} | {name: getattr(self, name) for name in names}


@functools.cache
def published() -> tuple[Published, ...]:
    """All of them, by system in the order of the list."""
    text = importlib.resources.files(__name__).joinpath("files.toml").read_text("utf-8")
    return tuple(
        _entry(system, about, row)
        for system, about in tomllib.loads(text).items()
        for row in about["files"]
    )


def titles() -> dict[str, str]:
    """What each system's files are called together."""
    text = importlib.resources.files(__name__).joinpath("files.toml").read_text("utf-8")
    return {system: about["title"] for system, about in tomllib.loads(text).items()}


def _entry(system: str, about: dict[str, Any], row: dict[str, Any]) -> Published:
    file = row["file"]
    short = _SHORT_HASH.search(file)
    hashed, digest = None, None
    if "sha256" in row:
        hashed, digest = "sha256", row["sha256"]
    elif short is not None and "name_has" in about:
        hashed, digest = about["name_has"], short[1]
    rounded = round(row["mib"] * 2**20) if "mib" in row else None
    size = row.get("bytes")
    address = about["base"] + file
    return Published(
        row["name"], system, row["what"], address, size, size or rounded, hashed, digest
    )


def choose(words: Sequence[str] = (), system: str | None = None) -> list[Published]:
    """Those of a system that have all the words in their name, file or description.

    Raises:
        ValueError: no such system.
    """
    systems = list(dict.fromkeys(entry.system for entry in published()))
    if system is not None and system not in systems:
        raise ValueError(f"--system: expected one of {', '.join(systems)}, got {system!r}")
    return [
        entry
        for entry in published()
        if system in (None, entry.system)
        and all(word.lower() in f"{entry.name} {entry.file} {entry.what}".lower() for word in words)
    ]


def find(name: str) -> Published:
    """The file of this name: its short name, its file's name, or the end of the short name.

    Raises:
        ValueError: none, or several; the message names some.
    """
    for fits in (
        lambda entry: name in (entry.name, entry.file, entry.address),
        lambda entry: entry.name.lower().rpartition("/")[2] == name.lower(),
    ):
        found = [entry for entry in published() if fits(entry)]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(
                entry.address if name == entry.file else entry.name for entry in found[:4]
            )
            raise ValueError(f"{name}: {len(found)} files are called so; name one of {several}")
    names = [entry.name for entry in published()]
    ends = {entry.rpartition("/")[2]: entry for entry in names}
    close = difflib.get_close_matches(name, ends, n=3)
    hint = f"did you mean {', '.join(ends[end] for end in close)}? " if close else ""
    raise ValueError(f"{name}: not in the list; {hint}`minimask weights list` shows what is")
