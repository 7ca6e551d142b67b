"""Losses for one class out of n at every position."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastlearn.errors import DataError
from fastlearn.losses.base import FlatLoss, Reduction, as_weights, full_precision, reduce
from fastlearn.options import checked_number, checked_whole, named_options


class _ClassLoss(FlatLoss):
    """One class out of n for every position; `axis` is the logits' class axis, all others are flattened."""

    weight: Tensor | None

    @named_options
    def __init__(self, axis: int = -1, weight: Any = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.axis = checked_whole(axis, "axis")
        self.register_buffer("weight", as_weights(weight), persistent=False)

    def activation(self, logits: Tensor) -> Tensor:
        """Probabilities: the softmax over the class axis."""
        return logits.softmax(self.axis)

    def decodes(self, probs: Tensor) -> Tensor:
        """Class numbers, int64."""
        return probs.argmax(self.axis)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (…, n) and class numbers (…), or soft targets (…, n); half precision becomes float32."""
        if logits.dim() == 2 and targets.dim() == 1 and targets.dtype == torch.int64 and len(logits) == len(targets):
            return self._flat(full_precision(logits), targets)  # nothing to flatten
        logits = full_precision(logits)
        flat, targets, shape = _flatten(logits, targets, self.axis)
        losses = self._flat(flat, targets)
        return losses.view(shape) if self.reduction == "none" else losses

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The reduced loss of logits (m, n) and targets (m,) int64 or (m, n) float."""
        raise NotImplementedError


class CrossEntropyLossFlat(_ClassLoss):
    """Cross-entropy over every position; `weight` has one number a class. Soft targets (mixup) work too.

    >>> loss_func = CrossEntropyLossFlat(weight=[1.0, 3.0])
    >>> loss_func(logits, targets).backward()
    >>> loss_func.decodes(loss_func.activation(logits))
    """

    @named_options
    def __init__(
        self, axis: int = -1, weight: Any = None, ignore_index: int = -100, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(axis, weight, reduction)
        self.ignore_index = checked_whole(ignore_index, "ignore_index", "-100")

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = self._near_logits("weight", logits)
        if targets.is_floating_point():  # ignore_index has no meaning then, and torch insists on its default
            return F.cross_entropy(logits, targets, weight, reduction=self.reduction)
        return F.cross_entropy(logits, targets, weight, ignore_index=self.ignore_index, reduction=self.reduction)


class LabelSmoothingCrossEntropy(_ClassLoss):
    """(1-eps)·cross-entropy + eps·mean of -log p over the classes (Szegedy et al. 2016, section 7).

    `weight` bears on the first term alone, as in fast.ai; torch's own label smoothing weighs both.
    """

    @named_options
    def __init__(self, eps: float = 0.1, weight: Any = None, reduction: Reduction = "mean", axis: int = -1) -> None:
        super().__init__(axis, weight, reduction)
        self.eps = checked_number(eps, "eps", 0.1)

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        uniform = -logits.log_softmax(-1).mean(-1)
        hard = F.cross_entropy(logits, targets, self._near_logits("weight", logits), reduction=self.reduction)
        return self.eps * reduce(uniform, self.reduction) + (1 - self.eps) * hard


class LabelSmoothingCrossEntropyFlat(LabelSmoothingCrossEntropy):
    """`LabelSmoothingCrossEntropy` with the class axis first among the arguments."""

    @named_options
    def __init__(self, axis: int = -1, eps: float = 0.1, weight: Any = None, reduction: Reduction = "mean") -> None:
        super().__init__(eps, weight, reduction, axis)


class FocalLoss(_ClassLoss):
    """Cross-entropy times (1 - p)^gamma, p the probability of the true class (Lin et al. 2017, equation 5).

    `weight` (the paper's alpha, one number a class) multiplies the result and does not enter p, as in the paper;
    fast.ai takes p from the weighted cross-entropy. The mean is over positions. With soft targets
    p = exp(-cross-entropy).
    """

    @named_options
    def __init__(self, gamma: float = 2.0, weight: Any = None, reduction: Reduction = "mean", axis: int = -1) -> None:
        super().__init__(axis, weight, reduction)
        self.gamma = checked_number(gamma, "gamma", 2)

    def _flat(self, logits: Tensor, targets: Tensor) -> Tensor:
        entropy = F.cross_entropy(logits, targets, reduction="none")
        weight = self._near_logits("weight", logits)
        weighted = entropy if weight is None else F.cross_entropy(logits, targets, weight, reduction="none")
        # expm1 keeps the small 1-p of confident predictions, which 1 - exp(-x) rounds away; clamped because the root
        # of a rounding error below 0 is NaN.
        return reduce((-torch.expm1(-entropy)).clamp(min=0) ** self.gamma * weighted, self.reduction)


class FocalLossFlat(FocalLoss):
    """`FocalLoss`, under fast.ai's other name."""


def _flatten(logits: Tensor, targets: Tensor, axis: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Logits as (m, n), targets as (m,) int64 or (m, n), and the shape of the m positions."""
    soft = targets.is_floating_point() and targets.shape == logits.shape
    if logits.dim() > 2 and axis not in (-1, logits.dim() - 1):
        logits = logits.movedim(axis, -1)
        targets = targets.movedim(axis, -1) if soft else targets
    shape, n_classes = tuple(logits.shape[:-1]), logits.shape[-1]
    logits = logits.reshape(-1, n_classes)
    if soft:
        return logits, targets.to(logits.dtype).reshape(-1, n_classes), shape
    if targets.is_floating_point():
        raise DataError(
            f"Class targets are whole numbers of shape {shape}, found {targets.dtype} of shape {tuple(targets.shape)}. "
            "For numbers to predict use RegressionBlock and MSELossFlat, for several labels BCEWithLogitsLossFlat."
        )
    if targets.numel() != logits.shape[0]:
        raise DataError(
            f"The model gave logits for {shape} positions with {n_classes} classes, but the targets have shape "
            f"{tuple(targets.shape)}. One class number a position is expected; is the class axis {axis} right?"
        )
    return logits, targets.reshape(-1).long(), shape
