"""What fastlearn's losses share: a reduction, an activation and a decoding, and weights that follow the logits."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastlearn.errors import ConfigError
from fastlearn.options import found

Reduction = Literal["mean", "sum", "none"]


class FlatLoss(nn.Module):
    """What the losses share: a reduction, tensors that follow the logits to their device, identity for the rest."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ConfigError(f"reduction is 'mean', 'sum' or 'none', found {reduction!r}.")
        self.reduction = reduction

    def activation(self, logits: Tensor) -> Tensor:
        """What the model's raw output means to a reader: probabilities, or the numbers themselves."""
        return logits

    def decodes(self, probs: Tensor) -> Tensor:
        """The answer from what `activation` gave."""
        return probs

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"

    def _near_logits(self, name: str, logits: Tensor) -> Tensor | None:
        """The buffer of that name on the logits' device and in their dtype; moved once, and kept there."""
        tensor = self._buffers[name]
        if tensor is not None and tensor.dim() and tensor.shape[-1] not in (1, *logits.shape[-1:]):
            raise ConfigError(
                f"{name} has {tensor.shape[-1]} numbers, but the model gives {logits.shape[-1]} outputs. Give one "
                "number for each."
            )
        if tensor is not None and (tensor.device != logits.device or tensor.dtype != logits.dtype):
            tensor = tensor.to(logits)
            setattr(self, name, tensor)
        return tensor


def full_precision(logits: Tensor) -> Tensor:
    """Half precision as float32, in which a loss neither overflows nor rounds away; the rest as it is."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def as_weights(values: Any, name: str = "weight", per: str = "class") -> Tensor | None:
    """Numbers given as a list, array or tensor, as float32; ConfigError for anything else but None."""
    if values is None:
        return None
    try:
        return torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{name} is a list with one number a {per}, such as [1.0, 3.0], not {found(values)}."
        ) from error


def reduce(losses: Tensor, reduction: Reduction) -> Tensor:
    """Their mean or sum, or the losses themselves."""
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses
