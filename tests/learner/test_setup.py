"""What a learner refuses, in words; and what is switched on and off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import batches, halves, make_learner, small_net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.download import untar_data
from fastlearn.data.urls import URLs
from fastlearn.errors import ConfigError, FastlearnError, TrainingError
from fastlearn.learner import Learner
from fastlearn.metrics import accuracy, error_rate
from fastlearn.training.callback import Callback
from fastlearn.training.optimizer import SGD


def dls() -> DataLoaders:
    return DataLoaders(batches(), batches(2, seed=1), device="cpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "Learner needs DataLoaders first, not NoneType"),
        ([1, 2], "not list. Wrap loaders of your own"),
        (DataLoaders, "Learner needs DataLoaders first"),
        (DataLoader(TensorDataset(torch.zeros(2, 6)), 2), r"not DataLoader.*DataLoaders\(train_loader, valid_loader\)"),
    ],
)
def test_data_that_are_no_dataloaders(given, message):
    with pytest.raises(ConfigError, match=message):
        Learner(given, small_net(), F.cross_entropy)


@pytest.mark.parametrize(
    ("model", "message"),
    [(nn.Linear, "the class itself; call it first"), (None, "not None"), ("resnet18", "not 'resnet18'")],
)
def test_a_model_that_is_none(model, message):
    with pytest.raises(ConfigError, match=message):
        Learner(dls(), model, F.cross_entropy)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss, r"the class CrossEntropyLoss itself; give an object: CrossEntropyLoss\(\)"),
        ("mse", "must be a function of"),
        (None, "do not say what is predicted, so give a loss"),
    ],
)
def test_a_loss_that_is_none(loss, message):
    with pytest.raises(ConfigError, match=message):
        Learner(dls(), small_net(), loss)


BAD_RATES = [0, -1e-3, float("nan"), float("inf"), "fast", slice(None), slice(0, 1e-3), [1e-3, float("nan")]]


@pytest.mark.parametrize("lr", BAD_RATES)
def test_a_learning_rate_that_is_none(lr):
    learner = make_learner(splitter=halves)
    for call in (learner.fit, learner.fit_one_cycle, learner.fit_flat_cos, lambda n, lr: learner.fit_sgdr(n, 1, lr)):
        with pytest.raises(ConfigError, match=r"learning rate must be a number above 0|has no upper end"):
            call(1, lr)
    with pytest.raises(ConfigError):
        make_learner(lr=lr)
    assert (learner.global_step, learner.opt) == (0, None)


@pytest.mark.parametrize("n_epoch", [-1, 1.5, "3", True, None])
def test_epochs_are_a_whole_number(n_epoch):
    with pytest.raises(ConfigError, match="number of epochs is a whole number from 0"):
        make_learner().fit(n_epoch, 0.01)


def test_no_epochs_are_no_fault():
    assert make_learner().fit(0, 0.01).global_step == 0


def test_callbacks_and_events():
    with pytest.raises(ConfigError, match=r"no event 'after_epock'.*Did you mean 'after_epoch'"):
        make_learner().on("after_epock")
    for every in (0, -1, 1.5, "3"):
        with pytest.raises(ConfigError, match="never comes"):
            make_learner().on("after_epoch", every=every)
    with pytest.raises(ConfigError, match="cbs takes callbacks, not 7"):
        make_learner(cbs=7)
    with pytest.raises(ConfigError, match="cbs takes callbacks"):
        make_learner().fit(1, 0.01, cbs="early")


def test_a_function_at_every_second_epoch():
    learner, seen = make_learner(), []

    @learner.on("after_epoch", every=2)
    def report(state):
        seen.append(state.epoch)

    learner.fit(5, 0.01)
    assert seen == [2, 4] and callable(report)


def test_callbacks_come_and_go():
    class Counts(Callback):
        count = 0

        def after_fit(self, state):
            self.count += 1

    one, two = Counts(), Counts()
    learner = make_learner(cbs=[one, two])
    learner.fit(0, 0.01)
    learner.remove_cb(one).fit(0, 0.01)
    learner.remove_cb(Counts).add_cb(one).fit(0, 0.01)
    assert (one.count, two.count) == (2, 2)


def test_no_bar_is_silent(capsys):
    learner = make_learner(default_cbs=True, splitter=halves)
    with learner.no_bar() as same:
        assert same is learner
        learner.fine_tune(1)
        learner.lr_find(num_it=12, show_plot=False)
        learner.validate()
    said = capsys.readouterr()
    assert said.out == said.err == ""
    learner.fit(1, 0.01)
    assert "epoch 2 (1 of 1)" in capsys.readouterr().out


def test_sixteen_bits_on_the_cpu_say_so_once(capsys):
    learner = make_learner()
    assert learner.to_fp16() is learner and learner.precision.name == "bf16"
    assert capsys.readouterr().out.count("using bf16") == 1
    learner.fit(1, 0.01)
    learner.get_preds()
    learner.to_bf16()
    assert capsys.readouterr().out == "" and learner.to_fp32().precision.name == "fp32"


def test_the_seed_follows_the_global_one_unless_given():
    torch.manual_seed(4)
    first = make_learner(model=nn.Linear(6, 3), seed=None).seed
    torch.manual_seed(4)
    nn.Linear(6, 3)
    torch.manual_seed(4)
    assert make_learner(model=nn.Linear(6, 3), seed=None).seed == first
    assert make_learner(seed=7).seed == 7


def test_learner_wide_decay_and_that_of_one_fit():
    learner = make_learner(wd=0.3, opt_func=SGD)
    learner.create_opt()
    assert {group["wd"] for group in learner.opt.param_groups} == {0.3}
    learner.fit(1, 0.01, wd=0.1)
    assert {group["wd"] for group in learner.opt.param_groups} == {0.1}


@pytest.mark.parametrize("wd", [-0.1, float("nan"), "much"])
def test_a_decay_that_makes_no_sense(wd):
    with pytest.raises(FastlearnError):
        make_learner().fit(1, 0.01, wd=wd)
    with pytest.raises(FastlearnError):
        make_learner(wd=wd).create_opt()


@pytest.mark.parametrize("start_epoch", [-1, 1.5, "x"])
def test_a_start_that_makes_no_sense(start_epoch):
    with pytest.raises(ConfigError, match="start_epoch"):
        make_learner().fit(2, 0.01, start_epoch=start_epoch)


def test_a_new_model_gets_a_new_optimizer_over_its_own_parameters():
    learner = make_learner()
    learner.fit(1, 0.01)
    learner.model = small_net()
    before = learner.model[0].weight.detach().clone()
    learner.create_opt()
    learner.fit(1, 0.01)
    assert not torch.equal(learner.model[0].weight, before)


def test_numpy_epochs_are_epochs():
    assert make_learner().fit(np.int64(1), 0.01).epoch == 1


def test_a_misspelt_name_gets_the_nearest():
    learner = make_learner()
    with pytest.raises(AttributeError, match=r"A Learner has no 'fine_tun'\. Did you mean 'fine_tune'"):
        _ = learner.fine_tun
    assert not hasattr(learner, "_ipython_display_")


def test_models_are_kept_beside_the_data_but_not_in_the_package(tmp_path):
    data = DataLoaders(batches(), batches(2, seed=1), device="cpu", path=tmp_path)
    assert Learner(data, small_net(), F.cross_entropy).path == tmp_path
    data.path = untar_data(URLs.DIGITS)
    assert str(Learner(data, small_net(), F.cross_entropy).path) == "."
    assert Learner(data, small_net(), F.cross_entropy, path=tmp_path).path == tmp_path


def test_a_step_that_cannot_be_one_is_refused():
    learner = make_learner()
    with pytest.raises(ConfigError, match="learn.step is a function of the state"):
        learner.step = 3
    learner.step = lambda state: None
    with pytest.raises(TrainingError, match="must set state.loss"), learner.no_bar():
        learner.fit(1)


def test_a_step_that_goes_backward_in_validation_is_told_so():
    learner = make_learner()

    def step(state):
        state.outputs = state.model(*state.inputs)
        state.loss = state.loss_func(state.outputs, *state.targets)
        state.loss.backward()

    learner.step = step
    with pytest.raises(TrainingError, match="if state.training:"), learner.no_bar():
        learner.fit(1)


def test_a_function_without_the_state_cannot_be_registered():
    learner = make_learner()
    with pytest.raises(ConfigError, match=r"write `def report\(state\):`"):

        @learner.on("after_epoch")
        def report():
            pass


def test_a_metric_may_be_appended():
    learner = make_learner(metrics=accuracy)
    learner.metrics.append(error_rate)
    with learner.no_bar():
        learner.fit(1)
    assert "error_rate" in learner.recorder.metric_names
