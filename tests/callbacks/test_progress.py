from __future__ import annotations

import io
import re
import sys
import time
from typing import Any

import IPython.display
import pytest
from callback_fits import Batches, FakeMetric, batches, fit
from torch import nn

from fastlearn.callbacks import progress
from fastlearn.callbacks.progress import ProgressCallback
from fastlearn.errors import ConfigError
from fastlearn.runtime.say import say
from fastlearn.training.callback import Callback
from fastlearn.training.lr_find import LRFinder
from fastlearn.training.recorder import Recorder
from fastlearn.training.state import TrainState

TRAIN, VALID = batches([4] * 4), batches([4] * 2, seed=1)


def run(
    bar: ProgressCallback, *others: Callback, n_epochs: int = 2, train: Batches = TRAIN, **kwargs: Any
) -> TrainState:
    kwargs = {"valid": VALID, "n_epochs": n_epochs, "metrics": (FakeMetric(),)} | kwargs
    return fit(nn.Linear(3, 1), train, [bar, *others], **kwargs)


@pytest.fixture
def each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw at every batch."""
    monkeypatch.setattr(progress, "_REDRAW_S", 0.0)


def test_a_pipe_gets_one_line_an_epoch(capsys: pytest.CaptureFixture[str], each_batch: None) -> None:
    run(ProgressCallback())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    number = r"\d+\.\d{6}"
    assert re.fullmatch(
        rf"epoch 1 \(2 of 2\)  train_loss {number}  valid_loss {number}  accuracy 0\.500000  time 0\.\d s", lines[1]
    )


def test_a_terminal_gets_a_table_and_a_line_that_goes(capsys: pytest.CaptureFixture[str], each_batch: None) -> None:
    bar, recorder = ProgressCallback(form="terminal"), Recorder()
    run(bar, n_epochs=1, recorder=recorder)
    recorder.continue_story(True)
    run(bar, recorder=recorder)
    out = capsys.readouterr().out
    assert out.count("train_loss") == 1
    assert [int(row) for row in re.findall(r"^ +(\d)  +\d+\.\d{6}", out.replace("\r", "\n"), re.M)] == [0, 1, 2]
    assert re.search(r"epoch 2 \(2 of 2\) \S+ +\d+% · loss \d+\.\d+ · 0:00 left", out)
    assert "validating" in out
    assert out.split("\r")[-1].strip() == ""  # the line is gone


def test_a_new_fit_gets_a_header_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressCallback(form="terminal")
    run(bar, recorder=(recorder := Recorder()))
    run(bar, recorder=recorder)
    assert capsys.readouterr().out.count("train_loss") == 2


class Page:
    """Stands in for the notebook's front end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[dict[str, str]] = []
        self.displays = 0
        monkeypatch.setattr(IPython.display, "display", self.display)

    def display(self, bundle: dict[str, str], raw: bool, display_id: bool) -> Page:
        self.displays += 1
        return self.update(bundle, raw)

    def update(self, bundle: dict[str, str], raw: bool) -> Page:
        self.shown.append(bundle)
        return self


def test_a_notebook_gets_one_table_for_all_phases(monkeypatch: pytest.MonkeyPatch, each_batch: None) -> None:
    page, bar, recorder = Page(monkeypatch), ProgressCallback(form="notebook"), Recorder()
    run(bar, n_epochs=1, recorder=recorder)
    recorder.continue_story(True)
    run(bar, recorder=recorder)
    assert page.displays == 1
    assert any("loss 0." in bundle["text/plain"] or "loss 1." in bundle["text/plain"] for bundle in page.shown)
    assert any("<progress" in bundle["text/html"] for bundle in page.shown)
    last = page.shown[-1]
    assert [line.split()[0] for line in last["text/plain"].splitlines()] == ["epoch", "0", "1", "2"]
    assert last["text/html"].count("<tr>") == 4
    assert "<progress" not in last["text/html"]


def test_a_learning_rate_search_shows_a_line_that_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], each_batch: None
) -> None:
    page = Page(monkeypatch)
    for form in ("notebook", "terminal", "lines"):
        run(ProgressCallback(form=form), LRFinder(5), valid=None)  # type: ignore[arg-type]
    assert page.displays == 1 and "lr_find · 60% · loss" in page.shown[3]["text/plain"]
    assert not any("<table" in bundle["text/html"] for bundle in page.shown)
    assert page.shown[-1] == {"text/html": "", "text/plain": ""}
    out = capsys.readouterr().out
    assert "lr_find" in out and "train_loss" not in out and out.split("\r")[-1].strip() == ""


def test_a_notebook_says_how_a_fit_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Callback):
        def after_batch(self, state: TrainState) -> None:
            if state.fit_epoch == 1:
                raise KeyboardInterrupt

    page = Page(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(ProgressCallback(form="notebook"), Stop())
    assert page.shown[-1]["text/plain"].endswith("interrupted after 1 of 2 epochs")


def test_no_more_than_four_drawings_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Callback):
        def after_batch(self, state: TrainState) -> None:
            time.sleep(0.01)

    page = Page(monkeypatch)
    started = time.perf_counter()
    run(ProgressCallback(form="notebook"), Slow(), n_epochs=1, train=batches([2] * 60))
    assert 2 <= len(page.shown) - 3 <= 4 * (time.perf_counter() - started) + 1  # besides start, epoch and end


@pytest.mark.parametrize("form", ["lines", "terminal"])
@pytest.mark.parametrize("error", [BrokenPipeError, ValueError("I/O operation on closed file")])
def test_an_output_that_breaks_does_not_stop_training(
    form: Any, error: Any, monkeypatch: pytest.MonkeyPatch, each_batch: None
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stdout", Broken())
    state = run(ProgressCallback(form=form))
    say("more")
    assert len(state.recorder.epochs) == 2


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    run(ProgressCallback(visible=False))
    run(ProgressCallback(), n_epochs=0)
    assert capsys.readouterr().out == ""
    with pytest.raises(ConfigError, match="form='html'"):
        ProgressCallback(form="html")  # type: ignore[arg-type]


def test_a_thousand_short_epochs_are_not_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    monkeypatch.setattr(progress, "_REDRAW_S", 1e9)
    run(ProgressCallback(form="notebook"), n_epochs=200, train=batches([2]))
    assert len(page.shown) == 3  # the start, the first epoch, the end
    assert page.shown[-1]["text/html"].count("<tr>") == 62


def test_a_fit_that_fails_at_once_leaves_the_table_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fail(Callback):
        def before_fit(self, state: TrainState) -> None:
            raise ZeroDivisionError

    page, bar = Page(monkeypatch), ProgressCallback(form="notebook")
    run(bar)
    n_shown = len(page.shown)
    with pytest.raises(ZeroDivisionError):
        run(bar, Fail())
    assert len(page.shown) == n_shown


def test_the_last_of_several_shows(capsys: pytest.CaptureFixture[str]) -> None:
    run(ProgressCallback(form="lines"), ProgressCallback(form="lines"))
    assert len(capsys.readouterr().out.splitlines()) == 2
    run(ProgressCallback(form="lines"), ProgressCallback(visible=False))
    assert capsys.readouterr().out == ""
