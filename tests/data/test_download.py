"""Downloads against a server on this machine that breaks off, lies and changes its mind."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fastlearn.data import fetch
from fastlearn.data.download import URLs, untar_data
from fastlearn.data.fetch import download
from fastlearn.data.urls import FINGERPRINTS, published
from fastlearn.errors import ConfigError, DownloadError


class Server(ThreadingHTTPServer):
    """Serves `files`; `breaks` holds the number of bytes after which each of the next answers breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.codes: list[int] = []
        self.ranges: list[str | None] = []
        self.etags = True

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        content = self.server.files.get(self.path[1:])
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        code = self.server.codes.pop(0) if self.server.codes else 200 if content is not None else 404
        if code != 200:
            self.send_error(code)
            return
        etag = '"' + hashlib.md5(content).hexdigest() + '"'
        start = 0
        if wanted and self.headers.get("If-Range") == etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.etags:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = self.server.breaks.pop(0) if self.server.breaks else None
        self.wfile.write(content[start:] if stop is None else content[start : start + stop])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(fetch, "PAUSE_S", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTLEARN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tgz(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


PETS = tgz(pets__cat__1=b"miau", pets__dog__1=b"wuff")
NOISE = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(8192))  # 256 KiB


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


def test_goes_on_after_the_line_broke(server: Server, tmp_path: Path) -> None:
    server.files["noise"] = NOISE
    server.breaks = [100_000, 50_000]
    assert download(server.url("noise"), tmp_path / "noise").read_bytes() == NOISE
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_the_next_call_goes_on(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["noise"] = NOISE
    server.breaks = [70_000, 0, 0]
    monkeypatch.setattr(fetch, "TRIES", 3)
    with pytest.raises(DownloadError, match=r"70,000 bytes so far are kept.*URLs\.DIGITS"):
        download(server.url("noise"), tmp_path / "noise")
    assert (tmp_path / "noise.part").stat().st_size == 70_000
    assert not (tmp_path / "noise").exists()
    assert download(server.url("noise"), tmp_path / "noise").read_bytes() == NOISE
    assert server.ranges[-1] == "bytes=70000-"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["noise", "noise.json"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "noise.part").write_bytes(b"old" * 100)
    (tmp_path / "noise.part.json").write_text(json.dumps({"url": server.url("noise"), "mark": '"old"', "bytes": 999}))
    server.files["noise"] = NOISE
    assert download(server.url("noise"), tmp_path / "noise").read_bytes() == NOISE
    assert server.ranges == ["bytes=300-"]


def test_a_server_without_marks_is_asked_for_everything(server: Server, tmp_path: Path) -> None:
    server.files["noise"], server.etags, server.breaks = NOISE, False, [1000]
    assert download(server.url("noise"), tmp_path / "noise").read_bytes() == NOISE
    assert server.ranges == [None, None]


def test_a_complete_part_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "noise.part").write_bytes(NOISE)
    note = {"url": server.url("noise"), "mark": "", "bytes": len(NOISE)}
    (tmp_path / "noise.part.json").write_text(json.dumps(note))
    assert download(server.url("noise"), tmp_path / "noise").read_bytes() == NOISE
    assert server.ranges == []


def test_damaged_older_bytes_cost_one_more_download(server: Server, tmp_path: Path) -> None:
    server.files["noise"] = NOISE
    (tmp_path / "noise.part").write_bytes(b"x" * 1000)
    mark = '"' + hashlib.md5(NOISE).hexdigest() + '"'
    (tmp_path / "noise.part.json").write_text(json.dumps({"url": server.url("noise"), "mark": mark}))
    digest = hashlib.sha256(NOISE).hexdigest()
    assert download(server.url("noise"), tmp_path / "noise", sha256=digest).read_bytes() == NOISE
    assert server.ranges == ["bytes=1000-", None]


def test_servers_trouble_is_waited_out(server: Server, tmp_path: Path) -> None:
    server.files["noise"], server.codes = NOISE, [503, 429]
    assert download(server.url("noise"), tmp_path / "noise").read_bytes() == NOISE


def test_a_missing_address_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="answers 404 .* may have moved"):
        download(server.url("nothing"), tmp_path / "x")
    assert len(server.ranges) == 1


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAUSE_S", 0.0)
    with pytest.raises(DownloadError, match=r"refused.*Is there a network\? Without a network: URLs.DIGITS"):
        download("http://127.0.0.1:9/x.tgz", tmp_path / "x.tgz")


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


def test_every_published_fingerprint_belongs_to_an_address() -> None:
    names = {address.rsplit("/", 1)[-1] for address in published().values()}
    assert set(FINGERPRINTS) == {name for name in names if "." in name}


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["noise"] = NOISE
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"disk is full.*FASTLEARN_HOME"):
        download(server.url("noise"), tmp_path / "noise")


def test_names_and_near_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="'PETS'"):
        untar_data("PETZ")
    with pytest.raises(ConfigError, match="Did you mean 'CLIPART'"):
        URLs.CLIPARTS  # noqa: B018
    assert not hasattr(URLs, "NOTHING")
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
