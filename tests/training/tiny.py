"""Tiny deterministic learners for the tests of training, and a picture of everything that a learner is."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.loaders import DataLoader
from fastlearn.learner import Learner


def samples(n: int = 80, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """`n` samples: six numbers and a class of three."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    y = (x[:, 0] + x[:, 1] > 0).long() + (x[:, 2] > 1).long()
    return list(zip(x, y, strict=True))


def batches(n: int = 5, size: int = 16, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """The same as ready batches."""
    whole = samples(n * size, seed)
    parts = [whole[i * size : (i + 1) * size] for i in range(n)]
    return [(torch.stack([x for x, _ in part]), torch.stack([y for _, y in part])) for part in parts]


def small_net(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 3))


def halves(model: nn.Sequential) -> list[list[nn.Parameter]]:
    """Body and head of `small_net`."""
    return [[*model[0].parameters(), *model[1].parameters()], list(model[4].parameters())]


def shuffled(n: int = 80, bs: int = 16) -> DataLoaders:
    """Loaders of our own, the training one shuffling."""
    return DataLoaders(
        DataLoader(samples(n), bs, shuffle=True, drop_last=True, train=True, seed=5, device="cpu"),
        DataLoader(samples(40, seed=1), bs, seed=5, device="cpu"),
    )


class Chaining(Learner):
    """A learner whose training methods return it, so that a test says on one line what was done."""

    def fit(self, *args: Any, **options: Any) -> Chaining:  # type: ignore[override]
        super().fit(*args, **options)
        return self

    def fit_one_cycle(self, *args: Any, **options: Any) -> Chaining:  # type: ignore[override]
        super().fit_one_cycle(*args, **options)
        return self

    def freeze_to(self, n: int) -> Chaining:  # type: ignore[override]
        super().freeze_to(n)
        return self

    def freeze(self) -> Chaining:  # type: ignore[override]
        return self.freeze_to(-1)

    def unfreeze(self) -> Chaining:  # type: ignore[override]
        return self.freeze_to(0)


def make_learner(model: nn.Module | None = None, dls: Any = None, **options: Any) -> Chaining:
    """A quiet learner over fixed batches."""
    dls = DataLoaders(batches(), batches(2, seed=1), device="cpu") if dls is None else dls
    chosen = {"loss_func": F.cross_entropy, "seed": 1, "default_cbs": False} | options
    return Chaining(dls, small_net() if model is None else model, **chosen)


def weights(learner: Learner) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in learner.model.state_dict().items()}


def everything(learner: Learner) -> dict[str, Any]:
    """All that a learner's further training depends on, generators included."""
    assert learner.opt is not None
    return {
        "weights": weights(learner),
        "trained": [p.requires_grad for p in learner.model.parameters()],
        "modes": [module.training for module in learner.model.modules()],
        "optimizer": copy.deepcopy(learner.opt.state_dict()),
        "counters": (learner.epoch, learner.global_step, learner.seed),
        "recorder": copy.deepcopy(learner.recorder.state_dict()),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],
        "python": random.getstate(),
    }


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Equal bit for bit, through dicts and lists; NaN equals NaN, and the wall-clock column is left out."""
    if isinstance(ours, Tensor):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), where
    elif isinstance(ours, np.ndarray):
        assert np.array_equal(ours, theirs), where
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours.keys() - {"time"}:
            assert_same(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(a, b, f"{where}/{i}")
    else:
        assert ours == theirs or (ours != ours and theirs != theirs), f"{where}: {ours!r} is not {theirs!r}"
