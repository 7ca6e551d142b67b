"""Zips of a few known members: written the same every time, and read with nothing else in them."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlearn.errors import CheckpointError, DamagedFileError
from fastlearn.runtime.zip_bytes import MOST_DIRECTORY, read_members, write_members

fuzz = settings(max_examples=200, derandomize=True, deadline=None, database=None)
MEMBERS = {"model.json": b'{"a": 1}' * 20, "weights/a.bin": bytes(range(256)), "empty": b""}
ALLOWED = dict.fromkeys([*MEMBERS, "sample.png"], 1000)


def packed(members: Any, how: int = zipfile.ZIP_STORED, **fields: Any) -> bytes:
    """A zip by Python's own zipfile, of (name, content) pairs; `fields` change what it says of each."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as zipped:
        for name, content in dict(members).items() if isinstance(members, dict) else members:
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            for field, value in fields.items():
                setattr(info, field, value)
            zipped.writestr(info, content)
    return file.getvalue()


def refused(tmp_path: Path, data: bytes, why: str, allowed: dict[str, int] | None = None) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DamagedFileError, match=rf"(?s)^a\.zip is damaged: .*(?:{why}).*\. Copy it again"):
        read_members(tmp_path / "a.zip", ALLOWED if allowed is None else allowed, "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_members_come_back_and_zipfile_agrees(tmp_path: Path) -> None:
    write_members(tmp_path / "a.zip", MEMBERS)
    assert read_members(tmp_path / "a.zip", ALLOWED, "a") == MEMBERS
    with zipfile.ZipFile(tmp_path / "a.zip") as zipped:
        assert zipped.testzip() is None
        assert {info.filename: zipped.read(info) for info in zipped.infolist()} == MEMBERS
        assert {info.compress_type for info in zipped.infolist()} == {zipfile.ZIP_STORED}
        assert {stat.filemode(info.external_attr >> 16) for info in zipped.infolist()} == {"-rw-r--r--"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_another_program_made(tmp_path: Path, how: int) -> None:
    (tmp_path / "a.zip").write_bytes(packed(MEMBERS, how))
    assert read_members(tmp_path / "a.zip", ALLOWED, "a") == MEMBERS
    stream = Stream()
    with zipfile.ZipFile(stream, "w", how) as zipped:  # type: ignore[call-overload]
        for name, data in MEMBERS.items():  # whose sizes follow the data
            zipped.writestr(name, data)
    (tmp_path / "b.zip").write_bytes(b"".join(stream.written))
    assert read_members(tmp_path / "b.zip", ALLOWED, "b") == MEMBERS


class Stream:
    """What cannot go back, such as a connection."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass


def test_the_same_members_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_members(tmp_path / "a.zip", MEMBERS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_members(tmp_path / "b.zip", MEMBERS)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_error_leaves_the_zip_that_was_there(tmp_path: Path) -> None:
    write_members(tmp_path / "a.zip", MEMBERS)
    for name in ("../a", "/a", "a/../b", "a//b", "a/", "./a", "a\\b", "C:a", "a\0b", "", ".", ".."):
        with pytest.raises(CheckpointError, match="A member of a zip cannot be called"):
            write_members(tmp_path / "a.zip", {"new": b"", name: b"1"})
    assert read_members(tmp_path / "a.zip", ALLOWED, "a") == MEMBERS


@pytest.mark.parametrize(
    "name", ["evil.py", "../model.json", "/model.json", "C:\\model.json", "model.json/", "MODEL.JSON", "m/"]
)
def test_a_member_that_should_not_be_there(tmp_path: Path, name: str) -> None:
    refused(
        tmp_path, packed({**MEMBERS, name: b""}), "it has a member .*, and nothing but empty, model.json, sample.png"
    )


def test_a_name_with_a_nul(tmp_path: Path) -> None:
    data = packed({"model.json_x": b"1"}).replace(b"json_x", b"json\0x")
    refused(tmp_path, data, r"member 'model.json\\x00x'")


def test_links_folders_and_devices(tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFDIR, stat.S_IFCHR, stat.S_IFIFO):
        data = packed({"model.json": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
        refused(tmp_path, data, "its member 'model.json' is a link, a folder or a device")
    refused(tmp_path, packed({"model.json": b""}, external_attr=0x10), "is a link, a folder")


def test_a_member_that_comes_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = packed([("model.json", b"1"), ("model.json", b"2")])
    refused(tmp_path, data, "it has the member 'model.json' twice")


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack(tmp_path: Path, how: int) -> None:
    refused(tmp_path, packed(MEMBERS, how), "packed in another way")


@pytest.mark.parametrize("flag", [0x1, 0x20, 0x40, 0x2000])
def test_encryption(tmp_path: Path, flag: int) -> None:
    data = bytearray(packed({"empty": b""}))
    data[data.index(b"PK\1\2") + 8] |= flag & 0xFF
    data[data.index(b"PK\1\2") + 9] |= flag >> 8
    refused(tmp_path, bytes(data), "its member 'empty' is encrypted")


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_may_have_so_many_bytes_and_no_more(tmp_path: Path, how: int) -> None:
    refused(tmp_path, packed({"empty": bytes(1001)}, how), "'empty' unpacks to 1,001 bytes, and at most 1,000 are read")
    (tmp_path / "a.zip").write_bytes(packed({"empty": bytes(1000)}, how))
    assert read_members(tmp_path / "a.zip", ALLOWED, "a") == {"empty": bytes(1000)}


def with_size(data: bytes, offset: int, size: int) -> bytes:
    """A zip of one member whose list says another size: the packed one at 20, the unpacked at 24."""
    at = data.index(b"PK\1\2") + offset
    return data[:at] + size.to_bytes(4, "little") + data[at + 4 :]


def test_a_bomb_takes_no_more_than_it_may(tmp_path: Path, peak: Callable[[], int]) -> None:
    bomb = packed({"model.json": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 60_000
    before = peak()
    refused(tmp_path, bomb, "unpacks to 50,000,000 bytes")
    refused(tmp_path, with_size(bomb, 24, 1000), "'model.json' has 48,604 bytes for 1,000 unpacked ones")
    refused(
        tmp_path,
        with_size(bomb, 24, 50_000_001),
        "has 50,000,000 bytes instead of 50,000,001|no whole zip",
        {"model.json": 10**9},
    )
    assert peak() < before + 110_000_000
    huge = with_size(with_size(packed({"model.json": b"1"}), 24, 2**32 - 2), 20, 2**32 - 2)
    refused(tmp_path, huge, "should be larger than the whole file|no whole zip", {"model.json": 2**40})


def test_a_small_bomb_that_lies_takes_next_to_nothing(tmp_path: Path, peak: Callable[[], int]) -> None:
    bomb = with_size(packed({"model.json": bytes(900_000)}, zipfile.ZIP_DEFLATED), 24, 1000)
    before = peak()
    refused(tmp_path, bomb, "Bad CRC-32|no whole zip")
    assert peak() < before + 500_000


def test_a_list_of_members_without_end(tmp_path: Path, peak: Callable[[], int]) -> None:
    data = packed({})[:-22] + 40_000 * packed({"a": b""})[31:-22]
    end = b"PK\5\6" + bytes(4) + 2 * (40_000).to_bytes(2, "little") + len(data).to_bytes(4, "little") + bytes(6)
    assert len(data) > MOST_DIRECTORY
    refused(tmp_path, data + end, f"should have {len(data):,} bytes, and {MOST_DIRECTORY:,} are read")
    assert peak() < 10 * len(data)


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip", b"PK\5\6" + bytes(17), bytes(100_000)])
def test_what_is_no_zip(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, data, "it is no whole zip file")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^a\.zip is missing: there is no file"):
        read_members(tmp_path / "a.zip", ALLOWED, "a.zip")
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DamagedFileError, match="a device or a pipe"):
            read_members(tmp_path / "pipe", ALLOWED, "a.zip")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zips")


@fuzz
@given(st.binary(max_size=100), st.integers(0, 3))
def test_random_bytes_are_damaged(folder: Path, noise: bytes, kind: int) -> None:
    end = packed({})
    (folder / "a").write_bytes([noise, b"PK\3\4" + noise, noise + end, b"PK\1\2" + noise + end][kind])
    with contextlib.suppress(DamagedFileError):
        assert read_members(folder / "a", ALLOWED, "a") == {}


WHOLE = {how: packed(MEMBERS, how) for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)}


@settings(fuzz, max_examples=600)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6), st.integers(0, 7))
def test_a_flipped_bit_gives_the_very_same_members_or_an_error(folder: Path, how: int, at: int, bit: int) -> None:
    data = bytearray(WHOLE[how])
    data[at % len(data)] ^= 1 << bit
    (folder / "a").write_bytes(data)
    try:
        found = read_members(folder / "a", ALLOWED, "a")
    except DamagedFileError:
        return
    assert found.items() <= MEMBERS.items()
    assert found == MEMBERS or data[-22:] != WHOLE[how][-22:]  # the count at the end says how many there are


@fuzz
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10**6))
def test_a_zip_cut_short(folder: Path, how: int, length: int) -> None:
    (folder / "a").write_bytes(WHOLE[how][: length % len(WHOLE[how])])
    with pytest.raises(DamagedFileError):
        read_members(folder / "a", ALLOWED, "a")


@fuzz
@given(st.dictionaries(st.text(max_size=12), st.binary(max_size=40), max_size=5))
def test_any_members_come_back_or_have_no_portable_name(folder: Path, members: dict[str, bytes]) -> None:
    try:
        write_members(folder / "b", members)
    except CheckpointError:
        return
    assert read_members(folder / "b", dict.fromkeys(members, 40), "b") == members
