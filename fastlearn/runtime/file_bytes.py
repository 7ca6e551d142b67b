"""The bytes of a file, as many as were to be expected and no more."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fastlearn.errors import CheckpointError, damaged
from fastlearn.paths import printable


def read_bounded(path: str | os.PathLike[str], most_bytes: int, what: str) -> bytes:
    """The bytes of a regular file of at most `most_bytes`, whose size is looked at before any memory is taken.

    A link is followed, also one that leaves its folder: caches of models consist of links, and what a link leads to
    was open to the reader anyway. What counts is the file that was opened: folders, pipes and devices are refused, and
    never waited for. Raises DamagedFileError, also for a file that changes its size meanwhile, and CheckpointError for
    one that is missing or may not be read; `what` names it there.
    """
    with open_regular(path, what) as (file, size):
        if size > most_bytes:
            raise damaged(what, f"it has {size:,} bytes, and at most {most_bytes:,} were expected")
        try:
            data = file.read(size + 1)
        except OSError as error:
            raise _unreadable(path, what, error) from error
    if len(data) != size:
        raise damaged(what, "its size changes while it is read: something else is writing to it")
    return data


@contextmanager
def open_regular(path: str | os.PathLike[str], what: str) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file open for reading, and its size in bytes; errors as those of `read_bounded`."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for
    try:
        handle = os.open(path, flags)
    except FileNotFoundError as error:
        raise CheckpointError(f"{what} is missing: there is no file {printable(path)}.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, what, error) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise damaged(what, f"it is {kind}, and no file")
        with open(handle, "rb", closefd=False) as file:
            yield file, status.st_size
    finally:
        os.close(handle)


def _unreadable(path: str | os.PathLike[str], what: str, error: OSError | ValueError) -> CheckpointError:
    why = getattr(error, "strerror", None) or error
    return CheckpointError(f"{what} cannot be read: {why} ({printable(path)}). Check its permissions.")


def digest(*pieces: bytes | memoryview) -> str:
    """The SHA-256 of bytes, whole or one piece after the other, in hexadecimal, as a manifest lists it.

    >>> digest(b"")[:8]
    'e3b0c442'
    """
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


NO_DIGEST = "0" * 64  # stands in bytes where their own digest is to stand, while it is computed


def sealed(first: bytes | memoryview, *rest: bytes | memoryview) -> bytes:
    """`first` with the digest of it and of what follows in the place of its `NO_DIGEST`."""
    return bytes(first).replace(NO_DIGEST.encode(), digest(first, *rest).encode(), 1)


def is_sealed(data: bytes, said: str) -> bool:
    """Whether bytes that say to have the digest `said` have it."""
    seal, view = said.encode("utf-8", "backslashreplace"), memoryview(data)
    at = data.find(seal)
    end = at + len(seal)
    return len(seal) == len(NO_DIGEST) and at >= 0 and digest(view[:at], NO_DIGEST.encode(), view[end:]) == said
