"""Files put in place whole or not at all, also by a full disk and by Ctrl-C."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastlearn.errors import ConfigError
from fastlearn.runtime.disk import folder_to_fill, is_full, lacking, write_whole


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_written_and_replaced(tmp_path: Path) -> None:
    write_whole({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    write_whole({tmp_path / "a": b"3"})
    assert content(tmp_path) == {"a": b"3", "b": b"2"}
    (tmp_path / "touched").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "touched").stat().st_mode


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_after_the_first(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    calls: list[int] = []
    write_whole({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    monkeypatch.setattr(os, "fsync", full_after_the_first)
    with pytest.raises(OSError, match="No space left"):
        write_whole({tmp_path / "a": b"3", tmp_path / "b": b"4"})
    assert content(tmp_path) == {"a": b"1", "b": b"2"}


def test_ctrl_c_between_two_renames_waits_for_the_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        if target.name == "a":
            signal.raise_signal(signal.SIGINT)

    rename = os.replace
    write_whole({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole({tmp_path / "a": b"3", tmp_path / "b": b"4"})
    assert content(tmp_path) == {"a": b"3", "b": b"4"}


def test_what_a_full_disk_is_called() -> None:
    assert is_full(OSError(errno.ENOSPC, "")) and is_full(OSError(errno.EDQUOT, ""))
    assert is_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_full(PermissionError(errno.EACCES, "")) and not is_full(RuntimeError("(os error 280)"))


def test_how_much_is_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=2_100_000))
    assert lacking(tmp_path, 46_800_000) == f"It takes 46.8 MB, and 2.1 MB are free in {tmp_path}."
    assert lacking(tmp_path, 2_100_000) == ""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=0, free=0))
    assert lacking(tmp_path, 1) == ""
    monkeypatch.undo()
    assert lacking(tmp_path / "none", 1) == ""


def test_a_folder_that_nothing_came_into_goes_again(tmp_path: Path) -> None:
    with folder_to_fill(tmp_path / "a" / "b", "…"):
        assert (tmp_path / "a" / "b").is_dir()
    assert content(tmp_path) == {}
    with folder_to_fill(tmp_path / "a" / "b", "…"):
        (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "mine").mkdir()
    with pytest.raises(ZeroDivisionError), folder_to_fill(tmp_path / "mine", "…"):
        raise ZeroDivisionError
    assert (tmp_path / "a" / "b" / "file").exists() and (tmp_path / "mine").is_dir()


@pytest.mark.skipif(os.name == "nt", reason="no such locks on Windows")
def test_one_at_a_time(tmp_path: Path) -> None:
    with folder_to_fill(tmp_path / "a", "…"):
        said = r"Another process is writing to .*a\. Wait for it\. Or leave"
        with pytest.raises(ConfigError, match=said), folder_to_fill(tmp_path / "a", "Or leave."):
            pass
        assert (tmp_path / "a").is_dir()
    with folder_to_fill(tmp_path / "a", "…"):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = r"Cannot make the folder .*file.a: .+\. Or leave"
    with pytest.raises(ConfigError, match=said), folder_to_fill(tmp_path / "file" / "a", "Or leave."):
        pass
