"""The same small problem through fastlearn as through fastai 2.8.12, whose numbers stand in `goldens/`.

The JSON says the problem in words (`problem`); it is built here again from numpy and torch alone.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.learner import Learner
from fastlearn.metrics import accuracy, error_rate
from fastlearn.training.callback import Callback
from fastlearn.training.hypers import get_hypers
from fastlearn.training.lr_suggest import suggest
from fastlearn.training.optimizer import SGD, Adam

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "fastai_fits.json").read_text())
OPTIMIZERS = {None: Adam, "sgd": SGD, "sgd_mom": partial(SGD, mom=0.9, wd=0.05)}


def make_data() -> tuple[torch.Tensor, torch.Tensor]:
    i, j = np.arange(128.0)[:, None], np.arange(6.0)[None]
    x = np.sin(1.7 * i + 0.9 * j**2 + 0.3)
    k = np.arange(3.0)[None]
    y = (x @ np.sin(2.3 * k + j.T) + 0.4 * np.sin(5.1 * i + 2 * k)).argmax(1)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def make_model() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.BatchNorm1d(10), nn.Linear(10, 3))
    with torch.no_grad():
        for t, parameter in enumerate(model.parameters()):
            k = np.arange(parameter.numel(), dtype=np.float64)
            values = (0.5 if t in (0, 4) else 0.1) * np.sin(1.3 * k + 0.7 * t + 0.2) + (t == 2)
            parameter.copy_(torch.tensor(values, dtype=torch.float32).reshape(parameter.shape))
    return model


def two_groups(model: nn.Sequential) -> list[list[nn.Parameter]]:
    return [[*model[0].parameters(), *model[2].parameters()], [*model[3].parameters()]]


class Tap(Callback):
    """Notes the rates, momenta and loss of every step, fit by fit."""

    def __init__(self) -> None:
        self.fits: list[dict[str, list[Any]]] = []

    def before_fit(self, state):
        self.fits.append({"lrs": [], "moms": [], "losses": []})

    def after_batch(self, state):
        if state.training:
            hypers = get_hypers(state.optimizer)
            self.fits[-1]["lrs"].append(hypers["lr"])
            self.fits[-1]["moms"].append(hypers.get("mom"))
            self.fits[-1]["losses"].append(float(state.loss.detach()))


def make_learner(case: dict[str, Any], tap: Tap | None = None) -> Learner:
    x, y = make_data()
    loaders = [DataLoader(TensorDataset(x[part], y[part]), 16) for part in (slice(88), slice(88, 128))]
    options = dict(case.get("learner", {})) | ({"splitter": two_groups} if case.get("groups") == 2 else {})
    return Learner(
        DataLoaders(*loaders, device="cpu"),
        make_model(),
        nn.CrossEntropyLoss(),
        OPTIMIZERS[case.get("opt")],
        metrics=[accuracy, error_rate],
        cbs=tap,
        default_cbs=False,
        seed=1,
        **options,
    )


def revived(value: Any) -> Any:
    return slice(*value["slice"]) if isinstance(value, dict) else value


def assert_close_to(ours: Any, theirs: Any, **tolerance: float) -> None:
    np.testing.assert_allclose(np.array(ours, dtype=float), np.array(theirs, dtype=float), **tolerance)


def test_the_problem_is_the_one_that_fastai_was_given():
    (x, y), model, probes = make_data(), make_model(), GOLDENS["probes"]
    assert y.tolist() == probes["y"]
    assert_close_to(x[[0, 127]].tolist(), [probes["x[0]"], probes["x[127]"]], rtol=1e-8)
    assert_close_to(model[0].weight[0].tolist(), probes["0.weight[0]"], rtol=1e-8)
    assert_close_to(model[2].weight.tolist(), probes["2.weight"], rtol=1e-8)
    assert_close_to(model.eval()(x[:1])[0].tolist(), probes["logits[0] in eval"], atol=1e-6)


@pytest.mark.parametrize("name", GOLDENS["cases"])
def test_a_training_ends_where_fastai_ends(name):
    case, tap = GOLDENS["cases"][name], Tap()
    learner, done = make_learner(case, tap), 0
    for (call, args, kwargs), result in zip(case["calls"], case["results"], strict=True):
        getattr(learner, call)(*map(revived, args), **kwargs)
        fits, done = tap.fits[done:], len(tap.fits)
        assert len(fits) == len(result["fits"])
        for ours, theirs in zip(fits, result["fits"], strict=True):
            assert_close_to(ours["lrs"], theirs["lrs"], rtol=1e-6, atol=1e-9)  # fastai reckons its position in 32 bits
            if ours["moms"][0] is None:  # ours has no momentum where fastai's is 0
                assert {row[0] for row in theirs["moms"]} == {0.0}
            else:
                assert_close_to(ours["moms"], theirs["moms"], rtol=1e-6)
            assert_close_to(ours["losses"], theirs["losses"], atol=1e-5)
        if fits:  # the recorder holds the whole of a fine_tune
            assert_close_to(learner.recorder.losses, sum((f["smooth_losses"] for f in result["fits"]), []), atol=1e-5)
            assert_close_to(learner.recorder.values, sum((f["values"] for f in result["fits"]), []), atol=1e-5)
    for key, tensor in learner.model.state_dict().items():
        assert_close_to(tensor.flatten().tolist(), case["state"][key], atol=1e-5)


@pytest.mark.parametrize("name", GOLDENS["lr_find"])
def test_the_learning_rate_finder_sees_what_fastai_sees(name):
    golden = GOLDENS["lr_find"][name]
    learner = make_learner({})
    names = list(golden["suggestions"])
    found = learner.lr_find(**golden["options"], show_plot=False, suggest_funcs=tuple(names))
    assert list(found._fields) == names
    curve = learner.recorder.lr_finder
    calm = sum(lr < 0.3 for lr in golden["lrs"])  # beyond, the network diverges and rounding differences grow
    assert abs(len(curve.lrs) - len(golden["lrs"])) <= 3
    assert_close_to(curve.lrs[:calm], golden["lrs"][:calm], rtol=1e-9)
    assert_close_to(curve.losses[:calm], golden["smooth_losses"][:calm], atol=1e-5)
    suggested = suggest(golden["lrs"], golden["smooth_losses"], golden["options"].get("num_it", 100), names)
    assert_close_to([suggested[name].lr for name in names], list(golden["suggestions"].values()), rtol=1e-6)


def sequences(calls, n_batches: int) -> Tap:
    """The rates that `calls(learner)` gives to steps on `n_batches` batches an epoch."""
    tap = Tap()
    x, y = make_data()
    loader = [(x[:8], y[:8])] * n_batches
    model = make_model()
    dls = DataLoaders(loader, device="cpu")
    calls(Learner(dls, model, nn.CrossEntropyLoss(), splitter=two_groups, cbs=tap, default_cbs=False, seed=1))
    return tap


def test_one_cycle_golden_sequence():
    fit = sequences(lambda learner: learner.fit_one_cycle(2, 1e-2), 10).fits[0]
    lrs, moms = [row[-1] for row in fit["lrs"]], [row[-1] for row in fit["moms"]]
    assert_close_to(lrs[:6], [4e-4, 0.001316718, 0.003716719, 0.006683282, 0.009083282, 0.01], atol=1e-9)
    assert_close_to([lrs[-1], moms[1], moms[-1]], [0.000109361, 0.940451, 0.948907], atol=1e-6)


def test_fine_tune_golden_sequence():
    first, second = sequences(lambda learner: learner.fine_tune(2), 10).fits
    assert (len(first["lrs"]), len(second["lrs"])) == (10, 20)
    assert_close_to(first["lrs"][0], [8e-6, 8e-5], rtol=1e-9)
    assert_close_to([second["lrs"][0], second["lrs"][6]], [[2e-6, 2e-4], [1e-5, 1e-3]], rtol=1e-9)
    assert_close_to(second["lrs"][-1], [1.25459e-7, 1.25459e-5], rtol=1e-5)
