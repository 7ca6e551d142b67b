from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import assert_same, batches, everything, halves, make_learner, shuffled, small_net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fastlearn.callbacks.ema import EMA
from fastlearn.callbacks.mixup import MixUp
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError, TrainingError
from fastlearn.metrics import accuracy
from fastlearn.training.callback import Callback
from fastlearn.training.lookahead import ranger
from fastlearn.training.lr_suggest import minimum, steep, valley
from fastlearn.training.optimizer import SGD


def order_of_training(learner, epochs: int = 1) -> list[float]:
    """The first input of every training batch, in order."""
    seen = []

    class Look(Callback):
        def before_batch(self, state):
            if state.training:
                seen.append(float(state.inputs[0].sum()))

    learner.fit(epochs, 0.01, cbs=Look())
    return seen


def trained_learner(**options):
    """Half-way through a life: weights, statistics, optimizer and history are all there."""
    learner = make_learner(small_net(dropout=0.3), shuffled(), metrics=accuracy, **options)
    learner.fit(1, 0.01)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(11)
    return learner


def disturb(learner, *args, **kwargs):
    learner.lr_find(*args, show_plot=False, **kwargs)


@pytest.mark.parametrize(
    "options",
    [{"num_it": 20}, {"num_it": 8}, {"num_it": 13}, {"num_it": 40, "end_lr": 1e4}, {"start_lr": 1e-3, "end_lr": 1e-2}],
)
def test_nothing_has_changed_afterwards(options):
    learner = trained_learner()
    before = everything(learner)
    disturb(learner, **options)
    assert_same(everything(learner), before)


def test_nothing_has_changed_after_a_search_that_suggests_nothing():
    learner = trained_learner()
    before = everything(learner)
    with pytest.raises(TrainingError, match="No learning rate can be suggested"):
        disturb(learner, num_it=20, start_lr=1e20, end_lr=1e30)
    assert_same(everything(learner), before)


@pytest.mark.parametrize("make", [{}, {"opt_func": SGD}, {"opt_func": ranger}, {"splitter": halves, "bn": "eval"}])
def test_training_after_it_is_training_without_it_bit_for_bit(make):
    plain, tried = trained_learner(**make), trained_learner(**make)
    disturb(tried, num_it=30)
    # The generators are wound back, since the learners were made one after the other.
    after = []
    for learner in (plain, tried):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(12)
        orders = order_of_training(learner, 2)
        after.append((orders, everything(learner)))
    assert_same(after[1], after[0])


def test_before_the_first_fit_too():
    plain, tried = (make_learner(small_net(0.3), shuffled()) for _ in range(2))
    torch.manual_seed(1)
    disturb(tried, num_it=12)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), expected)
    assert_same(order_of_training(tried), order_of_training(plain))
    torch.manual_seed(1)
    plain.fit(1, 0.01)
    torch.manual_seed(1)
    tried.fit(1, 0.01)
    assert_same(everything(tried), everything(plain))


def test_a_shuffling_torch_loader_keeps_its_order():
    def loaders():
        x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
        return DataLoaders(DataLoader(TensorDataset(x, y), 16, shuffle=True), batches(1), device="cpu")

    plain, tried = make_learner(dls=loaders()), make_learner(dls=loaders())
    disturb(tried, num_it=12)
    assert order_of_training(tried, 2) == order_of_training(plain, 2)


def test_callbacks_with_a_state_of_their_own_are_taken_back():
    def make():
        return make_learner(small_net(), shuffled(), cbs=[EMA(0.9), MixUp(0.4)])

    plain, tried = make().fit(1, 0.01), make().fit(1, 0.01)
    before = [cb.state_dict() for cb in tried.cbs]
    disturb(tried, num_it=12)
    assert_same([cb.state_dict() for cb in tried.cbs], before)
    assert_same(everything(tried.fit(1, 0.01))["weights"], everything(plain.fit(1, 0.01))["weights"])


class Reassigns(nn.Module):
    """Puts a new tensor where its buffer was, as much research code does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.net(x - self.mean)


def test_buffers_that_a_module_replaces_are_restored():
    learner = make_learner(Reassigns())
    learner.fit(1, 0.01)
    before = everything(learner)
    disturb(learner, num_it=12)
    assert_same(everything(learner), before)


@pytest.mark.parametrize("error", [ValueError("planted"), KeyboardInterrupt()])
def test_an_error_inside_leaves_the_learner_as_it_was(error):
    class Fails(Callback):
        in_lr_find = True
        armed = False

        def after_backward(self, state):
            if self.armed and state.step == 7:
                raise error

    callback = Fails()
    learner = trained_learner(cbs=callback)
    before = everything(learner)
    callback.armed = True
    with pytest.raises(type(error)):
        disturb(learner, num_it=20)
    assert_same(everything(learner), before)
    callback.armed = False
    disturb(learner, num_it=20)
    assert_same(everything(learner), before)


def test_ctrl_c_leaves_the_learner_as_it_was():
    class Press(Callback):
        in_lr_find = True
        armed = False

        def after_backward(self, state):
            if self.armed and state.step == 7:
                os.kill(os.getpid(), signal.SIGINT)

    callback = Press()
    learner = trained_learner(cbs=callback)
    before = everything(learner)
    callback.armed = True
    with pytest.raises(KeyboardInterrupt):
        disturb(learner, num_it=20)
    assert_same(everything(learner), before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    callback.armed = False
    learner.fit(1, 0.01)
    assert learner.epoch == 2


def test_divergence_to_nan_is_no_error_and_leaves_no_nan():
    pairs = [(x, x[:, :1] * 2) for x, _ in batches()]
    # The default callbacks guard a fit against NaN; here they must not.
    dls = DataLoaders(pairs, device="cpu")
    learner = make_learner(nn.Linear(6, 1), dls, loss_func=F.mse_loss, opt_func=SGD, default_cbs=True)
    learner.create_opt()
    before = everything(learner)
    learner.lr_find(start_lr=1e-3, end_lr=1e30, stop_div=False, show_plot=False)
    curve = learner.recorder.lr_finder
    assert curve.stopped == "the loss was no longer a finite number" and not np.isfinite(curve.losses[-1])
    assert np.isfinite(curve.losses[:-1]).all()
    assert_same(everything(learner), before)
    learner.recorder.plot_lr_find()


def test_it_stops_above_four_times_the_best_loss():
    learner = make_learner(opt_func=SGD)
    learner.lr_find(end_lr=1e4, show_plot=False)
    curve = learner.recorder.lr_finder
    assert curve.stopped == "the loss had diverged" and len(curve.lrs) < 100
    assert curve.losses[-1] > 4 * min(curve.losses) >= curve.losses[-2]
    learner.lr_find(end_lr=1e4, stop_div=False, num_it=60, show_plot=False)
    assert learner.recorder.lr_finder.stopped != "the loss had diverged"


@pytest.mark.parametrize("num_it", [13, 20, 100])
def test_the_rates_rise_as_the_formula_says(num_it):
    seen = []
    learner = make_learner(small_net(), splitter=halves, lr=[1e-3, 1e-2])
    cb = learner.on("after_step")
    cb(lambda state: seen.append([group["lr"] for group in state.optimizer.param_groups]))
    learner.cbs[-1].in_lr_find = True
    learner.lr_find(1e-6, 1, num_it, show_plot=False, stop_div=False)
    expected = 1e-6 * 1e6 ** (np.arange(num_it) / num_it)
    assert learner.recorder.lr_finder.lrs == pytest.approx(expected.tolist(), rel=1e-9)
    assert np.array(seen) == pytest.approx(np.stack([expected / 10, expected], 1), rel=1e-9)


def test_one_batch_an_epoch_is_enough():
    learner = make_learner(dls=DataLoaders(batches(1), device="cpu"))
    assert 1e-7 < learner.lr_find(show_plot=False).valley < 10
    assert len(learner.recorder.lr_finder.lrs) > 60 and learner.epoch == 0


def test_a_frozen_model_stays_frozen():
    learner = make_learner(splitter=halves, bn="eval").freeze()
    before = everything(learner)
    disturb(learner, num_it=30)
    assert_same(everything(learner), before)
    assert [p.requires_grad for p in learner.model.parameters()] == [False] * 4 + [True] * 2


def test_no_validation_runs():
    phases = []
    learner = make_learner()
    learner.on("after_batch")(lambda state: phases.append(state.phase))
    learner.cbs[-1].in_lr_find = True
    learner.lr_find(num_it=12, show_plot=False)
    assert phases == ["train"] * 12


def test_suggestions_come_by_name():
    learner = make_learner()
    found = learner.lr_find(suggest_funcs=(valley, "slide", minimum, steep), show_plot=False)
    assert found._fields == ("valley", "slide", "minimum", "steep")
    assert all(type(rate) is float and 1e-7 < rate < 10 for rate in found)
    only = learner.lr_find(suggest_funcs="steep", show_plot=False)
    assert only._fields == ("steep",) and only.steep == found.steep
    with pytest.raises(ConfigError, match="No suggestion is called 'valey'.*Did you mean 'valley'"):
        learner.lr_find(num_it=12, suggest_funcs="valey", show_plot=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_lr": 0}, "0 < start_lr < end_lr"),
        ({"end_lr": float("nan")}, "0 < start_lr < end_lr"),
        ({"start_lr": 1, "end_lr": 0.1}, "0 < start_lr < end_lr"),
        ({"num_it": 7}, "at least 8 steps.*num_it=7"),
    ],
)
def test_a_search_that_cannot_rise_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make_learner().lr_find(**options)


def test_half_precision_is_taken_back():
    learner = make_learner().to_bf16()
    learner.fit(1, 0.01)
    before = everything(learner)
    disturb(learner, num_it=12)
    assert_same(everything(learner), before)
    assert not torch.is_autocast_enabled("cpu")


def test_mean_squared_error_learners_search_too():
    pairs = [(x, x[:, :1] * 2) for x, _ in batches()]
    model = nn.Linear(6, 1)
    learner = make_learner(model, DataLoaders(pairs, device="cpu"), loss_func=F.mse_loss)
    assert 1e-7 < learner.lr_find(show_plot=False).valley < 10
