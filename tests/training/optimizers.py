"""Every optimizer that fastlearn has, and small parameters to move with them."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from fastlearn.training.lookahead import Lookahead, ranger
from fastlearn.training.optimizer import SGD, Adam
from fastlearn.training.optimizers_extra import Lamb, Larc, QHAdam, RAdam, RMSProp


def looked(params, lr):
    return Lookahead(SGD(params, lr, mom=0.9), k=3, alpha=0.3)


EVERY = {
    "SGD": SGD,
    "SGD momentum": partial(SGD, mom=0.9, wd=0.01),
    "SGD unfused": partial(SGD, mom=0.9, wd=0.01, fused=False),
    "Adam": Adam,
    "Adam unfused": partial(Adam, fused=False),
    "RAdam": partial(RAdam, wd=0.01),
    "QHAdam": partial(QHAdam, nu_2=0.8, mom=0.9, wd=0.1),
    "RMSProp": partial(RMSProp, mom=0.9, wd=0.01),
    "Larc": partial(Larc, wd=0.01),
    "Lamb": partial(Lamb, wd=0.1),
    "Lookahead": looked,
    "ranger": ranger,
}


def seven_steps(opt_func, n=7, start=(1.0, 2.0, -3.0)):
    param = nn.Parameter(torch.tensor(start))
    optimizer = opt_func([param], lr=0.1)
    for k in range(1, n + 1):
        param.grad = k * torch.tensor([0.1, -0.2, 0.3])
        optimizer.step()
    return param.tolist()


def small(seed=0):
    torch.manual_seed(seed)
    return [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(2, 2))]


def give_grads(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator)


def take_steps(optimizer, params, seeds):
    for seed in seeds:
        give_grads(params, seed)
        optimizer.step()
