"""Data with a NaN in it, a network to spoil, and a guard that looks at every step's flag."""

from __future__ import annotations

import math

import torch
from callback_fits import Batches, batches
from torch import nn

from fastlearn.callbacks.nan_stop import StopOnNonFinite
from fastlearn.training.state import TrainState


class OnDevice(StopOnNonFinite):
    """The way of a GPU, run on the CPU."""

    @staticmethod
    def _lives_on_host(state: TrainState) -> bool:
        return False


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))


def with_bad(sizes: list[int], at: int, row: int = 1) -> Batches:
    made = batches(sizes)
    made[at][0][row, 0] = math.nan
    return made
