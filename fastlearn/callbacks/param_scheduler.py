"""A schedule of your own: curves of learning rate and momentum over a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastlearn.errors import ConfigError, near
from fastlearn.options import found, named_options
from fastlearn.training.callback import Callback
from fastlearn.training.hypers import set_hypers

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

_KNOWN = ("lr", "mom")


class ParamScheduler(Callback):
    """Sets the learning rate (`"lr"`) and the momentum (`"mom"`) before each batch from curves of the position, 0 to 1.

    A curve gives one number, or one for each group of layers. It stands in for the schedule of the fit that it is
    given to. Raises ConfigError for another name.

    >>> learn.fit(3, cbs=ParamScheduler({"lr": combined_cos(0.25, 1e-4, 1e-2, 1e-5)}))
    """

    order = -50  # before callbacks that scale the rate
    in_lr_find = False
    needs_inputs = False

    @named_options
    def __init__(self, scheds: Mapping[str, Callable[[float], Any]]) -> None:
        if not isinstance(scheds, Mapping):
            raise ConfigError(
                f'scheds is a dict such as {{"lr": combined_cos(0.25, 1e-4, 1e-2, 1e-5)}}, not {found(scheds)}.'
            )
        for name, curve in scheds.items():
            if name not in _KNOWN:
                raise ConfigError(
                    f"There is nothing called {name!r} to schedule, only 'lr' and 'mom'.{near(name, _KNOWN)}"
                )
            if not callable(curve):
                raise ConfigError(f"The schedule of {name!r} is {curve!r}; give a function of the position, 0 to 1.")
        self.scheds = dict(scheds)

    def before_batch(self, state: TrainState) -> None:
        if state.training:
            pct = state.fit_step / max(1, state.plan.n_steps)
            set_hypers(state.optimizer, **{name: curve(pct) for name, curve in self.scheds.items()})
