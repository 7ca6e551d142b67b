"""Faults found on two samples before the first batch, so that they do not show after an hour."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fastlearn.errors import ConfigError, DataError, FastlearnError
from fastlearn.metrics import Metric
from fastlearn.runtime.device import to_device
from fastlearn.runtime.precision import Precision
from fastlearn.runtime.seed import RunKey
from fastlearn.task import Task, check_n_out
from fastlearn.training.explain import is_out_of_memory
from fastlearn.training.loop import check_scalar_loss, set_training_mode

if TYPE_CHECKING:
    from fastlearn.data.loaders import Loader


def first_samples(loader: Loader, device: torch.device, n: int = 2) -> tuple[Any, ...] | None:
    """`n` samples of a loader as a batch on `device`; None for a foreign loader that cannot be looked into.

    A foreign loader is never iterated here, since that may move a position or a generator of its own.
    """
    foreign = getattr(loader, "loader", None)
    if foreign is None:
        batches = loader.batches(RunKey(0, "preflight", 0))
        with closing(batches):  # type: ignore[type-var]
            batch = next(iter(batches), None)
    elif isinstance(foreign, torch.utils.data.DataLoader) and hasattr(foreign.dataset, "__getitem__"):
        size = min(n, len(foreign.dataset))  # type: ignore[arg-type]
        batch = foreign.collate_fn([foreign.dataset[i] for i in range(size)]) if foreign.batch_sampler else None
    else:
        batch = foreign[0] if isinstance(foreign, (list, tuple)) and foreign else None
    if not isinstance(batch, (tuple, list)):
        return None
    return tuple(_first(part, n) for part in to_device(tuple(batch), device))


def preflight(
    model: nn.Module,
    batch: tuple[Any, ...],
    n_inp: int,
    loss_func: Callable[..., torch.Tensor],
    metrics: Sequence[Metric],
    task: Task | None,
    precision: Precision,
) -> None:
    """Run two samples through model, loss and metrics in evaluation mode.

    Raises ConfigError or DataError that name what does not fit: outputs and classes, targets, loss, metrics. Weights,
    statistics and generators stay as they are.
    """
    inputs, targets = batch[:n_inp], batch[n_inp:]
    if task is not None and len(targets) == 1 and isinstance(targets[0], torch.Tensor):
        task.check_targets(targets[0])
    modes = [(module, module.training) for module in model.modules()]
    generator = torch.get_rng_state()
    set_training_mode(model, False)
    try:
        with torch.no_grad(), precision.autocast():
            outputs = model(*inputs)
            _check_outputs(outputs, task)
            loss = _loss(loss_func, outputs, targets)
        check_scalar_loss(loss)
        outputs = outputs.float() if isinstance(outputs, torch.Tensor) else outputs
        for metric in metrics:
            _try_metric(metric, outputs, targets)
    finally:
        torch.set_rng_state(generator)
        for module, training in modes:
            module.training = training


def _check_outputs(outputs: Any, task: Task | None) -> None:
    if task is None or not isinstance(outputs, torch.Tensor) or outputs.ndim < 2:
        return
    check_n_out(outputs.shape[1], task)


def _loss(loss_func: Callable[..., torch.Tensor], outputs: Any, targets: tuple[Any, ...]) -> torch.Tensor:
    try:
        return loss_func(outputs, *targets)
    except FastlearnError:
        raise
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        name = getattr(loss_func, "__name__", type(loss_func).__name__)
        raise DataError(
            f"The loss {name} does not take the model's outputs {_describe(outputs)} with targets "
            f"{', '.join(_describe(target) for target in targets)}: {error}"
        ) from error


def _try_metric(metric: Metric, outputs: Any, targets: tuple[Any, ...]) -> None:
    try:
        with warnings.catch_warnings():  # two samples rarely hold every class, which some metrics warn of
            warnings.simplefilter("ignore")
            metric.reset()
            metric.update(outputs, *targets)
    except FastlearnError:
        raise
    except Exception as error:
        raise ConfigError(
            f"The metric {metric.name} does not take the model's outputs {_describe(outputs)} with targets "
            f"{', '.join(_describe(target) for target in targets)}: {error}"
        ) from error
    finally:
        metric.reset()


def _first(part: Any, n: int) -> Any:
    if isinstance(part, torch.Tensor):
        return part[:n] if part.ndim else part
    if isinstance(part, (tuple, list)):
        return type(part)(_first(item, n) for item in part)
    if isinstance(part, dict):
        return {name: _first(item, n) for name, item in part.items()}
    return part


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"({' × '.join(str(size) for size in value.shape)}, {str(value.dtype).removeprefix('torch.')})"
    return type(value).__name__
