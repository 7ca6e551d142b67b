"""The fixed part of a picture: decoded and resized, the same way each time, so that it can be kept in a cache."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.data.cache import Cache, CacheKind, check_kind, open_cache
from fastlearn.data.file_key import file_key
from fastlearn.errors import ConfigError, ImageError
from fastlearn.options import found
from fastlearn.runtime.say import say

if TYPE_CHECKING:
    from fastlearn.data.part import TransformBlock
    from fastlearn.data.transform import ItemTransform

PEEKED = 16  # pictures whose size is looked at, to know how many bytes all will take
_TIED = {"mask", "points"}


@dataclass
class FixedPart:
    """What one block makes of raw values, as the first item transform has it `fixed`; see `pixels.Fixed`."""

    block: TransformBlock
    fixed: Any
    recipe: str
    cache: Cache | None = None

    def pixels(self, raw: Any) -> np.ndarray:
        """A picture, uint8 (channels, height, width); read-only where it comes from the cache."""
        cache = self.cache
        if cache is None or not isinstance(raw, (str, os.PathLike)):
            return self.block.pixels(raw, self.fixed)
        try:
            key = file_key(raw)
        except (OSError, ValueError):  # opening the file says better what is wrong with it
            return self.block.pixels(raw, self.fixed)
        pixels = cache.get(key)
        if pixels is None:
            pixels = self.block.pixels(raw, self.fixed)
            cache.put(key, pixels)
        return pixels


def fixed_parts(blocks: Sequence[TransformBlock], item_tfms: Sequence[ItemTransform]) -> tuple[FixedPart | None, ...]:
    """The fixed part of each block's pictures; None where there is none.

    A mask or points must be moved with their picture, by the transform itself: with them, nothing is fixed.
    """
    fixed = item_tfms[0].fixed if item_tfms else None
    if fixed is None or _TIED & {block.kind for block in blocks}:
        return (None,) * len(blocks)
    recipes = [block.recipe(fixed) for block in blocks]
    return tuple(
        None if recipe is None else FixedPart(block, fixed, recipe)
        for block, recipe in zip(blocks, recipes, strict=True)
    )


def cache_pictures(datasets: Iterable[Any], kind: CacheKind, processes: bool) -> None:
    """Let the pictures of these data sets be kept in one cache of this kind, and say which; see `open_cache`.

    Data sets without files, or whose pictures have no fixed part, are read each time; ConfigError where a cache was
    asked for by name and none of them has one.
    """
    check_kind(kind)
    cached = [dataset for dataset in datasets if _first_part(dataset) is not None and _has_files(dataset)]
    if not cached:
        if kind in ("disk", "memory"):
            raise ConfigError(
                f"cache={found(kind)} keeps decoded and resized pictures, and these data have none: it takes files, an "
                "ImageBlock, and Resize as the first of item_tfms."
            )
        return
    part = _first_part(cached[0])
    assert part is not None
    recipe = cached[0].fixed_parts[part].recipe
    each, n_items = _bytes_each(cached[0], part), sum(map(len, cached))
    if each is None and kind in (True, "auto"):  # no files, or none that can be read: training will say so
        return
    cache = open_cache(kind, recipe=recipe, n_items=n_items, bytes_each=each or 0, processes=processes)
    if cache is not None and cache.said:
        say(cache.said)
    for dataset in cached:
        dataset.use_cache(cache, recipe)


def _has_files(dataset: Any) -> bool:
    """Whether the pictures of a data set come from files, as far as its first item tells; one without items may."""
    part = _first_part(dataset)
    return part is None or not len(dataset) or isinstance(dataset.raw[part][0], (str, os.PathLike))


def _first_part(dataset: Any) -> int | None:
    """The first part of a data set that has a fixed part."""
    fixed = getattr(dataset, "fixed_parts", ())
    return next((k for k, one in enumerate(fixed) if one is not None), None)


def _bytes_each(dataset: Any, part: int) -> int | None:
    """About how many bytes a cached picture takes; None where that cannot be known."""
    fixed, sizes = dataset.fixed_parts[part], []
    for i in range(0, len(dataset), -(-len(dataset) // PEEKED)):
        try:
            raw = dataset.raw[part][i]
            if isinstance(raw, (str, os.PathLike)) and os.path.isfile(raw):  # opening a pipe would wait for its writer
                sizes.append(fixed.block.n_bytes(raw, fixed.fixed))
        except ImageError:
            continue
    return sum(sizes) // len(sizes) if sizes else None
