"""Zip files with a few members whose names are known: nothing else is read, and nothing is unpacked to the disk."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from fastlearn.errors import CheckpointError, damaged
from fastlearn.runtime.disk import write_whole
from fastlearn.runtime.file_bytes import open_regular

MOST_DIRECTORY = 1 << 20  # bytes of the list of members, which zipfile reads whole
_END = 1 << 17  # bytes at the end of a file, in which zipfile looks for the place of that list
_KNOWN_FLAGS = 0x080E  # how hard it was deflated, sizes behind the data, UTF-8 names; others encrypt or patch
_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    OverflowError, LookupError, OSError,
)  # fmt: skip  # what zipfile answers a damaged file with


def read_members(path: str | os.PathLike[str], allowed: Mapping[str, int], what: str) -> dict[str, bytes]:
    """The content of each member by name; only those in `allowed` may be there, with at most so many bytes each.

    A member may be stored or deflated; no more than its allowance is ever unpacked, and its checksum must be right.
    Refused are other names (and so folders and paths that climb out), a name that comes twice, links, and encryption.
    Whether all that are needed are there is for the caller to see. Raises DamagedFileError, which names `what`.

    >>> read_members("pets.zip", {"model.json": 1 << 20, "model.safetensors": 1 << 30}, "pets.zip")
    """
    found: dict[str, bytes] = {}
    with open_zip(path, what) as zipped:
        for info in zipped.infolist():
            _check_member(info, allowed, what)
            if info.filename in found:
                raise damaged(what, f"it has the member {info.filename!r} twice")
            found[info.filename] = member_bytes(zipped, info, what)
    return found


@contextmanager
def open_zip(
    path: str | os.PathLike[str], what: str, most_directory: int = MOST_DIRECTORY
) -> Iterator[zipfile.ZipFile]:
    """A zip whose list of members has at most `most_directory` bytes; the body's faults in it are named as well."""
    with open_regular(path, what) as (file, size):
        try:
            bounded = _BoundedReads(file, most_directory)
            with zipfile.ZipFile(bounded) as zipped:  # type: ignore[arg-type]  # it needs no more than these
                bounded.most = None
                if short := [one.filename for one in zipped.infolist() if one.compress_size > size]:
                    raise damaged(what, f"its member {short[0]!r} should be larger than the whole file")
                yield zipped
        except _FAULTS as error:
            if isinstance(error, CheckpointError):
                raise
            raise damaged(what, f"it is no whole zip file ({str(error) or type(error).__name__})") from error


class _BoundedReads:
    """A file of which at most `most` bytes are read at a time; None is without bound."""

    def __init__(self, file: BinaryIO, most: int | None) -> None:
        self._file, self.most = file, most
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, n: int = -1) -> bytes:
        """As a file's."""
        if self.most is not None and n > self.most:
            raise zipfile.BadZipFile(f"its list of members should have {n:,} bytes, and {self.most:,} are read")
        return self._file.read(n if n >= 0 or self.most is None else _END)


def _check_member(info: zipfile.ZipInfo, allowed: Mapping[str, int], what: str) -> None:
    """Raises DamagedFileError for a member that should not be there, or not like this."""
    name = info.orig_filename  # zipfile cuts the other one at a NUL
    if name not in allowed or info.filename != name:
        expected = ", ".join(sorted(allowed))
        raise damaged(what, f"it has a member {name[:100]!r}, and nothing but {expected} was expected")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.external_attr & 0x10:
        raise damaged(what, f"its member {name!r} is a link, a folder or a device, and no file")
    if info.flag_bits & ~_KNOWN_FLAGS or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise damaged(what, f"its member {name!r} is encrypted, or packed in another way than by deflate")
    most = allowed[name]
    if info.file_size > most:
        raise damaged(what, f"its member {name!r} unpacks to {info.file_size:,} bytes, and at most {most:,} are read")
    if info.compress_size > info.file_size + info.file_size // 256 + 1024:  # what cannot be made smaller grows a little
        raise damaged(
            what, f"its member {name!r} has {info.compress_size:,} bytes for {info.file_size:,} unpacked ones"
        )


def member_bytes(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> bytes:
    """The content of a member, for which no more memory is taken than it says that it needs (as `read()` would)."""
    with zipped.open(info) as member:
        data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise damaged(what, f"its member {info.filename!r} has {len(data):,} bytes instead of {info.file_size:,}")
    return data


def write_members(path: str | os.PathLike[str], members: Mapping[str, bytes]) -> None:
    """Write a zip, whole or not at all; the same members in the same order always give the same bytes.

    Members are stored as they are: weights hardly shrink. Raises OSError, and CheckpointError for a name that means
    something else on another system.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as zipped:
        for name, data in members.items():
            if not _is_portable(name):
                raise CheckpointError(f"A member of a zip cannot be called {name[:100]!r}. Expected 'folder/name'.")
            info = zipfile.ZipInfo(name)  # of 1980-01-01
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # as on Unix, wherever it is made
            zipped.writestr(info, data)
    write_whole({Path(path): packed.getvalue()})


def _is_portable(name: str) -> bool:
    windows = PureWindowsPath(name)
    plain = str(PurePosixPath(name)) == name and name.isprintable() and "\\" not in name and name != "."
    return plain and not windows.drive and not windows.root and ".." not in windows.parts
