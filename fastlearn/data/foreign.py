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
from fastlearn.runtime.seed import RunKey


class ForeignLoader:
    """The batches of somebody else's `loader`, on a device.

    A loader that shuffles with torch's default generator repeats by (seed, stream, epoch), because that generator is
    seeded while a pass is set up and put back afterwards; a sampler or loader with `set_epoch` is told the epoch. What
    it draws in any other way is its own affair. A pass can start in the middle, by reading and dropping what is before.
    """

    def __init__(self, loader: Any, n_inp: int = 1, device: torch.device | str | None = None) -> None:
        if not hasattr(loader, "__iter__"):
            raise ConfigError(f"A {type(loader).__name__} cannot be iterated: pass a DataLoader, or a list of batches.")
        first = loader[0] if isinstance(loader, (list, tuple)) and len(loader) else loader
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
        return sum(_size(b) for b in self.loader) if isinstance(self.loader, (list, tuple)) else None

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
        with _default_generator(key.derive("foreign")):
            stream = iter(self.loader)
            # A sampler draws its order when its first batch is asked for.
            head = list(islice(stream, start, start + 1))
        for batch in head:
            yield to_device(batch, self.device)
        for batch in stream:
            yield to_device(batch, self.device)

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

    def show_batch(self, *args: Any, **options: Any) -> Any:
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


@contextlib.contextmanager
def _default_generator(seed: int) -> Iterator[None]:
    """torch's default CPU generator seeded, and put back as it was."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _size(batch: Any) -> int:
    first = batch[0] if isinstance(batch, (tuple, list)) else batch
    return len(first)


def _size_of_first(loader: Any) -> int | None:
    return _size(loader[0]) if isinstance(loader, (list, tuple)) and loader else None
