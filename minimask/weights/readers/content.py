"""Which kind a file is, from its first bytes: its name says nothing about what is in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import IO

from minimask.weights.readers.zip_directory import Member, read_directory

HEAD = 512
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
PICKLE = re.compile(rb"\x80[\x02-\x05]|\((dp?|lp?|ip?)?\d*\r?\n|ccopy_reg\n|ccollections\n|\]|\}")
KNOWN = "safetensors, .npz, .pth or .pt of torch, .pkl of arrays, .h5 of Keras"
IMAGES = {
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image",
    b"BM": "a BMP image", b"II*\0": "a TIFF image", b"MM\0*": "a TIFF image",
}  # fmt: skip
OTHERS = {
    b"\x1f\x8b": "compressed by gzip; unpack it with gunzip",
    b"BZh": "compressed by bzip2; unpack it with bunzip2",
    b"\xfd7zXZ": "compressed by xz; unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it with unzstd",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"%PDF": "a PDF document",
    b"\x93NUMPY": "a single array (.npy); expected an archive of named arrays (.npz)",
    b"GGUF": "a GGUF file of a language model",
    b"\x7fELF": "a program",
    b"MZ": "a program of Windows",
}
GIT_LFS = b"version https://git-lfs"
NAMED = "is where the weights should be"


def kind_of(path: Path) -> str:
    """The container of a file: "safetensors", "npz", "torch", "pickle" or "hdf5".

    Raises:
        ValueError: another kind, which is named as far as it is known.
    """
    size = path.stat().st_size
    if size == 0:
        raise ValueError("empty (0 bytes); download or save it again")
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head[:4] in ZIP:
            return _kind_of_zip(file)
        if _is_tar(head, file):
            raise ValueError(
                "a tar archive: unpack it, or where it is of torch itself, the tar layout of torch "
                "before 0.1.10 is not read, so save it again with torch"
            )
    if head.startswith(HDF5):
        return "hdf5"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        return "safetensors"
    other = _other(head, size)
    if other is not None:
        raise ValueError(other)
    if PICKLE.match(head):
        return "pickle"
    raise ValueError(f"no file of weights that is known here; expected {KNOWN}")


def _other(head: bytes, size: int) -> str | None:
    """What a file is that is none of weights; None: not known."""
    for start, words in IMAGES.items():
        if head.startswith(start):
            return f"{words}; expected a file of weights"
    for start, words in OTHERS.items():
        if head.startswith(start):
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image; expected a file of weights"
    if head.startswith(GIT_LFS):
        return "a git-lfs pointer, which only names the file: run git lfs pull"
    if _is_onnx(head):
        return "an ONNX network, which is not read; save the weights of the network it came from"
    return _text(head, size)


def _text(head: bytes, size: int) -> str | None:
    """What kind of text a file is; None: it is none, or a pickle in text."""
    bare = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = bare[:200].lower()
    if lower.startswith((b"<!doctype html", b"<html")) or b"<html" in lower:
        found = re.search(rb"\b(40[0-9]|50[0-9])\b", head)
        code = f" ({found[1].decode()})" if found else ""
        return f"a web page{code} {NAMED}: open the address in a browser and download the file"
    if lower.startswith((b"<?xml", b"<error>")):
        code_found = re.search(rb"<Code>(\w{1,60})</Code>", head)
        code = f" ({code_found[1].decode()})" if code_found else ""
        if code or b"<error>" in lower:
            return f"an error of a file server, S3{code}, {NAMED}: check the address"
        return f"an XML text; expected a file of weights, {KNOWN}"
    if bare[:1] in (b"{", b"[") and _is_text(head) and size > 1:
        return "a JSON text; expected a file of weights"
    if PICKLE.match(head):
        return None
    return f"plain text; expected a file of weights, {KNOWN}" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether all of it can be shown."""
    try:
        text = head[: HEAD - 4].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\r\n\t" for c in text)


def _is_onnx(head: bytes) -> bool:
    """A protobuf message that begins with a small version and the name of its maker."""
    known = (b"pytorch", b"onnx", b"tf2onnx", b"keras2onnx", b"skl2onnx", b"paddle")
    maker = head[4 : 4 + head[3]].lower() if len(head) > 4 else b""
    return head[:1] == b"\x08" and head[2:3] == b"\x12" and maker.startswith(known)


def _is_tar(head: bytes, file: IO[bytes]) -> bool:
    """Whether it begins as a tar archive does, without trying to unpack anything."""
    return head[257:262] == b"ustar"


def _kind_of_zip(file: IO[bytes]) -> str:
    """What the members of a zip archive say that it is."""
    file.seek(0, os.SEEK_SET)
    members = read_directory(file)
    last = {name.rpartition("/")[2] for name in members}
    if "constants.pkl" in last and any("/code/" in f"/{name}" for name in members):
        raise ValueError(
            "TorchScript, a program with its weights, which is not run; save the state dict of the "
            "network it was made from: torch.save(model.state_dict(), path)"
        )
    if any("/models/" in f"/{n}" or "archive_format" in n for n in members) or (
        "serialized_exported_program.json" in last
    ):
        raise ValueError(
            "an exported program of torch (.pt2), which is not read; save the state dict of the "
            "network it was made from: torch.save(model.state_dict(), path)"
        )
    if "model.weights.h5" in last:
        raise ValueError("a .keras archive; save its weights: model.save_weights('weights.h5')")
    if "data.pkl" in last:
        return "torch"
    if members and all(name.endswith(".npy") for name in members):
        return "npz"
    raise ValueError(_other_zip(members))


def _other_zip(members: dict[str, Member]) -> str:
    names = set(members)
    if "[Content_Types].xml" in names:
        return "an Office document; expected a file of weights"
    inside = [n for n in names if n.endswith((".pth", ".pt", ".pkl", ".h5", ".safetensors"))]
    if inside:
        from minimask.weights.readers.contents import listed

        return f"a zip archive with {listed(sorted(inside))} in it; unpack it first"
    return f"a zip archive, but not of weights; expected {KNOWN}"
