"""`ForeignLoader`: any torch DataLoader, or any sized iterable of batches, behind the face that training needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from fastlearn.errors import ConfigError
from fastlearn.runtime.device import as_device, to_device
from fastlearn.runtime.seed import RunKey, kept_generators

_KEPT = (  # what a loader that reads the same samples in order has in common with torch's own
    "dataset",
    "batch_size",
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
)


class ForeignLoader:
    """The batches of somebody else's `loader`, on a device.

    A loader that shuffles with torch's default generator repeats by (seed, stream, epoch), because that generator is
    seeded while a pass is set up and put back afterwards; a sampler or loader with `set_epoch` is told the epoch. What
    it draws in any other way is its own affair. A pass can start in the middle, by reading and dropping what is before.
    """

    def __init__(self, loader: Any, n_inp: int = 1, device: torch.device | str | None = None) -> None:
        if not hasattr(loader, "__iter__") or isinstance(loader, type):
            raise ConfigError(f"A {type(loader).__name__} cannot be iterated: pass a DataLoader, or a list of batches.")
        first = _first_of(loader) if isinstance(loader, (list, tuple)) else loader
        if isinstance(first, (str, os.PathLike)):
            raise ConfigError("A loader gives batches, not file names. For new items: dl=learn.dls.test_dl(items).")
        if not hasattr(loader, "__len__"):
            raise ConfigError(f"A {type(loader).__name__} has no len(): training needs the number of batches.")
        if isinstance(loader, Iterator):
            raise ConfigError("An iterator can be read only once: pass a list of batches, or the loader itself.")
        self.loader, self.n_inp = loader, n_inp
        self.device = as_device(device)

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def dataset(self) -> Any:
        """The loader's data set, where it has one."""
        return getattr(self.loader, "dataset", None)

    @property
    def bs(self) -> int | None:
        """The loader's batch size, where it says; None otherwise."""
        found = getattr(self.loader, "batch_size", None) or getattr(self.loader, "bs", None)
        return found if isinstance(found, int) else _size_of_first(self.loader)

    @property
    def n(self) -> int | None:
        """How many samples there are, where that is known."""
        if hasattr(self.dataset, "__len__"):
            return len(self.dataset)
        sizes = [_size(batch) for batch in self.loader] if isinstance(self.loader, (list, tuple)) else [None]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def items(self) -> Any:
        """The data set, which is all that is known of its items."""
        return self.dataset

    @property
    def vocab(self) -> Any:
        """The data set's classes, where it names them (`vocab` or torchvision's `classes`)."""
        return getattr(self.dataset, "vocab", None) or getattr(self.dataset, "classes", None)

    def batches(self, key: RunKey, start: int = 0) -> Iterator[Any]:
        """The batches of the pass `key` from number `start` on, on the device."""
        for owner in (self.loader, getattr(self.loader, "sampler", None), getattr(self.loader, "batch_sampler", None)):
            set_epoch = getattr(owner, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(key.epoch)
        with kept_generators() if start else contextlib.nullcontext():  # what is skipped was drawn before
            with _default_generator(key.derive("foreign")):
                stream = iter(self.loader)
                # A sampler draws its order when its first batch is asked for.
                head = list(islice(stream, 1))
            for _ in islice(stream, max(0, start - 1)):
                pass
        for batch in head if start == 0 else ():
            yield to_device(batch, self.device)
        for batch in stream:
            yield to_device(batch, self.device)

    def in_order(self) -> ForeignLoader:
        """The same samples in the data set's order, each once, where torch's own DataLoader shuffles them.

        Any other loader is its own order, and returned as it is.
        """
        sampler = _sampler_in_order(self.loader)
        if sampler is None:
            return self
        same = {name: getattr(self.loader, name) for name in _KEPT}
        return ForeignLoader(torch.utils.data.DataLoader(sampler=sampler, **same), self.n_inp, self.device)

    def indices(self, key: RunKey, i: int) -> list[int]:
        """The positions of the samples in batch `i`, for a torch DataLoader that does not shuffle; else empty."""
        if type(self.loader) is not torch.utils.data.DataLoader:
            return []
        batches, sampler = self.loader.batch_sampler, self.loader.sampler
        if type(batches) is not torch.utils.data.BatchSampler or not _is_sequence(sampler):
            return []
        order = sampler if isinstance(sampler, (list, tuple, range)) else range(len(self.dataset))
        return [int(position) for position in order[i * batches.batch_size : (i + 1) * batches.batch_size]]

    def __iter__(self) -> Iterator[Any]:
        return (to_device(batch, self.device) for batch in self.loader)

    def one_batch(self) -> Any:
        """The first batch."""
        for batch in self:
            return batch
        raise ConfigError("The loader has no batch.")

    def decode_batch(self, batch: Any, max_n: int | None = None) -> list[tuple[Any, ...]]:
        """The samples of a batch, as they are."""
        parts = [part.detach().cpu() for part in batch]
        n = len(parts[0]) if max_n is None else min(max_n, len(parts[0]))
        return [tuple(part[k] for part in parts) for k in range(n)]

    def show_batch(
        self,
        b: Any = None,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
        show: bool = True,
    ) -> Any:
        """Raises `ConfigError`: nothing is known of what the tensors are."""
        raise ConfigError(
            "show_batch knows nothing of a torch DataLoader's tensors. Make the data with ImageDataLoaders or a "
            "DataBlock, or draw dls.one_batch() yourself."
        )

    def new(self, **changes: Any) -> ForeignLoader:
        """The same loader: its order and batch size are its own; only `device` and `n_inp` can be changed."""
        return ForeignLoader(self.loader, changes.get("n_inp", self.n_inp), changes.get("device", self.device))

    def to(self, device: torch.device | str) -> ForeignLoader:
        """This loader, with its batches on `device` from now on."""
        self.device = as_device(device)
        return self

    def __repr__(self) -> str:
        return f"ForeignLoader({type(self.loader).__name__}, {len(self)} batches, on {self.device})"


def _is_sequence(sampler: Any) -> bool:
    return isinstance(sampler, (list, tuple, range)) or type(sampler) is torch.utils.data.SequentialSampler


def _sampler_in_order(loader: Any) -> Any:
    """What reads a shuffling loader's samples in order; None where it does not shuffle, or in a way of its own."""
    data = torch.utils.data
    if type(loader) is not data.DataLoader or type(loader.batch_sampler) is not data.BatchSampler:
        return None
    sampler: Any = loader.sampler
    if type(sampler) is data.SubsetRandomSampler:
        return [int(position) for position in sampler.indices]
    dataset: Any = loader.dataset
    whole = type(sampler) is data.RandomSampler and not sampler.replacement and len(sampler) == len(dataset)
    return data.SequentialSampler(dataset) if whole else None


@contextlib.contextmanager
def _default_generator(seed: int) -> Iterator[None]:
    """torch's default CPU generator seeded, and put back as it was."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _first_of(batches: Any) -> Any:
    """The first element as a loop meets it, or None: an index of somebody's own class may mean another thing."""
    return next(iter(batches), None)


def _size(batch: Any) -> int | None:
    """The samples of a batch: the length of its first part; None for a batch of which that cannot be said."""
    parts = list(batch.values()) if isinstance(batch, dict) else batch
    first = _first_of(parts) if isinstance(parts, (tuple, list)) else parts
    return first.shape[0] if getattr(first, "ndim", 0) else len(first) if isinstance(first, (tuple, list)) else None


def _size_of_first(loader: Any) -> int | None:
    return _size(_first_of(loader)) if isinstance(loader, (list, tuple)) else None
