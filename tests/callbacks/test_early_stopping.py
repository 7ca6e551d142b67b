"""A fit that ends when nothing gets better."""

from __future__ import annotations

import math

import pytest
from monitored import run

from fastlearn.callbacks.early_stopping import EarlyStoppingCallback


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
