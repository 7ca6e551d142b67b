"""Pictures that are known by their number, and processes that cache them."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fastlearn.data.disk_cache import DiskCache
from fastlearn.data.file_key import Key

RECIPE = "resize 128, RGB"


def key(i: int) -> Key:
    """The key of picture `i`."""
    return Key(b"/pets/%d.jpg" % i, 1000 + i, 10**18 + i, i)


def picture(i: int, size_px: int = 16) -> np.ndarray:
    """Picture `i`: noise, in 35 shapes."""
    shape = (3, size_px + i % 7, size_px + i % 5)
    return np.random.default_rng(i).integers(0, 256, shape, dtype=np.uint8)


def fill(cache: DiskCache, numbers: range, size_px: int = 16) -> None:
    """Put the pictures that are not there."""
    for i in numbers:
        if cache.get(key(i)) is None:
            cache.put(key(i), picture(i, size_px))


def kept(cache: DiskCache, numbers: range, size_px: int = 16) -> set[int]:
    """The pictures that are there; fails on a wrong one."""
    found = {i: cache.get(key(i)) for i in numbers}
    wrong = [i for i, p in found.items() if p is not None and not np.array_equal(p, picture(i, size_px))]
    assert wrong == []
    return {i for i, p in found.items() if p is not None}


def fill_and_tell(root: Path, numbers: range, size_px: int, n_threads: int, told: Connection) -> None:
    """In a process of its own: put what is not there by several threads, and tell of each picture that is."""

    def run(own: range) -> None:
        for i in own:
            if cache.get(key(i)) is None:
                cache.put(key(i), pictures[i])
            with telling:
                told.send(i)

    pictures = {i: picture(i, size_px) for i in numbers}  # made before, so that most of the time is spent in writing
    cache, telling = DiskCache(root, RECIPE), threading.Lock()
    threads = [threading.Thread(target=run, args=(numbers[k::n_threads],)) for k in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.close()


def fill_beside_others(cache: DiskCache, numbers: range, told: Connection) -> None:
    """In a process of its own: put half of the pictures, then read all that any process has put, and tell which."""
    fill(cache, numbers)
    told.send("written")
    told.recv()
    cache.refresh()
    told.send(kept(cache, range(200)))
