"""A large batch's gradient from several small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastlearn.errors import ConfigError
from fastlearn.options import named_options
from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


class GradientAccumulation(Callback):
    """Steps the optimizer once at least `n_acc` samples have passed, with the mean gradient over exactly those samples.

    The last batch of an epoch steps with what there is, so no sample is left out and the tail is no smaller step. For
    a loss that is a mean over samples the gradient is that of one large batch; batch norm still sees the small ones.
    A stop or an error between two steps drops the samples gathered since the last one.

    >>> learn.fit_one_cycle(3, cbs=GradientAccumulation(n_acc=64))  # dls with bs=16 then behaves like bs=64
    """

    order = 10
    in_lr_find = True
    needs_inputs = False

    @named_options
    def __init__(self, n_acc: int = 32) -> None:
        if not isinstance(n_acc, int) or isinstance(n_acc, bool) or n_acc < 1:
            raise ConfigError(
                f"n_acc={n_acc!r} must be a whole number of samples from 1: a multiple of the batch size."
            )
        self.n_acc, self._count = n_acc, 0

    def before_fit(self, state: TrainState) -> None:
        self._count = 0

    def before_batch(self, state: TrainState) -> None:
        if not state.training:
            return
        size = state.batch_size
        self._count += size
        # Weighted as if n_acc samples were to come, which is exact unless the batches do not add up to n_acc.
        state.grad_weight = size / self.n_acc
        state.will_step = self._count >= self.n_acc or state.last_batch

    def after_backward(self, state: TrainState) -> None:
        if state.will_step and self._count not in (0, self.n_acc):
            grads = [p.grad for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(grads, self.n_acc / self._count)

    def after_step(self, state: TrainState) -> None:
        self._count = 0

    def after_fit(self, state: TrainState) -> None:
        if self._count:
            self._count = 0
            state.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count = int(state["count"])
