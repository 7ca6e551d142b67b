"""Moving files without ever writing over one, noted in a journal beforehand, and taking the moves back."""

from __future__ import annotations

import errno
import filecmp
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastlearn.errors import DataError
from fastlearn.paths import Path, printable
from fastlearn.runtime.disk import sync
from fastlearn.vision.cleaner_journal import NAME, Journal

TRASH = ".trash"  # with a dot: what lists files leaves it out, so it never becomes a class
FILES = "files"  # the part of a trash folder that mirrors the data
LONGEST_NAME = 255  # bytes, on all usual file systems


@dataclass(frozen=True)
class Step:
    """A file to be moved: `source` and `target` are absolute, `why` is "delete" or "relabel"."""

    source: str
    target: str
    why: str


@dataclass(frozen=True)
class Undone:
    """What an undo did: the files that are back, those that came back under another name, and those not found."""

    folder: Path
    back: tuple[Path, ...]
    renamed: tuple[tuple[Path, Path], ...]
    lost: tuple[Path, ...]

    def __repr__(self) -> str:
        text = f"{_files(len(self.back))} moved back."
        for was, now in self.renamed:
            text += f" {printable(was)} is there again, so the old one is now {printable(now.name)}."
        if self.lost:
            text += (
                f" {_files(len(self.lost))} could not be found any more: {', '.join(map(printable, self.lost[:3]))}."
            )
        return text


def new_trash(trash: Path, root: Path) -> Journal:
    """A new dated folder in `trash`, with a journal. Raises DataError where it cannot be made."""
    name = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    try:
        os.makedirs(trash, exist_ok=True)
        folder = next(folder for folder in _numbered(trash, name) if _made(folder))
        return Journal.begin(folder, root)
    except OSError as error:
        raise DataError(
            f"The trash folder {printable(trash)} cannot be made or written: {error.strerror}. Nothing was moved. Type "
            "cleaner.apply(trash='another/folder'), with a folder that you may write to."
        ) from error


def carry_out(steps: Iterable[Step], journal: Journal) -> Iterator[tuple[Step, str | None]]:
    """Move the files one by one; gives each step with where its file now lies, or None where it was there no more.

    Raises DataError at the first file that cannot be moved; it is then where it was.
    """
    for number, step in enumerate(steps):
        try:
            target = _carry_out(step, number, journal)
        except OSError as error:
            raise DataError(
                f"{printable(step.source)} cannot be moved to {printable(step.target)}: {error.strerror}. "
                f"{_files(number)} had been moved before; cleaner.undo() brings them back, and once the cause is "
                "mended, cleaner.apply() moves the rest."
            ) from error
        yield step, target
    journal.write(do="end")


def _carry_out(step: Step, number: int, journal: Journal) -> str | None:
    part = f".{secrets.token_hex(8)}.part"
    for target in map(str, _numbered(Path(os.path.dirname(step.target)), os.path.basename(step.target))):
        if not os.path.lexists(step.source):
            break
        if os.path.lexists(target):
            continue
        record: dict[str, Any] = {"from": journal.spell(step.source), "to": journal.spell(target), "part": part}
        if os.path.islink(step.source):
            record["link"] = os.readlink(step.source)
        made = [journal.spell(folder) for folder in _missing_folders(os.path.dirname(target))]
        journal.write(do="move", n=number, why=step.why, made=made, **record)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            move_file(step.source, target, part)
        except FileExistsError:  # somebody else's, made this instant
            continue
        except FileNotFoundError:
            if os.path.lexists(step.source):
                raise
            break
        journal.write(do="moved", n=number)
        return target
    journal.write(do="gone", n=number)
    return None


def move_file(source: str, target: str, part: str, link: str | None = None) -> None:
    """Move a file to a path that is free, on another file system too. Raises FileExistsError where it is not free.

    `part` is the name of the copy beside `target` while it is incomplete; `link` what a symbolic link shall say.
    A kill at any instant leaves the file whole at one of the two places; the other then has nothing, an empty file,
    or the same bytes.
    """
    if os.path.islink(source):
        _move_link(source, target, link)
        return
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # ours from here on: safe to replace
    try:
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_over(source, target, part)
    except BaseException:  # Ctrl-C may come when the move is done: only what is not the file itself may go
        if os.path.lexists(source) or not os.path.getsize(target):
            os.unlink(target)
        raise


def _move_link(source: str, target: str, link: str | None) -> None:
    says = os.readlink(source) if link is None else link
    os.symlink(says if link is not None else os.path.join(os.path.dirname(source), says), target)
    os.unlink(source)


def _copy_over(source: str, target: str, part: str) -> None:
    """Copy to another file system, take the free place that `target` keeps, and only then remove the source."""
    folder = os.path.dirname(target)
    temp = os.path.join(folder, part)
    try:
        shutil.copy2(source, temp)
        with open(temp, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temp, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temp)
    sync(folder)
    os.unlink(source)


def find_last(path: str | os.PathLike[str]) -> Journal:
    """The journal of the latest apply on the data in `path` that was not undone; `path` may be the trash folder too."""
    given = Path(os.path.abspath(path))
    folders = _dated(given / TRASH) or ([given] if (given / NAME).is_file() else _dated(given))
    latest: tuple[str, Journal] | None = None
    for folder in folders:
        journal = Journal.open(folder)
        records = journal.records()
        open_still = records and not any(record["do"] == "undone" for record in records)
        if open_still and (latest is None or records[0]["at"] > latest[0]):
            latest = records[0]["at"], journal
    if latest is None:
        found = f"{len(folders)} apply there, undone already" if folders else f"no {TRASH}/<date>/{NAME} there"
        raise DataError(
            f"There is nothing to undo in {printable(path)}: {found}. Expected the folder of the data, as in "
            "ImageClassifierCleaner.undo_last(path), or the trash folder."
        )
    return latest[1]


def _dated(trash: Path) -> list[Path]:
    return [Path(file).parent for file in sorted(trash.glob(f"*/{NAME}"))] if trash.is_dir() else []


def undo(journal: Journal) -> Undone:
    """Move everything back, the last first. May be repeated after a kill: what is back already stays.

    A file whose old name is taken by another file comes back under a free name beside it. Raises DataError where a
    file cannot be moved.
    """
    records = journal.records()
    if any(record["do"] == "undone" for record in records):
        raise DataError(f"{printable(journal.folder)} was undone already.")
    journal.write(do="undo")
    moves = {record["n"]: record for record in records if record["do"] == "move"}  # the last intent of each file
    placeholders = {record["to"] for record in records if record["do"] == "back"}
    back, renamed, lost = [], [], []
    for number, record in sorted(moves.items(), reverse=True):
        source = Path(journal.absolute(record["from"]))
        try:
            now = _take_back(journal, record, placeholders)
        except OSError as error:
            raise DataError(
                f"{printable(source)} cannot be moved back from {printable(record['to'])}: {error.strerror}. "
                "Mend the cause and undo again: it goes on here."
            ) from error
        if now is not None:
            back.append(source)
            if now != str(source):
                renamed.append((source, Path(now)))
        elif not any(other["do"] == "gone" and other["n"] == number for other in records):
            lost.append(source)
        _remove_empty([journal.absolute(folder) for folder in record["made"]])
    journal.write(do="undone", lost=[journal.spell(str(path)) for path in lost])
    return Undone(journal.folder, tuple(back), tuple(renamed), tuple(lost))


def _take_back(journal: Journal, record: dict[str, Any], placeholders: set[str]) -> str | None:
    """Where the file of one move lies in the end; None when it is nowhere."""
    source, target = journal.absolute(record["from"]), journal.absolute(record["to"])
    for folder in (os.path.dirname(source), os.path.dirname(target)):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(os.path.join(folder, record["part"]))
    if not os.path.lexists(target):
        return source if os.path.lexists(source) else None
    if os.path.lexists(source) and _superfluous(target, source):  # never moved, or back already
        os.unlink(target)
        return source
    os.makedirs(os.path.dirname(source), exist_ok=True)
    for wanted in map(str, _numbered(Path(os.path.dirname(source)), os.path.basename(source))):
        if journal.spell(wanted) in placeholders and os.path.isfile(wanted) and not os.path.getsize(wanted):
            os.unlink(wanted)  # a place that an undo kept before it was killed
        if os.path.lexists(wanted):
            continue
        journal.write(do="back", n=record["n"], to=journal.spell(wanted))
        try:
            move_file(target, wanted, record["part"], record.get("link"))
        except FileExistsError:
            continue
        return wanted
    raise AssertionError("names do not run out")


def _superfluous(target: str, source: str) -> bool:
    """Whether the file at `target` is nothing that `source` does not hold: a place kept, or the same bytes."""
    if os.path.exists(source) and os.path.exists(target):
        return not os.path.getsize(target) or filecmp.cmp(source, target, shallow=False)
    return os.path.islink(source) and os.path.islink(target)


def _numbered(folder: Path, name: str) -> Iterator[Path]:
    """The name itself, then with -2, -3… before its ending; cut where it would be too long."""
    yield folder / name
    stem, ending = os.path.splitext(name)
    number = 2
    while True:
        room = LONGEST_NAME - len(os.fsencode(f"-{number}{ending}"))
        while len(os.fsencode(stem)) > room:
            stem = stem[:-1]
        yield folder / f"{stem}-{number}{ending}"
        number += 1


def _made(folder: Path) -> bool:
    try:
        os.mkdir(folder)
    except FileExistsError:
        return False
    return True


def _missing_folders(folder: str) -> list[str]:
    """The folders on the way to `folder` that are not there, the deepest first."""
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _remove_empty(folders: Iterable[str]) -> None:
    """Remove those of the folders, deepest first, that hold nothing."""
    for folder in folders:
        with suppress(OSError):
            os.rmdir(folder)


def _files(n: int) -> str:
    return f"{n} file{'' if n == 1 else 's'}"
