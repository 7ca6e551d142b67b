from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from callback_fits import FakeMetric, Sequence, batches, fit
from torch import nn

from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.reduce_on_plateau import ReduceLROnPlateau
from fastlearn.callbacks.save_best import SaveModelCallback
from fastlearn.callbacks.tracker import TrackerCallback
from fastlearn.errors import ConfigError
from fastlearn.training.callback import Callback
from fastlearn.training.checkpoint import read_checkpoint
from fastlearn.training.state import TrainState

TRAIN, VALID = batches([4, 4]), batches([4], seed=1)


def run(values: list[float], *callbacks: Callback, name: str = "valid_loss", **kwargs: object) -> TrainState:
    metrics = (FakeMetric(name),) if name not in ("valid_loss", "train_loss") else ()
    kwargs = {"n_epochs": len(values), "valid": VALID, "metrics": metrics} | kwargs
    return fit(nn.Linear(3, 1), TRAIN, [*callbacks, Sequence(values, name)], **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "patience", "delta", "epochs"),
    [
        ([5, 4, 4, 4, 4], 1, 0.0, 3),
        ([5, 4, 4, 3, 3, 3], 2, 0.0, 6),
        ([5, 4.5, 3.9, 3.5, 2.8], 2, 1.0, 5),
        ([5, 4.9, 4.8, 4.7], 2, 1.0, 3),
        ([math.nan, math.nan, 1, 2], 2, 0.0, 2),
        ([5, math.nan, 4, math.nan], 2, 0.0, 4),
    ],
)
def test_early_stopping_waits(values: list[float], patience: int, delta: float, epochs: int) -> None:
    state = run(values, EarlyStoppingCallback(patience=patience, min_delta=delta))
    assert len(state.recorder.epochs) == epochs


def test_early_stopping_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    run([2, 1, 3, 3], EarlyStoppingCallback(patience=2))
    assert capsys.readouterr().out == "No improvement of valid_loss since epoch 1: stopped after epoch 3.\n"


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [("valid_loss", [3, 1, 2], 1), ("error_rate", [3, 1, 2], 1), ("rmse", [3, 1, 2], 1), ("accuracy", [1, 3, 2], 3)],
)
def test_direction_follows_the_name(name: str, values: list[float], best: float) -> None:
    tracker = TrackerCallback(name)
    run(values, tracker, name=name)
    assert (tracker.best, tracker.best_epoch) == (best, 1)


def test_direction_can_be_given() -> None:
    tracker = TrackerCallback("odd", comp=np.less, min_delta=1.5)
    run([3, 2, 1], tracker, name="odd")
    assert (tracker.best, tracker.best_epoch) == (1, 2)


def test_best_is_forgotten_with_a_new_fit_or_kept() -> None:
    fresh, kept = TrackerCallback(), TrackerCallback(reset_on_fit=False)
    run([1], fresh, kept)
    run([2], fresh, kept)
    assert (fresh.best, kept.best) == (2, 1)


def test_unknown_monitor_is_named_before_training() -> None:
    with pytest.raises(ConfigError, match="cannot monitor 'acuracy'.*'accuracy'.*Did you mean 'accuracy'"):
        run([1], EarlyStoppingCallback("acuracy"), name="accuracy")
    with pytest.raises(ConfigError, match="no validation set"):
        fit(nn.Linear(3, 1), TRAIN, [SaveModelCallback()])
    for make in (lambda: EarlyStoppingCallback(patience=0), lambda: TrackerCallback(min_delta=math.nan)):
        with pytest.raises(ConfigError):
            make()


def test_train_loss_without_validation() -> None:
    tracker = TrackerCallback("train_loss")
    state = fit(nn.Linear(3, 1), TRAIN, [tracker], n_epochs=2)
    assert tracker.best == min(row["train_loss"] for row in state.recorder.epochs)


class Rates(Callback):
    order = 1000

    def __init__(self) -> None:
        self.rates: list[float] = []

    def after_step(self, state: TrainState) -> None:
        self.rates.append(state.optimizer.param_groups[0]["lr"])


class Falling:
    """A schedule: .1, .05, .025… one step an epoch of two batches."""

    def hypers(self, pct: float) -> dict[str, list[float]]:
        return {"lr": [0.1 * 0.5 ** int(pct * 4 + 1e-9)]}


@pytest.mark.parametrize("schedule", [None, Falling()])
def test_plateau_multiplies_what_the_schedule_says(schedule: object) -> None:
    rates, plateau = Rates(), ReduceLROnPlateau(factor=4, min_lr=0.01)
    state = run([1, 2, 2, 0.5], plateau, rates, schedule=schedule)
    base = [0.1] * 4 if schedule is None else [0.1, 0.05, 0.025, 0.0125]
    scales = [1, 1, 1 / 4, 1 / 16]
    wanted = [rate if scale == 1 else max(rate * scale, 0.01) for rate, scale in zip(base, scales, strict=True)]
    assert rates.rates == pytest.approx([rate for rate in wanted for _ in range(2)])
    assert schedule is not None or state.optimizer.param_groups[0]["lr"] == 0.1


def test_plateau_state_goes_on() -> None:
    plateau, other = ReduceLROnPlateau(), ReduceLROnPlateau()
    run([1, 2], plateau)
    other.load_state_dict(plateau.state_dict())
    assert (other.scale, other.wait, other.best) == (0.1, 0, 1)
    with pytest.raises(ConfigError, match="would not lower"):
        ReduceLROnPlateau(factor=0.1)


class Weights(Callback):
    order = 1000

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def after_epoch(self, state: TrainState) -> None:
        self.kept.append(next(state.model.parameters()).detach().clone())


def test_best_weights_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = Weights()
    state = run([3, 1, math.nan, 2], SaveModelCallback(fname="best"), weights, path=tmp_path)
    torch.testing.assert_close(state.model.weight.detach(), weights.kept[1], rtol=0, atol=0)  # type: ignore[union-attr]
    assert "Best epoch: 1, valid_loss 1." in capsys.readouterr().out
    tensors, meta = read_checkpoint(tmp_path / "models/best.safetensors")
    assert torch.equal(tensors["model/weight"], weights.kept[1])
    assert meta["learner"]["epoch"] == 2


def test_every_epoch_and_at_end_keep_the_last_weights(tmp_path: Path) -> None:
    weights = Weights()
    state = run([1, 2, 3], SaveModelCallback(every_epoch=2, at_end=True), weights, path=tmp_path)
    names = sorted(file.name for file in (tmp_path / "models").iterdir())
    assert names == ["model.safetensors", "model_0.safetensors", "model_2.safetensors"]
    assert torch.equal(state.model.weight, weights.kept[2])  # type: ignore[arg-type]


def test_with_opt_brings_the_optimizer_back(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    fit(model, TRAIN, [SaveModelCallback(with_opt=True), Sequence([1, 2])],
        valid=VALID, n_epochs=2, optimizer=optimizer, path=tmp_path)  # fmt: skip
    assert optimizer.state[model.weight]["step"] == 2  # two steps in the best epoch, four in all


def test_an_error_keeps_the_weights_of_the_last_step(tmp_path: Path) -> None:
    class Fail(Callback):
        def after_batch(self, state: TrainState) -> None:
            if state.training and state.step == 3:
                raise KeyboardInterrupt

    weights, model = Weights(), nn.Linear(3, 1)
    with pytest.raises(KeyboardInterrupt):
        callbacks = [SaveModelCallback(), weights, Fail(), Sequence([1, 2])]
        fit(model, TRAIN, callbacks, valid=VALID, n_epochs=2, path=tmp_path)
    assert not torch.equal(model.weight, weights.kept[0])
