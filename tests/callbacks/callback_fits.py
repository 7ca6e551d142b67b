"""Small fits for the tests of callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastlearn.data.foreign import ForeignLoader
from fastlearn.runtime.precision import Precision
from fastlearn.training.callback import Callback, Events
from fastlearn.training.loop import default_step, run_fit
from fastlearn.training.optimizer import SGD
from fastlearn.training.recorder import Recorder
from fastlearn.training.state import FitPlan, TrainState

Batches = list[tuple[torch.Tensor, ...]]


def batches(sizes: list[int], n_in: int = 3, seed: int = 0, classes: int = 0) -> Batches:
    """Random inputs of the given batch sizes with regression targets, or class indices."""
    g = torch.Generator().manual_seed(seed)
    made: Batches = []
    for size in sizes:
        x = torch.randn(size, n_in, generator=g)
        made.append((x, torch.randint(classes, (size,), generator=g) if classes else torch.randn(size, 1, generator=g)))
    return made


def make_state(
    model: nn.Module,
    train: Any,
    callbacks: list[Callback],
    *,
    valid: Any = None,
    n_epochs: int = 1,
    optimizer: torch.optim.Optimizer | None = None,
    loss_func: Callable[..., torch.Tensor] = nn.functional.mse_loss,
    path: Path = Path("."),
    recorder: Recorder | None = None,
    **plan: Any,
) -> TrainState:
    """The state of a fit on the CPU over lists of batches (or loaders); SGD at .1 unless an optimizer is given."""
    loader: Any
    other: Any
    loader, other = (ForeignLoader(x, device="cpu") if isinstance(x, list) else x for x in (train, valid))
    made = {"schedule": None, "metrics": (), "seed": 3, "path": path, "model_path": path / "models"} | plan
    fit = FitPlan(n_epochs, loader, other, loss_func, **made)
    recorder = recorder or Recorder()
    optimizer = optimizer or SGD(model.parameters(), lr=0.1)
    return TrainState(
        model, optimizer, Precision(), torch.device("cpu"), recorder, fit, Events(callbacks), epoch=len(recorder.epochs)
    )


def fit(model: nn.Module, train: Any, callbacks: list[Callback], **kwargs: Any) -> TrainState:
    """Run such a fit and return its state."""
    state = make_state(model, train, callbacks, **kwargs)
    run_fit(state, default_step)
    return state


class Sequence(Callback):
    """Overwrites the validation loss (or another value) of each epoch, so that a test says what is monitored."""

    order = -100

    def __init__(self, values: list[float], name: str = "valid_loss") -> None:
        self.values, self.name = values, name

    def after_validate(self, state: TrainState) -> None:
        state.values[self.name] = self.values[state.fit_epoch]


class FakeMetric:
    """A metric that counts the batches it has seen."""

    def __init__(self, name: str = "accuracy") -> None:
        self.name, self.value = name, 0.0

    def reset(self) -> None:
        self.value = 0.0

    def update(self, outputs: torch.Tensor, *targets: torch.Tensor) -> None:
        self.value += 0.25
