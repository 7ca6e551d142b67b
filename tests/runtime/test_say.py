"""A line for the reader, whatever the state of the output."""

from __future__ import annotations

import io
import sys

import pytest

from fastlearn.runtime.say import say


@pytest.mark.parametrize("tqdm_is_loaded", [True, False])
def test_one_line_is_printed(
    tqdm_is_loaded: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if tqdm_is_loaded:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.delitem(sys.modules, "tqdm", raising=False)
    say("épargne 🐈")
    assert capsys.readouterr().out == "épargne 🐈\n"


def test_a_closed_output_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for output in (closed, None):
        monkeypatch.setattr(sys, "stdout", output)
        assert say("lost") is None  # type: ignore[func-returns-value]
