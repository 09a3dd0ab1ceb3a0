"""Cells: one row of a table trained with one seed, kept as a file named after its settings.

cells/<hash>.json   a finished cell, written whole
cells/<hash>.lock   who measures it right now
cells/<hash>.run    the folder of its training, removed when it is finished
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimask._version import __version__
from minimask.system.files import write_whole

FORMAT = 1  # of a cell's file and of what its settings mean; raised when old ones no longer count
FOLDER = "cells"


@dataclass(frozen=True)
class Cell:
    """What is to be measured.

    Attributes:
        table: key of the table that asks for it.
        row: key of the row.
        seed: of data, weights and training.
        settings: everything the result depends on, as JSON can hold it.
        evaluation: which of the cell's evaluations the row is about.
    """

    table: str
    row: str
    seed: int
    settings: Mapping[str, Any]
    evaluation: str = "detections"

    @property
    def name(self) -> str:
        """A hash of the settings: other settings are another cell, equal ones are measured once."""
        content = json.dumps({"format": FORMAT, **self.settings}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Claim:
    """Who measures a cell."""

    process: int
    host: str
    since: float  # seconds since 1970

    @classmethod
    def mine(cls) -> Claim:
        """This process's."""
        return cls(os.getpid(), socket.gethostname(), time.time())

    @property
    def ended(self) -> bool:
        """Whether its process has surely ended: it was on this machine and is there no longer."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it runs, as somebody else
            return False
        return False

    def __str__(self) -> str:
        minutes = (time.time() - self.since) / 60
        return f"process {self.process} on {self.host} for {minutes:.0f} min"


class Store:
    """The cells in a folder, for any number of processes at the same time."""

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """The finished cell's content; None if it is not finished.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        path = self._path(cell, "json")
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            if not isinstance(content["results"], dict):
                raise ValueError("no results")
            return content
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); delete it and it is measured again"
            ) from None

    def finished(self, cell: Cell) -> bool:
        """Whether the cell's file is there."""
        return self._path(cell, "json").is_file()

    def write(self, cell: Cell, results: Mapping[str, Any], seconds: float) -> None:
        """Keep a finished cell."""
        content = {
            "minimask": __version__,
            "table": cell.table,
            "row": cell.row,
            "seed": cell.seed,
            "settings": cell.settings,
            "results": results,
            "seconds": round(seconds, 1),
        }
        write_whole(self._path(cell, "json"), (json.dumps(content, indent=1) + "\n").encode())

    def run_folder(self, cell: Cell) -> Path:
        """Where its training keeps checkpoints."""
        return self._path(cell, "run")

    def claimed_by(self, cell: Cell) -> Claim | None:
        """Who measures it; None: nobody."""
        try:
            return Claim(**json.loads(self._path(cell, "lock").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):  # its owner was killed as it wrote it, or is writing it
            return Claim(0, "an unknown machine", self._path(cell, "lock").stat().st_mtime)

    @contextlib.contextmanager
    def claim(self, cell: Cell, take_over: bool = False) -> Iterator[bool]:
        """Inside the block the cell is this process's, if the block is given True.

        Args:
            cell: that nobody else should measure now.
            take_over: even where another process has claimed it.
        """
        path = self._path(cell, "lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            claim = self.claimed_by(cell)
            if claim is not None and (claim.ended or take_over):
                path.unlink()
            mine = Claim.mine()
            taken = _create(path, mine)
        try:
            yield taken
        finally:
            if taken and self.claimed_by(cell) == mine:  # nobody has taken it over
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time: two that find the same dead claim must not both replace it."""
        try:
            import fcntl
        except ImportError:  # a system without such locks
            yield
            return
        descriptor = os.open(self.folder / ".claims", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, cell: Cell, ending: str) -> Path:
        return self.folder / f"{cell.name}.{ending}"


def _create(path: Path, claim: Claim) -> bool:
    """Write a claim where there is none; whether that worked."""
    try:
        with open(path, "x") as file:
            json.dump(vars(claim), file)
    except FileExistsError:
        return False
    return True
