"""A callback that writes down what was mixed."""

from __future__ import annotations

import torch

from fastlearn.callbacks.mixup import MixedLoss
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState


class Spy(Callback):
    order = 100

    def __init__(self) -> None:
        self.seen: list[tuple[torch.Tensor, float, float]] = []

    def before_batch(self, state: TrainState) -> None:
        if state.training:
            self.original = state.batch

    def after_batch(self, state: TrainState) -> None:
        if state.training:
            assert isinstance(state.loss_func, MixedLoss)
            assert state.loss is not None
            self.seen.append((state.inputs[0].clone(), state.loss_func.lam, state.loss.item()))
