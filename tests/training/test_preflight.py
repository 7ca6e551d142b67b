from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import assert_same, batches, everything, make_learner, samples, shuffled, small_net
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.foreign import ForeignLoader
from fastlearn.errors import ConfigError, DataError, FastlearnError, TrainingError
from fastlearn.losses import BCELossFlat, BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastlearn.metrics import accuracy
from fastlearn.task import Classification
from fastlearn.training.preflight import first_samples, preflight

CPU = torch.device("cpu")


def assert_fails(message, error: type[FastlearnError] = DataError, dls=None, **options) -> None:
    """The first fit fails with the message, before any step."""
    learner = make_learner(dls=dls, **options)
    learner.create_opt()
    before = everything(learner)
    with pytest.raises(error, match=message):
        learner.fit(1, 0.01)
    assert_same(everything(learner), before)


def bad_targets(value: int):
    given = batches()
    given[0][1][0] = value
    return given


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(), CrossEntropyLossFlat()])
@pytest.mark.parametrize("value", [3, -1])
def test_targets_out_of_range(loss, value):
    message = rf"target {value} is out of range: the model has 3 outputs, so class numbers go from 0 to 2"
    assert_fails(message, dls=DataLoaders(bad_targets(value), device="cpu"), loss_func=loss)
    x, y = (torch.cat(parts) for parts in zip(*bad_targets(value), strict=True))
    assert_fails(message, dls=DataLoaders(DataLoader(TensorDataset(x, y), 16), device="cpu"), loss_func=loss)


def binary(value: float):
    return [(x, torch.full((len(x), 3), value)) for x, _ in batches()]


@pytest.mark.parametrize(
    "loss",
    [
        nn.BCEWithLogitsLoss(),
        BCEWithLogitsLossFlat(),
        BCELossFlat(),
        F.binary_cross_entropy_with_logits,
        partial(F.binary_cross_entropy, reduction="sum"),
    ],
)
@pytest.mark.parametrize("value", [2.0, -1.0])
def test_targets_out_of_range_of_binary_cross_entropy(loss, value):
    message = rf"target {value:g} is out of range: .*takes targets from 0 \(no\) to 1 \(yes\)"
    assert_fails(message, dls=DataLoaders(binary(value), device="cpu"), loss_func=loss)


def test_soft_targets_are_no_fault():
    learner = make_learner(dls=DataLoaders(binary(0.5), device="cpu"), loss_func=BCEWithLogitsLossFlat())
    learner.fit(1, 0.01)
    assert len(learner.recorder.epochs) == 1


def test_ignored_targets_are_no_fault():
    for value, options in ((-100, {}), (9, {"loss_func": nn.CrossEntropyLoss(ignore_index=9)})):
        learner = make_learner(dls=DataLoaders(bad_targets(value), device="cpu"), **options)
        learner.fit(1, 0.01)
        assert len(learner.recorder.epochs) == 1


def test_a_loss_that_does_not_fit_is_named_with_shapes():
    assert_fails(r"The loss mse_loss does not take.*\(2 × 3, float32\) with targets \(2, int64\)", loss_func=mse_loss)


def mse_loss(outputs, targets):
    raise ValueError("shapes differ")


def test_a_loss_of_the_wrong_form():
    assert_fails(
        r"loss has shape \(2,\).*reduction='mean'", TrainingError, loss_func=nn.CrossEntropyLoss(reduction="none")
    )
    assert_fails("returned float, not a tensor", TrainingError, loss_func=lambda outputs, targets: 1.0)


def test_a_metric_that_raises_is_found_before_training():
    def strict(outputs, targets):
        raise KeyError("no such thing")

    assert_fails(r"The metric strict does not take the model's outputs \(2 × 3, float32\)", ConfigError, metrics=strict)


def test_outputs_and_classes_must_agree():
    task = Classification(["a", "b", "c", "d"])
    x, y = batches(1)[0]
    with pytest.raises(ConfigError, match=r"The model has 3 outputs, but the data have 4 classes.*n_out=4"):
        preflight(small_net(), (x, y), 1, F.cross_entropy, (), task, make_learner().precision)
    with pytest.raises(DataError, match="Targets out of range: found 4"):
        preflight(small_net(), (x, y * 0 + 4), 1, F.cross_entropy, (), task, make_learner().precision)


def test_it_changes_nothing():
    learner = make_learner(small_net(0.5), shuffled(), metrics=accuracy)
    learner.create_opt()
    learner.model[2].eval()
    before = everything(learner)
    batch = first_samples(learner.dls.train, CPU)
    preflight(learner.model, batch, 1, F.cross_entropy, learner.metrics, None, learner.precision)
    assert_same(everything(learner), before)


class Draws(Dataset):
    """Augments from every global generator."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, i):
        x, y = samples(32)[i]
        return x + torch.randn(6) + np.random.rand() + random.random(), y


def test_looking_at_samples_draws_nothing_from_the_user_s_generators():
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    before = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    x, _ = first_samples(ForeignLoader(DataLoader(Draws(), 8), device="cpu"), CPU)
    assert x.shape == (2, 6)
    assert_same((random.getstate(), np.random.get_state()[1], torch.get_rng_state()), before)


class Numbers(IterableDataset):
    def __len__(self) -> int:
        return 32

    def __iter__(self):
        return iter(samples(32))


class ByName(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, name):
        return {"a": samples(1)[0], "b": samples(1)[0]}[name]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Numbers(), 8),
        DataLoader(ByName(), batch_size=2, sampler=["a", "b"]),
        DataLoader(samples(8), batch_size=None),
    ],
)
def test_what_cannot_be_looked_into_is_left_alone(loader):
    assert first_samples(ForeignLoader(loader, device="cpu"), CPU) is None
    if loader.batch_size:
        make_learner(dls=DataLoaders(loader, device="cpu")).fit(1, 0.01)


def test_it_runs_once_for_each_change_of_what_it_looks_at():
    calls = []

    def loss(outputs, targets):
        calls.append(len(outputs))
        return F.cross_entropy(outputs, targets)

    learner = make_learner(loss_func=loss)
    learner.fit(1, 0.01)
    learner.fit(1, 0.01)
    assert calls.count(2) == 1
    learner.metrics = [accuracy]
    learner.fit(1, 0.01)
    assert calls.count(2) == 2
