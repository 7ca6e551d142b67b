"""The dashboard as a view of a training: what it tells the page, and when."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastlearn.callbacks.table import html_table, story_rows, text_table
from fastlearn.callbacks.tracker import less_is_better
from fastlearn.errors import ConfigError
from fastlearn.live.feed import Feed
from fastlearn.live.pace import Pace
from fastlearn.live.still import STILL_WIDTH, still_png
from fastlearn.training.steering import Intervention, Steering

if TYPE_CHECKING:
    from fastlearn.training.recorder import Recorder
    from fastlearn.training.state import TrainState

Message = dict[str, Any]
_FLUSH_S = 0.2


class DashboardView:
    """One story (a fit, or the parts of a `fine_tune`) on a widget, and as a still picture when it is over."""

    is_live = True

    def __init__(self, steering: Steering, why_not: str | None = None) -> None:
        self.steering, self.why_not = steering, why_not
        self._widget: Any = None
        self._display: Any = None
        self._start: Message = {}
        self._parts_at: list[int] = []
        self._state: Message = {}
        self._progress: Message = {}
        self._rows: list[Message] = []
        self._rows_sent = 0
        self._best_loss = math.inf
        self._best_row: int | None = None
        self._next_rows = 0.0
        self._wants_snapshot = self.heard = False
        self._notices: deque[str] = deque()
        self._deeds: list[Message] = []
        self._pace = Pace()
        self._feed: Feed
        self._first_step = self._deeds_before = 0
        self._running = False  # one of the story's fits, at this moment

    @property
    def is_open(self) -> bool:
        """True while there is a widget that can be heard."""
        return self._widget is not None and not self._widget.is_closed

    # ── the training's events ──

    def start(self, state: TrainState, seconds: float) -> None:
        self._running = True
        if self._widget is None:
            self._open(state)
        else:
            self._send({"kind": "part", "index": state.plan.story.index, "at": state.recorder.n_batches})
        self._parts_at.append(state.recorder.n_batches)
        self._pace.start_part(state)
        self._say("running", _where(state))

    def batch(self, state: TrainState, seconds: float) -> None:
        self._push(state)
        validating = not state.training
        if state.stop and validating:
            self._say("validating", "Stopped. Measuring the model on the validation set; you may skip that.")
        else:
            self._say("running", _where(state))

    def epoch(self, state: TrainState, seconds: float) -> None:
        row = {name: _json(value) for name, value in state.recorder.epochs[-1].items() if name != "fit"}
        loss = row.get("valid_loss")
        if isinstance(loss, float) and loss < self._best_loss:
            self._best_loss, self._best_row = loss, len(self._rows)
        self._rows.append({"at": state.recorder.n_batches, "row": row})
        if time.perf_counter() >= self._next_rows:  # epochs of a few milliseconds wait for one another
            self._push(state)

    def end(self, state: TrainState, seconds: float) -> None:
        self._running = False
        if self._widget is None:
            return
        self._push(state)
        if state.error is None and not state.stop_story and not state.plan.story.is_last:
            return
        name, sentence = _ending(state)
        self._say(name, sentence)
        self._close(state.recorder, sentence)

    def interventions(self, done: list[Intervention], state: TrainState) -> None:
        """Something was done by hand, perhaps: tell the page at once."""
        self._notices.extend(self.steering.take_refusals())
        if not done:
            return
        self._push(state)
        if self.steering.paused:
            self._say("paused", "Paused. Resume goes on with the next batch.")
        elif state.stop:
            self._say("stopping", "Stopping after this batch…")
        else:
            self._say("running", _where(state))

    def paused_for(self, seconds: float) -> None:
        """A pause is over; its time is no time that a batch takes."""
        self._pace.pause(seconds)

    def let_go(self) -> Any:
        """Part from the widget, whatever state it is in; returns the handle of its display, None if it has none."""
        widget, self._widget = self._widget, None
        _at_cell_end(self._cell_ended, False)
        with contextlib.suppress(Exception):
            widget.close()
        return self._display

    def _cell_ended(self, result: Any) -> None:
        """An error between two parts of a story: no fit is there to tell of the end."""
        if self._widget is not None and not self._running:
            try:
                self._close(self._feed.recorder, "Ended before its last part.")
            except Exception:  # the picture is not worth a traceback under a cell that has one
                self.let_go()

    # ── the page's wishes ──

    def wish(self, content: Message) -> None:
        """Called for each message from the page, perhaps on another thread: only notes what is wished."""
        what, self.heard = content.get("do"), True
        if what == "hello":
            self._wants_snapshot = True
        elif what in ("stop", "skip_validation", "pause", "resume"):
            self.steering.ask(what)
        elif what == "lr":
            try:
                if "factor" in content:
                    self.steering.ask_lr_factor(content["factor"])
                else:
                    self.steering.ask_lr(content.get("value"))
            except ConfigError as error:
                self._notices.append(str(error))

    def cannot_hear(self, why_not: str | None) -> None:
        """Show in place of the buttons why clicks do not arrive (any more)."""
        if why_not != self.why_not:
            self.why_not = why_not
            self._start |= {"can_steer": why_not is None, "why_not": why_not}
            self._wants_snapshot = True

    def answer(self) -> bool:
        """Send what the page has asked for; on the training's own thread. True if it has said anything."""
        heard, self.heard = self.heard, False
        while self._notices:
            self._send({"kind": "notice", "message": self._notices.popleft()})
        if self._wants_snapshot:
            self._wants_snapshot = False
            self._snapshot()
        return heard

    # ── what is sent ──

    def _open(self, state: TrainState) -> None:
        from IPython.display import display

        from fastlearn.live.widget import DashboardWidget

        plan, story = state.plan, state.plan.story
        names = state.recorder.metric_names
        self._feed = Feed(state.recorder)
        self._first_step, self._deeds_before = state.step, len(state.recorder.interventions)
        self._start = {
            "kind": "start",
            "title": story.title,
            "parts": [{"name": name, "epochs": epochs} for name, epochs in story.parts],
            "part": story.index,
            "steps_total": sum(story.steps_of_parts(plan.steps_per_epoch)),
            "steps_per_epoch": plan.steps_per_epoch,
            "metric_names": names,
            "lower_is_better": {name: less_is_better(name) for name in names},
            "can_steer": self.why_not is None,
            "why_not": self.why_not,
        }
        self._widget = DashboardWidget(story.title, self.wish)
        self._display = display(self._widget, display_id=True)
        _at_cell_end(self._cell_ended, True)
        self._send(dict(self._start))

    def _push(self, state: TrainState) -> None:
        points = self._feed.new_points()
        self._progress = self._pace.progress(state)
        message: Message = {"kind": "points", "first": self._feed.sent, "n": 0, "progress": self._progress}
        if points is None:
            self._send(message)
        else:
            message |= {"first": points.first, "n": points.n, "smooth_now": _json(state.recorder.smooth_loss())}
            self._send(message, [points.buffer])
        if len(self._rows) > self._rows_sent:
            self._send({"kind": "epochs", "rows": self._rows[self._rows_sent :], "best_row": self._best_row})
            self._rows_sent = len(self._rows)
        for one in state.recorder.interventions[self._deeds_before + len(self._deeds) :]:  # replayed ones too
            deed = {"at": one.step - self._first_step, "what": one.what, "old": one.old, "new": one.new}
            self._deeds.append(deed)
            self._send({"kind": "intervention", **deed})
        self._next_rows = time.perf_counter() + _FLUSH_S
        self.answer()

    def _snapshot(self) -> None:
        self._rows_sent = len(self._rows)
        self._feed.new_points()  # they are in the snapshot
        count, buffers = self._feed.thinned()
        message = {
            "kind": "snapshot",
            "start": dict(self._start),
            "parts_at": [*self._parts_at],
            "series": {"count": count},
            "rows": [*self._rows],
            "best_row": self._best_row,
            "interventions": [*self._deeds],
            "progress": self._progress,
            "state": self._state,
        }
        self._send(message, buffers)

    def _say(self, name: str, sentence: str) -> None:
        new = {"state": name, "message": sentence}
        if new != self._state:
            self._state = new
            self._send({"kind": "state", **new})

    def _send(self, message: Message, buffers: list[bytes] | None = None) -> None:
        if self._widget is not None:
            self._widget.send(message, buffers)

    def _close(self, recorder: Recorder, sentence: str) -> None:
        """Put a picture and the table in the widget's place, which need no kernel, and let go of the widget."""
        from IPython.display import display

        names, cells = story_rows(recorder)
        ended = "" if sentence == "Done." else sentence
        table = {"text/html": html_table(names, cells, ended), "text/plain": text_table(names, cells, ended)}
        picture = still_png(recorder, self._parts_at, self._deeds)
        widget, self._widget = self._widget, None
        _at_cell_end(self._cell_ended, False)
        widget.ended = True
        if picture is None:
            self._display.update(table, raw=True)
        else:
            self._display.update(
                {"image/png": picture, "text/plain": f"<chart of {self._start['title']}>"},
                raw=True,
                metadata={"image/png": {"width": STILL_WIDTH}},
            )
            display(table, raw=True)
        widget.close()


def _where(state: TrainState) -> str:
    story = state.plan.story
    name = story.parts[story.index][0] if story.index < len(story.parts) else ""
    return f"Training, {name} part" if name else "Training"


def _ending(state: TrainState) -> tuple[str, str]:
    done = f"after {state.fit_step} of {state.plan.n_steps} steps"
    if state.error is None:
        how = "Stopped by hand" if state.stop_story else "Stopped early" if state.stop else ""
        return "ended", f"{how} {done}." if how else "Done."
    if isinstance(state.error, KeyboardInterrupt):
        return "interrupted", f"Interrupted {done}; the learner is whole."
    return "failed", f"Stopped by {type(state.error).__name__} {done}."


def _at_cell_end(function: Callable[[Any], None], wanted: bool) -> None:
    """Have IPython call `function` when a cell ends in this thread, or no more."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or threading.current_thread() is not threading.main_thread():
        return
    if wanted:
        shell.events.register("post_run_cell", function)
    else:
        with contextlib.suppress(ValueError):  # it was not registered
            shell.events.unregister("post_run_cell", function)


def _json(value: Any) -> Any:
    """A number that JSON has: NaN and infinity become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
