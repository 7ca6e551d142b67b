"""Losses for one target an output: numbers, and labels that are each true or false."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fastlearn.errors import DataError
from fastlearn.losses.base import FlatLoss, Reduction, as_weights, full_precision
from fastlearn.options import checked_number, named_options


class _SameShape(FlatLoss):
    """One target for every output; (n, 1) and (n,) count as the same shape."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of as many outputs as targets; half precision becomes float32."""
        outputs = full_precision(outputs)
        if outputs.shape != targets.shape:
            if outputs.numel() != targets.numel() or outputs.shape[:1] != targets.shape[:1]:
                raise DataError(
                    f"{type(self).__name__} needs one target for each output: the model gave {tuple(outputs.shape)}, "
                    f"the targets are {tuple(targets.shape)}. Does n_out fit the targets?"
                )
            targets = targets.view(outputs.shape)
        return self._compare(outputs, targets.to(outputs.dtype))

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError


class MSELossFlat(_SameShape):
    """The mean squared error."""

    @named_options
    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets, reduction=self.reduction)


class L1LossFlat(_SameShape):
    """The mean absolute error."""

    @named_options
    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.l1_loss(outputs, targets, reduction=self.reduction)


class _Binary(_SameShape):
    weight: Tensor | None
    pos_weight: Tensor | None

    @named_options
    def __init__(
        self, thresh: float = 0.5, weight: Any = None, pos_weight: Any = None, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction)
        self.thresh = checked_number(thresh, "thresh", 0.5)
        self.register_buffer("weight", as_weights(weight, per="label"), persistent=False)
        self.register_buffer("pos_weight", as_weights(pos_weight, "pos_weight", "label"), persistent=False)

    def decodes(self, probs: Tensor) -> Tensor:
        """True where the probability is above `thresh`."""
        return probs > self.thresh


class BCEWithLogitsLossFlat(_Binary):
    """Binary cross-entropy of each label by itself. `weight` and `pos_weight` have one number a label."""

    def activation(self, logits: Tensor) -> Tensor:
        """The probability of each label: the sigmoid."""
        return logits.sigmoid()

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight, pos_weight = self._near_logits("weight", outputs), self._near_logits("pos_weight", outputs)
        return F.binary_cross_entropy_with_logits(
            outputs, targets, weight, pos_weight=pos_weight, reduction=self.reduction
        )


class BCELossFlat(_Binary):
    """Binary cross-entropy of outputs that are probabilities already; decoded at `thresh` (fast.ai: not at all)."""

    @named_options
    def __init__(self, thresh: float = 0.5, weight: Any = None, reduction: Reduction = "mean") -> None:
        super().__init__(thresh, weight, None, reduction)

    def _compare(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy(outputs, targets, self._near_logits("weight", outputs), reduction=self.reduction)
