"""Mixed samples: MixUp, and what it shares with CutMix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastlearn.errors import ConfigError, TrainingError
from fastlearn.options import checked_number, named_options
from fastlearn.runtime.seed import derive, numpy_rng
from fastlearn.training.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastlearn.training.state import TrainState


class MixedLoss:
    """`lam·loss(outputs, targets) + (1 - lam)·loss(outputs, partners)`, and the plain loss where nothing was mixed.

    It stands in `state.loss_func` during a fit. A mix of two losses is right for any targets and any loss function:
    class indices cannot be mixed themselves, and a squared error of mixed targets has the same gradient.
    """

    def __init__(self, loss_func: Callable[..., torch.Tensor]) -> None:
        self.loss_func = loss_func
        self.mixers: list[MixCallback] = []
        self.lam = 1.0
        self.partners: tuple[Any, ...] | None = None

    def __call__(self, outputs: Any, *targets: Any) -> torch.Tensor:
        loss = self.loss_func(outputs, *targets)
        if self.partners is None:
            return loss
        return self.lam * loss + (1 - self.lam) * self.loss_func(outputs, *self.partners)


class MixCallback(Callback):
    """The base of MixUp and CutMix: draws a ratio and a partner for every sample, and mixes the two losses.

    One ratio a batch, drawn from Beta(alpha, alpha) as in both papers' code (fast.ai's MixUp draws one a sample, which
    needs a loss for each sample). The draws depend on the seed and the position alone. When both are given, each
    batch is mixed by one of them, chosen by lot. Validation is not mixed.
    """

    order = 60
    in_lr_find = True

    def __init__(self, alpha: float) -> None:
        if not 0 < checked_number(alpha, "alpha", 0.4) < math.inf:
            raise ConfigError(f"alpha={alpha} must be above 0: near 0 mixes little, 1 draws every ratio alike often.")
        self.alpha = float(alpha)
        self._loss: MixedLoss | None = None

    def before_fit(self, state: TrainState) -> None:
        assert state.loss_func is not None
        if not isinstance(state.loss_func, MixedLoss):
            state.loss_func = MixedLoss(state.loss_func)
        self._loss = state.loss_func
        self._loss.mixers.append(self)
        # By name, so that the order in which they were given is no matter.
        self._loss.mixers.sort(key=lambda mixer: type(mixer).__name__)
        names = [type(mixer).__name__ for mixer in self._loss.mixers]
        if len(set(names)) < len(names):
            raise ConfigError(f"{type(self).__name__} is there twice: once in the learner's cbs, once in the fit's?")

    def before_batch(self, state: TrainState) -> None:
        assert self._loss is not None
        position = (state.plan.seed, state.plan.stream, state.epoch)
        mixers = self._loss.mixers
        if not state.training:
            self._loss.partners = None
        elif len(mixers) == 1 or mixers[derive(*position, "mixer", state.batch_index) % len(mixers)] is self:
            self._mix_batch(state, self._loss, numpy_rng(*position, "mixup", state.batch_index))

    def after_fit(self, state: TrainState) -> None:
        if isinstance(state.loss_func, MixedLoss):
            state.loss_func = state.loss_func.loss_func
        self._loss = None

    def mix(
        self, inputs: tuple[torch.Tensor, ...], partner: torch.Tensor, rng: np.random.Generator
    ) -> tuple[tuple[torch.Tensor, ...], float]:
        """The mixed inputs, and the share in them that the sample itself has; `partner[i]` is sample i's partner."""
        raise NotImplementedError

    def _mix_batch(self, state: TrainState, loss: MixedLoss, rng: np.random.Generator) -> None:
        for part in state.inputs:
            if not isinstance(part, torch.Tensor) or not part.is_floating_point():
                kind = str(part.dtype) if isinstance(part, torch.Tensor) else type(part).__name__
                name = type(self).__name__
                raise TrainingError(f"{name} mixes inputs of floating point, found {kind}. Leave it out for such data.")
        partner = torch.from_numpy(rng.permutation(state.batch_size)).to(state.device)
        state.inputs, loss.lam = self.mix(state.inputs, partner, rng)
        loss.partners = tuple(part[partner] if isinstance(part, torch.Tensor) else part for part in state.targets)


class MixUp(MixCallback):
    """Trains on weighted means of two samples and of their losses (Zhang et al., 2018, "mixup").

    `x = lam·x_i + (1 - lam)·x_j` with lam ~ Beta(alpha, alpha), the larger of lam and 1 - lam going to sample i.

    >>> learn.fit_one_cycle(10, cbs=MixUp(0.4))
    """

    @named_options
    def __init__(self, alpha: float = 0.4) -> None:
        super().__init__(alpha)

    def mix(
        self, inputs: tuple[torch.Tensor, ...], partner: torch.Tensor, rng: np.random.Generator
    ) -> tuple[tuple[torch.Tensor, ...], float]:
        lam = float(rng.beta(self.alpha, self.alpha))
        lam = max(lam, 1 - lam)
        return tuple(torch.lerp(part[partner], part, lam) for part in inputs), lam
