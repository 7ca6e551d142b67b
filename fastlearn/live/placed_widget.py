"""A widget without a view: its script draws into an element that is an output of its own, beside a still one.

A notebook's file never holds such a widget. A widget's view, once saved, is shown as "Loading widget" or "model not
found" when the kernel is gone; and taking the view away when the next cell starts would end the widget under "Run all".
The page's part, which Jupyter starts without a view, finds the element (js/place.js), so the widget lives as long as
its kernel, also for the cells that follow and after a reload of the page.
"""

from __future__ import annotations

import base64
import html
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class PlacedWidget(anywidget.AnyWidget):
    """The base of a widget that is shown as two outputs: `live_bundle`, and after it a still picture or table."""

    place = traitlets.Unicode().tag(sync=True)  # class name of the element in which the page draws
    opened = traitlets.Bool(False).tag(sync=True)  # a page has this widget; one that finds it set has been reloaded
    reloaded = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        # The place is part of the first message, since the page looks for it as soon as that has come.
        super().__init__(place=f"fastlearn-{uuid.uuid4().hex}", **traits)

    def live_bundle(self, words: str) -> dict[str, Any]:
        """The element, which says `words` while nothing is drawn in it; a view where outputs cannot be reached."""
        if needs_view():
            return {WIDGET_VIEW: {"model_id": self.model_id, "version_major": 2, "version_minor": 0}}
        return {"text/html": f'<div class="{self.place}">{html.escape(words)}</div>', "text/plain": words}

    def follow(self, still: Mapping[str, Any]) -> None:
        """Have a reloaded page put this in the still's place: it no longer knows which output a display belongs to."""
        if self.reloaded:
            self.send({"kind": "still", "data": {kind: _text(data) for kind, data in still.items()}})


def needs_view() -> bool:
    """True in VS Code and Colab, whose pages start a widget's code only where they show a view of it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return "google.colab" in sys.modules or "__vsc_ipynb_file__" in getattr(shell, "user_ns", {})


def _text(data: str | bytes) -> str:
    return base64.b64encode(data).decode() if isinstance(data, bytes) else data
