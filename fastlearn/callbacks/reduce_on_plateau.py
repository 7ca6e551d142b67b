"""Lower the learning rate when a value no longer gets better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastlearn.callbacks.tracker import Compare, TrackerCallback, check_patience, finished_epoch
from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, named_options
from fastlearn.runtime.say import say
from fastlearn.training.hypers import get_hypers, set_hypers

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


class ReduceLROnPlateau(TrackerCallback):
    """Divides the learning rate by `factor` when `monitor` has not improved for `patience` epochs.

    The schedule sets the rate before each batch; this callback then multiplies it by what it has come to (1, 1/factor,
    1/factor²…), so it works with any schedule, a constant one included. No rate falls below `min_lr` by it; a rate that
    the schedule itself set lower stays. Each fit starts again at the full rate.

    >>> learn.fit(20, cbs=ReduceLROnPlateau(patience=2))
    """

    needs_inputs = False

    @named_options
    def __init__(
        self, monitor: str = "valid_loss", comp: Compare | None = None, min_delta: float = 0.0, patience: int = 1,
        factor: float = 10.0, min_lr: float = 0.0, reset_on_fit: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        if not 1 < checked_number(factor, "factor", 10) < math.inf:
            raise ConfigError(f"factor={factor} would not lower the rate, which it divides: give a number above 1.")
        if not 0 <= checked_number(min_lr, "min_lr", 1e-6) < math.inf:
            raise ConfigError(f"min_lr={min_lr} must be a number from 0.")
        self.patience, self.factor, self.min_lr = check_patience(patience), float(factor), float(min_lr)
        self.wait, self.scale = 0, 1.0
        self._unscheduled: list[float] | None = None

    def before_fit(self, state: TrainState) -> None:
        super().before_fit(state)
        if not state.goes_on:
            self.wait, self.scale = 0, 1.0
        # Without a schedule nobody sets the rate anew, and ours would be multiplied again and again.
        self._unscheduled = None if state.plan.schedule is not None else get_hypers(state.optimizer)["lr"]

    def before_batch(self, state: TrainState) -> None:
        if self.scale == 1.0 or not state.training:
            return
        rates = get_hypers(state.optimizer)["lr"] if self._unscheduled is None else self._unscheduled
        set_hypers(state.optimizer, lr=[max(rate * self.scale, min(rate, self.min_lr)) for rate in rates])

    def after_epoch(self, state: TrainState) -> None:
        super().after_epoch(state)
        self.wait = 0 if self.new_best else self.wait + 1
        if self.wait >= self.patience:
            self.wait, self.scale = 0, self.scale / self.factor
            why = f"No improvement of {self.monitor} in epoch {finished_epoch(state)}"
            say(f"{why}: learning rate times {self.scale:.3g} from here.")

    def after_fit(self, state: TrainState) -> None:
        if self._unscheduled is not None:
            set_hypers(state.optimizer, lr=self._unscheduled)
            self._unscheduled = None

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"wait": self.wait, "scale": self.scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.wait, self.scale = int(state["wait"]), float(state["scale"])
