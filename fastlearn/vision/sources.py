"""Where labelled pictures come from: folders by convention, lists of files, tables; checked when they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.data.block import CategoryBlock, MultiCategoryBlock, RegressionBlock
from fastlearn.data.files import TRAIN_NAMES, VALID_NAMES, get_image_files
from fastlearn.data.label import ColReader, call_getter, item_at, read_all, row_of, select
from fastlearn.data.part import as_block
from fastlearn.data.report import shown
from fastlearn.data.split import RandomSplitter, Splitter, StratifiedSplitter
from fastlearn.data.targets import Category, is_nan
from fastlearn.errors import ConfigError, DataError, ImageError, near
from fastlearn.lists import L
from fastlearn.options import checked_list, checked_path, found
from fastlearn.paths import Path, PathList, printable, siblings_like
from fastlearn.pixels import image_size, open_image
from fastlearn.vision.transforms import Resize

if TYPE_CHECKING:
    import pandas as pd

StrPath = str | os.PathLike[str]
Label = Callable[[Any], Any]

VALID_PCT = 0.2
DEFAULT_PX = 224
LARGEST_KEPT_PX = 512
DELIMITERS = (",", ";", "\t", "|")  # what tables are parted by
PEEKED = 64  # headers that are read to learn whether pictures differ in size


class FileReader(ColReader):
    """A column of file names as paths below `pref`; absolute ones stay as they are."""

    def _finish(self, value: Any, col: str | int) -> Any:
        if is_nan(value):
            raise DataError(f"Column {col!r} has a row without a file name (NaN). Type df.dropna(subset=[{col!r}]).")
        return Path(os.path.join(self.pref, f"{value}{self.suff}"))


def below(path: StrPath, folder: StrPath | None) -> str:
    """The folder of a table's files: `path`, or `folder` in it."""
    return os.path.join(path, "" if folder is None else os.fspath(checked_path(folder, "folder")))


def find_by_folders(
    path: StrPath, train: str, valid: str, valid_pct: float | None, seed: int | None
) -> tuple[PathList, Splitter]:
    """The pictures of a folder of folders, and how to split them; see `ImageDataLoaders.from_folder`."""
    if valid_pct is not None:
        return _of_classes(get_image_files(path), path), StratifiedSplitter(valid_pct, seed)
    for option, name in (("train", train), ("valid", valid)):
        if not isinstance(name, str):
            raise ConfigError(f"{option} is the name of a folder in {printable(path)}, not {found(name)}.")
    there = _folders(path)
    train_name = _pick("train", train, TRAIN_NAMES, there, path)
    valid_name = _pick("valid", valid, VALID_NAMES, there, path)
    if train_name and valid_name:
        if valid_name == "test" != valid:
            print(f"There is no folder {valid!r} in {printable(path)}: 'test' is used for validation.")
        files = get_image_files(path, folders=[train_name, valid_name])
        return files, _ByTop(path, train_name, valid_name)
    files = get_image_files(path, folders=train_name)
    if train_name:
        part = f"a random {VALID_PCT:.0%} of each class of {train_name!r}"
        print(f"There is no folder {valid!r} in {printable(path)}: {part} is used for validation.")
        path = Path(path) / train_name
    return _of_classes(files, path), StratifiedSplitter(VALID_PCT, seed)


def _folders(path: StrPath) -> list[str]:
    if not isinstance(path, (str, os.PathLike)):
        get_image_files(path)  # a number would be taken for an open folder
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (OSError, TypeError, ValueError):
        get_image_files(path)  # raises the error that says what is wrong with the folder
        raise


def _pick(option: str, wanted: str, usual: Sequence[str], there: Sequence[str], path: StrPath) -> str | None:
    """The folder of one side; None when the default is not there under any of its usual names."""
    if wanted in there:
        return wanted
    if wanted == usual[0]:
        by_lower = {name.lower(): name for name in there}
        return next((by_lower[name] for name in usual if name in by_lower), None)
    raise DataError(
        f"There is no folder {wanted!r} in {printable(path)} ({option}={wanted!r}). It holds "
        f"{', '.join(map(repr, there[:8])) or 'no folder'}.{near(wanted, there)}"
    )


class _ByTop:
    """Splits by the folder directly under `path`, and refuses a side without pictures."""

    def __init__(self, path: StrPath, train: str, valid: str) -> None:
        self.path, self.train, self.valid = path, train, valid

    def __call__(self, items: Any) -> tuple[np.ndarray, np.ndarray]:
        start = len(os.path.join(os.fspath(self.path), ""))
        texts = items.text if isinstance(items, PathList) else map(os.fspath, items)
        is_valid = np.fromiter((text.startswith(self.valid + os.sep, start) for text in texts), bool, len(items))
        for name, empty in ((self.train, is_valid.all()), (self.valid, not is_valid.any())):
            if empty:
                get_image_files(os.path.join(self.path, name))  # raises the error that says what is there instead
        return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)


def _of_classes(files: PathList, path: StrPath) -> PathList:
    """The files, unless none of them lies in a folder of its own: then there are no classes."""
    root = os.path.join(os.fspath(path), "")
    if all(os.sep not in text[len(root) :] for text in files.text):
        raise DataError(
            f"The {len(files)} images of {printable(path)} lie directly in it: there is no folder for each class. "
            f"Expected {printable(path)}/<class>/*.jpg. Labels in the file names? Use ImageDataLoaders.from_name_re or "
            "from_name_func. Labels in a CSV? Use ImageDataLoaders.from_csv."
        )
    return files


def as_files(fnames: Iterable[StrPath]) -> Any:
    """The file names as a list of paths; pictures and arrays as they are."""
    if isinstance(fnames, PathList):
        return fnames
    if isinstance(fnames, (str, os.PathLike)):
        name = printable(fnames)
        raise DataError(f"fnames takes a list of files, not {name!r}. Type get_image_files({name!r}).")
    listed = checked_list(fnames, "fnames", "files, such as get_image_files(path)")
    if not listed:
        raise DataError("fnames is empty: there are no pictures. Type get_image_files(path).")
    return PathList(listed) if all(isinstance(name, (str, os.PathLike)) for name in listed) else listed


def first(item: Any) -> Any:
    """The file of a (file, label) pair."""
    return item[0]


def second(item: Any) -> Any:
    """The label of a (file, label) pair."""
    return item[1]


def block_for(labels: Sequence[Any]) -> Any:
    """The block that suits labels: lists of classes, floats, or classes."""
    known = [label for label in labels if not is_nan(label)]
    if known and all(isinstance(label, (list, tuple, set)) for label in known):
        return MultiCategoryBlock()
    if known and all(isinstance(label, (float, np.floating)) for label in known):
        return RegressionBlock()
    return CategoryBlock()


def block_for_columns(df: pd.DataFrame, label_col: Any, label_delim: str | None) -> Any:
    """The block that suits one or several columns of labels."""
    if label_delim is not None:
        return MultiCategoryBlock()
    if isinstance(label_col, (str, int)) or len(label_col) == 1:
        return CategoryBlock()
    columns = [row_of(df, col) for col in label_col]
    if all(column.isin([0, 1]).all() for column in columns):
        return MultiCategoryBlock(encoded=True, vocab=[column.name for column in columns])
    return MultiCategoryBlock()


def random_splitter(y_block: Any, valid_pct: float, seed: int | None, get_y: Label) -> Splitter:
    """A random part, of every class where an item has one."""
    one_class = isinstance(as_block(y_block), Category)
    return StratifiedSplitter(valid_pct, seed, get_y) if one_class else RandomSplitter(valid_pct, seed)


def read_table(path: str, fn_col: str | int, header: Any, delimiter: str | None, quoting: Any) -> pd.DataFrame:
    """A CSV file; file names that look like numbers keep their zeros. Raises DataError that names the file."""
    import pandas as pd

    if not (delimiter is None or (isinstance(delimiter, str) and delimiter)):
        raise ConfigError(f'delimiter is the sign between columns, such as ";" or "\\t", not {delimiter!r}.')

    def read(text: dict[Any, type] | None = None) -> pd.DataFrame:
        return pd.read_csv(path, header=header, sep=delimiter or ",", quoting=quoting, dtype=text)

    try:
        frame = read()
        if frame.shape[1] == 1 and (hint := _delimiter_hint(path, delimiter)):
            raise DataError(f"all is in one column, {str(frame.columns[0])!r}.{hint}")
        name = row_of(frame, fn_col).name
        return read({name: str}) if frame[name].dtype.kind in "iuf" else frame
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from error
    except OSError as error:
        hint = siblings_like(path) if isinstance(error, FileNotFoundError) else ""
        raise DataError(f"The table {shown(path)} cannot be read: {error.strerror}.{hint}") from error
    except (ValueError, TypeError, IndexError, OverflowError, re.error) as error:  # pandas' own are ValueErrors
        hint = _delimiter_hint(path, delimiter)
        raise DataError(f"{shown(path)} is not a table that pandas can read: {str(error).strip()}.{hint}") from error


def _delimiter_hint(path: str, delimiter: str | None) -> str:
    """What to type when the first line of a table is parted by another sign than it was read with."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            line = file.readline(10_000)
    except (OSError, ValueError):
        return ""
    used = delimiter or ","
    there = {sign: line.count(sign) for sign in DELIMITERS if sign != used}
    best = max(there, key=lambda sign: there[sign])
    if "\0" in line or line.count(used) >= there[best]:  # no text, or parted as it was read
        return ""
    return f" It looks parted by {best!r}: type delimiter={best!r}."


def check_table(df: Any, *readers: ColReader) -> None:
    """Every column that is to be read is there."""
    if not hasattr(df, "iloc") or not hasattr(df, "columns"):
        raise DataError(f"from_df takes a pandas DataFrame, not {type(df).__name__}. A CSV file? Use from_csv.")
    if not len(df):
        raise DataError("The table has no rows.")
    for reader in readers:
        for col in reader.cols:
            row_of(df, col)


def _paths(items: Any, get_x: Label | None) -> list[Any]:
    return list(items.text) if isinstance(items, PathList) else read_all(get_x, items, "get_x")


def refuse_missing(items: Any, get_x: Label | None) -> None:
    """Every file is there: a listing of each folder, not a look at each file."""
    by_folder: dict[str, set[str]] = {}
    missing: list[str] = []
    files = [os.fspath(path) for path in _paths(items, get_x) if isinstance(path, (str, os.PathLike))]
    for path in files:
        folder, name = os.path.split(path)
        if folder not in by_folder:
            by_folder[folder] = set(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else set()
        if name not in by_folder[folder] and not os.path.exists(path):  # a listing may spell a name in another way
            missing.append(path)
    if missing:
        folder, name = os.path.split(missing[0])
        hint = near(name, sorted(by_folder[folder])[:5000]) or siblings_like(missing[0])
        named = ", ".join(map(shown, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise DataError(
            f"{len(missing)} of {len(files)} files are missing: {named}.{hint} Check path, folder and suff "
            "(what is added to the names)."
        )


def usable(items: Any, get_x: Label | None) -> Any:
    """The items whose files training takes; says how many cannot be read, and how many are wrongly named."""
    from fastlearn.data.examine import examine_all

    paths = _paths(items, get_x)
    files = [i for i, path in enumerate(paths) if isinstance(path, (str, os.PathLike))]  # not pictures and arrays
    seen = dict(zip(files, examine_all([paths[i] for i in files]), strict=True))
    unread = [i for i, one in seen.items() if one.fault is not None]
    misnamed = [i for i, one in seen.items() if one.fault is None and one.wrong_name]
    left_out = {*unread, *misnamed}
    if len(left_out) == len(paths):
        why = seen[0].reason if seen[0].fault else f"it is {seen[0].wrong_name}, which its name does not say"
        raise DataError(f"None of the {len(paths)} files can be used, such as {shown(paths[0])}: {why}.")
    _say_left_out(len(paths), "files that cannot be read", [shown(paths[i]) for i in unread])
    what = "files of another format than the name says"
    _say_left_out(len(paths), what, [f"{shown(paths[i])} is {seen[i].wrong_name}" for i in misnamed])
    keep = [i for i in range(len(paths)) if i not in left_out]
    return items if not left_out else select(items if hasattr(items, "iloc") else L(items), keep)


def _say_left_out(n: int, what: str, names: list[str]) -> None:
    if names:
        print(f"Left out {len(names)} of {n} {what}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")


def default_resize(items: Any, get_x: Label | None) -> list[Resize]:
    """What is done to pictures when the user names no item transform: to the size they share, else to 224 by 224."""
    n = len(items)
    chosen = np.unique(np.linspace(0, n - 1, min(n, PEEKED)).astype(int))
    sizes = {size for i in chosen if (size := _peek(call_getter(get_x, item_at(items, int(i)), "get_x"))) is not None}
    if len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST_KEPT_PX:
        return [Resize(next(iter(sizes)))]
    if sizes:
        why = "differ in size" if len(sizes) > 1 else f"are large ({'x'.join(map(str, next(iter(sizes))))})"
        print(f"The pictures {why}: each becomes {DEFAULT_PX}x{DEFAULT_PX}, as with item_tfms=Resize({DEFAULT_PX}).")
    return [Resize(DEFAULT_PX)]


def _peek(source: Any) -> tuple[int, int] | None:
    """(height, width), or None for a file that cannot be read: the checks before training name those."""
    try:
        if isinstance(source, (str, os.PathLike)):
            return image_size(source) if os.path.isfile(source) else None  # opening a pipe would wait for its writer
        picture = open_image(source)
        return picture.height, picture.width
    except ImageError:
        return None
