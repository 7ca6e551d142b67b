"""The widget between Python and the page: what is closed says so, and leaves little behind."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("anywidget")

from fastlearn.live.widget import DashboardWidget


def test_wishes_arrive_and_anything_else_is_left():
    wishes: list[dict[str, Any]] = []
    widget = DashboardWidget("fit", wishes.append)
    for content in ({"do": "stop"}, "stop", None, ["stop"]):
        widget._handle_custom_msg(content, [])
    assert wishes == [{"do": "stop"}] and repr(widget) == "Dashboard('fit')"
    widget.close()


def test_a_closed_widget_refuses_to_speak():
    widget = DashboardWidget("fit", lambda content: None)
    widget.send({"kind": "points"})
    widget.close()
    widget.close()
    assert widget.is_closed and widget.layout.comm is None
    with pytest.raises(RuntimeError, match="its widget was closed"):
        widget.send({"kind": "points"})


def test_the_script_does_not_stay_in_the_notebook():
    widget = DashboardWidget("fit", lambda content: None)
    assert len(widget.get_state()["_esm"]) > 10_000
    widget.close()
    assert len(str(widget.get_state(["_esm", "_css"]))) < 100
