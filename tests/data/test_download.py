"""Data sets fetched, unpacked and remembered."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from local_server import PETS, Server, tgz

from fastlearn.data.download import URLs, is_shipped, untar_data
from fastlearn.errors import ConfigError, DownloadError

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("name", ["DIGITS", "FASHION", "CLIPART"])
def test_the_data_sets_of_the_package_need_no_download(name: str, home: Path) -> None:
    path = untar_data(getattr(URLs, name))
    assert sorted(p.name for p in path.ls() if p.is_dir()) == ["train", "valid"]
    assert not home.exists()
    assert untar_data(name.lower()) == path


def test_a_copy_of_a_data_set_of_the_package_is_ones_own(tmp_path: Path) -> None:
    path = untar_data(URLs.DIGITS, data=tmp_path / "mine")
    assert path == tmp_path / "mine" / "digits"
    assert len(list(path.glob("*/*/*.png"))) == 1797
    (path / "README.md").unlink()
    assert not (untar_data(URLs.DIGITS, data=tmp_path / "mine") / "README.md").exists()


def test_what_belongs_to_the_package_is_told(tmp_path: Path) -> None:
    assert is_shipped(untar_data(URLs.CLIPART)) and is_shipped(untar_data("DIGITS") / "train")
    assert not is_shipped(untar_data(URLs.DIGITS, data=tmp_path)) and not is_shipped(".")


def test_downloads_once_and_unpacks(server: Server, home: Path) -> None:
    server.files["pets.tgz"] = PETS
    path = untar_data(server.url("pets.tgz"))
    assert (path / "cat" / "1").read_bytes() == b"miau"
    assert path.parent == home / "data"
    assert path.name.startswith("pets-")
    assert untar_data(server.url("pets.tgz")) == path
    assert len(server.ranges) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert not list((home / "archive").glob("*.part*"))


def test_folders_of_ones_own(server: Server, tmp_path: Path) -> None:
    server.files["pets.tar.gz"] = PETS
    path = untar_data(server.url("pets.tar.gz"), data=tmp_path / "d", archive=tmp_path / "a")
    assert path == tmp_path / "d" / "pets"
    assert (tmp_path / "a" / "pets.tar.gz").read_bytes() == PETS


def test_namesakes_from_elsewhere_stay_apart(server: Server) -> None:
    server.files |= {"a/data.tgz": PETS, "b/data.tgz": tgz(only=b"b")}
    a, b = untar_data(server.url("a/data.tgz")), untar_data(server.url("b/data.tgz"))
    assert a != b
    assert (b / "only").read_bytes() == b"b"


def test_a_wrong_checksum_unpacks_nothing(server: Server, home: Path) -> None:
    server.files["pets.tgz"] = PETS
    with pytest.raises(DownloadError, match="expected 00ff. It was not unpacked"):
        untar_data(server.url("pets.tgz"), sha256="00ff")
    assert list((home / "data").iterdir()) == []
    assert [p.name for p in (home / "archive").iterdir() if p.suffix != ".lock"] == []
    assert untar_data(server.url("pets.tgz"), sha256=hashlib.sha256(PETS).hexdigest().upper()).is_dir()


def test_the_first_download_is_remembered(server: Server) -> None:
    url = server.url("pets.tgz")
    server.files["pets.tgz"] = PETS
    path = untar_data(url)
    server.files["pets.tgz"] = other = tgz(pets__cat__2=b"new")
    with pytest.raises(DownloadError, match="as at the first download") as caught:
        untar_data(url, force_download=True)
    digest = hashlib.sha256(other).hexdigest()
    assert f"untar_data({url!r}, force_download=True, sha256={digest!r})" in str(caught.value)
    assert (path / "cat" / "1").exists()
    untar_data(url, force_download=True, sha256=digest)
    assert [p.name for p in (path / "cat").iterdir()] == ["2"]
    untar_data(url, force_download=True)


def test_published_fingerprints_are_checked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["mnist_tiny.tgz"] = PETS
    monkeypatch.setattr(URLs, "MNIST_TINY", server.url("mnist_tiny.tgz"))
    with pytest.raises(DownloadError, match=f"it has {len(PETS)} bytes, expected 342,207"):
        untar_data(URLs.MNIST_TINY)


def test_names_and_near_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="'PETS'"):
        untar_data("PETZ")
    with pytest.raises(ConfigError, match="expected an http or https address"):
        untar_data("ftp://example.org/x.tgz")
    (tmp_path / "pets.tgz").write_bytes(PETS)
    with pytest.raises(ConfigError, match=r"Did you mean 'pets\.tgz'"):
        untar_data("./petz.tgz")


@pytest.mark.parametrize("absolute", [True, False])
def test_a_local_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool) -> None:
    monkeypatch.chdir(tmp_path)
    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("cat/1", "miau")
        zipped.writestr("dog/1", "wuff")
    path = untar_data(archive if absolute else "pets.zip")
    assert (path / "dog" / "1").read_text() == "wuff"
    assert untar_data(archive) == path
    assert untar_data(path) == path  # a folder is what it is
    with pytest.raises(DownloadError, match="expected beef"):
        untar_data(archive, force_download=True, sha256="beef")


def test_a_home_that_cannot_be_made(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTLEARN_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="Cannot make the folder .* FASTLEARN_HOME"):
        untar_data(server.url("pets.tgz"))


def test_half_a_copy_is_never_taken_for_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Any, target: Any, **options: Any) -> Any:
        copied.append(source)
        if len(copied) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return copyfile(source, target, **options)

    copied: list[Any] = []
    copyfile = shutil.copyfile
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=100))
        with pytest.raises(DownloadError, match="Cannot copy .*No space left.* 100 bytes are free .*data=…"):
            untar_data(URLs.CLIPART, data=tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []
    whole = len(list(Path(untar_data(URLs.CLIPART)).rglob("*.png")))
    assert len(list(untar_data(URLs.CLIPART, data=tmp_path / "mine").rglob("*.png"))) == whole


def test_ctrl_c_while_the_old_folder_goes_leaves_the_new_one(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        if Path(target).name.endswith(".old"):
            signal.raise_signal(signal.SIGINT)

    server.files["pets.tgz"] = PETS
    path = untar_data(server.url("pets.tgz"))
    (path / "mine").touch()
    rename = os.replace
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        untar_data(server.url("pets.tgz"), force_download=True)
    assert sorted(os.listdir(path)) == ["cat", "dog"]
    assert os.listdir(home / "data") == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="no such locks on Windows")
def test_a_process_that_waits_for_another_says_so(
    server: Server, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    server.files["pets.tgz"] = PETS
    untar_data(server.url("pets.tgz"))
    flock = fcntl.flock
    with open(next((home / "archive").glob(".*.lock"))) as lock:
        flock(lock, fcntl.LOCK_EX)

        def wait(handle: Any, how: int) -> None:
            if how == fcntl.LOCK_EX:  # the other one is done
                flock(lock, fcntl.LOCK_UN)
            flock(handle, how)

        monkeypatch.setattr(fcntl, "flock", wait)
        untar_data(server.url("pets.tgz"))
    assert "Another process is fetching" in capsys.readouterr().out
    untar_data(server.url("pets.tgz"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("option", ["url", "archive", "data"])
def test_what_is_no_path(option: str) -> None:
    options: dict[str, Any] = {"url": URLs.DIGITS} | {option: 3}
    with pytest.raises(ConfigError, match=f"{option} is a path such as .*, not 3"):
        untar_data(**options)
