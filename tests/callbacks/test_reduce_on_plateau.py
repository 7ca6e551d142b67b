"""A learning rate that falls when nothing gets better."""

from __future__ import annotations

import pytest
from monitored import run

from fastlearn.callbacks.reduce_on_plateau import ReduceLROnPlateau
from fastlearn.errors import ConfigError
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState


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
