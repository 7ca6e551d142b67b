import pytest

from fastlearn.lettering import MISSING_GLYPH, drawable, elide


def test_long_text_loses_some_after_two_thirds():
    assert elide("abcdefghij", 10) == "abcdefghij"
    assert elide("abcdefghijk", 10) == "abcdef…ijk"


@pytest.mark.parametrize("text", ["plain", "кот", "a\nb"])
def test_what_can_be_drawn_stays(text):
    assert drawable(text)[0] == text


def test_a_sign_of_no_font_becomes_a_box():
    assert drawable("a\U0001f9ff\U000f0000b")[0].endswith(f"{MISSING_GLYPH}b")
