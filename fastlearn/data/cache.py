"""Where the fixed part of a picture (decoded, upright, resized) is kept, so that the second epoch decodes nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from fastlearn.data.cache_folder import (
    KEEP_FREE,
    cache_folder,
    folder_of,
    free_on_disk,
    in_units,
    shown,
    size_limit,
    stored_shards,
)
from fastlearn.data.cache_folder import clear as clear
from fastlearn.data.cache_folder import listing as listing
from fastlearn.data.disk_cache import DiskCache as DiskCache
from fastlearn.data.file_key import Key as Key
from fastlearn.data.file_key import file_key as file_key
from fastlearn.errors import ConfigError
from fastlearn.options import found
from fastlearn.runtime.memory import free_memory
from fastlearn.runtime.say import say

AUTO_PART = 0.25  # of the free memory that a cache takes unasked
ASKED_PART = 0.75  # and at most, when it is asked for by name


class Cache(Protocol):
    """What the readers of pictures see of a cache; all of it may be called from several threads at once."""

    said: str  # one line about which cache this is, and why

    def get(self, key: Key) -> np.ndarray | None:
        """A picture, read-only uint8 (channels, height, width); None where it is not there."""

    def put(self, key: Key, pixels: np.ndarray) -> None:
        """Keep a picture; where there is no room, this is said once, and all goes on."""

    def refresh(self) -> None:
        """See what other processes have stored by now; called as each epoch starts."""

    def close(self) -> None:
        """Let go of everything."""


class MemoryCache:
    """Pictures in the memory of this process, `most` bytes of them. Pickled, it arrives empty and keeps nothing."""

    def __init__(self, most: int, said: str = "") -> None:
        self.said = said
        self._most, self._taken = most, 0
        self._stopped = False  # nothing more is kept
        self._pictures: dict[bytes, np.ndarray] = {}
        self._lock = threading.Lock()

    @property
    def n_pictures(self) -> int:
        """How many pictures are kept."""
        return len(self._pictures)

    def get(self, key: Key) -> np.ndarray | None:
        """A picture, read-only uint8 (channels, height, width); None where it is not there."""
        return self._pictures.get(key.digest())

    def put(self, key: Key, pixels: np.ndarray) -> None:
        """Keep a copy of a picture, unless that takes more than `most` bytes in all: then none is kept any more."""
        digest = key.digest()
        with self._lock:
            if self._stopped or digest in self._pictures:
                return
            if self._taken + pixels.nbytes > self._most:
                say(f"The memory for pictures is full ({in_units(self._taken)}): the others are read each time.")
                self._stopped = True
                return
            self._taken += pixels.nbytes
            kept = pixels.copy()
            kept.flags.writeable = False
            self._pictures[digest] = kept

    def refresh(self) -> None:
        """Nothing to see: no other process stores anything here."""

    def close(self) -> None:
        """Free the memory; from now on no picture is there, and none is kept."""
        with self._lock:
            self._stopped = True
            self._pictures = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.said,)


def _arrived(said: str) -> MemoryCache:
    empty = MemoryCache(0, said)
    empty.close()
    return empty


CacheKind = Literal["auto", "disk", "memory"] | bool
_KINDS = ("auto", "disk", "memory")


def check_kind(kind: Any) -> None:
    """Raise ConfigError unless `kind` names a kind of cache, or none."""
    if not isinstance(kind, bool) and not (isinstance(kind, str) and kind in _KINDS):
        raise ConfigError(f"cache={found(kind)}: expected 'auto', 'disk', 'memory', True or False.")


def open_cache(
    kind: CacheKind,
    *,
    recipe: str,
    n_items: int,
    bytes_each: int,
    processes: bool,
    folder: str | os.PathLike[str] | None = None,
) -> Cache | None:
    """The cache for `n_items` pictures of about `bytes_each` that `recipe` makes, or None; `said` tells which and why.

    "auto" (or True) takes the memory when the pictures fit a quarter of what is free there and no worker `processes`
    read; else the disk when they fit it and the limit of `size_limit`; else none, and says so. Raises ConfigError.
    """
    check_kind(kind)
    if kind is False:
        return None
    if kind == "memory" and processes:
        raise ConfigError(
            "cache='memory' cannot be shared with worker processes. Type cache='disk', or workers='thread'."
        )
    needed, free = n_items * bytes_each, free_memory()
    if kind == "memory" or (kind != "disk" and not processes and needed <= AUTO_PART * free):
        part = ASKED_PART if kind == "memory" else AUTO_PART
        return MemoryCache(int(part * free), f"Pictures are cached in memory ({in_units(needed)}).")
    root = cache_folder(folder)
    on_disk = f"Pictures are cached in {shown(root)} ({in_units(needed)})"
    if kind == "disk":
        return _on_disk(root, recipe, needed, f"{on_disk}.")
    not_memory = "worker processes share it" if processes else f"a quarter of the free memory is {in_units(free / 4)}"
    room = _room_on_disk(root, recipe)
    if needed <= room:
        return _on_disk(root, recipe, needed, f"{on_disk}: {not_memory}.")
    say(
        f"Pictures are not cached: they take {in_units(needed)}; {shown(root)} has room for {in_units(max(room, 0))}"
        f"{'' if processes else f', and {not_memory}'}. Set FASTLEARN_CACHE to a folder on a larger disk, or raise "
        "FASTLEARN_CACHE_LIMIT (bytes)."
    )
    return None


def _on_disk(root: Path, recipe: str, needed: int, said: str) -> DiskCache:
    return DiskCache(root, recipe, to_come=max(0, needed - _stored(root, recipe)), said=said)


def _stored(root: Path, recipe: str) -> int:
    """How many bytes are stored of a recipe."""
    own = folder_of(root, recipe)
    return sum(shard.n_bytes for shard in stored_shards(root) if shard.path.parent == own)


def _room_on_disk(root: Path, recipe: str) -> int:
    """How many bytes pictures of a recipe may take, those included that are there: a tenth of what is free stays so."""
    free = free_on_disk(root)
    if free is None:
        return size_limit()
    return min(size_limit(), _stored(root, recipe) + free - max(free // 10, KEEP_FREE))
