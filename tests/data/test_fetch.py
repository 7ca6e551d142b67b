"""Downloads that break off, change, lie and go on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from local_server import NOISE, Server

from fastlearn.data import fetch
from fastlearn.data.fetch import download
from fastlearn.errors import DownloadError

pytestmark = pytest.mark.usefixtures("home")


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


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["noise"] = NOISE
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"disk is full.*FASTLEARN_HOME"):
        download(server.url("noise"), tmp_path / "noise")
