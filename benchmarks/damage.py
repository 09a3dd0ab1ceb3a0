"""Ways to damage a file, for damaged_files.py: each gives other bytes, by a random generator."""

from __future__ import annotations

import io
import json
import pathlib
import re
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from PIL import Image

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, "", "x", "7", " 1 ", "é\u0000", -1, 0, 0.5, 1.5, 2, 3, 255, 256),
    *(-1e9, 1e9, 1e18, 1e308, -1e308, 10**30, 2**31, 2**63, -(2**63), 70000, [[]], [None], {"": 0}),
    *(float("nan"), float("inf"), float("-inf"), [1, 2], [[1, 2], [3, 4], [5, 6]], [0] * 50),
    *("/etc/passwd", "../../x.png", "a" * 5000, "\ud800", "NaN", "1e999", "-0"),
)
ODD_TEXT = (
    "",
    "x",
    "-1",
    "nan",
    "inf",
    "1e308",
    "9" * 40,
    "1e-300",
    "'",
    '"',
    ",",
    "é",
    "\0",
    "0x1F",
)
HUGE = (0, 1, 3, 65535, 100_000, 2**31 - 1)

Damage = Callable[[bytes, pathlib.Path, Random], bytes]


def flip(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    changed = bytearray(data or b"0")
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def flip_in_head(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    changed = bytearray(data or b"0")
    for _ in range(random.choice((1, 2, 4))):
        changed[random.randrange(min(64, len(changed)))] = random.randrange(256)
    return bytes(changed)


def cut(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def empty(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    return b""


def hole(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    begin = random.randrange(len(data) + 1)
    return data[:begin] + data[begin + random.randrange(1, 40) :]


def twice(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    begin = random.randrange(len(data) + 1)
    return data[:begin] + data[max(0, begin - random.randrange(1, 200)) :]


def noise(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    begin = random.randrange(len(data) + 1)
    return data[:begin] + random.randbytes(random.randrange(1, 60)) + data[begin:]


def other_encoding(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    kind = random.randrange(5)
    text = data.decode("latin-1")
    if kind == 0:
        return text.encode("utf-16")
    if kind == 1:
        return b"\xef\xbb\xbf" + data
    if kind == 2:
        return data.replace(b"\n", b"\r\n") + b"\0\0"
    return text.encode("utf-32") if kind == 3 else b"\xff\xfe" + data


def swapped(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    others = [p for p in sorted(path.parent.parent.rglob("*")) if p.is_file() and p != path]
    return random.choice(others).read_bytes() if others else b""


def nested(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    depth = random.choice((50, 2000, 100_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>")))
    inner = data if random.random() < 0.5 else b"1"
    return opening * depth + inner + closing * depth


def odd_token(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    """A number or word of a text replaced."""
    tokens = list(re.finditer(rb"[-+.\w/]+", data))
    if not tokens:
        return data + b" x"
    for token in sorted(
        random.sample(tokens, min(len(tokens), random.choice((1, 1, 3)))), key=lambda t: -t.start()
    ):
        new = random.choice(ODD_TEXT).encode()
        data = data[: token.start()] + new + data[token.end() :]
    return data


def odd_line(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    lines = data.split(b"\n")
    i = random.randrange(len(lines))
    kind = random.randrange(4)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines[i] = lines[i] + b"," + lines[i]
    elif kind == 2:
        lines.insert(i, random.choice(lines))
    else:
        lines[i] = lines[i][: len(lines[i]) // 2]
    return b"\n".join(lines)


def odd_json(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    """A value of a JSON file removed, renamed, of another type, huge, doubled or nested."""
    try:
        content = json.loads(data)
    except ValueError:
        return flip(data, path, random)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = _change(content, random)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def _change(content: Any, random: Random) -> Any:
    places: list[tuple[Any, Any]] = []
    stack = [content]
    while stack:
        value = stack.pop()
        keys = (
            list(value)
            if isinstance(value, dict)
            else range(len(value))
            if isinstance(value, list)
            else ()
        )
        for key in keys:
            places.append((value, key))
            stack.append(value[key])
    if not places or random.random() < 0.02:
        return random.choice(ODD_VALUES)
    # few of the places are not coordinates: choose the kind of place first
    named = [place for place in places if isinstance(place[1], str)]
    holder, key = random.choice(named if named and random.random() < 0.7 else places)
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[key + random.choice("_sX")] = holder.pop(key)
    elif kind == 2:
        holder[key] = [holder[key]]
    elif kind == 3 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = random.choice(ODD_VALUES)
    return content


def other_size(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    """A PNG whose head says another size, with the right checksum."""
    if data[:4] != b"\x89PNG" or len(data) < 33:
        return flip_in_head(data, path, random)
    head = bytearray(data[16:29])
    struct.pack_into(">I", head, random.choice((0, 4)), random.choice(HUGE))
    if random.random() < 0.5:
        struct.pack_into(">II", head, 0, random.choice(HUGE), random.choice(HUGE))
    if random.random() < 0.3:
        head[random.choice((8, 9, 12))] = random.randrange(20)
    check = struct.pack(">I", zlib.crc32(b"IHDR" + bytes(head)))
    return data[:16] + bytes(head) + check + data[33:]


def other_picture(data: bytes, path: pathlib.Path, random: Random) -> bytes:
    """Another image in its place: of another mode, size or file format."""
    values = np.random.default_rng(random.randrange(2**32))
    side = random.choice((1, 2, 40, 48, 300))
    mode = random.choice(("L", "1", "RGB", "RGBA", "LA", "P", "CMYK", "I;16", "I", "F"))
    dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode, np.uint8)
    high = {"I;16": 2**16, "I": 2**31, "F": 2**31}.get(mode, 256)
    grey = (values.random((side, random.choice((side, 48)))) * high).astype(dtype)
    if mode == "F" and random.random() < 0.5:
        grey[0, 0] = random.choice((np.nan, np.inf, -1, 1e30))
    picture = Image.fromarray(grey)
    picture = picture if mode in ("I;16", "I", "F") else picture.convert(mode)
    file = io.BytesIO()
    tiff = mode in ("F", "CMYK", "I") or random.random() < 0.3
    picture.save(file, "TIFF" if tiff else "PNG")
    return file.getvalue()


ANY: tuple[Damage, ...] = (
    flip,
    flip_in_head,
    cut,
    empty,
    hole,
    twice,
    noise,
    other_encoding,
    swapped,
)
TEXT: tuple[Damage, ...] = (odd_token, odd_token, odd_token, odd_line, odd_line, nested)
JSON: tuple[Damage, ...] = (odd_json,) * 12
PICTURE: tuple[Damage, ...] = (
    flip,
    flip_in_head,
    other_size,
    other_size,
    other_picture,
    other_picture,
)


def damages(path: pathlib.Path) -> tuple[Damage, ...]:
    """What may be done to a file, the likelier the more often."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return (*ANY, *TEXT, *JSON)
    return (*ANY, *(TEXT if suffix in (".txt", ".csv", ".xml", ".yaml") else PICTURE))
