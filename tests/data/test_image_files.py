"""Images by the names that annotation files give them."""

from __future__ import annotations

import unicodedata

import pytest
from PIL import Image

from minimask.data.image_files import ImageFiles, image_size


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "sub/b.jpg", "seq0/f.png", "seq1/f.png", "ü 1.png", "c.png", "c.jpg"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4)).save(path)
    (tmp_path / "outside.png").write_bytes((tmp_path / "set" / "a.png").read_bytes())
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("A.PNG", "a.png"),
        ("a", "a.png"),
        ("b.jpg", "sub/b.jpg"),
        ("sub\\b.jpg", "sub/b.jpg"),
        ("/x/y/sub/b.jpg", "sub/b.jpg"),
        ("D:\\x\\a.png", "a.png"),
        ("https://host/x/a.png?w=1", "a.png"),
        ("%C3%BC%201.png", "ü 1.png"),
        (unicodedata.normalize("NFD", "ü 1.png"), "ü 1.png"),
        ("seq1/f.png", "seq1/f.png"),
        ("set/seq1/f.png", "seq1/f.png"),
        ("f.png", None),  # two
        ("c", None),  # two
        ("d.png", None),
        ("", None),
        ("../outside.png", None),
        ("x" * 5000, None),
        ("a\0.png", None),
    ],
)
def test_names(folder, name, file):
    files = ImageFiles(folder)
    found = files.find(name)
    assert (None if found is None else files.relative(found)) == file


def test_sentences(folder):
    files = ImageFiles(folder)
    assert "could be any of 2 files" in files.missing("f.png")
    assert "did you mean 'a.png'" in files.missing("aa.png")
    assert "no such file" in files.missing("")
    assert len(files.all()) == 7
    with pytest.raises(FileNotFoundError, match="did you mean 'set'"):
        ImageFiles(folder.with_name("sett"))


def test_size_from_the_head(folder, tmp_path):
    assert image_size(folder / "a.png") == (4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert image_size(tmp_path / "turned.jpg") == (6, 4)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png: not an image file"):
        image_size(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="no such file"):
        image_size(tmp_path / "x.png")
