"""Pictures can be drawn, are not empty, and say what they show."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from minimask.tools.textbook.claims import all_claims
from minimask.tools.textbook.claims.ledger import one_thread
from minimask.tools.textbook.claims.page import page_context
from minimask.tools.textbook.claims.pictures import all_pictures, caption

DPI = 20  # enough to see whether something is there


def test_many_claims_have_one() -> None:
    assert len(all_pictures()) >= 20
    assert set(all_pictures()) <= {claim.number for claim in all_claims()}


@pytest.mark.parametrize("number", sorted(all_pictures()))
def test_it_is_drawn(number: int) -> None:
    with one_thread():
        figure = all_pictures()[number]()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    pixels = np.asarray(Image.open(file).convert("RGB"))
    height, width = pixels.shape[:2]
    assert width <= 10 * DPI and height <= 7 * DPI  # inches: fits a page, and a phone held upright
    assert (pixels != 255).any(axis=2).mean() > 0.02
    text = caption(number)
    assert text[0].isupper() or text[0].isdigit()
    assert text.endswith(".") and len(text) > 15


def test_the_context_of_the_page_counts_what_it_shows() -> None:
    from minimask.tools.textbook.claims import find, run

    context = page_context([run(find(13)), run(find(48))])
    assert [entry["claim"].number for entry in context["entries"]] == [13, 48]
    assert context["verdicts"] == [("imprecise", 1), ("wrong", 1)]
    assert set(context["sources"]) == {"S0", "S3"} and context["failed"] == 0
    assert context["entries"][0]["picture"]["uri"].startswith("data:image/png;base64,")
    assert context["entries"][1]["picture"] is None and context["entries"][1]["code"] is None


def test_a_picture_that_fails_does_not_cost_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    from minimask.tools.textbook.claims import find, run
    from minimask.tools.textbook.page import render

    monkeypatch.setitem(all_pictures(), 13, lambda: 1 / 0)
    monkeypatch.setattr(all_pictures()[13], "__doc__", "13: a picture that fails.")
    text = render("claims/page.html.j2", page_context([run(find(13))]))
    assert "The picture could not be drawn: ZeroDivisionError" in text
    assert "must be 19 152" in text and "<figure>" not in text
