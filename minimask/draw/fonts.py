"""Fonts for names in any script: what is installed is asked, character by character."""

from __future__ import annotations

import functools
import itertools
import logging
import pathlib
from collections.abc import Iterable
from typing import Any

LOGGER = logging.getLogger("minimask.draw")
DEFAULT = "DejaVu Sans"  # comes with matplotlib
# fonts that say of every character, or of letters under other codes, that they have it
NO_FONTS: tuple[str, ...] = (
    "last resort",
    "lastresort",
    "stixnonunicode",
    "stixsize",
    "cmb10",
    "cmex10",
    "cmmi10",
)
NO_FONTS += ("cmr10", "cmss10", "cmsy10", "cmtt10", "adobe blank", "adobeblank", "blank")
NO_FONTS += ("noto color emoji", "notocoloremoji", "apple color emoji")  # pictures, not outlines
INVISIBLE = ("Cc", "Cf", "Mn", "Zl", "Zp")  # categories of characters that need no glyph
WHERE = "Linux: ~/.local/share/fonts; macOS: ~/Library/Fonts; Windows: open the file, Install"
_said: set[str] = set()


def families(text: str) -> list[str]:
    """Names of fonts for matplotlib that together have all characters of a text.

    The first is matplotlib's own; others follow for what it lacks.  Where nothing has a character,
    `drawable` puts its code in its place.
    """
    return list(dict.fromkeys((DEFAULT, *(_family(file) for c in text if (file := font_of(c))))))


def drawable(text: str) -> str:
    """The text, in one line, with codes such as [82F9] for what no installed font can draw.

    Different texts stay different.  What is missing is said once, with what to do, as a warning of
    the logger `minimask.draw`.
    """
    text = " ".join(text.split())
    missing = dict.fromkeys(c for c in text if not _drawn(c))
    if not missing:
        return text
    _say(missing)
    parts = []
    for lacking, run in itertools.groupby(text, lambda c: c in missing):
        codes = " ".join(f"{ord(c):04X}" for c in (run if lacking else ()))
        parts.append(f"[{codes}]" if lacking else "".join(run))
    return "".join(parts)


def announce(names: Iterable[str]) -> None:
    """Say in one sentence which characters of all these names cannot be drawn."""
    _say(dict.fromkeys(c for name in names for c in name if not _drawn(c)))


def runs(text: str) -> list[tuple[str, str]]:
    """A drawable text as pieces for one font file each: (file, piece)."""
    pieces: list[tuple[str, str]] = []
    default = _default_file()
    for c in text:
        file = (font_of(c) if _shown(c) else None) or default
        if pieces and (pieces[-1][0] == file or not _shown(c)):
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + c)
        else:
            pieces.append((file, c))
    return pieces


def _shown(c: str) -> bool:
    import unicodedata

    return unicodedata.category(c) not in INVISIBLE


def _drawn(c: str) -> bool:
    return not _shown(c) or font_of(c) is not None


@functools.cache
def font_of(c: str) -> str | None:
    """The file of an installed font that has a character; None: there is none."""
    if ord(c) in _codes(_default_file()):
        return _default_file()
    for file in _installed():
        if ord(c) in _codes(file):
            return file
    return None


@functools.cache
def _installed() -> tuple[str, ...]:
    """Font files, plain ones first: those that matplotlib knows, then those installed since."""
    from matplotlib import font_manager

    known = {entry.fname: entry for entry in font_manager.fontManager.ttflist}

    def rank(file: str) -> tuple[bool, int, bool, str]:
        entry = known.get(file)
        if entry is None:
            return (True, 0, False, file)
        weight = entry.weight if isinstance(entry.weight, int) else 400
        return (entry.style != "normal", abs(weight - 400), "mono" in entry.name.lower(), file)

    files = dict.fromkeys((*known, *font_manager.findSystemFonts()))
    return tuple(sorted((file for file in files if _is_text_font(file, known)), key=rank))


def _is_text_font(file: str, known: dict[str, Any]) -> bool:
    name = known[file].name if file in known else pathlib.Path(file).stem
    return not name.lower().startswith(NO_FONTS)


@functools.cache
def _codes(file: str) -> frozenset[int]:
    """The characters that a font has a glyph for; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (RuntimeError, OSError, ValueError):
        return frozenset()


@functools.cache
def _family(file: str) -> str:
    """The name by which matplotlib finds a font; a file that it does not know yet is added."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    for entry in manager.ttflist:
        if entry.fname == file:
            return str(entry.name)
    manager.addfont(file)
    return str(manager.ttflist[-1].name)


def _default_file() -> str:
    import matplotlib

    return str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


def _say(missing: Iterable[str]) -> None:
    new = [c for c in missing if c not in _said]
    if not new:
        return
    _said.update(new)
    shown = "".join(new[:20]) + (" ..." if len(new) > 20 else "")
    LOGGER.warning(
        "no installed font has %s, so codes stand in their place; install one that has them, such "
        "as Noto Sans of that script (%s), and try again",
        shown,
        WHERE,
    )
