from __future__ import annotations

import pytest
from torch import nn

from fastlearn.runtime.modes import evaluating, kept_modes


def test_each_module_gets_its_own_mode_back() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    model[1].eval()
    with pytest.raises(ZeroDivisionError), kept_modes(model):
        model.eval()
        model[1].train()
        raise ZeroDivisionError
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_a_model_is_evaluated_for_a_while() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    model[1].eval()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise ZeroDivisionError
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
