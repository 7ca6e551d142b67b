"""Items become samples: `ItemDataset` for one side of a split, `Datasets` for all sides together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastlearn.data.fixed import fixed_parts
from fastlearn.data.label import call_getter, describe, item_at, read_all, select
from fastlearn.data.transform import ItemTransform, as_item_tfm
from fastlearn.errors import DataError, FastlearnError, ImageError
from fastlearn.lists import L
from fastlearn.options import checked_list, named_options
from fastlearn.paths import PathList

if TYPE_CHECKING:
    import torch

    from fastlearn.data.block import TransformBlock
    from fastlearn.data.cache import Cache, CacheKind
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.data.files import StrPath
    from fastlearn.data.loaders import Workers
    from fastlearn.task import Task

Split = Literal["train", "valid", "test"]
Getter = Callable[[Any], Any]
_WAYS_OUT = (
    'Mend or delete it, or leave out all such files: ImageDataLoaders.from_folder(path, on_error="skip"); dls.check() '
    "decodes every file and names them."
)


class RawValues(Sequence[Any]):
    """What a getter gives for each item: one at a time, or all at once and then kept. `source(i)` names item `i`."""

    def __init__(self, dataset: ItemDataset, part: int) -> None:
        self.dataset, self.part = dataset, part
        self._all: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: Any) -> Any:
        return self._all[i] if self._all is not None else self.dataset.read(i, self.part)

    def __iter__(self) -> Iterator[Any]:
        if self._all is None:
            getter, name = self.dataset.getters[self.part], self.dataset.getter_name(self.part)
            self._all = read_all(getter, self.dataset.items, name)
        return iter(self._all)

    def source(self, i: int) -> str:
        """Names item `i` for an error message."""
        return self.dataset.source(i)


class ItemDataset:
    """The items of one side of a split, read by `getters`, made into objects by `blocks` and changed by `item_tfms`.

    `dataset[i]` is what a person wants to see (a picture, a label's code); `sample(i, rng, train)` is what a batch is
    stacked from (NumPy arrays, after the item transforms). The first `n_inp` parts are the model's inputs.
    """

    def __init__(
        self,
        items: Any,
        blocks: Sequence[TransformBlock],
        getters: Sequence[Getter | None] | None = None,
        *,
        n_inp: int = 1,
        item_tfms: Sequence[Any] = (),
        split: Split = "train",
        trained_on: type | None = None,
    ) -> None:
        self.items, self.blocks, self.n_inp, self.split = items, tuple(blocks), n_inp, split
        self.getters: tuple[Getter | None, ...] = tuple(getters) if getters is not None else (None,) * len(self.blocks)
        made = [as_item_tfm(tfm, n_inp) for tfm in item_tfms]
        self.item_tfms: tuple[ItemTransform, ...] = tuple(sorted(made, key=lambda tfm: tfm.order))
        self.kinds: tuple[str, ...] = tuple(block.kind for block in self.blocks)
        self.trained_on = trained_on
        self.raw = tuple(RawValues(self, part) for part in range(len(self.blocks)))
        self.files_checked = False  # by the learner, before its first batch
        self.fixed_parts = fixed_parts(self.blocks, self.item_tfms)
        self._may_be_cut = self.kinds.count("image") == len(self.item_tfms) == 1
        self.cache: Cache | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        return self.objects(range(len(self))[i])

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self.objects(i) for i in range(len(self)))

    def read(self, i: int, part: int) -> Any:
        """What the getter of one part gives for item `i`, before its block makes an object of it."""
        item = item_at(self.items, i)
        block = self.blocks[part]
        foreign = self.trained_on is not None and not _same_sort(item, self.trained_on)
        if foreign and part < self.n_inp and block.accepts(item):
            return item
        return call_getter(self.getters[part], item, self.getter_name(part))

    def getter_name(self, part: int) -> str:
        """How a user calls the getter of a part."""
        return "get_x" if part < self.n_inp else "get_y"

    def objects(self, i: int) -> tuple[Any, ...]:
        """The objects of item `i`, before the item transforms."""
        return tuple(self._create(i, part) for part in range(len(self.blocks)))

    def transformed(self, i: int, rng: np.random.Generator, train: bool) -> tuple[Any, ...]:
        """The objects of item `i`, after the item transforms."""
        return self._transformed(i, rng, train, self._all_pixels(i))

    def sample(self, i: int, rng: np.random.Generator, train: bool) -> tuple[Any, ...]:
        """The parts of item `i` as arrays, ready to be stacked; they may be views of what a cache keeps."""
        pixels = self._all_pixels(i)
        if self._may_be_cut and (parts := self._cut(i, rng, train, pixels)) is not None:
            return parts
        parts = self._transformed(i, rng, train, pixels)
        try:
            return tuple(block.encode(part) for block, part in zip(self.blocks, parts, strict=True))
        except Exception as error:
            raise self._named(error, i, "Encoding") from error

    def _all_pixels(self, i: int) -> Sequence[np.ndarray | None]:
        """The pictures among the parts of item `i`, at the size that the first item transform has fixed."""
        return [None if fixed is None else self._pixels(i, part) for part, fixed in enumerate(self.fixed_parts)]

    def _transformed(
        self, i: int, rng: np.random.Generator, train: bool, pixels: Sequence[np.ndarray | None]
    ) -> tuple[Any, ...]:
        parts = tuple(
            self._create(i, part) if found is None else self.blocks[part].from_pixels(found)
            for part, found in enumerate(pixels)
        )
        for tfm in self.item_tfms:
            try:
                parts = tfm(parts, self.kinds, rng, train)
            except Exception as error:
                raise self._named(error, i, f"The item transform {tfm!r}") from error
        return parts

    def _cut(
        self, i: int, rng: np.random.Generator, train: bool, pixels: Sequence[np.ndarray | None]
    ) -> tuple[Any, ...] | None:
        """The sample where the one item transform only cuts a window out of the one picture: no object is made."""
        part = self.kinds.index("image")
        picture = pixels[part]
        window = None if picture is None else self.item_tfms[0].cut(picture, rng, train)
        if window is None:
            return None
        return tuple(window if p == part else self._made(i, p, block.as_numbers) for p, block in enumerate(self.blocks))

    def source(self, i: int) -> str:
        """The file or row of item `i`, for error messages."""
        item = item_at(self.items, i)
        if self.n_inp and isinstance(item, tuple) and item and isinstance(item[0], (str, os.PathLike)):
            return describe(item[0])
        return describe(item)

    def labels(self, part: int = -1) -> list[Any]:
        """The raw label of every item, before its block turns it into a code."""
        return list(self.raw[part])

    @property
    def vocab(self) -> Any:
        """The classes; for several blocks with classes, a list of them; None without any."""
        found = [block.vocab for block in self.blocks if block.vocab is not None]
        return (found[0] if len(found) == 1 else L(found)) if found else None

    def new(self, items: Any, split: Split) -> ItemDataset:
        """The same treatment for other items; `test` items may also be raw inputs (a path, a picture)."""
        first = type(item_at(self.items, 0)) if len(self.items) else None
        made = ItemDataset(
            items,
            self.blocks,
            self.getters,
            n_inp=self.n_inp,
            item_tfms=self.item_tfms,
            split=split,
            trained_on=(self.trained_on or first) if split == "test" else None,
        )
        if split != "test":  # new items are seldom read twice
            made.cache, made.fixed_parts = self.cache, self.fixed_parts
        return made

    def inputs_only(self) -> ItemDataset:
        """The same items without their labels."""
        changed = self.new(self.items, self.split)
        return ItemDataset(
            changed.items,
            self.blocks[: self.n_inp],
            self.getters[: self.n_inp],
            n_inp=self.n_inp,
            item_tfms=self.item_tfms,
            split=self.split,
            trained_on=changed.trained_on,
        )

    def use_cache(self, cache: Cache | None, recipe: str) -> None:
        """Keep the pictures made by `recipe` in `cache` from now on, or in none."""
        self.cache = cache
        for part in self.fixed_parts:
            if part is not None:
                part.cache = cache if part.recipe == recipe else None

    def _pixels(self, i: int, part: int) -> np.ndarray:
        """A picture at the size that the first item transform has fixed."""
        fixed = self.fixed_parts[part]
        assert fixed is not None
        if self.getters[part] is None and isinstance(self.items, PathList):  # the cache asks for no path object
            return self._tried(i, part, fixed.pixels, self.items.text_at(i))
        return self._made(i, part, fixed.pixels)

    def _create(self, i: int, part: int) -> Any:
        """The object of one part of item `i`."""
        return self._made(i, part, self.blocks[part].create)

    def _made(self, i: int, part: int, make: Callable[[Any], Any]) -> Any:
        return self._tried(i, part, make, self.raw[part][i])

    def _tried(self, i: int, part: int, make: Callable[[Any], Any], raw: Any) -> Any:
        """What `make` gives of a raw value; its error names item `i`."""
        try:
            return make(raw)
        except Exception as error:
            raise self._named(error, i, f"{self.blocks[part]!r}") from error

    def _named(self, error: Exception, i: int, step: str) -> Exception:
        """The error with the file in it, and of a class that says whose fault it is."""
        where = self.source(i)
        if isinstance(error, ImageError) and error.path is not None and str(error.path) in str(error):
            # The quick look before training cannot see damage in the middle of a file.
            error = error if self.split == "test" else ImageError(f"{error} {_WAYS_OUT}", error.path)
        if isinstance(error, FastlearnError):
            if where not in str(error):
                error.add_note(f"while reading {where}")
            return error
        return DataError(f"{step} failed on {where}: {type(error).__name__}: {error}")


def _same_sort(item: Any, trained_on: type) -> bool:
    """Whether an item is of the sort that the data set was made from: a path, a row, a tuple…"""
    paths = (str, os.PathLike)
    return isinstance(item, trained_on) or (isinstance(item, paths) and issubclass(trained_on, paths))


class Datasets:
    """The sides of a split: `.train`, `.valid`, and by position; `splits` holds the positions of their items."""

    @named_options
    def __init__(self, items: Any, splits: Sequence[Any], subsets: Sequence[ItemDataset]) -> None:
        self.items = items
        self.splits = tuple(checked_list(splits, "splits", "positions, one list a side"))
        self.subsets = tuple(checked_list(subsets, "subsets", "data sets, one a side"))

    @property
    def train(self) -> ItemDataset:
        """The training side."""
        return self.subsets[0]

    @property
    def valid(self) -> ItemDataset:
        """The validation side."""
        return self.subsets[1]

    @property
    def n_inp(self) -> int:
        """How many parts of a sample are the model's inputs."""
        return self.train.n_inp

    @property
    def n_subsets(self) -> int:
        """How many sides there are."""
        return len(self.subsets)

    @property
    def vocab(self) -> Any:
        """The classes, as found in the training side."""
        return self.train.vocab

    @property
    def task(self) -> Task | None:
        """What there is to learn, from the target's block."""
        targets = self.train.blocks[self.n_inp :]
        return targets[0].task() if len(targets) == 1 else None

    def subset(self, i: int) -> ItemDataset:
        """One side by position."""
        return self.subsets[i]

    def __len__(self) -> int:
        return sum(map(len, self.subsets))

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        """The sample of item `i` of all items, whichever side it is on."""
        i = range(len(self.items))[i]
        return self.train.new(select(self.items, slice(i, i + 1)), "valid")[0]

    @named_options
    def dataloaders(
        self,
        bs: int | None = None,
        *,
        val_bs: int | None = None,
        path: StrPath = ".",
        batch_tfms: Any = None,
        device: torch.device | str | None = None,
        shuffle: bool = True,
        drop_last: bool | None = None,
        num_workers: int | None = None,
        workers: Workers = "auto",
        weights: Any = None,
        seed: int | None = None,
        cache: CacheKind = "auto",
    ) -> DataLoaders:
        """Loaders of all sides; the options are those of `DataLoaders.from_dsets`.

        `weights` may be given for all items, or for the training side's alone.
        """
        from fastlearn.data.dataloaders import DataLoaders, train_weights

        return DataLoaders.from_dsets(
            *self.subsets,
            bs=bs,
            val_bs=val_bs,
            path=path,
            batch_tfms=batch_tfms,
            device=device,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=num_workers,
            workers=workers,
            weights=train_weights(weights, len(self.items), self.splits[0]),
            seed=seed,
            cache=cache,
        )

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(subset)} {subset.split}" for subset in self.subsets)
        return f"Datasets({sizes}; kinds {', '.join(self.train.kinds)})"
