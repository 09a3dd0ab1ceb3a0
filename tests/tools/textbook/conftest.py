"""A real browser for the pages: Chromium, without a window, driven by Playwright."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    "--no-sandbox",  # in a container, as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def browser_path() -> str:
    """The installed browser; without one the test skips, except where all tests must run."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = f"needs a browser: none of {', '.join(NAMES)} is installed"
        if os.environ.get("MINIMASK_ALL_TIERS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = browser_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """`page = open_page(path, width=..., height=..., color_scheme=...)`: a file in a new tab.

    When the test ends the page must not have complained, nor asked for anything but its own file.
    """
    contexts, complaints = [], []

    def visit(path: pathlib.Path, *, width: int = 1280, height: int = 800, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        own = path.resolve().as_uri()
        page.on(
            "request",
            lambda request: (
                request.url.split("#")[0] != own
                and not request.url.startswith("data:")
                and complaints.append(f"asked for {request.url[:100]}")
            ),
        )
        page.goto(own)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []
