"""Every link of the pages leads somewhere: files, lines of files, headings, commands."""

from __future__ import annotations

import pathlib
import re
from urllib.parse import unquote

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "kernels/**/README.md",
        "tutorials/README.md",
        "benchmarks/README.md",
    )
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r'\[[^\]]*\]\(\s*([^)\s]+)(?:\s+"[^"]*")?\s*\)')
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINES = re.compile(r"L(\d+)(?:-L(\d+))?")


def text_of(page):
    """A page without its blocks of code, in which brackets are no links."""
    return FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def anchors(text):
    """The names of a page's headings as the usual forges make them."""
    names = []
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        names.append(name if name not in names else f"{name}-{names.count(name)}")
    return set(names)


def faults(page, text):
    """What is wrong with the links of a page, one sentence each."""
    found = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):  # https: and the like
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists() or ROOT not in file.resolve().parents:
            found.append(f"{page}: {target}: there is no such file")
        elif anchor and file.suffix == ".md":
            if anchor not in anchors(text if not path else text_of(file.relative_to(ROOT))):
                found.append(f"{page}: {target}: there is no such heading")
        elif anchor and (lines := LINES.fullmatch(anchor)):
            last = file.read_text(encoding="utf-8").count("\n")
            if not all(1 <= int(n) <= last for n in lines.groups() if n):
                found.append(f"{page}: {target}: the file has {last} lines")
        elif anchor:
            found.append(f"{page}: {target}: only lines of a file can be linked, as #L12")
    return found


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    assert faults(page, text_of(page)) == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("[a](docs/nothing.md)", "no such file"),
        ("[a](../elsewhere.md)", "no such file"),
        ("![a](docs/figures/nothing.png)", "no such file"),
        ("[a](docs/commands.md#nothing)", "no such heading"),
        ("[a](#nothing)", "no such heading"),
        ("[a](setup.py#L99999)", "the file has"),
        ("[a](setup.py#main)", "only lines"),
        ('[a](setup.py#L0 "title")', "the file has"),
    ],
)
def test_a_link_into_nothing_is_found(link, fault):
    (sentence,) = faults("README.md", f"# Heading\n{link}\n")
    assert fault in sentence


def test_links_that_lead_somewhere_are_not_complained_about():
    text = "# A `b`: c (d)\n[a](#a-b-c-d) [b](setup.py#L1-L2) [c](https://nowhere) [d](docs)\n"
    assert faults("README.md", text) == []


def test_every_page_of_docs_is_one_link_away():
    starts = {"README.md", "CONTRIBUTING.md"}
    linked = {
        ((ROOT / start).parent / target.partition("#")[0]).resolve()
        for start in starts
        for target in LINK.findall(text_of(start))
    }
    lost = [
        p for p in PAGES if len(p.parts) == 2 and p.parts[0] == "docs" if ROOT / p not in linked
    ]
    assert lost == []


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 145


def test_the_page_of_commands_has_every_command():
    from minimask.tools.cli import COMMANDS, GROUPS

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `minimask (\w+)` \|", page, re.MULTILINE)) == {*COMMANDS, *GROUPS}
