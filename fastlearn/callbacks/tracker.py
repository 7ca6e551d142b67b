"""What early stopping, save-best and reduce-on-plateau share: is this epoch better than the best one so far?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlearn.errors import ConfigError, near
from fastlearn.options import checked_flag, checked_function, checked_number, found, named_options
from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

Compare = Callable[[float, float], Any]

# Metrics whose name says neither loss nor error, and of which less is better all the same.
_LESS_IS_BETTER = frozenset({"mse", "rmse", "mae", "msle", "exp_rmspe", "perplexity", "brier_score"})


class TrackerCallback(Callback):
    """Follows one value of the epochs' table and knows the best so far; the base of callbacks that act on it.

    `monitor` is `train_loss`, `valid_loss` or the name of a metric. `comp(new, best)` says whether `new` is better:
    `np.less` by default for losses, errors and the usual regression metrics (mse, rmse, mae…), `np.greater` for others.
    An improvement must exceed `min_delta`. NaN is never better. `reset_on_fit` forgets the best when a fit begins
    (a resumed fit goes on). Raises ConfigError in `before_fit` when the fit has no such value.
    """

    order = 50

    @named_options
    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Compare | None = None,
        min_delta: float = 0.0,
        reset_on_fit: bool = True,
    ) -> None:
        if not isinstance(monitor, str):
            raise ConfigError(f"monitor is a name such as 'valid_loss' or 'accuracy', not {found(monitor)}.")
        if not 0 <= checked_number(min_delta, "min_delta", 0.001) < math.inf:
            raise ConfigError(f"min_delta={min_delta} must be a number from 0: the least change that counts as better.")
        self.monitor, self.min_delta = monitor, float(min_delta)
        self.reset_on_fit = checked_flag(reset_on_fit, "reset_on_fit")
        self.comp: Compare = np.less if less_is_better(monitor) else np.greater
        if comp is not None:
            self.comp = checked_function(comp, "comp")
        self._sign = _direction(self.comp)
        self.best, self.best_epoch, self.new_best = self._sign * math.inf, -1, False

    def before_fit(self, state: TrainState) -> None:
        _check_monitor(self, state)
        if self.reset_on_fit and not state.goes_on:
            self.best, self.best_epoch, self.new_best = self._sign * math.inf, -1, False

    def after_epoch(self, state: TrainState) -> None:
        value = float(state.values[self.monitor])
        self.new_best = not math.isnan(value) and bool(self.comp(value + self._sign * self.min_delta, self.best))
        if self.new_best:
            self.best, self.best_epoch = value, finished_epoch(state)

    def state_dict(self) -> dict[str, Any]:
        # Infinity, the best before the first epoch, is no JSON number.
        return {"best": self.best if math.isfinite(self.best) else None, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = self._sign * math.inf if state["best"] is None else float(state["best"])
        self.best_epoch = int(state["best_epoch"])


def _direction(comp: Compare) -> float:
    """1 where less is better, -1 where more is: tried, so that `operator.lt` or a lambda tells it as `np.less` does."""
    try:
        return 1.0 if bool(comp(0.0, 1.0)) else -1.0
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"comp says of two numbers whether the first is better, as np.less does: {why}.") from error


def less_is_better(name: str) -> bool:
    """True for the names of losses, errors and regression metrics, of which less is better."""
    return "loss" in name or "error" in name or name in _LESS_IS_BETTER


def finished_epoch(state: TrainState) -> int:
    """The number that the table gives the epoch just done; by `after_epoch` the counter has moved on."""
    return state.epoch - 1


def check_patience(patience: int) -> int:
    """`patience` when it is a whole number from 1; raises ConfigError otherwise."""
    if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
        raise ConfigError(f"patience={found(patience)} must be a whole number of epochs from 1.")
    return patience


def _check_monitor(tracker: TrackerCallback, state: TrainState) -> None:
    plan = state.plan
    names = ["train_loss"]
    if plan.valid is not None:
        names += ["valid_loss", *(metric.name for metric in plan.metrics)]
    if tracker.monitor in names:
        return
    start = f"{type(tracker).__name__} cannot monitor {tracker.monitor!r}:"
    if plan.valid is None:
        raise ConfigError(f"{start} there is no validation set. Give one, or monitor 'train_loss'.")
    hint = near(tracker.monitor, names) or " A metric must be given to the learner first: metrics=…"
    raise ConfigError(f"{start} this fit has {', '.join(map(repr, names))}.{hint}")
