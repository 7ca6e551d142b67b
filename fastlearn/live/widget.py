"""The dashboard's widget: messages to the page, and what the page's buttons ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_STATIC = Path(__file__).parent / "static"


class DashboardWidget(anywidget.AnyWidget):
    """A chart that is fed by messages; `on_wish(content)` is called for each message from the page.

    It may be called from another thread than the training's, so it must only put the wish somewhere.
    """

    _esm = _STATIC / "dashboard.js"
    _css = _STATIC / "dashboard.css"

    title = traitlets.Unicode("").tag(sync=True)
    ended = traitlets.Bool(False).tag(sync=True)

    def __init__(self, title: str, on_wish: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(title=title)
        self._on_wish = on_wish
        self.on_msg(self._receive)

    def _receive(self, widget: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict):
            self._on_wish(content)

    def __repr__(self) -> str:
        return f"Dashboard({self.title!r})"
