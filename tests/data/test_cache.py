"""Which cache there is, and the one in memory."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_pictures import key, picture

from fastlearn.data import cache as module
from fastlearn.data.cache import DiskCache, MemoryCache, file_key, open_cache
from fastlearn.data.cache_folder import in_units
from fastlearn.errors import ConfigError

GB = 10**9


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free memory and disk as a test says, and a folder for caches."""
    free = {"memory": 8 * GB, "disk": 100 * GB}
    monkeypatch.setattr(module, "free_memory", lambda: free["memory"])
    monkeypatch.setattr(module, "free_on_disk", lambda folder: free["disk"])
    monkeypatch.setenv("FASTLEARN_CACHE", str(tmp_path / "pixels"))
    monkeypatch.delenv("FASTLEARN_CACHE_LIMIT", raising=False)
    return free


def opened(kind: Any = "auto", n_items: int = 1000, processes: bool = False, folder: Path | None = None) -> Any:
    """A cache for pictures of a million bytes each."""
    return open_cache(kind, recipe="r", n_items=n_items, bytes_each=10**6, processes=processes, folder=folder)


@pytest.mark.parametrize("kind", ["auto", True])
def test_what_fits_a_quarter_of_the_memory_stays_there(machine: dict[str, int], kind: Any) -> None:
    cache = opened(kind, n_items=2000)
    assert isinstance(cache, MemoryCache) and cache.said == "Pictures are cached in memory (2.0 GB)."


def test_more_than_that_goes_to_the_disk(machine: dict[str, int], tmp_path: Path) -> None:
    cache = opened(n_items=2001)
    assert isinstance(cache, DiskCache) and cache.said == (
        f"Pictures are cached in {tmp_path}/pixels (2.0 GB): a quarter of the free memory is 2.0 GB."
    )


def test_worker_processes_share_the_disk(machine: dict[str, int], tmp_path: Path) -> None:
    cache = opened(n_items=10, processes=True)
    assert isinstance(cache, DiskCache)
    assert cache.said == f"Pictures are cached in {tmp_path}/pixels (10 MB): worker processes share it."


@pytest.mark.parametrize(
    ("disk", "n_items", "fits"),
    [(30 * GB, 20_000, True), (30 * GB, 20_001, False), (10 * GB, 8_926, True), (10 * GB, 8_927, False)],
)
def test_what_fits_neither_is_not_cached(
    machine: dict[str, int], capsys: pytest.CaptureFixture[str], tmp_path: Path, disk: int, n_items: int, fits: bool
) -> None:
    """The limit is 20 GB, and 1 GiB of the disk (here more than a tenth) stays free."""
    machine["disk"] = disk
    cache = opened(n_items=n_items)
    assert isinstance(cache, DiskCache) == fits and (cache is None) != fits
    room = "20.0 GB" if disk == 30 * GB else "8.9 GB"
    assert capsys.readouterr().out == (
        ""
        if fits
        else f"Pictures are not cached: they take {n_items / 1000:.1f} GB; {tmp_path}/pixels has room for {room}, and "
        "a quarter of the free memory is 2.0 GB. Set FASTLEARN_CACHE to a folder on a larger disk, or raise "
        "FASTLEARN_CACHE_LIMIT (bytes).\n"
    )


def test_a_tenth_of_a_larger_disk_stays_free(machine: dict[str, int]) -> None:
    machine["disk"] = 20 * GB
    assert opened(n_items=18_000) is not None and opened(n_items=18_001) is None


def test_what_is_stored_needs_no_room(machine: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened("disk", n_items=1)
    first.put(key(0), np.zeros((3, 1000, 1000), np.uint8))
    first.close()
    machine.update(memory=0, disk=2**30)
    assert opened(n_items=3) is not None and opened(n_items=4) is None


def test_a_disk_that_does_not_tell_is_taken_for_large(machine: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_on_disk", lambda folder: None)
    assert opened(n_items=20_000) is not None and opened(n_items=20_001) is None


def test_a_cache_by_name(machine: dict[str, int], tmp_path: Path) -> None:
    assert opened(False) is None
    disk = opened("disk", n_items=10**6, folder=tmp_path / "mine")
    assert isinstance(disk, DiskCache) and disk.said == f"Pictures are cached in {tmp_path}/mine (1,000.0 GB)."
    assert isinstance(opened("memory", n_items=10**6), MemoryCache)


@pytest.mark.parametrize("kind", ["ram", "", None, 2, ["disk"]])
def test_no_such_cache(kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected 'auto', 'disk', 'memory', True or False"):
        opened(kind)


def test_memory_is_not_shared_with_processes() -> None:
    with pytest.raises(ConfigError, match=r"Type cache='disk', or workers='thread'"):
        opened("memory", processes=True)


def test_pictures_in_memory() -> None:
    cache = MemoryCache(10**6)
    given = picture(0)
    cache.put(key(0), given)
    given[:] = 0
    got = cache.get(key(0))
    assert got is not None and np.array_equal(got, picture(0)) and not got.flags.writeable
    assert cache.get(key(1)) is None and cache.n_pictures == 1
    cache.refresh()
    cache.close()
    cache.put(key(1), picture(1))
    assert cache.get(key(0)) is None and cache.get(key(1)) is None


def test_the_budget_of_the_memory_holds_and_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [picture(i).nbytes for i in range(5)]
    cache = MemoryCache(sum(sizes[:2]) + sizes[2] - 1)
    for _ in range(2):
        for i in range(5):
            cache.put(key(i), picture(i))
    assert [cache.get(key(i)) is not None for i in range(5)] == [True, True, False, False, False]
    full = in_units(sum(sizes[:2]))
    assert capsys.readouterr().out == f"The memory for pictures is full ({full}): the others are read each time.\n"


def test_no_memory_at_all_is_said(machine: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    machine["memory"] = 0
    cache = opened("memory")
    cache.put(key(0), picture(0))
    assert cache.get(key(0)) is None and "The memory for pictures is full (0 bytes)" in capsys.readouterr().out


def test_a_memory_cache_that_was_sent_is_empty_and_keeps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    cache = MemoryCache(10**6, "Pictures are cached in memory.")
    cache.put(key(0), picture(0))
    sent = pickle.loads(pickle.dumps(cache))
    sent.put(key(1), picture(1))
    assert sent.n_pictures == 0 and sent.said == cache.said and capsys.readouterr().out == ""


def test_threads_share_the_memory() -> None:
    cache = MemoryCache(10**8)

    def run(k: int) -> bool:
        for i in range(200):
            cache.put(key(i), picture(i))
        return all(np.array_equal(cache.get(key(i)), picture(i)) for i in range(k, 200, 4))  # type: ignore[arg-type]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))
    assert cache._taken == sum(picture(i).nbytes for i in range(200))


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_changed_file_is_not_there(machine: dict[str, int], tmp_path: Path, kind: Any) -> None:
    file = tmp_path / os.fsdecode(b"a b\n\xff.jpg")
    file.write_bytes(b"1")
    cache = opened(kind)
    cache.put(file_key(file), picture(0))
    assert cache.get(file_key(file)) is not None
    file.write_bytes(b"12")
    assert cache.get(file_key(file)) is None
