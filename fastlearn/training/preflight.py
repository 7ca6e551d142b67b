"""Faults found on two samples before the first batch, so that they do not show after an hour."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from fastlearn.errors import ConfigError, DataError, DeviceMemoryError, FastlearnError
from fastlearn.losses import BCELossFlat, BCEWithLogitsLossFlat
from fastlearn.metrics import Metric
from fastlearn.runtime.device import to_device
from fastlearn.runtime.modes import kept_modes
from fastlearn.runtime.precision import Precision
from fastlearn.runtime.seed import RunKey, kept_generators
from fastlearn.task import Task, check_n_out
from fastlearn.training.explain import is_out_of_memory
from fastlearn.training.loop import check_scalar_loss, set_training_mode

if TYPE_CHECKING:
    from fastlearn.data.loaders import Loader

_BINARY = (nn.BCEWithLogitsLoss, nn.BCELoss, BCEWithLogitsLossFlat, BCELossFlat)
_BINARY_FUNCTIONS = (F.binary_cross_entropy_with_logits, F.binary_cross_entropy)


def first_samples(loader: Loader, device: torch.device, n: int = 2) -> tuple[Any, ...] | None:
    """`n` samples of a loader as a batch on `device`; None for a foreign loader that cannot be looked into.

    A foreign loader is never iterated here, since that may move a position or a generator of its own.
    """
    foreign = getattr(loader, "loader", None)
    if foreign is None:
        batches = loader.batches(RunKey(0, "preflight", 0))
        with closing(batches):  # type: ignore[type-var]
            batch = next(iter(batches), None)
    elif isinstance(foreign, torch.utils.data.DataLoader):
        batch = _first_of_torch(foreign, n)
    else:
        batch = foreign[0] if isinstance(foreign, (list, tuple)) and foreign else None
    if batch is None:
        return None
    batch = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
    return tuple(_first(part, n) for part in to_device(batch, device))


def _first_of_torch(loader: torch.utils.data.DataLoader[Any], n: int) -> Any:
    """The first `n` samples of its data set, collated; None where they are not numbered from 0."""
    dataset: Any = loader.dataset
    if loader.batch_sampler is None or isinstance(dataset, torch.utils.data.IterableDataset):
        return None
    with kept_generators():  # reading a sample may augment it, from the generators that training will draw from
        try:
            return loader.collate_fn([dataset[i] for i in range(min(n, len(dataset)))])
        except (KeyError, IndexError):
            return None


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
    generator = torch.get_rng_state()
    try:
        with kept_modes(model), torch.no_grad(), precision.autocast():
            set_training_mode(model, False)
            outputs = _run(model, inputs)
            _check_outputs(outputs, task)
            _check_classes(loss_func, outputs, targets)
            _check_binary(loss_func, targets)
            loss = _loss(loss_func, outputs, targets)
        check_scalar_loss(loss)
        outputs = outputs.float() if isinstance(outputs, torch.Tensor) else outputs
        for metric in metrics:
            _try_metric(metric, outputs, targets)
    finally:
        torch.set_rng_state(generator)


def _run(model: nn.Module, inputs: tuple[Any, ...]) -> Any:
    try:
        return model(*inputs)
    except FastlearnError:
        raise
    except (AttributeError, IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise DeviceMemoryError(
                f"There is no memory for even {_describe(inputs[0])}: {error} Try smaller pictures "
                "(item_tfms=Resize(128)), or a smaller model."
            ) from error
        raise DataError(
            f"The model {type(model).__name__} does not take the inputs {', '.join(map(_describe, inputs))}: {error}"
        ) from error


def _check_outputs(outputs: Any, task: Task | None) -> None:
    if task is None or not isinstance(outputs, torch.Tensor) or outputs.ndim < 2:
        return
    check_n_out(outputs.shape[1], task)


def _check_classes(loss_func: Any, outputs: Any, targets: tuple[Any, ...]) -> None:
    """Class numbers within the model's outputs, looked at before a GPU would abort on them."""
    if len(targets) != 1 or not all(isinstance(part, torch.Tensor) for part in (outputs, targets[0])):
        return
    name = getattr(loss_func, "__name__", type(loss_func).__name__).lower()
    target = targets[0]
    if "cross" not in name or target.is_floating_point() or (outputs.ndim, target.ndim) != (2, 1) or not len(target):
        return
    ignored = getattr(loss_func, "ignore_index", -100)
    wrong = target[((target < 0) | (target >= outputs.shape[1])) & (target != ignored)]
    if len(wrong):
        raise DataError(
            f"The target {int(wrong[0])} is out of range: the model has {outputs.shape[1]} outputs, so class numbers "
            f"go from 0 to {outputs.shape[1] - 1}. Check the labels, or give the model more outputs (n_out)."
        )


def _check_binary(loss_func: Any, targets: tuple[Any, ...]) -> None:
    """Targets from 0 to 1 for binary cross-entropy: beyond, it falls without end and says nothing."""
    while isinstance(loss_func, partial):
        loss_func = loss_func.func
    if not (isinstance(loss_func, _BINARY) or loss_func in _BINARY_FUNCTIONS):
        return
    if len(targets) != 1 or not isinstance(targets[0], torch.Tensor):
        return
    wrong = targets[0][~((targets[0] >= 0) & (targets[0] <= 1))]  # NaN is neither
    if len(wrong):
        name = getattr(loss_func, "__name__", type(loss_func).__name__)
        raise DataError(
            f"The target {wrong[0].item():g} is out of range: {name} takes targets from 0 (no) to 1 (yes). Check the "
            "labels; for class numbers use CrossEntropyLossFlat(), for numbers to predict MSELossFlat()."
        )


def _loss(loss_func: Callable[..., torch.Tensor], outputs: Any, targets: tuple[Any, ...]) -> torch.Tensor:
    try:
        with warnings.catch_warnings():
            # A loss that stretches one of the two to the other's shape measures something else.
            warnings.filterwarnings("error", "Using a target size")
            return loss_func(outputs, *targets)
    except FastlearnError:
        raise
    except (IndexError, TypeError, ValueError, RuntimeError, UserWarning) as error:
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
            f"{metric.spoken} does not take the model's outputs {_describe(outputs)} with targets "
            f"{', '.join(_describe(target) for target in targets)}: {type(error).__name__}: {error}"
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
