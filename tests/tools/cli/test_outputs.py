"""What commands share: no output takes the place of an input."""

from __future__ import annotations

import os

import pytest

from minimask.tools.cli.outputs import refuse_overwriting


def test_an_output_that_is_read_is_refused_under_every_name(tmp_path) -> None:
    file, other = tmp_path / "truth.json", tmp_path / "results.json"
    file.write_text("{}")
    (tmp_path / "sub").mkdir()
    link, hard = tmp_path / "link.json", tmp_path / "hard.json"
    link.symlink_to(file)
    os.link(file, hard)
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    names = (file, link, hard, tmp_path / "sub" / ".." / "truth.json", tmp_path / "linked" / file)
    for name in (*names, tmp_path / "linked" / "truth.json"):
        with pytest.raises(ValueError, match="is read by this command"):
            refuse_overwriting((None, other, name), (None, file))
    with pytest.raises(ValueError, match=r"link\.json is read .* as .*truth\.json"):
        refuse_overwriting((link,), (file,))
    refuse_overwriting((other, None, tmp_path / "new.json"), (file, None))
    refuse_overwriting((), (file,))


def test_names_that_do_not_exist_yet_are_compared_too(tmp_path) -> None:
    with pytest.raises(ValueError, match="is read by this command"):
        refuse_overwriting((tmp_path / "a" / ".." / "new",), (tmp_path / "new",))
    refuse_overwriting((tmp_path / "new",), (tmp_path / "newer",))


def test_a_folder_is_itself_and_not_what_is_in_it(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    refuse_overwriting((tmp_path / "images" / "results.json",), (tmp_path / "images",))
    with pytest.raises(ValueError, match="images is read"):
        refuse_overwriting((tmp_path / "images",), (tmp_path / "images",))
