"""Learning rates and momentums of any optimizer."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from optimizers import small, take_steps

from fastlearn.errors import ConfigError
from fastlearn.training.hypers import check_lr, get_hypers, lr_groups, set_hypers
from fastlearn.training.lookahead import ranger
from fastlearn.training.optimizer import SGD, Adam, OptimWrapper, make_optimizer
from fastlearn.training.optimizers_extra import Larc


@pytest.mark.parametrize(
    ("opt_func", "key"),
    [
        (torch.optim.SGD, None),
        (partial(torch.optim.SGD, momentum=0.9), "momentum"),
        (torch.optim.AdamW, "betas"),
        (torch.optim.Adagrad, None),
        (partial(OptimWrapper, opt=torch.optim.Adam), "betas"),
        (Adam, "betas"),
        (SGD, None),
        (partial(SGD, mom=0.9), "momentum"),
        (ranger, "betas"),
        (Larc, "momentum"),
    ],
)
def test_hypers_of_any_optimizer(opt_func, key):
    first, second, third = small()
    optimizer = make_optimizer(opt_func, [[first], [second, third]], lr=slice(1e-4, 1e-2))
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert get_hypers(optimizer)["lr"] == pytest.approx([1e-4, 1e-2])
    set_hypers(optimizer, lr=[0.3, 0.2], mom=0.85)
    hypers = get_hypers(optimizer)
    assert hypers["lr"] == [0.3, 0.2]
    assert hypers.get("mom") == (None if key is None else [0.85, 0.85])
    if key is None and "momentum" in optimizer.param_groups[0]:
        assert optimizer.param_groups[0]["momentum"] == 0
    set_hypers(optimizer, lr=0.1)
    assert get_hypers(optimizer)["lr"] == [0.1, 0.1]
    take_steps(optimizer, [first, second, third], [0])


def test_rates_kept_as_tensors_are_filled():
    optimizer = torch.optim.Adam(small(), lr=torch.tensor(0.1))
    set_hypers(optimizer, lr=0.5)
    assert float(optimizer.param_groups[0]["lr"]) == 0.5


def test_learning_rates_of_groups():
    assert lr_groups(0.1, 3) == [0.1, 0.1, 0.1]
    assert lr_groups(slice(1e-2), 3) == pytest.approx([1e-3, 1e-3, 1e-2])
    assert lr_groups(slice(1e-6, 1e-2), 3) == pytest.approx([1e-6, 1e-4, 1e-2])
    assert lr_groups(slice(1e-6, 1e-2), 1) == [1e-2]
    assert lr_groups(slice(1e-2), 1) == [1e-2]
    assert lr_groups((0.1, 0.2), 2) == [0.1, 0.2]
    assert lr_groups(np.float32(0.5), 1) == [0.5]
    assert lr_groups(np.array([0.5, 1.0]), 2) == [0.5, 1.0]
    with pytest.raises(ConfigError, match="lr has 2 values, but the model has 3 parameter groups"):
        lr_groups([0.1, 0.2], 3)


@pytest.mark.parametrize("lr", [0, -1e-3, float("nan"), math.inf, "fast", None, slice(0, 1), [0.1, -1.0], slice(None)])
def test_learning_rates_that_cannot_work(lr):
    with pytest.raises(ConfigError, match="learning rate must be a number above 0|no upper end"):
        check_lr(lr)


@pytest.mark.parametrize("lr", [True, np.bool_(True), [1e-3, False]])
def test_true_is_no_learning_rate(lr):
    with pytest.raises(ConfigError, match="must be a number above 0, found (True|False|np.True_)"):
        check_lr(lr)
