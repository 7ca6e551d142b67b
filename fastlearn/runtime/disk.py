"""Files put in place whole or not at all, and what to say when a disk has no room for them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fastlearn.errors import ConfigError
from fastlearn.paths import printable
from fastlearn.runtime.interrupt import DeferredInterrupt


def write_whole(files: Mapping[Path, bytes | Sequence[bytes | memoryview]]) -> None:
    """Write files that belong together: each beside its place and to the disk, then all of them into place.

    What a file is to hold is given whole or in pieces.

    An error, or Ctrl-C, leaves every file as it was, and no temporary file. Raises OSError.
    """
    temps: list[Path] = []
    try:
        for path, data in files.items():
            temps.append(temp_beside(path))
            write_new(temps[-1], data)
        with DeferredInterrupt() as interrupt:  # between two renames the files would not fit each other
            for temp, path in zip(temps, files, strict=True):
                os.replace(temp, path)
        for folder in {path.parent for path in files}:
            sync(folder)
        interrupt.check("")
    finally:
        for temp in temps:
            temp.unlink(missing_ok=True)


def temp_beside(path: Path) -> Path:
    """A hidden name beside `path` that is this process's own; it ends with `.tmp`, so that litter can be told."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def write_new(path: Path, data: bytes | Sequence[bytes | memoryview]) -> None:
    """Write a file that is not there yet, and bring it to the disk. Raises OSError."""
    with open(path, "xb", buffering=1 << 20) as file:
        file.writelines([data] if isinstance(data, bytes) else data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: str | os.PathLike[str]) -> None:
    """Have a file's bytes, or the names in a folder (so that a rename lasts), on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows cannot open a folder, and needs none of this
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def folder_to_fill(folder: Path, way_out: str) -> Iterator[None]:
    """Makes a folder and keeps other processes that ask likewise from it; if nothing comes into it, it goes again.

    Raises ConfigError, which ends with `way_out`.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"Cannot make the folder {printable(folder)}: {error.strerror}. {way_out}") from error
        with alone_in(folder, way_out):
            yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            for one in made:
                one.rmdir()


@contextlib.contextmanager
def alone_in(folder: Path, way_out: str) -> Iterator[None]:
    """Keeps other processes that ask likewise from a folder; ConfigError, which ends with `way_out`, where one has it.

    The lock leaves no file and ends with the process, where the system has such locks (not on Windows).
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    _locks.add(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        _unlock(handle)
        raise ConfigError(f"Another process is writing to {printable(folder)}. Wait for it. {way_out}") from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        _unlock(handle)


_locks: set[int] = set()  # what locks are held by


def _unlock(handle: int) -> None:
    _locks.discard(handle)
    os.close(handle)


def _let_go() -> None:
    """A process that is forked while a lock is held, a loader's worker say, would keep it when its parent is gone."""
    while _locks:
        os.close(_locks.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def is_full(error: BaseException) -> bool:
    """Whether an error means that the disk, or the user's share of it, is full; safetensors tells it in words alone."""
    codes = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in codes or any(f"(os error {code})" in str(error) for code in codes)


def lacking(folder: str | os.PathLike[str], n_bytes: int) -> str:
    """`It takes 46.8 MB, and 2.1 MB are free in models.`, or nothing when they have room, or it is unknown."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return ""
    if usage.total == 0 or usage.free >= n_bytes:  # some network file systems tell nothing
        return ""
    return f"It takes {_in_units(n_bytes)}, and {_in_units(usage.free)} are free in {printable(folder)}."


def _in_units(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 100_000 else f"{n_bytes:,} bytes"
