"""Labellers: functions of one item that give its label, and reading them for all items with errors that name one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlearn.errors import ConfigError, DataError, FastlearnError, near
from fastlearn.options import checked_function, checked_list, found, named_options
from fastlearn.paths import PathList, printable


def parent_label(o: str | os.PathLike[str]) -> str:
    """The name of the folder that holds the file.

    >>> parent_label("train/cat/1.jpg")
    'cat'
    """
    try:
        return os.path.basename(os.path.dirname(os.fspath(o)))
    except TypeError as error:
        raise DataError(f"parent_label takes the path of a file, not {found(o)}.") from error


class RegexLabeller:
    """The first group of the pattern, searched anywhere in the item's text (from its start with `match`).

    >>> RegexLabeller(r"(.+)_\\d+.jpg$")("great_pyrenees_173.jpg")
    'great_pyrenees'
    """

    @named_options
    def __init__(self, pat: str | re.Pattern[str], match: bool = False) -> None:
        try:
            self.pattern = re.compile(pat)
        except (re.error, TypeError) as error:
            raise DataError(f"{found(pat)} is not a regular expression: {error}.") from error
        if not isinstance(self.pattern.pattern, str):
            raise DataError(f"The pattern {self.pattern.pattern!r} is of bytes. Type it as a text: r'(.+)_\\d+'.")
        if not self.pattern.groups:
            raise DataError(f"The pattern {self.pattern.pattern!r} has no (group) to take the label from.")
        self._find = self.pattern.match if match else self.pattern.search

    def __call__(self, o: Any) -> str:
        match = self._find(str(o).replace(os.sep, "/"))
        if match is None:
            raise DataError(f"The pattern {self.pattern.pattern!r} does not match {printable(o)!r}.")
        return match.group(1)


class ColReader:
    """A column of a DataFrame row; `pref` and `suff` are put around it, `label_delim` splits it into a list.

    `cols` may be several, which gives a list. A `pref` that is a folder is joined as one. Raises DataError for a column
    that the row does not have.

    >>> ColReader("tags", label_delim=" ")({"tags": "clear water"})
    ['clear', 'water']
    """

    @named_options
    def __init__(
        self,
        cols: str | int | Sequence[str | int],
        pref: str | os.PathLike[str] = "",
        suff: str = "",
        label_delim: str | None = None,
    ) -> None:
        self.cols = _columns(cols)
        for name, text in (("pref", pref), ("suff", suff)):
            if not isinstance(text, (str, os.PathLike) if name == "pref" else str):
                raise ConfigError(f"{name} is a text that is put around a name, not {found(text)}.")
        self.pref = os.path.join(os.fspath(pref), "") if isinstance(pref, os.PathLike) else pref
        if not (label_delim is None or (isinstance(label_delim, str) and label_delim)):
            raise ConfigError(f'label_delim is the text between labels, such as " " or ",", not {found(label_delim)}.')
        self.suff, self.label_delim = suff, label_delim

    def __call__(self, row: Any) -> Any:
        values = [self._finish(cell_of(row, col), col) for col in self.cols]
        return values[0] if len(values) == 1 else values

    def column(self, frame: Any) -> list[Any]:
        """What the calls on every row of a DataFrame would give, read a column at a time."""
        columns = [[self._finish(v, col) for v in row_of(frame, col).tolist()] for col in self.cols]
        return columns[0] if len(columns) == 1 else [list(row) for row in zip(*columns, strict=True)]

    def _finish(self, value: Any, col: str | int) -> Any:
        if self.label_delim is not None:
            if is_nan(value):
                return []
            if not isinstance(value, str):
                raise DataError(f"Column {col!r} holds {value!r}, not text to split at {self.label_delim!r}.")
            return [part for part in value.split(self.label_delim) if part]
        return f"{self.pref}{value}{self.suff}" if self.pref or self.suff else value


@dataclass(frozen=True)
class using_attr:
    """`f` of an attribute of the item: `using_attr(RegexLabeller(…), "name")` labels by the file name.

    >>> using_attr(RegexLabeller(r"(.+)_\\d+"), "name")(Path("pets/beagle_7.jpg"))
    'beagle'
    """

    f: Callable[[Any], Any]
    attr: str

    def __post_init__(self) -> None:
        checked_function(self.f, "f")
        _checked_attr(self.attr, "attr")

    def __call__(self, o: Any) -> Any:
        return self.f(getattr(o, self.attr))


@dataclass(frozen=True)
class ItemGetter:
    """`item[i]` of an item.

    >>> ItemGetter(1)(("1.jpg", "cat"))
    'cat'
    """

    i: Any

    def __call__(self, o: Any) -> Any:
        return o[self.i]


@dataclass(frozen=True)
class AttrGetter:
    """An attribute of an item, or `default`.

    >>> AttrGetter("stem")(Path("cat/1.jpg"))
    '1'
    """

    nm: str
    default: Any = None

    def __post_init__(self) -> None:
        _checked_attr(self.nm, "nm")

    def __call__(self, o: Any) -> Any:
        return getattr(o, self.nm, self.default)


def _checked_attr(attr: Any, name: str) -> None:
    if not isinstance(attr, str):
        raise ConfigError(f"{name} is the name of an attribute, such as 'name' or 'stem', not {found(attr)}.")


def _columns(cols: Any) -> list[Any]:
    """Names or numbers of columns in a list; ConfigError for what cannot be one."""
    listed = [cols] if isinstance(cols, (str, int)) else checked_list(cols, "The column to read", "names or numbers")
    for col in listed:
        if not is_hashable(col) or col is None or isinstance(col, bool):
            raise ConfigError(f"A column is told by its name or number, not by {found(col)}.")
    if not listed:
        raise ConfigError("No column is named to be read: give a name or number, such as label_col='label'.")
    return listed


def is_nan(value: Any) -> bool:
    """Whether a label is missing: None, NaN or pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(value != value)


def row_of(frame: Any, col: str | int) -> Any:
    """A column of a DataFrame by name, or by position; `DataError` with the columns that there are."""
    (col,) = _columns(col if isinstance(col, (str, int)) else [col])
    if col in frame.columns:
        if frame[col].ndim > 1:
            raise DataError(f"There are {frame[col].shape[1]} columns {col!r}; rename them, or name one by its number.")
        return frame[col]
    if isinstance(col, int) and -frame.shape[1] <= col < frame.shape[1]:
        return frame.iloc[:, col]
    raise DataError(_no_column(col, frame.columns))


def cell_of(row: Any, col: str | int) -> Any:
    """A cell of a row (a pandas Series, a named tuple, a dict or a tuple) by name or by position."""
    names = getattr(row, "index", None) if hasattr(row, "iloc") else getattr(row, "_fields", None)
    names = list(row) if isinstance(row, dict) else names
    if names is not None and col in names:
        return row[col] if hasattr(row, "iloc") or isinstance(row, dict) else getattr(row, str(col))
    if isinstance(col, int):
        try:
            return row.iloc[col] if hasattr(row, "iloc") else row[col]
        except (IndexError, KeyError, TypeError):
            pass  # no such position, or a dict or object without positions: the errors below say what there is instead
    if names is None:
        raise DataError(f"There is no column {col!r} in {describe(row)}: expected a row of a DataFrame.")
    raise DataError(_no_column(col, names))


def _no_column(col: str | int, names: Iterable[Any]) -> str:
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:12]) + (", …" if len(listed) > 12 else "")
    return f"There is no column {col!r}; the columns are {shown}.{near(str(col), listed)}"


def part_names(items: Any, level: int) -> list[str]:
    """The name of each item's file (level 1), its folder (2), the folder above (3); no path objects are made."""
    paths = items if isinstance(items, PathList) else PathList(items)
    if level == 1:
        return [text.rpartition(os.sep)[2] for text in paths.text]
    ids, folders = paths.folders()
    names = [name_above(folder, level - 1) for folder in folders]
    return [names[i] for i in ids.tolist()]


def name_above(folder: str, level: int) -> str:
    """The name of a folder (level 1), of the one above it (2)…; empty where there is none."""
    parts = folder.split(os.sep)
    return parts[-level] if level <= len(parts) else ""


def item_at(items: Any, i: int) -> Any:
    """One item: a row of a DataFrame, or an element of a list."""
    return items.iloc[i] if hasattr(items, "iloc") else items[i]


def select(items: Any, chosen: Any) -> Any:
    """The items at these positions, as a container of the same kind."""
    if hasattr(items, "iloc"):
        return items.iloc[chosen]
    return items[chosen]


def describe(item: Any) -> str:
    """An item in an error message: a path as it is, a row by its first cells."""
    if hasattr(item, "iloc"):
        cells = ", ".join(f"{name}={plain(value)!r}" for name, value in list(item.items())[:3])
        return f"row {plain(item.name)!r} ({cells})"
    text = printable(item) if isinstance(item, (str, os.PathLike)) else repr(item)
    return text if len(text) <= 300 else f"{text[:300]}…"


def is_hashable(value: Any) -> bool:
    """Whether a value can be told from others by a dict: a list cannot, nor a tuple that holds one."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def plain(value: Any) -> Any:
    """Python's own number for a NumPy one, which a person reads as a number."""
    return value.item() if isinstance(value, np.generic) else value


def call_getter(getter: Callable[[Any], Any] | None, item: Any, name: str) -> Any:
    """The getter's value for one item; whatever goes wrong in a user's function becomes an error naming the item."""
    if getter is None:
        return item
    try:
        return getter(item)
    except FastlearnError as error:
        if describe(item) in str(error):
            raise
        raise type(error)(f"{error} ({name} of {describe(item)})") from error
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{name} failed for {describe(item)}: {why}.{_getter_hint(error, item)}") from error


def _getter_hint(error: Exception, item: Any) -> str:
    if isinstance(error, (KeyError, AttributeError)) and hasattr(item, "iloc"):
        wanted = getattr(error, "name", None) or (error.args[0] if error.args else "")
        return " " + _no_column(str(wanted), item.index)
    return ""


def read_all(getter: Callable[[Any], Any] | None, items: Any, name: str) -> list[Any]:
    """The getter's value for every item, a column or a folder at a time where that is the same and faster."""
    if getter is parent_label and isinstance(items, PathList):
        return part_names(items, 2)
    if isinstance(getter, ColReader) and hasattr(items, "columns"):
        return getter.column(items)
    rows = (row for _, row in items.iterrows()) if hasattr(items, "iterrows") else items
    shared: dict[str, str] = {}  # a million labels are a few distinct strings: keep each only once
    values = (call_getter(getter, row, name) for row in rows)
    return [shared.setdefault(value, value) if type(value) is str else value for value in values]
