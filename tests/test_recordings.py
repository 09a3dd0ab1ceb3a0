"""Tests of the fixture that finds recordings: copies first, then the folder beside the checkout."""

import pytest
from recordings import all_recordings


def test_a_file_that_was_not_copied_is_found_beside_the_checkout(tmp_path):
    copies, shared, folder = (tmp_path / name for name in ("copies", "shared", "folder"))
    for path in (copies / "a" / "one.npz", shared / "a" / "one.npz", shared / "b" / "two.npz"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.parent.parent.name)
    found = all_recordings([copies, shared, tmp_path / "absent"], folder)
    assert (found / "a" / "one.npz").read_text() == "copies"
    assert (found / "b" / "two.npz").read_text() == "shared"
    with pytest.raises(pytest.skip.Exception, match=r"needs the recording two\.npz"):
        found / "a" / "two.npz"
