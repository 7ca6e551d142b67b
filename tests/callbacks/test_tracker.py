"""The best value of a fit, and which way is better."""

from __future__ import annotations

import math

import numpy as np
import pytest
from callback_fits import fit
from monitored import TRAIN, run
from torch import nn

from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.save_best import SaveModelCallback
from fastlearn.callbacks.tracker import TrackerCallback
from fastlearn.errors import ConfigError


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
