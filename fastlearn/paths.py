"""`Path`, pathlib's path with `ls()`, and `PathList`, a million paths that cost no more than their names."""

from __future__ import annotations

import mimetypes
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from operator import add, countOf, eq
from operator import index as op_index
from typing import Any, ClassVar

import numpy as np
import torch

from fastlearn.errors import DataError, near
from fastlearn.lists import L, positions


class Path(type(pathlib.Path())):  # type: ignore[misc]  # the concrete class: PosixPath or WindowsPath
    """A `pathlib` path that can list its folder; what is derived from one (`p / "a"`, `p.parent`) is one too.

    With `Path.BASE_PATH` set, paths below it print relative to it; nothing but the repr changes.

    >>> Path("images").ls()
    """

    __slots__ = ()
    BASE_PATH: ClassVar[pathlib.Path | str | None] = None

    def ls(
        self, n_max: int | None = None, file_type: str | None = None, file_exts: Iterable[str] | str | None = None
    ) -> L[Path]:
        """What is in this folder, sorted: at most `n_max`, of one MIME type ("image"), with one of the endings."""
        endings = _endings(file_exts)
        if file_type is not None:
            endings |= {e for e, kind in mimetypes.types_map.items() if kind.split("/")[0] == file_type}
        try:
            names = sorted(os.listdir(self))
        except OSError as error:
            raise not_listed(self, error) from error
        if endings:
            names = [name for name in names if os.path.splitext(name)[1].lower() in endings]
        return L([self / name for name in names[:n_max]])

    def __repr__(self) -> str:
        shown: pathlib.PurePath = self
        if self.BASE_PATH is not None and self.is_relative_to(self.BASE_PATH):
            shown = self.relative_to(self.BASE_PATH)
        return f"Path({shown.as_posix()!r})"


def _endings(wanted: Iterable[str] | str | None) -> set[str]:
    listed = [wanted] if isinstance(wanted, str) else list(wanted or ())
    return {ending.lower() for ending in listed}


def not_listed(path: pathlib.Path, error: OSError) -> DataError:
    """What to raise when the folder `path` could not be listed."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"There is no folder {printable(path)}.{siblings_like(path)}")
    if isinstance(error, NotADirectoryError):
        return DataError(f"{printable(path)} is a file, not a folder. Its folder is {printable(path.parent)}.")
    return DataError(f"The folder {printable(path)} cannot be read: {error.strerror}. Check its permissions.")


def printable(path: object) -> str:
    """The path as text that any terminal can show: bytes that are not valid in its encoding come as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def siblings_like(path: str | os.PathLike[str]) -> str:
    """What a missing path was probably meant to be, or what its nearest existing folder holds."""
    at = pathlib.Path(path).absolute()
    while not at.parent.is_dir() and at.parent != at:
        at = at.parent
    try:
        names = sorted(name for name in os.listdir(at.parent) if not name.startswith("."))
    except OSError:
        return ""
    guess = near(at.name, names)
    if guess or not names:
        return guess
    listed = ", ".join(repr(name) for name in names[:5]) + (", …" if len(names) > 5 else "")
    return f" {printable(at.parent)} holds {listed}."


class PathList(L[Path]):
    """An `L` of `Path`s that stores text and makes each `Path` when it is looked at.

    A million path objects take more than a second and 400 MB to make. A listing stores each file's bare name and the
    number of its folder, a fifth of that, and puts them together on the way out; the first change to such a list
    stores the whole texts instead. Everything that Python code sees of this list (items, slices, iteration,
    comparison) is `Path`; C code that looks inside a list without asking it sees names: give it `list(paths.text)`.
    """

    # With names stored: the number of each one's folder (int32), and the folders by number, with their separators.
    _placed: tuple[np.ndarray, list[str]] | None = None
    _known: tuple[np.ndarray, list[str]] | None = None  # what `folders` found in whole texts

    def __init__(self, paths: Iterable[str | os.PathLike[str]] = ()) -> None:
        texts: list[Any] = [os.fspath(path) for path in paths]
        list.__init__(self, texts)

    @classmethod
    def of_names(cls, names: list[str], numbers: np.ndarray, prefixes: list[str]) -> PathList:
        """The paths `prefixes[number] + name`; a prefix ends with the separator, or is empty."""
        made = cls()
        list.extend(made, names)  # type: ignore[arg-type,misc]
        made._placed = numbers, prefixes
        return made

    @classmethod
    def of_folders(cls, folders: Iterable[tuple[str, list[str]]]) -> PathList:
        """The files of folders, each of which comes as its prefix (see `of_names`) and the names of its files."""
        made, prefixes, counts = cls(), [], []
        for prefix, names in folders:
            list.extend(made, names)  # type: ignore[arg-type,misc]
            prefixes.append(prefix)
            counts.append(len(names))
        made._placed = np.repeat(np.arange(len(prefixes), dtype=np.int32), counts), prefixes
        return made

    @property
    def text(self) -> Iterator[str]:
        """The paths as strings, without making path objects."""
        if self._placed is None:
            return list.__iter__(self)  # type: ignore[return-value]
        numbers, prefixes = self._placed
        return map(add, map(prefixes.__getitem__, memoryview(numbers)), list.__iter__(self))  # type: ignore[arg-type]

    def text_at(self, i: int) -> str:
        """The path at position `i` as a string, without making a path object."""
        stored: Any = list.__getitem__(self, i)
        if self._placed is None:
            return stored
        numbers, prefixes = self._placed
        return prefixes[numbers[i]] + stored

    def folders(self) -> tuple[np.ndarray, list[str]]:
        """The number of each path's folder (int32), and the folders by number; kept until the list changes."""
        if self._placed is not None:
            return self._placed[0], [prefix[:-1] for prefix in self._placed[1]]
        if self._known is None:
            numbers: dict[str, int] = {}
            parents = [text.rpartition(os.sep)[0] for text in self.text]
            ids = np.fromiter((numbers.setdefault(p, len(numbers)) for p in parents), np.int32, len(parents))
            self._known = ids, list(numbers)
        return self._known

    def _spell_out(self) -> None:
        """Store whole texts, before a change; what is known of the folders no longer holds."""
        if self._placed is not None:
            texts: Any = list(self.text)
            self._placed = None
            list.__setitem__(self, slice(None), texts)
        self._known = None

    def _new(self, items: Iterable[Any]) -> L[Any]:
        return PathList(items)

    def _pick(self, chosen: Any) -> PathList:
        """The paths of a slice or of an array of positions."""
        stored: Any
        if isinstance(chosen, slice):
            stored = list.__getitem__(self, chosen)
        elif len(chosen) < len(self) // 8:
            stored = [list.__getitem__(self, i) for i in chosen.tolist()]
        else:  # an array of pointers picks without a Python number for each of a million positions
            stored = np.fromiter(list.__iter__(self), object, len(self))[chosen].tolist()
        made = PathList()
        list.extend(made, stored)
        made._placed, made._known = (
            None if folders is None else (np.ascontiguousarray(folders[0][chosen]), folders[1])
            for folders in (self._placed, self._known)
        )
        return made

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._pick(index)
        if isinstance(index, np.ndarray) and index.ndim == 1 and np.issubdtype(index.dtype, np.integer):
            return self._pick(index)
        chosen = positions(index, len(self))
        if chosen is not None:
            return self._pick(np.array(chosen, dtype=np.intp))
        at = int(index) if isinstance(index, (np.ndarray, torch.Tensor)) else index
        return Path(self.text_at(op_index(at)))

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self.text)

    def __reversed__(self) -> Iterator[Path]:
        return map(Path, reversed(list(self.text)))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._spell_out()
        list.__setitem__(self, index, [os.fspath(v) for v in value] if isinstance(index, slice) else os.fspath(value))

    def __contains__(self, path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.fspath(path) in self.text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PathList):
            return len(self) == len(other) and all(map(eq, self.text, other.text))
        if not isinstance(other, list) or len(self) != len(other):
            return False
        return all(a == b for a, b in zip(self, other, strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return list(self) < list(other)

    def __le__(self, other: Any) -> bool:
        return list(self) <= list(other)

    def __gt__(self, other: Any) -> bool:
        return list(self) > list(other)

    def __ge__(self, other: Any) -> bool:
        return list(self) >= list(other)

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Iterable[Any]) -> L[Any]:  # type: ignore[override]
        return PathList([*self.text, *other.text]) if isinstance(other, PathList) else super().__add__(other)

    def __iadd__(self, other: Iterable[Any]) -> PathList:  # type: ignore[misc,override]
        self.extend(other)
        return self

    def __rmul__(self, times: Any) -> L[Any]:
        return self * times

    def __imul__(self, times: Any) -> PathList:  # type: ignore[misc,override]
        self._spell_out()
        list.__imul__(self, times)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._placed is None:
            return PathList, (list(self.text),)
        return PathList.of_names, (list(list.__iter__(self)), *self._placed)

    def __delitem__(self, index: Any) -> None:
        self._spell_out()
        list.__delitem__(self, index)

    def reverse(self) -> None:
        """Turn the list round in place."""
        self._spell_out()
        list.reverse(self)

    def clear(self) -> None:
        """Remove all paths."""
        self._spell_out()
        list.clear(self)

    def append(self, path: Any) -> None:
        """Add one path (a string or a path object)."""
        self._spell_out()
        list.append(self, os.fspath(path))

    def extend(self, paths: Iterable[Any]) -> None:
        """Add several paths."""
        texts: Any = list(paths.text) if isinstance(paths, PathList) else [os.fspath(path) for path in paths]
        self._spell_out()
        list.extend(self, texts)

    def insert(self, index: Any, path: Any) -> None:
        """Put one path at a position."""
        self._spell_out()
        list.insert(self, index, os.fspath(path))

    def pop(self, index: Any = -1) -> Path:
        """Remove a path and return it."""
        self._spell_out()
        return Path(list.pop(self, index))

    def remove(self, path: Any) -> None:
        """Remove the first path equal to this one."""
        self._spell_out()
        list.remove(self, os.fspath(path))

    def index(self, path: Any, *bounds: Any) -> int:
        """The position of a path."""
        return list(self.text).index(os.fspath(path), *bounds)

    def count(self, path: Any) -> int:
        """How often a path comes."""
        return countOf(self.text, os.fspath(path))

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort in place, by `key` of each `Path`, or by the text of the paths."""
        self._spell_out()
        list.sort(self, key=None if key is None else lambda text: key(Path(text)), reverse=reverse)
