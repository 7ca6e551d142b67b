"""Decoupled decay, exemptions, and steps that the device calls off."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from optimizers import EVERY, give_grads, small, take_steps

from fastlearn.training.optimizer import Adam, make_optimizer


@pytest.mark.parametrize("name", EVERY)
def test_a_step_flagged_on_the_device_changes_nothing(name):
    clean, flagged = small(), small()
    take_steps(EVERY[name](clean, lr=0.05), clean, [0, 1, 2, 3, 4, 5, 6])
    optimizer = EVERY[name](flagged, lr=0.05)
    taken = [0, None, 1, 2, None, 3, 4, 5, 6] if "ook" not in name and name != "ranger" else [0, 1, 2, 3, 4, 5, 6]
    for seed in [None, *taken] if len(taken) > 7 else taken:  # the very first step too
        before = [param.detach().clone() for param in flagged]
        give_grads(flagged, 0 if seed is None else seed)
        if seed is None:
            flagged[0].grad[0, 0] = float("nan")
        optimizer.found_inf = torch.tensor(float(seed is None))
        optimizer.step()
        if seed is None:
            assert all(torch.equal(a, b) for a, b in zip(before, flagged, strict=True))
    for a, b in zip(clean, flagged, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Lamb"])
def test_grad_scale_divides_the_gradients(name):
    plain, scaled = small(), small()
    take_steps(EVERY[name](plain, lr=0.05), plain, [1])
    optimizer = EVERY[name](scaled, lr=0.05)
    give_grads(scaled, 1)
    for param in scaled:
        param.grad *= 1024
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(1024.0), torch.tensor(0.0)
    optimizer.step()
    for a, b in zip(plain, scaled, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["SGD momentum", "Adam", "Lamb"])
def test_decay_spares_the_exempt_and_those_without_gradient(name):
    params = small()
    start = [param.detach().clone() for param in params]
    optimizer = make_optimizer(EVERY[name], [params], lr=0.1, wd=0.5, exempt=[params[1]])
    for param in params[:2]:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    torch.testing.assert_close(params[0].detach(), start[0] * (1 - 0.1 * 0.5))
    assert torch.equal(params[1], start[1])
    assert torch.equal(params[2], start[2])
    reloaded = EVERY[name](small(), lr=0.1)
    reloaded.load_state_dict(optimizer.state_dict())
    assert reloaded.param_groups[0]["wd"] == 0.5
    assert reloaded.param_groups[0]["decay"] == [True, False, True]


def test_exemption_survives_a_deep_copy():
    params = small()
    optimizer = Adam(params, wd=0.3)
    optimizer.exempt(params[:1])
    assert copy.deepcopy(optimizer).param_groups[0]["decay"] == [False, True, True]


def test_a_training_does_not_import_torch_s_compiler():
    """It takes seconds, at the first optimizer, step or state dict, and nobody here compiles anything."""
    code = """
import sys, torch, torch.nn.functional as F
from torch import nn
from fastlearn.data.dataloaders import DataLoaders
from fastlearn.learner import Learner
batches = [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))] * 3
learn = Learner(DataLoaders(batches, batches, device="cpu"), nn.Linear(3, 2), F.cross_entropy)
with learn.no_bar():
    learn.fine_tune(1); learn.lr_find(num_it=20); learn.validate(); learn.get_preds()
learn.opt.load_state_dict(learn.opt.state_dict())
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
