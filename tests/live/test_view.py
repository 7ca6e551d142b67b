"""What the view tells the page, driven by a fit alone; how wishes are carried out is the dashboard's matter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import IPython.display
import numpy as np
import pytest
import torch
from torch import nn

import fastlearn.live.widget
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.learner import Learner
from fastlearn.live import view
from fastlearn.live.view import DashboardView
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState
from fastlearn.training.steering import Steering

STEPS = 4


class Widget:
    """Collects what is sent."""

    def __init__(self, title: str, on_wish: Any) -> None:
        self.title, self.on_wish, self.ended, self.is_closed = title, on_wish, False, False
        self.messages: list[tuple[dict[str, Any], Any]] = []

    def send(self, content: dict[str, Any], buffers: Any = None) -> None:
        self.messages.append((content, buffers))

    def close(self) -> None:
        self.is_closed = True

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [content for content, _ in self.messages if content["kind"] == kind]


class Driver(Callback):
    """Tells a view of each event; `at` holds what is done after the batch of a step."""

    order = 60

    def __init__(self, view: DashboardView, at: dict[int, Any] | None = None) -> None:
        self.view, self.at = view, at or {}

    def before_fit(self, state: TrainState) -> None:
        self.view.start(state, 0.0)

    def after_batch(self, state: TrainState) -> None:
        if state.training and state.fit_step in self.at:
            self.at[state.fit_step](state)
        self.view.batch(state, 0.0)

    def after_epoch(self, state: TrainState) -> None:
        self.view.epoch(state, 0.0)

    def after_fit(self, state: TrainState) -> None:
        self.view.end(state, 0.0)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed; what the first of it became is put in its place."""
    outputs: list[Any] = []

    def display(what: Any, **options: Any) -> Any:
        outputs.append(what)
        place = len(outputs) - 1
        return SimpleNamespace(update=lambda bundle, **options: outputs.__setitem__(place, bundle))

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(fastlearn.live.widget, "DashboardWidget", Widget)
    monkeypatch.setattr(view, "_FLUSH_S", 0.0)
    return outputs


def fit(driver: Driver, n: int = 2, cbs: Any = ()) -> tuple[Learner, Widget]:
    batches = [(torch.full((2, 1), float(k)), torch.ones(2, 1)) for k in range(STEPS)]
    torch.manual_seed(0)
    dls = DataLoaders(batches, batches[:1], device="cpu")
    learn = Learner(dls, nn.Linear(1, 1), nn.MSELoss(), seed=1, default_cbs=False)
    widgets: list[Any] = []
    opened = driver.view._open

    def open_and_keep(state: TrainState) -> None:
        opened(state)
        widgets.append(driver.view._widget)

    driver.view._open = open_and_keep  # type: ignore[method-assign]
    learn.fit(n, cbs=[driver, *cbs])
    return learn, widgets[0]


def test_the_best_row_is_that_of_the_lowest_validation_loss(shown: list[Any]):
    losses = iter([3.0, 1.0, float("nan"), 2.0])

    class Given(Callback):
        def after_validate(self, state: TrainState) -> None:
            state.values["valid_loss"] = next(losses)

    _, widget = fit(Driver(DashboardView(Steering())), n=4, cbs=[Given()])
    assert [message["best_row"] for message in widget.of("epochs")][-1] == 1
    rows = [row["row"]["valid_loss"] for message in widget.of("epochs") for row in message["rows"]]
    assert rows == [3.0, 1.0, None, 2.0]  # what JSON cannot say is nothing


def test_a_page_that_comes_late_is_told_everything_once(shown: list[Any]):
    live = DashboardView(Steering())
    learn, widget = fit(Driver(live, {6: lambda state: live.wish({"do": "hello"})}))
    [snapshot] = widget.of("snapshot")
    assert snapshot["start"]["kind"] == "start" and len(snapshot["rows"]) == 1 and snapshot["parts_at"] == [0]
    assert snapshot["progress"]["step"] == 7 and snapshot["state"]["state"] == "running"
    known = snapshot["series"]["count"]
    after = [content for content, _ in widget.messages[[c for c, _ in widget.messages].index(snapshot) :]]
    assert known == 7 and [m["first"] for m in after if m["kind"] == "points" and m["n"]] == [7]
    xs = next(buffers[1] for content, buffers in widget.messages if content is snapshot)
    assert np.frombuffer(xs).tolist() == list(range(7))
    assert sum(len(message["rows"]) for message in widget.of("epochs")) == 2


def test_a_wish_is_only_noted():
    steering = Steering()
    live = DashboardView(steering)
    for content in ({"do": "stop"}, {"do": "lr", "factor": 0.5}, {"do": "lr", "value": "1e-3"}):
        live.wish(content)
    assert steering.has_wishes and len(steering._wishes) == 3 and live.heard
    assert live.answer() and not live.answer()  # a page that spoke is answered once


@pytest.mark.parametrize("content", [{}, {"do": None}, {"do": "dance"}])
def test_a_wish_that_nobody_knows_changes_nothing(content: dict[str, Any]):
    steering = Steering()
    DashboardView(steering).wish(content)
    assert not steering.has_wishes


def test_a_rate_that_is_none_becomes_a_notice(shown: list[Any]):
    live = DashboardView(Steering())
    _, widget = fit(Driver(live, {1: lambda state: live.wish({"do": "lr", "value": "quick"})}))
    assert [notice["message"] for notice in widget.of("notice")] == [
        "The learning rate must be a number above 0, such as 3e-4; 'quick' was ignored."
    ]


def test_why_clicks_do_not_arrive_is_shown_in_the_place_of_the_buttons(shown: list[Any]):
    live = DashboardView(Steering(), "No clicks here.")
    _, widget = fit(Driver(live, {1: lambda state: live.cannot_hear("No clicks there.")}))
    assert (widget.of("start")[0]["can_steer"], widget.of("start")[0]["why_not"]) == (False, "No clicks here.")
    assert widget.of("snapshot")[0]["start"]["why_not"] == "No clicks there."


def test_the_end_leaves_a_picture_and_a_table_and_no_widget(shown: list[Any]):
    live = DashboardView(Steering())
    learn, widget = fit(Driver(live))
    assert widget.ended and widget.is_closed and not live.is_open
    picture, table = shown
    assert picture["image/png"].startswith(b"\x89PNG") and picture["text/plain"] == "<chart of fit>"
    assert len(table["text/plain"].splitlines()) == 3 and table["text/html"].count("<tr>") == 3


def test_letting_go_of_a_widget_that_is_broken(shown: list[Any]):
    live = DashboardView(Steering())

    def let_go(state: TrainState) -> None:
        live._widget.close = lambda: 1 / 0
        kept.append(live.let_go())

    kept: list[Any] = []
    fit(Driver(live, {2: let_go}))
    assert not live.is_open and hasattr(kept[0], "update")
    assert not isinstance(shown[0], dict)  # the display is for whoever took it


def ended(**options: Any) -> tuple[str, str]:
    plan = SimpleNamespace(n_steps=10)
    return view._ending(SimpleNamespace(**{"fit_step": 7, "plan": plan, "error": None, "stop": False} | options))  # type: ignore[arg-type]


def test_how_a_training_ended_in_a_sentence():
    assert ended(stop_story=False) == ("ended", "Done.")
    assert ended(stop_story=False, stop=True) == ("ended", "Stopped early after 7 of 10 steps.")
    assert ended(stop_story=True, stop=True) == ("ended", "Stopped by hand after 7 of 10 steps.")
    assert ended(error=KeyboardInterrupt())[0] == "interrupted"
    assert ended(error=ValueError("x")) == ("failed", "Stopped by ValueError after 7 of 10 steps.")
