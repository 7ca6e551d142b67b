"""Gradients of bounded length."""

from __future__ import annotations

import pytest
import torch
from callback_fits import batches, fit
from torch import nn

from fastlearn.callbacks.clip import GradientClip
from fastlearn.errors import ConfigError
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState


def model() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, 1)


def test_clip_bounds_the_norm() -> None:
    norms: list[float] = []

    class Norm(Callback):
        order = 31

        def after_backward(self, state: TrainState) -> None:
            grads = [p.grad for p in state.model.parameters() if p.grad is not None]
            norms.append(float(torch.nn.utils.get_total_norm(grads)))

    fit(model(), batches([4] * 4), [Norm(), GradientClip(0.01)])
    assert norms == pytest.approx([0.01] * 4, rel=1e-3)


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="max_norm"):
        GradientClip(0)
    with pytest.raises(ConfigError, match="norm_type"):
        GradientClip(1, -2)
