"""Archives that try to write elsewhere, to fill the disk, or that are no archives."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastlearn.data import archive as module
from fastlearn.data.archive import extract
from fastlearn.errors import DownloadError


def tar_of(path: Path, *members: tarfile.TarInfo, content: bytes = b"hello") -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            member.size = len(content) if member.isfile() else 0
            tar.addfile(member, io.BytesIO(content) if member.isfile() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def assert_nothing_left(tmp_path: Path, archive: Path) -> None:
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(["out", archive.name])


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "data"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "\\\\host\\evil"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_nothing_lands_outside(tmp_path: Path, dest: Path, name: str, kind: str) -> None:
    archive = tmp_path / f"bad.{kind}"
    if kind == "tar":
        tar_of(archive, member("fine"), member(name))
    else:
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("fine", "x")
            zipped.writestr(name, "x")
    with pytest.raises(DownloadError, match="absolute path|climbs out|outside"):
        extract(archive, dest)
    assert_nothing_left(tmp_path, archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, dest: Path, kind: bytes) -> None:
    archive = tar_of(tmp_path / "bad.tar", member("a", kind, "/etc"), member("a/evil"))
    with pytest.raises(DownloadError, match="'a' is a (link|device).*only files and folders"):
        extract(archive, dest)
    assert_nothing_left(tmp_path, archive)


def test_links_in_a_zip_are_refused(tmp_path: Path, dest: Path) -> None:
    archive = tmp_path / "bad.zip"
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(info, "/etc")
    with pytest.raises(DownloadError, match="'a' is a link"):
        extract(archive, dest)


def test_a_bomb_is_refused(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALWAYS_ALLOWED", 1 << 16)
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("zeros", bytes(1 << 22))
    with pytest.raises(DownloadError, match="decompression bomb"):
        extract(archive, dest)
    assert_nothing_left(tmp_path, archive)


def test_a_full_disk(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    archive = tar_of(tmp_path / "a.tar", member("b"))
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DownloadError, match=r"disk is full: no room to unpack .* FASTLEARN_HOME"):
        extract(archive, dest)
    assert_nothing_left(tmp_path, archive)


@pytest.mark.parametrize("ending", ["tgz", "tar.bz2", "tar.xz"])
def test_a_damaged_archive(tmp_path: Path, dest: Path, ending: str) -> None:
    archive = tmp_path / f"a.{ending}"
    with tarfile.open(archive, {"tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[ending]) as tar:
        info = tarfile.TarInfo("noise")
        info.size = 200_000
        tar.addfile(info, io.BytesIO(os.urandom(200_000)))
    archive.write_bytes(archive.read_bytes()[:150_000])
    with pytest.raises(DownloadError, match="damaged or cut off"):
        extract(archive, dest)
    assert_nothing_left(tmp_path, archive)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"<!DOCTYPE html><p>Sign in", "It is a web page"), (b"hello", "neither a tar nor a zip")],
)
def test_no_archive_at_all(tmp_path: Path, dest: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(DownloadError, match=said):
        extract(tmp_path / "a.tgz", dest)


def test_what_a_killed_process_left_is_cleared(tmp_path: Path, dest: Path) -> None:
    (dest.parent / f".data{module.UNPACKING}old").mkdir()
    extract(tar_of(tmp_path / "a.tar", member("top", tarfile.DIRTYPE), member("top/file")), dest)
    assert (dest / "file").read_bytes() == b"hello"
    assert [p.name for p in dest.parent.iterdir()] == ["data"]


def test_a_name_that_fills_the_memory_is_refused(tmp_path: Path, dest: Path) -> None:
    archive = tmp_path / "bomb.tgz"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(archive, "w:gz", format=form) as tar:
            tar.addfile(member("a"))
            tar.addfile(member("b" * (module.MAX_HEADER + 1)))
        with pytest.raises(DownloadError, match=r"damaged or cut off \(a name or property of 1,0\d\d,\d\d\d bytes"):
            extract(archive, dest)
        assert_nothing_left(tmp_path, archive)


def test_empty_files_count_too(tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALWAYS_ALLOWED", 20 * module.LEAST)
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for k in range(10):
            zipped.writestr(f"{k}", b"")
    extract(archive, dest)
    monkeypatch.setattr(module, "MAX_RATIO", 0)
    monkeypatch.setattr(module, "ALWAYS_ALLOWED", 9 * module.LEAST)
    with pytest.raises(DownloadError, match="decompression bomb"):
        extract(archive, dest.with_name("other"))


@pytest.mark.parametrize("keep", [1024, 1100, 1536])
def test_a_tar_cut_off_where_a_member_ends_or_begins(tmp_path: Path, dest: Path, keep: int) -> None:
    archive = tar_of(tmp_path / "a.tar", member("a"), member("b"))  # each a block of header and a block of content
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DownloadError, match="damaged or cut off"):
        extract(archive, dest)
    assert_nothing_left(tmp_path, archive)


def test_odd_names_arrive(tmp_path: Path, dest: Path) -> None:
    names = ["a\nb", "😀", "n" * 255, " ", "-rf", "[x]*"]
    extract(tar_of(tmp_path / "a.tar", *map(member, names)), dest)
    assert sorted(os.listdir(dest)) == sorted(names)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar", member("b"))
    with pytest.raises(DownloadError, match=r"Cannot unpack .*a\.tar: .*(Not a directory|File exists)"):
        extract(archive, archive / "data")
    assert os.listdir(tmp_path) == ["a.tar"]
