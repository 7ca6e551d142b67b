"""A training that was steered by hand, steered the same way again by code."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

from fastlearn.errors import ConfigError, near
from fastlearn.training.callback import Callback
from fastlearn.training.steering import Deed, Intervention, Steering

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


_TAKES = "Replay takes learn.recorder.interventions, a list of Intervention or of dictionaries"


class Replay(Callback):
    """Does again what was done to a training by hand, at the same steps: the weights get the same bits.

    Take `learn.recorder.interventions` of the steered run, and give them to the same call on a learner with the same
    seed, data and number of steps done. Stops, changed rates and skipped validations are repeated; pauses are not.

    >>> steered = learn.recorder.interventions
    >>> again.fit_one_cycle(5, cbs=Replay(steered))
    """

    order = 45  # where the dashboard acts
    needs_inputs = False

    def __init__(self, interventions: Iterable[Intervention | dict[str, Any]]) -> None:
        if isinstance(interventions, (Intervention, dict)) or not isinstance(interventions, Iterable):
            raise ConfigError(f"{_TAKES}, not {interventions!r}.")
        self.interventions = [_intervention(one) for one in interventions]
        self._steering, self._left = Steering(), list(self.interventions)

    def before_fit(self, state: TrainState) -> None:
        self._steering.begin(state)
        self._left = [one for one in self.interventions if one.step > state.step]

    def before_batch(self, state: TrainState) -> None:
        self._steering.before_batch(state)

    def after_batch(self, state: TrainState) -> None:
        if self._left:
            self._left = self._steering.replay(self._left, state)

    def after_fit(self, state: TrainState) -> None:
        self._steering.end(state)

    def state_dict(self) -> dict[str, Any]:
        return self._steering.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steering.load_state_dict(state)


def _intervention(one: Any) -> Intervention:
    try:
        found = one if isinstance(one, Intervention) else Intervention(**one)
    except TypeError:
        raise ConfigError(f"{_TAKES}, not {one!r}.") from None
    if found.what not in get_args(Deed):
        raise ConfigError(f"{found.what!r} cannot be done again.{near(found.what, get_args(Deed))}")
    if not (math.isfinite(found.factor) and found.factor > 0):
        raise ConfigError(f"A learning rate is multiplied by a number above 0, not by {found.factor!r}: {one!r}.")
    return found
