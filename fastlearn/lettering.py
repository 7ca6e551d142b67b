"""Text for figures: cut to a width, in fonts that have its signs."""

from __future__ import annotations

MISSING_GLYPH = "\u25a1"
_OTHER_FONTS = ("Noto Sans CJK", "WenQuanYi", "Droid Sans Fallback", "Noto Sans", "Unifont", "Arial Unicode")


def elide(text: str, columns: int) -> str:
    """`text` cut to `columns` characters by leaving out some after its first two thirds."""
    if len(text) <= columns:
        return text
    head = columns * 2 // 3
    return text[:head] + "…" + text[len(text) - (columns - 1 - head) :]


def drawable(text: str) -> tuple[str, list[str]]:
    """`text` with a box for each sign that no font here has, and the font families to draw it with.

    Drawing such a sign would give the same box, and a warning.
    """
    families = families_for(text)
    missing = set() if text.isascii() else _missing(text, families)
    return "".join(MISSING_GLYPH if sign in missing else sign for sign in text), families


def families_for(text: str) -> list[str]:
    """The user's font families, and for signs that those lack, those fonts installed here that may have them."""
    from matplotlib import font_manager, rcParams

    families = list(rcParams["font.family"])
    if text.isascii() or not _missing(text, families):
        return families
    names = {entry.name for entry in font_manager.fontManager.ttflist}
    return families + sorted(name for name in names if name.startswith(_OTHER_FONTS))


def _missing(text: str, families: list[str]) -> set[str]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    signs = {sign for sign in text if not sign.isspace()}
    for family in families:
        font = FT2Font(font_manager.findfont(font_manager.FontProperties(family=[family])))
        signs -= {sign for sign in signs if font.get_char_index(ord(sign))}
    return signs
