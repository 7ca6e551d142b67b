"""A widget that draws into an output: a saved notebook holds words and a still, and no view."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest.importorskip("anywidget")

import IPython

from fastlearn.live.placed_widget import WIDGET_VIEW, PlacedWidget


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    messages: list[Any] = []
    monkeypatch.setattr(PlacedWidget, "send", lambda self, content: messages.append(content))
    return messages


def test_the_page_knows_the_place_from_the_first_message():
    one, other = PlacedWidget(), PlacedWidget()
    assert one.place and one.place != other.place
    assert one.live_bundle("Suggested: a < b.") == {
        "text/html": f'<div class="{one.place}">Suggested: a &lt; b.</div>',
        "text/plain": "Suggested: a < b.",
    }


@pytest.mark.parametrize("page", ["vs code", "colab"])
def test_pages_that_start_a_widget_by_its_view(monkeypatch: pytest.MonkeyPatch, page: str):
    user_ns = {"__vsc_ipynb_file__": "a.ipynb"} if page == "vs code" else {}
    if page == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"user_ns": user_ns})())
    widget = PlacedWidget()
    assert widget.live_bundle("words")[WIDGET_VIEW]["model_id"] == widget.model_id


def test_a_page_that_was_reloaded_gets_the_still_and_no_other(sent: list[Any]):
    widget = PlacedWidget(opened=True)
    widget.follow({"text/plain": "first"})
    assert sent == []
    widget.reloaded = True
    widget.follow({"image/png": b"\x00\xff", "text/plain": "second"})
    assert sent == [{"kind": "still", "data": {"image/png": "AP8=", "text/plain": "second"}}]
