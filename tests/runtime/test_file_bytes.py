"""Files read whole, and never more than was to be expected."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastlearn.errors import CheckpointError, DamagedFileError
from fastlearn.runtime.file_bytes import NO_DIGEST, digest, is_sealed, read_bounded, sealed

on_unix = pytest.mark.skipif(os.name == "nt", reason="no such files on Windows")


@pytest.mark.parametrize("content", [b"", b"a\r\nb\0\x1a", b"x" * 300_000])
def test_a_file_is_read_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert read_bounded(tmp_path / "a", len(content), "a") == content
    assert read_bounded(str(tmp_path / "a"), 10**15, "a") == content


def test_a_file_that_is_too_large_takes_no_memory(tmp_path: Path, peak: Callable[[], int]) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(10**10)  # a hole, which takes no room on the disk
    with pytest.raises(DamagedFileError, match=r"^The card is damaged: it has 10,000,000,000 bytes, and at most 9,999"):
        read_bounded(tmp_path / "a", 10**10 - 1, "The card")
    assert peak() < 1_000_000


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^The card is missing: there is no file .*none\.$") as caught:
        read_bounded(tmp_path / "none", 1, "The card")
    assert not isinstance(caught.value, DamagedFileError)
    with pytest.raises(CheckpointError, match="The card"):
        read_bounded(tmp_path, 1, "The card")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a", tmp_path / "a\0b", tmp_path / ("x" * 1000)):
        with pytest.raises(CheckpointError, match=r"^The card cannot be read: .*Check its permissions\.$"):
            read_bounded(path, 1, "The card")


@on_unix
def test_a_pipe_a_folder_and_a_device_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/zero", tmp_path / "zero")
    for path, kind in (
        (tmp_path / "pipe", "a device or a pipe"),
        (tmp_path / "zero", "a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(DamagedFileError, match=f"it is {kind}.*, and no file"):
            read_bounded(path, 10**9, "The card")


@on_unix
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0").write_bytes(b"12")
    os.symlink(tmp_path / "blobs" / "0", tmp_path / "a")
    os.symlink("nowhere", tmp_path / "b")
    assert read_bounded(tmp_path / "a", 2, "a") == b"12"
    with pytest.raises(CheckpointError, match="missing"):
        read_bounded(tmp_path / "b", 2, "b")


@pytest.mark.parametrize("size", [1, 3])
def test_a_file_that_changes_its_size_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    def overtaken(handle: int) -> os.stat_result:
        status = fstat(handle)
        os.truncate(tmp_path / "a", size)
        return status

    fstat = os.fstat
    (tmp_path / "a").write_bytes(b"12")
    monkeypatch.setattr(os, "fstat", overtaken)
    with pytest.raises(DamagedFileError, match="its size changes while it is read"):
        read_bounded(tmp_path / "a", 2, "a")


def test_no_handle_stays_open(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no list of open files")
    (tmp_path / "a").write_bytes(b"12")
    before = len(os.listdir("/proc/self/fd"))
    for most, path in ((2, tmp_path / "a"), (1, tmp_path / "a"), (2, tmp_path)):
        with contextlib.suppress(DamagedFileError):
            read_bounded(path, most, "a")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_digest() -> None:
    assert digest(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert digest(b"a", memoryview(b"bc")) == digest(b"abc")


def test_bytes_with_their_own_digest() -> None:
    first = sealed(b'{"sha256": "' + NO_DIGEST.encode() + b'"}', b"rest", memoryview(b"more"))
    whole = first + b"restmore"
    said = first[12:-2].decode()
    assert is_sealed(whole, said) and NO_DIGEST not in whole.decode()
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        assert not is_sealed(changed, said) and not is_sealed(changed, changed[12:76].decode())
    assert not any(is_sealed(whole, other) for other in ("", said[:-1], said + "0", "\ud800" * 64, digest(whole)))
