"""When checkpoints are made, which stay, and what happens where they cannot be written."""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastlearn.callbacks.checkpoint import Checkpoint, Every, as_every
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.loaders import DataLoader
from fastlearn.errors import CheckpointError, ConfigError
from fastlearn.learner import Learner
from fastlearn.losses import CrossEntropyLossFlat
from fastlearn.metrics import accuracy
from fastlearn.training import runs
from fastlearn.training.callback import Callback
from fastlearn.training.loop import default_step, run_fit
from fastlearn.training.recorder import Recorder
from fastlearn.training.schedule import constant
from fastlearn.training.state import TrainState


def made(folder: Path, valid: bool = True) -> Learner:
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    pairs = list(zip(x, (x[:, 0] > 0).long(), strict=True))
    loaders = [DataLoader(pairs, 8, shuffle=True, seed=1), *([DataLoader(pairs[:8], 8, seed=1)] if valid else [])]
    torch.manual_seed(0)
    options: dict[str, Any] = {"loss_func": CrossEntropyLossFlat(), "seed": 1, "path": folder, "default_cbs": False}
    return Learner(DataLoaders(*loaders), nn.Linear(4, 2), metrics=accuracy if valid else None, **options)


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints there, the oldest first."""
    return [int(path.name.partition("-step")[2]) for path in reversed(runs.names_in(folder / "models" / "checkpoints"))]


@pytest.mark.parametrize(
    ("every", "meant"),
    [
        ("epoch", Every(epoch=True)),
        (500, Every(steps=500)),
        ("10 minutes", Every(seconds=600)),
        ("1 hour", Every(seconds=3600)),
        ("2.5 seconds", Every(seconds=2.5)),
        (timedelta(minutes=1), Every(seconds=60)),
    ],
)
def test_how_often_may_be_said_in_several_ways(every: Any, meant: Every) -> None:
    assert as_every(every) == meant


@pytest.mark.parametrize("every", [0, -3, True, None, "epochs", "10", "ten minutes", "0 seconds", 0.5, timedelta(0)])
def test_other_ways_are_refused(every: Any) -> None:
    with pytest.raises(ConfigError, match="every is 'epoch', a number of steps such as 500, or a time such as"):
        Checkpoint(every=every)


def test_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep=0 would keep no checkpoint; 2 is usual"):
        Checkpoint(keep=0)
    with pytest.raises(ConfigError, match="best is a name such as 'valid_loss'"):
        Checkpoint(best=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="this fit has 'train_loss', 'valid_loss', 'accuracy'. Did you mean 'acc"):
        made(tmp_path).fit(1, cbs=Checkpoint(best="acuracy"))
    made(tmp_path, valid=False).fit(1, cbs=Checkpoint())  # nothing to choose the best by
    assert steps(tmp_path) == [5]


@pytest.mark.parametrize("background", [True, False])
def test_by_epochs_and_by_steps(tmp_path: Path, background: bool) -> None:
    made(tmp_path / "a").fit(3, cbs=Checkpoint(keep=9, background=background))
    assert steps(tmp_path / "a") == [5, 10, 15, 15]  # the best epoch, which here is the last, and the end
    made(tmp_path / "b").fit(2, cbs=Checkpoint(every=4, keep=9, background=background))
    assert steps(tmp_path / "b") == [4, 5, 8, 10, 10]
    found = [runs.read_manifest(path) for path in reversed(runs.names_in(tmp_path / "b/models/checkpoints"))]
    assert [one.finished for one in found] == [False, False, False, False, True]
    assert [one.score is not None for one in found] == [False, True, False, True, False]


def test_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr("fastlearn.callbacks.checkpoint.time.monotonic", lambda: next(now))
    made(tmp_path).fit(2, cbs=Checkpoint(every="25 seconds", keep=9))
    assert steps(tmp_path)[-1] == 10 and 3 <= len(steps(tmp_path)) < 8


def test_the_best_by_a_metric_stays(tmp_path: Path) -> None:
    class Score(Callback):
        def after_validate(self, state: TrainState) -> None:
            state.values["accuracy"] = [0.2, 0.9, 0.4, 0.5][state.fit_epoch]

    made(tmp_path).fit(4, cbs=[Score(), Checkpoint(keep=1, best="accuracy")])
    assert steps(tmp_path) == [10, 20]


def test_a_full_disk_is_told_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, calls = runs.write_run, []

    def full_twice(path: Path, *args: Any, **options: Any) -> Path:
        calls.append(path)
        if 1 < len(calls) < 4:
            raise CheckpointError(f"Cannot write the checkpoint {path}: No space left on device.")
        return write(path, *args, **options)

    monkeypatch.setattr(runs, "write_run", full_twice)
    made(tmp_path).fit(4, cbs=Checkpoint(keep=9))
    assert steps(tmp_path) == [5, 20, 20]
    assert capsys.readouterr().out.count("training goes on meanwhile, and the next checkpoint will be tried.") == 1


def test_where_even_the_last_cannot_be_written_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = made(tmp_path)

    def full(*args: Any, **options: Any) -> Path:
        raise CheckpointError("No space left on device.")

    monkeypatch.setattr(runs, "write_run", full)
    with pytest.raises(CheckpointError, match="No space left"):
        learn.fit(2, cbs=Checkpoint())
    assert learn.epoch == 2 and threading.active_count() < 10


def test_a_folder_that_cannot_be_written_is_told_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    learn = made(tmp_path)
    with pytest.raises(ConfigError, match="Checkpoints cannot be written in .*file"):
        learn.fit(1, cbs=Checkpoint(folder=tmp_path / "file"))
    assert learn.global_step == 0


def test_an_unfinished_training_in_the_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Fail(Callback):
        def after_epoch(self, state: TrainState) -> None:
            if state.fit_epoch == 1:
                raise OSError("power")

    with pytest.raises(OSError, match="power"):
        made(tmp_path).fit(3, cbs=[Checkpoint(), Fail()])
    made(tmp_path).fit(1, cbs=Checkpoint())
    assert "holds an unfinished training (000001-step5)" in capsys.readouterr().out
    made(tmp_path).fit(1, cbs=Checkpoint())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["train", "valid"])
def test_a_signal_makes_one_first(tmp_path: Path, number: signal.Signals, phase: str) -> None:
    class Send(Callback):
        only_watches = True

        def before_batch(self, state: TrainState) -> None:
            if state.fit_epoch == 1 and state.phase == phase and state.batch_index == (2 if state.training else 0):
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as caught:
        made(tmp_path).fit(3, cbs=[Send(), Checkpoint()])
    assert getattr(caught.value, "code", 143) == 143 and signal.getsignal(number) is before
    newest = runs.read_run(runs.names_in(tmp_path / "models/checkpoints")[0])
    position = newest.state["position"]
    assert (position["fit_epoch"], position["batch"]) == (1, 3 if phase == "train" else 5)
    straight, again = made(tmp_path / "straight"), made(tmp_path)
    straight.fit(3)
    again.fit(3, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), straight.model.parameters(), strict=True))


def test_without_a_learner_s_own_call_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    learn = made(tmp_path)
    state = learn._state(learn._plan(1, constant([1e-3])), [Checkpoint()], Recorder())
    with pytest.raises(ConfigError, match="a learner's own methods"):
        run_fit(state, default_step)
