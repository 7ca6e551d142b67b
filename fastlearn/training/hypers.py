"""Learning rates and momentums: checked, spread over parameter groups, set in any torch optimizer and read back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from fastlearn.errors import ConfigError

LR = float | slice | Sequence[float]


def check_lr(lr: Any) -> None:
    """Nothing, if every number in `lr` (a number, slice or sequence) is finite and above zero; else ConfigError."""
    if isinstance(lr, slice):
        if lr.stop is None:
            raise ConfigError(f"lr={lr} has no upper end. Type slice(1e-5, 1e-3), or slice(1e-3) for the head alone.")
        parts = [part for part in (lr.start, lr.stop) if part is not None]
    else:
        parts = list(lr) if isinstance(lr, (Sequence, Iterable)) and not isinstance(lr, (str, Tensor)) else [lr]
    for part in parts:
        try:
            good = not isinstance(part, (str, bool, np.bool_)) and math.isfinite(float(part)) and float(part) > 0
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ConfigError(
                f"The learning rate must be a number above 0, found {part!r} in lr={lr!r}. "
                "Usual values lie between 1e-5 and 1e-1; learn.lr_find() suggests one."
            )


def lr_groups(lr: LR, n_groups: int) -> list[float]:
    """One learning rate for each of `n_groups` parameter groups, the stem's first.

    A number goes to all; `slice(e)` gives the last group e and the others e/10; `slice(a, b)` spaces them evenly on a
    logarithmic scale; a sequence must have one number a group. Raises ConfigError on any rate that is not above 0.
    """
    check_lr(lr)
    if isinstance(lr, slice):
        stop = float(lr.stop)
        if n_groups == 1:
            return [stop]
        if lr.start is None:
            return [stop / 10] * (n_groups - 1) + [stop]
        start = float(lr.start)
        return [start * (stop / start) ** (k / (n_groups - 1)) for k in range(n_groups)]
    if isinstance(lr, (Sequence, Iterable)) and not isinstance(lr, Tensor):
        rates = [float(rate) for rate in lr]
        if len(rates) != n_groups:
            raise ConfigError(
                f"lr has {len(rates)} values, but the model has {n_groups} parameter groups. "
                "Give one value a group, or slice(lowest, highest)."
            )
        return rates
    return [float(lr)] * n_groups


def set_hypers(optimizer: Optimizer, lr: Any = None, mom: Any = None) -> None:
    """Write a learning rate and a momentum (one number, or one a group; None leaves it) into any torch optimizer.

    Momentum is `betas[0]` or `momentum`, whichever the optimizer has. An optimizer made without momentum
    (`SGD(momentum=0)`) stays without: a schedule does not switch on what was not asked for.
    """
    groups = optimizer.param_groups
    if lr is not None:
        for group, rate in zip(groups, _one_each(lr, len(groups)), strict=True):
            if isinstance(group["lr"], Tensor):  # capturable optimizers keep the rate on the device
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
    if mom is not None:
        for group, value in zip(groups, _one_each(mom, len(groups)), strict=True):
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            elif optimizer.defaults.get("momentum", 0) != 0:
                group["momentum"] = value


class ScheduledHypers:
    """Writes what a schedule says for each step into an optimizer.

    `hypers` maps a position 0…1 of the fit to `{"lr": …, "mom": …}`. It is asked for a block of steps at once: between
    the kernels of a training step its code is cold in the caches and costs five times as much.
    """

    _BLOCK = 64

    def __init__(self, hypers: Callable[[float], dict[str, Any]], n_steps: int, optimizer: Optimizer) -> None:
        self.hypers, self.n_steps, self.optimizer = hypers, n_steps, optimizer
        self._start = 0
        self._rows: list[dict[str, Any]] = []

    def set(self, step: int) -> None:
        """Set the rates and momenta of training batch `step` of the fit."""
        at = step - self._start
        if not 0 <= at < len(self._rows):
            self._rows = [self.hypers(k / self.n_steps) for k in range(step, step + self._BLOCK)]
            self._start, at = step, 0
        set_hypers(self.optimizer, **self._rows[at])


def get_hypers(optimizer: Optimizer) -> dict[str, list[float]]:
    """`{"lr": [one a group]}`, and `"mom"` likewise when the optimizer has a momentum that `set_hypers` would set."""
    groups = optimizer.param_groups
    hypers = {"lr": [float(group["lr"]) for group in groups]}
    if "betas" in groups[0]:
        hypers["mom"] = [float(group["betas"][0]) for group in groups]
    elif optimizer.defaults.get("momentum", 0) != 0:
        hypers["mom"] = [float(group["momentum"]) for group in groups]
    return hypers


def _one_each(value: Any, n: int) -> Sequence[float]:
    return [value] * n if isinstance(value, (int, float)) else value
