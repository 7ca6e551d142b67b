"""The learning-rate finder: a short training with a rising rate, after which nothing has changed.

Smith (2017), "Cyclical learning rates for training neural networks", with fast.ai's exponential rise and stopping rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastlearn.errors import ConfigError
from fastlearn.training.callback import Callback
from fastlearn.training.lr_suggest import Suggestion
from fastlearn.training.state import TrainState

MIN_STEPS = 8  # suggestions leave out the last five, and need three
_BETA = 0.98


@dataclass
class LRFinderResult:
    """The curve of a learning-rate search: rates, raw and smoothed losses, and the suggestions by name."""

    lrs: list[float] = field(default_factory=list)
    raw_losses: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    suggestions: dict[str, Suggestion] = field(default_factory=dict)
    num_it: int = 100
    stopped: str = ""


@dataclass(frozen=True)
class RisingRate:
    """lr_i = start·(end/start)^(i/num_it) for the last group; `shape` is each group's rate over the last one's.

    The position counts to the end of the last epoch, which may lie `stretch` times as far as `num_it` steps.
    """

    start_lr: float
    end_lr: float
    stretch: float
    shape: tuple[float, ...]

    def hypers(self, pct: float) -> dict[str, list[float]]:
        """The rates of all groups at the fraction `pct` of the planned steps."""
        lr = self.start_lr * (self.end_lr / self.start_lr) ** (pct * self.stretch)
        return {"lr": [lr * factor for factor in self.shape]}


class LRFinder(Callback):
    """Collects the curve and stops the fit when the loss diverges (above four times the best smoothed loss)."""

    in_lr_find = True
    order = 50

    def __init__(self, num_it: int, stop_div: bool = True) -> None:
        self.result = LRFinderResult(num_it=num_it)
        self.num_it, self.stop_div = num_it, stop_div
        self._best, self._average = math.inf, 0.0

    def after_batch(self, state: TrainState) -> None:
        if not state.training:
            return
        loss = float(state.loss.detach()) if state.loss is not None else math.nan
        result = self.result
        self._average = _BETA * self._average + (1 - _BETA) * loss
        smooth = self._average / (1 - _BETA ** (len(result.losses) + 1))
        result.lrs.append(state.optimizer.param_groups[-1]["lr"])
        result.raw_losses.append(loss)
        result.losses.append(smooth)
        self._best = min(self._best, smooth) if math.isfinite(smooth) else self._best
        if not math.isfinite(smooth):
            result.stopped = "the loss was no longer a finite number"
            state.request_stop()
        elif self.stop_div and smooth > 4 * self._best:
            result.stopped = "the loss had diverged"
            state.request_stop()
        elif len(result.lrs) >= self.num_it:
            state.request_stop()


def check_range(start_lr: float, end_lr: float, num_it: int) -> None:
    """Raise ConfigError for a search that cannot rise."""
    if not (
        all(isinstance(lr, (int, float)) for lr in (start_lr, end_lr))
        and math.isfinite(start_lr)
        and math.isfinite(end_lr)
        and 0 < start_lr < end_lr
    ):
        raise ConfigError(f"lr_find needs 0 < start_lr < end_lr, not start_lr={start_lr!r}, end_lr={end_lr!r}.")
    if not isinstance(num_it, int) or num_it < MIN_STEPS:
        raise ConfigError(
            f"lr_find needs at least {MIN_STEPS} steps for a curve that suggests something, not num_it={num_it!r}. "
            "The default is 100."
        )
