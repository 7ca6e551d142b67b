"""The learner of notebooks: the core's, with a dashboard, and with a picker where the search's line was."""

from __future__ import annotations

from typing import Any

import IPython.display
import pytest
import torch
from torch import nn

from fastlearn import learner as core
from fastlearn.callbacks import progress
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.live import dashboard, picker
from fastlearn.live.dashboard import Dashboard
from fastlearn.live.learner import Learner


def make_learner(**options: Any) -> Learner:
    rng = torch.Generator().manual_seed(0)
    batches = [(torch.randn(8, 4, generator=rng), torch.randint(3, (8,), generator=rng)) for _ in range(20)]
    torch.manual_seed(1)
    return Learner(DataLoaders(batches, batches[:3], device="cpu"), nn.Linear(4, 3), nn.CrossEntropyLoss(), **options)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The outputs of a notebook's cell, as they are in the end."""
    shown: list[Any] = []

    class Handle:
        def __init__(self, place: int) -> None:
            self.place = place

        def update(self, bundle: Any, raw: bool = False) -> None:
            shown[self.place] = bundle

    def display(bundle: Any, raw: bool = False, display_id: bool = False) -> Any:
        shown.append(bundle)
        return Handle(len(shown) - 1)

    monkeypatch.setattr(IPython.display, "display", display)
    for module in (progress, dashboard, picker):
        monkeypatch.setattr(module, "in_notebook", lambda: True)
    return shown


def test_the_dashboard_is_its_bar_and_takes_no_other_part():
    learn = make_learner()
    assert [type(callback) for callback in learn.cbs][0] is Dashboard
    assert [callback for callback in learn.cbs if getattr(callback, "is_bar", False)] == [learn.cbs[0]]
    assert not any(isinstance(callback, Dashboard) for callback in make_learner(default_cbs=False).cbs)
    assert Learner.__doc__ == core.Learner.__doc__


def test_a_search_leaves_the_picker_and_a_picture_and_no_empty_output(outputs: list[Any]):
    found = make_learner().lr_find()
    place, still = outputs
    assert (
        place["text/plain"] == f"Suggested learning rates: valley {found.valley:.2e}." and "<div" in place["text/html"]
    )
    assert set(still) == {"image/png", "text/plain"}


def test_each_search_has_outputs_of_its_own(outputs: list[Any]):
    learn = make_learner()
    learn.lr_find()
    before = list(outputs)
    learn.lr_find()
    assert outputs[:2] == before and len(outputs) == 4
    with learn.no_bar():
        learn.lr_find()
    assert outputs[:2] == before and len(outputs) == 6


def test_without_a_plot_nothing_stays_to_be_seen_and_nothing_is_put_there_later(outputs: list[Any]):
    learn = make_learner()
    found = learn.lr_find(show_plot=False)
    assert outputs == [{"text/plain": "", "text/html": ""}] and found.valley > 0
    with learn.no_bar():
        learn.lr_find()
    assert outputs[0]["text/plain"] == "" and len(outputs) == 3


def test_a_pick_is_the_rate_of_the_next_training(outputs: list[Any], monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []
    make = picker._Picker
    monkeypatch.setattr(picker, "_Picker", lambda *args: made.append(make(*args)) or made[-1])
    learn = make_learner(lr=1e-3)
    found = learn.lr_find()
    assert learn.lr == 1e-3 and found.lr == found.valley  # nothing was picked yet
    made[0].pick(0.02)
    assert learn.lr == learn.picked_lr == found.lr == 0.02
    learn.fit_one_cycle(1)
    assert max(learn.recorder.lrs) == pytest.approx(0.02, rel=0.05)


def test_outside_a_notebook_there_are_the_suggestions_alone(capsys: pytest.CaptureFixture[str]):
    found = make_learner().lr_find()
    assert found._fields == ("valley",) and capsys.readouterr().out == ""
