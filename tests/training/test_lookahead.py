"""Slow weights around any optimizer."""

from __future__ import annotations

import copy

import torch
from optimizers import give_grads, small, take_steps

from fastlearn.training.decay import DecoupledDecay
from fastlearn.training.lookahead import ranger


def test_lookahead_passes_the_flag_on():
    params = small()
    optimizer = ranger(params, lr=0.1)
    take_steps(optimizer, params, range(2))
    before = [param.detach().clone() for param in params]
    give_grads(params, 5)
    params[1].grad.fill_(float("inf"))
    optimizer.found_inf = torch.ones(1)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, params, strict=True))
    assert not hasattr(optimizer.opt, "found_inf")


def test_repr_and_deepcopy_of_lookahead():
    params = small()
    optimizer = ranger(params, lr=0.1)
    take_steps(optimizer, params, range(7))
    assert repr(optimizer).startswith("Lookahead(k=6, alpha=0.5, RAdam")
    assert copy.deepcopy(optimizer).param_groups[0]["lookahead_step"] == 7
    assert all("slow" in optimizer.state[param] for param in params)
    assert not isinstance(optimizer, DecoupledDecay)
