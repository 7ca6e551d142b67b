"""Which part of a picture is fixed, and what is kept of it; the pixels themselves are in test_cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlearn.data.fixed import FixedPart, cache_pictures, fixed_parts
from fastlearn.errors import ConfigError


class Block:
    """A block whose pixels are the number of times that they were made."""

    kind = "image"

    def __init__(self, kind: str = "image", recipe: str | None = "R") -> None:
        self.kind, self._recipe, self.n_made = kind, recipe, 0

    def recipe(self, fixed: Any) -> str | None:
        return self._recipe

    def pixels(self, raw: Any, fixed: Any) -> np.ndarray:
        self.n_made += 1
        return np.full((1, 2, 2), self.n_made, np.uint8)


class Tfm:
    def __init__(self, fixed: Any) -> None:
        self.fixed = fixed


def test_the_first_transform_says_what_is_fixed() -> None:
    image, label = Block(), Block("category", recipe=None)
    (part, none) = fixed_parts([image, label], [Tfm("half"), Tfm("other")])  # type: ignore[list-item]
    assert none is None and part is not None and (part.block, part.fixed, part.recipe) == (image, "half", "R")
    assert fixed_parts([image], []) == (None,)
    assert fixed_parts([image], [Tfm(None), Tfm("half")]) == (None,)  # type: ignore[list-item]


@pytest.mark.parametrize("tied", ["mask", "points"])
def test_what_moves_with_its_picture_leaves_nothing_fixed(tied: str) -> None:
    assert fixed_parts([Block(), Block(tied)], [Tfm("half")]) == (None, None)  # type: ignore[list-item]


def test_pixels_are_made_once_for_each_content_of_a_file(tmp_path: Path) -> None:
    block, kept = Block(), {}

    class Cache:
        def get(self, key: Any) -> Any:
            return kept.get(key)

        def put(self, key: Any, pixels: np.ndarray) -> None:
            kept[key] = pixels

    part = FixedPart(block, "half", "R", Cache())  # type: ignore[arg-type]
    file = tmp_path / "a.jpg"
    file.write_bytes(b"1")
    assert [part.pixels(str(file))[0, 0, 0] for _ in range(3)] == [1, 1, 1]
    file.write_bytes(b"22")
    assert [part.pixels(file)[0, 0, 0] for _ in range(2)] == [2, 2] and len(kept) == 2
    assert part.pixels(np.zeros((2, 2, 3)))[0, 0, 0] == 3  # no file
    assert part.pixels("missing.jpg")[0, 0, 0] == 4 and len(kept) == 2  # opening it tells what is wrong
    part.cache = None
    assert part.pixels(os.fspath(file))[0, 0, 0] == 5


def test_a_cache_that_was_asked_for_and_cannot_be() -> None:
    cache_pictures([object()], "auto", processes=False)
    cache_pictures([object()], False, processes=False)
    for kind in ("disk", "memory"):
        with pytest.raises(
            ConfigError, match=f"cache='{kind}' keeps decoded and resized pictures, and these data have"
        ):
            cache_pictures([object()], kind, processes=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        cache_pictures([object()], "everything", processes=False)  # type: ignore[arg-type]
