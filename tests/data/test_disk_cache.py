"""The cache on the disk: never a wrong picture, whatever happens to its process, its files and its disk."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_pictures import RECIPE, fill, fill_and_tell, fill_beside_others, kept, key, picture

from fastlearn.data import disk_cache as module
from fastlearn.data.cache_folder import folder_of, listing, stored_shards
from fastlearn.data.disk_cache import DiskCache
from fastlearn.data.shards import Index, Record, Shard

N = range(40)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for caches, on a disk with enough room."""
    monkeypatch.delenv("FASTLEARN_CACHE_LIMIT", raising=False)
    monkeypatch.setattr(module, "KEEP_FREE", 0)
    return tmp_path / "pixels"


def files(root: Path) -> tuple[Path, Path]:
    """The index and the data of the only shard."""
    (shard,) = stored_shards(root)
    return shard.path, shard.path.with_suffix(".data")


def built(root: Path, numbers: range = N) -> tuple[Path, Path]:
    cache = DiskCache(root, RECIPE)
    fill(cache, numbers)
    cache.close()
    return files(root)


# Round trips


def test_what_was_put_is_there_now_and_in_the_next_session(root: Path) -> None:
    cache = DiskCache(root, RECIPE)
    assert cache.get(key(0)) is None
    fill(cache, N)
    assert kept(cache, N) == set(N) and cache.n_pictures == len(N)
    cache.close()
    again = DiskCache(root, RECIPE)
    for _ in range(2):  # with the check of a first reading, and without
        assert kept(again, N) == set(N)
    got = again.get(key(0))
    assert got is not None and got.dtype == np.uint8 and not got.flags.writeable
    assert again.get(key(len(N))) is None


def test_a_session_that_only_reads_writes_no_file(root: Path) -> None:
    before = built(root)
    built(root)
    assert files(root) == before


def test_any_layout_of_the_pixels_comes_back(root: Path) -> None:
    cache = DiskCache(root, RECIPE)
    whole = picture(0, 20)
    for i, view in enumerate([whole[:, ::2, 1:], whole.transpose(0, 2, 1), whole[:1], whole[:, :0]]):
        cache.put(key(i), view)
        got = cache.get(key(i))
        assert got is not None and np.array_equal(got, view)


def test_a_picture_is_stored_once(root: Path) -> None:
    cache = DiskCache(root, RECIPE)
    for _ in range(3):
        cache.put(key(0), picture(0))
    assert files(root)[1].stat().st_size == picture(0).nbytes


def test_recipes_do_not_mix(root: Path) -> None:
    built(root)
    assert kept(DiskCache(root, RECIPE + " "), N) == set()


def test_a_closed_cache_is_empty_and_quiet(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = DiskCache(root, RECIPE)
    fill(cache, N)
    cache.close()
    cache.put(key(99), picture(99))
    cache.refresh()
    cache.close()
    assert kept(cache, range(100)) == set() and capsys.readouterr().out == ""


def test_closing_in_the_middle_of_a_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built(root)
    cache, whole = DiskCache(root, RECIPE), Shard.read

    def close_first(shard: Shard, record: Record, checked: bool) -> bytes | None:
        cache.close()
        return whole(shard, record, checked)

    monkeypatch.setattr(Shard, "read", close_first)
    got = cache.get(key(3))
    assert got is not None and np.array_equal(got, picture(3)) and cache.get(key(3)) is None


def test_nothing_stays_open(root: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    cache = DiskCache(root, RECIPE)
    fill(cache, N)
    cache.refresh()
    assert set(os.listdir("/proc/self/fd")) > before
    cache.close()
    assert set(os.listdir("/proc/self/fd")) == before


# Threads and processes


def test_threads_put_and_get_at_once(root: Path) -> None:
    cache = DiskCache(root, RECIPE)
    numbers = range(300)

    def run(k: int) -> set[int]:
        for i in numbers[k::2]:  # threads 0 and 2, and 1 and 3, put the same ones
            fill(cache, range(i, i + 1))
            kept(cache, range(max(0, i - 5), i + 5))
        return kept(cache, numbers[k::2])

    with ThreadPoolExecutor(4) as pool:
        assert [len(found) for found in pool.map(run, (0, 1, 0, 1))] == [150] * 4
    assert sum(np.prod(picture(i).shape) for i in numbers) == files(root)[1].stat().st_size
    assert kept(DiskCache(root, RECIPE), numbers) == set(numbers)


def test_closing_while_threads_read_gives_no_wrong_picture(root: Path) -> None:
    built(root)
    for _ in range(10):
        cache, reading = DiskCache(root, RECIPE), threading.Barrier(3)

        def read(cache: DiskCache = cache, reading: threading.Barrier = reading) -> None:
            kept(cache, N)
            reading.wait()
            while kept(cache, N):
                pass

        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(read) for _ in range(2)]
            reading.wait()
            cache.close()
            others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]  # they get the numbers of what is closed
            for one in running:
                one.result()
            for handle in others:
                os.close(handle)


def fresh_processes() -> Any:
    """Processes that share nothing with this one, and need not import torch again for each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "fastlearn.data.disk_cache"])
    return context


@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.soak)])
def test_processes_write_and_read_at_once(root: Path, method: str) -> None:
    """The cache is sent to two processes, which put a part each and then see all."""
    numbers: range = range(200)
    context: Any = fresh_processes() if method == "forkserver" else multiprocessing.get_context("spawn")
    cache = DiskCache(root, RECIPE)
    pipes = [context.Pipe() for _ in range(2)]
    shares = [range(0, 130), range(70, 200)]
    processes = [
        context.Process(target=fill_beside_others, args=(cache, share, theirs))
        for share, (_, theirs) in zip(shares, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    ours = [mine for mine, _ in pipes]
    assert [mine.recv() for mine in ours] == ["written"] * 2
    assert kept(cache, numbers) == set()
    cache.refresh()
    assert kept(cache, numbers) == set(numbers)
    for mine in ours:
        mine.send("read")
    assert [mine.recv() for mine in ours] == [set(numbers)] * 2
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list(stored_shards(root))) == 2 and cache.n_pictures == 200


def test_a_cache_that_was_sent_is_the_same_and_silent(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = DiskCache(root, RECIPE, said="Pictures are cached.")
    fill(cache, N)
    sent = pickle.loads(pickle.dumps(cache))
    assert kept(sent, N) == set(N) and sent.said == "Pictures are cached."
    shutil.rmtree(root)
    sent.refresh()
    assert capsys.readouterr().out == ""


def test_what_others_store_is_seen_at_a_refresh(root: Path) -> None:
    cache, other = DiskCache(root, RECIPE), DiskCache(root, RECIPE)
    for start in (0, 10, 20):
        fill(other, range(start, start + 10))
        assert kept(cache, N) == set(range(start))
        cache.refresh()
        assert kept(cache, N) == set(range(start + 10))
    fill(cache, N)
    assert kept(cache, N) == set(N)


# Kills


def kill_a_build(root: Path, rng: random.Random, n: int, size_px: int) -> int:
    """A process fills the cache and is killed somewhere; how many pictures it had told of before."""
    context = fresh_processes()
    told, theirs = context.Pipe(duplex=False)
    process = context.Process(target=fill_and_tell, args=(root, range(n), size_px, rng.choice([1, 3]), theirs))
    process.start()
    theirs.close()
    heard = 0
    with contextlib.suppress(EOFError):  # it has come to the end
        for _ in range(rng.randrange(1, n)):
            told.recv()
            heard += 1
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    told.close()
    return heard


def check_kills(root: Path, seed: int, n_kills: int, size_px: int) -> None:
    rng, n = random.Random(seed), 40
    for _ in range(n_kills):
        heard = kill_a_build(root, rng, n, size_px)
        cache = DiskCache(root, RECIPE)
        found = kept(cache, range(n), size_px)
        assert len(found) >= heard
        if len(found) == n or rng.random() < 0.2:  # the next session begins with nothing, or goes on from here
            fill(cache, range(n), size_px)
            assert kept(cache, range(n), size_px) == set(range(n))
            cache.close()
            shutil.rmtree(root)


def test_a_kill_leaves_what_was_whole(root: Path) -> None:
    check_kills(root, seed=0, n_kills=20, size_px=200)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_kills_leave_what_was_whole(root: Path, seed: int) -> None:
    check_kills(root, seed, n_kills=50, size_px=40 * seed)


# Damage


def check_damage(root: Path, seeds: range) -> None:
    """Cut, flip or overwrite something somewhere; then what is there is right, and the rest can be put again."""
    built(root)
    pristine = root.with_name("pristine")
    root.rename(pristine)
    n_lost = 0
    for seed in seeds:
        shutil.copytree(pristine, root)
        open_before = DiskCache(root, RECIPE)
        damage(random.Random(seed).choice(files(root)), random.Random(-seed))
        for cache in (open_before, DiskCache(root, RECIPE)):
            n_lost += len(N) - len(kept(cache, N))
            fill(cache, N)
            assert kept(cache, N) == set(N)
            cache.close()
        assert kept(DiskCache(root, RECIPE), N) == set(N)  # what was put anew counts
        shutil.rmtree(root)
    assert n_lost > len(seeds)


def damage(file: Path, rng: random.Random) -> None:
    size = file.stat().st_size
    place, how = rng.randrange(size), rng.choice(["cut", "flip", "zero", "cut and grown"])
    with open(file, "r+b") as handle:
        if how.startswith("cut"):
            handle.truncate(place)
        if how == "cut and grown":
            handle.truncate(size)
        if how == "zero":
            handle.seek(place)
            handle.write(bytes(min(4096, size - place)))
        if how == "flip":
            for at in (place, rng.randrange(size)):
                handle.seek(at)
                (byte,) = handle.read(1)
                handle.seek(at)
                handle.write(bytes([byte ^ 1 << rng.randrange(8)]))


def test_damaged_files_give_no_wrong_picture(root: Path) -> None:
    check_damage(root, range(40))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1000, 6000, 1000))
def test_many_damaged_files_give_no_wrong_picture(root: Path, first: int) -> None:
    check_damage(root, range(first, first + 1000))


def test_a_file_cut_while_it_is_read_costs_pictures_and_not_the_process(root: Path) -> None:
    _, data = built(root)
    cache = DiskCache(root, RECIPE)
    assert kept(cache, N) == set(N)
    os.truncate(data, data.stat().st_size // 2)
    left = kept(cache, N)
    assert left and left < set(N)
    fill(cache, N)
    assert kept(cache, N) == set(N)
    os.truncate(data, 0)
    cache.close()
    assert kept(DiskCache(root, RECIPE), N) == set(N) - left


def test_a_flipped_bit_costs_that_picture_alone(root: Path) -> None:
    _, data = built(root)
    content = bytearray(data.read_bytes())
    content[sum(picture(i).nbytes for i in range(7)) + 5] ^= 16
    data.write_bytes(content)
    cache = DiskCache(root, RECIPE)
    assert kept(cache, N) == set(N) - {7}
    assert cache.get(key(7)) is None


# Disks and folders that fail


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().out
    assert text.count("\n") == 1 and text.startswith("From here on no picture is added to the cache: ")
    return text


@pytest.mark.parametrize("nth", [1, 2, 9, 10])
def test_a_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nth: int) -> None:
    """The nth write, of pixels or a record, takes a part and then nothing more."""
    cache, calls, whole = DiskCache(root, RECIPE), [0], os.write

    def write(handle: int, data: memoryview) -> int:
        calls[0] += 1
        if calls[0] < nth:
            return whole(handle, data)
        if calls[0] == nth:
            return whole(handle, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    fill(cache, N)
    assert calls[0] == nth + 1
    assert one_line(capsys).endswith(
        f"the disk of {root} is full. Free some space there, or set the environment variable FASTLEARN_CACHE to a "
        "folder on another disk.\n"
    )
    assert kept(cache, N) == set(range((nth - 1) // 2))
    monkeypatch.undo()
    monkeypatch.setattr(module, "KEEP_FREE", 0)
    again = DiskCache(root, RECIPE)
    assert kept(again, N) == set(range((nth - 1) // 2))
    fill(again, N)
    assert kept(again, N) == set(N)


def test_a_disk_that_really_refuses(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's limit on the size of a file stands in for a full disk."""
    cache = DiskCache(root, RECIPE)
    with files_no_larger_than(10_000):
        fill(cache, N)
    assert "cannot be written to (File too large)" in one_line(capsys)
    found = kept(cache, N)
    assert 5 < len(found) < len(N) and files(root)[1].stat().st_size == 10_000
    assert kept(DiskCache(root, RECIPE), N) == found


@contextlib.contextmanager
def files_no_larger_than(n_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    cache = DiskCache(tmp_path / "file" / "pixels", RECIPE, said="Pictures are cached.")
    assert f"{tmp_path}/file/pixels cannot be written to (Not a directory)." in one_line(capsys)
    fill(cache, N)
    cache.refresh()
    assert kept(cache, N) == set() and cache.said == "" and capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_to_read_alone_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    built(root, range(10))
    whole = os.open

    def read_only(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            raise OSError(code, os.strerror(code))
        return whole(path, flags, mode, **rest)

    def no_touch(path: Any, *_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "utime", no_touch)
    cache = DiskCache(root, RECIPE)
    assert kept(cache, N) == set(range(10)) and capsys.readouterr().out == ""
    fill(cache, N)
    assert f"cannot be written to ({os.strerror(code)})" in one_line(capsys)
    assert kept(cache, N) == set(range(10))


def test_a_folder_removed_under_us(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(root)
    cache = DiskCache(root, RECIPE)
    shutil.rmtree(root)
    assert kept(cache, N) == set(N)  # its files are open
    cache.refresh()
    assert one_line(capsys).endswith(f"{root} was removed.\n")
    cache.refresh()
    cache.put(key(99), picture(99))
    assert kept(cache, N) == set(N) and not root.exists() and capsys.readouterr().out == ""


def test_a_folder_removed_before_the_first_picture(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = DiskCache(root, RECIPE)
    shutil.rmtree(root)
    fill(cache, N)
    assert "was removed." in one_line(capsys) and kept(cache, N) == set()


def test_no_output_to_speak_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(root, RECIPE)
    shutil.rmtree(root)
    monkeypatch.setattr(sys, "stdout", None)
    cache.refresh()
    closed = open(os.devnull, "w")  # noqa: SIM115
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    module.say("heard by no one")


def test_an_open_shard_that_another_may_not_read_is_passed_over(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index, _ = built(root)
    index.unlink()
    index.mkdir()  # reading it fails for root, too
    cache = DiskCache(root, RECIPE)
    fill(cache, N)
    assert kept(cache, N) == set(N) and capsys.readouterr().out == ""


# Room


@pytest.mark.parametrize("grant", [1, 3000, 10**6])
def test_the_limit_holds_for_what_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], grant: int
) -> None:
    monkeypatch.setattr(module, "GRANT", grant)
    monkeypatch.setenv("FASTLEARN_CACHE_LIMIT", "10000")
    cache = DiskCache(root, RECIPE)
    fill(cache, N)
    assert "has reached its limit of 10 kB. Set the environment variable FASTLEARN_CACHE_LIMIT" in one_line(capsys)
    (stored,) = listing(root)
    assert 10_000 - 1500 < stored.n_bytes <= 10_000 and stored.n_pictures == len(kept(cache, N))


def test_room_is_made_for_what_is_to_come(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = DiskCache(root, "old")
    fill(old, N)
    n_bytes = listing(root)[0].n_bytes
    old.close()
    monkeypatch.setenv("FASTLEARN_CACHE_LIMIT", str(n_bytes + 1000))
    DiskCache(root, RECIPE).close()
    assert listing(root)[0].n_bytes == n_bytes
    cache = DiskCache(root, RECIPE, to_come=n_bytes)
    assert not any(one.n_bytes for one in listing(root))
    fill(cache, N)
    cache.close()
    again = DiskCache(root, RECIPE, to_come=10 * n_bytes)
    assert kept(again, N) == set(N)  # never at the cost of its own


def test_some_of_the_disk_stays_free(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = [10**9]
    monkeypatch.setattr(module, "free_on_disk", lambda folder: free[0])
    monkeypatch.setattr(module, "KEEP_FREE", 10**8)
    cache = DiskCache(root, RECIPE)
    fill(cache, range(5))
    free[0] = 10**8
    cache.refresh()
    assert f"only 100 MB are free on the disk of {root}. Free some space there" in one_line(capsys)
    fill(cache, N)
    assert kept(cache, N) == set(range(5))


def test_a_disk_that_does_not_tell_its_room_is_written_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_on_disk", lambda folder: None)
    cache = DiskCache(root, RECIPE)
    fill(cache, N)
    assert kept(cache, N) == set(N)


def test_reading_counts_as_use(root: Path) -> None:
    index, _ = built(root)
    os.utime(index, (100, 100))
    cache = DiskCache(root, RECIPE)
    assert listing(root)[0].used == 100
    cache.get(key(0))
    assert listing(root)[0].used > 100


def test_only_so_many_shards_are_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [DiskCache(root, RECIPE) for _ in range(4)]
    for i, session in enumerate(sessions):
        fill(session, range(i, i + 1))
    monkeypatch.setattr(module, "MOST_SHARDS", 2)
    assert kept(DiskCache(root, RECIPE), N) == {2, 3}


def test_keys_that_share_a_part_of_their_digest_are_not_mixed_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "_PART", 7)  # bits
    cache = DiskCache(root, RECIPE)
    fill(cache, N)
    assert 1 <= len(kept(cache, N)) <= 8
    assert folder_of(root, RECIPE).is_dir()
