"""Shards: what was written comes back whole or not at all."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from cached_pictures import key, picture

from fastlearn.data import shards
from fastlearn.data.shards import RECORD_BYTES, Index, Record, Shard, Writer, locked


def written(folder: Path, n: int) -> Path:
    """A shard with pictures 0 to n."""
    writer = Writer(folder)
    for i in range(n):
        append(writer, i)
    return writer.path


def append(writer: Writer, i: int) -> bytes:
    return writer.append(key(i).digest(), picture(i), zlib.crc32(picture(i).tobytes()))


def index_of(path: Path) -> Index:
    index, shard = Index(), Shard(path)
    index.add(shard.new_records(), shard)
    return index


def test_pictures_come_back(tmp_path: Path) -> None:
    index = index_of(written(tmp_path, 5))
    for i in range(5):
        entry = index.find(key(i).digest())
        assert entry is not None and entry.record.shape == picture(i).shape and not entry.checked
        assert entry.shard.read(entry.record, checked=False) == picture(i).tobytes()
    assert index.find(key(5).digest()) is None and len(index) == 5


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    shard = Shard(writer.path)
    assert shard.new_records() == b""
    records = [append(writer, 0), append(writer, 1)]
    assert shard.new_records() == b"".join(records)
    records.append(append(writer, 2))
    with open(writer.path, "ab") as file:
        file.write(b"part of a record")
    assert shard.new_records() == records[2]


@pytest.mark.parametrize("n_bytes", [1, 700, RECORD_BYTES - 1])
def test_a_writer_interrupted_in_a_picture_or_a_record_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    whole = os.write
    for nth in (1, 2):  # the pixels, the record
        writer, calls = Writer(tmp_path), [0]

        def part(handle: int, data: memoryview, calls: list[int] = calls, nth: int = nth) -> int:
            calls[0] += 1
            if calls[0] == nth:
                whole(handle, data[:n_bytes])
                raise KeyboardInterrupt
            return whole(handle, data)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", part)
            with pytest.raises(KeyboardInterrupt):
                append(writer, 0)
        append(writer, 1)
        index = index_of(writer.path)
        entry = index.find(key(1).digest())
        assert entry is not None and entry.shard.read(entry.record, checked=False) == picture(1).tobytes()
        assert index.find(key(0).digest()) is None


def test_a_disk_that_takes_parts_gets_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: whole(handle, data[:100]))
    index = index_of(written(tmp_path, 2))
    for i in range(2):
        entry = index.find(key(i).digest())
        assert entry is not None and entry.shard.read(entry.record, checked=False) == picture(i).tobytes()


def test_a_record_is_believed_only_with_its_own_crc(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    good = path.read_bytes()
    for place in range(RECORD_BYTES):
        bad = bytearray(good)
        bad[place] ^= 1
        path.write_bytes(bad)
        assert index_of(path).find(key(0).digest()) is None
        assert index_of(path).find(bytes(bad[:16])) is None


def test_absurd_sizes_with_a_right_crc_are_outside_the_file(tmp_path: Path) -> None:
    shard = Shard(written(tmp_path, 1))
    for offset, side in ((0, 2**32 - 1), (2**64 - 1, 1), (2**63, 0)):
        record = Record(key(0).digest(), offset, side, side, side, 0)
        index = Index()
        index.add(record.packed(), shard)
        entry = index.find(key(0).digest())
        assert entry is not None and entry.shard.read(entry.record, checked=False) is None


def test_a_part_of_a_digest_is_not_enough(tmp_path: Path) -> None:
    index = index_of(written(tmp_path, 1))
    digest = key(0).digest()
    assert index.find(digest) is not None
    assert index.find(digest[:8] + bytes(8)) is None


def test_the_last_of_two_records_counts_and_a_forgotten_one_is_not_there(tmp_path: Path) -> None:
    first, second = written(tmp_path, 1), written(tmp_path, 1)
    assert first.name < second.name
    index = index_of(first)
    shard = Shard(second)
    index.add(shard.new_records(), shard)
    entry = index.find(key(0).digest())
    assert entry is not None and entry.shard is shard and len(index) == 1
    index.mark_checked(entry)
    again = index.find(key(0).digest())
    assert again is not None and again.checked
    index.forget(entry)
    assert index.find(key(0).digest()) is None
    index.forget(entry)
    assert len(index) == 0


def test_an_index_interrupted_while_it_takes_up_pictures_goes_on(tmp_path: Path) -> None:
    class Interrupted(dict[int, int]):
        def update(self, *_: object, **__: object) -> None:
            raise KeyboardInterrupt

    first, second = Shard(written(tmp_path, 3)), Writer(tmp_path)
    record = append(second, 7)
    index = Index()
    index._row_of = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        index.add(first.new_records(), first)
    index._row_of = {}
    index.add(record, second.shard)
    entry = index.find(key(7).digest())
    assert entry is not None and entry.shard.read(entry.record, entry.checked) == picture(7).tobytes()
    assert len(index) == 1 and index.find(key(0).digest()) is None


def test_a_file_that_becomes_shorter_or_fails_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of(written(tmp_path, 2))
    entry = index.find(key(1).digest())
    assert entry is not None
    os.truncate(entry.shard.index.with_suffix(".data"), entry.record.offset + 1)
    assert entry.shard.read(entry.record, checked=False) is None
    assert entry.shard.read(entry.record, checked=True) is None
    first = index.find(key(0).digest())
    assert first is not None and first.shard.read(first.record, checked=True) == picture(0).tobytes()

    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fails)
    assert first.shard.read(first.record, checked=True) is None


def test_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.sys, "platform", "win32")
    monkeypatch.delattr(os, "pread")
    index = index_of(written(tmp_path, 3))
    for i in (2, 0, 1):
        entry = index.find(key(i).digest())
        assert entry is not None and entry.shard.read(entry.record, checked=False) == picture(i).tobytes()


def test_an_open_shard_is_locked_until_its_last_reader_leaves(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    shards_of = [Shard(path), Shard(path)]
    with open(path.with_suffix(".data"), "rb") as file:
        assert locked(file.fileno(), alone=True) is False
        shards_of.pop()
        assert locked(file.fileno(), alone=True) is False
        shards_of.pop()
        assert locked(file.fileno(), alone=True) is True
        with pytest.raises(BlockingIOError, match="being removed"):
            Shard(path)


def test_a_shard_with_one_file_of_two_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    shard = Shard(path)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        shard.new_records()
    path.with_suffix(".data").unlink()
    with pytest.raises(FileNotFoundError):
        Shard(path)


def test_an_index_takes_less_than_200_bytes_a_picture(tmp_path: Path) -> None:
    import tracemalloc

    n = 100_000
    shard, noise = Shard(written(tmp_path, 1)), np.random.default_rng(0).bytes(RECORD_BYTES * n)
    tracemalloc.start()
    try:
        index = Index()
        index.add(noise, shard)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(index) == n and held < 200 * n
