"""The picker's widget: what the page reads and sets is there, and JSON can say it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("anywidget")

import fastlearn.live
from fastlearn.live.picker_widget import PickerWidget

SOURCES = Path(fastlearn.live.__file__).parent / "js"


def test_every_name_that_the_page_uses_is_synced():
    text = "".join((SOURCES / name).read_text(encoding="utf-8") for name in ("picker.js", "place.js"))
    used = set(re.findall(r"model\.get\(\"(\w+)\"\)|change:(\w+)", text))
    names = {name for pair in used for name in pair if name}
    assert len(names) > 6 and names <= set(PickerWidget().keys)


def test_before_a_pick_nothing_is_held():
    state = PickerWidget(lrs=[1e-3], losses=[2.0], y_range=[0.0, 3.0], value=1e-3).get_state()
    ours = {name: state[name] for name in ("lrs", "losses", "suggestions", "y_range", "value", "held", "message")}
    assert json.loads(json.dumps(ours)) == {
        "lrs": [1e-3], "losses": [2.0], "suggestions": [], "y_range": [0.0, 3.0], "value": 1e-3, "held": None,
        "message": "",
    }  # fmt: skip
    assert PickerWidget().value is None


def test_its_script_is_the_built_one():
    state = PickerWidget().get_state()
    assert "slider" in state["_esm"] and ".flp" in state["_css"]


def test_two_are_written_alike():
    assert repr(PickerWidget()) == repr(PickerWidget()) == "PickerWidget()"  # no address in it, to compare outputs
