"""Finding files: whole trees listed in sorted order at the speed of the file system."""

from __future__ import annotations

import mimetypes
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from fastlearn.errors import ConfigError, DataError
from fastlearn.options import checked_flag, checked_list, checked_path, found, named_options
from fastlearn.paths import Path as _Path
from fastlearn.paths import PathList, not_listed, printable

StrPath = str | os.PathLike[str]
TRAIN_NAMES = ("train",)
VALID_NAMES = ("valid", "val", "validation", "test")  # the first that is there is the one for validation


def _image_endings() -> frozenset[str]:
    known = {ending for ending, kind in mimetypes.types_map.items() if kind.startswith("image/")}
    return frozenset(known | {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic"})


image_extensions: frozenset[str] = _image_endings()


@named_options
def get_files(
    path: StrPath,
    extensions: Iterable[str] | str | None = None,
    recurse: bool = True,
    folders: Iterable[str] | str | None = None,
    followlinks: bool = True,
) -> PathList:
    """The files under `path` in sorted order, as a list of `Path`s; hidden files and folders are left out.

    `extensions` (".csv", any case) keeps only such files; `folders` keeps only these folders directly under `path`
    ("." stands for the files directly in it). A symbolic link to a folder is followed unless that would be a loop.
    Raises `DataError` when the folder is missing, is a file, cannot be read, or holds no such file.
    """
    endings, chosen = _wanted(extensions), _texts(folders, "folders", "names of folders, such as ['train', 'valid']")
    checked_flag(recurse, "recurse")
    checked_flag(followlinks, "followlinks")
    if not isinstance(path, (str, os.PathLike)):
        raise DataError(f"Expected the path of a folder, found {path!r}.")
    root = os.fspath(path)
    if "\0" in root:
        raise DataError(f"No folder can be called {root!r}: it holds a zero byte.")
    listed = PathList.of_folders(_walk(root, endings, recurse, chosen, followlinks))
    if not len(listed):
        raise DataError(_nothing_found(root, endings, recurse, chosen))
    return listed


@named_options
def get_image_files(path: StrPath, recurse: bool = True, folders: Iterable[str] | str | None = None) -> PathList:
    """The pictures under `path` in sorted order, told by their endings.

    >>> get_image_files("pets/images")[:3]
    """
    return get_files(path, image_extensions, recurse, folders)


@dataclass(frozen=True)
class FileGetter:
    """`get_files` with its options fixed, for `DataBlock(get_items=…)`; `suffix` is a folder below the source."""

    suffix: str = ""
    extensions: Iterable[str] | str | None = None
    recurse: bool = True
    folders: Iterable[str] | str | None = None

    def __post_init__(self) -> None:
        checked_path(self.suffix, "suffix")

    def __call__(self, path: StrPath) -> PathList:
        return get_files(_Path(path) / self.suffix, self.extensions, self.recurse, self.folders)


@named_options
def ImageGetter(
    suffix: str = "", recurse: bool = True, folders: Iterable[str] | str | None = None
) -> Callable[[StrPath], PathList]:
    """`get_image_files` with its options fixed, for `DataBlock(get_items=…)`."""
    return FileGetter(suffix, image_extensions, recurse, folders)


def _wanted(extensions: Iterable[str] | str | None) -> frozenset[str] | None:
    if extensions is None:
        return None
    listed = _texts(extensions, "extensions", "endings, such as ['.jpg', '.png']")
    return frozenset(e.lower() if e.startswith(".") else f".{e.lower()}" for e in listed)


def _texts(given: Any, name: str, what: str) -> frozenset[str]:
    """One text, several or None, as a set; ConfigError for anything else."""
    if given is None:
        return frozenset()
    listed = [given] if isinstance(given, str) else checked_list(given, name, what)
    for one in listed:
        if not isinstance(one, str):
            raise ConfigError(f"{name} holds {found(one)}: expected {what}.")
    return frozenset(listed)


def _walk(
    root: str, endings: frozenset[str] | None, recurse: bool, chosen: frozenset[str], followlinks: bool
) -> Iterator[tuple[str, list[str]]]:
    """Each folder with the names of its files: depth first, files before sub-folders, all sorted."""
    todo: list[tuple[str, tuple[str, ...]]] = [(root, ())]  # a folder, and the real folders whose links led there
    while todo:
        folder, hops = todo.pop()
        names, subfolders, links = _list_folder(folder, endings)
        prefix = os.path.join(folder, "")
        if not (folder is root and chosen and "." not in chosen):
            yield prefix, names
        if not recurse:
            break
        below = [(prefix + name, hops) for name in subfolders if name[0] != "."]
        if followlinks and links:
            below += _followed(prefix, links, hops)
        if folder is root and chosen:
            below = [entry for entry in below if os.path.basename(entry[0]) in chosen]
        below.sort(reverse=True)
        todo += below


def _list_folder(folder: str, endings: frozenset[str] | None) -> tuple[list[str], list[str], list[str]]:
    """The sorted names of a folder's wanted files, and its sub-folders and links to folders."""
    try:
        if endings is not None and os.stat(folder).st_nlink == 2:
            # Two links mean no sub-folder, on file systems that count them; when every name is that of a wanted file,
            # no entry need be looked at.
            names = os.listdir(folder)
            names.sort()
            n_there, kept = len(names), _keep(names, endings)
            if len(kept) == n_there:
                return kept, [], []
        with os.scandir(folder) as listed:
            entries = list(listed)
    except OSError as error:
        raise not_listed(_Path(folder), error) from error
    folders = {entry.name: entry.is_symlink() for entry in entries if is_folder(entry)}
    names = sorted([entry.name for entry in entries if entry.name not in folders])
    real, links = ([name for name, link in folders.items() if link == which] for which in (False, True))
    return _keep(names, endings), real, links


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere, such as one to itself, is none."""
    try:
        return entry.is_dir()
    except OSError:  # what it is for, whoever opens it will be told
        return False


def _followed(prefix: str, links: list[str], hops: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """The links worth entering: a link to a folder that contains it, or a link that led to it, would never end."""
    trail = (*hops, os.path.realpath(prefix))
    below = []
    for name in links:
        target = os.path.realpath(prefix + name)
        loops = any(real == target or real.startswith(os.path.join(target, "")) for real in trail)
        if not loops and name[0] != ".":
            below.append((prefix + name, trail))
    return below


@cache
def _quick_endings(endings: frozenset[str]) -> frozenset[str]:
    """The four-character endings in the two usual cases: one slice and one look-up settles most names."""
    short = {e for e in endings if len(e) == 4}
    return frozenset(short | {e.upper() for e in short})


def _keep(names: list[str], endings: frozenset[str] | None) -> list[str]:
    """The sorted names that are not hidden and have a wanted ending; the hidden ones are taken out of `names`."""
    del names[bisect_left(names, ".") : bisect_left(names, "/")]  # "/" comes right after "."
    if endings is None or _alike(names, endings):
        return names
    quick = _quick_endings(endings)
    return [name for name in names if name[-4:] in quick or name[name.rfind(".") :].lower() in endings]


def _alike(names: list[str], endings: frozenset[str]) -> bool:
    """Whether all names have the ending of the last, and it is wanted: one search answers for the whole folder."""
    if not names:
        return True
    ending = names[-1][names[-1].rfind(".") :]
    return ending.lower() in endings and "\0".join(names).count(ending + "\0") == len(names) - 1


def _nothing_found(root: str, endings: frozenset[str] | None, recurse: bool, chosen: frozenset[str]) -> str:
    """Why the list is empty: what is there instead, counted by ending."""
    shown = printable(root)
    there = PathList.of_folders(_walk(root, None, recurse, frozenset(), True))
    missing = sorted(chosen - set(os.listdir(root)) - {"."})
    what = "images" if endings == image_extensions else f"{', '.join(sorted(endings))} files" if endings else "files"
    if missing:
        kept = ", ".join(sorted(entry.name for entry in os.scandir(root) if is_folder(entry))) or "no folder"
        return f"No {what}: {shown} has no folder {', '.join(map(repr, missing))}. It holds {kept}."
    if not there:
        return f"No {what} under {shown}: the folder is empty. Check the path, or whether the data were unpacked."
    deeper = "" if recurse else " Files in sub-folders count only with recurse=True."
    return f"No {what} under {shown} (found {_counted(list(there.text))}).{deeper} Expected {_example(shown, endings)}."


def _counted(files: Sequence[str]) -> str:
    """ "12 .txt files, 1 .csv file": the commonest endings first."""
    counts = Counter(os.path.splitext(name)[1].lower() or "extensionless" for name in files)
    return ", ".join(f"{n} {ending} file{'s' if n > 1 else ''}" for ending, n in counts.most_common(4))


def _example(shown: str, endings: frozenset[str] | None) -> str:
    if endings == image_extensions:
        return f"{shown}/<class>/*.jpg. Labels in a CSV? Use ImageDataLoaders.from_csv"
    return f"{shown}/*{min(endings)}" if endings else f"files in {shown}"
