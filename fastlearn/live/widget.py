"""The dashboard's widget: messages to the page, and what the page's buttons ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from fastlearn.live.line import DirectLine

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
        self._line = DirectLine.to(self.comm)
        self.on_msg(self._receive)

    @property
    def is_closed(self) -> bool:
        """True after `close`, also when the user has called it."""
        return self.comm is None

    def send(self, content: Any, buffers: Any = None) -> None:
        if self.is_closed:  # ipywidgets would drop the message, and nobody would see the training any more
            raise RuntimeError("its widget was closed")
        if self._line is not None:
            self._line.send(content, buffers)
        else:
            super().send(content, buffers)

    def close(self) -> None:
        """Ends the widget and the layout that it owns; a notebook saved by nbclient keeps no script of it."""
        if not self.is_closed:
            self.set_trait("_esm", "export default {}")
            self.set_trait("_css", "")
            self.layout.close()
        super().close()

    def _receive(self, widget: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict):
            self._on_wish(content)

    def __repr__(self) -> str:
        return f"Dashboard({self.title!r})"
