"""Gradients of bounded length."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, named_options
from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState


class GradientClip(Callback):
    """Scales the gradients of all parameters together so that their norm is at most `max_norm` (Pascanu et al., 2013).

    Works on the true gradients: after accumulation, and unscaled in fp16.

    >>> learn.fit_one_cycle(3, cbs=GradientClip(0.5))
    """

    order = 30
    in_lr_find = True

    @named_options
    def __init__(self, max_norm: float = 1.0, norm_type: float = 2.0) -> None:
        if not 0 < checked_number(max_norm, "max_norm", 1) < math.inf:
            raise ConfigError(f"max_norm={max_norm} must be a number above 0.")
        if not checked_number(norm_type, "norm_type", 2) > 0:
            raise ConfigError(f"norm_type={norm_type} must be above 0: 2 is Euclidean, float('inf') the largest entry.")
        self.max_norm, self.norm_type = float(max_norm), float(norm_type)

    def after_backward(self, state: TrainState) -> None:
        if not state.will_step:
            return
        state.precision.unscale(state.optimizer)
        params = [p for group in state.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(params, self.max_norm, self.norm_type)
