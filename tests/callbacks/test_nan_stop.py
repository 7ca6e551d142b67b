from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from bad_batches import OnDevice, network, with_bad
from callback_fits import batches, fit, make_state
from torch import nn

from fastlearn.callbacks.accumulate import GradientAccumulation
from fastlearn.callbacks.clip import GradientClip
from fastlearn.callbacks.nan_stop import StopOnNonFinite, TerminateOnNaNCallback
from fastlearn.errors import ConfigError, NonFiniteError
from fastlearn.training.callback import Callback
from fastlearn.training.loop import default_step, run_fit
from fastlearn.training.optimizer import SGD, Adam
from fastlearn.training.state import TrainState

BOTH = pytest.mark.parametrize("stop", [StopOnNonFinite, OnDevice])


def assert_same_state(model: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@BOTH
@pytest.mark.parametrize("optimizer", [SGD, Adam, torch.optim.SGD])
def test_input_leaves_weights_and_buffers_of_the_last_good_step(stop: type[StopOnNonFinite], optimizer: Any) -> None:
    data, model, good = with_bad([6] * 6, at=3), network(), network()
    message = "step 3 .batch 3 of epoch 0.*the input of rows 1 holds NaN.*layer with .* '0'"
    with pytest.raises(NonFiniteError, match=message) as caught:
        fit(model, data, [stop()], optimizer=optimizer(model.parameters(), lr=0.1))
    assert (caught.value.step, caught.value.layer) == (3, "0")
    fit(good, data[:3], [], optimizer=optimizer(good.parameters(), lr=0.1))
    assert_same_state(model, good)


@BOTH
def test_nothing_changes_where_nothing_is_wrong(stop: type[StopOnNonFinite]) -> None:
    data, model, plain = batches([6] * 5), network(), network()
    fit(model, data, [stop(2)], n_epochs=3, valid=data[:2], optimizer=Adam(model.parameters(), lr=0.1))
    fit(plain, data, [], n_epochs=3, valid=data[:2], optimizer=Adam(plain.parameters(), lr=0.1))
    assert_same_state(model, plain)


@BOTH
def test_weights_that_were_bad_before(stop: type[StopOnNonFinite]) -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[0, 2] = math.inf
    with pytest.raises(NonFiniteError, match="the weights '3.weight' hold NaN or infinity, from a step before"):
        fit(model, batches([6] * 2), [stop()])


class RootOfZero(nn.Module):
    """Finite forward, infinite gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x).sqrt() + x


@BOTH
def test_gradient_alone_names_the_parameters(stop: type[StopOnNonFinite]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), RootOfZero(), nn.Linear(4, 1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    named = "the gradients of '0.weight', '0.bias', '1.weight', '1.bias' are not"
    with pytest.raises(NonFiniteError, match=named if stop is StopOnNonFinite else "step 0") as caught:
        fit(model, batches([6] * 2), [stop()])
    assert caught.value.layer is None
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (3, 2)])
@BOTH
def test_one_bad_entry_of_a_gradient(stop: type[StopOnNonFinite], bad: float, place: tuple[int, int]) -> None:
    class Plant(Callback):
        def after_backward(self, state: TrainState) -> None:
            if state.step == 2:
                state.model[0].weight.grad[place] = bad  # type: ignore[index, union-attr]

    model, good, data = network(), network(), batches([6] * 5)
    with pytest.raises(NonFiniteError, match="step 2"):
        fit(model, data, [GradientClip(), stop(), Plant()])
    fit(good, data[:2], [GradientClip()])
    assert_same_state(model, good)


def test_a_sum_that_overflows_is_no_fault() -> None:
    class Huge(Callback):
        def after_backward(self, state: TrainState) -> None:
            for parameter in state.model.parameters():
                assert parameter.grad is not None
                parameter.grad.fill_(3e38)

    model = network()
    fit(model, batches([6]), [StopOnNonFinite(), Huge()], optimizer=SGD(model.parameters(), lr=1e-40))


def test_a_large_gradient_in_any_memory_order() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(256, 1)).to(
            memory_format=torch.channels_last
        )
        data = [(torch.randn(2, 64, 4, 4).to(memory_format=torch.channels_last), torch.randn(2, 1))]

        class Plant(Callback):
            value = bad

            def after_backward(self, state: TrainState) -> None:
                state.model[0].weight.grad[5, 6, 1, 2] = self.value  # type: ignore[index, union-attr]

        with pytest.raises(NonFiniteError, match="gradients of '0.weight' are not"):
            fit(model, data, [StopOnNonFinite(), Plant()])


def test_device_flag_is_read_every_k_steps_and_released() -> None:
    seen: list[int] = []

    class Look(Callback):
        order = 1000

        def after_batch(self, state: TrainState) -> None:
            seen.append(state.step)

    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(NonFiniteError) as caught:
        fit(model, with_bad([6] * 20, at=5), [OnDevice(4), Look()], optimizer=optimizer)
    assert (caught.value.step, seen) == (5, list(range(7)))  # read after steps 3 and 7
    assert optimizer.found_inf is None


@BOTH
def test_accumulated_batches(stop: type[StopOnNonFinite]) -> None:
    data, model, good = with_bad([4] * 6, at=2), network(), network()
    with pytest.raises(NonFiniteError, match="step 2 .batch 2"):
        fit(model, data, [stop(), GradientAccumulation(8)])
    fit(good, data[:2], [GradientAccumulation(8)])
    assert_same_state(model, good)


def test_replaced_and_unchanging_buffers() -> None:
    class Assigns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("table", torch.arange(5.0))
            self.register_buffer("nothing", None)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            return self.layer(x - self.mean)

    torch.manual_seed(0)
    model = Assigns()
    torch.manual_seed(0)
    good, data = Assigns(), with_bad([4] * 4, at=2)
    with pytest.raises(NonFiniteError):
        fit(model, data, [StopOnNonFinite()])
    fit(good, data[:2], [])
    assert_same_state(model, good)


def test_in_fp16_only_the_loss_counts() -> None:
    def steep(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 1000 * nn.functional.mse_loss(outputs, targets)

    state = make_state(network(), batches([6] * 2), [OnDevice()], loss_func=steep)
    state.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # gradients overflow, the loss does not
    before = {name: tensor.clone() for name, tensor in state.model.named_parameters()}
    run_fit(state, default_step)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.model.named_parameters())
    bad = make_state(network(), with_bad([6] * 2, at=1), [OnDevice()])
    bad.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    with pytest.raises(NonFiniteError, match="step 1"):
        run_fit(bad, default_step)


def test_after_the_error_a_fit_starts_cleanly() -> None:
    model, stop, data = network(), StopOnNonFinite(), batches([6] * 3)
    with pytest.raises(NonFiniteError):
        fit(model, with_bad([6] * 3, at=1), [stop])
    fit(model, data, [stop])
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert issubclass(TerminateOnNaNCallback, StopOnNonFinite)
    assert not StopOnNonFinite.in_lr_find
    with pytest.raises(ConfigError, match="check_every"):
        StopOnNonFinite(0)


def test_weights_that_the_last_step_spoiled_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """Every gradient was finite; only the step was too large."""

    def steep(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 1000 * nn.functional.mse_loss(outputs, targets)

    model = network()
    huge = torch.optim.SGD(model.parameters(), lr=3e38)
    with pytest.raises(NonFiniteError, match="weights .* hold NaN or infinity") as caught:
        fit(model, batches([6]), [StopOnNonFinite()], optimizer=huge, loss_func=steep)
    assert "last good step" not in str(caught.value)


def test_a_validation_that_is_not_finite_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    state = fit(network(), batches([6] * 2), [StopOnNonFinite()], valid=with_bad([6] * 2, at=1))
    assert "validation loss of epoch 0 is nan" in capsys.readouterr().out
    assert state.recorder.epochs
