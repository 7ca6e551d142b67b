"""Unpacks an archive that nobody vouches for: nothing lands outside its folder, and nothing half-done stays."""

from __future__ import annotations

import errno
import glob
import os
import pathlib
import secrets
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Self

from fastlearn.data.progress import progress_line
from fastlearn.errors import DownloadError
from fastlearn.paths import printable

CHUNK = 1 << 20
MAX_RATIO = 200  # pictures hardly shrink; text shrinks tenfold; a bomb a thousandfold
ALWAYS_ALLOWED = 1 << 30  # bytes: a small archive may unpack to this much whatever its ratio
LEAST = 512  # bytes that a member counts for: empty files by the million fill a disk's table of files
SPARE = 64 << 20  # bytes left free on the disk
MAX_HEADER = 1 << 20  # bytes of a tar member's name or properties
UNPACKING = ".unpacking-"


def extract(archive: str | os.PathLike[str], dest: str | os.PathLike[str], progress: bool = True) -> None:
    """The content of a .tar, .tgz, .tar.bz2, .tar.xz or .zip as the new folder `dest`, which appears whole or never.

    An archive that holds one folder becomes that folder. Members that are absolute, that climb out by `..`, and links
    and devices are refused, and so is an archive that unpacks to far more than its size. Raises DownloadError; what was
    unpacked so far is then removed.

    >>> extract("pets.tgz", "data/pets")
    """
    archive, dest = pathlib.Path(archive), pathlib.Path(dest)
    into = dest.parent / f".{dest.name}{UNPACKING}{secrets.token_hex(4)}"
    with (
        _explained(archive, dest.parent, into),
        progress_line(None, f"unpacking {archive.name}", "B", progress) as line,
    ):
        dest.parent.mkdir(parents=True, exist_ok=True)
        for left in dest.parent.glob(f".{glob.escape(dest.name)}{UNPACKING}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        into.mkdir()
        _unpack(archive, into, line)
        os.replace(_single_folder(into), dest)


def _unpack(archive: pathlib.Path, into: pathlib.Path, line: Any) -> None:
    budget = max(archive.stat().st_size * MAX_RATIO, ALWAYS_ALLOWED)
    for name, size, content in _members(archive, into):
        target = _inside(into, name, archive)
        budget -= max(size, LEAST)
        if budget < 0:
            raise DownloadError(
                f"{printable(archive)} unpacks to more than {MAX_RATIO} times its size: perhaps a decompression bomb. "
                "Nothing was kept. If you trust it, unpack it yourself and pass the folder."
            )
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        if size > CHUNK and size + SPARE > shutil.disk_usage(into).free:
            raise DownloadError(disk_full(into.parent, f"unpack {printable(archive)}", size + SPARE))
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, open(target, "wb") as file:
            shutil.copyfileobj(content, file, CHUNK)
        line.update(size)


def _members(archive: pathlib.Path, into: pathlib.Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    """(name, bytes, open content) of each member; a folder has no content."""
    try:
        tar = tarfile.open(archive, "r:*", tarinfo=_Header)  # noqa: SIM115 - closed below; only the opening may mean "no tar"
    except tarfile.ReadError:
        tar = None
    if tar is not None:
        with tar:
            for member in tar:
                _check_tar_member(member, archive, into)
                yield member.name, member.size, tar.extractfile(member) if member.isfile() else None
            # tarfile takes what ends in a header, or between two members, for a whole file: zeros must follow.
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("its end is missing")
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                _check_zip_member(info, archive)
                yield info.filename, info.file_size, None if info.is_dir() else zipped.open(info)
    else:
        raise DownloadError(_not_an_archive(archive))


class _Header(tarfile.TarInfo):
    """A member whose name and other properties are of a sane length: tarfile reads them into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header in a block of 512 bytes; an overlong one is no OSError, which opening would take for "no tar"."""
        found = super().frombuf(buf, encoding, errors)
        if found.type in _LONG_HEADERS and found.size > MAX_HEADER:
            raise ValueError(f"a name or property of {found.size:,} bytes")
        return found


_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


def _check_tar_member(member: tarfile.TarInfo, archive: pathlib.Path, into: pathlib.Path) -> None:
    if not (member.isfile() or member.isdir()):
        kind = "a link" if member.issym() or member.islnk() else "a device or another special file"
        raise _refused(archive, member.name, f"is {kind}, and only files and folders are unpacked")
    if hasattr(tarfile, "data_filter"):  # Python's own second opinion (3.11.4 and later)
        try:
            tarfile.data_filter(member, str(into))
        except tarfile.FilterError as error:
            raise _refused(archive, member.name, str(error)) from error


def _check_zip_member(info: zipfile.ZipInfo, archive: pathlib.Path) -> None:
    kind = (info.external_attr >> 16) & 0o170000  # the Unix file type, zero when the zip was not made on Unix
    if kind not in (0, 0o100000, 0o040000):
        raise _refused(archive, info.filename, "is a link or a special file, and only files and folders are unpacked")
    if info.flag_bits & 1:
        raise DownloadError(f"{printable(archive)} needs a password. Unpack it yourself and pass the folder.")


def _inside(into: pathlib.Path, name: str, archive: pathlib.Path) -> pathlib.Path:
    """Where a member goes; read by Windows' rules too, so that an archive means the same on every system."""
    windows = pathlib.PureWindowsPath(name)
    if windows.drive or windows.root or pathlib.PurePosixPath(name).is_absolute():
        raise _refused(archive, name, "has an absolute path")
    if ".." in windows.parts or "\0" in name:
        raise _refused(archive, name, "climbs out of the folder that it is unpacked to")
    return into / name


def _refused(archive: pathlib.Path, name: str, why: str) -> DownloadError:
    return DownloadError(
        f"{printable(archive)} was not unpacked: its member {name!r} {why}. "
        "If you trust it, unpack it yourself and pass the folder."
    )


def _single_folder(into: pathlib.Path) -> pathlib.Path:
    """The only folder of what was unpacked, or all of it."""
    entries = list(into.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else into


@contextmanager
def _explained(archive: pathlib.Path, folder: pathlib.Path, into: pathlib.Path) -> Iterator[None]:
    """Turns what goes wrong while unpacking into a DownloadError in a reader's words, and removes `into`."""
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        shutil.rmtree(into, ignore_errors=True)  # now, so that what it took counts as free
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(disk_full(folder, f"unpack {printable(archive)}")) from error
        raise DownloadError(f"Cannot unpack {printable(archive)}: {error}.") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _damaged(archive, error) from error
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma", "_lzma", "_bz2"):  # their errors have no common base
            raise _damaged(archive, error) from error
        raise
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _damaged(archive: pathlib.Path, error: Exception) -> DownloadError:
    return DownloadError(f"{printable(archive)} is damaged or cut off ({error}). Delete it and try again.")


def disk_full(folder: str | os.PathLike[str], purpose: str, n_bytes: int | None = None) -> str:
    """What to say when a disk has no room for `n_bytes`, if it is known how many."""
    free = f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB free"
    needed = "" if n_bytes is None else f"{n_bytes / 1e6:,.1f} MB needed, "
    return (
        f"The disk is full: no room to {purpose} under {printable(folder)} ({needed}{free}). "
        "Free some space, or set the environment variable FASTLEARN_HOME to a folder on another disk."
    )


def _not_an_archive(archive: pathlib.Path) -> str:
    with open(archive, "rb") as file:
        head = file.read(64)
    if not head:
        return f"{printable(archive)} is empty (0 bytes). Delete it and try again."
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK")):
        return f"{printable(archive)} is damaged or cut off, or holds no tar. Delete it and try again."
    page = head.lstrip().lower().startswith((b"<!doctype", b"<html"))
    hint = " It is a web page: the address needs a login, or has moved." if page else ""
    return (
        f"{printable(archive)} is neither a tar nor a zip archive (it starts with {head[:12]!r}).{hint} "
        "Expected .tgz, .tar.gz, .tar, .tar.bz2, .tar.xz or .zip."
    )
