"""`DataBlock`: blocks put together with where items come from, how they are split and what is done to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.data.dataset import Datasets, ItemDataset
from fastlearn.data.label import select
from fastlearn.data.part import Kind as Kind
from fastlearn.data.part import TransformBlock as TransformBlock
from fastlearn.data.part import as_block
from fastlearn.data.split import RandomSplitter, Splitter
from fastlearn.data.targets import Category, MultiCategory
from fastlearn.data.targets import CategoryBlock as CategoryBlock
from fastlearn.data.targets import MultiCategoryBlock as MultiCategoryBlock
from fastlearn.data.targets import RegressionBlock as RegressionBlock
from fastlearn.data.transform import as_tuple, with_defaults
from fastlearn.errors import ConfigError, DataError, FastlearnError
from fastlearn.lists import L
from fastlearn.options import checked_flag, checked_function, checked_list, found, named_options
from fastlearn.paths import PathList, printable

if TYPE_CHECKING:
    import torch

    from fastlearn.data.cache import CacheKind
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.data.files import StrPath
    from fastlearn.data.loaders import Workers

Getters = Callable[[Any], Any] | Sequence[Callable[[Any], Any] | None] | None


class DataBlock:
    """How to make data sets and loaders from a source.

    `blocks` say what the parts of a sample are (all but the last are inputs, unless `n_inp` says otherwise);
    `get_items(source)` lists the items, `splitter(items)` gives the positions of each side, `get_x` and `get_y` read an
    item's parts; `item_tfms` change samples on the CPU, `batch_tfms` batches on the device.

    >>> pets = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label,
    ...                  splitter=RandomSplitter(seed=42), item_tfms=Resize(224))
    >>> dls = pets.dataloaders("pets", bs=32)
    """

    @named_options
    def __init__(
        self,
        blocks: Any = None,
        get_items: Callable[[Any], Any] | None = None,
        splitter: Splitter | None = None,
        get_x: Getters = None,
        get_y: Getters = None,
        *,
        getters: Sequence[Callable[[Any], Any] | None] | None = None,
        n_inp: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
    ) -> None:
        self.blocks = as_tuple(blocks) if blocks is not None else (TransformBlock, TransformBlock)
        made = [as_block(block) for block in self.blocks]
        self.n_inp = max(1, len(made) - 1) if n_inp is None else n_inp
        if not isinstance(self.n_inp, (int, np.integer)) or not 1 <= self.n_inp <= len(made):
            raise ConfigError(
                f"n_inp={found(n_inp)} for {len(made)} blocks: expected 1 to {len(made)} of them as inputs."
            )
        self.get_items = None if get_items is None else checked_function(get_items, "get_items")
        self.splitter = RandomSplitter() if splitter is None else checked_function(splitter, "splitter")
        self.getters = _all_getters(getters, get_x, get_y, self.n_inp, len(made))
        self._default_item = [tfm for block in made for tfm in as_tuple(block.item_tfms)]
        self._default_batch = [tfm for block in made for tfm in as_tuple(block.batch_tfms)]
        self.item_tfms = with_defaults(self._default_item, as_tuple(item_tfms))
        self.batch_tfms = with_defaults(self._default_batch, as_tuple(batch_tfms))

    @named_options
    def new(self, item_tfms: Any = None, batch_tfms: Any = None) -> DataBlock:
        """The same block with these transforms instead of the ones given before."""
        return DataBlock(
            self.blocks,
            self.get_items,
            self.splitter,
            getters=self.getters,
            n_inp=self.n_inp,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )

    def items(self, source: Any) -> Any:
        """The items of a source: a DataFrame stays one, everything else becomes a list."""
        items = self._get_items(source)
        if not hasattr(items, "iloc"):
            items = items if isinstance(items, PathList) else L(items)
        if not len(items):
            raise DataError("There are no items." if self.get_items is None else f"No items in {_shown(source)}.")
        return items

    def _get_items(self, source: Any) -> Any:
        if self.get_items is None:
            if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
                raise ConfigError(
                    f"{_shown(source)} is a folder, and this DataBlock has no get_items to list what is in it: give "
                    "get_items=get_image_files."
                )
            return source
        try:
            return self.get_items(source)
        except FastlearnError:
            raise
        except Exception as error:
            raise DataError(f"get_items failed on {_shown(source)}: {type(error).__name__}: {error}.") from error

    def split(self, items: Any) -> list[np.ndarray]:
        """The positions of each side's items, checked."""
        try:
            sides = [np.asarray(side, dtype=np.int64).reshape(-1) for side in self.splitter(items)]
        except FastlearnError:
            raise
        except Exception as error:
            raise DataError(f"The splitter failed: {type(error).__name__}: {error}.") from error
        if len(sides) < 2 or not len(sides[0]):
            sizes = ", ".join(str(len(side)) for side in sides)
            raise DataError(
                f"The splitter gave sides of {sizes or 'no'} of the {len(items)} items: expected a training side with "
                "items and a validation side."
            )
        for side in sides:
            if len(side) and (side.min() < -len(items) or side.max() >= len(items)):
                raise DataError(
                    f"The splitter gave position {int(side.max())} of {len(items)} items. Positions count from 0; a "
                    "DataFrame with another index needs df.reset_index(drop=True)."
                )
        return sides

    @named_options
    def datasets(self, source: Any, verbose: bool = False) -> Datasets:
        """The sides of the split as data sets, with labels read and checked but no file opened."""
        say = print if checked_flag(verbose, "verbose") else _say_nothing
        items = self.items(source)
        say(f"Found {len(items)} items")
        sides = self.split(items)
        say(f"{len(sides)} sides of {', '.join(str(len(side)) for side in sides)} items")
        blocks = [as_block(block) for block in self.blocks]
        _refuse_paths_as_labels(items, blocks[self.n_inp :], self.getters[self.n_inp :])
        subsets = [
            ItemDataset(
                select(items, side),
                blocks,
                self.getters,
                n_inp=self.n_inp,
                item_tfms=self.item_tfms,
                split="train" if k == 0 else "valid",
            )
            for k, side in enumerate(sides)
        ]
        for part, block in enumerate(blocks):
            block.setup(subsets[0].raw[part])
            for subset in subsets[1:]:
                if len(subset):
                    block.check(subset.raw[part], subset.split)
            if block.vocab is not None:
                say(f"{len(block.vocab)} classes: {block.vocab}")
        return Datasets(items, sides, subsets)

    @named_options
    def dataloaders(
        self,
        source: Any,
        path: StrPath = ".",
        verbose: bool = False,
        *,
        bs: int | None = None,
        val_bs: int | None = None,
        device: torch.device | str | None = None,
        shuffle: bool = True,
        drop_last: bool | None = None,
        num_workers: int | None = None,
        workers: Workers = "auto",
        weights: Any = None,
        seed: int | None = None,
        cache: CacheKind = "auto",
    ) -> DataLoaders:
        """The loaders of all sides; the options are those of `DataLoaders.from_dsets`.

        `bs` is 64 unless given, or the whole training side where that has fewer items. `weights` draws training items
        with these weights: one an item, or "balanced" for equal classes.
        """
        return self.datasets(source, verbose).dataloaders(
            bs,
            val_bs=val_bs,
            path=path,
            batch_tfms=self.batch_tfms,
            device=device,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=num_workers,
            workers=workers,
            weights=weights,
            seed=seed,
            cache=cache,
        )

    @named_options
    def weighted_dataloaders(
        self,
        source: Any,
        wgts: Any,
        bs: int | None = None,
        *,
        path: StrPath = ".",
        verbose: bool = False,
        val_bs: int | None = None,
        device: torch.device | str | None = None,
        shuffle: bool = True,
        drop_last: bool | None = None,
        num_workers: int | None = None,
        workers: Workers = "auto",
        seed: int | None = None,
        cache: CacheKind = "auto",
    ) -> DataLoaders:
        """Loaders whose training side draws items with these weights: one an item, or "balanced" for equal classes."""
        return self.dataloaders(
            source,
            path,
            verbose,
            bs=bs,
            val_bs=val_bs,
            device=device,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=num_workers,
            workers=workers,
            weights=wgts,
            seed=seed,
            cache=cache,
        )

    @named_options
    def summary(self, source: Any, bs: int = 4, show_batch: bool = False) -> None:
        """Print what happens to a real sample at each step, then to a batch; a step that fails is named, and raises."""
        from fastlearn.data.summary import summarise

        summarise(self, source, bs, show_batch)

    def __repr__(self) -> str:
        blocks = ", ".join(repr(as_block(block)) for block in self.blocks)
        return f"DataBlock({blocks}; item_tfms={list(self.item_tfms)}, batch_tfms={list(self.batch_tfms)})"


def _all_getters(getters: Any, get_x: Getters, get_y: Getters, n_inp: int, n: int) -> tuple[Any, ...]:
    if getters is not None:
        if get_x is not None or get_y is not None:
            raise ConfigError("Pass getters, or get_x and get_y, not both.")
        chosen = tuple(checked_list(getters, "getters", "functions of an item, one a block"))
        if len(chosen) != n:
            raise ConfigError(f"There are {len(chosen)} getters for {n} blocks: expected one each.")
    else:
        chosen = (*_getters("get_x", get_x, n_inp), *_getters("get_y", get_y, n - n_inp))
    for getter in chosen:
        if getter is not None and not callable(getter):
            raise ConfigError(f"get_x and get_y take functions of an item, not {getter!r}. For a column: ColReader(…).")
    return chosen


def _getters(name: str, given: Getters, n: int) -> tuple[Any, ...]:
    if given is None:
        return (None,) * n
    chosen = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if len(chosen) != n:
        raise ConfigError(f"{name} gives {len(chosen)} functions for {n} blocks: expected one each.")
    return chosen


def _refuse_paths_as_labels(items: Any, targets: Sequence[TransformBlock], getters: Sequence[Any]) -> None:
    """ConfigError where a target without a getter would make a class of every file."""
    first = None if hasattr(items, "iloc") else items[0]
    is_path = isinstance(first, os.PathLike) or (isinstance(first, str) and os.path.isfile(first))
    for block, getter in zip(targets, getters, strict=True):
        if is_path and getter is None and isinstance(block, (Category, MultiCategory)):
            raise ConfigError(
                f"This DataBlock has no get_y, so the label of {_shown(first)} would be the path itself: give "
                "get_y=parent_label (the name of its folder), or another function of the path."
            )


def _shown(source: Any) -> str:
    text = printable(source)
    return text if len(text) < 200 else f"a {type(source).__name__}"


def _say_nothing(*_: object) -> None:
    pass
