"""What was not finite, where, and in which samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from bad_batches import OnDevice, network, with_bad
from callback_fits import batches, fit, make_state
from torch import nn

from fastlearn.callbacks.mixup import MixUp
from fastlearn.callbacks.nan_stop import StopOnNonFinite
from fastlearn.data.foreign import ForeignLoader
from fastlearn.errors import NonFiniteError
from fastlearn.runtime.seed import RunKey
from fastlearn.training.loop import run_fit
from fastlearn.training.state import TrainState


def test_the_loss_itself_and_the_layer_inside() -> None:
    def bad_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - outputs).mean() / 0 + targets.mean()

    with pytest.raises(NonFiniteError, match="the loss is not finite, though every layer's output is") as caught:
        fit(network(), batches([6]), [StopOnNonFinite()], loss_func=bad_loss)
    assert caught.value.layer is None

    class Log(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - 100).log()

    body = nn.Sequential(nn.Linear(3, 3), Log(), nn.Linear(3, 1))
    message = r"output of layer '1' \(Log\) is not finite.*lower learning rate \(it was 0.1"
    with pytest.raises(NonFiniteError, match=message) as caught:
        fit(body, batches([6]), [StopOnNonFinite()])
    assert caught.value.layer == "1"


def test_targets_are_named() -> None:
    data = batches([6] * 2)
    data[1][1][4] = math.nan
    with pytest.raises(NonFiniteError, match="the target of rows 4 holds NaN"):
        fit(network(), data, [StopOnNonFinite()])


def test_a_mixed_sample_is_not_blamed_for_its_partner() -> None:
    with pytest.raises(NonFiniteError, match="the input of rows 1 holds NaN"):
        fit(network(), with_bad([6] * 2, at=1), [StopOnNonFinite(), MixUp()])


class Indexed(ForeignLoader):
    def indices(self, key: RunKey, i: int) -> list[int]:
        return [100 * i + row for row in range(6)]


@pytest.mark.parametrize("refetch", [False, True])
def test_samples_are_named(refetch: bool) -> None:
    loader = Indexed(with_bad([6] * 4, at=2, row=5), device="cpu")
    message = "samples 200, 201, 202, 203, 204, 205.: the input of samples 205 holds NaN"
    with pytest.raises(NonFiniteError, match=message):
        fit(network(), loader, [OnDevice(4) if refetch else StopOnNonFinite()])


def test_a_loader_that_cannot_go_back_leaves_the_layer_unnamed() -> None:
    class OneWay(ForeignLoader):
        def batches(self, key: RunKey, start: int = 0) -> Iterator[Any]:
            if start:
                raise NotImplementedError
            return super().batches(key)

    with pytest.raises(NonFiniteError, match="step 1 .*the loss or a gradient was not finite") as caught:
        fit(network(), OneWay(with_bad([6] * 4, at=1), device="cpu"), [OnDevice()])
    assert caught.value.layer is None


def test_a_model_called_in_another_way_still_gets_the_message() -> None:
    def step(state: TrainState) -> None:
        state.loss = state.model(state.inputs[0] * math.nan).mean()
        with nullcontext() if state.training else torch.no_grad():
            state.backward(state.loss)
            state.optimizer_step()

    state = make_state(network(), batches([6]), [StopOnNonFinite()], loss_func=lambda *_: 1 / 0)
    with pytest.raises(NonFiniteError, match="step 0"):
        run_fit(state, step)
