"""The best value of a fit, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from callback_fits import fit
from monitored import TRAIN, run
from torch import nn

from fastlearn.callbacks.early_stopping import EarlyStoppingCallback
from fastlearn.callbacks.reduce_on_plateau import ReduceLROnPlateau
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrackerCallback(3), "monitor is a name such as 'valid_loss' or 'accuracy', not 3"),
        (lambda: TrackerCallback(comp="less"), "comp is a function, not 'less'"),
        (lambda: TrackerCallback(comp=abs), "comp says of two numbers whether the first is better, as np.less does"),
        (lambda: TrackerCallback(min_delta="x"), "min_delta is a number such as 0.001, not 'x'"),
        (lambda: TrackerCallback(min_delta=math.nan), "min_delta=nan must be a number from 0"),
        (lambda: TrackerCallback(reset_on_fit="no"), "reset_on_fit is True or False, not 'no'"),
        (lambda: EarlyStoppingCallback(patience=0), "patience=0 must be a whole number of epochs from 1"),
        (lambda: SaveModelCallback(every_epoch="x"), "every_epoch='x' must be True, False or a number"),
        (lambda: SaveModelCallback(fname=3), "fname is 3; give a name for the file"),
        (lambda: SaveModelCallback(at_end="x"), "at_end is True or False, not 'x'"),
        (lambda: ReduceLROnPlateau(factor="x"), "factor is a number such as 10, not 'x'"),
        (lambda: ReduceLROnPlateau(min_lr=math.inf), "min_lr=inf must be a number from 0"),
    ],
)
def test_options_that_cannot_work(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_train_loss_without_validation() -> None:
    tracker = TrackerCallback("train_loss")
    state = fit(nn.Linear(3, 1), TRAIN, [tracker], n_epochs=2)
    assert tracker.best == min(row["train_loss"] for row in state.recorder.epochs)
