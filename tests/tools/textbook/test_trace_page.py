"""The book in a real browser: keys, themes, phones, links, size."""

from __future__ import annotations

import pathlib

import pytest
from tracing import small, subject

from minimask.tools.textbook.trace import Trace, trace

LARGEST = 15_000_000  # bytes


@pytest.fixture(scope="module")
def made() -> Trace:
    image, target = subject()
    return trace(small(), image, target, title="<b>photo.png</b>", about="random & untrained")


@pytest.fixture(scope="module")
def book(made: Trace, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("book") / "index.html"
    made.write(path)
    return path


def current(page) -> str:
    return page.evaluate("location.hash.slice(1)")


def test_one_small_file_that_opens_at_once(book: pathlib.Path, made: Trace, open_page) -> None:
    assert book.stat().st_size < LARGEST
    page = open_page(book)
    assert page.locator("main section").count() == len(made.steps)
    assert page.locator("nav li li a").count() == len(made.steps)
    assert page.locator("h1").inner_text() == "<b>photo.png</b>"  # escaped
    pictures = sum(not p.drawing for step in made.steps for p in step.pictures)
    assert page.locator("main img").count() == pictures
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < loaded < 20_000  # milliseconds; 2000 on a machine that does nothing else


def test_every_picture_is_sound(book: pathlib.Path, open_page) -> None:
    page = open_page(book)
    page.evaluate("document.querySelectorAll('img').forEach((i) => { i.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every((i) => i.complete)")
    assert page.evaluate("[...document.images].every((i) => i.naturalWidth > 0 && i.alt)")
    assert page.evaluate("[...document.querySelectorAll('svg')].every((s) => s.ariaLabel)")


def test_keys_lead_from_step_to_step(book: pathlib.Path, made: Trace, open_page) -> None:
    page, keys = open_page(book), [step.key for step in made.steps]
    for pressed, index in (("j", 0), ("j", 1), ("ArrowRight", 2), ("k", 1), ("ArrowLeft", 0)):
        page.keyboard.press(pressed)
        assert current(page) == keys[index]
        focused = page.evaluate("document.activeElement.parentElement.id")
        assert focused == keys[index]
        assert page.locator(f"nav a[href='#{keys[index]}']").get_attribute("aria-current") == "step"
        top = page.locator(f"#{keys[index]}").bounding_box()["y"]
        assert -5 <= top <= 40
    page.keyboard.press("k")
    assert current(page) == keys[0]  # there is none before
    page.keyboard.press("c")
    code = page.locator(f"#{keys[0]} details.code")
    assert code.count() > 0 and code.first.get_attribute("open") is not None
    page.keyboard.press("c")
    assert code.first.get_attribute("open") is None
    page.keyboard.press("Control+j")  # the browser's own keys stay its own
    assert current(page) == keys[0]


def test_help_opens_and_closes(book: pathlib.Path, open_page) -> None:
    page = open_page(book)
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("j")
    assert current(page) == ""  # not behind the help
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    page.locator("#help").click()
    assert page.locator("#keys").is_visible()


def test_themes(book: pathlib.Path, open_page) -> None:
    page = open_page(book, color_scheme="light")
    color = "getComputedStyle(document.body).backgroundColor"
    seen = [page.evaluate(color)]
    for _ in range(3):
        page.keyboard.press("t")
        seen.append(page.evaluate(color))
    light, dark = "rgb(255, 255, 255)", "rgb(20, 24, 31)"
    assert seen == [light, light, dark, light]  # the system's, light, dark, the system's
    assert open_page(book, color_scheme="dark").evaluate(color) == dark
    # charts take the color of the text around them
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.querySelector('svg text')).fill") == (
        "rgb(228, 232, 239)"
    )


def test_links_into_the_book(book: pathlib.Path, open_page) -> None:
    page = open_page(book)
    page.goto(book.resolve().as_uri() + "#rpn-proposals")
    assert abs(page.locator("#rpn-proposals").bounding_box()["y"]) < 60
    page.wait_for_selector("nav a[href='#rpn-proposals'][aria-current]")
    page.locator("nav a[href='#gradients']").click()
    assert current(page) == "gradients"


@pytest.mark.parametrize("width", (320, 390, 768, 1280))
def test_no_width_scrolls_sideways(book: pathlib.Path, open_page, width: int) -> None:
    page = open_page(book, width=width, height=800)
    page.evaluate("document.querySelectorAll('main details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_contents_fold_away(book: pathlib.Path, open_page) -> None:
    page = open_page(book, width=390, height=844, has_touch=True)
    link = page.locator("nav a[href='#roi-align']")
    assert not link.is_visible()
    page.locator("#contents > summary").tap()
    link.tap()
    assert current(page) == "roi-align" and not link.is_visible()
    title = page.locator("#roi-align h3").bounding_box()
    bar = page.locator("nav").bounding_box()
    assert title["y"] >= bar["y"] + bar["height"] - 1  # not behind the bar


def test_a_click_enlarges_a_picture(book: pathlib.Path, open_page) -> None:
    page = open_page(book)
    image = page.locator("#roi-align img").first
    image.scroll_into_view_if_needed()
    before = image.bounding_box()["width"]
    image.click()
    assert image.bounding_box()["width"] > 1.5 * before
    image.click()
    assert image.bounding_box()["width"] == before


def test_without_scripts_everything_is_there(book: pathlib.Path, open_page) -> None:
    page = open_page(book, java_script_enabled=False)
    assert page.locator("#gradients h3").is_visible()


def test_what_is_missing_is_said(open_page, tmp_path: pathlib.Path) -> None:
    image, _ = subject()
    trace(small("faster_rcnn"), image).write(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html")
    assert (
        "ground-truth objects of this image are not known" in page.locator(".notice").inner_text()
    )
    assert page.locator("#gradients").count() == 0 and page.locator("#mask-logits").count() == 0
