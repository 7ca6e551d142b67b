"""Splitters: functions of the items that return the positions of the training and of the validation items."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from fastlearn.data.label import describe, is_hashable, item_at, name_above, parent_label, part_names, read_all, row_of
from fastlearn.errors import ConfigError, DataError, near
from fastlearn.options import checked_flag, checked_function, checked_list, checked_path, found, named_options
from fastlearn.paths import Path, PathList, printable
from fastlearn.runtime.seed import check_seed

Split = tuple[np.ndarray, np.ndarray]
Splitter = Callable[[Any], tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]]


def permutation(n: int, seed: int | None) -> np.ndarray:
    """A random order of `n` positions: torch's, so that a seed gives the same split as in other torch libraries.

    Without a seed it is drawn from torch's global generator, which `set_seed` fixes.
    """
    generator = None if seed is None else torch.Generator().manual_seed(check_seed(seed))
    return torch.randperm(n, generator=generator).numpy()


def split_by(is_valid: np.ndarray) -> Split:
    """The positions where a mask is false, and where it is true."""
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)


@named_options
def RandomSplitter(valid_pct: float = 0.2, seed: int | None = None) -> Splitter:
    """A random part of `valid_pct` for validation; the same for the same seed and number of items.

    >>> train, valid = RandomSplitter(0.2, seed=42)(items)
    """
    _check_part("valid_pct", valid_pct)

    def split(items: Any) -> Split:
        order = permutation(len(items), seed)
        cut = int(valid_pct * len(items))
        if valid_pct and not cut:
            raise DataError(f"valid_pct={valid_pct} of {_count(len(items))} leaves none for validation.")
        return order[cut:], order[:cut]

    return split


@named_options
def StratifiedSplitter(
    valid_pct: float = 0.2, seed: int | None = None, get_y: Callable[[Any], Any] = parent_label
) -> Splitter:
    """A random part of `valid_pct` of every class, so that rare classes are on both sides.

    `get_y` gives an item's class. Each class of two or more items has at least one on each side; a single one trains.

    >>> train, valid = StratifiedSplitter(0.2, seed=42)(get_image_files(path))
    """
    _check_part("valid_pct", valid_pct)

    def split(items: Any) -> Split:
        classes = _codes(read_all(get_y, items, "get_y"), items, "get_y")
        order = permutation(len(items), seed)
        is_valid = np.zeros(len(items), dtype=bool)
        by_class = order[np.argsort(classes[order], kind="stable")]
        for members in np.split(by_class, np.cumsum(np.bincount(classes))[:-1]):
            n = min(max(round(valid_pct * len(members)), 1 if valid_pct else 0), len(members) - 1)
            is_valid[members[:n]] = True
        return order[~is_valid[order]], order[is_valid[order]]

    return split


@named_options
def GroupSplitter(get_group: Callable[[Any], Hashable], valid_pct: float = 0.2, seed: int | None = None) -> Splitter:
    """Whole groups (a patient, a video) are drawn for validation until they hold `valid_pct` of the items.

    Raises DataError when all items are of one group.

    >>> train, valid = GroupSplitter(lambda file: file.name.split("_")[0], seed=42)(files)
    """
    _check_part("valid_pct", valid_pct)

    def split(items: Any) -> Split:
        groups = _codes(read_all(get_group, items, "get_group"), items, "get_group")
        sizes = np.bincount(groups)
        if len(sizes) < 2 and valid_pct:
            raise DataError(f"All {_count(len(items))} belong to one group: there is no second one to validate on.")
        order = permutation(len(sizes), seed)
        before = np.cumsum(sizes[order]) - sizes[order]
        drawn = order[before < valid_pct * len(items)][: len(sizes) - 1]
        return split_by(np.isin(groups, drawn))

    return split


@named_options
def GrandparentSplitter(
    train_name: str | Iterable[str] = "train", valid_name: str | Iterable[str] = "valid"
) -> Splitter:
    """By the name of the folder above the class folder: `train/<class>/x.jpg`, `valid/<class>/y.jpg`.

    Raises DataError when a side has no item.

    >>> GrandparentSplitter()(["train/cat/1.jpg", "valid/cat/2.jpg", "train/dog/3.jpg"])
    (array([0, 2]), array([1]))
    """
    train_names, valid_names = _names(train_name), _names(valid_name)

    def split(items: Any) -> Split:
        paths = items if isinstance(items, PathList) else PathList(items)
        ids, folders = paths.folders()
        above = [name_above(folder, 2) for folder in folders]
        sides = []
        for names, option in ((train_names, "train_name"), (valid_names, "valid_name")):
            sides.append(np.flatnonzero(np.array([name in names for name in above])[ids]))
            if not len(sides[-1]):
                raise DataError(_no_folder(names, set(above), option))
        return sides[0], sides[1]

    return split


@named_options
def FuncSplitter(func: Callable[[Any], object]) -> Splitter:
    """The items for which `func` is true are for validation.

    >>> FuncSplitter(str.isupper)(["a", "B", "c"])
    (array([0, 2]), array([1]))
    """
    checked_function(func, "func")

    def split(items: Any) -> Split:
        flags = read_all(func, items, "func")
        return split_by(np.array([_flag(flag, items, i) for i, flag in enumerate(flags)], dtype=bool))

    return split


@named_options
def MaskSplitter(mask: Any) -> Splitter:
    """The items whose flag in `mask` is true are for validation.

    Raises DataError unless there is one flag an item.

    >>> MaskSplitter([False, True, False])(["a", "b", "c"])
    (array([0, 2]), array([1]))
    """
    flags = np.array(checked_list(mask, "mask", "True and False, one an item"), dtype=object)
    if flags.ndim != 1 or not all(isinstance(flag, (bool, int, np.bool_, np.integer)) for flag in flags.tolist()):
        raise ConfigError(f"mask is a list of True and False, one an item, not {found(mask)}.")
    flags = flags.astype(bool)

    def split(items: Any) -> Split:
        if len(flags) != len(items):
            raise DataError(f"The mask has {len(flags)} flags for {_count(len(items))}.")
        return split_by(flags)

    return split


@named_options
def IndexSplitter(valid_idx: Iterable[int]) -> Splitter:
    """The items at these positions are for validation.

    Raises DataError for a position that there is no item at.

    >>> IndexSplitter([1])(["a", "b", "c"])
    (array([0, 2]), array([1]))
    """
    given = valid_idx.tolist() if hasattr(valid_idx, "tolist") else valid_idx
    chosen = np.array([_position(i) for i in checked_list(given, "valid_idx", "positions, such as [0, 5]")], np.int64)

    def split(items: Any) -> Split:
        n = len(items)
        if len(chosen) and (chosen.min() < -n or chosen.max() >= n):
            bad = next(int(i) for i in chosen if not -n <= i < n)
            raise DataError(f"valid_idx names position {bad}, but there are {_count(n)} (positions 0 to {n - 1}).")
        is_valid = np.zeros(n, dtype=bool)
        is_valid[chosen] = True
        return np.flatnonzero(~is_valid), chosen

    return split


@named_options
def EndSplitter(valid_pct: float = 0.2, valid_last: bool = True) -> Splitter:
    """The last part of the items, or the first, is for validation (for data in order of time).

    >>> EndSplitter(0.4)(["a", "b", "c", "d", "e"])
    (array([0, 1, 2]), array([3, 4]))
    """
    _check_part("valid_pct", valid_pct)
    checked_flag(valid_last, "valid_last")

    def split(items: Any) -> Split:
        n = len(items)
        positions, cut = np.arange(n), math.ceil(valid_pct * n)
        return (positions[: n - cut], positions[n - cut :]) if valid_last else (positions[cut:], positions[:cut])

    return split


@named_options
def FileSplitter(fname: str | os.PathLike[str]) -> Splitter:
    """The items whose file name stands in the text file `fname`, one a line, are for validation.

    Raises DataError when the file cannot be read or names none of the items.

    >>> train, valid = FileSplitter(path / "valid.txt")(get_image_files(path))
    """
    checked_path(fname, "fname")

    def split(items: Any) -> Split:
        try:
            names = set(Path(fname).read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError) as error:  # a ValueError for a name that no file can have, or what is no text
            why = getattr(error, "strerror", None) or error
            raise DataError(f"The list of names {printable(fname)} cannot be read: {why}.") from error
        here = part_names(items, 1)
        is_valid = np.fromiter((name in names for name in here), dtype=bool, count=len(here))
        if not is_valid.any():
            raise DataError(
                f"None of the {len(names)} names in {printable(fname)} (such as {min(names, default='')!r}) is that of "
                f"an item (such as {next(iter(here), '')!r}). Expected file names without folders, one a line."
            )
        return split_by(is_valid)

    return split


@named_options
def ColSplitter(col: str | int = "is_valid", on: Any = None) -> Splitter:
    """By a column of a DataFrame: true means validation, or with `on`, a value equal to it (or in it, for a list).

    Raises DataError for a column that is missing, has gaps, or puts all rows on one side.

    >>> train, valid = ColSplitter("is_valid")(df)
    """

    def split(items: Any) -> Split:
        if not hasattr(items, "iloc"):
            raise DataError(f"ColSplitter({col!r}) needs a pandas DataFrame, not {type(items).__name__}.")
        column = row_of(items, col)
        if column.isna().any():
            raise DataError(f"Column {col!r} says nothing (NaN) in row {int(np.flatnonzero(column.isna())[0])}.")
        if on is None:
            is_valid = column.to_numpy().astype(bool)
        else:
            is_valid = column.isin(on if isinstance(on, (list, tuple, set)) else [on]).to_numpy()
        if is_valid.all() or not is_valid.any():
            values = ", ".join(repr(v) for v in column.unique()[:4])
            raise DataError(
                f"Column {col!r} puts {'all' if is_valid.all() else 'none'} of the {len(items)} rows into validation "
                f"(it holds {values}). Expected true and false, or pass on=<the value that means validation>."
            )
        return split_by(is_valid)

    return split


@named_options
def RandomSubsetSplitter(train_sz: float, valid_sz: float, seed: int | None = None) -> Splitter:
    """A random part of `train_sz` for training and of `valid_sz` for validation; the rest is left out.

    Raises ConfigError when they add up to more than 1.

    >>> train, valid = RandomSubsetSplitter(0.1, 0.02, seed=42)(files)
    """
    _check_part("train_sz", train_sz)
    _check_part("valid_sz", valid_sz)
    if train_sz + valid_sz > 1:
        raise ConfigError(f"train_sz={train_sz} and valid_sz={valid_sz} add up to more than 1.")

    def split(items: Any) -> Split:
        order = permutation(len(items), seed)
        n_train, n_valid = int(train_sz * len(items)), int(valid_sz * len(items))
        return order[:n_train], order[n_train : n_train + n_valid]

    return split


def _check_part(name: str, part: float) -> None:
    if not isinstance(part, numbers.Real) or isinstance(part, bool):
        raise ConfigError(f"{name} is a part between 0 and 1, not {found(part)}.")
    if not 0 <= part < 1:
        hint = f" Did you mean {part / 100:g}?" if 1 <= part < 100 else ""
        raise ConfigError(f"{name} is a part between 0 and 1, not {part!r}.{hint}")


def _names(name: str | Iterable[str]) -> frozenset[str]:
    names = [name] if isinstance(name, str) else checked_list(name, "The folder of a side", "names")
    if not names or not all(isinstance(one, str) and one for one in names):
        raise ConfigError(f"The folder of a side is told by its name, or by several, not by {found(name)}.")
    return frozenset(names)


def _flag(flag: Any, items: Any, i: int) -> bool:
    try:
        return bool(flag)
    except (TypeError, ValueError, RuntimeError) as error:
        where = describe(item_at(items, i))
        raise DataError(f"func gives {found(flag)} for {where}: expected True (validation) or False.") from error


def _position(i: Any) -> int:
    i = i.tolist() if isinstance(i, torch.Tensor) else i
    flag = isinstance(i, (bool, np.bool_))
    if flag or not isinstance(i, (int, np.integer)) or abs(int(i)) >= 1 << 62:
        hint = " For True and False: MaskSplitter." if flag else ""
        raise ConfigError(f"valid_idx holds {found(i)}: expected positions of items, counted from 0.{hint}")
    return int(i)


def _codes(values: Sequence[Hashable], items: Any, name: str) -> np.ndarray:
    """A number for each distinct value, in order of first appearance; DataError for one that is not a single value."""
    numbers: dict[Hashable, int] = {}
    try:
        return np.fromiter((numbers.setdefault(v, len(numbers)) for v in values), dtype=np.int64, count=len(values))
    except TypeError as error:
        i = next(i for i, value in enumerate(values) if not is_hashable(value))
        raise DataError(_several(values[i], describe(item_at(items, i)), name)) from error


def _several(value: Any, where: str, name: str) -> str:
    """The message for a label that is no single class, or a group that is no single group."""
    said = f"{name} gives {found(value)} of type {type(value).__name__} for {where}: not one "
    if name != "get_y":
        return f"{said}group: return a text or a number."
    return (
        f"{said}class. For several labels an item: ImageDataLoaders.from_lists(path, fnames, labels), or "
        "DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=RandomSplitter(), …)."
    )


def _no_folder(names: frozenset[str], here: set[str], option: str) -> str:
    wanted = " or ".join(repr(name) for name in sorted(names))
    there = ", ".join(repr(name) for name in sorted(here)[:6])
    return (
        f"No item lies in <...>/{min(names)}/<class>/: expected a folder named {wanted} above the class folders, found "
        f"{there}.{near(min(names), here)} Type GrandparentSplitter({option}='<folder>'), or use RandomSplitter()."
    )


def _count(n: int) -> str:
    return f"{n} item{'' if n == 1 else 's'}"
