"""An average of the weights along the training, which often generalises better than the last ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fastlearn.errors import ConfigError, TrainingError
from fastlearn.options import checked_number, named_options
from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


class EMA(Callback):
    """Keeps an exponential moving average of the weights, validates with it and ends with it (Polyak & Juditsky, 1992).

    After optimizer step t = 0, 1, …: `average += (1 - d_t)·(weights - average)`. With `warmup`, d_t is
    min(decay, (1 + t)/(10 + t)), so that short fits do not average over their untrained start; else d_t = `decay`.
    With `from_start` it is min(decay, (1 + t)/(2 + t)): the plain mean of the start and of all steps, as long as they
    are fewer than 1/(1 - decay). That suits a start that is good already. Floating buffers (batch norm's statistics)
    are averaged too, others are copied.

    From an epoch's validation until the next epoch begins the model holds the average: what is saved then is what was
    measured. At the end of a fit it stays in the model unless `use_at_end=False`; an error or Ctrl-C leaves the trained
    weights. `with ema.apply(learn.model):` uses the average for a while. Each fit begins a new average.

    >>> learn.fit_one_cycle(5, cbs=EMA(decay=0.999))
    """

    order = 40
    needs_inputs = False

    @named_options
    def __init__(
        self, decay: float = 0.999, use_at_end: bool = True, warmup: bool = True, from_start: bool = False
    ) -> None:
        if not 0 <= checked_number(decay, "decay", 0.999) < 1:
            raise ConfigError(f"decay={decay} must be from 0 to below 1; usual values are 0.99 to 0.9999.")
        self.decay, self.use_at_end, self.warmup, self.from_start = decay, use_at_end, warmup, from_start
        self.n_steps = 0
        self.swapped = False
        self._names: list[str] = []
        self._average: list[torch.Tensor] = []
        self._live: list[torch.Tensor] = []
        self._floats: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
        self._others: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._restored: dict[str, torch.Tensor] = {}

    def before_fit(self, state: TrainState) -> None:
        named = _averaged(state.model)
        self._names, self._live = list(named), list(named.values())
        if self._restored and state.goes_on:
            self._average = [self._restored[name].to(live, copy=True) for name, live in named.items()]
        else:
            self._average, self.n_steps, self.swapped = [live.clone() for live in self._live], 0, False
        self._restored = {}
        pairs = list(zip(self._average, self._live, strict=True))
        floats = [pair for pair in pairs if pair[1].is_floating_point()]
        self._floats = [average for average, _ in floats], [live for _, live in floats]
        self._others = [pair for pair in pairs if not pair[1].is_floating_point()]

    def before_epoch(self, state: TrainState) -> None:
        self._put(average_in_model=False)

    def before_batch(self, state: TrainState) -> None:
        if not state.training and self._live:
            self._put(average_in_model=True)

    @torch.no_grad()
    def after_step(self, state: TrainState) -> None:
        t, decay = self.n_steps, self.decay
        if self.from_start or self.warmup:
            decay = min(decay, (1 + t) / ((2 if self.from_start else 10) + t))
        averages, floats = self._floats
        torch._foreach_lerp_(averages, floats, 1 - decay)
        for average, live in self._others:
            average.copy_(live)
        self.n_steps += 1

    def on_exception(self, state: TrainState) -> None:
        self._put(average_in_model=False)

    def after_fit(self, state: TrainState) -> None:
        self._put(average_in_model=self.use_at_end and state.error is None)
        # From here on the model is the user's: when it holds the average, the trained weights are let go.
        if self.swapped:
            self._average, self.swapped = [live.clone() for live in self._live], False
        self._live, self._floats, self._others = [], ([], []), []

    @contextlib.contextmanager
    def apply(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model with the averaged weights in it, and as before afterwards."""
        if not self._average:
            raise TrainingError("There is no average yet. Fit first, with cbs=EMA().")
        named = _tensors(model)
        live = [named[name] for name in self._names]
        before = [tensor.clone() for tensor in live]
        average = [tensor.clone() for tensor in (self._live if self.swapped else self._average)]
        _copy(live, average)
        try:
            yield model
        finally:
            _copy(live, before)

    def _put(self, average_in_model: bool) -> None:
        if self.swapped != average_in_model and self._live:
            trained_or_average = [tensor.clone() for tensor in self._live]
            _copy(self._live, self._average)
            _copy(self._average, trained_or_average)
            self.swapped = average_in_model

    def state_dict(self) -> dict[str, Any]:
        """The average by tensor name; while the model holds the average (`swapped`), these are the trained weights."""
        tensors = {name: tensor.clone() for name, tensor in zip(self._names, self._average, strict=True)}
        return {"n_steps": self.n_steps, "swapped": self.swapped, "tensors": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.n_steps, self.swapped = int(state["n_steps"]), bool(state["swapped"])
        if self._live:  # a fit that goes on has begun
            pairs = zip(self._names, self._live, strict=True)
            _copy(self._average, [state["tensors"][name].to(live) for name, live in pairs])
            return
        self._restored = dict(state["tensors"])
        self._names, self._average = list(self._restored), list(self._restored.values())


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return named | {name: buffer.detach() for name, buffer in model.named_buffers()}


def _averaged(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that training changes; frozen parameters need no second copy."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in _tensors(model).items() if name not in frozen}


@torch.no_grad()
def _copy(into: list[torch.Tensor], source: list[torch.Tensor]) -> None:
    if into:
        torch._foreach_copy_(into, source)
