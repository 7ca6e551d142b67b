"""End a fit that no longer gets better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastlearn.callbacks.tracker import Compare, TrackerCallback, check_patience, finished_epoch
from fastlearn.options import named_options
from fastlearn.runtime.say import say

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


class EarlyStoppingCallback(TrackerCallback):
    """Ends the fit when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    The weights stay those of the last epoch; add `SaveModelCallback` to get the best ones back.

    >>> learn.fit(50, cbs=EarlyStoppingCallback(monitor="accuracy", patience=3))
    """

    @named_options
    def __init__(
        self, monitor: str = "valid_loss", comp: Compare | None = None, min_delta: float = 0.0, patience: int = 1,
        reset_on_fit: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        self.patience, self.wait = check_patience(patience), 0

    def before_fit(self, state: TrainState) -> None:
        if not state.goes_on:
            self.wait = 0
        super().before_fit(state)

    def after_epoch(self, state: TrainState) -> None:
        super().after_epoch(state)
        self.wait = 0 if self.new_best else self.wait + 1
        if self.wait >= self.patience:
            why = f"No improvement of {self.monitor} since epoch {self.best_epoch}"
            if self.best_epoch < 0:
                why = f"{self.monitor} was never a number"
            say(f"{why}: stopped after epoch {finished_epoch(state)}.")
            state.request_stop()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"wait": self.wait}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.wait = int(state["wait"])
