"""Fetch a published file over https: with progress, resumed where it was cut, checked, or not kept.

The standard library's urllib is enough for this: one GET with a Range, redirects looked at, a hash
of what arrives.  A library would bring its own cache and its own idea of resuming.

What has arrived is kept beside the file as `NAME.part`; the name itself appears only once the
whole file is there and is the right one.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from minimask.system.files import flush_folder
from minimask.weights.published import Published

BLOCK = 1 << 18  # bytes
TRIES = 5  # connections that bring nothing new, one after the other
SECONDS = 30.0  # without a byte
LOCAL = ("localhost", "127.0.0.1", "::1")
Progress = Callable[[int, int | None], None]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects that stay encrypted."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Where to go on; raises unless that is https too."""
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(address: str) -> None:
    """Refuse addresses that are not https; plain http is for a server on this machine.

    Raises:
        ValueError: such an address.
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
        raise ValueError(f"{address}: only https is fetched from, and this is {parts.scheme!r}")


def fetch(
    entry: Published, folder: str | os.PathLike[str] = ".", progress: Progress | None = None
) -> Path:
    """Fetch a file into a folder, or go on where an earlier try was cut.

    Args:
        entry: what to fetch.
        folder: where it goes; made if it is not there.
        progress: called with the bytes that are there and how many there will be (None: unknown).

    Returns:
        The file. One that is there already is checked, and not fetched again.

    Raises:
        FileExistsError: another file of that name is there.
        ValueError: what arrived is not that file, and was not kept; or the address is not https.
        OSError: no network, no such file on the server, a full disk.
        KeyboardInterrupt: stopped; says how to go on.
    """
    check_address(entry.address)
    target = Path(folder) / entry.file
    if target.exists():
        problem = _problem(entry, target)
        if problem:
            raise FileExistsError(
                f"{target}: is there already, but {problem}; move it away, or choose another --out"
            )
        return target
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive_all(entry, part, progress or (lambda done, whole: None))
    except KeyboardInterrupt:
        kept = part.stat().st_size if part.is_file() else 0
        raise KeyboardInterrupt(
            f"stopped; {kept} bytes are in {part}: the same command goes on from there"
        ) from None
    except OSError as error:
        raise _in_words(error, entry, part) from None
    problem = _problem(entry, part)
    if problem:
        part.unlink()
        raise ValueError(
            f"{entry.address}: {problem}; it was not kept: try again, or look at the address"
        )
    os.replace(part, target)
    flush_folder(target.parent)
    return target


def _receive_all(entry: Published, part: Path, progress: Progress) -> None:
    """Fill the part file; connections that are cut are taken up again while they bring anything."""
    tries, most = 0, part.stat().st_size if part.is_file() else 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _receive(entry, part, before, progress):
                return
            problem: Exception = ConnectionError("the connection was cut")
        except urllib.error.HTTPError:
            raise
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            ConnectionError,
            TimeoutError,
        ) as error:
            problem = error
        arrived = part.stat().st_size if part.is_file() else 0
        # more than ever before: a server without ranges that cuts would else be asked for ever
        tries = 0 if arrived > most else tries + 1
        most = max(most, arrived)
        if tries >= TRIES or (arrived == 0 and isinstance(problem, urllib.error.URLError)):
            raise problem if isinstance(problem, OSError) else ConnectionError(str(problem))


def _receive(entry: Published, part: Path, start: int, progress: Progress) -> bool:
    """One connection: whether the file was whole at its end."""
    request = urllib.request.Request(entry.address, headers={"User-Agent": "minimask"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = urllib.request.build_opener(_Redirects).open(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            if error.headers.get("Content-Range", "") == f"bytes */{start}":
                return True  # it was all there
            part.unlink()  # longer than what the server has: not a part of it
            return False
        raise
    with answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ConnectionError("the server answered with another part than was asked for")
        done = start if resumed else 0
        length = answer.headers.get("Content-Length")
        whole = done + int(length) if length is not None and length.isdecimal() else entry.size
        with part.open("ab" if resumed else "wb") as file:
            for block in _blocks(answer):
                file.write(block)
                done += len(block)
                progress(done, whole)
            file.flush()
            os.fsync(file.fileno())
    return whole is None or done >= whole


def _blocks(answer: IO[bytes]) -> Iterator[bytes]:
    """What arrives; a connection that is cut ends it, with what had arrived."""
    while True:
        try:
            block = answer.read(BLOCK)
        except http.client.IncompleteRead as error:
            block = error.partial
            if block:
                yield block
            return
        except (ConnectionError, TimeoutError):
            return
        if not block:
            return
        yield block


def _problem(entry: Published, path: Path) -> str | None:
    """Why a file is not the one that was asked for; None if it is, as far as that is known."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"it has {size} bytes instead of {entry.size}"
    if entry.hashed is not None and entry.digest is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, entry.hashed).hexdigest()
        if not found.startswith(entry.digest):
            name = {"sha256": "SHA-256", "md5": "MD5"}[entry.hashed]
            return (
                f"its {name} begins with {found[: max(8, len(entry.digest))]}, not {entry.digest}"
            )
    return None


def checked(entry: Published) -> str:
    """What a fetched file was compared with, as a part of a sentence."""
    known = [f"size {entry.size}"] if entry.size is not None else []
    if entry.digest is not None:
        name = {"sha256": "SHA-256", "md5": "MD5"}[entry.hashed or "sha256"]
        whole = len(entry.digest) == (64 if entry.hashed == "sha256" else 32)
        known.append(f"{name} {entry.digest}" if whole else f"{name} begins with {entry.digest}")
    return ", ".join(known) or "nothing to compare it with is known: neither size nor hash"


def _in_words(error: OSError, entry: Published, part: Path) -> OSError:
    """An error of network or disk as a sentence; nothing empty is left behind."""
    kept = part.stat().st_size if part.is_file() else 0
    if not kept:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    goes_on = (
        f"; {kept} bytes are in {part}, and the same command goes on from there" if kept else ""
    )
    if isinstance(error, urllib.error.HTTPError):
        text = f"the server answers {error.code} {error.reason}"
        gone = error.code in (404, 410)
        return OSError(
            f"{entry.address}: {text}{': the file is not there any more' * gone}{goes_on}"
        )
    if isinstance(error, urllib.error.URLError):
        reason = getattr(error.reason, "strerror", None) or error.reason
        return OSError(
            f"{entry.address}: cannot be reached ({reason}): is there a network?{goes_on}"
        )
    if isinstance(error, ConnectionError | TimeoutError):
        return OSError(f"{entry.address}: the connection breaks again and again ({error}){goes_on}")
    return OSError(f"{error.filename or part}: {error.strerror or error}{goes_on}")
