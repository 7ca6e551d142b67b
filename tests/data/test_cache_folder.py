"""The folder of all caches: where it is, what is there, what goes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from cached_pictures import fill, kept

from fastlearn.data import cache_folder as module
from fastlearn.data.cache_folder import (
    Stored,
    cache_folder,
    clear,
    folder_of,
    in_units,
    listing,
    make_folder,
    make_room,
    shown,
    size_limit,
    stored_shards,
)
from fastlearn.data.disk_cache import DiskCache
from fastlearn.errors import ConfigError


def stored(root: Path, recipe: str, used: float, n: int = 3) -> Path:
    """One shard of a recipe with n pictures, last used at a time; its index."""
    cache = DiskCache(root, recipe)
    before = set(folder_of(root, recipe).glob("*.index"))
    fill(cache, range(1000 * len(before), 1000 * len(before) + n))
    cache.close()
    (made,) = set(folder_of(root, recipe).glob("*.index")) - before
    os.utime(made, (used, used))
    return made


def size(index: Path) -> int:
    return index.stat().st_size + index.with_suffix(".data").stat().st_size


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FASTLEARN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    places = {"linux": ".cache", "darwin": "Library/Caches", "win32": "AppData/Local"}
    for platform, place in places.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == Path("/home/ada") / place / "fastlearn/pixels"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert cache_folder() == Path("/fast/fastlearn/pixels")
    monkeypatch.setenv("FASTLEARN_CACHE", "/other")
    assert cache_folder() == Path("/other") and cache_folder("mine") == Path.cwd() / "mine"
    monkeypatch.setenv("FASTLEARN_CACHE", "~/mine")
    assert cache_folder() == Path("/home/ada/mine")


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("FASTLEARN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # of no known user
    with pytest.raises(
        ConfigError, match="no home folder to cache pictures in. Set the environment variable FASTLEARN"
    ):
        cache_folder()
    assert cache_folder("/mine") == Path("/mine") and shown(Path("/srv")) == "/srv"


def test_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTLEARN_CACHE_LIMIT", raising=False)
    assert size_limit() == 20_000_000_000
    monkeypatch.setenv("FASTLEARN_CACHE_LIMIT", " 123 ")
    assert size_limit() == 123
    for wrong in ("20GB", "-1", "1e9"):
        monkeypatch.setenv("FASTLEARN_CACHE_LIMIT", wrong)
        with pytest.raises(ConfigError, match=rf"FASTLEARN_CACHE_LIMIT is '{wrong}': expected a number of bytes"):
            size_limit()


def test_each_recipe_has_a_folder_that_tells_it(tmp_path: Path) -> None:
    recipes = ["a", "b", "ä\n", "\ud800", "x" * 10_000]
    folders = [make_folder(tmp_path, recipe) for recipe in recipes]
    assert len(set(folders)) == 5 and folders == [make_folder(tmp_path, recipe) for recipe in recipes]
    assert [(f / "recipe.txt").read_text("utf-8") for f in folders[:3]] == ["a", "b", "ä\n"]


def test_listing(tmp_path: Path) -> None:
    assert listing(tmp_path) == listing(tmp_path / "none") == []
    old, new = stored(tmp_path, "old", 100), stored(tmp_path, "new", 300, n=2)
    newer = stored(tmp_path, "new", 200)
    make_folder(tmp_path, "empty")
    (folder_of(tmp_path, "old") / "recipe.txt").unlink()
    (tmp_path / "holiday").mkdir()
    assert listing(tmp_path) == [
        Stored("new", 5, size(new) + size(newer), 300.0),
        Stored(f"unknown ({old.parent.name})", 3, size(old), 100.0),
        Stored("empty", 0, 0, 0.0),
    ]


def test_clear_removes_what_no_one_has_open_and_nothing_else(tmp_path: Path) -> None:
    gone = stored(tmp_path, "a", 100)
    held = DiskCache(tmp_path, "b")
    fill(held, range(4))
    mine = [tmp_path / "holiday.index", tmp_path / "holiday" / "x.index"]
    mine[1].parent.mkdir()
    for file in mine:
        file.write_text("mine")
    n_bytes = size(gone)
    assert clear(tmp_path) == n_bytes and clear(tmp_path) == 0
    assert not gone.parent.exists() and all(file.read_text() == "mine" for file in mine)
    assert kept(held, range(4)) == set(range(4))
    held.close()
    assert clear(tmp_path) > 0 and listing(tmp_path) == []


def test_the_least_recently_used_shards_make_room(tmp_path: Path) -> None:
    own = stored(tmp_path, "own", 10)
    middle, oldest, newest = stored(tmp_path, "a", 200), stored(tmp_path, "b", 100), stored(tmp_path, "b", 300)
    total = sum(map(size, (own, middle, oldest, newest)))
    make_room(tmp_path, own.parent, total)
    assert oldest.exists()
    make_room(tmp_path, own.parent, total - 1)
    assert [path.exists() for path in (oldest, middle, newest, own)] == [False, True, True, True]
    assert not oldest.with_suffix(".data").exists()
    make_room(tmp_path, own.parent, total, to_come=total)
    assert [path.exists() for path in (middle, newest, own)] == [False, False, True]
    make_room(tmp_path, own.parent, 0)
    assert not own.exists()


def test_a_shard_in_use_never_makes_room(tmp_path: Path) -> None:
    stored(tmp_path, "a", 100)
    reading, writing = DiskCache(tmp_path, "a"), DiskCache(tmp_path, "b")
    fill(writing, range(5))
    make_room(tmp_path, tmp_path / "own", 0)
    assert kept(reading, range(3)) == {0, 1, 2} and len(list(stored_shards(tmp_path))) == 2
    reading.close()
    make_room(tmp_path, tmp_path / "own", 0)
    assert [shard.path.parent for shard in stored_shards(tmp_path)] == [folder_of(tmp_path, "b")]


def test_many_small_shards_are_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SHARDS", 2)
    shards = [stored(tmp_path, "a", used, n=1) for used in (300, 100, 200)]
    make_room(tmp_path, folder_of(tmp_path, "a"), 10**9)
    assert [path.exists() for path in shards] == [True, False, True]


def test_half_a_shard_that_a_kill_left_goes_too(tmp_path: Path) -> None:
    index = stored(tmp_path, "a", 100)
    index.with_suffix(".data").unlink()
    assert listing(tmp_path)[0].n_bytes == index.stat().st_size
    clear(tmp_path)
    assert not index.exists()


def test_where_locks_are_unknown_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = stored(tmp_path, "a", 100)
    monkeypatch.setattr(module, "locked", lambda handle, alone: None)
    assert clear(tmp_path) == 0 and index.exists()


def test_numbers_and_folders_for_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = (0, 4_300, 1_234_567, 79_400_000, 13_190_000_000)
    assert [in_units(n) for n in numbers] == ["0 bytes", "4 kB", "1.2 MB", "79 MB", "13.2 GB"]
    monkeypatch.setenv("HOME", "/home/ada")
    assert shown(Path("/home/ada/.cache/x")) == "~/.cache/x" and shown(Path("/srv/\udcff")) == "/srv/\\udcff"
