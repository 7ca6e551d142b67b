"""Pictures kept on the disk between sessions, for several threads and processes at once."""

from __future__ import annotations

import os
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fastlearn.data.cache_folder import (
    KEEP_FREE,
    MOST_SHARDS,
    folder_of,
    free_on_disk,
    in_units,
    make_folder,
    make_room,
    shown,
    size_limit,
    stored_shards,
)
from fastlearn.data.file_key import Key
from fastlearn.data.shards import RECORD_BYTES, Index, Shard, Writer
from fastlearn.runtime.disk import is_full
from fastlearn.runtime.say import say

GRANT = 64 << 20  # bytes written between two looks at the limit and the disk: a look lists all shards


class DiskCache:
    """Pictures of one `recipe` in the folder of all caches: what one process puts, another finds, now or next week.

    Whatever the disk does, the training goes on: a picture that is damaged is not there, and when no more can be
    written, that is said in one sentence. All caches together keep to `size_limit`: at the start, the least recently
    used pictures make room for `to_come` bytes. Pickled, it arrives as a cache of the same pictures that says nothing.
    """

    def __init__(
        self, folder: str | os.PathLike[str], recipe: str, *, to_come: int = 0, silent: bool = False, said: str = ""
    ) -> None:
        self.said = said
        self._root, self._recipe, self._silent = Path(folder).absolute(), recipe, silent
        self._limit = size_limit()
        self._index = Index()
        self._shards: dict[str, Shard] = {}  # of others, by the name of the index file
        self._writer: Writer | None = None
        self._granted = 0  # bytes that may be written before the next look
        self._stopped = False  # nothing more is written
        self._closed = False
        self._writing = threading.Lock()
        self._folder = folder_of(self._root, recipe)
        try:
            make_folder(self._root, recipe)
            make_room(self._root, self._folder, self._limit, to_come)
        except OSError as error:
            self._stop(self._reason(error))
        self.refresh()

    @property
    def n_pictures(self) -> int:
        """How many pictures are known here."""
        return len(self._index)

    def get(self, key: Key) -> np.ndarray | None:
        """A picture, read-only uint8 (channels, height, width); None where it is not there, or damaged."""
        index = self._index  # another one, if the cache is closed meanwhile
        entry = index.find(key.digest())
        if entry is None:
            return None
        pixels = entry.shard.read(entry.record, entry.checked)
        if pixels is None:
            index.forget(entry)
            return None
        if not entry.checked:
            index.mark_checked(entry)
        return np.frombuffer(pixels, np.uint8).reshape(entry.record.shape)

    def put(self, key: Key, pixels: np.ndarray) -> None:
        """Keep a picture, uint8 (channels, height, width); where that cannot be, it is said once, and all goes on."""
        assert pixels.dtype == np.uint8 and pixels.ndim == 3
        if self._stopped:
            return
        pixels = np.ascontiguousarray(pixels)
        digest, crc = key.digest(), zlib.crc32(pixels.data)
        with self._writing:
            if self._stopped or self._index.find(digest) is not None:  # another thread was faster
                return
            try:
                self._write(digest, pixels, crc)
            except OSError as error:
                self._stop(self._reason(error))

    def _write(self, digest: bytes, pixels: np.ndarray, crc: int) -> None:
        n_bytes = pixels.nbytes + RECORD_BYTES
        if self._granted < n_bytes:
            room, bound = self._room()
            if room < n_bytes:
                self._stop(bound)
                return
            self._granted = max(n_bytes, min(room, GRANT))
        if self._writer is None:
            self._writer = Writer(self._folder)
        self._index.add(self._writer.append(digest, pixels, crc), self._writer.shard)
        self._granted -= n_bytes

    def _room(self) -> tuple[int, str]:
        """How many more bytes may be written, and what to say after them."""
        room = self._limit - sum(shard.n_bytes for shard in stored_shards(self._root))
        free = free_on_disk(self._root)
        if free is not None and free - KEEP_FREE < room:
            return free - KEEP_FREE, f"only {in_units(free)} are free on the disk of {shown(self._root)}. {_WAY_OUT}"
        return room, (
            f"{shown(self._root)} has reached its limit of {in_units(self._limit)}. Set the environment variable "
            "FASTLEARN_CACHE_LIMIT to more bytes, or type fastlearn cache clear."
        )

    def refresh(self) -> None:
        """See what other processes have stored by now; called as each epoch starts."""
        with self._writing:
            if self._closed:
                return
            try:
                names = sorted(name for name in os.listdir(self._folder) if name.endswith(".index"))
                for name in names[-MOST_SHARDS:]:
                    self._take_up(name)
                # Worker processes are silent, so that one sentence is not said by each: this process looks for them.
                room, bound = self._room()
                if room <= 0:
                    self._stop(bound)
            except OSError as error:
                self._stop(self._reason(error))

    def _take_up(self, name: str) -> None:
        """Open a shard, if it is new, and take up its new pictures; none where it cannot be read."""
        if self._writer is not None and name == self._writer.path.name:
            return
        try:
            shard = self._shards.get(name) or Shard(self._folder / name)
            records = shard.new_records()
        except OSError:  # being removed, or not ours to read
            return
        self._shards[name] = shard
        if records:
            self._index.add(records, shard)

    def _reason(self, error: OSError) -> str:
        if is_full(error):
            return f"the disk of {shown(self._root)} is full. {_WAY_OUT}"
        if isinstance(error, FileNotFoundError):
            return f"{shown(self._root)} was removed."
        return (
            f"{shown(self._root)} cannot be written to ({error.strerror}). Set the environment variable "
            "FASTLEARN_CACHE to a folder that you may write to."
        )

    def _stop(self, why: str) -> None:
        if not (self._stopped or self._silent):
            say(f"From here on no picture is added to the cache: {why}")
        self._stopped, self.said = True, ""

    def close(self) -> None:
        """Let go of all files; from now on no picture is there, and none is kept."""
        with self._writing:
            self._stopped = self._closed = True
            self._index, self._shards, self._writer = Index(), {}, None

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._root, self._recipe, self.said)


_WAY_OUT = "Free some space there, or set the environment variable FASTLEARN_CACHE to a folder on another disk."


def _arrived(root: Path, recipe: str, said: str) -> DiskCache:
    return DiskCache(root, recipe, silent=True, said=said)
