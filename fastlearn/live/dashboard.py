"""The live view of a training: a dashboard under the cell, with hands on the wheel."""

from __future__ import annotations

import importlib.util
import math
import time
from typing import TYPE_CHECKING, Any

from fastlearn.callbacks.progress import (
    NotebookSearchView,
    NotebookView,
    ProgressCallback,
    View,
    finder_of,
    in_notebook,
)
from fastlearn.live.shell import interrupt_waits
from fastlearn.live.view import DashboardView
from fastlearn.runtime.say import say
from fastlearn.training.steering import Steering

if TYPE_CHECKING:
    from fastlearn.live.shell import ShellPoll
    from fastlearn.training.lr_find import LRFinder, LRFinderResult
    from fastlearn.training.state import TrainState

_POLL_S = 0.1
_NO_WIDGETS = "For the live dashboard: pip install ipywidgets anywidget, then restart the kernel."
_NO_RESUME = "The page of the paused training cannot be heard any more; the training goes on."


class Dashboard(ProgressCallback):
    """`ProgressCallback`, with a live chart and controls where the output is a notebook.

    Under the running cell: losses, learning rate and momentum, metrics, the epochs' table, the time left; Stop, Pause
    and the learning rate, which act between two batches. When the call is over a picture and the table take its place,
    which need no kernel. Everything done by hand is in `learn.recorder.interventions`. A fault of the view (a page that
    is gone, a kernel of an unknown make) turns it into the text table and never stops a training.
    """

    def __init__(self, visible: bool = True, form: Any = "auto") -> None:
        super().__init__(visible, form)
        self.steering = Steering()
        self._shell: ShellPoll | None = None
        self._search: tuple[LRFinder, Any] | None = None  # the last one, and the output that its line was in
        self._next_draw = math.inf
        self._hinted = False

    def before_fit(self, state: TrainState) -> None:
        super().before_fit(state)
        self.steering.begin(state)
        self._next_draw = self._next_look
        if isinstance(self._view, DashboardView):
            self._next_look = self._started + _POLL_S

    def before_batch(self, state: TrainState) -> None:
        if self.steering.scale != 1.0:
            self.steering.before_batch(state)

    def after_fit(self, state: TrainState) -> None:
        if self._state is not state:
            return
        self.steering.end(state)
        try:
            with interrupt_waits():  # half a picture is none, and a widget that is left open shows nothing later
                super().after_fit(state)
        except KeyboardInterrupt:
            if not isinstance(state.error, KeyboardInterrupt):  # otherwise it is pressed again, and it is over
                raise
        finally:
            if self._shell is not None:
                self._shell.release()

    def state_dict(self) -> dict[str, Any]:
        return self.steering.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steering.load_state_dict(state)

    def _one_fit(self) -> dict[str, Any]:
        return super()._one_fit() | {"steering": Steering(), "_next_draw": math.inf}

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_shell": None, "_search": None}  # they belong to this kernel and its page

    def _look(self, state: TrainState) -> float:
        """Hear the page ten times a second, and draw at the view's own rate."""
        if not isinstance(self._view, DashboardView):
            return super()._look(state)
        now = time.perf_counter()
        self._listen(state)
        if now >= self._next_draw:
            self._next_draw = super()._look(state)
        return now + _POLL_S

    def _listen(self, state: TrainState) -> None:
        """Hear the page, do what it wishes, and wait while it wishes a pause."""
        self._hear(state)
        if not self.steering.paused:
            return
        paused_at = time.perf_counter()
        while self.steering.paused and not state.interrupt.requested and self._can_resume():
            time.sleep(0.03)
            self._hear(state)
        self.steering.paused = False
        if isinstance(self._view, DashboardView):
            self._view.paused_for(time.perf_counter() - paused_at)

    def _can_resume(self) -> bool:
        """False, and a sentence, when no click can end the pause any more."""
        if isinstance(self._view, DashboardView) and self._view.is_open and self._view.why_not is None:
            return True
        say(_NO_RESUME)
        return False

    def _hear(self, state: TrainState) -> None:
        view, shell = self._view, self._shell
        if shell is None or not isinstance(view, DashboardView):
            return
        if not (shell.poll() or view.heard or self.steering.has_wishes or shell.why_not != view.why_not):
            return
        done = self.steering.act(state)
        try:
            view.interventions(done, state)
            view.cannot_hear(shell.why_not)
            if view.answer():
                shell.say_busy()
        except Exception as fault:
            self._fall_back(fault)

    def take_search_output(self, result: LRFinderResult) -> Any:
        """The handle of the output in which that search said how far it was, and which is empty now; None without."""
        search, self._search = self._search, None
        return search[1] if search is not None and search[0].result is result else None

    def _search_view(self, finder: LRFinder, state: TrainState) -> View | None:
        view = super()._choose_view(state)
        if not isinstance(view, NotebookSearchView):
            return view
        from IPython.display import display

        self._search = finder, display({"text/plain": "", "text/html": ""}, raw=True, display_id=True)
        return NotebookSearchView(self._search[1])

    def _choose_view(self, state: TrainState) -> View | None:
        if (finder := finder_of(state)) is not None:
            return self._search_view(finder, state)
        if not (self.form == "notebook" or (self.form == "auto" and in_notebook())):
            return super()._choose_view(state)
        if not _has_widgets():
            if not self._hinted:
                say(_NO_WIDGETS)
            self._hinted = True
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
        what = " ".join(f"{type(fault).__name__}: {fault}".split())
        say(f"The live view failed ({what}); the training goes on, shown as text.")
        self._view = NotebookView(self._view.let_go() if isinstance(self._view, DashboardView) else None)


def _has_widgets() -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in ("ipywidgets", "anywidget"))
    except (ImportError, ValueError):  # half removed, or hidden on purpose
        return False
