"""`Path`, pathlib's path with `ls()`, and `PathList`, a million paths that cost no more than their names."""

from __future__ import annotations

import mimetypes
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np

from fastlearn.errors import DataError, near
from fastlearn.lists import L


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

    A million path objects take more than a second and 400 MB to make; their names a tenth of that. Everything that
    Python code sees of this list (items, slices, iteration, comparison) is `Path`; C code that looks inside a list
    without asking it sees strings, which are paths too.
    """

    _known: tuple[np.ndarray, list[str]] | None = None

    def __init__(self, paths: Iterable[str | os.PathLike[str]] = ()) -> None:
        texts: list[Any] = [os.fspath(path) for path in paths]
        list.__init__(self, texts)

    @classmethod
    def of_text(cls, texts: list[str], folders: tuple[np.ndarray, list[str]] | None = None) -> PathList:
        """A list of paths that are known to be strings, and perhaps their `folders`."""
        made = cls()
        list.extend(made, texts)  # type: ignore[arg-type,misc]
        made._known = folders
        return made

    @property
    def text(self) -> Iterator[str]:
        """The paths as strings, without making path objects."""
        return list.__iter__(self)

    def folders(self) -> tuple[np.ndarray, list[str]]:
        """The number of each path's folder (int32), and the folders by number; kept until the list changes."""
        if self._known is None:
            numbers: dict[str, int] = {}
            parents = [text.rpartition(os.sep)[0] for text in self.text]
            ids = np.fromiter((numbers.setdefault(p, len(numbers)) for p in parents), np.int32, len(parents))
            self._known = ids, list(numbers)
        return self._known

    def _new(self, items: Iterable[Any]) -> L[Any]:
        return PathList(items)

    def _pick(self, chosen: Iterable[int]) -> PathList:
        texts, positions = list(self.text), list(chosen)
        known = None if self._known is None else (self._known[0][positions], self._known[1])
        return PathList.of_text([texts[i] for i in positions], known)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Path(found) if isinstance(found, str) else found

    def __iter__(self) -> Iterator[Path]:
        return map(Path, list.__iter__(self))

    def __reversed__(self) -> Iterator[Path]:
        return map(Path, list.__reversed__(self))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._known = None
        list.__setitem__(self, index, [os.fspath(v) for v in value] if isinstance(index, slice) else os.fspath(value))

    def __contains__(self, path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and list.__contains__(self, os.fspath(path))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PathList):
            return list.__eq__(self, other)
        if not isinstance(other, list) or len(self) != len(other):
            return False
        return all(a == b for a, b in zip(self, other, strict=True))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Iterable[Any]) -> L[Any]:  # type: ignore[override]
        return PathList([*self.text, *other.text]) if isinstance(other, PathList) else super().__add__(other)

    def __iadd__(self, other: Iterable[Any]) -> PathList:  # type: ignore[misc,override]
        self.extend(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return PathList, (list(self.text),)

    def __delitem__(self, index: Any) -> None:
        self._known = None
        list.__delitem__(self, index)

    def reverse(self) -> None:
        """Turn the list round in place."""
        self._known = None
        list.reverse(self)

    def clear(self) -> None:
        """Remove all paths."""
        self._known = None
        list.clear(self)

    def append(self, path: Any) -> None:
        """Add one path (a string or a path object)."""
        self._known = None
        list.append(self, os.fspath(path))

    def extend(self, paths: Iterable[Any]) -> None:
        """Add several paths."""
        self._known = None
        texts: Any = paths.text if isinstance(paths, PathList) else [os.fspath(path) for path in paths]
        list.extend(self, texts)

    def insert(self, index: Any, path: Any) -> None:
        """Put one path at a position."""
        self._known = None
        list.insert(self, index, os.fspath(path))

    def pop(self, index: Any = -1) -> Path:
        """Remove a path and return it."""
        self._known = None
        return Path(list.pop(self, index))

    def remove(self, path: Any) -> None:
        """Remove the first path equal to this one."""
        self._known = None
        list.remove(self, os.fspath(path))

    def index(self, path: Any, *bounds: Any) -> int:
        """The position of a path."""
        return list.index(self, os.fspath(path), *bounds)

    def count(self, path: Any) -> int:
        """How often a path comes."""
        return list.count(self, os.fspath(path))

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort in place, by `key` of each `Path`, or by the text of the paths."""
        self._known = None
        list.sort(self, key=None if key is None else lambda text: key(Path(text)), reverse=reverse)
