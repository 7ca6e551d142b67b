from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastlearn.callbacks.param_scheduler import ParamScheduler
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import ConfigError
from fastlearn.learner import Learner
from fastlearn.training.schedule import SchedLin, combined_cos


def make_learner() -> Learner:
    x = torch.arange(12.0).view(6, 2)
    batches = [(x, torch.tensor([0, 1] * 3))] * 4
    return Learner(DataLoaders(batches, batches[:1], device="cpu"), nn.Linear(2, 2), F.cross_entropy)


def test_the_curves_are_followed_over_the_whole_fit():
    learn, lr, mom = make_learner(), combined_cos(0.25, 1e-4, 1e-2, 1e-5), SchedLin(0.9, 0.8)
    with learn.no_bar():
        learn.fit(2, cbs=ParamScheduler({"lr": lr, "mom": mom}))
    assert learn.recorder.lrs == pytest.approx([lr(i / 8) for i in range(8)])
    assert learn.recorder.moms == pytest.approx([0.9 - 0.1 * i / 8 for i in range(8)])


@pytest.mark.parametrize(
    ("scheds", "said"), [({"lrr": SchedLin(0, 1)}, "Did you mean 'lr'"), ({"lr": 0.1}, "a function")]
)
def test_what_cannot_be_scheduled(scheds, said):
    with pytest.raises(ConfigError, match=said):
        ParamScheduler(scheds)
