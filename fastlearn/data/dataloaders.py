"""`DataLoaders`: the training loader and the validation loader, with what both know about the data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastlearn.data.cache import CacheKind
from fastlearn.data.choose_workers import has_own_code
from fastlearn.data.fixed import cache_pictures
from fastlearn.data.foreign import ForeignLoader
from fastlearn.data.loaders import DataLoader, Workers, checked_bs
from fastlearn.data.samples import as_weights
from fastlearn.data.transform import BatchPipeline, as_tuple
from fastlearn.errors import ConfigError, DataError, ImageError, no_attribute
from fastlearn.lists import L, is_single
from fastlearn.options import checked_flag, checked_path, found, named_options
from fastlearn.paths import Path, PathList, printable, siblings_like
from fastlearn.runtime.device import as_device, default_device

if TYPE_CHECKING:
    from fastlearn.task import Task


class DataLoaders:
    """A training loader, a validation loader and perhaps more, on one device.

    Takes fastlearn's `DataLoader`s, torch's, or sized iterables such as a list of batches (wrapped; the original is at
    `.train.loader`). `path` is where a learner writes.

    >>> dls = DataLoaders(train_loader, valid_loader)
    """

    @named_options
    def __init__(
        self,
        train: Any,
        valid: Any = None,
        *more: Any,
        path: str | os.PathLike[str] = ".",
        device: torch.device | str | None = None,
    ) -> None:
        given = [train, *([] if valid is None else [valid]), *more]
        own = next((loader.device for loader in given if hasattr(loader, "batches")), None)
        chosen = own or default_device() if device is None else as_device(device)
        n_inp = next((loader.n_inp for loader in given if hasattr(loader, "batches")), 1)
        self.loaders: list[Any] = [
            loader if hasattr(loader, "batches") else ForeignLoader(loader, n_inp, chosen) for loader in given
        ]
        self.path = Path(checked_path(path, "path"))
        self.to(chosen)

    @classmethod
    @named_options
    def from_dsets(
        cls,
        *ds: Any,
        bs: int | None = None,
        val_bs: int | None = None,
        path: str | os.PathLike[str] = ".",
        device: torch.device | str | None = None,
        batch_tfms: Any = None,
        shuffle: bool = True,
        drop_last: bool | None = None,
        num_workers: int | None = None,
        workers: Workers = "auto",
        weights: Any = None,
        seed: int | None = None,
        cache: CacheKind = "auto",
    ) -> DataLoaders:
        """Loaders of data sets: the first is shuffled, transformed at random, and drops its last partial batch.

        `bs` is 64 unless given, or the whole training set where that is smaller; `val_bs` is `bs` unless given.
        `cache` keeps decoded and resized pictures, so that the second epoch decodes nothing: "memory", "disk" (for the
        next session too), False, or "auto", which takes the first that has room and says so. No pixel depends on it.

        Raises DataError without training samples.

        >>> dls = DataLoaders.from_dsets(train_ds, valid_ds, bs=32)
        """
        if not ds or (hasattr(ds[0], "__len__") and not isinstance(ds[0], type) and not len(ds[0])):
            raise DataError("There are no training samples. Check get_items and the splitter.")
        kinds, n_inp = getattr(ds[0], "kinds", ()), getattr(ds[0], "n_inp", 1)
        pipeline = BatchPipeline(as_tuple(batch_tfms), kinds, n_inp)
        device = as_device(device)
        train = DataLoader(
            ds[0],
            bs,
            shuffle,
            drop_last=shuffle if drop_last is None else drop_last,
            num_workers=num_workers,
            workers=workers,
            weights=weights,
            device=device,
            after_batch=pipeline,
            train=True,
            seed=seed,
        )
        if val_bs is not None:
            checked_bs(val_bs, len(ds[1]) if len(ds) > 1 else 0, False, "val_bs")
        others = [
            DataLoader(
                dataset,
                val_bs if val_bs is not None else train.bs,
                num_workers=num_workers,
                workers=workers,
                device=device,
                after_batch=pipeline,
                seed=seed,
            )
            for dataset in ds[1:]
        ]
        may_send = workers == "process" or (workers == "auto" and cache != "memory" and has_own_code(ds[0]))
        cache_pictures(ds, cache, may_send)
        return cls(train, *others, path=path, device=device)

    # What there is

    @property
    def train(self) -> Any:
        """The training loader."""
        return self.loaders[0]

    @property
    def valid(self) -> Any:
        """The validation loader."""
        return self[1]

    @property
    def train_ds(self) -> Any:
        """The training loader's data set."""
        return self.train.dataset

    @property
    def valid_ds(self) -> Any:
        """The validation loader's data set."""
        return self.valid.dataset

    @property
    def vocab(self) -> Any:
        """The classes, or None."""
        return self.train.vocab

    @property
    def c(self) -> int | None:
        """How many outputs a model needs: classes, or numbers; None where the data do not say."""
        task: Any = self.task
        if task is not None:
            return task.n_out
        return None if self.vocab is None else len(self.vocab)

    @property
    def task(self) -> Task | None:
        """What there is to learn, from the target's block; None for loaders that do not say."""
        targets = self._blocks[self.n_inp :]
        return targets[0].task() if len(targets) == 1 else None

    @property
    def display(self) -> Any:
        """What draws batches, from the first block that can; None otherwise."""
        return next((block.display for block in self._blocks if block.display is not None), None)

    @property
    def _blocks(self) -> Sequence[Any]:
        return getattr(self.train_ds, "blocks", ())

    @property
    def bs(self) -> int | None:
        """The training loader's batch size."""
        return self.train.bs

    @property
    def n_inp(self) -> int:
        """How many parts of a batch are the model's inputs."""
        return self.train.n_inp

    def __getitem__(self, i: int) -> Any:
        if not isinstance(i, (int, np.integer)) or not -len(self.loaders) <= i < len(self.loaders):
            raise ConfigError(f"There is no loader {found(i)}: there are {len(self.loaders)} (0 is train, 1 is valid).")
        return self.loaders[i]

    def __len__(self) -> int:
        return len(self.loaders)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loaders)

    # Looking

    def one_batch(self) -> Any:
        """One training batch.

        >>> pictures, targets = dls.one_batch()  # (batch, channels, height, width), (batch,)
        """
        return self.train.one_batch()

    @named_options
    def show_batch(
        self,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
        show: bool = True,
    ) -> Any:
        """Draw `max_n` training samples with their targets; see `DataLoader.show_batch`.

        >>> dls.show_batch(max_n=4)
        """
        return self.train.show_batch(None, max_n, nrows, ncols, figsize, unique, show)

    def check(self) -> Any:
        """Look at every file and label and report what is wrong, before training.

        >>> dls.check()
        """
        from fastlearn.data.checks import check_dataloaders

        return check_dataloaders(self)

    # More loaders

    @named_options
    def test_dl(
        self, items: Any, with_labels: bool = False, bs: int | None = None, num_workers: int | None = None
    ) -> DataLoader:
        """A loader of new items, treated like the validation set; labels are read only if `with_labels`.

        Items are of the sort that training had (paths, rows of a DataFrame), or raw inputs (a path, bytes, a picture).

        Raises ConfigError for loaders of your own, DataError without items.

        >>> probabilities, _ = learn.get_preds(dl=dls.test_dl(files))
        """
        dataset = self.train_ds
        if not hasattr(dataset, "inputs_only"):
            raise ConfigError(
                "test_dl needs DataLoaders made by a DataBlock or ImageDataLoaders. Pass a torch DataLoader of the new "
                "items to learn.get_preds(dl=…) instead."
            )
        if items is None:
            raise DataError(
                "There are no items to make a test_dl of: found None. Type dls.test_dl(get_image_files(path))."
            )
        if not hasattr(items, "iloc") and not isinstance(items, PathList):
            items = L([items]) if is_single(items) or hasattr(items, "convert") else L(items)
        if not len(items):
            raise DataError("There are no items to make a test_dl of.")
        made = dataset.new(items, "test")
        _refuse_no_picture(made)
        if checked_flag(with_labels, "with_labels"):
            for part in range(made.n_inp, len(made.blocks)):
                made.blocks[part].check(made.raw[part], "test")
        else:
            made = made.inputs_only()
        model = self.loaders[1] if len(self.loaders) > 1 else self.train
        options = {} if num_workers is None else {"num_workers": num_workers}
        return model.new(
            made,
            bs=bs if bs is not None else min(model.bs, len(items)),
            shuffle=False,
            drop_last=False,
            weights=None,
            train=False,
            **options,
        )

    @named_options
    def weighted(self, weights: Any = "balanced") -> DataLoaders:
        """The same loaders, with training samples drawn by weight: "balanced" for equal classes, or one a sample.

        >>> dls = dls.weighted("balanced")
        """
        return self._with([self.train.new(weights=weights), *self.loaders[1:]])

    def new(self, **changes: Any) -> DataLoaders:
        """The same loaders with other options (`bs`, `num_workers`, `device`…).

        >>> dls = dls.new(bs=16)
        """
        return self._with([loader.new(**changes) for loader in self.loaders])

    @named_options
    def add_batch_tfms(self, tfms: Any) -> DataLoaders:
        """The same loaders with more batch transforms, placed by their `order`.

        Raises ConfigError for torch's loaders.

        >>> dls = dls.add_batch_tfms(aug_transforms())
        """
        changed = []
        for loader in self.loaders:
            if not isinstance(loader, DataLoader):
                raise ConfigError("A torch DataLoader takes no batch_tfms: transform its batches in its collate_fn.")
            given = [*loader.after_batch.given, *as_tuple(tfms)]
            changed.append(loader.new(after_batch=BatchPipeline(given, loader.kinds, loader.n_inp)))
        return self._with(changed)

    def _with(self, loaders: list[Any]) -> DataLoaders:
        made = DataLoaders(*loaders, path=self.path)
        made.to(loaders[0].device)
        return made

    # Device

    @property
    def device(self) -> torch.device:
        """Where batches come out."""
        return self.train.device

    def to(self, device: torch.device | str) -> DataLoaders:
        """These loaders, with their batches on `device` from now on.

        >>> dls.to("cpu").one_batch()
        """
        for loader in self.loaders:
            loader.to(device)
        return self

    def cpu(self) -> DataLoaders:
        """These loaders, with their batches on the CPU.

        >>> dls.cpu().one_batch()
        """
        return self.to("cpu")

    def cuda(self) -> DataLoaders:
        """These loaders, with their batches on the default CUDA GPU.

        >>> dls.cuda().one_batch()
        """
        return self.to("cuda")

    if not TYPE_CHECKING:  # a type checker, and completion, shall know the real names only

        def __getattr__(self, name: str) -> Any:
            """Only for names that loaders do not have: an error that tells the nearest."""
            raise no_attribute(self, name)

    def __repr__(self) -> str:
        names = ["train", "valid", *(f"loader {k}" for k in range(2, len(self.loaders)))]
        shown = (f"{name}={loader!r}" for name, loader in zip(names, self.loaders, strict=False))
        return f"DataLoaders({', '.join(shown)})"


def _refuse_no_picture(dataset: Any) -> None:
    """ImageError where the first of new items is a path with no file there: the rest are told when they are read."""
    if not len(dataset) or tuple(getattr(dataset, "kinds", ()))[:1] != ("image",):
        return
    path = dataset.read(0, 0)
    if not isinstance(path, (str, os.PathLike)) or os.path.isfile(path):
        return
    shown = printable(path)
    if os.path.isdir(path):
        ways = f"for the pictures in it type dls.test_dl(get_image_files({shown!r}))"
        raise ImageError(f"{shown} is a folder, not a picture: {ways}.", str(path))
    if not os.path.lexists(path):
        raise ImageError(f"There is no file {shown}.{siblings_like(path)}", str(path))


def train_weights(weights: Any, n_items: int, train: np.ndarray) -> Any:
    """The training side's part of weights that were given for all items."""
    one_each = hasattr(weights, "__len__") and not isinstance(weights, (str, type)) and len(weights) == n_items
    return as_weights(weights)[train] if one_each else weights
