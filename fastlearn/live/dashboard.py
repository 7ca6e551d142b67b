"""The live view of a training: a dashboard under the cell, with hands on the wheel."""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

from fastlearn.callbacks.progress import NotebookView, ProgressCallback, View, finder_of, in_notebook
from fastlearn.callbacks.say import say
from fastlearn.live.view import DashboardView
from fastlearn.training.steering import Steering

if TYPE_CHECKING:
    from fastlearn.live.shell import ShellPoll
    from fastlearn.training.state import TrainState

_POLL_S = 0.1
_NO_WIDGETS = "For the live dashboard: pip install ipywidgets anywidget, then restart the kernel."


class Dashboard(ProgressCallback):
    """`ProgressCallback`, with a live chart and controls where the output is a notebook.

    Under the running cell: losses, learning rate and momentum, metrics, the epochs' table, the time left; Stop, Pause
    and the learning rate, which act between two batches. When the call is over a picture and the table take its place,
    which need no kernel. Everything done by hand is in `learn.recorder.interventions`. A fault of the view (a page that
    is gone, a kernel of an unknown make) turns it into the text table and never stops a training.
    """

    order = 46

    def __init__(self, visible: bool = True, form: Any = "auto") -> None:
        super().__init__(visible, form)
        self.steering = Steering()
        self._shell: ShellPoll | None = None
        self._next_poll = 0.0

    def before_fit(self, state: TrainState) -> None:
        self.steering.begin(state)
        super().before_fit(state)

    def before_batch(self, state: TrainState) -> None:
        self.steering.before_batch(state)

    def after_batch(self, state: TrainState) -> None:
        if self._shell is None:
            super().after_batch(state)
            return
        now = time.perf_counter()
        if now >= self._next_poll:
            self._listen(state)
            self._next_poll = now + _POLL_S
        super().after_batch(state)

    def after_fit(self, state: TrainState) -> None:
        super().after_fit(state)
        self.steering.end(state)
        if self._shell is not None:
            self._shell.release()

    def _listen(self, state: TrainState) -> None:
        """Hear the page, do what it wishes, and wait while it wishes a pause."""
        self._hear(state)
        if not self.steering.paused:
            return
        paused_at = time.perf_counter()
        while self.steering.paused and not state.interrupt.requested:
            time.sleep(0.03)
            self._hear(state)
        self.steering.paused = False
        if isinstance(self._view, DashboardView):
            self._view.paused_for(time.perf_counter() - paused_at)

    def _hear(self, state: TrainState) -> None:
        assert self._shell is not None
        self._shell.poll()
        done = self.steering.act(state)
        if isinstance(self._view, DashboardView):
            try:
                self._view.interventions(done, state)
                self._view.cannot_hear(self._shell.why_not)
                if self._view.answer():
                    self._shell.say_busy()
            except Exception as fault:
                self._fall_back(fault)

    def _choose_view(self, state: TrainState) -> View | None:
        if finder_of(state) is not None or not (self.form == "notebook" or (self.form == "auto" and in_notebook())):
            return super()._choose_view(state)
        if not all(importlib.util.find_spec(name) for name in ("ipywidgets", "anywidget")):
            say(_NO_WIDGETS)
            return super()._choose_view(state)
        try:
            from fastlearn.live.shell import ShellPoll

            self._shell = self._shell or ShellPoll()
            return DashboardView(self.steering, self._shell.why_not)
        except Exception as fault:
            self._fall_back(fault)
            return self._view

    def _draw(self, event: str, state: TrainState) -> None:
        if not isinstance(self._view, DashboardView):
            super()._draw(event, state)
            return
        try:
            getattr(self._view, event)(state, time.perf_counter() - self._started)
        except Exception as fault:
            self._fall_back(fault)
            super()._draw("start" if event == "batch" else event, state)

    def _fall_back(self, fault: Exception) -> None:
        """Go on as a text table, and say so once."""
        say(f"The live view failed ({type(fault).__name__}: {fault}); the training goes on, shown as text.")
        self._view = NotebookView(self._view.let_go() if isinstance(self._view, DashboardView) else None)
