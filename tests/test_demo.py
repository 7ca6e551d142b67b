"""The demo's helpers: where its files go, and what it prints. The whole of it is run by `make demo`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from fastlearn import demo
from fastlearn.errors import ConfigError


def test_a_figure_becomes_a_file_and_is_closed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plt.plot([1, 2])
    demo._keep(tmp_path / "a.png", "a line")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    assert capsys.readouterr().out == f"  {tmp_path / 'a.png'}  a line\n"


def test_places_that_cannot_be_written_name_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Cannot make the folder .* Name another: --out DIR"):
        demo._make_folder(tmp_path / "file" / "out")
    plt.plot([1, 2])
    with pytest.raises(ConfigError, match="Cannot write .* Name another folder: --out DIR"):
        demo._keep(tmp_path / "none" / "a.png", "a line")
    plt.close("all")


def test_paths_are_told_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo._near(tmp_path / "a" / "b.png") == str(Path("a/b.png"))
    assert demo._near(Path("/elsewhere/b.png")) == "/elsewhere/b.png"


def test_cells_of_the_table() -> None:
    assert [demo._cell(value) for value in (3, 0.12345)] == ["3", "0.123"]


def test_a_full_disk_leaves_no_half_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    plt.plot([1, 2])
    with pytest.raises(ConfigError, match=r"Cannot write .*a\.png: No space left on device"):
        demo._keep(tmp_path / "a.png", "a line")
    assert list(tmp_path.iterdir()) == [] and plt.get_fignums() == []
