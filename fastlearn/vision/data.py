"""`ImageDataLoaders`: labelled pictures in folders, lists and tables, as loaders ready for a learner."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from fastlearn.data.block import CategoryBlock, DataBlock
from fastlearn.data.cache import CacheKind
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.label import ColReader, RegexLabeller, parent_label, using_attr
from fastlearn.data.split import ColSplitter, Splitter, StratifiedSplitter
from fastlearn.errors import ConfigError, DataError
from fastlearn.options import checked_function, checked_list, checked_path, found, named_options
from fastlearn.paths import PathList
from fastlearn.vision.blocks import ImageBlock
from fastlearn.vision.image import PILImage
from fastlearn.vision.sources import (
    FileReader,
    Label,
    StrPath,
    as_files,
    below,
    block_for,
    block_for_columns,
    check_table,
    default_resize,
    find_by_folders,
    first,
    random_splitter,
    read_table,
    refuse_missing,
    second,
    usable,
)

if TYPE_CHECKING:
    import pandas as pd

OnError = Literal["raise", "skip", "warn"]


class ImageDataLoaders(DataLoaders):
    """Loaders of labelled pictures, made by one of the `from_…` methods.

    What they share: `item_tfms` and `batch_tfms` change pictures on the CPU and batches on the device; without
    `item_tfms`, pictures that all have one size keep it and others are resized to 224 by 224, which is said. `bs` and
    `val_bs` are the batch sizes, `seed` fixes the split, `img_cls` may be `PILImageBW`. Files
    that cannot be read, or that are of another format than their name says (a PNG called .jpg), are named and refused
    when the data are checked, before training. `on_error="skip"` opens every file now and leaves those out, with their
    number; `on_error="warn"` trains on the wrongly named ones that open, and names them in a warning.

    Batches are pictures (batch, channels, height, width), float32 from 0 to 1 unless normalised, and targets (batch,).
    Raises DataError for files that are missing and labels that do not fit them, ConfigError for an option that cannot
    work.

    >>> dls = ImageDataLoaders.from_folder(untar_data(URLs.DIGITS), bs=32, seed=42)
    >>> pictures, targets = dls.one_batch()
    >>> dls.show_batch()
    """

    @classmethod
    @named_options
    def from_dblock(
        cls,
        dblock: DataBlock,
        source: Any,
        path: StrPath = ".",
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
    ) -> Self:
        """From a `DataBlock` and its source.

        Raises DataError when the source has no items, or none for training.

        >>> block = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label)
        >>> dls = ImageDataLoaders.from_dblock(block, untar_data(URLs.DIGITS))
        """
        return cls.from_dsets(  # type: ignore[return-value]
            *dblock.datasets(source).subsets,
            bs=bs,
            val_bs=val_bs,
            path=path,
            device=device,
            batch_tfms=dblock.batch_tfms,
            shuffle=shuffle,
            num_workers=num_workers,
            cache=cache,
        )

    @classmethod
    @named_options
    def from_folder(
        cls,
        path: StrPath,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        seed: int | None = None,
        vocab: Iterable[Any] | None = None,
        *,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """Classes named by folders: `train/<class>/…` and `valid/<class>/…`, or `<class>/…` alone.

        `val`, `validation` and `test` also stand for `valid`. Without such folders, or with `valid_pct`, a random part
        (a fifth) of every class is for validation.

        >>> dls = ImageDataLoaders.from_folder(untar_data(URLs.DIGITS))
        """
        files, splitter = find_by_folders(path, train, valid, valid_pct, seed)
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        return cls._build(plan, files, None, parent_label, splitter, CategoryBlock(vocab=vocab))

    @classmethod
    @named_options
    def from_path_func(
        cls,
        path: StrPath,
        fnames: Iterable[StrPath],
        label_func: Label,
        valid_pct: float = 0.2,
        seed: int | None = None,
        *,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """Classes given by `label_func` of each file's whole path.

        >>> dls = ImageDataLoaders.from_path_func(path, get_image_files(path), lambda p: p.parent.name)
        """
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        return cls._build_by_file(plan, fnames, checked_function(label_func, "label_func"), valid_pct, seed)

    @classmethod
    @named_options
    def from_name_func(
        cls,
        path: StrPath,
        fnames: Iterable[StrPath],
        label_func: Callable[[str], Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        *,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """Classes given by `label_func` of each file's name.

        >>> dls = ImageDataLoaders.from_name_func(path, get_image_files(path), lambda name: name[0].isupper())
        """
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        by_name = using_attr(checked_function(label_func, "label_func"), "name")
        return cls._build_by_file(plan, fnames, by_name, valid_pct, seed)

    @classmethod
    @named_options
    def from_path_re(
        cls,
        path: StrPath,
        fnames: Iterable[StrPath],
        pat: str | re.Pattern[str],
        valid_pct: float = 0.2,
        seed: int | None = None,
        *,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """Classes given by the first group of the pattern in each file's whole path (with `/` on every system).

        Raises DataError for a pattern without a group, and for a file that it does not match.

        >>> dls = ImageDataLoaders.from_path_re(path, get_image_files(path), r"/([^/]+)/[^/]+$")
        """
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        return cls._build_by_file(plan, fnames, RegexLabeller(pat), valid_pct, seed)

    @classmethod
    @named_options
    def from_name_re(
        cls,
        path: StrPath,
        fnames: Iterable[StrPath],
        pat: str | re.Pattern[str],
        valid_pct: float = 0.2,
        seed: int | None = None,
        *,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """Classes given by the first group of the pattern in each file's name.

        >>> dls = ImageDataLoaders.from_name_re(path, get_image_files(path), r"(.+)_\\d+.jpg$")
        """
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        return cls._build_by_file(plan, fnames, using_attr(RegexLabeller(pat), "name"), valid_pct, seed)

    @classmethod
    @named_options
    def from_lists(
        cls,
        path: StrPath,
        fnames: Iterable[StrPath],
        labels: Sequence[Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        y_block: Any = None,
        *,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """File names and, in the same order, their labels: classes, lists of classes, or floats (regression).

        Raises DataError unless there is one label a file.

        >>> files = get_image_files(path)
        >>> dls = ImageDataLoaders.from_lists(path, files, [file.parent.name for file in files])
        """
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        files, listed = list(as_files(fnames)), checked_list(labels, "labels", "one label a file")
        if len(files) != len(listed):
            raise DataError(f"There are {len(files)} file names and {len(listed)} labels: expected one label a file.")
        y_block = block_for(listed) if y_block is None else y_block
        splitter = random_splitter(y_block, valid_pct, seed, second)
        return cls._build(plan, list(zip(files, listed, strict=True)), first, second, splitter, y_block)

    @classmethod
    @named_options
    def from_df(
        cls,
        df: pd.DataFrame,
        path: StrPath = ".",
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: str | int = 0,
        folder: StrPath | None = None,
        suff: str = "",
        label_col: str | int | Sequence[str | int] = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        valid_col: str | int | None = None,
        *,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """File names in the column `fn_col`, below `path`/`folder` and with `suff` added; labels in `label_col`.

        `label_delim` splits a label into several; several `label_col` are one label each, or, where they hold 0 and 1,
        one class each. Rows that are true in `valid_col` are for validation.

        Raises DataError for a column that the table does not have, a table without rows and files that are missing.

        >>> dls = ImageDataLoaders.from_df(df, path, fn_col="file", label_col="label", valid_col="is_valid")
        """
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        get_x = FileReader(fn_col, below(path, folder), suff)
        return cls._build_by_row(plan, df, get_x, label_col, label_delim, y_block, valid_col, valid_pct, seed)

    @classmethod
    @named_options
    def from_csv(
        cls,
        path: StrPath,
        csv_fname: StrPath = "labels.csv",
        header: Any = "infer",
        delimiter: str | None = None,
        quoting: Literal[0, 1, 2, 3] = 0,
        *,
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: str | int = 0,
        folder: StrPath | None = None,
        suff: str = "",
        label_col: str | int | Sequence[str | int] = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        valid_col: str | int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        bs: int | None = None,
        val_bs: int | None = None,
        shuffle: bool = True,
        device: Any = None,
        num_workers: int | None = None,
        cache: CacheKind = "auto",
        on_error: OnError = "raise",
    ) -> Self:
        """`from_df` of the table `path`/`csv_fname`; `header`, `delimiter` and `quoting` are those of pandas.

        >>> dls = ImageDataLoaders.from_csv(path, folder="train", label_delim=" ", item_tfms=Resize(224))
        """
        plan = _Plan(path, img_cls, item_tfms, batch_tfms, bs, val_bs, shuffle, device, num_workers, cache, on_error)
        if not isinstance(csv_fname, (str, os.PathLike)):
            raise ConfigError(f"csv_fname is the name of a CSV file under {path}, found {csv_fname!r}.")
        df = read_table(os.path.join(path, csv_fname), fn_col, header, delimiter, quoting)
        get_x = FileReader(fn_col, below(path, folder), suff)
        return cls._build_by_row(plan, df, get_x, label_col, label_delim, y_block, valid_col, valid_pct, seed)

    @classmethod
    def _build_by_file(
        cls, plan: _Plan, fnames: Iterable[StrPath], get_y: Label, valid_pct: float, seed: int | None
    ) -> Self:
        files, splitter = as_files(fnames), StratifiedSplitter(valid_pct, seed, get_y)
        return cls._build(plan, files, None, get_y, splitter, CategoryBlock())

    @classmethod
    def _build_by_row(
        cls,
        plan: _Plan,
        df: pd.DataFrame,
        get_x: FileReader,
        label_col: str | int | Sequence[str | int],
        label_delim: str | None,
        y_block: Any,
        valid_col: str | int | None,
        valid_pct: float,
        seed: int | None,
    ) -> Self:
        get_y = ColReader(label_col, label_delim=label_delim)
        check_table(df, get_x, get_y)
        y_block = block_for_columns(df, label_col, label_delim) if y_block is None else y_block
        splitter = random_splitter(y_block, valid_pct, seed, get_y) if valid_col is None else ColSplitter(valid_col)
        return cls._build(plan, df, get_x, get_y, splitter, y_block)

    @classmethod
    def _build(
        cls, plan: _Plan, items: Any, get_x: Label | None, get_y: Label, splitter: Splitter, y_block: Any
    ) -> Self:
        if not isinstance(items, PathList):
            refuse_missing(items, get_x)
        if plan.on_error == "skip":
            items = usable(items, get_x)
        item_tfms = default_resize(items, get_x) if plan.item_tfms is None else plan.item_tfms
        block = DataBlock(
            (ImageBlock(plan.img_cls, "warn" if plan.on_error == "warn" else "raise"), y_block),
            splitter=splitter,
            get_x=get_x,
            get_y=get_y,
            item_tfms=item_tfms,
            batch_tfms=plan.batch_tfms,
        )
        return cls.from_dblock(
            block,
            items,
            plan.path,
            plan.bs,
            val_bs=plan.val_bs,
            shuffle=plan.shuffle,
            device=plan.device,
            num_workers=plan.num_workers,
            cache=plan.cache,
        )


@dataclass(frozen=True)
class _Plan:
    """The options that all `from_…` methods share."""

    path: StrPath
    img_cls: type[PILImage]
    item_tfms: Any
    batch_tfms: Any
    bs: int | None
    val_bs: int | None
    shuffle: bool
    device: Any
    num_workers: int | None
    cache: CacheKind
    on_error: OnError

    def __post_init__(self) -> None:
        checked_path(self.path, "path")
        if not isinstance(self.on_error, str) or self.on_error not in ("raise", "skip", "warn"):
            raise ConfigError(f"on_error={found(self.on_error)}: choose 'raise' or 'skip', or 'warn' for wrong names.")
