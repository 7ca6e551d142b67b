"""How far a training is: one line in a terminal, one line an epoch in a pipe, a live table in a notebook."""

from __future__ import annotations

import math
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fastlearn.callbacks.table import (
    cell_text,
    duration,
    html_line,
    html_table,
    number,
    story_rows,
    text_row,
    text_table,
)
from fastlearn.errors import ConfigError
from fastlearn.training.callback import Callback
from fastlearn.training.lr_find import LRFinder

if TYPE_CHECKING:
    from fastlearn.training.recorder import Recorder
    from fastlearn.training.state import TrainState

Form = Literal["auto", "terminal", "lines", "notebook"]
_REDRAW_S = 0.25
_BAR_COLUMNS = 20


class ProgressCallback(Callback):
    """Shows the epochs' table as it grows and, while an epoch runs, the loss so far and the time left.

    `form="auto"` looks at where the output goes: a notebook gets a table that is drawn anew at most four times a
    second and stays in the saved file; a terminal one progress line, with a row printed for each epoch; anything else
    (a pipe, a file, CI) one plain line an epoch. While `lr_find` searches, a notebook and a terminal get a line that
    goes when it ends. `visible=False` and `with learn.no_bar():` silence it. An output that breaks or is closed
    silences it too, and never stops the training. Of several such callbacks the one that was given last shows.
    """

    order = 45
    is_bar = True
    needs_inputs = False

    def __init__(self, visible: bool = True, form: Form = "auto") -> None:
        if form not in ("auto", "terminal", "lines", "notebook"):
            raise ConfigError(f"form={form!r} is not one of 'auto', 'terminal', 'lines', 'notebook'.")
        self.visible, self.form = visible, form
        self._state: TrainState | None = None  # of the fit that runs
        self._around: list[dict[str, Any]] = []  # what is shown of the fits that this one runs inside of
        self._view: View | None = None
        self._next_look = math.inf
        self._started = 0.0
        self._fit: tuple[Recorder | None, int] = None, -1

    def before_fit(self, state: TrainState) -> None:
        if self._state is not None:  # a callback of that fit has begun this one
            self._around.append({name: vars(self)[name] for name in self._one_fit()})
            vars(self).update(self._one_fit())
        self._state = state
        self._started = time.perf_counter()
        fit = state.recorder, state.recorder.fits
        goes_on, self._fit = self._fit == fit and self._view is not None, fit
        if not self._shows(state) or state.plan.n_epochs <= state.plan.start_epoch:
            self._view = self._view if goes_on else None
            return
        if not goes_on:
            self._view = None
            self._view = self._choose_view(state)
        self._draw("start", state)
        if self._view is not None and self._view.is_live:
            self._next_look = self._started + _REDRAW_S

    def after_batch(self, state: TrainState) -> None:
        # All that most batches pay; the loss is read from the device only to draw it.
        if time.perf_counter() >= self._next_look:
            self._next_look = self._look(state)

    def after_epoch(self, state: TrainState) -> None:
        self._draw("epoch", state)

    def after_fit(self, state: TrainState) -> None:
        if self._state is not state:  # another callback has failed before this one heard of the fit
            return
        self._next_look = math.inf
        try:
            self._draw("end", state)
        finally:
            self._state = None
            if self._around:
                vars(self).update(self._around.pop())

    def _one_fit(self) -> dict[str, Any]:
        """The attributes that belong to one fit, as they are before it."""
        return {"_state": None, "_view": None, "_next_look": math.inf, "_started": 0.0, "_fit": (None, -1)}

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or a pickle, shows nothing yet: what is on the page belongs to this one."""
        return vars(self) | self._one_fit() | {"_around": []}

    def _shows(self, state: TrainState) -> bool:
        bars = [one for one in state.events.callbacks if isinstance(one, ProgressCallback)]
        return self.visible and bars[-1:] == [self]

    def _look(self, state: TrainState) -> float:
        """Draw what is new; returns when to look again."""
        self._draw("batch", state)
        return time.perf_counter() + _REDRAW_S

    def _choose_view(self, state: TrainState) -> View | None:
        return make_view(self.form, finder_of(state) is not None)

    def _draw(self, event: str, state: TrainState) -> None:
        if self._view is None:
            return
        try:
            getattr(self._view, event)(state, time.perf_counter() - self._started)
        except (OSError, ValueError):  # nobody reads any more: a broken pipe, a closed file
            self._view = None


class View(Protocol):
    """One form of showing; `seconds` counts from the start of the fit."""

    is_live: bool

    def start(self, state: TrainState, seconds: float) -> None:
        """A fit begins."""

    def batch(self, state: TrainState, seconds: float) -> None:
        """Time to redraw, in the middle of an epoch."""

    def epoch(self, state: TrainState, seconds: float) -> None:
        """An epoch has its row."""

    def end(self, state: TrainState, seconds: float) -> None:
        """The fit is over, by an error perhaps."""


class LinesView:
    """One plain line an epoch."""

    is_live = False

    def start(self, state: TrainState, seconds: float) -> None:
        pass

    def batch(self, state: TrainState, seconds: float) -> None:
        pass

    def epoch(self, state: TrainState, seconds: float) -> None:
        row = state.recorder.epochs[-1]  # state.epoch already counts the next one
        values = [f"{name} {cell_text(name, row.get(name))}" for name in state.recorder.metric_names[1:]]
        where = f"epoch {row['epoch']} ({state.fit_epoch + 1} of {state.plan.n_epochs})"
        print("  ".join([where, *values]), flush=True)

    def end(self, state: TrainState, seconds: float) -> None:
        pass


class TerminalView:
    """A progress line at the foot of a growing table."""

    is_live = True

    def __init__(self) -> None:
        self._header = ""
        self._bar: Any = None

    def start(self, state: TrainState, seconds: float) -> None:
        header = text_row(state.recorder.metric_names, state.recorder.metric_names)
        if header != self._header:
            print(header, flush=True)
            self._header = header
        self._open(state)

    def _open(self, state: TrainState) -> None:
        from tqdm import tqdm

        class Line(tqdm):  # type: ignore[type-arg]
            monitor_interval = 0  # no thread of its own: we redraw

        self._bar = Line(total=_total(state), file=sys.stdout, leave=False, bar_format=" ")
        self._show(_where(state), 0, _share(state, 0))

    def batch(self, state: TrainState, seconds: float) -> None:
        done = _done(state)
        self._show(_where(state), done, _status(state, done, seconds))

    def epoch(self, state: TrainState, seconds: float) -> None:
        row, names = state.recorder.epochs[-1], state.recorder.metric_names
        self._bar.clear()
        print(text_row(names, [cell_text(name, row.get(name)) for name in names]), flush=True)
        if state.fit_epoch + 1 < state.plan.n_epochs:
            done = (state.fit_epoch + 1 - state.plan.start_epoch) * epoch_batches(state)
            where = f"epoch {state.epoch} ({state.fit_epoch + 2} of {state.plan.n_epochs})"
            self._show(where, done, _share(state, done))

    def end(self, state: TrainState, seconds: float) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, where: str, done: int, status: str) -> None:
        columns = shutil.get_terminal_size().columns  # asked each time: a window may be resized
        room = min(_BAR_COLUMNS, columns - len(f"{where}  {status} "))
        bar = f"{{bar:{room}}} " if room > 3 else ""
        self._bar.n, self._bar.ncols = done, columns
        self._bar.bar_format = f"{where} {bar}{status}"
        self._bar.refresh()


class TerminalSearchView(TerminalView):
    """The progress line alone, for `lr_find`."""

    def start(self, state: TrainState, seconds: float) -> None:
        self._open(state)

    def epoch(self, state: TrainState, seconds: float) -> None:
        pass


class NotebookView:
    """A table under the cell, with a line below it while the training runs."""

    is_live = True

    def __init__(self, handle: Any = None) -> None:
        self._handle: Any = handle  # of a display that is there already
        self._next_row = 0.0

    def start(self, state: TrainState, seconds: float) -> None:
        self._show(state, _where(state))

    def batch(self, state: TrainState, seconds: float) -> None:
        self._show(state, f"{_where(state)} · {_status(state, _done(state), seconds)}", _done(state) / _total(state))

    def epoch(self, state: TrainState, seconds: float) -> None:
        if time.perf_counter() >= self._next_row:  # epochs of a few milliseconds wait for one another
            self._show(state, f"epoch {state.epoch - 1} done" if state.fit_epoch + 1 < state.plan.n_epochs else "")
            self._next_row = time.perf_counter() + _REDRAW_S

    def end(self, state: TrainState, seconds: float) -> None:
        end = ""
        if state.error is not None:
            by_hand = isinstance(state.error, KeyboardInterrupt)
            what = "interrupted" if by_hand else f"stopped by {type(state.error).__name__}"
            end = f"{what} after {state.fit_epoch} of {state.plan.n_epochs} epochs"
        self._show(state, end)

    def _show(self, state: TrainState, line: str, share: float | None = None) -> None:
        names, cells = story_rows(state.recorder)
        self._put(html_table(names, cells, line, share), text_table(names, cells, line))

    def _put(self, as_html: str, as_text: str) -> None:
        from IPython.display import display

        bundle = {"text/html": as_html, "text/plain": as_text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class NotebookSearchView(NotebookView):
    """The progress line alone, for `lr_find`; nothing is left of it."""

    def epoch(self, state: TrainState, seconds: float) -> None:
        pass

    def end(self, state: TrainState, seconds: float) -> None:
        self._put("", "")

    def _show(self, state: TrainState, line: str, share: float | None = None) -> None:
        self._put(f"<div>{html_line(line, share)}</div>", line)


def make_view(form: Form, searching: bool = False) -> View | None:
    """The view for where the output goes; None where a search has nothing to say."""
    if form == "auto":
        form = "notebook" if in_notebook() else "terminal" if _is_terminal() else "lines"
    if form == "notebook":
        return NotebookSearchView() if searching else NotebookView()
    if form == "terminal":
        return TerminalSearchView() if searching else TerminalView()
    return None if searching else LinesView()


def in_notebook() -> bool:
    """True in a Jupyter kernel, whose page can draw a display anew."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _is_terminal() -> bool:
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # no standard output, or a closed one
        return False


def finder_of(state: TrainState) -> LRFinder | None:
    """The learning-rate finder, when it is what runs."""
    return next((callback for callback in state.events.callbacks if isinstance(callback, LRFinder)), None)


def _where(state: TrainState) -> str:
    if finder_of(state) is not None:
        return "lr_find"
    return f"epoch {state.epoch} ({state.fit_epoch + 1} of {state.plan.n_epochs})"


def _total(state: TrainState) -> int:
    """Batches of the whole fit, validation included."""
    plan, finder = state.plan, finder_of(state)
    if finder is not None:
        return finder.num_it
    return max(1, (plan.n_epochs - plan.start_epoch) * epoch_batches(state))


def epoch_batches(state: TrainState) -> int:
    plan = state.plan
    return len(plan.train) + (len(plan.valid) if plan.valid is not None else 0)


def _done(state: TrainState) -> int:
    before = (state.fit_epoch - state.plan.start_epoch) * epoch_batches(state)
    trained = 0 if state.training else len(state.plan.train)
    return before + trained + state.batch_index + 1


def _share(state: TrainState, done: int) -> str:
    return f"{100 * done // _total(state)}%"


def _status(state: TrainState, done: int, seconds: float) -> str:
    what = f"loss {number(state.recorder.smooth_loss())}" if state.training else "validating"
    return f"{_share(state, done)} · {what} · {duration(seconds / done * (_total(state) - done))} left"
