"""What a metric is, and the four ways to make one: a ratio of sums, a mean of batches, everything kept, torchmetrics.

All accumulate on the device: nothing waits for it before `compute`. Every metric is right on an uneven last batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fastlearn.errors import ConfigError, DataError, FastlearnError
from fastlearn.options import checked_function, checked_number, checked_whole, found, named_options

NAMELESS = "metric"  # the name of a lambda in the table
TaskName = Literal["classification", "multilabel", "regression"]
Activation = Literal["no", "sigmoid", "softmax", "binarysoftmax"]
Parts = Callable[..., tuple[Tensor, int | Tensor]]


class Metric:
    """A number over all batches seen since `reset`. Give `update` the model's raw outputs and the targets.

    `suits` names the tasks that it fits (None: any), `sums` are tensors that several processes may add up to get the
    metric of all of them (None where that needs more than a sum).
    """

    name: str = ""
    suits: tuple[TaskName, ...] | None = None

    @property
    def spoken(self) -> str:
        """What a message calls it: a function without a name is just the metric."""
        return "The metric" if self.name == NAMELESS else f"The metric {self.name}"

    def reset(self) -> None:
        raise self._lacks("reset()")

    def update(self, outputs: Any, targets: Any) -> None:
        raise self._lacks("update(outputs, targets)")

    def compute(self) -> float:
        """The number so far; NaN before the first update. Waits for the device."""
        raise self._lacks("compute()")

    def _lacks(self, method: str) -> ConfigError:
        return ConfigError(
            f"The metric {type(self).__name__} has no {method}. A Metric of your own has reset(), "
            "update(outputs, targets) and compute(), which gives a number."
        )

    @property
    def value(self) -> float:
        return self.compute()

    @property
    def sums(self) -> list[Tensor] | None:
        return None

    def problem(self, task: Any) -> str | None:
        """Why the metric cannot be used for a task of a kind that it suits, or None."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What has been accumulated; empty for metrics that keep every batch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class Ratio(Metric):
    """total/count over all samples, each update adding `parts(outputs, targets)`, a sum and how many it summed.

    `finish` maps the quotient to the value (a square root, say).
    """

    @named_options
    def __init__(
        self,
        name: str,
        parts: Parts,
        finish: Callable[[float], float] | None = None,
        suits: tuple[TaskName, ...] | None = None,
    ) -> None:
        self.name, self.parts, self.finish, self.suits = name, parts, finish, suits
        self.total: Tensor | None = None
        self.count: int | Tensor = 0

    def reset(self) -> None:
        self.total, self.count = None, 0

    def update(self, outputs: Any, targets: Any) -> None:
        total, count = self.parts(outputs, targets)
        total = wide(total.detach())
        self.total = total if self.total is None else self.total + total
        self.count = self.count + count

    def compute(self) -> float:
        if self.total is None or not float(self.count):
            return float("nan")
        quotient = float(self.total) / float(self.count)
        return self.finish(quotient) if self.finish is not None else quotient

    @property
    def sums(self) -> list[Tensor]:
        """[total, count]; give back summed ones by `load_state_dict`."""
        total = torch.zeros(()) if self.total is None else self.total
        return [total, torch.as_tensor(self.count, dtype=total.dtype, device=total.device)]

    def state_dict(self) -> dict[str, Any]:
        total, count = self.sums
        return {"total": total, "count": count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.count = state["total"], state["count"]


class BatchMean(Ratio):
    """Any function (outputs, targets) → the mean of a batch, as a mean over samples: weighted by the batch size."""

    @named_options
    def __init__(self, func: Callable[..., Any], name: str | None = None) -> None:
        self.func = checked_function(func, "func")
        super().__init__(name or name_of(func), self._parts)

    def _parts(self, outputs: Any, targets: Any) -> tuple[Tensor, int]:
        mean, n = self.func(outputs, targets), batch_size(targets)
        if not isinstance(mean, Tensor):
            mean = torch.tensor(one_number(mean, self), dtype=torch.float64)
        if mean.numel() != 1:
            raise DataError(f"{self.spoken} gave a tensor of shape {tuple(mean.shape)}, expected one number a batch.")
        return wide(mean.detach().reshape(())) * n, n


class AccumMetric(Metric):
    """A function of all outputs and targets at once, which are kept on the device until `compute`.

    `dim_argmax` replaces outputs by their class, `activation` is 'no', 'sigmoid', 'softmax' or 'binarysoftmax' (the
    second class' probability), `thresh` makes booleans, `to_np` hands over numpy arrays, `invert_arg` targets first.
    """

    @named_options
    def __init__(
        self,
        func: Callable[..., Any],
        dim_argmax: int | None = None,
        activation: Activation = "no",
        thresh: float | None = None,
        to_np: bool = False,
        invert_arg: bool = False,
        flatten: bool = True,
        name: str | None = None,
    ) -> None:
        if activation not in get_args(Activation):
            raise ConfigError(f"activation={found(activation)}: choose {', '.join(map(repr, get_args(Activation)))}.")
        self.func, self.activation = checked_function(func, "func"), activation
        self.dim_argmax = None if dim_argmax is None else checked_whole(dim_argmax, "dim_argmax")
        self.thresh = None if thresh is None else checked_number(thresh, "thresh", 0.5)
        self.to_np, self.invert_arg, self.flatten = to_np, invert_arg, flatten
        self.name = name or name_of(func)
        self.reset()

    def reset(self) -> None:
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: Any, targets: Any) -> None:
        preds = activated(outputs.detach(), self.activation)
        if self.dim_argmax is not None:
            preds = preds.argmax(self.dim_argmax)
        if self.thresh is not None:
            preds = preds > self.thresh
        self.outputs.append(preds.reshape(-1) if self.flatten else preds)
        self.targets.append(targets.detach().reshape(-1) if self.flatten else targets.detach())

    def compute(self) -> float:
        if not self.outputs:
            return float("nan")
        pair: list[Any] = [torch.cat(self.outputs), torch.cat(self.targets)]
        if self.to_np:
            pair = [part.cpu().numpy() for part in pair]
        return one_number(self._called(*(reversed(pair) if self.invert_arg else pair)), self)

    def _called(self, *pair: Any) -> Any:
        try:
            return self.func(*pair)
        except FastlearnError:
            raise
        except Exception as error:
            raise DataError(f"{self.spoken} failed: {type(error).__name__}: {error}") from error

    def __call__(self, preds: Tensor, targets: Tensor) -> float:
        """The value for one pair alone; what has been accumulated stays."""
        kept = self.outputs, self.targets
        self.reset()
        try:
            self.update(preds, targets)
            return self.compute()
        finally:
            self.outputs, self.targets = kept


class FromTorchmetrics(Metric):
    """A torchmetrics metric, fed with raw outputs and targets, and moved to their device at the first update."""

    @named_options
    def __init__(self, metric: Any, name: str | None = None) -> None:
        self.metric = metric
        self.name = name or snake(type(metric).__name__)
        self._seen = False

    def reset(self) -> None:
        self._seen = False
        self.metric.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        if not self._seen:
            self.metric.to(outputs.device)
            self._seen = True
        self.metric.update(outputs.detach(), targets.detach())

    def compute(self) -> float:
        if not self._seen:
            return float("nan")
        value = self.metric.compute()
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise DataError(f"{self.spoken} gives {value!r}, expected one number. Choose average='macro', say.")
        return float(value)


def one_number(value: Any, metric: Metric) -> float:
    """What a user's function gave, as a number; DataError for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{metric.spoken} gave {found(value)}, expected one number. Let it return one.") from error


def activated(outputs: Tensor, activation: str, axis: int = -1) -> Tensor:
    """Probabilities from raw outputs, by the name of the activation."""
    if activation == "no":
        return outputs
    if activation == "sigmoid":
        return outputs.sigmoid()
    probs = outputs.softmax(axis)
    return probs.select(axis, 1) if activation == "binarysoftmax" else probs


def wide(x: Tensor) -> Tensor:
    """`x` as float64, so that sums over millions keep their digits; float32 on devices without it."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def batch_size(targets: Any) -> int:
    """The samples of a batch: the length of the first tensor in it."""
    if isinstance(targets, dict):
        return batch_size(next(iter(targets.values())))
    if isinstance(targets, Sequence) and targets:
        return batch_size(targets[0])
    return len(targets)


def name_of(func: Any) -> str:
    """A readable name for a function, partial, class or instance: `accuracy_multi`, `f1_score`."""
    while hasattr(func, "func"):
        func = func.func
    name = getattr(func, "__name__", None)
    return NAMELESS if name == "<lambda>" else name if name else snake(type(func).__name__)


def snake(name: str) -> str:
    """`F1ScoreMulti` → `f1_score_multi`, `APScoreBinary` → `ap_score_binary`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
