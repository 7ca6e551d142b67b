"""The dashboard beside a training: what the page hears, what it may wish, and that no fault of it stops a training."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import IPython.display
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fastlearn.live.shell
import fastlearn.live.widget
from fastlearn.callbacks import progress
from fastlearn.callbacks.progress import ProgressCallback
from fastlearn.callbacks.replay import Replay
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.live import dashboard, view
from fastlearn.live.dashboard import Dashboard
from fastlearn.live.learner import Learner
from fastlearn.metrics import accuracy
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState


class FakePage:
    """The page: collects messages, and clicks when the kernel polls."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.buffers: list[Any] = []
        self.widgets: list[Any] = []
        self.shown: list[Any] = []
        self.clicks: list[tuple[Any, dict[str, Any]]] = []  # (condition on the page, wish)
        self.releases = self.busy = 0
        self.broken: Exception | None = None

    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.messages]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["kind"] == kind]

    def click(self, wish: dict[str, Any], when: Any = lambda page: True) -> None:
        self.clicks.append((when, wish))

    def deliver(self) -> None:
        due = [click for click in self.clicks if click[0](self)]
        self.clicks = [click for click in self.clicks if click not in due]
        for _, wish in due:
            self.widgets[-1].on_wish(wish)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> FakePage:
    page = FakePage()

    class Widget:
        def __init__(self, title: str, on_wish: Any) -> None:
            self.title, self.on_wish, self.ended, self.closed = title, on_wish, False, False
            page.widgets.append(self)

        def send(self, content: dict[str, Any], buffers: Any = None) -> None:
            if page.broken is not None:
                raise page.broken
            if self.closed:
                raise RuntimeError("its widget was closed")
            page.messages.append(content)
            page.buffers.append(buffers)

        def close(self) -> None:
            self.closed = True

        @property
        def is_closed(self) -> bool:
            return self.closed

    class Shell:
        why_not = None

        def poll(self) -> int:
            page.deliver()
            return 0

        def say_busy(self) -> None:
            page.busy += 1

        def release(self) -> None:
            page.releases += 1

    class Handle:
        def __init__(self, place: int) -> None:
            self.place = place

        def update(self, bundle: Any, raw: bool = False, metadata: Any = None) -> None:
            page.shown[self.place] = bundle

    def display(what: Any, raw: bool = False, display_id: bool = False, metadata: Any = None) -> Any:
        page.shown.append(what)
        return Handle(len(page.shown) - 1)

    monkeypatch.setattr(fastlearn.live.widget, "DashboardWidget", Widget)
    monkeypatch.setattr(fastlearn.live.shell, "ShellPoll", Shell)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(dashboard, "_POLL_S", 0.0)
    monkeypatch.setattr(progress, "_REDRAW_S", 0.0)
    monkeypatch.setattr(view, "_FLUSH_S", 0.0)
    monkeypatch.setattr(dashboard, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    return page


def make_learner(**options: Any) -> Learner:
    rng = torch.Generator().manual_seed(0)
    batches = [(torch.randn(8, 4, generator=rng), torch.randint(3, (8,), generator=rng)) for _ in range(6)]
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    options = {"splitter": lambda m: [list(m[0].parameters()), list(m[2].parameters())]} | options
    return Learner(
        DataLoaders(batches, batches[:3], device="cpu"), model, F.cross_entropy, metrics=accuracy, seed=7, **options
    )


def losses_on(page: FakePage) -> list[float]:
    """The raw losses as the page has put them together, checking that none is missing or comes twice."""
    found: list[float] = []
    for message, buffers in zip(page.messages, page.buffers, strict=True):
        if message["kind"] == "points" and message["n"]:
            assert message["first"] == len(found)
            found += np.frombuffer(buffers[0], np.float32).reshape(4, -1)[0].tolist()
        elif message["kind"] == "snapshot":  # short enough not to be thinned
            found = np.frombuffer(buffers[0], np.float32).reshape(5, -1)[0].tolist()
    return found


def test_a_fit_is_told_from_beginning_to_end(page: FakePage):
    learn = make_learner()
    learn.fit_one_cycle(2)
    start = page.messages[0]
    assert (start["kind"], start["title"], start["steps_total"]) == ("start", "fit_one_cycle", 12)
    assert start["metric_names"] == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert start["lower_is_better"]["valid_loss"] and not start["lower_is_better"]["accuracy"]
    assert losses_on(page) == pytest.approx(learn.recorder.raw_losses)
    rows = [row for message in page.of("epochs") for row in message["rows"]]
    assert [(row["at"], row["row"]["epoch"]) for row in rows] == [(6, 0), (12, 1)]
    assert rows[1]["row"]["valid_loss"] == learn.recorder.final_value("valid_loss")
    assert page.of("state")[-1]["state"] == "ended"
    progress_now = page.of("points")[-1]["progress"]
    assert (progress_now["step"], progress_now["steps_total"], progress_now["done"]) == (12, 12, progress_now["total"])
    assert page.widgets[0].ended and page.widgets[0].closed and len(page.widgets) == 1
    picture, table = page.shown
    assert picture["image/png"].startswith(b"\x89PNG") and len(picture["image/png"]) < 100_000
    assert table["text/html"].count("<tr>") == 3 and "text/plain" in table


def test_fine_tune_is_one_story(page: FakePage):
    learn = make_learner()
    learn.fine_tune(2)
    assert page.kinds().count("start") == 1 and len(page.widgets) == 1
    assert page.messages[0]["parts"] == [{"name": "frozen", "epochs": 1}, {"name": "unfrozen", "epochs": 2}]
    assert [(part["index"], part["at"]) for part in page.of("part")] == [(1, 6)]
    assert losses_on(page) == pytest.approx(learn.recorder.raw_losses)
    assert [message["progress"]["epoch"] for message in page.of("points")][-1] == 3
    left = [message["progress"]["left_s"] for message in page.of("points") if message["progress"]["left_s"] is not None]
    assert left[0] > left[-1] == 0


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_second_call_has_a_chart_of_its_own(page: FakePage, frozen: int):
    learn = make_learner()
    learn.fit(1)
    learn.fine_tune(1, freeze_epochs=frozen)
    assert len(page.widgets) == 2 and all(widget.closed for widget in page.widgets)
    rows = [row["row"]["epoch"] for message in page.of("epochs") for row in message["rows"]]
    assert rows == list(range(2 + frozen))


def test_stop_and_rates_are_carried_out_noted_and_replayed(page: FakePage):
    learn = make_learner()
    page.click({"do": "lr", "factor": 0.5}, lambda page: len(losses_on(page)) >= 2)
    page.click({"do": "lr", "value": "3e-4"}, lambda page: len(losses_on(page)) >= 4)
    for _ in range(10):
        page.click({"do": "stop"}, lambda page: len(losses_on(page)) >= 8)
    learn.fit_one_cycle(3, 1e-2)
    noted = learn.recorder.interventions
    assert [one.what for one in noted] == ["lr", "lr", "stop"]
    assert [deed["what"] for deed in page.of("intervention")] == ["lr", "lr", "stop"]
    assert learn.recorder.n_batches == noted[-1].step < 18
    assert page.shown[1]["text/plain"].endswith(f"Stopped by hand after {noted[-1].step} of 18 steps.")
    again = make_learner()
    again.fit_one_cycle(3, 1e-2, cbs=Replay(noted))
    assert all(map(torch.equal, learn.model.parameters(), again.model.parameters()))
    deeds = [(deed["what"], deed["at"]) for deed in page.of("intervention")]
    assert deeds[:3] == deeds[3:] == [(one.what, one.step) for one in noted]  # a replay shows on its chart too


@pytest.mark.parametrize("bad", ["0", "-1", "nan", "abc", "", None])
def test_a_rate_that_is_none_gets_a_sentence(page: FakePage, bad: Any):
    learn = make_learner()
    page.click({"do": "lr", "value": bad}, lambda page: len(losses_on(page)) >= 2)
    learn.fit(1)
    assert "number above 0" in page.of("notice")[0]["message"]
    assert not learn.recorder.interventions and learn.recorder.n_batches == 6


def test_pause_waits_for_resume(page: FakePage):
    learn = make_learner()
    page.click({"do": "pause"}, lambda page: len(losses_on(page)) >= 2)
    page.click({"do": "resume"}, lambda page: any(s["state"] == "paused" for s in page.of("state")))
    learn.fit(1)
    assert [one.what for one in learn.recorder.interventions] == ["pause", "resume"]
    assert learn.recorder.n_batches == 6


def test_a_pause_after_early_stopping_gets_a_sentence(page: FakePage):
    def stop_early(state: TrainState) -> None:
        state.request_stop()
        page.click({"do": "pause"})

    learn = make_learner()
    learn.fit(2, cbs=at("after_batch", stop_early))
    assert [notice["message"] for notice in page.of("notice")] == [
        "The training is stopping already, so there is nothing to pause."
    ]
    assert not learn.recorder.interventions and learn.recorder.n_batches == 1


def test_a_training_that_is_resumed_keeps_the_rate_set_by_hand(page: FakePage, tmp_path):
    learn, resumed = make_learner(), make_learner()
    page.click({"do": "lr", "factor": 0.5}, lambda page: len(losses_on(page)) >= 2)
    learn.fit_one_cycle(2, 1e-2)
    learn.save(tmp_path / "steered")
    resumed.load(tmp_path / "steered").fit_one_cycle(2, 1e-2, start_epoch=1)
    assert resumed.recorder.lrs == learn.recorder.lrs[6:]
    assert resumed.fit_one_cycle(2, 1e-2) is None and max(resumed.recorder.lrs) == pytest.approx(1e-2, rel=0.1)


def test_interrupt_ends_a_pause(page: FakePage):
    learn = make_learner()
    page.click({"do": "pause"}, lambda page: len(losses_on(page)) >= 2)

    class Press(Callback):
        order = 45

        def before_fit(self, state: TrainState) -> None:
            def press() -> None:
                while not learn.cbs[0].steering.paused:  # type: ignore[attr-defined]
                    pressed.wait(0.005)
                state.interrupt.requested = True

            pressed = threading.Event()
            threading.Thread(target=press, daemon=True).start()

    with pytest.raises(KeyboardInterrupt):
        learn.fit(5, cbs=Press())
    assert page.of("state")[-1]["state"] == "interrupted" and page.widgets[0].closed
    learn.fit(1)
    assert learn.recorder.n_batches == 6


def test_skipping_the_validation_after_a_stop(page: FakePage):
    learn = make_learner()
    page.click({"do": "stop"}, lambda page: len(losses_on(page)) >= 2)
    page.click({"do": "skip_validation"}, lambda page: any(s["state"] == "validating" for s in page.of("state")))
    learn.fit(2)
    assert [one.what for one in learn.recorder.interventions] == ["stop", "skip_validation"]
    row = page.of("epochs")[-1]["rows"][-1]["row"]
    assert row["valid_loss"] is None and isinstance(row["train_loss"], float)


def test_a_page_that_comes_late_gets_the_whole_story(page: FakePage):
    learn = make_learner()
    page.click({"do": "lr", "factor": 2}, lambda page: len(losses_on(page)) >= 3)
    page.click({"do": "hello"}, lambda page: len(page.of("epochs")) >= 1)
    learn.fine_tune(1)
    [snapshot] = page.of("snapshot")
    floats, xs = page.buffers[page.messages.index(snapshot)]
    count = snapshot["series"]["count"]
    known = np.frombuffer(floats, np.float32).reshape(5, count)[0].tolist()
    assert known == pytest.approx(learn.recorder.raw_losses[:count])
    assert np.frombuffer(xs).tolist() == list(range(count))
    assert snapshot["start"] == page.messages[0] and len(snapshot["rows"]) == 1
    assert [deed["what"] for deed in snapshot["interventions"]] == ["lr"]
    assert snapshot["state"]["state"] == "running" and snapshot["parts_at"][0] == 0
    assert losses_on(page) == pytest.approx(learn.recorder.raw_losses)  # nothing twice, nothing missing


@pytest.mark.parametrize("at", ["start", "epochs", "points"])
def test_a_broken_page_never_stops_a_training(page: FakePage, at: str, capsys: pytest.CaptureFixture[str]):
    learn = make_learner()

    class Break(Callback):
        order = 44

        def before_fit(self, state: TrainState) -> None:
            page.broken = RuntimeError("comm closed") if at == "start" else None

        def after_batch(self, state: TrainState) -> None:
            if at == "points" and state.fit_step == 3:
                page.broken = RuntimeError("comm closed")

        def after_epoch(self, state: TrainState) -> None:
            page.broken = RuntimeError("comm closed")

    learn.fit(2, cbs=Break())
    assert learn.recorder.n_batches == 12
    out = capsys.readouterr().out
    assert out.count("The live view failed") == 1 and "comm closed" in out
    [table] = page.shown  # the text table goes on in the widget's place
    assert table["text/html"].count("<tr>") == 3


def test_an_error_in_a_training_is_told_and_raised(page: FakePage):
    class Boom(Callback):
        def after_epoch(self, state: TrainState) -> None:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        make_learner().fit(3, cbs=Boom())
    assert page.of("state")[-1]["state"] == "failed" and "ZeroDivisionError" in page.of("state")[-1]["message"]
    assert page.releases == 1 and page.widgets[0].closed


def test_no_bar_is_silent(page: FakePage, capsys: pytest.CaptureFixture[str]):
    learn = make_learner()
    with learn.no_bar():
        learn.fit(1)
    assert not page.widgets and not page.shown and capsys.readouterr().out == ""


def test_without_the_widget_packages_the_text_and_one_hint(page: FakePage, monkeypatch, capsys):
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: None)
    make_learner().fit(1)
    assert not page.widgets and page.shown
    assert capsys.readouterr().out.count("pip install ipywidgets anywidget") == 1


def test_a_kernel_that_cannot_hear_says_so(page: FakePage, monkeypatch):
    monkeypatch.setattr(fastlearn.live.shell.ShellPoll, "why_not", "Clicks cannot reach this kernel.")
    make_learner().fit(1)
    assert page.messages[0]["can_steer"] is False and "Clicks" in page.messages[0]["why_not"]


def test_a_kernel_that_hears_no_more_says_so(page: FakePage, monkeypatch):
    def deafen(state: Any) -> None:
        monkeypatch.setattr(fastlearn.live.shell.ShellPoll, "why_not", "Clicks cannot reach this kernel.")

    learn = make_learner()
    learn.on("after_epoch")(deafen)
    learn.fit(2)
    assert page.messages[0]["can_steer"] and page.of("snapshot")[0]["start"]["why_not"].startswith("Clicks")


def test_the_page_is_told_that_the_kernel_is_busy_after_it_spoke(page: FakePage):
    page.click({"do": "hello"}, lambda page: len(losses_on(page)) >= 2)
    make_learner().fit(1)
    assert page.busy == 1


def test_nan_becomes_null(page: FakePage):
    class Nan(Callback):
        def after_validate(self, state: TrainState) -> None:
            state.values["accuracy"] = float("nan")

    make_learner().fit(1, cbs=Nan())
    assert page.of("epochs")[0]["rows"][0]["row"]["accuracy"] is None


def test_outside_a_notebook_the_text_forms_are_as_ever(capsys: pytest.CaptureFixture[str]):
    make_learner().fit(2)
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["epoch", "0"], ["epoch", "1"]]


def at(event: str, deed: Callable[[TrainState], None]) -> Callback:
    """A callback that does something the first time that `event` comes."""
    todo = [deed]

    class Once(Callback):
        order = 44

    def once(self: Once, state: TrainState) -> None:
        if todo:
            todo.pop()(state)

    setattr(Once, event, once)
    return Once()


def is_paused(page: FakePage) -> bool:
    return any(state["state"] == "paused" for state in page.of("state"))


@pytest.mark.parametrize("how", ["closed", "deaf"])
def test_a_pause_that_nobody_can_end_ends_by_itself(page: FakePage, monkeypatch, capsys, how: str):
    def lose(page: FakePage) -> bool:
        if is_paused(page):
            if how == "closed":
                page.widgets[-1].close()
            else:
                monkeypatch.setattr(fastlearn.live.shell.ShellPoll, "why_not", "Clicks cannot reach this kernel.")
        return is_paused(page)

    learn = make_learner()
    page.click({"do": "pause"}, lambda page: len(losses_on(page)) >= 2)
    page.click({"do": "resume"}, lambda page: lose(page) and False)
    learn.fit(1)
    assert learn.recorder.n_batches == 6
    assert capsys.readouterr().out.count("the training goes on") == {"closed": 2, "deaf": 1}[how]


def test_a_widget_that_the_user_closes_becomes_a_table(page: FakePage, capsys):
    learn = make_learner()
    learn.fit(2, cbs=at("after_epoch", lambda state: page.widgets[-1].close()))
    assert capsys.readouterr().out.count("its widget was closed") == 1
    [table] = page.shown
    assert table["text/html"].count("<tr>") == 3
    learn.fit(1)
    assert "image/png" in page.shown[1]


def test_a_huge_and_a_tiny_rate_get_a_sentence(page: FakePage):
    learn = make_learner()
    for value in ("1e300", "1e-300", 10**400):
        page.click({"do": "lr", "value": value}, lambda page: len(losses_on(page)) >= 2)
    page.click({"do": "lr", "value": "x" * 10_000}, lambda page: len(losses_on(page)) >= 2)
    learn.fit(1)
    notices = [notice["message"] for notice in page.of("notice")]
    assert len(notices) == 4 and all("ignored" in notice and len(notice) < 150 for notice in notices)
    assert not learn.recorder.interventions and torch.isfinite(next(learn.model.parameters())).all()


@pytest.mark.parametrize("inner", ["same", "other", "lr_find", "fine_tune"])
def test_a_fit_inside_a_fit_leaves_no_widget_open(page: FakePage, inner: str):
    learn, other = make_learner(), make_learner()
    deeds: dict[str, Callable[[TrainState], Any]] = {
        "same": lambda state: learn.fit(1),
        "other": lambda state: other.fit(1),
        "lr_find": lambda state: learn.lr_find(show_plot=False),
        "fine_tune": lambda state: other.fine_tune(1),
    }
    learn.fit(3, cbs=at("after_epoch", deeds[inner]))
    assert all(widget.closed for widget in page.widgets)
    assert len(page.widgets) == (1 if inner == "lr_find" else 2)
    tables = [shown["text/html"].count("<tr>") for shown in page.shown if shown.get("text/html")]
    assert max(tables) >= 3


def test_a_learning_rate_search_in_the_middle_changes_nothing_on_the_chart(page: FakePage):
    learn = make_learner()
    learn.fit(3, cbs=at("after_epoch", lambda state: learn.lr_find(show_plot=False)))
    assert losses_on(page) == pytest.approx(learn.recorder.raw_losses) and learn.recorder.n_batches == 18
    assert page.of("state")[-1]["state"] == "ended"


def fail(state: TrainState) -> None:
    raise ZeroDivisionError("mine")


@pytest.mark.parametrize("event", ["before_fit", "before_batch", "after_batch", "after_validate", "after_fit"])
def test_an_error_of_a_user_in_any_event(page: FakePage, event: str):
    learn = make_learner()
    learn.fit(1)
    shown = list(page.shown)
    with pytest.raises(ZeroDivisionError, match="mine"):
        learn.fit(1, cbs=at(event, fail))
    assert page.shown[: len(shown)] == shown  # what the fit before it left stays
    assert all(widget.closed for widget in page.widgets)
    learn.fit(1)
    assert "image/png" in page.shown[-2]


def test_an_error_before_the_last_part_leaves_the_chart_when_the_cell_ends(page: FakePage, monkeypatch):
    ends: list[Callable[[Any], None]] = []
    monkeypatch.setattr(
        view, "_at_cell_end", lambda function, wanted: ends.append(function) if wanted else ends.remove(function)
    )
    learn = make_learner()
    monkeypatch.setattr(learn, "unfreeze", lambda: fail(None))  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        learn.fine_tune(1)
    assert not page.widgets[0].closed
    [end] = ends
    end(None)
    assert page.widgets[0].closed and "image/png" in page.shown[0] and not ends
    assert "Ended before its last part" in page.shown[1]["text/plain"]


def test_a_cell_that_ends_while_the_fit_runs_is_another_one(page: FakePage, monkeypatch):
    ends: list[Callable[[Any], None]] = []
    monkeypatch.setattr(view, "_at_cell_end", lambda function, wanted: ends.append(function) if wanted else None)
    make_learner().fit(2, cbs=at("after_epoch", lambda state: ends[0](None)))
    assert page.of("state")[-1]["state"] == "ended"


def test_of_two_bars_the_last_one_shows(page: FakePage):
    make_learner().fit(1, cbs=ProgressCallback())
    assert not page.widgets and len(page.shown) == 1
    make_learner().fit(1, cbs=Dashboard())
    make_learner(cbs=[ProgressCallback(), Dashboard()]).fit(1)
    assert len(page.widgets) == 2 and len(page.shown) == 5


def test_the_dashboard_can_be_removed(page: FakePage, capsys):
    make_learner().remove_cb(Dashboard).fit(1)
    assert not page.shown and capsys.readouterr().out == ""


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_a_dashboard_begins_anew(page: FakePage, monkeypatch, copied: Any):
    learn = make_learner()
    learn.fit(1)
    learn.cbs[0]._shell.socket = threading.Lock()  # type: ignore[attr-defined]
    learn.cbs[0] = copied(learn.cbs[0])
    learn.fit(1)
    assert len(page.widgets) == 2 and all(widget.closed for widget in page.widgets)


def test_a_learner_can_be_copied_in_the_middle(page: FakePage):
    copies: list[Any] = []
    learn = make_learner()
    learn.fit(2, cbs=at("after_epoch", lambda state: copies.append(copy.deepcopy(learn.cbs[0]))))
    assert copies[0]._view is None and copies[0]._state is None


def press(*_: Any) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch):
    """Python's own handler, also where the tests run in the background of a shell, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupt_while_the_picture_is_drawn(page: FakePage, monkeypatch, ctrl_c, presses: int):
    draw = view.still_png
    monkeypatch.setattr(view, "still_png", lambda *args: (press(), draw(*args))[1])
    learn = make_learner()
    with pytest.raises(KeyboardInterrupt) as caught:
        learn.fit(2, cbs=at("after_batch", press) if presses == 2 else None)
    assert page.widgets[0].closed and "image/png" in page.shown[0]
    assert getattr(caught.value, "__notes__", []) == []
    monkeypatch.setattr(view, "still_png", draw)
    learn.fit(1)
    assert learn.recorder.n_batches == 6


def test_packages_that_are_hidden_are_missing_and_one_hint_is_enough(page: FakePage, monkeypatch, capsys):
    def hide(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", hide)
    learn = make_learner()
    learn.fit(1)
    learn.fit(1)
    assert len(page.shown) == 2 and capsys.readouterr().out.count("pip install") == 1


def test_a_fault_of_many_lines_is_said_in_one(page: FakePage, capsys):
    page.broken = RuntimeError("one\n  two\nthree")
    make_learner().fit(1)
    assert "(RuntimeError: one two three)" in capsys.readouterr().out


def test_a_batch_that_is_not_due_asks_the_clock_once(page: FakePage, monkeypatch):
    monkeypatch.setattr(dashboard, "_POLL_S", 1e9)
    monkeypatch.setattr(progress, "_REDRAW_S", 1e9)
    polls: list[int] = []
    monkeypatch.setattr(fastlearn.live.shell.ShellPoll, "poll", lambda self: polls.append(1))
    learn = make_learner()
    learn.fit(3)
    assert polls == [] and learn.recorder.n_batches == 18
