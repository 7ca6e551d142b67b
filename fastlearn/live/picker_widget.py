"""The widget of the learning-rate picker: what the page and Python tell each other. The page's part is js/picker.js."""

from __future__ import annotations

from pathlib import Path

import traitlets

from fastlearn.live.placed_widget import PlacedWidget

_STATIC = Path(__file__).parent / "static"


class PickerWidget(PlacedWidget):
    """A curve of losses over learning rates, and the rate chosen on it."""

    _esm = _STATIC / "picker.js"
    _css = _STATIC / "picker.css"

    lrs = traitlets.List(traitlets.Float()).tag(sync=True)
    losses = traitlets.List(traitlets.Float()).tag(sync=True)
    suggestions = traitlets.List(traitlets.Dict()).tag(sync=True)  # of {name, lr, loss}; a loss may be None
    y_range = traitlets.List(traitlets.Float()).tag(sync=True)
    # The rate that is marked: the first suggestion, then the one picked; None before, where nothing was suggested.
    value = traitlets.Float(None, allow_none=True).tag(sync=True)
    held = traitlets.Float(None, allow_none=True).tag(sync=True)  # what Python has stored; None before the first pick
    message = traitlets.Unicode().tag(sync=True)  # what Python has to say about the last pick

    def __repr__(self) -> str:
        return "PickerWidget()"  # no address in it, so that outputs can be compared
