"""A fit whose validation loss, or metric, is what a test says."""

from __future__ import annotations

from callback_fits import FakeMetric, Sequence, batches, fit
from torch import nn

from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState

TRAIN, VALID = batches([4, 4]), batches([4], seed=1)


def run(values: list[float], *callbacks: Callback, name: str = "valid_loss", **kwargs: object) -> TrainState:
    metrics = (FakeMetric(name),) if name not in ("valid_loss", "train_loss") else ()
    kwargs = {"n_epochs": len(values), "valid": VALID, "metrics": metrics} | kwargs
    return fit(nn.Linear(3, 1), TRAIN, [*callbacks, Sequence(values, name)], **kwargs)  # type: ignore[arg-type]
