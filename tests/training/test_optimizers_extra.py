"""What torch's optimizers lack."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from optimizers import give_grads, seven_steps, small

from fastlearn.training.optimizers_extra import Lamb, Larc, RAdam


@pytest.mark.parametrize("opt_func", [Larc, partial(Larc, clip=False), Lamb])
def test_zero_weights_are_not_stuck(opt_func):
    assert all(abs(weight) > 1e-3 for weight in seven_steps(opt_func, start=(0.0, 0.0, 0.0)))


def test_a_late_parameter_has_its_own_bias_correction():
    params, alone = small(), small()
    optimizer = RAdam(params, lr=0.05)
    for seed in range(3):
        give_grads(params, seed)
        params[2].grad = None
        optimizer.step()
    single = RAdam([alone[2]], lr=0.05)
    for seed in range(8):
        give_grads(params, seed)
        optimizer.step()
        alone[2].grad = params[2].grad.clone()
        single.step()
    torch.testing.assert_close(params[2], alone[2])
