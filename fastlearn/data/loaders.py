"""`DataLoader`: batches of a data set, in an order and with random changes that depend on the pass's key alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch

from fastlearn.data.choose_workers import choose_workers
from fastlearn.data.samples import sample_weights
from fastlearn.data.transform import Batch, BatchPipeline, is_ours
from fastlearn.data.workers import Job, Reader, read_here, read_in_processes, read_in_threads
from fastlearn.errors import ConfigError, DataError
from fastlearn.options import checked_flag, checked_function, found, named_options, unknown_option
from fastlearn.runtime.device import as_device, to_cpu, to_device
from fastlearn.runtime.seed import RunKey, check_seed

Workers = Literal["auto", "thread", "process"]
DEFAULT_BS = 64
MOST_WORKERS = 8
OPTIONS = (
    "bs",
    "shuffle",
    "drop_last",
    "num_workers",
    "workers",
    "weights",
    "device",
    "after_batch",
    "train",
    "collate",
    "n_inp",
    "seed",
)


@runtime_checkable
class Loader(Protocol):
    """What training needs of a loader: sized, with batches of a pass by its key, on a device."""

    n_inp: int
    bs: int | None
    device: torch.device

    def __len__(self) -> int: ...

    def batches(self, key: RunKey, start: int = 0) -> Iterator[Any]: ...


class Display(Protocol):
    """What a block's `display` does: draw a batch of its loader (`loader.decode_batch(batch)` makes it readable)."""

    def show_batch(
        self, loader: Any, batch: Batch, *, max_n: int, nrows: int | None, ncols: int | None, figsize: Any
    ) -> Any: ...

    def show_results(self, loader: Any, batch: Batch, decoded: Any, *, max_n: int, figsize: Any) -> Any: ...


class DataLoader:
    """Batches of any data set that has a length and an index, on a device, read ahead by threads or processes.

    `bs` is 64 unless given, or the whole set where that is smaller. Data sets with a `sample` method (see
    `ItemDataset`) give arrays that are stacked; others go through torch's collation, or `collate`, and are read in
    this thread unless `num_workers` says otherwise, because they may not be safe to share. `workers` is "thread",
    "process", or "auto": threads, unless an item transform of one's own is seen to hold Python's lock. `weights`, one
    an item or "balanced", draws items with replacement. `train` turns random changes on. Raises `ConfigError` for
    options that cannot work, such as a `bs` of 0 or, where batches are shuffled, one larger than the set.

    >>> loader = DataLoader(dataset, bs=32, shuffle=True)
    >>> inputs, targets = loader.one_batch()
    """

    @named_options
    def __init__(
        self,
        dataset: Any,
        bs: int | None = None,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        num_workers: int | None = None,
        workers: Workers = "auto",
        weights: Any = None,
        device: torch.device | str | None = None,
        after_batch: BatchPipeline | None = None,
        train: bool = False,
        collate: Callable[[list[Any]], Any] | None = None,
        n_inp: int = 1,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        if bs is not None and batch_size is not None and bs != batch_size:
            raise ConfigError(f"bs={bs} and batch_size={batch_size} are two names for one thing: pass one of them.")
        if hasattr(dataset, "iloc"):
            raise ConfigError(
                f"A {type(dataset).__name__} is no data set: its rows are not samples yet. Make them with a DataBlock, "
                "or ImageDataLoaders.from_df."
            )
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__") or isinstance(dataset, type):
            raise ConfigError(
                f"A {type(dataset).__name__} has no length or index. Pass a list or a data set; for an iterable loader "
                "type DataLoaders(train_loader, valid_loader)."
            )
        self.dataset, self.shuffle = dataset, checked_flag(shuffle, "shuffle")
        self.drop_last, self.train = checked_flag(drop_last, "drop_last"), checked_flag(train, "train")
        self.bs = checked_bs(bs if bs is not None else batch_size, len(dataset), shuffle or train)
        self.ours = hasattr(dataset, "sample")
        self.num_workers = _checked_workers(num_workers, workers, self.ours)
        self.workers: str = workers
        self.weights = None if weights is None else sample_weights(weights, dataset)
        self.device = as_device(device)
        self.collate = None if collate is None else checked_function(collate, "collate")
        self.n_inp = int(getattr(dataset, "n_inp", _checked_n_inp(n_inp)))
        self.kinds: tuple[str, ...] = tuple(getattr(dataset, "kinds", ()))
        self.after_batch = BatchPipeline((), self.kinds, self.n_inp) if after_batch is None else after_batch
        if not isinstance(self.after_batch, BatchPipeline):
            raise ConfigError(
                f"after_batch is a BatchPipeline, not {found(after_batch)}. Transforms are given to what makes the "
                "loaders: batch_tfms=aug_transforms()."
            )
        self.seed = _seed_of_now() if seed is None else check_seed(seed)
        self._passes = self._looks = 0

    # Sizes and order

    @property
    def n(self) -> int:
        """How many samples the data set has."""
        return len(self.dataset)

    def __len__(self) -> int:
        return self.n // self.bs if self.drop_last else -(-self.n // self.bs)

    def order(self, key: RunKey) -> np.ndarray:
        """The positions of the samples in the pass `key`, before they are cut into batches."""
        if self.weights is not None:
            return key.numpy_rng("order").choice(self.n, self.n, p=self.weights)
        if self.shuffle:
            return key.numpy_rng("order").permutation(self.n)
        return np.arange(self.n)

    def indices(self, key: RunKey, i: int) -> list[int]:
        """The positions of the samples in batch `i` of the pass `key`."""
        i = range(len(self))[i]
        return self.order(key)[i * self.bs : (i + 1) * self.bs].tolist()

    # Batches

    def batches(self, key: RunKey, start: int = 0) -> Iterator[Batch]:
        """The batches of the pass `key` from number `start` on, transformed and on the device.

        The same key gives the same bits, whatever the workers and wherever the pass starts. Close the iterator (or
        leave the loop that holds it) to end the workers before the end.
        """
        order, bs = self.order(key), self.bs
        if (cache := getattr(self.dataset, "cache", None)) is not None:
            cache.refresh()
        numbers = range(start, len(self))
        jobs = (Job(key, i * bs, tuple(order[i * bs : (i + 1) * bs].tolist()), i) for i in numbers)
        with closing(self._read(jobs, len(numbers))) as stream:  # type: ignore[type-var]
            yield from stream

    def __iter__(self) -> Iterator[Batch]:
        self._passes += 1
        return self.batches(RunKey(self.seed, "iter", self._passes - 1))

    def one_batch(self) -> Batch:
        """One batch; each call gives another where the loader shuffles, and no training pass changes by it."""
        if not len(self):
            raise DataError(f"There is no batch: {self.n} samples, bs={self.bs}, drop_last={self.drop_last}.")
        self._looks += 1
        key = RunKey(self.seed, "look", self._looks - 1)
        return self._some(key, tuple(self.indices(key, 0)))

    def _some(self, key: RunKey, indices: tuple[int, ...]) -> Batch:
        """These samples as a batch; one that comes several times is changed differently each time."""
        by_position = len(set(indices)) < len(indices)
        with closing(self._read(iter([Job(key, 0, indices)]), 1, by_position)) as stream:  # type: ignore[type-var]
            return next(stream)

    def _read(self, jobs: Iterator[Job], n_batches: int, by_position: bool = False) -> Iterator[Any]:
        """The batches of these jobs, transformed and on the device."""
        pin = self.device.type == "cuda"
        reader = Reader(self.dataset, self.train, by_position or self.weights is not None, self.collate, pin)
        by_process = self.num_workers > 0 and n_batches > 1 and self._workers_for(reader) == "process"
        by_thread = self.num_workers > 0 and n_batches > 0 and not by_process
        if by_thread and self._finished_by_readers():
            yield from read_in_threads(reader, jobs, self.num_workers, self.bs, self._finish)
            return
        jobs, read_jobs = itertools.tee(jobs)
        if by_process:
            read = read_in_processes(reader, jobs, min(self.num_workers, n_batches))
        elif by_thread:
            read = read_in_threads(reader, jobs, self.num_workers, self.bs)
        else:
            read = read_here(reader, jobs)
        with closing(read) as stream:  # type: ignore[type-var]
            for job, batch in zip(read_jobs, stream, strict=True):
                yield self._finish(batch, job)

    def _finished_by_readers(self) -> bool:
        """Whether the threads that read batches transform them too, side by side with the training.

        On a CPU, and with transforms of fastlearn's: those of others may not be safe to share.
        """
        tfms = self.after_batch.tfms
        return self.device.type == "cpu" and self.ours and self.collate is None and all(map(is_ours, tfms))

    def _workers_for(self, reader: Reader) -> str:
        """Threads or processes; of "auto", what the first whole pass has shown to be faster."""
        if self.workers == "auto":
            self.workers = choose_workers(reader, RunKey(self.seed, "look", 0), self.n, self.num_workers)
        return self.workers

    def _finish(self, batch: Any, job: Job) -> Batch:
        batch = to_device(batch, self.device, non_blocking=self.device.type == "cuda")
        if not self.after_batch:
            return batch
        rng = job.key.torch_rng("batch", job.number)
        return self.after_batch(tuple(batch), rng, self.train)

    # Looking

    def decode_batch(self, batch: Batch, max_n: int | None = None) -> list[tuple[Any, ...]]:
        """The samples of a batch as a person should see them: pictures as they were, classes by name."""
        parts = to_cpu(self.after_batch.decode(tuple(batch)))
        blocks = getattr(self.dataset, "blocks", ())
        n = len(parts[0]) if max_n is None else min(max_n, len(parts[0]))
        columns = [[part[k] for k in range(n)] for part in parts]
        for p, block in enumerate(blocks[: len(columns)]):
            columns[p] = [block.decode(value) for value in columns[p]]
        return list(zip(*columns, strict=True))

    @named_options
    def show_batch(
        self,
        b: Batch | None = None,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
        show: bool = True,
    ) -> Any:
        """Draw `max_n` samples with their targets; `unique` shows one sample with different random changes.

        With `show=False`, returns the decoded samples instead.
        """
        check_max_n(max_n)
        batch = b if b is not None else self._sample_of(max_n, unique)
        if not show:
            return self.decode_batch(batch, max_n)
        display = next((block.display for block in getattr(self.dataset, "blocks", ()) if block.display), None)
        if display is None:
            raise ConfigError(
                f"A batch of kinds {', '.join(self.kinds) or 'unknown'} cannot be drawn: that needs an ImageBlock. "
                "one_batch() gives its tensors, show_batch(show=False) its samples."
            )
        return display.show_batch(self, batch, max_n=max_n, nrows=nrows, ncols=ncols, figsize=figsize)

    def _sample_of(self, n: int, unique: bool) -> Batch:
        if not self.n:
            raise DataError("There is nothing to show: the set is empty.")
        self._looks += 1
        key = RunKey(self.seed, "show", self._looks - 1)
        order = self.order(key)[:n].tolist()
        return self._some(key, tuple(order[:1] * n if unique else order))

    # The data set's

    @property
    def items(self) -> Any:
        """The items of the data set."""
        return getattr(self.dataset, "items", self.dataset)

    @property
    def vocab(self) -> Any:
        """The classes, or None."""
        return getattr(self.dataset, "vocab", None)

    # Changing

    def new(self, dataset: Any = None, **changes: Any) -> DataLoader:
        """A loader like this one with other options or of another data set; `bs` is kept where it fits the set."""
        options = self._options()
        unknown = [name for name in changes if name not in options]
        if unknown:
            raise ConfigError(unknown_option(unknown[0], "A DataLoader", options))
        dataset = self.dataset if dataset is None else dataset
        if "bs" not in changes and len(dataset) < self.bs:
            options["bs"] = None
        return DataLoader(dataset, **(options | changes))

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS}

    def to(self, device: torch.device | str) -> DataLoader:
        """This loader, with its batches on `device` from now on."""
        self.device = as_device(device)
        return self

    def __repr__(self) -> str:
        return f"DataLoader({self.n} samples, bs={self.bs}, {len(self)} batches, on {self.device})"


def checked_bs(bs: int | None, n: int, shuffled: bool, name: str = "bs") -> int:
    """The batch size to use; raises `ConfigError` naming it and the size of the set."""
    if bs is None:
        return max(1, min(DEFAULT_BS, n))
    whole = isinstance(bs, (int, np.integer)) and not isinstance(bs, bool)
    if not whole or bs < 1:
        usual = max(1, min(DEFAULT_BS, n))
        raise ConfigError(
            f"{name}={found(bs)} for a set of {n} samples: expected a whole number from 1. Type {name}={usual}."
        )
    if shuffled and bs > n > 0:
        raise ConfigError(f"bs={bs} is larger than the training set, which has {n} samples. Type bs={n} or less.")
    return int(bs)


def check_max_n(max_n: Any) -> None:
    """Raise ConfigError unless `max_n` is a number of samples that can be drawn."""
    if not isinstance(max_n, (int, np.integer)) or max_n < 1:
        raise ConfigError(f"max_n={found(max_n)}: expected how many samples to draw, a whole number from 1.")


def _checked_workers(num_workers: int | None, workers: str, ours: bool) -> int:
    if not isinstance(workers, str) or workers not in ("auto", "thread", "process"):
        raise ConfigError(f"workers={found(workers)}: choose 'auto', 'thread' or 'process'.")
    if num_workers is None:
        return min(MOST_WORKERS, os.cpu_count() or 1) if ours or workers == "process" else 0
    if not isinstance(num_workers, (int, np.integer)) or num_workers < 0:
        raise ConfigError(f"num_workers={found(num_workers)}: expected 0 (none) or more.")
    return int(num_workers)


def _checked_n_inp(n_inp: Any) -> int:
    if not isinstance(n_inp, (int, np.integer)) or isinstance(n_inp, bool) or n_inp < 1:
        raise ConfigError(f"n_inp={found(n_inp)}: expected how many parts of a sample are inputs, from 1.")
    return int(n_inp)


def _seed_of_now() -> int:
    """A seed that follows `set_seed` and `torch.manual_seed`, without advancing torch's generator."""
    generator = torch.Generator()
    generator.set_state(torch.default_generator.get_state())
    return int(torch.randint(2**31 - 1, (), generator=generator).item())
