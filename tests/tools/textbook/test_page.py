"""Pages are one file, escape what they are given, and follow the reader's theme."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from minimask.tools.textbook.page import png_uri, render, write_page


def test_nothing_in_the_context_becomes_html() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("page/plain.html.j2", {"title": "a"})
    text = render("page/plain.html.j2", {"title": "<script>alert(1)</script>", "body": "a < b"})
    assert "<script>alert" not in text
    assert "a &lt; b" in text


def test_a_page_opens_alone_in_a_browser(open_page, tmp_path: pathlib.Path) -> None:
    write_page(tmp_path / "a.html", "page/plain.html.j2", {"title": "A title", "body": "text"})
    page = open_page(tmp_path / "a.html", color_scheme="dark")
    assert page.title() == "A title"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = open_page(tmp_path / "a.html", color_scheme="light")
    assert light.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_pictures_are_inside_the_page() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    assert png_uri(picture).startswith("data:image/png;base64,")
    assert len(png_uri(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))) > len(
        png_uri(picture, colors=8)
    )
