"""A journal of moved files, one JSON object a line: every move is on the disk here before it happens."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastlearn.errors import DataError
from fastlearn.paths import Path, printable
from fastlearn.runtime.disk import sync

NAME = "journal.jsonl"
FORMAT = 1


@dataclass(frozen=True)
class Journal:
    """The journal of one apply, in its own folder `folder`; `root` is what the paths in it are relative to.

    Lines: `begin`; then for each file `move` (what is about to happen), `moved` or `gone`; `end`; and when all that is
    taken back, `undo`, a `back` for each file that returns under another name, and `undone`.
    """

    folder: Path
    root: Path

    @classmethod
    def begin(cls, folder: Path, root: Path) -> Journal:
        """A new journal in a folder that exists."""
        made = cls(folder, root)
        inside = folder.parent.parent == root  # so that a data set that is moved elsewhere takes its journal along
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        made.write(do="begin", format=FORMAT, at=at, root=None if inside else str(root))
        sync(folder)
        return made

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """The journal that lies in `folder`. Raises DataError for one of another format."""
        begin = next(iter(Journal(folder, folder).records()), None)
        if begin is None:
            return cls(folder, folder.parent.parent)
        if begin.get("format") != FORMAT:
            raise DataError(
                f"{printable(folder / NAME)} has the format {begin.get('format')!r}, and this fastlearn reads {FORMAT}."
            )
        return cls(folder, Path(begin["root"]) if begin["root"] else folder.parent.parent)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    def write(self, **record: Any) -> None:
        """Add a line, on the disk when this returns; a line that does not fit on a full disk is taken away again."""
        line = json.dumps(record).encode() + b"\n"  # ASCII: names that are not valid text come as escapes
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            end = _whole_lines(handle)
            os.ftruncate(handle, end)  # what a kill in the middle of a line left
            os.lseek(handle, end, os.SEEK_SET)
            try:
                while line:
                    line = line[os.write(handle, line) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, end)
                raise
        finally:
            os.close(handle)

    def records(self) -> list[dict[str, Any]]:
        """The lines, without one that a kill cut short. Raises DataError that names a damaged line."""
        whole, found = self.path.read_bytes().split(b"\n")[:-1], []
        for number, line in enumerate(whole, 1):
            try:
                found.append(dict(json.loads(line)))
            except ValueError as error:
                raise DataError(
                    f"Line {number} of {printable(self.path)} is damaged ({error}). The moves are one JSON object a "
                    "line, 'from' and 'to': take them back by hand."
                ) from error
        return found

    def spell(self, path: str) -> str:
        """An absolute path as it is written here: relative where it lies below the root."""
        below = os.path.join(self.root, "")
        return path[len(below) :] if path.startswith(below) else path

    def absolute(self, spelled: str) -> str:
        """A path that is written here, as an absolute one."""
        return os.path.join(self.root, spelled)


def _whole_lines(handle: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.lseek(handle, 0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        os.lseek(handle, start, os.SEEK_SET)
        found = os.read(handle, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
