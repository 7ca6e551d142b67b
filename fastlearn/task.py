"""What is to be learned: how many outputs, which loss, what an answer means, and which targets are sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastlearn.errors import ConfigError, DataError
from fastlearn.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, MSELossFlat
from fastlearn.options import checked_number, found


@dataclass(frozen=True)
class Task:
    """One of the tasks below. `n_out` is the number of outputs that a model for it has."""

    name: ClassVar[str] = ""

    @property
    def outputs(self) -> int:
        """The same as `n_out`, for code that does not know which task it has."""
        return int(getattr(self, "n_out", 0))

    def loss(self) -> nn.Module:
        """A new loss that fits the task, with `activation` and `decodes`."""
        raise NotImplementedError

    def decode(self, pred: Any) -> Any:
        """What one sample's prediction means to a person."""
        raise NotImplementedError

    def check_targets(self, targets: Tensor) -> None:
        """Nothing, if these encoded targets (batch, …) can be trained on; else DataError. Waits for the device."""
        raise NotImplementedError


@dataclass(frozen=True)
class Classification(Task):
    """One label of `vocab` for each sample; targets are its number, int64 (batch,)."""

    vocab: Sequence[Any]
    name: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        _check_vocab(self.vocab)

    @property
    def n_out(self) -> int:
        return len(self.vocab)

    def loss(self) -> CrossEntropyLossFlat:
        return CrossEntropyLossFlat()

    def decode(self, pred: Any) -> Any:
        """The label of a class number, or of the largest among `n_out` probabilities or logits."""
        pred = torch.as_tensor(pred)
        return self.vocab[int(pred.argmax() if pred.dim() else pred)]

    def check_targets(self, targets: Tensor) -> None:
        _not_empty(targets)
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise DataError(
                f"The targets are {targets.dtype}{_nan_note(targets)}, expected class numbers (int64) from 0 to "
                f"{self.n_out - 1}. Call .long() on them, or use RegressionBlock to predict numbers."
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= self.n_out:
            wrong = targets[(targets < 0) | (targets >= self.n_out)].unique().tolist()
            raise DataError(
                f"Targets out of range: found {_some(wrong)}, expected class numbers from 0 to {self.n_out - 1} for "
                f"{self.n_out} classes ({_some(self.vocab)}). Are they counted from 1, or does vocab lack a label?"
            )


@dataclass(frozen=True)
class MultiLabel(Task):
    """Any number of labels of `vocab` for each sample; targets are 0 or 1, float (batch, n_out)."""

    vocab: Sequence[Any]
    thresh: float = 0.5
    name: ClassVar[str] = "multilabel"

    def __post_init__(self) -> None:
        _check_vocab(self.vocab)
        checked_number(self.thresh, "thresh", 0.5)

    @property
    def n_out(self) -> int:
        return len(self.vocab)

    def loss(self) -> BCEWithLogitsLossFlat:
        return BCEWithLogitsLossFlat(thresh=self.thresh)

    def decode(self, pred: Any) -> list[Any]:
        """The labels whose probability is above `thresh`, or whose flag is set."""
        pred = torch.as_tensor(pred)
        flags = pred > self.thresh if pred.is_floating_point() else pred.bool()
        return [label for label, on in zip(self.vocab, flags.reshape(-1).tolist(), strict=True) if on]

    def check_targets(self, targets: Tensor) -> None:
        _not_empty(targets)
        if targets.dim() != 2 or targets.shape[1] != self.n_out:
            raise DataError(
                f"The targets have shape {tuple(targets.shape)}, expected (batch, {self.n_out}): a 0 or 1 for each of "
                f"{_some(self.vocab)}. One label a sample? Use CategoryBlock."
            )
        _finite(targets)
        wrong = targets[(targets < 0) | (targets > 1)]
        if len(wrong):
            found = _some(wrong.unique().tolist())
            raise DataError(f"Targets out of range: found {found}, expected 0 or 1 for each label.")


@dataclass(frozen=True)
class Regression(Task):
    """`n_out` numbers for each sample; targets are float (batch,) or (batch, n_out).

    `y_range` bounds the model's answer.
    """

    n_out: int = 1
    y_range: tuple[float, float] | None = None
    name: ClassVar[str] = "regression"

    def loss(self) -> MSELossFlat:
        return MSELossFlat()

    def decode(self, pred: Any) -> float | list[float]:
        """The number, or the list of numbers."""
        values = torch.as_tensor(pred).reshape(-1).tolist()
        return values[0] if self.n_out == 1 else values

    def check_targets(self, targets: Tensor) -> None:
        _not_empty(targets)
        if not targets.is_floating_point():
            raise DataError(
                f"The targets are {targets.dtype}, expected floating-point numbers. Call .float() on them, or use "
                "CategoryBlock if they are class numbers."
            )
        if targets[0].numel() != self.n_out:
            raise DataError(
                f"The targets have shape {tuple(targets.shape)}: {targets[0].numel()} numbers a sample, "
                f"expected {self.n_out}. Use RegressionBlock(n_out={targets[0].numel()})."
            )
        _finite(targets)


def check_n_out(n_out: int, task: Task) -> None:
    """Nothing, if a model with `n_out` outputs fits the task; else ConfigError."""
    if n_out == task.outputs:
        return
    vocab = getattr(task, "vocab", None)
    what = f"{task.outputs} classes ({_some(vocab)})" if vocab is not None else f"{task.outputs} numbers a sample"
    raise ConfigError(
        f"The model has {n_out} output{'s' if n_out != 1 else ''}, but the data have {what}. Give "
        f"n_out={task.outputs}, or leave it out to have it taken from dls.c."
    )


def _check_vocab(vocab: Any) -> None:
    if isinstance(vocab, (str, bytes, Mapping)) or not isinstance(vocab, Sized):
        raise ConfigError(f"vocab is a list of classes, such as ['cat', 'dog'], not {found(vocab)}.")


def _not_empty(targets: Tensor) -> None:
    if targets.dim() == 0 or len(targets) == 0:
        raise DataError(f"Expected a batch of targets, found a tensor of shape {tuple(targets.shape)}.")


def _finite(targets: Tensor) -> None:
    bad = (~targets.isfinite()).nonzero()
    if len(bad):
        rows = bad[:, 0].unique()
        raise DataError(
            f"{len(rows)} of {len(targets)} targets are NaN or infinite, first at place {int(rows[0])} of the batch. "
            "Drop those rows (df.dropna) or fill them before making the DataLoaders."
        )


def _nan_note(targets: Tensor) -> str:
    return " with NaN among them" if targets.is_floating_point() and bool(targets.isnan().any()) else ""


def _some(values: Any, most: int = 5) -> str:
    shown = ", ".join(str(value) for value in list(values)[:most])
    return shown + (", …" if len(values) > most else "")
