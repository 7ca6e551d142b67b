"""The learning-rate picker: what `learn.lr_find()` returns, and the curve in the notebook on which to choose a rate.

A notebook gets two outputs: what was suggested, in whose place the page draws the picker (`placed_widget`), and the
still picture with the choice marked, drawn anew at each pick and hidden by the page while the picker is there.
"""

from __future__ import annotations

import io
import math
from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from fastlearn.callbacks.progress import in_notebook
from fastlearn.errors import ConfigError

if TYPE_CHECKING:
    from fastlearn.live.picker_widget import PickerWidget
    from fastlearn.training.lr_find import LRFinderResult
    from fastlearn.training.lr_suggest import Suggestion

_MAX_POINTS = 200
_DPI = 100


class LRPicker(tuple[float, ...]):
    """The suggested learning rates, a named tuple, with the one that was chosen: `.lr`.

    >>> found = learn.lr_find()
    >>> found.valley, found.lr
    """

    _chosen: float | None

    @property
    def lr(self) -> float | None:
        """The chosen rate; the first suggestion until one is picked, None if there is no suggestion either."""
        return self._chosen

    def __reduce__(self) -> Any:
        return _rebuilt, (cast(Any, self)._fields, tuple(self), self._chosen)


def suggested_lrs(suggestions: Mapping[str, Suggestion]) -> LRPicker:
    """The named tuple of the suggestions' rates, `SuggestedLRs(valley=0.0012)`; `.lr` starts at the first of them."""
    rates = tuple(float(suggestion.lr) for suggestion in suggestions.values())
    return _rebuilt(tuple(suggestions), rates, rates[0] if rates else None)


def show_picker(
    result: LRFinderResult, suggested: LRPicker, on_pick: Callable[[float], None], output: Any = None
) -> None:
    """Show the curve in a notebook; each pick goes to `suggested.lr` and to `on_pick(lr)`. Elsewhere do nothing.

    `output` is the handle of a display that has nothing to say any more, to be used for the picker. `on_pick` is called
    on whatever thread Jupyter reads the page's messages, so it should only store the rate. If it raises, the page shows
    the error and the choice stays as it was.
    """
    if not in_notebook():
        return
    from IPython.display import display

    picker = _Picker(result, suggested, on_pick)
    if output is None:
        display(picker.live_bundle(), raw=True)
    else:
        output.update(picker.live_bundle(), raw=True)
    picker.still = display(picker.still_bundle(), raw=True, display_id=True)


def still_bundle(result: LRFinderResult, chosen: float | None) -> dict[str, Any]:
    """What a saved notebook shows: the curve with the rate marked that was picked, if one was, as a PNG and as text."""
    figure, _ = _draw(result, chosen)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return {"image/png": file.getvalue(), "text/plain": describe(result, chosen)}


def describe(result: LRFinderResult, chosen: float | None) -> str:
    """One line: the rate that was picked, if one was, and what was suggested.

    >>> describe(learn.recorder.lr_finder, 1e-3)
    'Learning rate 1.00e-03 chosen; suggested: valley 1.20e-03.'
    """
    choice = "No learning rate chosen" if chosen is None else f"Learning rate {chosen:.2e} chosen"
    named = _named(result)
    return f"{choice}; {f'suggested: {named}' if named else 'none suggested'}."


def check_rate(value: object) -> float:
    """The picked rate as a float; ConfigError for anything that is not a finite number above 0."""
    try:
        rate = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"A learning rate is a number above 0, such as 3e-4; {value!r} was ignored.")
    return rate


class _Picker:
    """The widget and the still picture of one search, kept at the same rate."""

    def __init__(self, result: LRFinderResult, suggested: LRPicker, on_pick: Callable[[float], None]) -> None:
        self.result, self.suggested, self.on_pick = result, suggested, on_pick
        self.still: Any = None  # the handle of the second output, once it is shown
        self.widget = _make_widget(result, suggested.lr)
        self.widget.on_msg(lambda widget, content, buffers: self.hear(content))

    def hear(self, content: object) -> None:
        """A message of the page: {do: "pick", value: rate}."""
        if isinstance(content, dict) and content.get("do") == "pick":
            self.pick(content.get("value"))

    def pick(self, value: object) -> None:
        """Keep a rate that the page sent, or tell the page why not."""
        before, self.widget.message = self.widget.held, ""
        try:
            rate = check_rate(value)
            self.on_pick(rate)
        except Exception as error:  # an error in a widget's handler would only reach a log
            self.widget.message = str(error)
            return
        self.suggested._chosen = rate
        self.widget.value = self.widget.held = rate
        if self.still is not None and rate != before:
            bundle = self.still_bundle()
            self.still.update(bundle, raw=True)
            self.widget.follow(bundle)

    def still_bundle(self) -> dict[str, Any]:
        return still_bundle(self.result, self.widget.held)

    def live_bundle(self) -> dict[str, Any]:
        named = _named(self.result)
        return self.widget.live_bundle(f"Suggested learning rates: {named}." if named else "No rate was suggested.")


def _named(result: LRFinderResult) -> str:
    """The suggestions as "valley 1.20e-03, slide 2.00e-03"."""
    return ", ".join(f"{name} {suggestion.lr:.2e}" for name, suggestion in result.suggestions.items())


def _make_widget(result: LRFinderResult, first: float | None) -> PickerWidget:
    from fastlearn.live.picker_widget import PickerWidget

    lrs, losses = _points(result)
    _, (low, high) = _draw(result, None)
    suggestions = [
        {"name": name, "lr": float(lr), "loss": float(loss) if math.isfinite(loss) else None}
        for name, (lr, loss) in result.suggestions.items()
    ]
    return PickerWidget(lrs=lrs, losses=losses, y_range=[low, high], suggestions=suggestions, value=first)


def _points(result: LRFinderResult) -> tuple[list[float], list[float]]:
    """The finite part of the curve, thinned: every k-th point."""
    pairs = [(lr, loss) for lr, loss in zip(result.lrs, result.losses, strict=True) if math.isfinite(loss)]
    every = math.ceil(len(pairs) / _MAX_POINTS) or 1
    return [float(lr) for lr, _ in pairs[::every]], [float(loss) for _, loss in pairs[::every]]


def _draw(result: LRFinderResult, chosen: float | None) -> tuple[Any, tuple[float, float]]:
    """The figure and its range of losses. Without pyplot, which is not made for threads other than the main one."""
    from matplotlib.figure import Figure

    from fastlearn.training.plots import plot_lr_find

    figure = Figure(figsize=(6.4, 4))
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.13, top=0.97)  # finding margins would double the time
    ax = figure.subplots()
    if any(math.isfinite(loss) for loss in result.losses):
        plot_lr_find(result, ax=ax)
    else:
        ax.text(0.5, 0.5, "no finite loss was measured", ha="center", transform=ax.transAxes)
        ax.set(xscale="log", xlim=(1e-7, 10), ylim=(0, 1), xlabel="learning rate", ylabel="loss")
    ax.minorticks_off()  # forty ticks that take as long as the rest
    low, high = ax.get_ylim()
    if chosen is not None:
        ax.axvline(chosen, color="black", linewidth=1.6, linestyle="--", label=f"chosen  {chosen:.2e}")
        ax.legend(edgecolor="none")
    return figure, (float(low), float(high))


def _rebuilt(names: tuple[str, ...], rates: tuple[float, ...], chosen: float | None) -> LRPicker:
    # A suggestion of one's own may be a lambda, whose name is no identifier: such fields are called _0, _1, …
    base = namedtuple("SuggestedLRs", names, rename=True)  # type: ignore[misc]
    suggested = type("SuggestedLRs", (LRPicker, base), {"__doc__": LRPicker.__doc__, "__module__": __name__})(*rates)
    suggested._chosen = chosen
    return cast(LRPicker, suggested)
