"""Values of options as people write them."""

import pytest

from minimask.train.setting_values import parsed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,2", [1, 2]),
        ("0.5,0.9", [0.5, 0.9]),
        ("[1,2]", [1, 2]),
        ("3", 3),
        ("true", True),
        ("vgg16", "vgg16"),
        ("a,b", "a,b"),
        ("1,b", "1,b"),
        ("1,", "1,"),
        ("true,false", "true,false"),
        (",", ","),
        ("", ""),
    ],
)
def test_numbers_need_no_brackets(text, value):
    assert parsed(text) == value and type(parsed(text)) is type(value)
