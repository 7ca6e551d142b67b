"""Shards: files of pictures of which a kill at any instant leaves the good part. One process writes one, many read it.

A shard is two files. `name.data` holds the pixels, one picture after the other; `name.index` a record of fixed size for
each, written after its pixels. A record counts only if its own CRC holds, and the pixels only if they are whole and
theirs holds when this process first reads them: what a kill, a full disk or a power cut left half done is not there.

The files are read by pread and not mapped: looking at a mapped file that has become shorter kills the process (SIGBUS).
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
import sys
import threading
import time
import weakref
import zlib
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

_FIELDS = struct.Struct("<16sQ4I")
_CHECK = struct.Struct("<I")
RECORD_BYTES = _FIELDS.size + _CHECK.size
_BINARY = getattr(os, "O_BINARY", 0)  # Windows translates line ends without it


class Record(NamedTuple):
    """Where the pixels of one picture lie in the data of a shard, and how to know them."""

    digest: bytes
    offset: int
    channels: int
    height: int
    width: int
    crc: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def n_bytes(self) -> int:
        """How many bytes of pixels there are."""
        return self.channels * self.height * self.width

    def packed(self) -> bytes:
        """The record as it stands in an index."""
        fields = _FIELDS.pack(*self)
        return fields + _CHECK.pack(zlib.crc32(fields))


class Shard:
    """One shard to read from. Nobody removes it while it is open. Raises OSError.

    It is closed when no one reads from it any more, and not before: the system gives the number of a closed file to the
    next one that is opened, and a reader on its way would get that one's bytes.
    """

    def __init__(self, index: Path) -> None:
        self.index = index
        self._data = os.open(index.with_suffix(".data"), os.O_RDONLY | _BINARY)
        weakref.finalize(self, os.close, self._data).atexit = False  # threads may still read then
        if locked(self._data, alone=False) is False:
            raise BlockingIOError(errno.EAGAIN, "it is being removed", str(index))
        self._n_read = 0
        self._touched = False
        self._seeking = threading.Lock()

    def new_records(self) -> bytes:
        """The whole records that were written since the last call."""
        with open(self.index, "rb") as file:
            file.seek(self._n_read * RECORD_BYTES)
            text = file.read()
        n = len(text) // RECORD_BYTES
        self._n_read += n
        return text[: n * RECORD_BYTES]

    def read(self, record: Record, checked: bool) -> bytes | None:
        """The pixels of a record, or None where they are not whole, or damaged; `checked`: seen to be good before."""
        try:
            if not checked and record.offset + record.n_bytes > os.fstat(self._data).st_size:
                return None
            pixels = self._read_at(record.offset, record.n_bytes)
        except OSError:  # a failing disk: the picture is read from its file instead
            return None
        if len(pixels) != record.n_bytes or not (checked or zlib.crc32(pixels) == record.crc):
            return None
        self._touch()
        return pixels

    def _read_at(self, offset: int, n_bytes: int) -> bytes:
        if sys.platform != "win32":
            return os.pread(self._data, n_bytes, offset)
        with self._seeking:
            os.lseek(self._data, offset, os.SEEK_SET)
            return os.read(self._data, n_bytes)

    def _touch(self) -> None:
        """Note, once, that this shard is in use: the least recently used ones are removed first."""
        if not self._touched:
            self._touched = True
            try:
                os.utime(self.index)
            except OSError:  # removed, or not ours
                return


class Writer:
    """A new shard of this process alone; `shard` is it for reading. Raises OSError: nothing may be appended then."""

    def __init__(self, folder: Path) -> None:
        # Names sort by age, so that of two records for one picture the newer one is believed.
        name = f"{time.time_ns():016x}-{os.getpid():x}-{secrets.token_hex(4)}"
        self.path = folder / f"{name}.index"
        self._index = self._created(self.path)  # first, as it goes last: whoever lists the index files sees all shards
        self._data = self._created(self.path.with_suffix(".data"))
        self.shard = Shard(self.path)
        self._n = 0

    def _created(self, path: Path) -> int:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        weakref.finalize(self, os.close, handle).atexit = False  # as above
        return handle

    def append(self, digest: bytes, pixels: np.ndarray, crc: int) -> bytes:
        """Write a picture, uint8 (channels, height, width), and then its record, which is returned."""
        offset = os.lseek(self._data, 0, os.SEEK_END)  # asked for each time: Ctrl-C may have left part of a picture
        _write_all(self._data, pixels.reshape(-1).data)
        channels, height, width = pixels.shape
        record = Record(digest, offset, channels, height, width, crc).packed()
        os.lseek(self._index, self._n * RECORD_BYTES, os.SEEK_SET)  # or part of a record
        _write_all(self._index, memoryview(record))
        self._n += 1
        return record


def _write_all(handle: int, data: memoryview) -> None:
    while data:  # a disk with little room takes a part, and refuses the rest
        data = data[os.write(handle, data) :]


def locked(handle: int, alone: bool) -> bool | None:
    """Lock an open file, alone or beside others, until it is closed: whether that worked; None where locks are unknown.

    Windows knows none of these, and needs none: it does not remove an open file.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


class Entry(NamedTuple):
    """One picture that an `Index` knows; `checked`: its pixels were seen to be good in this process."""

    row: int
    shard: Shard
    record: Record
    checked: bool


class Index:
    """Where each picture is: a dict from a part of its digest to the row of its record, 160 bytes of memory in all.

    Looking a picture up takes a microsecond; sorted arrays would need a third of the memory and several times as long.
    """

    _PART = (1 << 60) - 1  # bits of the digest: the longest that Python keeps in 32 bytes
    _LAYOUT = np.dtype([("part", "<u8"), ("rest", f"V{RECORD_BYTES - 8}")])

    def __init__(self) -> None:
        self._row_of: dict[int, int] = {}
        self._n_rows = 0
        self._records = bytearray()
        self._shards: list[Shard] = []
        self._shard_of = array("I")
        self._checked = bytearray()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._row_of)

    def add(self, records: bytes, shard: Shard) -> None:
        """Take up whole records of a shard; they replace earlier ones of the same pictures."""
        parts = (np.frombuffer(records, self._LAYOUT)["part"] & self._PART).tolist()
        with self._lock:
            if not self._shards or self._shards[-1] is not shard:
                self._shards.append(shard)
            first, end = self._n_rows, self._n_rows + len(parts)
            # From `first` on, and the dict after the rest: Ctrl-C in between costs these pictures, and no others.
            self._records[first * RECORD_BYTES :] = records
            self._shard_of[first:] = array("I", [len(self._shards) - 1]) * len(parts)
            self._checked[first:] = bytes(len(parts))
            self._row_of.update(zip(parts, range(first, end), strict=True))
            self._n_rows = end

    def find(self, digest: bytes) -> Entry | None:
        """The entry of a picture, if there is one with a sound record."""
        with self._lock:
            row = self._row_of.get(self._part(digest))
            if row is None:
                return None
            text = bytes(self._records[row * RECORD_BYTES : (row + 1) * RECORD_BYTES])
            shard, checked = self._shards[self._shard_of[row]], bool(self._checked[row])
        fields, check = text[: _FIELDS.size], text[_FIELDS.size :]
        if fields[:16] != digest or not (checked or _CHECK.pack(zlib.crc32(fields)) == check):
            return None
        return Entry(row, shard, Record(*_FIELDS.unpack(fields)), checked)

    def mark_checked(self, entry: Entry) -> None:
        """Remember that the pixels of an entry are good."""
        self._checked[entry.row] = 1

    def forget(self, entry: Entry) -> None:
        """Know a damaged picture no longer, so that it is stored anew."""
        with self._lock:
            if self._row_of.get(self._part(entry.record.digest)) == entry.row:
                del self._row_of[self._part(entry.record.digest)]

    def _part(self, digest: bytes) -> int:
        return int.from_bytes(digest[:8], "little") & self._PART
