"""The line of a slow job: seen where someone watches, and only once the job is slow."""

from __future__ import annotations

import io
import sys

import pytest

from fastlearn.data import progress
from fastlearn.data.progress import progress_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, output: io.StringIO, delay_s: float = 0.0, show: bool = True) -> str:
    """What a job of two kilobytes writes on `output`."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(progress, "DELAY_S", delay_s)
    monkeypatch.setattr(sys, "stderr", output)
    with progress_line(2048, "Reading", "B", show=show) as line:
        line.update(1024)
        line.refresh()
    return output.getvalue()


def test_a_terminal_sees_how_far_it_is_and_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, Terminal())
    assert "Reading" in text and "50%" in text and "1.00k/2.00k" in text
    assert text.split("\r")[-1].strip() == ""


def test_files_and_those_who_asked_for_silence_see_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, io.StringIO()) == ""
    assert drawn(monkeypatch, Terminal(), show=False) == ""
