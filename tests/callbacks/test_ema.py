from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from callback_fits import Sequence, batches, fit
from torch import nn

from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.save_best import SaveModelCallback
from fastlearn.errors import ConfigError, TrainingError
from fastlearn.training.callback import Callback
from fastlearn.training.state import TrainState

TRAIN, VALID = batches([4] * 5), batches([4], seed=1)


class Weights(Callback):
    """The weights after each step, and as validation and the end of an epoch see them."""

    order = 100

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []
        self.valid: list[torch.Tensor] = []
        self.at_end: list[torch.Tensor] = []

    def before_fit(self, state: TrainState) -> None:
        self.steps.append(read(state.model))

    def after_step(self, state: TrainState) -> None:
        self.steps.append(read(state.model))

    def after_batch(self, state: TrainState) -> None:
        if not state.training:
            self.valid.append(read(state.model))

    def after_epoch(self, state: TrainState) -> None:
        self.at_end.append(read(state.model))


def read(model: nn.Module) -> torch.Tensor:
    return next(model.parameters()).detach().clone()


def closed_form(weights: list[torch.Tensor], decay: float, warmup: bool) -> torch.Tensor:
    average = weights[0].double()
    for t, new in enumerate(weights[1:]):
        d = min(decay, (1 + t) / (10 + t)) if warmup else decay
        average = d * average + (1 - d) * new.double()
    return average.float()


@pytest.mark.parametrize("warmup", [True, False])
def test_closed_form_validation_and_end(warmup: bool) -> None:
    weights, model, plain = Weights(), nn.Linear(3, 1), nn.Linear(3, 1)
    plain.load_state_dict(model.state_dict())
    other = Weights()
    fit(model, TRAIN, [weights, EMA(0.6, warmup=warmup)], valid=VALID, n_epochs=2)
    fit(plain, TRAIN, [other], valid=VALID, n_epochs=2)
    # Training goes on with the trained weights, so it is the same as without the average.
    assert all(torch.equal(a, b) for a, b in zip(weights.steps, other.steps, strict=True))
    for epoch in (0, 1):
        wanted = closed_form(weights.steps[: 6 + 5 * epoch], 0.6, warmup)
        torch.testing.assert_close(weights.valid[epoch], wanted)
        assert torch.equal(weights.valid[epoch], weights.at_end[epoch])
    assert torch.equal(read(model), weights.valid[1])


def test_from_the_start_it_is_the_plain_mean_until_the_decay_is_reached() -> None:
    weights, model = Weights(), nn.Linear(3, 1)
    fit(model, TRAIN, [weights, EMA(0.99, from_start=True)])
    torch.testing.assert_close(read(model), torch.stack(weights.steps).mean(0))
    weights = Weights()
    fit(model, TRAIN, [weights, EMA(0.6, from_start=True)])
    average = weights.steps[0]
    for new, share in zip(weights.steps[1:], (1 / 2, 0.4, 0.4, 0.4, 0.4), strict=True):
        average = average + share * (new - average)
    torch.testing.assert_close(read(model), average)


def test_weights_stay_when_asked_and_apply_shows_the_average() -> None:
    weights, model, ema = Weights(), nn.Linear(3, 1), EMA(0.6, use_at_end=False)
    with pytest.raises(TrainingError, match="no average yet"), ema.apply(model):
        pass
    fit(model, TRAIN, [weights, ema], valid=VALID)
    assert torch.equal(read(model), weights.steps[-1])
    with ema.apply(model):
        torch.testing.assert_close(read(model), closed_form(weights.steps, 0.6, True))
    assert torch.equal(read(model), weights.steps[-1])


def test_without_validation_and_with_an_interrupt() -> None:
    class Stop(Callback):
        def after_batch(self, state: TrainState) -> None:
            if not state.training:
                raise KeyboardInterrupt

    weights, model = Weights(), nn.Linear(3, 1)
    fit(model, TRAIN, [weights, EMA(0.6)])
    torch.testing.assert_close(read(model), closed_form(weights.steps, 0.6, True))
    weights = Weights()
    with pytest.raises(KeyboardInterrupt):
        fit(model, TRAIN, [weights, EMA(0.6), Stop()], valid=VALID)
    assert torch.equal(read(model), weights.steps[-1])


def test_buffers_are_averaged_and_counters_copied() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model[0].requires_grad_(False)
    means: list[torch.Tensor] = [model[1].running_mean.clone()]

    class Means(Callback):
        def after_step(self, state: TrainState) -> None:
            means.append(model[1].running_mean.clone())

    fit(model, TRAIN, [EMA(0.6), Means()])
    torch.testing.assert_close(model[1].running_mean, closed_form(means, 0.6, True))
    assert model[1].num_batches_tracked == 5


def test_what_is_saved_as_best_is_what_was_measured(tmp_path: Path) -> None:
    weights, model = Weights(), nn.Linear(3, 1)
    best = SaveModelCallback()
    fit(model, TRAIN, [best, weights, EMA(0.6), Sequence([2, 1, 3])], valid=VALID, n_epochs=3, path=tmp_path)
    assert torch.equal(read(model), weights.valid[1])


def test_state_goes_on_from_the_end_of_an_epoch() -> None:
    class Save(Callback):
        order = 1000
        saved: tuple[dict, dict]

        def after_epoch(self, state: TrainState) -> None:
            if state.fit_epoch == 0:
                self.saved = copy.deepcopy((state.model.state_dict(), whole.state_dict()))

    torch.manual_seed(0)
    model, save, whole = nn.Linear(3, 1), Save(), EMA(0.6)
    fit(model, TRAIN, [whole, save], valid=VALID, n_epochs=2)
    resumed, ema = nn.Linear(3, 1), EMA(0.6)
    resumed.load_state_dict(save.saved[0])
    ema.load_state_dict(save.saved[1])
    fit(resumed, TRAIN, [ema], valid=VALID, n_epochs=2, start_epoch=1)
    assert torch.equal(read(model), read(resumed))


def test_bad_decay() -> None:
    with pytest.raises(ConfigError, match="decay=1"):
        EMA(1)
